//! Every effect a third party received: what a test compares with what should have happened.

use crate::answer::{Object, Refusal, control_number};
use crate::journal::{Journal, Line};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many entries an answer holds unless `limit` says otherwise.
const DEFAULT_LIMIT: usize = 1000;

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A record came to be.
    Insert,
    /// A record changed, or was written again unchanged.
    Update,
    /// A record is gone.
    Delete,
}

/// One write that a third party carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which third party, as in the first segment of its paths: `caspio`.
    pub service: String,
    /// What was done.
    pub operation: Operation,
    /// The table, or whatever the service calls its collections.
    pub table: String,
    /// The service's own identifier of the record: Caspio's `PK_ID`.
    pub key: Value,
    /// The whole record after the write; for a deletion, before it.
    pub record: Object,
    /// What the caller sent.
    pub request: Object,
    /// `false` when the caller never heard that the write succeeded.
    pub answered: bool,
}

/// An effect in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 and never starts again, not even when the ledger is cleared.
    pub seq: u64,
    /// When, UTC.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub effect: Effect,
}

pub(crate) struct Ledger {
    journal: Arc<Journal>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    last_seq: u64,
    notes: Vec<Note>,
}

/// An entry as text, which a load test's hundred thousand need; beside it what filters look at.
struct Note {
    seq: u64,
    service: String,
    table: String,
    entry: Box<RawValue>,
}

impl Note {
    fn of(entry: &Entry) -> serde_json::Result<Self> {
        let Entry { seq, effect: Effect { service, table, .. }, .. } = entry;
        Ok(Self { seq: *seq, service: service.clone(), table: table.clone(), entry: to_raw_value(entry)? })
    }
}

impl Ledger {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { journal, kept: Mutex::default() }
    }

    /// Takes in an entry that the journal held.
    pub(crate) fn replay(&self, entry: &Entry) {
        let mut kept = self.kept();
        kept.last_seq = entry.seq;
        kept.notes.extend(Note::of(entry));
    }

    /// Takes in that the journal's entries so far were cleared.
    pub(crate) fn replay_clear(&self) {
        self.kept().notes.clear();
    }

    /// Writes down all of `effects`, or none. The caller applies them to its rows only afterwards.
    #[expect(clippy::disallowed_methods, reason = "a stand-in for another company's service has that company's clock")]
    pub(crate) fn record(&self, effects: Vec<Effect>) -> io::Result<()> {
        let at = Timestamp::now().round(Unit::Millisecond).map_err(io::Error::other)?;
        let mut kept = self.kept();
        let (mut notes, mut lines) = (Vec::new(), Vec::new());
        for (seq, effect) in (kept.last_seq + 1..).zip(effects) {
            let entry = Entry { seq, at, effect };
            notes.push(Note::of(&entry)?);
            lines.push(Line::Effect(entry));
        }
        self.journal.append(&lines)?;
        kept.last_seq += notes.len() as u64;
        kept.notes.extend(notes);
        Ok(())
    }

    /// Every entry, oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.kept().notes.iter().filter_map(|note| serde_json::from_str(note.entry.get()).ok()).collect()
    }

    fn clear(&self) -> io::Result<()> {
        let mut kept = self.kept();
        self.journal.append(&[Line::LedgerCleared])?;
        kept.notes.clear();
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/_sandbox/ledger`.
pub(crate) fn routes(ledger: Arc<Ledger>) -> Router {
    Router::new().route("/_sandbox/ledger", get(list).delete(clear)).with_state(ledger)
}

/// `?service=&table=` filter. `?after=<seq>` pages forward; without it the newest `limit` entries are shown.
/// `?count` leaves the entries out. `count` is of all that fit, however many are shown.
async fn list(
    State(ledger): State<Arc<Ledger>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Page<'a> {
        count: usize,
        entries: &'a [&'a RawValue],
    }
    let wanted = |name: &str, value: &str| query.get(name).is_none_or(|filter| filter == value);
    let after = query.get("after").map(|text| control_number::<u64>("after", text)).transpose()?;
    let limit = query.get("limit").map(|text| control_number("limit", text)).transpose()?.unwrap_or(DEFAULT_LIMIT);

    let kept = ledger.kept();
    let fitting: Vec<&RawValue> = kept
        .notes
        .iter()
        .filter(|note| {
            note.seq > after.unwrap_or(0) && wanted("service", &note.service) && wanted("table", &note.table)
        })
        .map(|note| &*note.entry)
        .collect();
    let count = fitting.len();
    if query.contains_key("count") {
        return Ok(Json(json!({"count": count})).into_response());
    }
    let shown = match after {
        Some(_) => &fitting[..count.min(limit)],
        None => &fitting[count.saturating_sub(limit)..],
    };
    Ok(Json(Page { count, entries: shown }).into_response())
}

async fn clear(State(ledger): State<Arc<Ledger>>) -> Result<StatusCode, Refusal> {
    ledger.clear().map_err(|error| Refusal::not_kept(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
