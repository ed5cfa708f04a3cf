//! Takes ADT events from their queue to Caspio.

use switchyard_adt::{ProcessDeps, process};
use switchyard_io::Aws;
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings::from_env(&aws, &env, "ADT_QUEUE_URL")?;
    let deps = &ProcessDeps::from_env(&aws, &env).await?;
    run_batch(settings, |Delivery { body, owner, deadline }| async move {
        process(deps, &body, &owner, deadline).await.map(drop)
    })
    .await
}
