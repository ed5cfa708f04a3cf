//! Tenants' events, and what tenants and operators manage.

mod access;
mod answer;
mod body;
mod docs;
mod health;
mod hooks;
mod ingest;
mod manage;
mod routes;
mod table;

use routes::Routes;
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_http, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let routes = Routes::from_env(&aws, &env).await?;
    run_http(|call| routes.answer(call)).await
}
