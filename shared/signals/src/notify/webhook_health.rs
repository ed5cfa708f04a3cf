//! Tenants' webhooks: left alone while all they do is fail.

use crate::error::SignalsError;
use crate::ids::TenantId;
use crate::manage::configs::row::ConfigRow;
use crate::table::SignalsTable;
use jiff::Timestamp;
use switchyard_core::{metric, random};
use switchyard_notify::webhook;
use switchyard_work::circuit::{Circuit, Failed};

/// Why a config whose webhook only failed for days is in error.
pub(crate) const ONLY_FAILURES: &str = "only_failures";

/// What waits for a circuit is spread over this time, in milliseconds.
const CIRCUIT_JITTER_MS: u64 = 2_000;

/// Until when the circuit keeps a request back, epoch milliseconds, if it does. `circuit` is then as this request found it.
pub(crate) async fn kept_back_until(
    store: &SignalsTable,
    config: &ConfigRow,
    tenant: &TenantId,
    circuit: &mut Circuit,
    now: Timestamp,
) -> Result<Option<i64>, SignalsError> {
    let now_ms = now.as_millisecond();
    let jittered = |until: i64| Some(until + i64::try_from(random::below(CIRCUIT_JITTER_MS)).unwrap_or_default());
    if let Some(until) = circuit.open_until(now_ms) {
        return Ok(jittered(until));
    }
    if let Some((until, probe)) = circuit.probe(now_ms, webhook::TIMEOUT) {
        match store.change_circuit(tenant, &config.id, probe, now).await? {
            Some(probed) => *circuit = probed,
            None => return Ok(jittered(until)),
        }
    }
    Ok(None)
}

/// Keeps the record after a success.
pub(crate) async fn succeeded(
    store: &SignalsTable,
    config: &ConfigRow,
    tenant: &TenantId,
    circuit: &Circuit,
    now: Timestamp,
) -> Result<(), SignalsError> {
    if let Some(healed) = circuit.succeeded() {
        store.change_circuit(tenant, &config.id, healed, now).await?;
    }
    Ok(())
}

/// Keeps the record after a failure; `true` when there was nothing else for days, and the config is in error now.
pub(crate) async fn failed(
    store: &SignalsTable,
    config: &ConfigRow,
    tenant: &TenantId,
    circuit: &Circuit,
    now: Timestamp,
) -> Result<bool, SignalsError> {
    let now_ms = now.as_millisecond();
    let noted = store.change_circuit(tenant, &config.id, circuit.failed(now_ms), now).await?;
    match noted.map(|circuit| circuit.after_failure(now_ms)) {
        Some(Failed::Dead) => {
            store.config_failed(tenant, config, ONLY_FAILURES).await?;
            Ok(true)
        }
        Some(Failed::Opens(opened)) => {
            if store.change_circuit(tenant, &config.id, opened, now).await?.is_some() {
                metric::count("webhook.circuit_opened", 1);
            }
            Ok(false)
        }
        Some(Failed::Noted) | None => Ok(false),
    }
}
