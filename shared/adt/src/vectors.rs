//! The contract's test vectors that need no network, by number. The others are in `tests/e2e/adt.rs`.

use crate::decide::{FlatEvent, flat_row, masked, normalise, parse_instant, resident_id, resident_page, same_value};
use crate::model::{EventKind, LeaveRead, Notification, Record, SchemaErrors};
use serde_json::{Map, Value, json};
use switchyard_core::iso_millis;

fn record(value: Value) -> Record {
    serde_json::from_value(value).unwrap()
}

/// A valid body, with `changes` merged in; `null` under `remove` takes a field out.
fn body(changes: Value) -> Vec<u8> {
    let mut body = json!({
        "CompanyKey": "k", "CommunityId": 77, "EventType": "residents.move_in", "EventMessageId": "m-1",
        "EventMessageDate": "2026-02-03T04:05:06Z", "NotificationData": {"ResidentId": 1},
    });
    for (name, value) in changes.as_object().unwrap() {
        match value.as_str() {
            Some("(absent)") => drop(body.as_object_mut().unwrap().remove(name)),
            _ => body[name] = value.clone(),
        }
    }
    serde_json::to_vec(&body).unwrap()
}

fn field_error(changes: Value, field: &str) -> Vec<String> {
    Notification::parse(&body(changes)).unwrap_err().field_errors.remove(field).unwrap_or_default()
}

#[test]
fn v01_every_digit_of_a_message_id_is_kept() {
    let body = br#"{"CompanyKey":"k","EventType":"t","EventMessageDate":"d","EventMessageId":639104054955416825}"#;
    assert_eq!(Notification::parse(body).unwrap().event_message_id.as_str(), "639104054955416825");
    let body = br#"{"CompanyKey":"k","EventType":"t","EventMessageDate":"d","EventMessageId":"639104054955416825"}"#;
    assert_eq!(Notification::parse(body).unwrap().event_message_id.as_str(), "639104054955416825");
    let long =
        br#"{"CompanyKey":"k","EventType":"t","EventMessageDate":"d","EventMessageId":123456789012345678901234567890}"#;
    assert_eq!(Notification::parse(long).unwrap().event_message_id.as_str(), "123456789012345678901234567890");
}

#[test]
fn v02_a_numeric_string_is_no_community_id() {
    assert_eq!(field_error(json!({"CommunityId": "77"}), "CommunityId"), ["Expected number, received string"]);
    assert_eq!(field_error(json!({"CommunityId": 7.5}), "CommunityId"), ["Expected integer, received float"]);
    assert_eq!(Notification::parse(&body(json!({"CommunityId": null}))).unwrap().community_id, None);
    assert_eq!(Notification::parse(&body(json!({"CommunityId": "(absent)"}))).unwrap().community_id, None);
}

#[test]
fn v03_notification_data_is_an_object_or_absent() {
    assert_eq!(field_error(json!({"NotificationData": null}), "NotificationData"), ["Expected object, received null"]);
    assert_eq!(field_error(json!({"NotificationData": []}), "NotificationData"), ["Expected object, received array"]);
    assert_eq!(Notification::parse(&body(json!({"NotificationData": "(absent)"}))).unwrap().data, "{}");
}

#[test]
fn v04_an_array_is_no_event_and_unknown_fields_are_dropped() {
    let errors = Notification::parse(b"[]").unwrap_err();
    assert_eq!(errors.form_errors, ["Expected object, received array"]);
    assert!(Notification::parse(&body(json!({"Zone": 1}))).is_ok());
}

#[test]
fn v04_every_missing_or_mistyped_field_is_named() {
    let errors = Notification::parse(b"{}").unwrap_err();
    let named: Vec<_> = errors.field_errors.keys().copied().collect();
    assert_eq!(named, ["CompanyKey", "EventMessageDate", "EventMessageId", "EventType"]);
    assert!(errors.field_errors.values().all(|messages| messages == &["Required"]));
    assert_eq!(field_error(json!({"EventMessageId": true}), "EventMessageId"), ["Invalid input"]);
    assert_eq!(field_error(json!({"EventType": 7}), "EventType"), ["Expected string, received number"]);
    assert_eq!(field_error(json!({"CompanyKey": ""}), "CompanyKey"), ["String must contain at least 1 character(s)"]);
    assert_eq!(
        field_error(json!({"CompanyKey": "k".repeat(201)}), "CompanyKey"),
        ["String must contain at most 200 character(s)"]
    );
}

#[test]
fn characters_that_sqs_cannot_carry_are_refused_by_name() {
    for field in ["CompanyKey", "EventMessageId", "EventType"] {
        assert_eq!(field_error(json!({field: "a\u{FFFE}b"}), field), ["String must not contain U+FFFE or U+FFFF"]);
    }
}

