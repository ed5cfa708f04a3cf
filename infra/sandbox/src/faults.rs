//! Fault injection: rules that make a third party fail.

use crate::answer::{Object, Refusal, control_body};
use crate::journal::{Journal, Line};
use crate::wildcard;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The request is not carried out; the response has this status.
    Status {
        /// 200 to 599.
        status: StatusCode,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// The body, in place of a short error object.
        body: Option<Value>,
    },
    /// The request is carried out after this wait, even if its caller has disconnected.
    Delay(Duration),
    /// The request is not carried out: the connection hangs for a minute without a response.
    Timeout,
    /// The request is not carried out, and its connection closes.
    Reset,
    /// The request is carried out, and its connection closes without a response.
    LostAnswer,
}

/// How often a rule applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Every time.
    Always,
    /// With this probability, 0 to 1.
    Share(f64),
    /// The next so many times.
    Next(u64),
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// A path and everything below it, or, with a `*` anywhere in it, a pattern for the whole path. No query.
    pub path: String,
    /// Only this method.
    pub method: Option<Method>,
    /// Only requests with this text in their decoded query or body, such as the writes of one row.
    pub contains: Option<String>,
    /// The fault.
    pub fault: Fault,
    /// How often the rule applies.
    pub when: When,
}

/// An invalid rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadRule {
    /// The field that is wrong.
    pub field: String,
    /// What was expected.
    pub reason: String,
}

impl BadRule {
    fn new(field: &str, reason: impl std::fmt::Display) -> Self {
        Self { field: field.to_owned(), reason: reason.to_string() }
    }
}

impl From<BadRule> for Refusal {
    fn from(rule: BadRule) -> Self {
        Self::bad_control(&rule.field, rule.reason)
    }
}

impl Fault {
    /// The `kind` it has in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay(_) => "delay",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::LostAnswer => "lost_answer",
        }
    }

    fn take(members: &mut Object) -> Result<Self, BadRule> {
        let kind: String = take_required(members, "kind")?;
        Ok(match kind.as_str() {
            "status" => Self::Status {
                status: StatusCode::from_u16(take_required(members, "status")?)
                    .ok()
                    .filter(|status| (200..600).contains(&status.as_u16()))
                    .ok_or_else(|| BadRule::new("status", "200 to 599 is required"))?,
                retry_after: take(members, "retry_after")?,
                body: members.remove("body"),
            },
            "delay" => Self::Delay(Duration::from_millis(take_required(members, "delay_ms")?)),
            "timeout" => Self::Timeout,
            "reset" => Self::Reset,
            "lost_answer" => Self::LostAnswer,
            _ => return Err(BadRule::new("kind", "status, delay, timeout, reset or lost_answer is required")),
        })
    }
}

impl Rule {
    /// Parses `{"path", "method"?, "contains"?, "kind", "share"? | "count"?}` and the members of the kind: `status`, `retry_after`?,
    /// `body`?; or `delay_ms`.
    ///
    /// # Errors
    /// Names the first field that is missing, wrong or unknown.
    pub fn parse(rule: Value) -> Result<Self, BadRule> {
        let Value::Object(mut members) = rule else { return Err(BadRule::new("rule", "an object is required")) };
        let path: String = take_required(&mut members, "path")?;
        if !path.starts_with(['/', '*']) {
            return Err(BadRule::new("path", "it must begin with / or *"));
        }
        let method = take::<String>(&mut members, "method")?
            .map(|name| name.to_ascii_uppercase().parse().map_err(|_| BadRule::new("method", "not an HTTP method")))
            .transpose()?;
        let contains = take(&mut members, "contains")?;
        let fault = Fault::take(&mut members)?;
        let when = match (take(&mut members, "share")?, take(&mut members, "count")?) {
            (None, None) => When::Always,
            (Some(share), None) if (0.0..=1.0).contains(&share) => When::Share(share),
            (Some(_), None) => return Err(BadRule::new("share", "0 to 1 is required")),
            (None, Some(count)) => When::Next(count),
            (Some(_), Some(_)) => return Err(BadRule::new("count", "it excludes share")),
        };
        match members.keys().next() {
            Some(name) => Err(BadRule::new(name, format!("means nothing to the kind {}", fault.kind()))),
            None => Ok(Self { path, method, contains, fault, when }),
        }
    }

