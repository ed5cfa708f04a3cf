//! Keys that appear twice in an object, which JSON parsers silently drop.

use crate::issue::{Code, Report, child};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt::{self, Formatter};

/// Reports every key of `text` that its object has already; `text` is JSON.
pub(crate) fn find_duplicates(text: &str, report: &mut Report) {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Syntax errors were reported before.
    let _ = Walk { at: String::new(), report }.deserialize(&mut reader);
}

struct Walk<'r> {
    at: String,
    report: &'r mut Report,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for number in 0_usize.. {
            let item = Walk { at: child(&self.at, number), report: &mut *self.report };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let at = child(&self.at, &key);
            if seen.contains(&key) {
                self.report.issue(&at, Code::UnknownKey, "this key appears twice");
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            seen.insert(key);
            map.next_value_seed(Walk { at, report: &mut *self.report })?;
        }
        Ok(())
    }
}
