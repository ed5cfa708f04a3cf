//! When an event happened, as its producer writes it.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

/// RFC 3339, without an offset in UTC; or a year, a month, a day, which mean their beginning in UTC. `None` for anything
/// else, such as a week or a day that does not exist.
pub(crate) fn parse_occurred_at(text: &str) -> Option<Timestamp> {
    let shape: String = text.chars().map(|char| if char.is_ascii_digit() { 'd' } else { char }).collect();
    match shape.as_str() {
        "dddd" => start_of(&format!("{text}-01-01")),
        "dddd-dd" => start_of(&format!("{text}-01")),
        "dddd-dd-dd" => start_of(text),
        _ => instant(text, &shape),
    }
}

fn start_of(day: &str) -> Option<Timestamp> {
    let day: Date = day.parse().ok()?;
    Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

fn instant(text: &str, shape: &str) -> Option<Timestamp> {
    let rest = shape.strip_prefix("dddd-dd-ddTdd:dd:dd")?;
    let fraction = rest.strip_prefix('.').map_or("", |rest| &rest[..rest.len() - rest.trim_start_matches('d').len()]);
    let offset = match fraction.len() {
        0 if rest.starts_with('.') => return None,
        // Finer than a nanosecond is not told apart.
        10.. => return None,
        0 => rest,
        digits => &rest[digits + 1..],
    };
    match offset {
        "" => format!("{text}Z").parse().ok(),
        "Z" | "+dd:dd" | "-dd:dd" => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v08_instants_years_months_and_days_are_read_and_nothing_else() {
        for (text, wanted) in [
            ("2025-12-15T10:00:00+05:30", "2025-12-15T04:30:00Z"),
            ("2025-12-15T10:00:00", "2025-12-15T10:00:00Z"),
            ("2025-12-15T10:00:00.123456789Z", "2025-12-15T10:00:00.123456789Z"),
            ("2025", "2025-01-01T00:00:00Z"),
            ("2025-12", "2025-12-01T00:00:00Z"),
            ("2025-12-15", "2025-12-15T00:00:00Z"),
        ] {
            assert_eq!(parse_occurred_at(text).unwrap(), wanted.parse().unwrap(), "{text}");
        }
        for text in [
            "",
            "2025-W50-1",
            "2025-350",
            "20251215T000000Z",
            "2025-02-31",
            "2025-13-01",
            "2025-12-15 10:00:00Z",
            "2025-12-15T10:00Z",
            "2025-12-15T24:00:00Z",
            "2025-12-15T10:00:00.Z",
            "2025-12-15T10:00:00+0530",
            "2025-12-15T10:00:00Z[UTC]",
            "2025-12-15T10:00:00.1234567890Z",
            "yesterday",
            "٢٠٢٥",
        ] {
            assert_eq!(parse_occurred_at(text), None, "{text}");
        }
    }
}
