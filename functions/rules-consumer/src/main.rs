//! Weighs tenants' events by their rules.

use std::time::Duration;
use switchyard_io::{Aws, Queue};
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};
use switchyard_signals::{RulesDeps, process};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings {
        queue: Queue::from_env(&aws, &env, "RULES_QUEUE_URL")?,
        max_receives: env.parsed("QUEUE_MAX_RECEIVES", 5)?,
        concurrency: env.parsed("WORKER_CONCURRENCY", 10)?,
        retry_base: Duration::from_millis(env.parsed("QUEUE_RETRY_BASE_MS", 4_000)?),
    };
    let deps = &RulesDeps::from_env(&aws, &env)?;
    run_batch(settings, |Delivery { body, owner, .. }| async move { process(deps, &body, &owner).await }).await
}
