use super::{Store, tenant_partition};
use crate::error::SignalsError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::hex_sha256;
use switchyard_identity::Role;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Transact, Update, Write, number};

/// The partition of those who run the platform; no tenant's id is like it.
pub(crate) const OPERATORS: &str = "operators";

/// Somebody who logs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    pub(crate) pk: String,
    pub(crate) sk: String,
    pub(crate) lock: i64,
    pub(crate) id: String,
    /// Whose; [`OPERATORS`] for the platform's own.
    pub(crate) tenant: String,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    /// Grows with each change of the password, which ends all tokens made before.
    pub(crate) password_version: u64,
    pub(crate) role: Role,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl UserRow {
    pub(crate) fn new(tenant: &str, id: &str, email: &str, password_hash: &str, role: Role, now: Timestamp) -> Self {
        let Key { pk, sk } = user_key(tenant, id);
        Self {
            pk,
            sk,
            lock: 1,
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            email: email.to_owned(),
            password_hash: password_hash.to_owned(),
            password_version: 1,
            role,
            created_at: now,
            updated_at: now,
        }
    }
}

/// That an address is taken within a tenant, and by whom.
#[derive(Serialize, Deserialize)]
struct AddressRow {
    pk: String,
    sk: String,
    tenant: String,
    user: String,
}

/// Outcome of a change of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserWrite {
    Done,
    /// The address is taken, or another change came first.
    Refused,
    /// It would leave the tenant without an owner.
    LastOwner,
}

fn user_key(tenant: &str, id: &str) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("USER#{id}") }
}

fn address_partition(email: &str) -> String {
    format!("MAIL#{}", hex_sha256(&[&email.to_lowercase()]))
}

pub(super) fn address_key(tenant: &str, email: &str) -> Key {
    Key { pk: address_partition(email), sk: tenant.to_owned() }
}

fn owners_key(tenant: &str) -> Key {
    Key { pk: tenant_partition(tenant), sk: "OWNERS".into() }
}

fn attempts_key(account: &str) -> Key {
    Key { pk: format!("LOGIN#{}", hex_sha256(&[&account.to_lowercase()])), sk: "-".into() }
}

fn more_owners(tenant: &str) -> Write {
    Write::Update(owners_key(tenant), Changes::new().add("owners", 1))
}

/// One owner less, unless it is the last.
fn fewer_owners(tenant: &str) -> Write {
    Write::Update(owners_key(tenant), Changes::new().add("owners", -1).only_if("#owners > ?", [1_i64.into_attribute()]))
}

impl Store {
    /// The writes that make a user: the row, its address, and the count of owners if it is one.
    pub(crate) fn user_writes(&self, user: &UserRow) -> Result<Vec<Write>, SignalsError> {
        let Key { pk, sk } = address_key(&user.tenant, &user.email);
        let address = AddressRow { pk, sk, tenant: user.tenant.clone(), user: user.id.clone() };
        let mut writes = vec![Write::Create(self.table.to_item(&address)?), Write::Create(self.table.to_item(user)?)];
        if user.role == Role::Owner {
            writes.push(more_owners(&user.tenant));
        }
        Ok(writes)
    }

    /// Writes a new user, and `with` it.
    pub(crate) async fn add_user(&self, user: &UserRow, with: Vec<Write>) -> Result<UserWrite, SignalsError> {
        let mut writes = self.user_writes(user)?;
        writes.extend(with);
        Ok(match self.table.transact(writes).await? {
            Transact::Done => UserWrite::Done,
            Transact::Refused { .. } => UserWrite::Refused,
        })
    }

