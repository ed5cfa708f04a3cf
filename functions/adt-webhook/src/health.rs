//! `GET /health` of the platform, `GET /health/deps` of ADT.

use crate::State;
use axum::extract;
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_adt::Health;
use switchyard_api::health::Report;
use switchyard_api::{Endpoint, Json};
use switchyard_core::iso_millis;

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    [
        Endpoint::get("/health", get_health).summary("Get the platform's health").lenient(),
        Endpoint::get("/health/deps", get_adt_health).summary("Get the health of ADT's dependencies").lenient(),
    ]
}

/// The platform's health.
#[derive(JsonSchema, Serialize)]
struct PlatformHealth {
    /// `ok`.
    status: &'static str,
    /// RFC 3339.
    timestamp: String,
    /// Seconds since this environment started.
    uptime: i64,
    /// The platform's version.
    version: &'static str,
}

async fn get_health(extract::State(state): extract::State<State>) -> Json<PlatformHealth> {
    let now = state.0.clock.now();
    let uptime = now.duration_since(state.0.started).as_secs();
    Json(PlatformHealth { status: "ok", timestamp: iso_millis(now), uptime, version: env!("CARGO_PKG_VERSION") })
}

async fn get_adt_health(extract::State(state): extract::State<State>) -> Report<Health> {
    let health = state.0.health.check().await;
    Report { is_healthy: health.status == "ok", body: health }
}
