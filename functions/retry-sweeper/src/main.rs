//! Sweeps one workflow, every minute: sends what was accepted but not sent, queues what is due, and removes payloads past
//! their retention. `SWEEP_WORKFLOW` says which; the template has a function with a role of its own for each.

mod sweep;

use sweep::Sweep;
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_event, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let sweep = &Sweep::from_env(&aws, &env)?;
    run_event(|deadline| sweep.run(deadline)).await
}
