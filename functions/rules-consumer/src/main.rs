//! Evaluates tenants' events by their rules.

use switchyard_io::Aws;
use switchyard_lambda::{BatchSettings, Delivery, Error, run_batch, start};
use switchyard_signals::{RulesDeps, process};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let settings = BatchSettings::from_env(&aws, &env, "RULES_QUEUE_URL")?;
    let deps = &RulesDeps::from_env(&aws, &env)?;
    run_batch(settings, |Delivery { body, owner, .. }| async move { process(deps, &body, &owner).await }).await
}
