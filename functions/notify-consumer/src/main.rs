//! Sends notifications.

use switchyard_io::Aws;
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};
use switchyard_signals::{NotifyDeps, deliver};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings::from_env(&aws, &env, "NOTIFY_QUEUE_URL")?;
    let deps = &NotifyDeps::from_env(&aws, &env)?;
    run_batch(settings, |Delivery { body, owner, .. }| async move { deliver(deps, &body, &owner).await }).await
}
