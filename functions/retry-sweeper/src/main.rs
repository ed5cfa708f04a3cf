//! Every minute: sends what was accepted but never sent, of every workflow, and removes payloads whose time is up.

use serde_json::json;
use switchyard_adt::{AcceptDeps, sweep};
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_event, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let adt = &AcceptDeps::from_env(&aws, &env)?;
    run_event(|deadline| async move { Ok(json!({"adt": sweep(adt, deadline).await?})) }).await
}
