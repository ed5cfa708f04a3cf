//! Operators: the named people who run the platform, for all tenants. They are rows of the identity table.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | operator | `OPERATORS` | `<id>` | no expiry |
//! | operator by address | `MAIL#<digest of the address>` | `operators` | no expiry |
//! | session | `SESSION#<operator>` | `<token id>` | as long as its token |
//! | attempts at a password | `LOGIN#<digest of the account>` | `-` | a day |

use crate::attempts::{Attempts, PasswordCheck, account_of};
use crate::error::IdentityError;
use crate::password;
use crate::token::{Claims, Subject, Token, Tokens};
use crate::{OperatorId, TokenId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{ActorId, Clock, Env, EnvError, Secret, hex_sha256};
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Transact, Write};
use switchyard_io::{Aws, Table};

const PARTITION: &str = "OPERATORS";

/// A person who runs the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    pk: String,
    sk: String,
    /// The number of changes: a change is conditional on the operator as it was read.
    lock: i64,
    /// The operator's id.
    pub id: OperatorId,
    /// Unique among operators, without regard to case.
    pub email: String,
    /// What colleagues call the operator.
    pub name: String,
    password_hash: String,
    /// Grows with each change of the password, which revokes all earlier tokens.
    password_version: u64,
    /// Since when the operator may not sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// When the operator was created.
    pub created_at: Timestamp,
    /// Who created the operator.
    pub created_by: ActorId,
    /// When the operator was changed last.
    pub updated_at: Timestamp,
    /// Who changed the operator last.
    pub updated_by: ActorId,
}

/// An operator to create.
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// Unique among operators.
    pub email: String,
    /// What colleagues call the operator.
    pub name: String,
    /// The password.
    pub password: Secret<String>,
}

/// Points from an address to its operator.
#[derive(Serialize, Deserialize)]
struct AddressRow {
    pk: String,
    sk: String,
    operator: OperatorId,
}

/// A token that was not signed out.
#[derive(Serialize, Deserialize)]
struct SessionRow {
    pk: String,
    sk: String,
    created_at: Timestamp,
    expires_at: i64,
}

/// An operator who is signed in.
#[derive(Clone, Debug)]
pub struct OperatorSession {
    /// The operator.
    pub operator: Operator,
    token_id: TokenId,
}

/// Outcome of signing in.
#[derive(Clone, Debug)]
pub enum SignIn {
    /// The token of the new session.
    Token(Token),
    /// The address or the password is wrong, or the operator is disabled.
    Refused,
    /// Too many attempts.
    Throttled {
        /// Until the next attempt is accepted.
        retry_after: Duration,
    },
}

/// Outcome of changing one's own password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChange {
    /// It is changed, and earlier tokens are revoked.
    Done,
    /// The current password is another.
    Refused,
    /// Too many attempts.
    Throttled {
        /// Until the next attempt is accepted.
        retry_after: Duration,
    },
}

/// The operators of the stack.
#[derive(Clone)]
pub struct Operators {
    table: Table,
    attempts: Attempts,
    tokens: Tokens,
    clock: Clock,
}

