//! The rules, without I/O: from ALIS's records to the normalised resident and Caspio's flat row.

use crate::model::{CompanyKey, EventMessageId, LeaveRead, Record, Resident};
use serde_json::{Map, Value, json};
use switchyard_core::{Timestamp, iso_millis};

/// Parses an instant. A date alone means its midnight, and a time without zone is in UTC.
pub(crate) fn parse_instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let utc = |at: jiff::civil::DateTime| jiff::tz::TimeZone::UTC.to_timestamp(at).ok();
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<jiff::civil::DateTime>().ok().and_then(utc))
        .or_else(|| text.parse::<jiff::civil::Date>().ok().and_then(|date| utc(date.at(0, 0, 0, 0))))
}

/// The resident that an event is about: `ResidentId`, a number or a string with one; 0 means none.
pub(crate) fn resident_id(data: &Record) -> Option<i64> {
    data.integer("ResidentId").filter(|id| *id != 0)
}

/// Normalises ALIS's resident detail and basic info; `None` when the detail has no `ResidentId`.
pub(crate) fn normalise(detail: &Record, basic: &Record) -> Option<Resident> {
    let owned = |text: &str| text.to_owned();
    let either = |name: &str| detail.text(name).or_else(|| basic.text(name)).map(owned);
    let instant = |record: &Record, names: &[&str]| record.first_text(names).and_then(parse_instant);
    let moved_in = |names: &[&str]| instant(detail, names).or_else(|| instant(basic, names));
    let off_prem = detail.flag("IsOnLeave").or_else(|| detail.flag("OnLeave")).unwrap_or(false);
    let (room, room_number, bed) = current_room(detail, basic);
    Some(Resident {
        resident_id: resident_id(detail)?,
        status: detail.text("Status").map_or_else(|| owned("unknown"), str::to_lowercase),
        product_type: either("ProductType"),
        classification: either("Classification"),
        first_name: detail.text("FirstName").map(owned),
        last_name: detail.text("LastName").map(owned),
        date_of_birth: instant(detail, &["DateOfBirth"]),
        room,
        room_number,
        bed,
        off_prem,
        on_prem_date: moved_in(&["PhysicalMoveInDate", "PhysicalMoveIn"])
            .or_else(|| moved_in(&["FinancialMoveInDate", "FinancialMoveIn"])),
        off_prem_date: off_prem
            .then(|| instant(detail, &["OnLeaveStartDateUtc", "OnLeaveStartDate", "LeaveStartDate"]))
            .flatten(),
        updated_at: instant(detail, &["UpdatedAtUtc"]),
    })
}

/// Room, room number and bed of the primary room, else of the first.
fn current_room(detail: &Record, basic: &Record) -> (Option<String>, Option<String>, Option<String>) {
    let mut rooms = detail.list("Rooms");
    if rooms.is_empty() {
        rooms = basic.list("Rooms");
    }
    let Some(room) = rooms.iter().find(|room| room.flag("IsPrimary") == Some(true)).or(rooms.first()) else {
        return (None, None, None);
    };
    let word = |index| room.text("Room").and_then(|text| text.split_whitespace().nth(index));
    let number = room.text("RoomNumber").or_else(|| word(0)).map(str::to_owned);
    let bed = room.text("Bed").or_else(|| word(1)).map(str::to_owned);
    let whole = room.text("Room").map(str::to_owned).or_else(|| match (&number, &bed) {
        (Some(number), Some(bed)) => Some(format!("{number} {bed}")),
        (number, _) => number.clone(),
    });
    (whole, number, bed)
}

/// The event that a flat row reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatEvent<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) event_message_id: &'a EventMessageId,
    pub(crate) event_message_date: &'a str,
    pub(crate) leave: &'a LeaveRead,
}

