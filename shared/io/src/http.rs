//! HTTP clients for third parties: one per process, with deadlines, capped answers and no redirects.
//!
//! [`Http::plain`] is for addresses from our own settings. [`Http::guarded`] is for addresses that customers gave: it
//! connects only where its [`Guard`] lets it, checked when the name resolves, so that the address checked is the one used.

mod guard;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Once;
use std::time::Duration;
use switchyard_core::backoff::{self, Backoff};
use switchyard_core::{Classify, Disposition, EnvError, random};

pub use guard::{Guard, is_public};
pub use reqwest::{Method, RequestBuilder as Request, Url};

/// The most of an answer that is ever read.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Attempts at one call unless a setting says otherwise, the first included.
pub const ATTEMPTS: u32 = 3;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Waits between the attempts at one call.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(8));
/// The longest `Retry-After` that a call waits for by itself.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(5);

/// A call to a third party that brought no usable answer. `Display` never shows address or body.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer: refused, reset, timed out.
    #[error("{service} did not answer")]
    NoAnswer {
        /// Whom we called.
        service: &'static str,
        /// The transport's failure, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is not 2xx.
    #[error("{service} answered {status}")]
    Status {
        /// Whom we called.
        service: &'static str,
        /// HTTP status.
        status: u16,
        /// The third party's `Retry-After`, capped.
        retry_after: Option<Duration>,
        /// The answer's body, for code that reads error codes. Never log it.
        body: Bytes,
    },
    /// An answer longer than [`MAX_ANSWER_BYTES`].
    #[error("{service} answered more than {MAX_ANSWER_BYTES} bytes")]
    TooLong {
        /// Whom we called.
        service: &'static str,
    },
    /// A customer's address that leads, as written or as it resolves, where it may not.
    #[error("{service} has an address that may not be called")]
    Refused {
        /// Whom we should have called.
        service: &'static str,
    },
    /// A 2xx whose body is not what we expect, as a proxy's page in front of the service would be.
    #[error("{service} answered with unexpected content: {what}")]
    Content {
        /// Whom we called.
        service: &'static str,
        /// Where it differs; a position, never a value.
        what: String,
    },
}

impl HttpError {
    /// A word for why there was no answer, fit for rows and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "blocked_address",
            Self::NoAnswer { source, .. } if source.is_timeout() => "timeout",
            Self::NoAnswer { source, .. } if source.is_connect() => "connection_failed",
            _ => "connection_lost",
        }
    }

    /// The HTTP status, if there was an answer that was not 2xx.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Classify for HttpError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NoAnswer { .. } => Disposition::Retry { after: None },
            Self::Status { status: 408 | 429 | 500.., retry_after, .. } => Disposition::Retry { after: *retry_after },
            // A redirect, a page instead of JSON, an endless answer: something stands between us and the service.
            Self::Status { status: 300..=399, .. } | Self::TooLong { .. } | Self::Content { .. } => {
                Disposition::Retry { after: None }
            }
            Self::Status { .. } | Self::Refused { .. } => Disposition::Permanent,
        }
    }
}

/// One HTTP client.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    guard: Option<Guard>,
}

impl Http {
    /// A client for addresses from our own settings; `timeout` bounds each attempt as a whole, unless the request has a
    /// timeout of its own. Making one reads the machine's root certificates, so a process should make one and share it.
    ///
    /// # Errors
    /// The machine's root certificates cannot be read.
    pub fn plain(timeout: Duration) -> Result<Self, EnvError> {
        Self::build(builder(timeout), None)
    }

    /// A client for addresses from customers: only where `guard` lets it, whatever a name resolves to.
    ///
    /// # Errors
    /// The machine's root certificates cannot be read.
    pub fn guarded(timeout: Duration, guard: Guard) -> Result<Self, EnvError> {
        // A proxy would connect in our place, to an address that is not checked.
        Self::build(builder(timeout).no_proxy().dns_resolver(guard.resolver()), Some(guard))
    }

    fn build(builder: reqwest::ClientBuilder, guard: Option<Guard>) -> Result<Self, EnvError> {
        let client = builder
            .build()
            .map_err(|error| EnvError::Invalid { name: "HTTP client".into(), reason: error.to_string() })?;
        Ok(Self { client, guard })
    }

    /// Starts a request to `service`.
    ///
    /// # Errors
    /// [`HttpError::Refused`] when a guarded client is given an address that the guard refuses as it is written. Hosts
    /// that are addresses are never resolved, so the resolver's check would not see them.
    pub fn request(&self, service: &'static str, method: Method, url: Url) -> Result<RequestBuilder, HttpError> {
        if self.guard.as_ref().is_some_and(|guard| !guard.admits(&url)) {
            return Err(HttpError::Refused { service });
        }
        Ok(self.client.request(method, url))
    }
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    // A second installation fails harmlessly: the first one stands.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
}

/// Sends one request and reads its answer.
///
/// # Errors
/// See [`HttpError`].
pub async fn call(service: &'static str, request: RequestBuilder) -> Result<Bytes, HttpError> {
    let response = request.send().await.map_err(|error| no_answer(service, error))?;
    let (status, retry_after) = (response.status(), retry_after(response.status(), response.headers()));
    let body = read_capped(service, response).await?;
    if status.is_success() {
        return Ok(body);
    }
    Err(HttpError::Status { service, status: status.as_u16(), retry_after, body })
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// `Retry-After` in either form as a wait from `now`, whatever the status, without a cap.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        backoff::retry_after(self.headers.get(RETRY_AFTER)?.to_str().ok()?, now, Duration::MAX)
    }

    /// HTTP's name for the status.
    pub fn reason(&self) -> &'static str {
        StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("unknown")
    }
}

