//! The ledger: every effect that a third party carried out, for tests to compare with the expected ones.

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

/// The default number of entries in a response.
const DEFAULT_LIMIT: usize = 1000;

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A record was created.
    Insert,
    /// A record was updated, perhaps without a change.
    Update,
    /// A record was deleted.
    Delete,
}

/// One write that a third party carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The third party, as in the first segment of its paths: `caspio`.
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
    /// `false` when the caller received no response to the write.
    pub answered: bool,
}

/// An effect with its sequence number and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1, and goes on when the ledger is cleared.
    pub seq: u64,
    /// The time, UTC.
    pub at: Timestamp,
    /// The effect.
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

/// An entry as text, to save memory in load tests, with the values for filters.
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

    /// Restores an entry from the journal.
    pub(crate) fn replay(&self, entry: &Entry) {
        let mut kept = self.kept();
        kept.last_seq = entry.seq;
        kept.notes.extend(Note::of(entry));
    }

    /// Restores a clearing of the ledger from the journal.
    pub(crate) fn replay_clear(&self) {
        self.kept().notes.clear();
    }

    /// Records all `effects`, or none. The caller applies them to its rows afterwards.
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
/// `?count` leaves the entries out. `count` includes all matching entries, also those that are not shown.
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
