//! Users of tenants: their rows, their addresses, and the count of each tenant's owners.
//!
//! | Row | `pk` | `sk` |
//! |---|---|---|
//! | user | `T#<tenant>` | `USER#<id>` |
//! | user by address | `MAIL#<digest of the address>` | `<tenant>` |
//! | number of a tenant's owners | `T#<tenant>` | `OWNERS` |
//!
//! They share a table with the workflow whose tenants they belong to, so that a change and its audit record are one
//! transaction.

use crate::error::IdentityError;
use crate::{Claims, Role, Subject, TenantId, TokenId, UserId, bcrypt_hash, password};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchyard_core::{Secret, hex_sha256};
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, DynamoError, IntoAttribute as _, Item, Key, Transact, Write};

/// Longest address, in characters.
pub const MAX_EMAIL: usize = 254;

/// Whether a text has the form of an e-mail address.
pub fn is_email(text: &str) -> bool {
    let is_address = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let is_plain = !text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    is_address && is_plain && text.chars().count() <= MAX_EMAIL
}

/// Prefix of users' sort keys.
const SORT_PREFIX: &str = "USER#";

/// A user of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pk: String,
    sk: String,
    /// The number of changes: a change is conditional on the user as it was read.
    lock: i64,
    /// The user's id.
    pub id: UserId,
    /// The tenant's id.
    pub tenant: TenantId,
    /// Unique within the tenant, without regard to case.
    pub email: String,
    pub(crate) password_hash: String,
    /// Grows with each change of the password, which revokes all earlier tokens.
    pub(crate) password_version: u64,
    /// What the user may do.
    pub role: Role,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user was changed last.
    pub updated_at: Timestamp,
}

/// A user to create.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Unique within the tenant.
    pub email: String,
    /// The password, or a bcrypt hash of it.
    pub password: Password,
    /// What the user may do.
    pub role: Role,
}

/// How a password is given.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself.
    Plain(Secret<String>),
    /// An imported bcrypt hash, which is replaced when the user signs in. See [`is_importable`].
    Bcrypt(String),
}

/// Whether a text is a bcrypt hash (`$2a$`, `$2b$`, `$2y$`) that [`Password::Bcrypt`] may hold: of a cost up to 14.
pub fn is_importable(hash: &str) -> bool {
    bcrypt_hash::is_importable(hash)
}

impl User {
    /// A user as it is to be written.
    ///
    /// # Errors
    /// The password could not be hashed.
    pub async fn new(tenant: &TenantId, id: &UserId, new: &NewUser, now: Timestamp) -> Result<Self, IdentityError> {
        let Key { pk, sk } = user_key(tenant, id);
        let password_hash = match &new.password {
            Password::Plain(password) => password::hash(password).await.map_err(IdentityError::Password)?,
            Password::Bcrypt(hash) => hash.clone(),
        };
        Ok(Self {
            pk,
            sk,
            lock: 1,
            id: id.clone(),
            tenant: tenant.clone(),
            email: new.email.clone(),
            password_hash,
            password_version: 1,
            role: new.role,
            created_at: now,
            updated_at: now,
        })
    }

    /// The user with another password, which revokes all tokens.
    ///
    /// # Errors
    /// The password could not be hashed.
    pub async fn with_password(self, password: &Secret<String>) -> Result<Self, IdentityError> {
        let password_hash = password::hash(password).await.map_err(IdentityError::Password)?;
        Ok(Self { password_hash, password_version: self.password_version + 1, ..self })
    }

    /// The hash that a password is compared with.
    pub fn password_hash(&self) -> &str {
        &self.password_hash
    }

    /// The user with an Argon2id hash in place of an imported one; `None` when the hash is not imported. Tokens stay valid.
    ///
    /// # Errors
    /// The password could not be hashed.
    pub async fn rehashed(&self, password: &Secret<String>, now: Timestamp) -> Result<Option<Self>, IdentityError> {
        if !password::is_imported(&self.password_hash) {
            return Ok(None);
        }
        let password_hash = password::hash(password).await.map_err(IdentityError::Password)?;
        Ok(Some(Self { password_hash, updated_at: now, ..self.clone() }))
    }

    /// The claims of a token for this user.
    pub fn claims(&self, token_id: TokenId) -> Claims {
        Claims {
            subject: Subject::User { id: self.id.clone(), tenant: self.tenant.clone(), role: self.role },
            id: token_id,
            password_version: self.password_version,
        }
    }

    /// Whether a token was issued for the user's current password.
    pub fn accepts(&self, claims: &Claims) -> bool {
        let is_subject =
            matches!(&claims.subject, Subject::User { id, tenant, .. } if *id == self.id && *tenant == self.tenant);
        is_subject && self.password_version == claims.password_version
    }
}

/// Points from an address to its user.
#[derive(Serialize, Deserialize)]
struct AddressRow {
    pk: String,
    sk: String,
    tenant: TenantId,
    user: UserId,
}

/// Outcome of a conditional write of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserWrite {
    /// Written.
    Done,
    /// The address is taken, or another request changed the user.
    Refused,
    /// It would leave the tenant without an owner.
    LastOwner,
}

