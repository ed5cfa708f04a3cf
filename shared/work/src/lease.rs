//! The lease: a worker's exclusive hold on a row until a point in time, kept in attributes of that row.
//!
//! A lease is acquired when it is free, when its time has passed, or by a *later* delivery of the queue message that
//! holds it: SQS hands that out only after the earlier delivery was given up. Acquiring twice is acquiring once, since the
//! SDK repeats a call whose response was lost. Renewing and releasing are conditional on the holder, so a worker that
//! lost its lease changes nothing.
//!
//! A lease with a fence counts its holders: the number grows with every acquisition and survives the release, so that it
//! names the holder for writes that the lease itself cannot guard.

use serde::{Deserialize, Serialize};
use switchyard_core::Owner;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Item, number};

/// The names of the attributes in which a row keeps its lease.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Text: [`Owner::message_id`].
    pub owner: &'static str,
    /// Number: [`Owner::attempt`]. Without it every delivery of a message counts as the same holder.
    pub attempt: Option<&'static str>,
    /// Number: epoch milliseconds at which the lease ends. Absent while no worker holds it.
    pub until: &'static str,
    /// Number: the fence. It is never removed.
    pub fence: Option<&'static str>,
}

/// The lease of a consumer on the row that its message is about.
pub const ROW: Columns =
    Columns { owner: "lease_owner", attempt: Some("lease_attempt"), until: "lease_until", fence: None };

/// The claim of a request, which is delivered once, on what only one request may do.
pub const CLAIM: Columns = Columns { owner: "claim", attempt: None, until: "claim_until", fence: None };

/// Who a lease is expected to be with.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// The worker itself.
    Owner(&'a Owner),
    /// The worker whose acquisition returned this fence.
    Fence(Fence),
}

/// The number of one acquisition; it grows with every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    column: &'static str,
    number: i64,
}

impl Columns {
    /// `changes` that acquire the lease until `until_ms`; refused while another holds it.
    #[must_use]
    pub fn acquire(&self, changes: Changes, owner: &Owner, now_ms: i64, until_ms: i64) -> Changes {
        let changes = self.assign(changes, owner, until_ms);
        let (until, name) = (self.until, self.owner);
        let (now, id) = (now_ms.into_attribute(), owner.message_id.as_str().into_attribute());
        let free = format!("attribute_not_exists(#{until}) OR #{until} < ?");
        match self.attempt {
            Some(attempt) => changes.only_if(
                &format!("{free} OR (#{name} = ? AND #{attempt} <= ?)"),
                [now, id, i64::from(owner.attempt).into_attribute()],
            ),
            None => changes.only_if(&format!("{free} OR #{name} = ?"), [now, id]),
        }
    }

    /// `changes` that give the lease to `owner`, on no condition.
    pub(crate) fn assign(&self, changes: Changes, owner: &Owner, until_ms: i64) -> Changes {
        let changes = changes.set(self.owner, owner.message_id.as_str()).set(self.until, until_ms);
        let changes = match self.attempt {
            Some(attempt) => changes.set(attempt, i64::from(owner.attempt)),
            None => changes,
        };
        match self.fence {
            Some(fence) => changes.add(fence, 1),
            None => changes,
        }
    }

    /// `changes` that hold the lease until `until_ms`, if `holder` still has it.
    #[must_use]
    pub fn renew(&self, changes: Changes, holder: Holder<'_>, until_ms: i64) -> Changes {
        let changes = changes.set(self.until, until_ms).only_if(&format!("attribute_exists(#{})", self.until), []);
        self.only_if_held(changes, holder)
    }

    /// `changes` that release the lease, if `holder` still has it.
    #[must_use]
    pub fn release(&self, changes: Changes, holder: Holder<'_>) -> Changes {
        self.only_if_held(self.clear(changes), holder)
    }

    /// `changes` that release the lease, on no condition.
    pub(crate) fn clear(&self, changes: Changes) -> Changes {
        let changes = changes.remove(self.owner).remove(self.until);
        match self.attempt {
            Some(attempt) => changes.remove(attempt),
            None => changes,
        }
    }

    /// `changes`, if `holder` has the lease.
    #[must_use]
    pub fn only_if_held(&self, changes: Changes, holder: Holder<'_>) -> Changes {
        match (holder, self.attempt) {
            (Holder::Owner(owner), Some(attempt)) => changes.only_if(
                &format!("#{} = ? AND #{attempt} = ?", self.owner),
                [owner.message_id.as_str().into_attribute(), i64::from(owner.attempt).into_attribute()],
            ),
            (Holder::Owner(owner), None) => {
                changes.only_if(&format!("#{} = ?", self.owner), [owner.message_id.as_str().into_attribute()])
            }
            (Holder::Fence(Fence { column, number }), _) => {
                changes.only_if(&format!("#{column} = ?"), [number.into_attribute()])
            }
        }
    }

    /// `changes`, conditional on no worker holding the lease.
    #[must_use]
    pub fn only_if_free(&self, changes: Changes, now_ms: i64) -> Changes {
        let until = self.until;
        changes.only_if(&format!("attribute_not_exists(#{until}) OR #{until} < ?"), [now_ms.into_attribute()])
    }

    /// When the lease of a row ends, epoch milliseconds; `None` when no worker holds it.
    pub fn until_ms(&self, row: &Item) -> Option<i64> {
        number(row, self.until)
    }

    /// The fence of the row's latest holder; `None` when there was none, or the lease has no fence.
    pub fn fence(&self, row: &Item) -> Option<Fence> {
        let column = self.fence?;
        Some(Fence { column, number: number(row, column)? })
    }
}

/// A lease in [`ROW`]'s columns, as it was read; flatten it into the row's type.
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
    /// `changes` that release the lease, if it is still as it was read.
    #[must_use]
    pub fn release(&self, changes: Changes) -> Changes {
        let owner = Owner {
            message_id: self.lease_owner.clone().unwrap_or_default(),
            attempt: self.lease_attempt.unwrap_or_default(),
        };
        ROW.release(changes, Holder::Owner(&owner))
    }
}
