//! From API Gateway's event to a function's router and back.

use crate::deadline::work_deadline;
use crate::logs::flush_metrics;
use axum::Router;
use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use lambda_http::request::RequestContext;
use lambda_http::{Body, RequestExt as _, Response, service_fn};
use switchyard_core::Invocation;
use tower::ServiceExt as _;

/// A path that no router serves.
const UNROUTABLE: &str = "//";

/// Serves API Gateway's requests with `router` until the environment is shut down.
///
/// # Errors
/// The Runtime API cannot be reached.
pub async fn run_http(router: Router) -> Result<(), lambda_runtime::Error> {
    let router = &router;
    lambda_http::run(service_fn(move |request: lambda_http::Request| async move {
        let response = router.clone().oneshot(request_of(request)).await?;
        flush_metrics();
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8(body.into()).map_or_else(|error| Body::Binary(error.into_bytes()), Body::Text);
        Ok::<_, lambda_runtime::Error>(Response::from_parts(parts, body))
    }))
    .await
}

fn request_of(request: lambda_http::Request) -> Request {
    let context = request.lambda_context();
    let (source_ip, stage) = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(gateway)) => {
            (gateway.http.source_ip.clone().unwrap_or_default(), gateway.stage.clone().unwrap_or_default())
        }
        _ => (String::new(), String::new()),
    };
    let uri = uri_of(request.raw_http_path(), &stage, request.uri().query());
    let invocation = Invocation {
        request_id: context.request_id,
        source_ip,
        trace: context.xray_trace_id,
        deadline: work_deadline(context.deadline).into_std(),
    };
    let (mut parts, body) = request.into_parts();
    parts.uri = uri;
    parts.extensions.clear();
    parts.extensions.insert(invocation);
    let body = match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => axum::body::Body::empty(),
    };
    Request::from_parts(parts, body)
}

/// The request's path as API Gateway saw it, without a named stage, and its query.
///
/// `lambda_http` parses the path as a URL, which resolves dot segments and cuts it at an encoded `?`. Its raw form is used
/// instead; a path with dot segments, or with bytes that no id or route has, is not routed.
fn uri_of(raw_path: &str, stage: &str, query: Option<&str>) -> Uri {
    let is_named = !stage.is_empty() && stage != "$default";
    let without_stage = raw_path.strip_prefix('/').and_then(|path| path.strip_prefix(stage)).filter(|_| is_named);
    let path = match without_stage {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => raw_path,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.~:@-".contains(&byte);
    let has_dots = path.split('/').any(|segment| segment == "." || segment == "..");
    let path = if path.starts_with('/') && path.bytes().all(is_plain) && !has_dots { path } else { UNROUTABLE };
    let text = match query {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    };
    PathAndQuery::try_from(text).map(Uri::from).unwrap_or_else(|_| Uri::from_static(UNROUTABLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_routed_as_they_were_sent_or_not_at_all() {
        let path = |raw: &str| uri_of(raw, "$default", None).path().to_owned();
        assert_eq!(path("/api/rules/01a2-b3"), "/api/rules/01a2-b3");
        assert_eq!(path("/$default/x"), UNROUTABLE);
        for odd in [
            "/api/../admin",
            "/api/./x",
            "/..",
            "/api/a%2Fb",
            "/api/%2e%2e/x",
            "/api/a?b",
            "/api/a\\..\\b",
            "/api/a b",
            "/api/ä",
            "/api/a;b",
            "x",
            "",
        ] {
            assert_eq!(path(odd), UNROUTABLE, "{odd}");
        }
    }

    #[test]
    fn a_named_stage_is_no_part_of_the_path() {
        let path = |raw: &str| uri_of(raw, "prod", None).path().to_owned();
        assert_eq!(path("/prod/api/events"), "/api/events");
        assert_eq!(path("/prod"), "/");
        assert_eq!(path("/production"), "/production");
        assert_eq!(path("/api/prod"), "/api/prod");
    }

    #[test]
    fn the_query_is_kept_as_it_was_sent() {
        assert_eq!(uri_of("/x", "", Some("a=%20b&a=c")).query(), Some("a=%20b&a=c"));
        assert_eq!(uri_of("/x", "", Some("")).query(), None);
    }
}
