//! What is billed, as those who bill want it: a line for each hour and meter.
//!
//! Only completed hours are exported, under an identifier of the hour, so that exporting again is harmless. A receiver
//! drops what it knows already: a count that reconciling puts right after it was exported stays there as it was.

use super::NO_MONTH;
use crate::error::SignalsError;
use crate::manage::tenants::TenantDeps;
use crate::manage::tenants::row::Tenant;
use crate::period::{Hour, Month};
use crate::usage::counters::{Meter, Usage};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

/// What was received in an hour may be counted a moment later.
const SETTLED_AFTER: Duration = Duration::from_secs(300);

/// Events in one request to Lago.
const LAGO_BATCH: usize = 100;

/// Stripe takes nothing older.
const STRIPE_DAYS: u64 = 35;

/// Where `metadata` of a tenant names its customer at Stripe, `cus_…`.
const STRIPE_CUSTOMER: (&str, &str) = ("stripeCustomerId", "metadata.stripeCustomerId");

/// Where it names its subscription at Lago, the `external_subscription_id`.
const LAGO_SUBSCRIPTION: (&str, &str) = ("lagoSubscriptionId", "metadata.lagoSubscriptionId");

/// Who an export is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A table for people: RFC 4180, with a header.
    Csv,
    /// A batch of CloudEvents, as OpenMeter takes it at `POST /api/v1/events`.
    CloudEvents,
    /// Bodies for Lago's `POST /api/v1/events/batch`, one a line, of at most 100 events each. The tenant's metadata names
    /// `lagoSubscriptionId`.
    Lago,
    /// Form bodies for Stripe's `POST /v1/billing/meter_events`, one a line. The tenant's metadata names `stripeCustomerId`.
    Stripe,
}

impl FromStr for ExportFormat {
    type Err = SignalsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "csv" => Ok(Self::Csv),
            "cloudevents" => Ok(Self::CloudEvents),
            "lago" => Ok(Self::Lago),
            "stripe" => Ok(Self::Stripe),
            _ => Err(SignalsError::refused("format", "must be csv, cloudevents, lago or stripe")),
        }
    }
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What the body is.
    pub content_type: &'static str,
    /// Its text.
    pub body: String,
    /// What to call it.
    pub file_name: String,
}

/// What a tenant used in a month, `2026-11`, hour by hour.
///
/// # Errors
/// [`SignalsError::Refused`] names `period` when that is no month, or holds hours that Stripe takes no longer, and the key of
/// the metadata that lacks; else DynamoDB could not be reached.
pub async fn export(
    deps: &TenantDeps,
    tenant: &Tenant,
    period: &str,
    format: ExportFormat,
) -> Result<Export, SignalsError> {
    let month = Month::parse(period).ok_or_else(|| SignalsError::refused("period", NO_MONTH))?;
    let used = deps.store.usage(tenant, &month).await?;
    write(tenant, &month, &lines(&used, deps.clock.now()), format, deps.clock.now())
}

/// One meter's count of one hour.
#[derive(Clone, Copy)]
struct Line {
    hour: Hour,
    meter: Meter,
    count: u64,
}

impl Line {
    /// The same whenever it is exported.
    fn identifier(self, tenant: &Tenant) -> String {
        format!("{}:{}:{}", tenant.id, self.hour.text(), self.meter.name())
    }

    fn time(self) -> String {
        self.hour.start().to_string()
    }
}

fn lines(used: &Usage, now: Timestamp) -> Vec<Line> {
    let lines = used.hours.iter().map(|(&(hour, meter), &count)| Line { hour, meter, count });
    lines.filter(|line| line.count > 0 && line.hour.end() + SETTLED_AFTER <= now).collect()
}

fn write(
    tenant: &Tenant,
    month: &Month,
    lines: &[Line],
    format: ExportFormat,
    now: Timestamp,
) -> Result<Export, SignalsError> {
    let (content_type, name, body) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8", "csv", csv(tenant, lines)),
        ExportFormat::CloudEvents => {
            ("application/cloudevents-batch+json", "cloudevents.json", cloud_events(tenant, lines))
        }
        ExportFormat::Lago => {
            ("application/x-ndjson", "lago.ndjson", lago(&named(tenant, LAGO_SUBSCRIPTION)?, tenant, lines))
        }
        ExportFormat::Stripe => {
            let oldest = now - Duration::from_secs(STRIPE_DAYS * 86_400);
            if lines.iter().any(|line| line.hour.start() < oldest) {
                let reason = format!("must not reach back more than the {STRIPE_DAYS} days that Stripe takes");
                return Err(SignalsError::refused("period", reason));
            }
            ("text/plain; charset=utf-8", "stripe.txt", stripe(&named(tenant, STRIPE_CUSTOMER)?, tenant, lines))
        }
    };
    let file_name = format!("usage-{}-{}.{name}", tenant.id, month.text());
    Ok(Export { content_type, body, file_name })
}

