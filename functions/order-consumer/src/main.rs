//! Runs stores' sync jobs.

use switchyard_io::Aws;
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};
use switchyard_orders::{SyncDeps, sync};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings::from_env(&aws, &env, "ORDER_QUEUE_URL")?;
    let deps = &SyncDeps::from_env(&aws, &env)?;
    run_batch(settings, |Delivery { body, owner, deadline }| async move {
        sync(deps, &body, &owner, deadline).await.map(drop)
    })
    .await
}
