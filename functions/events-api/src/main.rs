//! Runs the function `events-api`.

use events_api::{State, api};
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_http, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    run_http(api().into_router(State::from_env(&aws, &env).await?)).await
}