impl Operators {
    /// Reads `IDENTITY_TABLE` and what [`Tokens::from_env`] does.
    ///
    /// # Errors
    /// A setting is missing or invalid.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let table = Table::from_env(aws, env, "IDENTITY_TABLE")?;
        let (attempts, tokens) = (Attempts::new(table.clone()), Tokens::from_env(aws, env)?);
        Ok(Self { table, attempts, tokens, clock: Clock::system() })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { tokens: self.tokens.with_clock(clock.clone()), clock, ..self }
    }

    /// The tokens that operators sign in with.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Creates an operator; `None` when another one has the address.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or the password not be hashed.
    pub async fn create(&self, actor: &ActorId, new: &NewOperator) -> Result<Option<Operator>, IdentityError> {
        let (id, now) = (OperatorId::from(self.clock.new_id().to_string()), self.clock.now());
        let Key { pk, sk } = operator_key(&id);
        let operator = Operator {
            pk,
            sk,
            lock: 1,
            id: id.clone(),
            email: new.email.clone(),
            name: new.name.clone(),
            password_hash: password::hash(&new.password).await.map_err(IdentityError::Password)?,
            password_version: 1,
            disabled_at: None,
            created_at: now,
            created_by: actor.clone(),
            updated_at: now,
            updated_by: actor.clone(),
        };
        let Key { pk, sk } = address_key(&new.email);
        let address = AddressRow { pk, sk, operator: id.clone() };
        let writes = vec![Write::Create(self.table.to_item(&address)?), Write::Create(self.table.to_item(&operator)?)];
        Ok(match self.table.transact(writes).await? {
            Transact::Done => Some(operator),
            // The SDK repeats a call whose response was lost: the address row is then the one just written.
            Transact::Refused { .. } => self.get(&id).await?,
        })
    }

    /// All operators, oldest first.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn list(&self) -> Result<Vec<Operator>, IdentityError> {
        let items = self.table.rows(PARTITION, "").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// An operator by id.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn get(&self, id: &OperatorId) -> Result<Option<Operator>, IdentityError> {
        let item = self.table.get(&operator_key(id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// An operator by address.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn by_email(&self, email: &str) -> Result<Option<Operator>, IdentityError> {
        let Some(item) = self.table.get(&address_key(email)).await? else { return Ok(None) };
        let row: AddressRow = self.table.read(item)?;
        self.get(&row.operator).await
    }

    /// Disables an operator, which revokes all tokens; `None` when no operator has the id. Idempotent.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or another request changed the operator.
    pub async fn disable(&self, actor: &ActorId, id: &OperatorId) -> Result<Option<Operator>, IdentityError> {
        let now = self.clock.now();
        let disabled = |operator: &Operator| Operator {
            disabled_at: operator.disabled_at.or(Some(now)),
            password_version: operator.password_version + 1,
            ..operator.clone()
        };
        self.change(actor, id, |operator| operator.disabled_at.is_none().then(|| disabled(operator))).await
    }

    /// Enables an operator who was disabled; `None` when no operator has the id. Idempotent.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or another request changed the operator.
    pub async fn enable(&self, actor: &ActorId, id: &OperatorId) -> Result<Option<Operator>, IdentityError> {
        let enabled = |operator: &Operator| Operator { disabled_at: None, ..operator.clone() };
        self.change(actor, id, |operator| operator.disabled_at.is_some().then(|| enabled(operator))).await
    }

    /// Signs in with an address and a password.
    ///
    /// # Errors
    /// DynamoDB or the secret could not be reached.
    pub async fn sign_in(&self, email: &str, password: &Secret<String>) -> Result<SignIn, IdentityError> {
        let operator = self.by_email(email).await?.filter(|operator| operator.disabled_at.is_none());
        let (hash, now) = (operator.as_ref().map(|operator| &*operator.password_hash), self.clock.now());
        let operator = match (self.attempts.check(&account_of(email), password, hash, now).await?, operator) {
            (PasswordCheck::Throttled { retry_after }, _) => return Ok(SignIn::Throttled { retry_after }),
            (PasswordCheck::Match, Some(operator)) => operator,
            (PasswordCheck::Match | PasswordCheck::Mismatch, _) => return Ok(SignIn::Refused),
        };
        let claims = Claims {
            subject: Subject::Operator(operator.id.clone()),
            id: TokenId::from(self.clock.new_id().to_string()),
            password_version: operator.password_version,
        };
        let token = self.tokens.issue(&claims).await?;
        let Key { pk, sk } = session_key(&operator.id, &claims.id);
        let session = SessionRow { pk, sk, created_at: now, expires_at: (now + token.ttl).as_second() };
        self.table.put(&session).await?;
        Ok(SignIn::Token(token))
    }

    /// Revokes the token of a session.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn sign_out(&self, session: &OperatorSession) -> Result<(), IdentityError> {
        Ok(self.table.delete(&session_key(&session.operator.id, &session.token_id)).await?)
    }

    /// The session of a verified token; `None` when it was revoked, or the operator is disabled.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn session(&self, claims: &Claims) -> Result<Option<OperatorSession>, IdentityError> {
        let Subject::Operator(id) = &claims.subject else { return Ok(None) };
        let key = session_key(id, &claims.id);
        let session = async { Ok(self.table.get(&key).await?) };
        let (operator, session) = tokio::try_join!(self.get(id), session)?;
        let is_valid = |operator: &Operator| {
            operator.disabled_at.is_none() && operator.password_version == claims.password_version
        };
        let operator = operator.filter(is_valid).filter(|_| session.is_some());
        Ok(operator.map(|operator| OperatorSession { operator, token_id: claims.id.clone() }))
    }

    /// Changes the password of an operator who knows the current one, which revokes all tokens.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or another request changed the operator.
    pub async fn change_password(
        &self,
        session: &OperatorSession,
        current: &Secret<String>,
        new: &Secret<String>,
    ) -> Result<PasswordChange, IdentityError> {
        let operator = &session.operator;
        let (account, now) = (format!("operator {} password", operator.id), self.clock.now());
        match self.attempts.check(&account, current, Some(&operator.password_hash), now).await? {
            PasswordCheck::Throttled { retry_after } => return Ok(PasswordChange::Throttled { retry_after }),
            PasswordCheck::Mismatch => return Ok(PasswordChange::Refused),
            PasswordCheck::Match => {}
        }
        let password_hash = password::hash(new).await.map_err(IdentityError::Password)?;
        let after = Operator { password_hash, password_version: operator.password_version + 1, ..operator.clone() };
        self.write(&operator.id.actor(), operator, after).await?;
        Ok(PasswordChange::Done)
    }

    /// Makes a change of an operator as it is read; `None` from `change` leaves the operator as it is.
    async fn change(
        &self,
        actor: &ActorId,
        id: &OperatorId,
        change: impl Fn(&Operator) -> Option<Operator>,
    ) -> Result<Option<Operator>, IdentityError> {
        let Some(before) = self.get(id).await? else { return Ok(None) };
        match change(&before) {
            Some(after) => self.write(actor, &before, after).await.map(Some),
            None => Ok(Some(before)),
        }
    }

    async fn write(&self, actor: &ActorId, before: &Operator, after: Operator) -> Result<Operator, IdentityError> {
        let (lock, updated_at) = (before.lock + 1, self.clock.now());
        let after = Operator { lock, updated_at, updated_by: actor.clone(), ..after };
        let is_unchanged = Changes::new().only_if("#lock = ?", [before.lock.into_attribute()]);
        match self.table.transact(vec![Write::PutIf(self.table.to_item(&after)?, is_unchanged)]).await? {
            Transact::Done => Ok(after),
            Transact::Refused { .. } => Err(IdentityError::Contended { what: "the operator" }),
        }
    }
}

fn operator_key(id: &OperatorId) -> Key {
    Key { pk: PARTITION.to_owned(), sk: id.to_string() }
}

fn address_key(email: &str) -> Key {
    Key { pk: format!("MAIL#{}", hex_sha256(&[&email.to_lowercase()])), sk: "operators".to_owned() }
}

fn session_key(operator: &OperatorId, token_id: &TokenId) -> Key {
    Key { pk: format!("SESSION#{operator}"), sk: token_id.to_string() }
}