/// What the tenant's metadata says under a key.
fn named(tenant: &Tenant, (key, field): (&str, &'static str)) -> Result<String, SignalsError> {
    let metadata: Option<Value> = tenant.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let named = metadata.as_ref().and_then(|metadata| metadata[key].as_str()).filter(|named| !named.is_empty());
    named.map(str::to_owned).ok_or_else(|| SignalsError::refused(field, "must be set for this export"))
}

fn csv(tenant: &Tenant, lines: &[Line]) -> String {
    let mut text = "tenant,slug,hour,metric,quantity,identifier\r\n".to_owned();
    for line in lines {
        let (hour, count, identifier) = (line.time(), line.count.to_string(), line.identifier(tenant));
        let fields = [tenant.id.as_str(), &tenant.slug, &hour, line.meter.name(), &count, &identifier];
        text.push_str(&fields.map(field).join(","));
        text.push_str("\r\n");
    }
    text
}

/// A field of RFC 4180 that no spreadsheet takes for a formula.
fn field(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn cloud_events(tenant: &Tenant, lines: &[Line]) -> String {
    let event = |line: &Line| {
        json!({
            "specversion": "1.0",
            "id": line.identifier(tenant),
            "source": "switchyard/signals",
            "type": line.meter.name(),
            "subject": tenant.id,
            "time": line.time(),
            "datacontenttype": "application/json",
            "data": {"value": line.count},
        })
    };
    Value::from(lines.iter().map(event).collect::<Vec<_>>()).to_string()
}

fn lago(subscription: &str, tenant: &Tenant, lines: &[Line]) -> String {
    let event = |line: &Line| {
        json!({
            "transaction_id": line.identifier(tenant),
            "external_subscription_id": subscription,
            "code": line.meter.name(),
            "timestamp": line.hour.start().as_second(),
            "properties": {"value": line.count},
        })
    };
    let batch = |lines: &[Line]| json!({"events": lines.iter().map(event).collect::<Vec<_>>()}).to_string() + "\n";
    lines.chunks(LAGO_BATCH).map(batch).collect()
}

fn stripe(customer: &str, tenant: &Tenant, lines: &[Line]) -> String {
    let body = |line: &Line| {
        let (value, identifier, timestamp) =
            (line.count.to_string(), line.identifier(tenant), line.hour.start().as_second().to_string());
        let fields = [
            ("event_name", line.meter.name()),
            ("payload[stripe_customer_id]", customer),
            ("payload[value]", &value),
            ("identifier", &identifier),
            ("timestamp", &timestamp),
        ];
        fields.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).join("&") + "\n"
    };
    lines.iter().map(body).collect()
}

/// Percent-encoded, as in a form.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(metadata: Option<&str>) -> Tenant {
        let mut tenant = Tenant::new(&"t-1".into(), "acme", "Acme", "2026-01-05T10:00:00Z".parse().unwrap());
        tenant.metadata = metadata.map(str::to_owned);
        tenant
    }

    fn used() -> Usage {
        let hour = |text: &str| Hour::of(text.parse().unwrap());
        let mut used = Usage::default();
        used.hours.insert((hour("2026-11-14T07:00:00Z"), Meter::Events), 12);
        used.hours.insert((hour("2026-11-14T07:00:00Z"), Meter::Notifications), 3);
        used.hours.insert((hour("2026-11-14T08:00:00Z"), Meter::Events), 0);
        used.hours.insert((hour("2026-11-14T09:00:00Z"), Meter::Events), 7);
        used
    }

    fn exported(tenant: &Tenant, format: ExportFormat, now: &str) -> Result<Export, SignalsError> {
        let now = now.parse().unwrap();
        write(tenant, &Month::parse("2026-11").unwrap(), &lines(&used(), now), format, now)
    }

    /// The hour that began at nine is not over.
    const EARLY: &str = "2026-11-14T10:04:59Z";
    const LATER: &str = "2026-11-14T10:05:00Z";

    #[test]
    fn a_table_has_a_header_and_a_line_for_each_hour_that_is_over() {
        let export = exported(&tenant(None), ExportFormat::Csv, LATER).unwrap();
        let wanted = "tenant,slug,hour,metric,quantity,identifier\r\n\
            t-1,acme,2026-11-14T07:00:00Z,events_ingested,12,t-1:2026111407:events_ingested\r\n\
            t-1,acme,2026-11-14T07:00:00Z,notifications_sent,3,t-1:2026111407:notifications_sent\r\n\
            t-1,acme,2026-11-14T09:00:00Z,events_ingested,7,t-1:2026111409:events_ingested\r\n";
        assert_eq!(export.body, wanted);
        assert_eq!(
            (export.content_type, export.file_name.as_str()),
            ("text/csv; charset=utf-8", "usage-t-1-2026-11.csv")
        );
        assert_eq!(exported(&tenant(None), ExportFormat::Csv, EARLY).unwrap().body.lines().count(), 3);
    }

    #[test]
    fn no_field_breaks_out_of_the_table_or_into_a_formula() {
        let fields = ["plain", "=1+1", "+1", "-1", "@x", "\tx", "a,b", "say \"hi\"", "a\nb", "=a,\"b\"", ""];
        let wanted = [
            "plain",
            "'=1+1",
            "'+1",
            "'-1",
            "'@x",
            "'\tx",
            "\"a,b\"",
            "\"say \"\"hi\"\"\"",
            "\"a\nb\"",
            "\"'=a,\"\"b\"\"\"",
            "",
        ];
        assert_eq!(fields.map(field), wanted);
    }

    #[test]
    fn cloud_events_are_known_by_id_and_source() {
        let export = exported(&tenant(None), ExportFormat::CloudEvents, EARLY).unwrap();
        let wanted = json!([
            {
                "specversion": "1.0", "id": "t-1:2026111407:events_ingested", "source": "switchyard/signals",
                "type": "events_ingested", "subject": "t-1", "time": "2026-11-14T07:00:00Z",
                "datacontenttype": "application/json", "data": {"value": 12},
            },
            {
                "specversion": "1.0", "id": "t-1:2026111407:notifications_sent", "source": "switchyard/signals",
                "type": "notifications_sent", "subject": "t-1", "time": "2026-11-14T07:00:00Z",
                "datacontenttype": "application/json", "data": {"value": 3},
            },
        ]);
        assert_eq!(serde_json::from_str::<Value>(&export.body).unwrap(), wanted);
        assert_eq!(export.content_type, "application/cloudevents-batch+json");
    }

    #[test]
    fn lago_gets_batches_of_a_hundred() {
        let tenant = tenant(Some(r#"{"lagoSubscriptionId":"sub-1"}"#));
        let export = exported(&tenant, ExportFormat::Lago, EARLY).unwrap();
        let event = |meter: &str, value: u64| {
            json!({
                "transaction_id": format!("t-1:2026111407:{meter}"), "external_subscription_id": "sub-1",
                "code": meter, "timestamp": 1_794_639_600, "properties": {"value": value},
            })
        };
        let wanted = json!({"events": [event("events_ingested", 12), event("notifications_sent", 3)]});
        assert_eq!(serde_json::from_str::<Value>(&export.body).unwrap(), wanted);
        let line = lines(&used(), LATER.parse().unwrap())[0];
        let bodies = lago("s", &tenant, &[line; 201]);
        let sizes: Vec<_> = bodies
            .lines()
            .map(|body| serde_json::from_str::<Value>(body).unwrap()["events"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [100, 100, 1]);
    }

    #[test]
    fn stripe_gets_forms_for_as_long_as_it_takes_them() {
        let tenant = tenant(Some(r#"{"stripeCustomerId":"cus_1&x"}"#));
        let export = exported(&tenant, ExportFormat::Stripe, EARLY).unwrap();
        let wanted = "event_name=events_ingested&payload%5Bstripe_customer_id%5D=cus_1%26x&payload%5Bvalue%5D=12\
            &identifier=t-1%3A2026111407%3Aevents_ingested&timestamp=1794639600\n\
            event_name=notifications_sent&payload%5Bstripe_customer_id%5D=cus_1%26x&payload%5Bvalue%5D=3\
            &identifier=t-1%3A2026111407%3Anotifications_sent&timestamp=1794639600\n";
        assert_eq!(export.body, wanted);
        assert!(exported(&tenant, ExportFormat::Stripe, "2026-12-19T07:00:00Z").is_ok());
        let late = exported(&tenant, ExportFormat::Stripe, "2026-12-19T07:00:01Z").unwrap_err();
        assert!(matches!(late, SignalsError::Refused { field: "period", .. }), "{late}");
    }

    #[test]
    fn an_unknown_customer_is_named() {
        for metadata in [None, Some("{}"), Some(r#"{"stripeCustomerId":""}"#), Some(r#"{"stripeCustomerId":1}"#)] {
            let refused = exported(&tenant(metadata), ExportFormat::Stripe, LATER).unwrap_err();
            assert_eq!(refused.to_string(), "metadata.stripeCustomerId must be set for this export");
        }
        let refused = exported(&tenant(None), ExportFormat::Lago, LATER).unwrap_err();
        assert!(matches!(refused, SignalsError::Refused { field: "metadata.lagoSubscriptionId", .. }), "{refused}");
        assert!("xml".parse::<ExportFormat>().is_err());
    }
}
