//! The HTTP API: API Gateway's payload format 2.0 in front of the functions.

use crate::functions::{InvokeError, Pool, epoch_ms};
use crate::logs::LogSink;
use crate::template::{ACCOUNT, REGION, Route};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// API Gateway's own limit.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

pub(crate) struct Gateway {
    routes: Vec<(Vec<Segment>, Route)>,
    pools: HashMap<String, Arc<Pool>>,
    logs: LogSink,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    // In order of precedence: a literal segment, a variable, the rest of the path.
    Literal(String),
    Variable(String),
    Rest(String),
}

impl Gateway {
    pub(crate) fn router(routes: Vec<Route>, pools: HashMap<String, Arc<Pool>>, logs: LogSink) -> Router {
        let mut routes: Vec<_> = routes.into_iter().map(|route| (segments(&route.path), route)).collect();
        routes.sort_by(|(one, a), (other, b)| one.cmp(other).then((a.method == "ANY").cmp(&(b.method == "ANY"))));
        Router::new().fallback(handle).with_state(Arc::new(Self { routes, pools, logs }))
    }

    fn find(&self, method: &str, path: &str) -> Option<(&Route, Map<String, Value>)> {
        self.routes.iter().find_map(|(segments, route)| {
            let takes = route.method == method || route.method == "ANY";
            takes.then(|| matched(segments, path)).flatten().map(|variables| (route, variables))
        })
    }
}

fn segments(path: &str) -> Vec<Segment> {
    let segment = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => match name.strip_suffix('+') {
            Some(name) => Segment::Rest(name.to_owned()),
            None => Segment::Variable(name.to_owned()),
        },
        None => Segment::Literal(part.to_owned()),
    };
    path.strip_prefix('/').unwrap_or(path).split('/').map(segment).collect()
}

fn matched(segments: &[Segment], path: &str) -> Option<Map<String, Value>> {
    let mut variables = Map::new();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    for segment in segments {
        match segment {
            Segment::Literal(literal) => {
                if parts.next()? != literal {
                    return None;
                }
            }
            Segment::Variable(name) => {
                let part = parts.next().filter(|part| !part.is_empty())?;
                variables.insert(name.clone(), part.into());
            }
            Segment::Rest(name) => {
                let rest: Vec<_> = parts.by_ref().collect();
                variables.insert(name.clone(), rest.join("/").into());
            }
        }
    }
    parts.next().is_none().then_some(variables)
}

async fn handle(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !is_well_formed(&parts.headers) {
        return message(StatusCode::BAD_REQUEST, "Bad Request");
    }
    // As an HTTP API passes it: decoded.
    let path = decoded(parts.uri.path());
    let Some((route, variables)) = gateway.find(parts.method.as_str(), &path) else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let Some(pool) = gateway.pools.get(&route.function) else {
        return message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    };
    let event = event(&parts, &path, route, variables, &body, peer);
    match pool.invoke(Bytes::from(event.to_string())).await {
        Ok(answer) => respond(&answer),
        Err(error) => {
            gateway.logs.host(&route.function, &error.to_string());
            match error {
                InvokeError::TimedOut(_) | InvokeError::Stopping => {
                    message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
                }
                InvokeError::Function(_) | InvokeError::Crashed(_) | InvokeError::Start(_) => {
                    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
                }
            }
        }
    }
}

