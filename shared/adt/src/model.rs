//! ALIS's webhook and records, the normalised resident, and the queue message.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use switchyard_core::{Timestamp, id_type};

id_type! {
    /// A company's key at ALIS: the tenant.
    pub CompanyKey;
    /// ALIS's id of a message: text or number as sent, with every digit, since .NET ticks do not fit a double.
    pub EventMessageId;
}

/// The kind of [`switchyard_core::Envelope`] that carries a [`QueuedEvent`].
pub const ENVELOPE_KIND: &str = "adt.event";

/// Longest company key: it becomes a DynamoDB partition key, which takes 2,048 bytes, at four bytes a character.
const MAX_COMPANY_CHARS: usize = 200;

/// Longest event type, message id and date: type and id together become a sort key, which takes 1,024 bytes.
const MAX_TEXT_CHARS: usize = 100;

/// The queue message: a key only. The payload stays in the event's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEvent {
    /// ALIS's event type, such as `residents.move_in`.
    pub event_type: String,
    /// ALIS's id of the message.
    pub event_message_id: EventMessageId,
}

/// One ALIS webhook. The same `event_message_id` may come again under another type or company.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The tenant.
    pub company_key: CompanyKey,
    /// The community, when the event concerns one.
    pub community_id: Option<i64>,
    /// Such as `residents.move_in`; any text is accepted, unknown types are stored and ignored.
    pub event_type: String,
    /// ALIS's id of the message.
    pub event_message_id: EventMessageId,
    /// As sent; mostly ISO 8601, sometimes without a zone, which then means UTC.
    pub event_message_date: String,
    /// The event's own data, verbatim JSON object; `{}` when absent.
    pub data: String,
}

/// Why a body is not a [`Notification`], with the messages of the replaced service's validator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaErrors {
    /// Faults of the body as a whole.
    pub form_errors: Vec<String>,
    /// Faults by field.
    pub field_errors: BTreeMap<&'static str, Vec<String>>,
}

impl Notification {
    /// Reads a webhook body.
    ///
    /// # Errors
    /// Every fault found, by field.
    pub fn parse(body: &[u8]) -> Result<Self, SchemaErrors> {
        let form = |message: String| SchemaErrors { form_errors: vec![message], ..SchemaErrors::default() };
        let raw: &RawValue = serde_json::from_slice(body).map_err(|_| form("Malformed JSON".into()))?;
        let fields: BTreeMap<String, &RawValue> = match kind_of(raw) {
            "object" => serde_json::from_str(raw.get()).map_err(|_| form("Malformed JSON".into()))?,
            other => return Err(form(format!("Expected object, received {other}"))),
        };
        let mut reader = Reader { fields, errors: SchemaErrors::default() };
        let notification = Self {
            company_key: reader.company_key().into(),
            community_id: reader.community_id(),
            event_type: reader.text("EventType", 0, MAX_TEXT_CHARS),
            event_message_id: reader.message_id().into(),
            event_message_date: reader.text("EventMessageDate", 0, MAX_TEXT_CHARS),
            data: reader.data(),
        };
        if reader.errors == SchemaErrors::default() { Ok(notification) } else { Err(reader.errors) }
    }

    /// The kind of this event's type.
    pub fn kind(&self) -> EventKind {
        EventKind::of(&self.event_type)
    }
}

/// Reads the fields one by one and collects their errors.
struct Reader<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    errors: SchemaErrors,
}

impl Reader<'_> {
    fn refuse(&mut self, field: &'static str, message: impl Into<String>) {
        self.errors.field_errors.entry(field).or_default().push(message.into());
    }

    fn text(&mut self, field: &'static str, min: usize, max: usize) -> String {
        let text = match self.fields.get(field) {
            None => {
                self.refuse(field, "Required");
                return String::new();
            }
            Some(raw) => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) => text,
                Err(_) => {
                    let received = kind_of(raw);
                    self.refuse(field, format!("Expected string, received {received}"));
                    return String::new();
                }
            },
        };
        self.bounded(field, text, min, max)
    }

    fn bounded(&mut self, field: &'static str, text: String, min: usize, max: usize) -> String {
        let length = text.chars().count();
        if length < min {
            self.refuse(field, format!("String must contain at least {min} character(s)"));
        } else if length > max {
            self.refuse(field, format!("String must contain at most {max} character(s)"));
        }
        // JSON allows these two characters, SQS does not.
        if text.contains(['\u{FFFE}', '\u{FFFF}']) {
            self.refuse(field, "String must not contain U+FFFE or U+FFFF");
        }
        text
    }

    fn company_key(&mut self) -> String {
        self.text("CompanyKey", 1, MAX_COMPANY_CHARS)
    }

    fn community_id(&mut self) -> Option<i64> {
        let raw = *self.fields.get("CommunityId")?;
        match kind_of(raw) {
            "null" => None,
            "number" => {
                let id = raw.get().parse().ok();
                if id.is_none() {
                    self.refuse("CommunityId", "Expected integer, received float");
                }
                id
            }
            other => {
                self.refuse("CommunityId", format!("Expected number, received {other}"));
                None
            }
        }
    }

    fn message_id(&mut self) -> String {
        const FIELD: &str = "EventMessageId";
        let Some(raw) = self.fields.get(FIELD).copied() else {
            self.refuse(FIELD, "Required");
            return String::new();
        };
        match kind_of(raw) {
            "number" => self.bounded(FIELD, raw.get().to_owned(), 1, MAX_TEXT_CHARS),
            "string" => self.text(FIELD, 0, MAX_TEXT_CHARS),
            _ => {
                self.refuse(FIELD, "Invalid input");
                String::new()
            }
        }
    }

    fn data(&mut self) -> String {
        match self.fields.get("NotificationData").copied() {
            None => "{}".to_owned(),
            // Parsed here, so that the consumer can parse what is stored.
            Some(raw) if kind_of(raw) == "object" && serde_json::from_str::<Value>(raw.get()).is_ok() => {
                raw.get().to_owned()
            }
            Some(raw) if kind_of(raw) == "object" => {
                self.refuse("NotificationData", "Invalid input");
                String::new()
            }
            Some(raw) => {
                let received = kind_of(raw);
                self.refuse("NotificationData", format!("Expected object, received {received}"));
                String::new()
            }
        }
    }
}

