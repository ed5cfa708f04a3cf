//! Stores, orders, webhooks, and the mock marketplace.

mod access;
mod health;
mod inbound;
mod mock;
mod repeat;
mod routes;
mod stores;
mod validate;
mod webhooks;

use routes::Routes;
use switchyard_io::Aws;
use switchyard_lambda::{Error, run_http, start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = start(module_path!());
    let aws = Aws::from_env().await;
    let routes = Routes::from_env(&aws, &env)?;
    run_http(|call| routes.answer(call)).await
}
