//! Numbers of JSON, compared exactly where both are whole.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// A number in a comparison: whole numbers are exact, others are `f64`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Num {
    Int(i128),
    /// Finite.
    Float(f64),
}

impl Num {
    /// `None` when it is outside the range of `f64`, which JSON with arbitrary precision allows.
    pub(crate) fn from_json(number: &Number) -> Option<Self> {
        if let Some(small) = number.as_i64() {
            return Some(Self::Int(small.into()));
        }
        if let Some(whole) = number.as_i128() {
            return Some(Self::Int(whole));
        }
        number.as_f64().filter(|float| float.is_finite()).map(Self::Float)
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::from_json(number),
            _ => None,
        }
    }

    /// Parses `-12` and `12.5`: no exponent, no spaces, at most 64 characters.
    pub(crate) fn from_decimal(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > 64 || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        match text.parse() {
            Ok(int) => Some(Self::Int(int)),
            Err(_) => text.parse().ok().map(Self::Float),
        }
    }

    pub(crate) fn float(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "the nearest float is what the rule says")]
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    pub(crate) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left.cmp(&right),
            // Both are finite, so that they can be ordered.
            _ => self.float().partial_cmp(&other.float()).unwrap_or(Ordering::Equal),
        }
    }

    /// The canonical text of a number: the same for `1` and `1.0`.
    pub(crate) fn canonical(self) -> String {
        match self {
            Self::Int(int) => int.to_string(),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the range that floats hold exactly")]
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 9e15 => (float as i64).to_string(),
            Self::Float(float) => float.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn num(text: &str) -> Num {
        Num::from_json(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn whole_numbers_compare_exactly_and_others_as_floats() {
        for (left, right, wanted) in [
            ("1", "1.0", Ordering::Equal),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("9007199254740993", "9007199254740992.0", Ordering::Equal),
            ("18446744073709551615", "18446744073709551614", Ordering::Greater),
            ("-0.5", "0", Ordering::Less),
        ] {
            assert_eq!(num(left).order(num(right)), wanted, "{left} {right}");
        }
    }

    #[test]
    fn decimals_are_digits_with_at_most_a_point_and_a_sign() {
        for text in ["", "-", ".", "1.", ".5", "1e3", " 1", "+1", "0x1", "NaN", "inf", "1.2.3", "٣"] {
            assert!(Num::from_decimal(text).is_none(), "{text}");
        }
        assert!(matches!(Num::from_decimal("-170141183460469231731687303715884105728"), Some(Num::Int(i128::MIN))));
        assert!(matches!(Num::from_decimal("12.50"), Some(Num::Float(float)) if float == 12.5));
    }

    #[test]
    fn spellings_of_one_number_are_alike() {
        for (text, wanted) in [("1", "1"), ("1.0", "1"), ("-2.50", "-2.5"), ("1e3", "1000"), ("0.1", "0.1")] {
            assert_eq!(num(text).canonical(), wanted, "{text}");
        }
    }
}
