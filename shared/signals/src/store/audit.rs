use serde_json::Value;
use switchyard_core::Clock;
use switchyard_io::dynamo::{IntoAttribute as _, Item, Write};

/// Who changed what of a tenant's, as a part of the transaction that changes it. `before` and `after` hold no secrets.
///
/// A row: `actor`, `action`, `before` and `after` as JSON texts, `at`.
pub(crate) fn audit(
    tenant: &str,
    clock: &Clock,
    actor: &str,
    action: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Write {
    let at = clock.now();
    let month = super::Month::of(at);
    let texts = [
        ("pk", Some(format!("A#{tenant}#{}", month.as_str()))),
        ("sk", Some(clock.new_id().to_string())),
        ("actor", Some(actor.to_owned())),
        ("action", Some(action.to_owned())),
        ("at", Some(at.to_string())),
        ("before", before.map(Value::to_string)),
        ("after", after.map(Value::to_string)),
    ];
    let row: Item =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into_attribute()))).collect();
    Write::Create(row)
}
