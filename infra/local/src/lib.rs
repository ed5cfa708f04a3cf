//! The local host behind `cargo dev`.
//!
//! It reads `template.yaml` and serves it on one machine: the function binaries run as child processes against a real
//! Lambda Runtime API ([`functions`]), with an HTTP API in front ([`gateway`]), SQS event-source mappings and schedules
//! behind ([`mapping`], [`schedule`]), and embedded engines for DynamoDB, SQS and Secrets Manager on one AWS endpoint
//! ([`aws`]). `switchyard-sandbox` stands in for third parties. Nothing here runs in production.

mod aws;
mod binaries;
mod events;
mod functions;
mod gateway;
mod host;
mod logs;
mod mapping;
mod runtime_api;
mod s3;
mod schedule;
mod secrets;
mod settings;
mod template;

pub use binaries::{Binaries, Profile};
pub use host::{Data, Host, Options, Ports, Urls};
pub use logs::{LogForm, LogSink};
pub use settings::Settings;
pub use template::{FunctionSpec, Mapping, Route, Schedule, Template};
