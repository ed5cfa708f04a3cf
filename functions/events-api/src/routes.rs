//! From a path to its part.

use crate::answer::{Failure, identified};
use crate::ingest::Ingest;
use http::Method;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::{Call, Reply};

/// Every route of this function.
pub struct Routes {
    ingest: Ingest,
}

impl Routes {
    /// Reads the settings of all parts.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { ingest: Ingest::from_env(aws, env)? })
    }

    /// Answers one request.
    pub async fn answer(&self, call: Call) -> Reply {
        let answered = match (&call.method, call.origin.path.as_str()) {
            (&Method::POST, "/api/events") => self.ingest.event(&call).await,
            (&Method::POST, "/api/events/batch") => self.ingest.batch(&call).await,
            _ => Err(Failure::new(404, "not_found", format!("Cannot {} {}", call.method, call.origin.path))),
        };
        identified(answered.unwrap_or_else(|failure| failure.reply(&call)), &call)
    }
}
