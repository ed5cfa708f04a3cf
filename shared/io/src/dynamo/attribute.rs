//! Attribute values: conversions from plain Rust values, and back to numbers.

use super::Item;
use std::str::FromStr;

pub use aws_sdk_dynamodb::types::AttributeValue;

/// Plain values that DynamoDB can hold.
pub trait IntoAttribute {
    /// The attribute value.
    fn into_attribute(self) -> AttributeValue;
}

impl IntoAttribute for AttributeValue {
    fn into_attribute(self) -> AttributeValue {
        self
    }
}

impl IntoAttribute for &str {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::S(self.to_owned())
    }
}

impl IntoAttribute for String {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::S(self)
    }
}

impl IntoAttribute for bool {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Bool(self)
    }
}

impl IntoAttribute for i64 {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::N(self.to_string())
    }
}

/// A number in a row; `None` when it is absent or out of range.
pub fn number<T: FromStr>(row: &Item, attribute: &str) -> Option<T> {
    row.get(attribute)?.as_n().ok()?.parse().ok()
}
