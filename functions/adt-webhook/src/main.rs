//! `POST /webhook/alis`, `GET /health`, `GET /health/deps`.

mod routes;

use routes::Routes;
use switchyard_adt::{AcceptDeps, HealthDeps};
use switchyard_io::{Aws, Secrets};
use switchyard_lambda::{Error, run_http, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let accept = AcceptDeps::from_env(&aws, &env)?;
    let health = HealthDeps::from_env(&aws, &env, &accept)?;
    let routes = Routes::new(accept, health, Secrets::new(&aws), &env).await?;
    run_http(|call| routes.answer(call)).await
}