    /// Replaces a user as it was read, and writes `with` it.
    pub(crate) async fn change_user(
        &self,
        before: &UserRow,
        after: &UserRow,
        with: Vec<Write>,
    ) -> Result<UserWrite, SignalsError> {
        let is_same = Changes::new().only_if("#lock = ?", [before.lock.into_attribute()]);
        let after = UserRow { lock: before.lock + 1, ..after.clone() };
        let mut writes = match (before.role == Role::Owner, after.role == Role::Owner) {
            (true, false) => vec![fewer_owners(&before.tenant)],
            (false, true) => vec![more_owners(&before.tenant)],
            _ => Vec::new(),
        };
        let guard = before.role == Role::Owner && after.role != Role::Owner;
        writes.push(Write::PutIf(self.table.to_item(&after)?, is_same));
        writes.extend(with);
        self.write_user(writes, guard).await
    }

    /// Removes a user as it was read, and writes `with` that.
    pub(crate) async fn remove_user(&self, user: &UserRow, with: Vec<Write>) -> Result<UserWrite, SignalsError> {
        let is_same = Changes::new().only_if("#lock = ?", [user.lock.into_attribute()]);
        let guard = user.role == Role::Owner;
        let mut writes = if guard { vec![fewer_owners(&user.tenant)] } else { Vec::new() };
        writes.push(Write::Delete(user_key(&user.tenant, &user.id), is_same));
        writes.push(Write::Delete(address_key(&user.tenant, &user.email), Changes::new()));
        writes.extend(with);
        self.write_user(writes, guard).await
    }

    async fn write_user(&self, writes: Vec<Write>, guard: bool) -> Result<UserWrite, SignalsError> {
        Ok(match self.table.transact(writes).await? {
            Transact::Done => UserWrite::Done,
            Transact::Refused { index: 0, .. } if guard => UserWrite::LastOwner,
            Transact::Refused { .. } => UserWrite::Refused,
        })
    }

    pub(crate) async fn user(&self, tenant: &str, id: &str) -> Result<Option<UserRow>, SignalsError> {
        self.get(&user_key(tenant, id)).await
    }

    pub(crate) async fn users(&self, tenant: &str) -> Result<Vec<UserRow>, SignalsError> {
        let items = self.table.rows(&tenant_partition(tenant), "USER#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// Users with an address: within one tenant, or in all tenants.
    pub(crate) async fn users_of_address(
        &self,
        tenant: Option<&str>,
        email: &str,
    ) -> Result<Vec<UserRow>, SignalsError> {
        let mut users = Vec::new();
        for item in self.table.rows(&address_partition(email), tenant.unwrap_or_default()).await? {
            let row: AddressRow = self.table.read(item)?;
            users.extend(self.user(&row.tenant, &row.user).await?);
        }
        Ok(users)
    }

    /// Counts one attempt at logging in to an account before it is made; returns how many there were in this span, this one
    /// included, and when the span ends (epoch seconds). A span begins with the first attempt after the last one.
    pub(crate) async fn count_attempt(
        &self,
        account: &str,
        span: Duration,
        now: Timestamp,
    ) -> Result<(u32, i64), SignalsError> {
        let key = attempts_key(account);
        let (now_s, until) = (now.as_second(), (now + span).as_second());
        let more = Changes::new().add("attempts", 1).only_if("#until > ?", [now_s.into_attribute()]);
        let first = Changes::new()
            .set("attempts", 1_i64)
            .set("until", until)
            .set("expires_at", until + 86_400)
            .only_if("attribute_not_exists(#until) OR #until <= ?", [now_s.into_attribute()]);
        // The second round is for one whose first attempt another's came before.
        for changes in [more.clone(), first, more] {
            if let Update::Applied(row) = self.table.update(&key, changes).await? {
                let counted = number(&row, "attempts").unwrap_or(u32::MAX);
                return Ok((counted, number(&row, "until").unwrap_or(until)));
            }
        }
        Err(SignalsError::Contended { what: "the count of attempts" })
    }

    /// Forgets an account's attempts.
    pub(crate) async fn forget_attempts(&self, account: &str) -> Result<(), SignalsError> {
        Ok(self.table.delete(&attempts_key(account)).await?)
    }
}