    fn covers(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|only| only != method) {
            return false;
        }
        if self.path.contains('*') {
            return wildcard::fits(&self.path, path, '*', None);
        }
        let below = path.strip_prefix(self.path.trim_end_matches('/'));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn to_json(&self) -> Object {
        let mut members =
            Object::from_iter([("path".into(), json!(self.path)), ("kind".into(), json!(self.fault.kind()))]);
        let mut set = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        if let Some(method) = &self.method {
            set("method", json!(method.as_str()));
        }
        if let Some(text) = &self.contains {
            set("contains", json!(text));
        }
        match &self.fault {
            Fault::Status { status, retry_after, body } => {
                set("status", json!(status.as_u16()));
                retry_after.iter().for_each(|seconds| set("retry_after", json!(seconds)));
                body.iter().for_each(|body| set("body", body.clone()));
            }
            Fault::Delay(wait) => set("delay_ms", json!(wait.as_millis() as u64)),
            Fault::Timeout | Fault::Reset | Fault::LostAnswer => {}
        }
        match self.when {
            When::Always => {}
            When::Share(share) => set("share", json!(share)),
            When::Next(count) => set("count", json!(count)),
        }
        members
    }
}

fn take<T: DeserializeOwned>(members: &mut Object, field: &str) -> Result<Option<T>, BadRule> {
    let value = members.remove(field).filter(|value| !value.is_null());
    value.map(|value| serde_json::from_value(value).map_err(|error| BadRule::new(field, error))).transpose()
}

fn take_required<T: DeserializeOwned>(members: &mut Object, field: &str) -> Result<T, BadRule> {
    take(members, field)?.ok_or_else(|| BadRule::new(field, "is missing"))
}

/// The active rules. They are tried oldest first, and the first that applies decides. Rules survive a restart, so that
/// requests right after it fail too; their counts of hits do not.
#[derive(Default)]
pub struct Faults {
    state: Mutex<InForce>,
    journal: Arc<Journal>,
}

#[derive(Default)]
struct InForce {
    rules: Vec<Active>,
    last_id: u64,
    random: fastrand::Rng,
}

struct Active {
    id: u64,
    rule: Rule,
    hits: u64,
}

impl InForce {
    fn add(&mut self, rule: Rule) -> u64 {
        self.last_id += 1;
        self.rules.push(Active { id: self.last_id, rule, hits: 0 });
        self.last_id
    }
}