fn partition(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

fn user_key(tenant: &TenantId, id: &UserId) -> Key {
    Key { pk: partition(tenant), sk: format!("{SORT_PREFIX}{id}") }
}

fn address_partition(email: &str) -> String {
    format!("MAIL#{}", hex_sha256(&[&email.to_lowercase()]))
}

fn address_key(tenant: &TenantId, email: &str) -> Key {
    Key { pk: address_partition(email), sk: tenant.to_string() }
}

fn owners_key(tenant: &TenantId) -> Key {
    Key { pk: partition(tenant), sk: "OWNERS".into() }
}

fn add_owner(tenant: &TenantId) -> Write {
    Write::Update(owners_key(tenant), Changes::new().add("owners", 1))
}

/// Removes an owner from the count, unless it is the last.
fn remove_owner(tenant: &TenantId) -> Write {
    Write::Update(owners_key(tenant), Changes::new().add("owners", -1).only_if("#owners > ?", [1_i64.into_attribute()]))
}

/// The users of one table.
#[derive(Clone)]
pub struct Users {
    table: Table,
}

impl Users {
    /// The users in `table`.
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// The writes that create a user: the row, its address, and the count of owners if it is one.
    ///
    /// # Errors
    /// The user cannot be written as a row.
    pub fn creation(&self, user: &User) -> Result<Vec<Write>, DynamoError> {
        let Key { pk, sk } = address_key(&user.tenant, &user.email);
        let address = AddressRow { pk, sk, tenant: user.tenant.clone(), user: user.id.clone() };
        let mut writes = vec![Write::Create(self.table.to_item(&address)?), Write::Create(self.table.to_item(user)?)];
        if user.role == Role::Owner {
            writes.push(add_owner(&user.tenant));
        }
        Ok(writes)
    }

    /// Creates a user, with further writes in the same transaction.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn create(&self, user: &User, with: Vec<Write>) -> Result<UserWrite, IdentityError> {
        let mut writes = self.creation(user)?;
        writes.extend(with);
        Ok(match self.table.transact(writes).await? {
            Transact::Done => UserWrite::Done,
            Transact::Refused { .. } => UserWrite::Refused,
        })
    }

    /// Changes a user as it was read, with further writes in the same transaction.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn change(&self, before: &User, after: &User, with: Vec<Write>) -> Result<UserWrite, IdentityError> {
        let is_same = Changes::new().only_if("#lock = ?", [before.lock.into_attribute()]);
        let after = User { lock: before.lock + 1, ..after.clone() };
        let mut writes = match (before.role == Role::Owner, after.role == Role::Owner) {
            (true, false) => vec![remove_owner(&before.tenant)],
            (false, true) => vec![add_owner(&before.tenant)],
            _ => Vec::new(),
        };
        let guard = before.role == Role::Owner && after.role != Role::Owner;
        writes.push(Write::PutIf(self.table.to_item(&after)?, is_same));
        writes.extend(with);
        self.write(writes, guard).await
    }

    /// Deletes a user as it was read, with further writes in the same transaction.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn delete(&self, user: &User, with: Vec<Write>) -> Result<UserWrite, IdentityError> {
        let is_same = Changes::new().only_if("#lock = ?", [user.lock.into_attribute()]);
        let guard = user.role == Role::Owner;
        let mut writes = if guard { vec![remove_owner(&user.tenant)] } else { Vec::new() };
        writes.push(Write::Delete(user_key(&user.tenant, &user.id), is_same));
        writes.push(Write::Delete(address_key(&user.tenant, &user.email), Changes::new()));
        writes.extend(with);
        self.write(writes, guard).await
    }

    async fn write(&self, writes: Vec<Write>, guard: bool) -> Result<UserWrite, IdentityError> {
        Ok(match self.table.transact(writes).await? {
            Transact::Done => UserWrite::Done,
            Transact::Refused { index: 0, .. } if guard => UserWrite::LastOwner,
            Transact::Refused { .. } => UserWrite::Refused,
        })
    }

    /// A user of a tenant.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn get(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>, IdentityError> {
        let item = self.table.get(&user_key(tenant, id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// A tenant's users, oldest first.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<User>, IdentityError> {
        let items = self.table.rows(&partition(tenant), SORT_PREFIX).await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// The users with an address: of one tenant, or of all tenants.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn by_email(&self, tenant: Option<&TenantId>, email: &str) -> Result<Vec<User>, IdentityError> {
        let mut users = Vec::new();
        for item in self.table.rows(&address_partition(email), tenant.map_or("", TenantId::as_str)).await? {
            let row: AddressRow = self.table.read(item)?;
            users.extend(self.get(&row.tenant, &row.user).await?);
        }
        Ok(users)
    }

    /// The key of the address row that belongs to `row`, if that is a user's. It has to be deleted with the user's row.
    ///
    /// # Errors
    /// The row is a user's and cannot be read.
    pub fn address_of(&self, row: &Item) -> Result<Option<Key>, IdentityError> {
        let is_user = row.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk.starts_with(SORT_PREFIX));
        if !is_user {
            return Ok(None);
        }
        let user: User = self.table.read(row.clone())?;
        Ok(Some(address_key(&user.tenant, &user.email)))
    }
}
