//! Every minute: sends what was accepted but never sent, queues what is due, of every workflow, and removes payloads whose
//! time is up; tells the operator of dead letters.

mod dead_letters;
mod sweeps;

use sweeps::Sweeps;
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_event, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let sweeps = &Sweeps::from_env(&aws, &env)?;
    run_event(|deadline| sweeps.run(deadline)).await
}
