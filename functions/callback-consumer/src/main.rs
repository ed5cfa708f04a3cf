//! Delivers events to customers' endpoints.

use switchyard_callbacks::{DeliverDeps, process};
use switchyard_io::Aws;
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings::from_env(&aws, &env, "CALLBACK_QUEUE_URL")?;
    let deps = &DeliverDeps::from_env(&aws, &env)?;
    run_batch(settings, |Delivery { body, owner, .. }| async move { process(deps, &body, &owner).await }).await
}
