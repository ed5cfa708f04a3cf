//! Signals' pure parts, each against what it may take at most.

use crate::Figures;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;
use switchyard_core::Secret;
use switchyard_identity::api_key::{ApiKey, digest, is_well_formed};
use switchyard_rules::{Event, Rule, Tenant, parse};

/// The quickest of so many rounds counts: whatever else the machine does only adds.
const ROUNDS: usize = 200;

/// Rules that one tenant may have in force.
const RULES: usize = 500;

/// What a key and an event cost before anything is asked for.
pub fn figures() -> Result<Figures> {
    let (key, pepper) = (ApiKey::generate(true), Secret::new("pepper".repeat(6)));
    let kept = digest(key.expose(), &pepper);
    ensure!(is_well_formed(key.expose()), "the key reads back");
    // What is kept is found by the digest, so that there is nothing left to compare in constant time.
    let verify = quickest(1_000, || is_well_formed(black_box(key.expose())) && digest(key.expose(), &pepper) == kept);

    let payload = payload();
    let at = "2026-11-03T10:00:00Z".parse().context("a time")?;
    let event = Event {
        id: "evt-1",
        kind: "order.placed",
        payload: &payload,
        source: Some("shop"),
        occurred_at: at,
        received_at: at,
        tenant: Tenant { slug: "acme", plan: "pro", name: "Acme" },
    };
    let rules: Vec<Rule> = (0..RULES).map(|_| rule()).collect::<Result<_>>()?;
    ensure!(rules[0].definition.when.trace(&event).iter().all(|leaf| leaf.result), "every leaf is looked at");
    let fires = |rule: &Rule| rule.is_for(event.kind) && rule.definition.when.holds(black_box(&event));
    let one = quickest(1_000, || fires(&rules[0]));
    let all = quickest(1, || rules.iter().all(fires));
    Ok(vec![
        ("an API key verified, goal 5 (µs)".to_owned(), json!(crate::round(verify))),
        ("a rule of 10 leaves, goal 2 (µs)".to_owned(), json!(crate::round(one))),
        ("500 rules of 10 leaves, goal 1 (ms)".to_owned(), json!(crate::round(all / 1e3))),
    ])
}

/// Microseconds that one time takes, in the quickest of all rounds of so many.
fn quickest(times: u32, mut work: impl FnMut() -> bool) -> f64 {
    let round = || {
        let started = Instant::now();
        for _ in 0..times {
            black_box(work());
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

fn payload() -> Value {
    json!({
        "customer": {"id": "cus_81", "email": "ann@example.com", "country": "de", "plan": "pro"},
        "amount": 912.5,
        "currency": "EUR",
        "items": [{"sku": "A-1", "quantity": 2}, {"sku": "B-7", "quantity": 1}],
        "tags": ["first", "express"],
        "note": "please ring twice",
        "placedAt": "2026-11-03T09:58:00Z",
    })
}

/// Ten leaves that hold, of ten operators.
fn rule() -> Result<Rule> {
    let when = json!({"all": [
        {"path": "payload.customer.country", "op": "eq", "value": "DE", "ci": true},
        {"path": "payload.amount", "op": "gte", "value": 750},
        {"path": "payload.currency", "op": "in", "value": ["USD", "GBP", "EUR"]},
        {"path": "payload.tags", "op": "contains", "value": "express"},
        {"path": "payload.customer.id", "op": "starts_with", "value": "cus_"},
        {"path": "payload.customer.email", "op": "matches", "value": "@example\\.(com|org)$"},
        {"path": "payload.customer.phone", "op": "exists", "value": false},
        {"path": "payload.items[*].quantity", "op": "gt", "value": 1},
        {"path": "payload.placedAt", "op": "within_last", "value": "1h"},
        {"path": "payload.note", "op": "ne", "value": "none"},
    ]});
    let definition =
        json!({"schema": 2, "when": when, "actions": [{"type": "notify", "channel": "slack", "text": "!"}]});
    let parsed = parse(&json!({"name": "bench", "eventType": "order.*", "definition": definition}));
    Ok(parsed.map_err(|issues| anyhow::anyhow!("{issues:?}"))?.rule)
}
