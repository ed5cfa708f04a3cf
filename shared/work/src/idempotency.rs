//! `Idempotency-Key`: a request that is repeated with its key gets its first response, and takes effect once.
//!
//! The rows live in a workflow's own table, `IDEM#<digest of caller and key>` / `I`, for [`KEPT`]. A request claims its
//! key while it is processed; the claim of one whose process died ends after [`CLAIM`]. Only responses that
//! [`Idempotency::finish`] kept are returned again: a refusal had no effect, so the request may be corrected and repeated.

use crate::lease::{self, Holder};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Owner, Timestamp, hex_sha256};
use switchyard_io::dynamo::{Changes, Create, DynamoError, IntoAttribute as _, Key, Update};
use switchyard_io::reseal::{SealedColumn, Shape, text};
use switchyard_io::vault::{Sealed, Vault, VaultError};
use switchyard_io::{Aws, Secrets, Table};

/// How long a response is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a request may hold its key: longer than any HTTP function may run.
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
    /// It is the first: process it, then call [`Idempotency::finish`] or [`Idempotency::abandon`].
    First(Running),
    /// It was processed before; return this response.
    Answered {
        /// HTTP status.
        status: u16,
        /// The body, byte for byte.
        body: String,
        /// The `ETag` header.
        etag: Option<String>,
    },
    /// Another request used the key.
    OtherRequest,
    /// The request is being processed right now.
    InProgress,
}

/// A request that holds its key.
#[derive(Debug)]
pub struct Running {
    key: Key,
    claim: Owner,
}

/// Why a key could not be claimed, or its response not be kept.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    /// DynamoDB.
    #[error("reading or writing idempotency keys")]
    Store(#[from] DynamoError),
    /// The response could not be sealed or opened.
    #[error("sealing or opening a stored response")]
    Vault(#[from] VaultError),
}

/// What begins the partition of every row.
const PREFIX: &str = "IDEM#";

/// The sealed column of the rows, in every table with an HTTP function.
pub const SEALED_RESPONSE: SealedColumn = SealedColumn {
    attribute: "body",
    shape: Shape::Text,
    context: |row| text(row, "pk").filter(|pk| pk.starts_with(PREFIX)),
    lock: None,
};

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
    /// Sealed for the row's key, since some responses hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// Epoch seconds; DynamoDB removes the row some time after.
    expires_at: i64,
}

impl Idempotency {
    /// Reads `DATA_KEY_SECRET` and the setting `table`, which names the table of the keys.
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

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Claims `key`, which is `caller`'s own, for the request with this digest.
    ///
    /// # Errors
    /// Transient faults of DynamoDB; a kept response that does not open.
    pub async fn begin(&self, caller: &str, key: &str, request: &str) -> Result<Begun, IdempotencyError> {
        let (now, claim) = (self.clock.now(), Owner::request(self.clock.new_id().to_string()));
        let key = Key { pk: format!("{PREFIX}{}", hex_sha256(&[caller, key])), sk: "I".into() };
        let row = Row {
            pk: key.pk.clone(),
            sk: key.sk.clone(),
            request: request.to_owned(),
            claim: claim.message_id.clone(),
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
        // The SDK repeats a call whose response was lost: the refusal then comes from our own claim.
        if known.claim == claim.message_id {
            return Ok(Begun::First(Running { key, claim }));
        }
        Ok(match standing(&known, request, now) {
            Standing::Answered(status, body) => {
                let body = self.vault.open(&key.pk, &body).await?.expose().clone();
                Begun::Answered { status, body, etag: known.etag }
            }
            Standing::OtherRequest => Begun::OtherRequest,
            Standing::InProgress => Begun::InProgress,
            Standing::Free => self.take_over(key, claim, &row, now).await?,
        })
    }

    /// Claims a key whose claim or response has expired, unless another request did, or a response was kept since.
    async fn take_over(&self, key: Key, claim: Owner, row: &Row, now: Timestamp) -> Result<Begun, DynamoError> {
        let changes = lease::CLAIM
            .acquire(Changes::new(), &claim, now.as_millisecond(), row.claim_until)
            .set("request", row.request.as_str())
            .set("expires_at", row.expires_at)
            .remove("status")
            .remove("body")
            .remove("etag")
            .only_if("attribute_not_exists(#status) OR #expires_at <= ?", [now.as_second().into_attribute()]);
        Ok(match self.table.update(&key, changes).await? {
            Update::Applied(_) => Begun::First(Running { key, claim }),
            Update::Refused(_) => Begun::InProgress,
        })
    }

    /// Keeps the response for requests that repeat this one.
    ///
    /// # Errors
    /// Transient faults of DynamoDB or of the key for the response; the request's key is free again after [`CLAIM`].
    pub async fn finish(
        &self,
        running: Running,
        status: u16,
        body: &str,
        etag: Option<&str>,
    ) -> Result<(), IdempotencyError> {
        let body = self.vault.seal(&running.key.pk, body).await?;
        let response =
            Changes::new().set("status", i64::from(status)).set("body", body.as_str()).set_or_remove("etag", etag);
        Ok(self.change(running, response).await?)
    }

    /// Releases the key: the request had no effect.
    ///
    /// # Errors
    /// As for [`Self::finish`].
    pub async fn abandon(&self, running: Running) -> Result<(), IdempotencyError> {
        // The row expires too, so that another request may have the key.
        Ok(self.change(running, Changes::new().set("claim_until", 0_i64).set("expires_at", 0_i64)).await?)
    }

    /// A request that lost its claim changes nothing: another one's response is kept.
    async fn change(&self, running: Running, changes: Changes) -> Result<(), DynamoError> {
        let changes = lease::CLAIM.only_if_held(changes, Holder::Owner(&running.claim));
        self.table.update(&running.key, changes).await.map(drop)
    }
}

/// What a known row means for a request.
enum Standing {
    Answered(u16, Sealed),
    OtherRequest,
    InProgress,
    /// The key may be claimed.
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
        _ if known.claim_until >= now.as_millisecond() => Standing::InProgress,
        _ => Standing::Free,
    }
}
