//! Reading what management calls bring: strictly, with the field named.

use crate::answer::Failure;
use crate::ingest::{check_size, json_text};
use http::header;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use switchyard_lambda::{Call, Reply};

/// Largest body of a management call.
const MAX_BYTES: usize = 128 * 1024;

/// Longest id of anything, in bytes: that of a digest in hex.
pub const MAX_ID: usize = 64;

/// Most things that one page shows, and how many it shows when nobody says.
const MAX_PAGE: usize = 200;
const PAGE: usize = 50;

/// The body's JSON as text.
pub fn text(call: &Call) -> Result<&str, Failure> {
    check_size(call, MAX_BYTES)?;
    json_text(call)
}

/// The body's fields; what is no field of `T` is refused. An empty body is an object without fields.
pub fn fields<T: DeserializeOwned>(call: &Call) -> Result<T, Failure> {
    let text = if call.body.is_empty() { "{}" } else { text(call)? };
    parse(text)
}

/// The same of a JSON text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    // Whether it is JSON at all, and an object, is said in words of its own.
    let whole: &RawValue =
        serde_json::from_str(text).map_err(|_| Failure::new(400, "malformed_json", "Malformed JSON"))?;
    if !whole.get().starts_with('{') {
        return Err(Failure::field("body must be an object"));
    }
    let mut reader = serde_json::Deserializer::from_str(whole.get());
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // Where in the text it is helps nobody who sent an object.
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        Failure::field(if path == "." { reason.to_owned() } else { format!("{path}: {reason}") })
    })
}

/// So that null is told from absent.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The query's parameters; one that is not in `known` is refused.
pub fn query(call: &Call, known: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    let mut read = BTreeMap::new();
    for (name, value) in call.form() {
        if !known.contains(&name.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::field(format!("{name} is no parameter; there are {known}")));
        }
        if read.insert(name.clone(), value).is_some() {
            return Err(Failure::field(format!("{name} must not be given twice")));
        }
    }
    Ok(read)
}

/// How many things a page is to show.
pub fn limit(query: &BTreeMap<String, String>) -> Result<usize, Failure> {
    match query.get("limit") {
        None => Ok(PAGE),
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
            _ => Err(Failure::field(format!("limit must be 1 to {MAX_PAGE}"))),
        },
    }
}

/// Where a page is to go on, as a page before it said.
pub fn cursor(query: &BTreeMap<String, String>) -> Result<Option<&str>, Failure> {
    query.get("cursor").map(|text| place(text)).transpose()
}

/// The same as a text.
pub fn place(text: &str) -> Result<&str, Failure> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_place = text.bytes().next().is_some_and(is_digit) && text.bytes().all(|byte| is_digit(byte) || byte == b'-');
    match is_place && text.len() <= MAX_ID + 14 {
        true => Ok(text),
        false => Err(Failure::field("cursor must be one that a page before ended with")),
    }
}

/// The number in `If-Match: "7"`.
pub fn if_match(call: &Call) -> Result<Option<i64>, Failure> {
    match call.header(header::IF_MATCH) {
        None | Some("*") => Ok(None),
        Some(tag) => match tag.trim_start_matches("W/").trim_matches('"').parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Failure::stale()),
        },
    }
}

/// What becomes of a change that another came before: 412 to who said what they knew.
pub fn stale(call: &Call) -> Failure {
    match if_match(call) {
        Ok(None) => Failure::contended(),
        Ok(Some(_)) | Err(_) => Failure::stale(),
    }
}

/// `reply` with that number as its `ETag`.
pub fn tagged(reply: Reply, number: i64) -> Reply {
    match header::HeaderValue::from_str(&format!("\"{number}\"")) {
        Ok(tag) => reply.with_header(header::ETAG, tag),
        Err(_) => reply,
    }
}

/// An answer that is not JSON.
pub fn text_reply(media_type: &'static str, body: String) -> Reply {
    let reply = Reply::json(200, &()).with_header(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    Reply { body, ..reply }
}
