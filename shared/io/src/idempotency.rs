//! `Idempotency-Key`: a request that is sent again with its key gets its first answer, and takes effect once.
//!
//! The rows live in a workflow's own table, `IDEM#<digest of caller and key>` / `I`, for [`KEPT`]. A request holds its
//! key by a claim while it is answered; one whose process died gives it up after [`CLAIM`]. Only answers that
//! [`Idempotency::finish`] was told are given again: a refusal had no effect, so the request may be mended and sent anew.

use crate::dynamo::{Changes, Create, DynamoError, IntoAttribute as _, Item, Key, Update};
use crate::vault::{Sealed, Vault, VaultError};
use crate::{Aws, Secrets, Table};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Timestamp, hex_sha256};

/// How long an answer is given again.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a request may hold its key: longer than any function that answers HTTP may run.
pub const CLAIM: Duration = Duration::from_secs(30);

/// The keys of one table.
#[derive(Clone)]
pub struct Idempotency {
    table: Table,
    vault: Vault,
    clock: Clock,
}

/// What to do with a request that names a key.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: answer it, then say what came of it.
    First(Running),
    /// It was answered before, like this.
    Answered {
        /// HTTP status.
        status: u16,
        /// The body, byte for byte.
        body: String,
        /// What it said of the body's version.
        etag: Option<String>,
    },
    /// Another request used the key.
    OtherRequest,
    /// The same request is being answered right now.
    InProgress,
}

/// A request that holds its key.
#[derive(Debug)]
pub struct Running {
    key: Key,
    claim: String,
}

/// Why a key could not be taken, or its answer not be kept.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    /// DynamoDB.
    #[error("keeping idempotency keys")]
    Store(#[from] DynamoError),
    /// The answer could not be sealed or opened.
    #[error("keeping an answer")]
    Vault(#[from] VaultError),
}

#[derive(Serialize, Deserialize)]
struct Row {
    pk: String,
    sk: String,
    /// Digest of the request.
    request: String,
    claim: String,
    /// Epoch milliseconds.
    claim_until: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Sealed for the row's key, since some answers hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// Epoch seconds; DynamoDB removes the row some time after.
    expires_at: i64,
}

impl Idempotency {
    /// Keys in the table that the setting `table` names. Reads `DATA_KEY_SECRET` too.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, table: &str) -> Result<Self, EnvError> {
        Ok(Self {
            table: Table::from_env(aws, env, table)?,
            vault: Vault::from_env(&Secrets::new(aws), env)?,
            clock: Clock::system(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Takes `key`, which is `caller`'s own, for the request with this digest.
    ///
    /// # Errors
    /// Transient faults of DynamoDB; a kept answer that does not open.
    pub async fn begin(&self, caller: &str, key: &str, request: &str) -> Result<Begun, IdempotencyError> {
        let (now, claim) = (self.clock.now(), self.clock.new_id().to_string());
        let key = Key { pk: format!("IDEM#{}", hex_sha256(&[caller, key])), sk: "I".into() };
        let row = Row {
            pk: key.pk.clone(),
            sk: key.sk.clone(),
            request: request.to_owned(),
            claim: claim.clone(),
            claim_until: (now + CLAIM).as_millisecond(),
            status: None,
            body: None,
            etag: None,
            expires_at: (now + KEPT).as_second(),
        };
        let known: Row = match self.table.create(&row).await? {
            Create::Created => return Ok(Begun::First(Running { key, claim })),
            Create::Exists(known) => self.table.read(known)?,
        };
        // The SDK repeats a call whose answer was lost: the refusal then comes from our own claim.
        if known.claim == claim {
            return Ok(Begun::First(Running { key, claim }));
        }
        Ok(match standing(&known, request, now) {
            Standing::Answered(status, body) => {
                let body = self.vault.open(&key.pk, &body).await?.expose().clone();
                Begun::Answered { status, body, etag: known.etag }
            }
            Standing::OtherRequest => Begun::OtherRequest,
            Standing::InProgress => Begun::InProgress,
            Standing::Free => self.take_over(key, &known, &row).await?,
        })
    }

    async fn take_over(&self, key: Key, known: &Row, row: &Row) -> Result<Begun, DynamoError> {
        let changes = Changes::new()
            .set("request", row.request.as_str())
            .set("claim", row.claim.as_str())
            .set("claim_until", row.claim_until)
            .set("expires_at", row.expires_at)
            .remove("status")
            .remove("body")
            .remove("etag")
            .only_if("#claim = ?", [known.claim.as_str().into_attribute()]);
        Ok(match self.table.update(&key, changes).await? {
            Update::Applied(_) => Begun::First(Running { key, claim: row.claim.clone() }),
            Update::Refused(newer) if newer.as_ref().and_then(claim_of) == Some(&row.claim) => {
                Begun::First(Running { key, claim: row.claim.clone() })
            }
            Update::Refused(_) => Begun::InProgress,
        })
    }

    /// Keeps the answer for whoever sends the request again.
    ///
    /// # Errors
    /// Transient faults of DynamoDB or of the key for the answer; the request's key is free again after [`CLAIM`].
    pub async fn finish(
        &self,
        running: Running,
        status: u16,
        body: &str,
        etag: Option<&str>,
    ) -> Result<(), IdempotencyError> {
        let body = self.vault.seal(&running.key.pk, body).await?;
        let answer =
            Changes::new().set("status", i64::from(status)).set("body", body.as_str()).set_or_remove("etag", etag);
        Ok(self.change(running, answer).await?)
    }

    /// Gives the key back: the request had no effect.
    ///
    /// # Errors
    /// As for [`Self::finish`].
    pub async fn abandon(&self, running: Running) -> Result<(), IdempotencyError> {
        // The row's time is up, so that another request may have the key too.
        Ok(self.change(running, Changes::new().set("claim_until", 0_i64).set("expires_at", 0_i64)).await?)
    }

    /// A request that lost its claim changes nothing: another answered in its place.
    async fn change(&self, running: Running, changes: Changes) -> Result<(), DynamoError> {
        let changes = changes.only_if("#claim = ?", [running.claim.as_str().into_attribute()]);
        self.table.update(&running.key, changes).await.map(drop)
    }
}

fn claim_of(row: &Item) -> Option<&String> {
    row.get("claim")?.as_s().ok()
}

/// What a known row says to a request.
enum Standing {
    Answered(u16, Sealed),
    OtherRequest,
    InProgress,
    /// The key may be taken over.
    Free,
}

fn standing(known: &Row, request: &str, now: Timestamp) -> Standing {
    if known.expires_at <= now.as_second() {
        return Standing::Free;
    }
    if known.request != request {
        return Standing::OtherRequest;
    }
    match (known.status, &known.body) {
        (Some(status), Some(body)) => Standing::Answered(status, body.clone()),
        _ if known.claim_until > now.as_millisecond() => Standing::InProgress,
        _ => Standing::Free,
    }
}