/// The JSON type of a value, by its first character.
fn kind_of(raw: &RawValue) -> &'static str {
    match raw.get().trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// What an event of a type does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `test.event`: acknowledged, stored, never queued.
    Test,
    /// The resident moved in, perhaps again.
    MoveIn,
    /// A change of the resident's own data, room or stay.
    Update,
    /// The resident moved out; the row may be deleted after the configured time.
    MoveOut,
    /// A leave began or ended; its dates are written.
    Leave,
    /// A leave was cancelled; ALIS may have deleted it.
    LeaveCancelled,
    /// Stored and ignored.
    Unsupported,
}

impl EventKind {
    /// The kind of an ALIS event type; types have one of two prefixes, `residents.` and `resident.`.
    pub fn of(event_type: &str) -> Self {
        match event_type {
            "test.event" => Self::Test,
            "residents.move_in" => Self::MoveIn,
            "residents.move_out" => Self::MoveOut,
            "residents.leave_start" | "residents.leave_end" => Self::Leave,
            "residents.leave_cancelled" => Self::LeaveCancelled,
            "residents.basic_info_updated"
            | "residents.created"
            | "residents.health_profile_updated"
            | "residents.move_in_out_info_updated"
            | "resident.room_assigned"
            | "resident.room_changed"
            | "resident.room_unassigned"
            | "resident.contact.created"
            | "resident.contact.updated"
            | "resident.contact.deleted" => Self::Update,
            _ => Self::Unsupported,
        }
    }
}

/// A JSON object of ALIS, with keys in PascalCase or camelCase.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Record(pub Map<String, Value>);

impl Record {
    /// The value under `name` (PascalCase), or under its camelCase form.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null()).or_else(|| {
            let mut camel = name.to_owned();
            camel[..1].make_ascii_lowercase();
            self.0.get(&camel)
        })
    }

    /// A string that is not blank, untrimmed.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// The first of `names` that holds text.
    pub fn first_text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// A whole number, or a string with one.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A number or a non-blank string, as text.
    pub fn id(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => None,
        }
    }

    /// A boolean, or a string: true, 1, yes, false, 0 or no.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The objects of an array.
    pub fn list(&self, name: &str) -> Vec<Self> {
        match self.get(name) {
            Some(Value::Array(values)) => {
                values.iter().filter_map(|value| value.as_object().cloned().map(Self)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A float that is a whole number a double holds exactly, such as `8100.0` or `1e3`.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

/// A normalised resident, in ALIS's terms. Source: `docs/adt.md`, "Normalised resident".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// ALIS's number of the resident.
    pub resident_id: i64,
    /// Lower case; `unknown` when ALIS gives none.
    pub status: String,
    /// Such as `MC`.
    pub product_type: Option<String>,
    /// Such as `Memory Care`.
    pub classification: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Midnight UTC of the day.
    pub date_of_birth: Option<Timestamp>,
    /// Room and bed as one text, such as `204 B`.
    pub room: Option<String>,
    /// Such as `204`.
    pub room_number: Option<String>,
    /// Such as `B`.
    pub bed: Option<String>,
    /// Whether the resident is on leave.
    pub off_prem: bool,
    /// When the resident moved in.
    pub on_prem_date: Option<Timestamp>,
    /// Since when the resident is on leave.
    pub off_prem_date: Option<Timestamp>,
    /// ALIS's own change stamp.
    pub updated_at: Option<Timestamp>,
}

impl Resident {
    /// Whether the resident is present: not on leave.
    pub fn on_prem(&self) -> bool {
        !self.off_prem
    }
}

/// Whether a leave was read from ALIS.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaveRead {
    /// Not read, or unknown to ALIS: Caspio's leave columns keep their values.
    NotRead,
    /// Read; `None` when the resident has no leave.
    Read(Option<Record>),
}
