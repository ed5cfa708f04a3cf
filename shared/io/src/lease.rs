//! A worker's hold on a row, kept in three attributes of that row.
//!
//! The lease of a row that is worked on once and then done is [`once`](crate::once)'s.

use crate::dynamo::{Changes, IntoAttribute as _};
use crate::once::Owner;
use serde::{Deserialize, Serialize};

/// The lease of a row; flatten it into the row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lease {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<i64>,
}

impl Lease {
    /// When it ends, epoch milliseconds; `None` when nobody holds it.
    pub fn until_ms(&self) -> Option<i64> {
        self.lease_until
    }

    /// `changes` that give it back, if it is still as it was read.
    pub fn given_back(&self, changes: Changes) -> Changes {
        changes.remove("lease_owner").remove("lease_attempt").remove("lease_until").only_if(
            "#lease_owner = ? AND #lease_attempt = ?",
            [
                self.lease_owner.clone().unwrap_or_default().into_attribute(),
                i64::from(self.lease_attempt.unwrap_or_default()).into_attribute(),
            ],
        )
    }
}

/// `changes` that take the lease until `until_ms`: when it is free, when its time is up, or when an earlier receive of the
/// same message held it. Taking it twice is taking it once, since the SDK repeats a call whose answer was lost.
pub fn taken(changes: Changes, owner: &Owner, now_ms: i64, until_ms: i64) -> Changes {
    let (id, attempt) = (owner.message_id.as_str(), i64::from(owner.attempt));
    changes.set("lease_owner", id).set("lease_attempt", attempt).set("lease_until", until_ms).only_if(
        "attribute_not_exists(#lease_until) OR #lease_until < ? OR (#lease_owner = ? AND #lease_attempt <= ?)",
        [now_ms.into_attribute(), id.into_attribute(), attempt.into_attribute()],
    )
}

/// `changes`, if nobody holds the lease.
pub fn free(changes: Changes, now_ms: i64) -> Changes {
    changes.only_if("attribute_not_exists(#lease_until) OR #lease_until < ?", [now_ms.into_attribute()])
}