#[test]
fn v05_test_events_and_unknown_types_have_kinds_of_their_own() {
    assert_eq!(EventKind::of("test.event"), EventKind::Test);
    assert_eq!(EventKind::of("residents.unheard_of"), EventKind::Unsupported);
    assert_eq!(EventKind::of("resident.move_in"), EventKind::Unsupported, "the prefix is part of the type");
    for supported in [
        "residents.move_in",
        "residents.move_out",
        "residents.leave_start",
        "residents.leave_end",
        "residents.leave_cancelled",
        "residents.basic_info_updated",
        "residents.created",
        "residents.health_profile_updated",
        "residents.move_in_out_info_updated",
        "resident.room_assigned",
        "resident.room_changed",
        "resident.room_unassigned",
        "resident.contact.created",
        "resident.contact.updated",
        "resident.contact.deleted",
    ] {
        assert!(!matches!(EventKind::of(supported), EventKind::Test | EventKind::Unsupported), "{supported}");
    }
}

#[test]
fn v07_malformed_json_is_said_to_be_so() {
    for broken in [&b"{\"CompanyKey\":"[..], b"", b"{} {}", b"\xff\xfe", b"nul"] {
        let expected = SchemaErrors { form_errors: vec!["Malformed JSON".into()], ..SchemaErrors::default() };
        assert_eq!(Notification::parse(broken).unwrap_err(), expected);
    }
}

fn v09_detail() -> Record {
    record(json!({
        "residentId": "8100", "status": "CurrentResident", "firstName": "Uma", "lastName": "Poe",
        "dateOfBirth": "1941-02-03", "rooms": [{"room": "204 B"}, {"room": "300 A", "isPrimary": true}],
        "isOnLeave": true, "onLeaveStartDateUtc": "2026-01-02T03:04:05Z", "physicalMoveInDate": "2024-05-06",
    }))
}

fn v09_basic() -> Record {
    record(json!({"classification": "Memory Care", "productType": "MC"}))
}

#[test]
fn v09_camel_case_detail_normalises() {
    let resident = normalise(&v09_detail(), &v09_basic()).unwrap();
    assert_eq!(resident.resident_id, 8100);
    assert_eq!(resident.status, "currentresident");
    assert_eq!(resident.room_number.as_deref(), Some("300"));
    assert_eq!(resident.bed.as_deref(), Some("A"));
    assert_eq!(resident.room.as_deref(), Some("300 A"));
    assert!(!resident.on_prem() && resident.off_prem);
    assert_eq!(resident.off_prem_date.map(iso_millis).as_deref(), Some("2026-01-02T03:04:05.000Z"));
    assert_eq!(resident.on_prem_date, parse_instant("2024-05-06"));
    assert_eq!(
        (resident.classification.as_deref(), resident.product_type.as_deref()),
        (Some("Memory Care"), Some("MC"))
    );
}

fn flat(leave: &LeaveRead) -> Map<String, Value> {
    let resident = normalise(&v09_detail(), &v09_basic()).unwrap();
    let event = FlatEvent {
        event_type: "residents.leave_start",
        event_message_id: &"639104054955416825".into(),
        event_message_date: "2026-02-03T04:05:06",
        leave,
    };
    flat_row(&"k".into(), Some(77), &resident, Some(event))
}

#[test]
fn v10_a_leave_fills_its_columns() {
    let leave = record(json!({"leaveId": 3, "startDate": "2026-01-02", "reason": "Hospital"}));
    let row = flat(&LeaveRead::Read(Some(leave)));
    assert_eq!(row["leaveStartDate"], "2026-01-02");
    assert_eq!(row["leaveEndDate"], Value::Null);
    assert_eq!(row["leaveExpectedReturnDate"], Value::Null);
    assert_eq!(row["leaveReason"], "Hospital");
    assert_eq!(row["dateOfBirth"], "1941-02-03T00:00:00.000Z");
    assert_eq!(row["eventTimestamp"], "2026-02-03T04:05:06", "verbatim");
    assert_eq!(row["alisResidentId"], 8100);
    let export = record(json!({
        "startDateTime": "2026-01-02T10:00:00", "actualEndDateTime": "2026-01-03T10:00:00",
        "scheduledEndDateTime": "2026-01-04T10:00:00", "leaveDestination": "Family",
    }));
    let row = flat(&LeaveRead::Read(Some(export)));
    assert_eq!(row["leaveStartDate"], "2026-01-02T10:00:00");
    assert_eq!(row["leaveEndDate"], "2026-01-03T10:00:00");
    assert_eq!(row["leaveExpectedReturnDate"], "2026-01-04T10:00:00");
    assert_eq!(row["leaveReason"], "Family");
}

#[test]
fn v10_without_a_leave_read_its_columns_are_left_alone() {
    let row = flat(&LeaveRead::NotRead);
    assert!(row.keys().all(|column| !column.starts_with("leave")));
    assert_eq!(flat(&LeaveRead::Read(None))["leaveStartDate"], Value::Null);
}

#[test]
fn v11_basic_info_gives_the_room_when_the_detail_has_none() {
    let detail = record(json!({"ResidentId": 1, "Status": "", "Rooms": []}));
    let basic = record(json!({"rooms": [{"roomNumber": "5", "bed": "A"}]}));
    let resident = normalise(&detail, &basic).unwrap();
    assert_eq!(resident.status, "unknown");
    assert_eq!(resident.room.as_deref(), Some("5 A"));
}