fn event(
    parts: &axum::http::request::Parts,
    path: &str,
    route: &Route,
    variables: Map<String, Value>,
    body: &Bytes,
    peer: SocketAddr,
) -> Value {
    let headers = joined_headers(&parts.headers, peer);
    let query = parts.uri.query().unwrap_or_default();
    let cookies: Vec<_> = headers.get("cookie").and_then(Value::as_str).map(cookies).unwrap_or_default();
    let now = epoch_ms();
    let mut event = json!({
        "version": "2.0",
        "routeKey": format!("{} {}", route.method, route.path),
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": format!("local.execute-api.{REGION}.amazonaws.com"),
            "domainPrefix": "local",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": peer.ip().to_canonical().to_string(),
                "userAgent": headers.get("user-agent").cloned().unwrap_or_default(),
            },
            "requestId": switchyard_core::random::uuid().simple().to_string(),
            "routeKey": format!("{} {}", route.method, route.path),
            "stage": "$default",
            "time": gateway_time(now),
            "timeEpoch": now,
        },
        "isBase64Encoded": false,
    });
    if !query.is_empty() {
        event["queryStringParameters"] = query_parameters(query).into();
    }
    if !variables.is_empty() {
        event["pathParameters"] = variables.into();
    }
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !body.is_empty() {
        match std::str::from_utf8(body).ok().filter(|_| is_text(&headers)) {
            Some(text) => event["body"] = text.into(),
            None => {
                event["body"] = STANDARD.encode(body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }
    event
}

/// Lower-case names, several values joined by commas, and the peer appended to `x-forwarded-for`.
fn joined_headers(headers: &HeaderMap, peer: SocketAddr) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    let mut add = |name: &str, value: &str| match joined.get_mut(name) {
        Some(Value::String(known)) => {
            known.push(',');
            known.push_str(value);
        }
        _ => {
            joined.insert(name.to_owned(), value.into());
        }
    };
    // API Gateway sets the forwarded scheme itself.
    for (name, value) in headers.iter().filter(|(name, _)| *name != "x-forwarded-proto") {
        add(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    add("x-forwarded-for", &peer.ip().to_string());
    add("x-forwarded-proto", "http");
    joined
}

fn cookies(header: &str) -> Vec<String> {
    header.split(';').map(|cookie| cookie.trim().to_owned()).filter(|cookie| !cookie.is_empty()).collect()
}

fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters: Map<String, Value> = Map::new();
    for (name, value) in form_pairs(query) {
        match parameters.get_mut(&name) {
            Some(Value::String(known)) => {
                known.push(',');
                known.push_str(&value);
            }
            _ => {
                parameters.insert(name, value.into());
            }
        }
    }
    parameters
}

fn form_pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether API Gateway would accept the headers: it refuses an invalid host, over which `lambda_http` would panic.
fn is_well_formed(headers: &HeaderMap) -> bool {
    let texts = |name: HeaderName| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\0"));
    let is_host = |text: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        !text.is_empty() && text.bytes().all(is_plain) && text.parse::<axum::http::uri::Authority>().is_ok()
    };
    let hosts: Vec<_> = texts(header::HOST).collect();
    hosts.len() <= 1 && hosts.iter().all(|host| is_host(host))
}

fn is_text(headers: &Map<String, Value>) -> bool {
    let kind = headers.get("content-type").and_then(Value::as_str).unwrap_or("text/plain");
    ["text/", "application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded"]
        .iter()
        .any(|text| kind.starts_with(text))
        || kind.contains("+json")
        || kind.contains("+xml")
}

/// `12/Mar/2026:19:03:58 +0000`.
fn gateway_time(epoch_ms: u64) -> String {
    let at = i64::try_from(epoch_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

/// A function's result as an HTTP response: an object with `statusCode` is the response, anything else the body of a 200.
fn respond(answer: &[u8]) -> Response<Body> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    };
    if answer.get("statusCode").is_none() {
        let mut response = Response::new(Body::from(answer.to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return response;
    }
    built(&answer).unwrap_or_else(|| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
}

fn built(answer: &Value) -> Option<Response<Body>> {
    let status = StatusCode::from_u16(u16::try_from(answer["statusCode"].as_u64()?).ok()?).ok()?;
    let body = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"] == true { STANDARD.decode(body).ok()? } else { body.as_bytes().to_vec() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut add = |name: &str, value: &str| {
        headers.append(name.parse::<HeaderName>().ok()?, value.parse().ok()?);
        Some(())
    };
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        add(name, value.as_str()?)?;
    }
    for (name, values) in answer["multiValueHeaders"].as_object().into_iter().flatten() {
        if answer["headers"].get(name).is_none() {
            for value in values.as_array()? {
                add(name, value.as_str()?)?;
            }
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        add("set-cookie", cookie.as_str()?)?;
    }
    Some(response)
}

fn message(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json!({"message": text}).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_literals_variables_and_rests() {
        let found =
            |pattern: &str, path: &str| matched(&segments(pattern), path).map(|found| Value::Object(found).to_string());
        assert_eq!(found("/a/{id}", "/a/7").unwrap(), r#"{"id":"7"}"#);
        assert_eq!(found("/a/{rest+}", "/a/b/c").unwrap(), r#"{"rest":"b/c"}"#);
        assert_eq!(found("/a", "/a/b"), None);
        assert_eq!(found("/a/{id}", "/a/"), None);
    }

    #[test]
    fn results_become_responses() {
        let response = respond(
            br#"{"statusCode":202,"headers":{"x-a":"1"},"cookies":["c=1"],"body":"aGk=","isBase64Encoded":true}"#,
        );
        assert_eq!(response.status(), 202);
        assert_eq!(response.headers()["x-a"], "1");
        assert_eq!(response.headers()["set-cookie"], "c=1");
        assert_eq!(respond(br#"{"statusCode":"x"}"#).status(), 500);
        assert_eq!(respond(b"not json").status(), 500);
        assert_eq!(respond(br#"{"a":1}"#).status(), 200);
    }

    #[test]
    fn query_values_decode_and_join() {
        assert_eq!(Value::from(query_parameters("a=1&a=2%203&b=x+y")), json!({"a": "1,2 3", "b": "x y"}));
    }

    #[test]
    fn the_gateways_time_reads_as_aws_writes_it() {
        assert_eq!(gateway_time(1_583_348_638_390), "04/Mar/2020:19:03:58 +0000");
    }
}
