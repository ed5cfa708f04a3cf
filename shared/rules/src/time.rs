//! Durations, points in time, and times of day.

use crate::issue::{Code, Report};
use crate::number::Num;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A century, in milliseconds: the longest duration of any rule.
const LONGEST_MS: i64 = 36_525 * 86_400_000;

/// A number of time from here on is in milliseconds; below, in seconds.
const EPOCH_MS_FROM: f64 = 1e11;

/// Parses `90s`, `15m`, `2h`, `30d`, to milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => 86_400_000,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(unit).filter(|millis| *millis <= LONGEST_MS)
}

/// Parses a duration with an optional sign, `-1d`, to milliseconds.
pub(crate) fn offset_ms(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(rest) => duration_ms(rest).map(|millis| -millis),
        None => duration_ms(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Parses a duration of a document, within bounds that the message names.
pub(crate) fn read_duration(value: &Value, at: &str, (least, most): (&str, &str), report: &mut Report) -> Option<i64> {
    let text = report.text(value, at, 0..=usize::MAX)?;
    let found = duration_ms(text);
    let is_within = |millis: &i64| duration_ms(least) <= Some(*millis) && Some(*millis) <= duration_ms(most);
    if !found.as_ref().is_some_and(is_within) {
        report.hinted(at, Code::BadDuration, format!("expected a duration from {least} to {most}"), "15m");
        return None;
    }
    found
}

/// Parses a time of RFC 3339.
pub(crate) fn from_rfc3339(text: &str) -> Option<Timestamp> {
    // The parser accepts further forms, such as a zone in brackets.
    let bytes = text.as_bytes();
    let is_form = (20..=40).contains(&bytes.len()) && matches!(bytes[10], b'T' | b't' | b' ') && !text.contains('[');
    if is_form { text.parse().ok() } else { None }
}

/// Reads a time in seconds or milliseconds since 1970.
pub(crate) fn from_epoch(number: Num) -> Option<Timestamp> {
    let float = number.float();
    let millis = if float.abs() >= EPOCH_MS_FROM { float } else { float * 1_000.0 };
    if millis.abs() > 1e15 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 1e15")]
    Timestamp::from_millisecond(millis.round() as i64).ok()
}

/// `moment` plus an offset in milliseconds, within the range of timestamps.
pub(crate) fn shifted(moment: Timestamp, millis: i64) -> Timestamp {
    let end = if millis < 0 { Timestamp::MIN } else { Timestamp::MAX };
    moment.checked_add(SignedDuration::from_millis(millis)).unwrap_or(end)
}

/// Finds a time zone by its IANA name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

pub(crate) fn read_zone(value: &Value, at: &str, report: &mut Report) -> Option<TimeZone> {
    let name = report.text(value, at, 1..=64)?;
    let found = zone(name);
    if found.is_none() {
        report.hinted(at, Code::BadTimezone, format!("{name} is not an IANA time zone"), "Europe/Berlin");
    }
    found
}

/// A part of the day; over midnight when `from` is later than `to`.
#[derive(Clone, Debug)]
pub(crate) struct DayPart {
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl DayPart {
    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let map = report.object(value, at, &["from", "to", "tz"])?;
        let from = report.required(map, at, "from");
        let to = report.required(map, at, "to");
        let zone = report.required(map, at, "tz");
        let from = from.and_then(|value| read_clock(value, &format!("{at}/from"), report));
        let to = to.and_then(|value| read_clock(value, &format!("{at}/to"), report));
        let zone = zone.and_then(|value| read_zone(value, &format!("{at}/tz"), report));
        let (from, to, zone) = (from?, to?, zone?);
        if from == to {
            report.issue(&format!("{at}/to"), Code::BadValue, "from and to are the same: no time lies between");
            return None;
        }
        Some(Self { from, to, zone })
    }

    pub(crate) fn contains(&self, moment: Timestamp) -> bool {
        let local = self.zone.to_datetime(moment).time();
        if self.from < self.to { self.from <= local && local < self.to } else { self.from <= local || local < self.to }
    }
}

/// Parses `18:00`.
fn read_clock(value: &Value, at: &str, report: &mut Report) -> Option<Time> {
    let text = report.text(value, at, 0..=usize::MAX)?;
    let parse = || {
        let (hour, minute) = text.split_once(':')?;
        let two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !two(hour) || !two(minute) {
            return None;
        }
        Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
    };
    let found = parse();
    if found.is_none() {
        report.hinted(at, Code::BadValue, "expected a time from 00:00 to 23:59", "18:00");
    }
    found
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Days of the week.
#[derive(Clone, Debug)]
pub(crate) struct Days {
    days: Vec<Weekday>,
    zone: TimeZone,
}

impl Days {
    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let map = report.object(value, at, &["in", "tz"])?;
        let list = report.required(map, at, "in");
        let zone = report.required(map, at, "tz");
        let at_list = format!("{at}/in");
        let names = list.and_then(|value| report.array(value, &at_list, 1..=7));
        let days = names.map(|names| {
            let each = names.iter().enumerate();
            each.map(|(number, name)| report.choice(name, &format!("{at_list}/{number}"), &DAYS)).collect::<Vec<_>>()
        });
        let zone = zone.and_then(|value| read_zone(value, &format!("{at}/tz"), report));
        Some(Self { days: days?.into_iter().collect::<Option<_>>()?, zone: zone? })
    }

    pub(crate) fn contains(&self, moment: Timestamp) -> bool {
        self.days.contains(&self.zone.to_datetime(moment).date().weekday())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_digits_and_a_unit() {
        for (text, wanted) in [
            ("90s", Some(90_000)),
            ("15m", Some(900_000)),
            ("2h", Some(7_200_000)),
            ("30d", Some(2_592_000_000)),
            ("0s", Some(0)),
            ("9999999999d", None),
            ("", None),
            ("m", None),
            ("1.5h", None),
            ("-1d", None),
            ("1w", None),
            ("1é", None),
        ] {
            assert_eq!(duration_ms(text), wanted, "{text}");
        }
        assert_eq!(
            [offset_ms("-1d"), offset_ms("+1d"), offset_ms("1d"), offset_ms("--1d")],
            [Some(-86_400_000), Some(86_400_000), Some(86_400_000), None]
        );
    }

    #[test]
    fn moments_are_rfc_3339_or_seconds_or_milliseconds() {
        let wanted = from_rfc3339("2026-11-03T10:00:00Z").unwrap();
        assert_eq!(from_rfc3339("2026-11-03T15:30:00+05:30"), Some(wanted));
        assert_eq!(from_epoch(Num::Int(1_793_700_000)), Some(wanted));
        assert_eq!(from_epoch(Num::Int(1_793_700_000_000)), Some(wanted));
        assert_eq!(from_epoch(Num::Float(1e300)), None);
        for text in ["2026-11-03", "2026-11-03T10:00:00", "2026-11-03T10:00:00Z[UTC]", "yesterday"] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_of_the_day_may_wrap_midnight() {
        let mut report = Report::default();
        let part = json!({"from": "18:00", "to": "08:00", "tz": "Asia/Kolkata"});
        let part = DayPart::read(&part, "", &mut report).unwrap();
        for (moment, wanted) in [
            ("2026-11-03T12:29:59Z", false),
            ("2026-11-03T12:30:00Z", true),
            ("2026-11-03T20:00:00Z", true),
            ("2026-11-04T02:29:59Z", true),
            ("2026-11-04T02:30:00Z", false),
        ] {
            assert_eq!(part.contains(moment.parse().unwrap()), wanted, "{moment}");
        }
        assert!(DayPart::read(&json!({"from": "24:00", "to": "8:00", "tz": "Mars/X"}), "/v", &mut report).is_none());
        let found: Vec<_> = report.issues.iter().map(|issue| (issue.pointer.as_str(), issue.code)).collect();
        assert_eq!(found, [("/v/from", Code::BadValue), ("/v/to", Code::BadValue), ("/v/tz", Code::BadTimezone)]);
    }

    #[test]
    fn a_weekday_depends_on_where_one_is() {
        let mut report = Report::default();
        let days = Days::read(&json!({"in": ["sat"], "tz": "Pacific/Auckland"}), "", &mut report).unwrap();
        assert!(days.contains("2026-11-06T12:00:00Z".parse().unwrap()), "Friday noon in London");
        assert!(!days.contains("2026-11-07T12:00:00Z".parse().unwrap()));
    }
}