#[test]
fn v13_words_count_as_flags_and_the_financial_date_stands_in() {
    let detail = record(json!({
        "residentId": 1, "rooms": [{"roomNumber": "7", "bed": "C", "room": "7 C"}, {"roomNumber": "9", "isPrimary": "yes"}],
        "isOnLeave": "YES", "onLeaveStartDateUtc": "2026-03-04T22:15:00Z", "financialMoveInDate": "2025-07-09",
    }));
    let resident = normalise(&detail, &Record::default()).unwrap();
    assert_eq!(resident.room_number.as_deref(), Some("9"));
    assert!(resident.off_prem);
    assert_eq!(resident.off_prem_date, parse_instant("2026-03-04T22:15:00Z"));
    assert_eq!(resident.on_prem_date, parse_instant("2025-07-09"));
}

#[test]
fn v16_a_later_event_keeps_its_facts_when_an_earlier_one_comes_after_it() {
    let resident = normalise(&v09_detail(), &v09_basic()).unwrap();
    let row = flat_row(&"k".into(), Some(77), &resident, None);
    for column in ["eventType", "eventMessageId", "eventTimestamp", "communityId", "leaveStartDate"] {
        assert!(!row.contains_key(column), "{column}");
    }
    assert_eq!(row["status"], "currentresident");
}

#[test]
fn v20_instants_without_zone_are_utc() {
    for (text, expected) in [
        ("2026-03-29T18:24:55.5416825", "2026-03-29T18:24:55.541Z"),
        ("2026-02-01", "2026-02-01T00:00:00.000Z"),
        ("2026-02-03T04:05:06-06:00", "2026-02-03T10:05:06.000Z"),
        ("1938-11-02T00:00Z", "1938-11-02T00:00:00.000Z"),
    ] {
        assert_eq!(parse_instant(text).map(iso_millis).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(parse_instant("soon"), None);
}

#[test]
fn v31_an_event_about_nobody_is_told_apart() {
    assert_eq!(resident_id(&record(json!({}))), None);
    assert_eq!(resident_id(&record(json!({"ResidentId": 0}))), None);
    assert_eq!(resident_id(&record(json!({"ResidentId": "8100"}))), Some(8100));
    assert_eq!(resident_id(&record(json!({"residentId": 8100}))), Some(8100));
    assert_eq!(resident_id(&record(json!({"ResidentId": [1]}))), None);
    assert_eq!(resident_id(&record(json!({"ResidentId": 8100.0}))), Some(8100));
    assert_eq!(resident_id(&record(json!({"ResidentId": 8100.5}))), None);
    assert_eq!(resident_id(&record(json!({"ResidentId": null, "residentId": 7}))), Some(7));
}

#[test]
fn v35_personal_values_are_masked_at_any_depth() {
    let value = json!({
        "a": [{"Insurance_Number_2": "x", "PatientSSN": "y"}], "LastName": "Poe", "PrimaryInsuranceNum": "1",
        "ResidentId": 7, "b": {"dateOfBirth": "1941", "FamilyContact1": {"x": 1}},
    });
    let redacted = "[REDACTED]";
    assert_eq!(
        masked(&value),
        json!({
            "a": [{"Insurance_Number_2": redacted, "PatientSSN": redacted}], "LastName": redacted,
            "PrimaryInsuranceNum": redacted, "ResidentId": 7, "b": {"dateOfBirth": redacted, "FamilyContact1": redacted},
        })
    );
}

#[test]
fn v34_a_full_array_may_have_more_after_it_and_an_empty_one_not() {
    let three = json!([{"residentId": 1}, {"residentId": 2}, {"residentId": 3}]);
    assert_eq!((resident_page(three.clone(), 3).has_more, resident_page(three, 4).has_more), (true, false));
    assert_eq!(resident_page(json!([]), 3).residents.len(), 0);
}

#[test]
fn v38_every_shape_of_a_page_says_whether_there_is_more() {
    for (answer, more) in [
        (json!({"Residents": [{"ResidentId": 1}], "Page": 1, "TotalPages": 2}), true),
        (json!({"Residents": [{"ResidentId": 1}], "Page": 2, "TotalPages": 2}), false),
        (json!({"residents": [{"residentId": 1}], "hasMore": true}), true),
        (json!({"Residents": [{"ResidentId": 1}], "HasMore": false, "Page": 1, "TotalPages": 2}), false),
        (json!({"items": [{"residentId": 1}], "hasNextPage": true}), true),
        (json!({"items": [{"residentId": 1}], "pageNumber": 2, "totalPages": 2, "hasNextPage": false}), false),
    ] {
        let page = resident_page(answer.clone(), 50);
        assert_eq!((page.residents.len(), page.has_more), (1, more), "{answer}");
    }
}

#[test]
fn values_that_caspio_writes_differently_are_the_same() {
    assert!(same_value(&json!("1941-02-03T00:00:00"), &json!("1941-02-03T00:00:00.000Z")));
    assert!(same_value(&json!("8100"), &json!(8100)));
    assert!(same_value(&Value::Null, &Value::Null));
    assert!(!same_value(&json!("a"), &json!("b")));
    assert!(!same_value(&Value::Null, &json!("b")));
}
