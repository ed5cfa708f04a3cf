//! The API document of the whole platform, made of the functions' own types.

use serde_json::Value;
use std::path::PathBuf;
use switchyard_api::merge;

/// Where the document is kept.
pub fn path() -> PathBuf {
    crate::root().join("docs/openapi.json")
}

/// The document.
///
/// # Errors
/// The name of what two functions define in different ways.
pub fn document() -> Result<Value, String> {
    let documents = vec![
        adt_webhook::api().document()?,
        marketplace_api::api().document()?,
        events_api::api().document()?,
        ops_api::api().document()?,
    ];
    let tags = [
        ("ADT", "Care-home residents: webhooks of ALIS, kept in Caspio"),
        ("Orders", "Stores, orders and their sync; webhooks to customers"),
        ("Signals", "Tenants' events, rules, notifications and usage"),
        ("Operations", "Dead-letter queues and this document"),
    ];
    merge("Switchyard", env!("CARGO_PKG_VERSION"), &tags, documents)
}

/// The document as it is committed.
///
/// # Errors
/// As [`document`].
pub fn text() -> Result<String, String> {
    let document = document()?;
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string())
}
