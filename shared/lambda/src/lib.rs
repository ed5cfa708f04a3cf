//! The glue between the Lambda runtime and a workflow.
//!
//! A function's `main` calls [`start`], builds its dependencies, then calls [`run_http`], [`run_batch`] or [`run_event`].

mod batch;
mod deadline;
mod event;
mod http;
mod logs;
mod start;

pub use batch::{BatchSettings, Delivery, run_batch};
pub use event::run_event;
pub use http::run_http;
pub use lambda_runtime::Error;
pub use start::start;
