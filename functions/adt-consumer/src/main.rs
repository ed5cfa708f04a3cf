//! Takes ADT events from their queue to Caspio.

use std::time::Duration;
use switchyard_adt::{ProcessDeps, process};
use switchyard_io::{Aws, Queue};
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings {
        queue: Queue::from_env(&aws, &env, "ADT_QUEUE_URL")?,
        max_receives: env.parsed("QUEUE_MAX_RECEIVES", 8)?,
        concurrency: env.parsed("WORKER_CONCURRENCY", 5)?,
        retry_base: Duration::from_millis(env.parsed("QUEUE_RETRY_BASE_MS", 15_000)?),
    };
    let deps = &ProcessDeps::from_env(&aws, &env).await?;
    run_batch(settings, |Delivery { body, owner, deadline }| async move {
        process(deps, &body, &owner, deadline).await.map(drop)
    })
    .await
}
