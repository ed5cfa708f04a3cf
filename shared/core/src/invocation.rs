//! What the platform says of one HTTP request beside the request itself.

use std::time::Instant;

/// One invocation of an HTTP function; the runtime glue puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's id of the invocation; clients get it as `x-request-id`.
    pub request_id: String,
    /// The peer's address as API Gateway saw it; a forwarded-for header proves nothing.
    pub source_ip: String,
    /// X-Ray trace header.
    pub trace: Option<String>,
    /// When work must have ended.
    pub deadline: Instant,
}