impl Faults {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { state: Mutex::default(), journal }
    }

    /// Adds a rule and returns its id.
    pub fn add(&self, rule: Rule) -> u64 {
        let mut state = self.in_force();
        let id = state.add(rule);
        self.keep(&state);
        id
    }

    fn add_all(&self, rules: Vec<Rule>) -> Vec<u64> {
        let mut state = self.in_force();
        let ids = rules.into_iter().map(|rule| state.add(rule)).collect();
        self.keep(&state);
        ids
    }

    /// Restores the rules of an earlier process.
    pub(crate) fn replay(&self, rules: Vec<Object>) {
        let mut state = self.in_force();
        state.rules.clear();
        for rule in rules.into_iter().filter_map(|rule| Rule::parse(Value::Object(rule)).ok()) {
            state.add(rule);
        }
    }

    fn keep(&self, state: &InForce) {
        let rules = state.rules.iter().map(|active| active.rule.to_json()).collect();
        if let Err(error) = self.journal.append(&[Line::Faults(rules)]) {
            tracing::error!(%error, "the rules in force will not survive a restart");
        }
    }

    /// Removes a rule. Returns whether it existed.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = self.in_force();
        let before = state.rules.len();
        state.rules.retain(|active| active.id != id);
        self.keep(&state);
        state.rules.len() < before
    }

    /// Removes all rules.
    pub fn clear(&self) {
        let mut state = self.in_force();
        state.rules.clear();
        self.keep(&state);
    }

    /// Seeds the random numbers, so that they are the same each time.
    pub fn seed(&self, seed: u64) {
        self.in_force().random.seed(seed);
    }

    /// How often rule `id` has applied; `None` when it does not exist.
    pub fn hits(&self, id: u64) -> Option<u64> {
        self.in_force().rules.iter().find(|active| active.id == id).map(|active| active.hits)
    }

    /// Whether a rule for this path depends on the request's content.
    pub(crate) fn look_inside(&self, method: &Method, path: &str) -> bool {
        self.in_force().rules.iter().any(|Active { rule, .. }| rule.contains.is_some() && rule.covers(method, path))
    }

    /// The fault for this request, if there is one; counts as a hit.
    pub(crate) fn draw(&self, method: &Method, path: &str, content: &str) -> Option<Fault> {
        let mut state = self.in_force();
        let InForce { rules, random, .. } = &mut *state;
        let struck = rules.iter_mut().find(|Active { rule, hits, .. }| {
            rule.covers(method, path)
                && rule.contains.as_ref().is_none_or(|text| content.contains(text))
                && match rule.when {
                    When::Always => true,
                    When::Share(share) => random.f64() < share,
                    When::Next(count) => *hits < count,
                }
        })?;
        struck.hits += 1;
        Some(struck.rule.fault.clone())
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/_sandbox/faults`.
pub(crate) fn routes(faults: Arc<Faults>) -> Router {
    Router::new()
        .route("/_sandbox/faults", get(list).post(add).delete(clear))
        .route("/_sandbox/faults/seed", post(seed))
        .route("/_sandbox/faults/{id}", delete(remove))
        .with_state(faults)
}

async fn list(State(faults): State<Arc<Faults>>) -> Json<Value> {
    let state = faults.in_force();
    let described = state.rules.iter().map(|active| {
        let mut members = active.rule.to_json();
        members.insert("id".into(), json!(active.id));
        members.insert("hits".into(), json!(active.hits));
        members
    });
    Json(json!({"faults": described.collect::<Vec<_>>()}))
}

/// Adds one rule, or an array of rules: all or none.
async fn add(State(faults): State<Arc<Faults>>, body: Bytes) -> Result<(StatusCode, Json<Value>), Refusal> {
    let added = match control_body(&body)? {
        Value::Array(rules) => {
            let rules = rules.into_iter().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
            json!({"ids": faults.add_all(rules)})
        }
        rule => json!({"id": faults.add(Rule::parse(rule)?)}),
    };
    Ok((StatusCode::CREATED, Json(added)))
}

async fn seed(State(faults): State<Arc<Faults>>, body: Bytes) -> Result<StatusCode, Refusal> {
    let mut members: Object = control_body(&body)?;
    faults.seed(take_required(&mut members, "seed")?);
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(State(faults): State<Arc<Faults>>) -> StatusCode {
    faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove(State(faults): State<Arc<Faults>>, Path(id): Path<String>) -> StatusCode {
    match id.parse().is_ok_and(|id| faults.remove(id)) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> Rule {
        Rule::parse(value).unwrap()
    }

    #[test]
    fn a_bad_rule_names_its_field() {
        for (value, field) in [
            (json!(7), "rule"),
            (json!({"kind": "reset"}), "path"),
            (json!({"path": "alis", "kind": "reset"}), "path"),
            (json!({"path": "/", "kind": "explode"}), "kind"),
            (json!({"path": "/", "method": "G T", "kind": "reset"}), "method"),
            (json!({"path": "/", "kind": "status"}), "status"),
            (json!({"path": "/", "kind": "status", "status": 99}), "status"),
            (json!({"path": "/", "kind": "status", "status": "500"}), "status"),
            (json!({"path": "/", "kind": "delay"}), "delay_ms"),
            (json!({"path": "/", "kind": "reset", "delay_ms": 5}), "delay_ms"),
            (json!({"path": "/", "kind": "reset", "share": 2}), "share"),
            (json!({"path": "/", "kind": "reset", "share": 0.5, "count": 1}), "count"),
            (json!({"path": "/", "kind": "reset", "count": -1}), "count"),
        ] {
            assert_eq!(Rule::parse(value.clone()).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        let value = json!({"path": "/alis/*", "method": "GET", "contains": "7", "kind": "status", "status": 429, "retry_after": 3,
            "body": {"message": "slow down"}, "count": 2});
        assert_eq!(Value::Object(rule(value.clone()).to_json()), value);
    }

    #[test]
    fn a_path_covers_what_is_below_it_and_a_pattern_the_whole() {
        for (pattern, path, expected) in [
            ("/alis/v1/residents/7", "/alis/v1/residents/7", true),
            ("/alis/v1/residents/7", "/alis/v1/residents/7/leaves", true),
            ("/alis/v1/residents/7", "/alis/v1/residents/70", false),
            ("/", "/caspio/oauth/token", true),
            ("/alis/*/leaves", "/alis/v1/residents/7/leaves", true),
            ("/alis/*/leaves", "/alis/v1/residents/7", false),
            ("*", "/anything", true),
        ] {
            let rule = rule(json!({"path": pattern, "kind": "reset"}));
            assert_eq!(rule.covers(&Method::GET, path), expected, "{pattern} {path}");
        }
        assert!(!rule(json!({"path": "/", "method": "put", "kind": "reset"})).covers(&Method::GET, "/"));
    }

    #[test]
    fn counts_run_out_and_seeded_draws_repeat() {
        let faults = Faults::default();
        let id = faults.add(rule(json!({"path": "/", "kind": "reset", "count": 2})));
        let struck = |faults: &Faults| faults.draw(&Method::GET, "/x", "").is_some();
        assert_eq!([struck(&faults), struck(&faults), struck(&faults)], [true, true, false]);
        assert_eq!(faults.hits(id), Some(2));
        assert!(faults.remove(id) && !faults.remove(id));

        faults.add(rule(json!({"path": "/", "kind": "reset", "share": 0.5})));
        let draws = |seed| {
            faults.seed(seed);
            (0..64).map(|_| struck(&faults)).collect::<Vec<_>>()
        };
        let first = draws(42);
        assert_eq!(first, draws(42));
        assert_ne!(first, draws(43));
        assert!(first.contains(&true) && first.contains(&false));
    }
}
