//! Invented people, generated from their ids and therefore always the same.

use crate::answer::Object;
use serde_json::{Value, json};

/// The companies with residents of their own.
pub(crate) const COMPANIES: [&str; 2] = ["appstoresandbox", "harborpoint"];

/// Each company's listed residents have this many ids, from its first.
const LISTED: i64 = 40;
const FIRST_IDS: [i64; 2] = [7001, 5001];

/// Residents that exist but are not listed, for load tests.
const UNLISTED: std::ops::Range<i64> = 1_000_000..2_000_000;

/// A house of a company.
#[derive(Clone, Copy)]
pub(crate) struct Community {
    pub(crate) id: i64,
    pub(crate) name: &'static str,
    pub(crate) company: &'static str,
    pub(crate) rooms: [&'static str; 14],
    /// Caspio's identifier of its first room; the others follow.
    pub(crate) first_cuid: i64,
    city: &'static str,
    state: &'static str,
    zip: &'static str,
}

const CORRIDORS: [&str; 14] =
    ["101", "102", "103 A", "103 B", "104", "105", "106", "201", "202", "203 A", "203 B", "204", "205", "206"];

/// All houses, company by company. The quote, the two spaces and the state in a city occur in real data.
pub(crate) const COMMUNITIES: &[Community] = &[
    house(12, "Cedar Grove", COMPANIES[0], ("Ely", "MN", "55731"), CORRIDORS, 1200),
    house(13, "Lakeside Terrace", COMPANIES[0], ("Duluth - MN", "MN", "55802"), CORRIDORS, 1300),
    house(14, "Juniper House", COMPANIES[0], ("Bemidji", "MN", "56601"), CORRIDORS, 1400),
    house(
        77,
        "Harbor Point",
        COMPANIES[1],
        ("Rockport", "ME", "04856"),
        ["10", "12", "14 B", "15", "16", "18 A", "18 B", "20", "21", "22 A", "22 B", "24", "25", "26"],
        900,
    ),
    house(78, "Harbor Point East", COMPANIES[1], ("Camden", "ME", "04843"), CORRIDORS, 1700),
    house(79, "Sailor's  Rest", COMPANIES[1], ("Belfast", "ME", "04915"), CORRIDORS, 1800),
];

const FIRST_NAMES: [&str; 12] =
    ["Ada", "Bruno", "Clara", "Dora", "Emil", "Fern", "Gus", "Hazel", "Ivo", "Juna", "Karl", "Lotte"];
const LAST_NAMES: [&str; 11] = [
    "Sampleton",
    "Testwell",
    "Mockridge",
    "Demoford",
    "Fixture",
    "Placeholder",
    "Stubbs",
    "Dummyson",
    "Exampler",
    "Fakenham",
    "Trialworth",
];
const CLASSIFICATIONS: [&str; 5] = ["Detect Basic", "Memory Care", "Detect Plus", "Intervene", "Declined"];
const PRODUCT_TYPES: [&str; 3] = ["AL", "MC", "IL"];
const DIAGNOSES: [&str; 5] =
    ["Gout,  unspecified", "Hypertension", "Type 2 diabetes, controlled", "Arthritis", "Asthma"];

const fn house(
    id: i64,
    name: &'static str,
    company: &'static str,
    (city, state, zip): (&'static str, &'static str, &'static str),
    rooms: [&'static str; 14],
    first_cuid: i64,
) -> Community {
    Community { id, name, company, rooms, first_cuid, city, state, zip }
}

impl Community {
    pub(crate) fn to_json(self) -> Value {
        json!({
            "communityId": self.id,
            "communityName": self.name,
            "city": self.city,
            "state": self.state,
            "zip": self.zip,
            "companyKey": self.company,
            "companyId": 1 + COMPANIES.iter().position(|company| *company == self.company).unwrap_or_default(),
            "companyName": self.company,
            "timeZone": if self.state == "MN" { "Central Standard Time" } else { "Eastern Standard Time" },
            "status": "Active",
        })
    }
}

/// All listed residents, company by company.
pub(crate) fn listed_ids() -> impl Iterator<Item = i64> {
    FIRST_IDS.into_iter().flat_map(|first| first..first + LISTED)
}

/// The house and room of a resident; `None` when the resident does not exist.
fn home(id: i64) -> Option<(Community, &'static str)> {
    let listed = FIRST_IDS.into_iter().zip(COMPANIES).find(|(first, _)| (*first..first + LISTED).contains(&id));
    let (community, room) = match listed {
        // One resident a room, house by house, from the second room on: 5001 lives in Harbor Point's 12.
        Some((first, company)) => {
            let mut houses = COMMUNITIES.iter().filter(|community| community.company == company);
            let place = usize::try_from(id - first).ok()?;
            (*houses.nth(place / CORRIDORS.len())?, id - first + 1)
        }
        None if UNLISTED.contains(&id) => (pick(COMMUNITIES, id), id / 6),
        None => return None,
    };
    Some((community, pick(&community.rooms, room)))
}

/// A resident's detail.
pub(crate) fn resident(id: i64) -> Option<Object> {
    let (community, room) = home(id)?;
    let leave = leave(id).filter(|leave| leave["endDate"].is_null());
    let moved_out = leave.is_none() && id % 13 == 0;
    let moved_in = format!("{}-{:02}-{:02}", 2022 + id % 3, 1 + id % 12, 1 + id % 27);
    object(json!({
        "residentId": id,
        "companyKey": community.company,
        "communityId": community.id,
        "communityName": community.name,
        "status": if moved_out { "MovedOut" } else { "CurrentResident" },
        "productType": pick(&PRODUCT_TYPES, id),
        "classification": pick(&CLASSIFICATIONS, id + 4),
        "firstName": pick(&FIRST_NAMES, id),
        "lastName": pick(&LAST_NAMES, id),
        "dateOfBirth": format!("{}-{:02}-{:02}", 1930 + id % 20, 1 + id % 12, 1 + id % 28),
        "ssn": null,
        "phone": if id % 4 == 0 { Value::Null } else { json!(phone(id)) },
        "rooms": if moved_out { Value::Null } else { json!([room_entry(room)]) },
        "isOnLeave": leave.is_some(),
        "onLeaveStartDateUtc": leave.map_or(Value::Null, |leave| leave["startDateTime"].clone()),
        "physicalMoveInDate": moved_in,
        "financialMoveInDate": moved_in,
        "physicalMoveOutDate": if moved_out { json!("2026-01-15") } else { Value::Null },
        "updatedAtUtc": format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + id % 28, id % 24, id % 60),
    }))
}

/// `14 B` is bed B of room 14.
fn room_entry(room: &str) -> Value {
    let (number, bed) = room.split_once(' ').map_or((room, None), |(number, bed)| (number, Some(bed)));
    json!({"room": room, "roomNumber": number, "bed": bed, "isPrimary": true})
}

/// The basic info of a resident with this detail.
pub(crate) fn basic_info(resident: &Object) -> Value {
    let mut info = Object::new();
    for name in ["residentId", "status", "productType", "classification", "rooms", "physicalMoveInDate"] {
        info.insert(name.to_owned(), resident.get(name).cloned().unwrap_or_default());
    }
    info.insert("primaryDiagnosisCode".to_owned(), Value::Null);
    Value::Object(info)
}

/// A resident's leave: one resident in seven is on leave, one in seven is back.
pub(crate) fn leave(resident: i64) -> Option<Object> {
    home(resident)?;
    let is_over = match resident % 7 {
        0 => false,
        3 => true,
        _ => return None,
    };
    let (start, end) = (format!("2026-01-{:02}", 1 + resident % 20), format!("2026-01-{:02}", 5 + resident % 20));
    let ended = if is_over { json!(end) } else { Value::Null };
    object(json!({
        "leaveId": resident * 10 + 1,
        "residentId": resident,
        "startDate": start,
        "startDateTime": format!("{start}T15:00:00Z"),
        "expectedReturnDate": end,
        "scheduledEndDateTime": format!("{end}T15:00:00Z"),
        "endDate": ended,
        "actualEndDateTime": if is_over { json!(format!("{end}T15:00:00Z")) } else { Value::Null },
        "reason": if resident % 2 == 0 { "Hospital" } else { "Family visit" },
        "leaveDestination": if resident % 2 == 0 { json!("Invented General Hospital") } else { Value::Null },
        "leaveStatus": if is_over { "Completed" } else { "Active" },
        "isComplete": is_over,
    }))
}

/// The resident of a leave.
pub(crate) fn resident_on_leave(leave_id: &str) -> Option<i64> {
    let id: i64 = leave_id.parse().ok()?;
    (id % 10 == 1).then_some(id / 10)
}

pub(crate) fn insurance(id: i64) -> Vec<Value> {
    let policy = |provider: &str, kind: &str, primary: bool| {
        json!({
            "providerName": provider,
            "insuranceType": kind,
            "accountNumber": format!("{}{id}", if primary { "A" } else { "B" }),
            "groupNumber": if primary { json!(format!("G{}", id % 10)) } else { Value::Null },
            "isPrimary": primary,
            "isDisabled": false,
            "effectiveDate": "2024-01-01",
            "endDate": null,
        })
    };
    let mut policies = vec![policy("Invented Mutual", "Health", true)];
    if id % 3 == 0 {
        policies.push(policy("North Medicaid (invented)", "Medicaid", false));
    }
    policies
}

/// The rooms of a resident with this detail.
pub(crate) fn room_assignments(resident: &Object) -> Vec<Value> {
    let rooms = resident.get("rooms").and_then(Value::as_array).into_iter().flatten();
    let assignment = |room: &Value| {
        json!({
            "roomNumber": room["roomNumber"],
            "bedLetter": room["bed"],
            "occupantType": "Primary",
            "isActiveAssignment": true,
        })
    };
    rooms.map(assignment).collect()
}

pub(crate) fn contacts(id: i64) -> Vec<Value> {
    let contact = |offset: i64, relationship: &str, tags: Option<&str>| {
        json!({
            "contactId": id * 10 + offset,
            "firstName": pick(&FIRST_NAMES, id + offset),
            "lastName": pick(&LAST_NAMES, id),
            "relationshipType": relationship,
            "homePhone": null,
            "mobilePhone": phone(id + offset),
            "workPhone": null,
            "email": format!("contact{id}.{offset}@example.com"),
            "streetAddress1": format!("{} Invented Street", 1 + id % 90),
            "streetAddress2": null,
            "city": "Ely",
            "state": "MN",
            "postalCode": "55731",
            "additionalInfoTags": tags,
        })
    };
    vec![
        contact(1, "Daughter", Some("emergency,financial_power_of_attorney")),
        contact(2, "Son", (id % 2 == 0).then_some("emergency")),
    ]
}

pub(crate) fn diagnoses_and_allergies(id: i64) -> Value {
    json!({
        "primaryDiagnoses": pick(&DIAGNOSES, id),
        "secondaryDiagnoses": if id % 2 == 0 { json!(pick(&DIAGNOSES, id + 1)) } else { Value::Null },
        "diet": "Regular",
        "foodAllergies": if id % 5 == 0 { json!("Peanuts") } else { Value::Null },
        "medicalAllergies": null,
        "isDiabetic": id % 5 == 2,
        "isIncontinent": false,
    })
}

/// ALIS returns lists bare or wrapped; here that depends on the resident, so that callers must handle both.
pub(crate) fn listed(id: i64, name: &str, entries: Vec<Value>) -> Value {
    match id % 2 {
        0 => Value::Array(entries),
        _ => Value::Object(Object::from_iter([(name.to_owned(), Value::Array(entries))])),
    }
}

/// A phone number from the range that is reserved for fiction.
fn phone(id: i64) -> String {
    format!("555-01{:02}", id.rem_euclid(100))
}

fn pick<T: Copy>(from: &[T], by: i64) -> T {
    from[by.unsigned_abs() as usize % from.len()]
}

fn object(value: Value) -> Option<Object> {
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}