/// Caspio's row for a resident. Absent columns keep their value in Caspio: those of the leave unless it was read, and those
/// of the event when a later event was applied before (`event` is `None`).
pub(crate) fn flat_row(
    company_key: &CompanyKey,
    community_id: Option<i64>,
    resident: &Resident,
    event: Option<FlatEvent<'_>>,
) -> Map<String, Value> {
    let instant = |at: Option<Timestamp>| at.map(iso_millis);
    let mut row = json!({
        "companyKey": company_key,
        "alisResidentId": resident.resident_id,
        "status": resident.status,
        "productType": resident.product_type,
        "classification": resident.classification,
        "firstName": resident.first_name,
        "lastName": resident.last_name,
        "dateOfBirth": instant(resident.date_of_birth),
        "room": resident.room,
        "roomNumber": resident.room_number,
        "bed": resident.bed,
        "updatedAtUtc": instant(resident.updated_at),
    });
    if let Some(event) = event {
        row["communityId"] = json!(community_id);
        row["eventType"] = json!(event.event_type);
        row["eventMessageId"] = json!(event.event_message_id);
        row["eventTimestamp"] = json!(event.event_message_date);
        if let LeaveRead::Read(leave) = event.leave {
            let text = |names: &[&str]| leave.as_ref().and_then(|leave| leave.first_text(names));
            row["leaveStartDate"] = json!(text(&["StartDate", "StartDateTime"]));
            row["leaveEndDate"] = json!(text(&["EndDate", "ActualEndDateTime"]));
            row["leaveExpectedReturnDate"] = json!(text(&["ExpectedReturnDate", "ScheduledEndDateTime"]));
            row["leaveReason"] = json!(text(&["Reason", "LeaveDestination"]));
        }
    }
    match row {
        Value::Object(columns) => columns,
        _ => Map::new(),
    }
}

/// One page of ALIS's list of residents.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResidentPage {
    pub(crate) residents: Vec<Record>,
    pub(crate) has_more: bool,
}

/// Parses a page in any of the shapes that ALIS uses: an array, `{Residents, Page, TotalPages, HasMore}`, or the newer
/// `{items, pageNumber, totalPages, hasNextPage}`. A full page
/// without such a member may have a next one.
pub(crate) fn resident_page(answer: Value, page_size: u32) -> ResidentPage {
    let wrapped = match answer {
        Value::Object(members) => Record(members),
        array => Record(Map::from_iter([("Residents".to_owned(), array)])),
    };
    let mut residents = wrapped.list("Residents");
    if residents.is_empty() {
        residents = wrapped.list("Items");
    }
    let is_full = residents.len() >= page_size as usize;
    let before_last = || {
        let page = wrapped.integer("Page").or_else(|| wrapped.integer("PageNumber"))?;
        Some(page < wrapped.integer("TotalPages")?)
    };
    let said = wrapped.flag("HasMore").or_else(|| wrapped.flag("HasNextPage"));
    let has_more = said.unwrap_or_else(|| before_last().unwrap_or(false) || is_full);
    ResidentPage { residents, has_more }
}

/// Whether Caspio's value equals ours: as JSON, as a number in text, or as an instant in another format.
pub(crate) fn same_value(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::String(text), Value::Number(number)) | (Value::Number(number), Value::String(text)) => {
            *text == number.to_string()
        }
        (Value::String(theirs), Value::String(ours)) if theirs != ours => {
            matches!((parse_instant(theirs), parse_instant(ours)), (Some(theirs), Some(ours)) if theirs == ours)
        }
        _ => theirs == ours,
    }
}

/// Masks values under keys that may hold personal data, at any depth, so that operators may see the rest.
pub(crate) fn masked(value: &Value) -> Value {
    const PRIVATE: [&str; 17] = [
        "name",
        "dob",
        "dateofbirth",
        "birth",
        "ssn",
        "address",
        "phone",
        "email",
        "contact",
        "diagnos",
        "insur",
        "group",
        "policy",
        "member",
        "password",
        "token",
        "secret",
    ];
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| {
                    let plain: String =
                        key.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect();
                    let private = PRIVATE.iter().any(|part| plain.contains(part));
                    (key.clone(), if private { "[REDACTED]".into() } else { masked(value) })
                })
                .collect(),
        ),
        Value::Array(values) => values.iter().map(masked).collect(),
        other => other.clone(),
    }
}
