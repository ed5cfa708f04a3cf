//! Months and hours in UTC, by the time an event was received or a notification sent.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use std::time::Duration;

/// A calendar month: `202611`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Month(String);

impl Month {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(digits(at, 6))
    }

    /// `2026-11` as `202611`; `None` when it is not a month.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        format!("{text}-01").parse::<Date>().ok().filter(|_| text.len() == 7)?;
        Some(Self(text.chars().filter(char::is_ascii_digit).collect()))
    }

    /// `202611`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `2026-11`.
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", &self.0[..4], &self.0[4..])
    }

    /// Its first and last day, `2026-11-01` and `2026-11-30`.
    pub(crate) fn bounds(&self) -> (String, String) {
        let first = self.first_day();
        (first.to_string(), first.last_of_month().to_string())
    }

    /// When it begins, and when the next one does.
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        let first = self.first_day();
        let next = first.last_of_month().tomorrow().unwrap_or(Date::MAX);
        (start_of(first), start_of(next))
    }

    /// The month after it.
    pub(crate) fn next(&self) -> Self {
        Self::of(self.span().1)
    }

    fn first_day(&self) -> Date {
        self.bounds_text().parse().unwrap_or(Date::MIN)
    }

    fn bounds_text(&self) -> String {
        format!("{}-01", self.text())
    }
}

/// An hour, by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hour(i64);

impl Hour {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(3_600))
    }

    /// The hour of `month` that is written `1407`: its day and hour.
    pub(crate) fn in_month(month: &Month, text: &str) -> Option<Self> {
        if text.len() != 4 || !text.is_ascii() {
            return None;
        }
        let at = format!("{}-{}T{}:00:00Z", month.text(), &text[..2], &text[2..]);
        at.parse().ok().map(Self::of)
    }

    /// When it begins.
    pub(crate) fn start(self) -> Timestamp {
        Timestamp::from_second(self.0 * 3_600).unwrap_or_default()
    }

    /// When it is over.
    pub(crate) fn end(self) -> Timestamp {
        self.start() + Duration::from_secs(3_600)
    }

    /// The hour after it.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(crate) fn month(self) -> Month {
        Month::of(self.start())
    }

    /// `2026111407`.
    pub(crate) fn text(self) -> String {
        digits(self.start(), 10)
    }

    /// Its day and hour, `1407`.
    pub(crate) fn in_its_month(self) -> String {
        self.text().split_off(6)
    }
}

/// Midnight of a day.
fn start_of(day: Date) -> Timestamp {
    Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::MAX)
}

/// The first digits of a time: 4 of its year, 2 each of month, day and hour.
pub(crate) fn digits(at: Timestamp, most: usize) -> String {
    at.to_string().chars().filter(char::is_ascii_digit).take(most).collect()
}

/// The days from one time to another, as keys have them: `20261125`, the oldest first.
pub(crate) fn days(from: Timestamp, to: Timestamp) -> Vec<String> {
    let first = digits(from, 8);
    let (mut days, mut at) = (vec![digits(to, 8)], to);
    while days.last() > Some(&first) {
        at -= Duration::from_secs(86_400);
        days.push(digits(at, 8));
    }
    days.reverse();
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_from_the_first_to_the_last() {
        let days = |from: &str, to: &str| days(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(days("2026-11-30T23:00:00Z", "2026-12-01T01:00:00Z"), ["20261130", "20261201"]);
        assert_eq!(days("2026-11-30T01:00:00Z", "2026-11-30T23:00:00Z"), ["20261130"]);
        assert_eq!(days("2026-11-28T23:59:59Z", "2026-12-01T00:00:00Z").len(), 4);
    }

    #[test]
    fn months_are_utc() {
        assert_eq!(Month::of("2026-11-30T23:59:59.999Z".parse().unwrap()), Month("202611".into()));
        assert_eq!(Month::parse("2026-11"), Some(Month("202611".into())));
        for text in ["2026-13", "2026-1", "202611", "2026-11-01", ""] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
        assert_eq!(Month::parse("2026-12").unwrap().next(), Month("202701".into()));
    }

    #[test]
    fn an_hour_is_written_within_its_month() {
        let hour = Hour::of("2026-11-14T07:59:59.999Z".parse().unwrap());
        let month = hour.month();
        assert_eq!((hour.text().as_str(), hour.in_its_month().as_str()), ("2026111407", "1407"));
        assert_eq!(Hour::in_month(&month, "1407"), Some(hour));
        assert_eq!(hour.end(), "2026-11-14T08:00:00Z".parse().unwrap());
        for text in ["3107", "1424", "140", "x"] {
            assert_eq!(Hour::in_month(&month, text), None, "{text}");
        }
    }
}