/// Sends one request and reads its answer, of whatever status.
///
/// # Errors
/// There was none, or it is too long.
pub async fn answer(service: &'static str, request: RequestBuilder) -> Result<Answer, HttpError> {
    let response = request.send().await.map_err(|error| no_answer(service, error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: read_capped(service, response).await? })
}

/// As [`answer`], but reads no more than the first `limit` bytes of the body.
///
/// # Errors
/// There was no answer, or it broke off before that.
pub async fn answer_up_to(service: &'static str, request: RequestBuilder, limit: usize) -> Result<Answer, HttpError> {
    let mut response = request.send().await.map_err(|error| no_answer(service, error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = BytesMut::new();
    while body.len() < limit
        && let Some(chunk) = response.chunk().await.map_err(|error| no_answer(service, error))?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(limit);
    Ok(Answer { status, headers, body: body.freeze() })
}

fn no_answer(service: &'static str, error: reqwest::Error) -> HttpError {
    if guard::was_refused(&error) {
        return HttpError::Refused { service };
    }
    HttpError::NoAnswer { service, source: error.without_url() }
}

/// Sends one request and reads its answer as JSON.
///
/// # Errors
/// See [`HttpError`].
pub async fn call_json<T: DeserializeOwned>(service: &'static str, request: RequestBuilder) -> Result<T, HttpError> {
    let body = call(service, request).await?;
    read_json(service, &body)
}

/// Reads an answer's body as JSON. The error says where it differs, not what stands there.
///
/// # Errors
/// [`HttpError::Content`].
pub fn read_json<T: DeserializeOwned>(service: &'static str, body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|error| {
        let what = format!("{:?} at line {} column {}", error.classify(), error.line(), error.column());
        HttpError::Content { service, what }
    })
}

/// Makes up to `attempts` attempts, with full jitter between them, for as long as the error says that another can help
/// and the wait fits in before `deadline`.
///
/// This is the one retry layer towards third parties; what it gives up on goes back to the queue.
///
/// # Errors
/// The last attempt's.
pub async fn with_retries<T, E, F>(
    attempts: u32,
    deadline: tokio::time::Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    E: Classify,
    F: Future<Output = Result<T, E>>,
{
    let mut made = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        made += 1;
        let Disposition::Retry { after } = error.disposition() else { return Err(error) };
        let wait = RETRY.wait(made - 1, after, random::fraction());
        let resumes_at = tokio::time::Instant::now().checked_add(wait);
        if made >= attempts || resumes_at.is_none_or(|at| at >= deadline) {
            return Err(error);
        }
        #[expect(clippy::disallowed_methods, reason = "under a second, and cheaper than another delivery")]
        tokio::time::sleep(wait).await;
    }
}

/// `Retry-After` of a response that asks for patience. A date counts from the sender's own, by its `Date` header, so that
/// clocks need not agree; servers that have a clock send one.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let text = |name| headers.get(name)?.to_str().ok();
    // Without a clock of the sender's only the form in seconds says anything.
    let now = text(DATE).and_then(|date| backoff::http_date(date, Timestamp::UNIX_EPOCH)).unwrap_or(Timestamp::MAX);
    backoff::retry_after(text(RETRY_AFTER)?, now, RETRY_AFTER_CAP)
}

async fn read_capped(service: &'static str, mut response: Response) -> Result<Bytes, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(service, error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(HttpError::TooLong { service });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_call_waits_by_the_senders_own_clock_and_not_for_long() {
        let wait = |status: u16, wish: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(wish));
            headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
            retry_after(StatusCode::from_u16(status).unwrap(), &headers).map(|wait| wait.as_millis())
        };
        let date = Some("Mon, 05 Jan 2026 10:00:00 GMT");
        assert_eq!(
            [wait(503, "2", None), wait(429, "2", date), wait(500, "2", date)],
            [Some(2_000), Some(2_000), None]
        );
        assert_eq!(wait(503, "Mon, 05 Jan 2026 10:00:03 GMT", date), Some(3_000));
        assert_eq!(wait(503, "Mon, 05 Jan 2026 11:00:00 GMT", date), Some(5_000));
        assert_eq!(wait(503, "Mon, 05 Jan 2026 09:00:00 GMT", date), None);
        assert_eq!(wait(503, "Mon, 05 Jan 2026 10:00:03 GMT", None), None);
        assert_eq!(wait(503, "soon", date), None);
    }

    #[test]
    fn a_response_tells_its_wait_without_a_cap() {
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        let of = |text: &str| {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            Answer { status: 503, headers, body: Bytes::new() }.retry_after(now).map(|wait| wait.as_secs())
        };
        assert_eq!((of("120"), of("Mon, 05 Jan 2026 10:02:00 GMT")), (Some(120), Some(120)));
        assert_eq!((of("18446744073709551615"), of("soon")), (Some(u64::MAX), None));
    }
}
