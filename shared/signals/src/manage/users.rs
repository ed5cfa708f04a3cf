//! Users of tenants: signing in, and what administrators do with them. Every change is recorded.

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, TenantId, UserId};
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantStatus;
use crate::table::SignalsTable;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use switchyard_core::iso_millis;
use switchyard_core::{Clock, Env, EnvError, Secret};
use switchyard_identity::Operator;
use switchyard_identity::operators::{PasswordChange, SignIn};
use switchyard_identity::users::{UserWrite, is_email, is_importable};
use switchyard_identity::{
    Attempts, Claims, NewUser, Password, PasswordCheck, Role, Subject, Tokens, User, Users, account_of,
};
use switchyard_io::{Aws, Table};

/// What managing users needs.
#[derive(Clone)]
pub struct UserDeps {
    store: SignalsTable,
    users: Users,
    attempts: Attempts,
    tokens: Tokens,
    clock: Clock,
}

impl UserDeps {
    /// Reads `SIGNALS_TABLE`, `IDENTITY_TABLE` (attempts at passwords are counted beside those of operators), and what
    /// [`Tokens::from_env`] does.
    ///
    /// # Errors
    /// A setting is missing or invalid.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let table = Table::from_env(aws, env, "SIGNALS_TABLE")?;
        Ok(Self {
            users: Users::new(table.clone()),
            attempts: Attempts::new(Table::from_env(aws, env, "IDENTITY_TABLE")?),
            store: SignalsTable::new(table),
            tokens: Tokens::from_env(aws, env)?,
            clock: Clock::system(),
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { tokens: self.tokens.with_clock(clock.clone()), clock, ..self }
    }

    /// The tokens that users sign in with.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }
}

/// A user who is signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user.
    pub user: User,
    /// The user's tenant.
    pub tenant: Tenant,
}

/// Signs in with an address and a password. Without a tenant's slug the address must belong to one user only.
///
/// # Errors
/// DynamoDB or the secret could not be reached.
pub async fn sign_in(
    deps: &UserDeps,
    slug: Option<&str>,
    email: &str,
    password: &Secret<String>,
) -> Result<SignIn, SignalsError> {
    let now = deps.clock.now();
    let user = find_user(deps, slug, email).await?;
    let hash = user.as_ref().map(User::password_hash);
    let mut user = match (deps.attempts.check(&account_of(email), password, hash, now).await?, user) {
        (PasswordCheck::Throttled { retry_after }, _) => return Ok(SignIn::Throttled { retry_after }),
        (PasswordCheck::Match, Some(user)) => user,
        (PasswordCheck::Match | PasswordCheck::Mismatch, _) => return Ok(SignIn::Refused),
    };
    // If another request changes the user first, the next sign-in replaces the hash.
    if let Some(rehashed) = user.rehashed(password, now).await?
        && deps.users.change(&user, &rehashed, Vec::new()).await? == UserWrite::Done
    {
        user = rehashed;
    }
    Ok(SignIn::Token(deps.tokens.issue(&user.claims(deps.clock.new_id().to_string().into())).await?))
}

/// The user with an address, if there is exactly one whose tenant is not deleted.
async fn find_user(deps: &UserDeps, slug: Option<&str>, email: &str) -> Result<Option<User>, SignalsError> {
    let tenant = match slug {
        Some(slug) => match deps.store.tenant_by_slug(slug).await? {
            Some(tenant) => Some(tenant.id),
            None => return Ok(None),
        },
        None => None,
    };
    let mut found = None;
    for user in deps.users.by_email(tenant.as_ref(), email).await? {
        let tenant = deps.store.tenant(&user.tenant).await?;
        if tenant.is_some_and(|tenant| may_sign_in(&tenant)) && found.replace(user).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

fn may_sign_in(tenant: &Tenant) -> bool {
    tenant.status != TenantStatus::Deleted
}

/// The session of a verified token; `None` when it was revoked, or the tenant is deleted.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn session(deps: &UserDeps, claims: &Claims) -> Result<Option<Session>, SignalsError> {
    let Subject::User { id, tenant, .. } = &claims.subject else { return Ok(None) };
    let user = async { Ok(deps.users.get(tenant, id).await?) };
    let (user, tenant) = tokio::try_join!(user, deps.store.tenant(tenant))?;
    let user = user.filter(|user| user.accepts(claims));
    let tenant = tenant.filter(may_sign_in);
    Ok(user.zip(tenant).map(|(user, tenant)| Session { user, tenant }))
}

/// A user exported from the service that Switchyard replaces.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImportedRow {
    email: String,
    password_hash: String,
    role: Role,
}

/// Outcome of [`import`].
#[derive(Debug)]
pub enum Imported {
    /// The number of users that were created.
    Done(usize),
    /// Invalid rows by their index, each with its reason; no user was created.
    Invalid(Vec<(usize, String)>),
}

/// Creates users from rows `{email,passwordHash,role}`, or none of them when one is invalid. Their bcrypt hashes are replaced
/// when they sign in.
///
/// # Errors
/// DynamoDB could not be reached, or another request took an address since; the rows before it are created then.
pub async fn import(
    deps: &UserDeps,
    actor: &ActorId,
    tenant: &TenantId,
    rows: &[Value],
) -> Result<Imported, SignalsError> {
    let known = deps.users.list(tenant).await?;
    let mut taken: HashSet<String> = known.iter().map(|user| user.email.to_lowercase()).collect();
    let (mut users, mut wrong) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        match imported(row) {
            Ok(user) if !taken.insert(user.email.to_lowercase()) => {
                wrong.push((index, "the address is taken".to_owned()));
            }
            Ok(user) => users.push(user),
            Err(why) => wrong.push((index, why)),
        }
    }
    if !wrong.is_empty() {
        return Ok(Imported::Invalid(wrong));
    }
    for user in &users {
        let UserChange::Done(_) = create(deps, actor, tenant, user).await? else {
            return Err(SignalsError::Contended { what: "a user's address" });
        };
    }
    Ok(Imported::Done(users.len()))
}

/// The user of a row, or why the row is invalid; the reason quotes nothing of it.
fn imported(row: &Value) -> Result<NewUser, String> {
    let row = ImportedRow::deserialize(row)
        .map_err(|_| "expected email, passwordHash and role (member, admin or owner), and no other field".to_owned())?;
    if !is_email(&row.email) {
        return Err("email must be an e-mail address".to_owned());
    }
    if !is_importable(&row.password_hash) {
        return Err("passwordHash must be a bcrypt hash ($2a$, $2b$ or $2y$) of a cost up to 14".to_owned());
    }
    Ok(NewUser { email: row.email, password: Password::Bcrypt(row.password_hash), role: row.role })
}

/// Outcome of a change of a user.
#[derive(Debug)]
pub enum UserChange {
    /// The user after the change; before it, when the user was deleted.
    Done(UserView),
    /// Another user of the tenant has the address.
    EmailTaken,
    /// The user does not exist.
    NotFound,
    /// The user's role is above the caller's.
    RoleTooHigh,
    /// It would leave the tenant without an owner.
    LastOwner,
    /// Another request changed the user.
    Conflict,
}

/// Creates a user of a tenant; `actor` is the caller's name.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn create(
    deps: &UserDeps,
    actor: &ActorId,
    tenant: &TenantId,
    new: &NewUser,
) -> Result<UserChange, SignalsError> {
    let (id, now) = (UserId::from(deps.clock.new_id().to_string()), deps.clock.now());
    let user = User::new(tenant, &id, new, now).await?;
    let after = UserView::of(&user);
    let audit = audit(deps, actor, "user.create", &user, None, Some(&after))?;
    Ok(match deps.users.create(&user, vec![audit]).await? {
        UserWrite::Done => UserChange::Done(after),
        UserWrite::Refused | UserWrite::LastOwner => UserChange::EmailTaken,
    })
}

/// A tenant's users, oldest first.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn list(deps: &UserDeps, tenant: &TenantId) -> Result<Vec<UserView>, SignalsError> {
    Ok(deps.users.list(tenant).await?.iter().map(UserView::of).collect())
}

/// Changes a user's role, password, or both. A user whose role is above the caller's, `own`, is not changed.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn change(
    deps: &UserDeps,
    (actor, own): (&ActorId, Role),
    tenant: &TenantId,
    id: &UserId,
    role: Option<Role>,
    password: Option<&Secret<String>>,
) -> Result<UserChange, SignalsError> {
    // The write is conditional on the user as read here, role included.
    let Some(before) = deps.users.get(tenant, id).await? else { return Ok(UserChange::NotFound) };
    if before.role > own {
        return Ok(UserChange::RoleTooHigh);
    }
    let mut after = before.clone();
    (after.role, after.updated_at) = (role.unwrap_or(before.role), deps.clock.now());
    if let Some(password) = password {
        after = after.with_password(password).await?;
    }
    let shown = UserView::of(&after);
    let audit = audit(deps, actor, "user.change", &after, Some(&UserView::of(&before)), Some(&shown))?;
    Ok(outcome(deps.users.change(&before, &after, vec![audit]).await?, shown))
}

/// Deletes a user and revokes the tokens. A user whose role is above the caller's, `own`, is not deleted.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn delete(
    deps: &UserDeps,
    (actor, own): (&ActorId, Role),
    tenant: &TenantId,
    id: &UserId,
) -> Result<UserChange, SignalsError> {
    let Some(user) = deps.users.get(tenant, id).await? else { return Ok(UserChange::NotFound) };
    if user.role > own {
        return Ok(UserChange::RoleTooHigh);
    }
    let shown = UserView::of(&user);
    let audit = audit(deps, actor, "user.remove", &user, Some(&shown), None)?;
    Ok(outcome(deps.users.delete(&user, vec![audit]).await?, shown))
}

/// Changes the password of a user who knows the current one, which revokes earlier tokens.
///
/// # Errors
/// DynamoDB could not be reached, or another request changed the user.
pub async fn change_password(
    deps: &UserDeps,
    session: &Session,
    current: &Secret<String>,
    new: &Secret<String>,
) -> Result<PasswordChange, SignalsError> {
    let account = format!("user {}", session.user.id);
    match deps.attempts.check(&account, current, Some(session.user.password_hash()), deps.clock.now()).await? {
        PasswordCheck::Throttled { retry_after } => return Ok(PasswordChange::Throttled { retry_after }),
        PasswordCheck::Mismatch => return Ok(PasswordChange::Refused),
        PasswordCheck::Match => {}
    }
    let (id, role) = (&session.user.id, session.user.role);
    match change(deps, (&id.actor(), role), &session.tenant.id, id, None, Some(new)).await? {
        UserChange::Done(_) => Ok(PasswordChange::Done),
        _ => Err(SignalsError::Contended { what: "the user" }),
    }
}

fn outcome(write: UserWrite, shown: UserView) -> UserChange {
    match write {
        UserWrite::Done => UserChange::Done(shown),
        UserWrite::Refused => UserChange::Conflict,
        UserWrite::LastOwner => UserChange::LastOwner,
    }
}

fn audit(
    deps: &UserDeps,
    actor: &ActorId,
    action: &str,
    user: &User,
    before: Option<&UserView>,
    after: Option<&UserView>,
) -> Result<switchyard_io::dynamo::Write, SignalsError> {
    let (before, after) = (before.map(|view| json!(view)), after.map(|view| json!(view)));
    let (before, after) = (before.as_ref(), after.as_ref());
    let audit = Audit { tenant: user.tenant.as_str(), actor, action, subject: user.id.as_str(), before, after };
    Ok(deps.store.audit(audit, deps.clock.now())?)
}

/// A user.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "User")]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// The user's or operator's id.
    pub id: String,
    /// The address that the user signs in with.
    pub email: String,
    /// What the user may do.
    pub role: AccountRole,
    /// The tenant; null for an operator.
    pub tenant_id: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// A user's role, or that the account is an operator's.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "Role")]
#[serde(rename_all = "lowercase")]
pub enum AccountRole {
    /// Reads what is the tenant's.
    Member,
    /// Changes what is the tenant's, except the tenant itself.
    Admin,
    /// Changes the tenant too.
    Owner,
    /// Runs the platform, for all tenants.
    Operator,
}

impl From<Role> for AccountRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Admin => Self::Admin,
            Role::Owner => Self::Owner,
        }
    }
}

impl UserView {
    /// A tenant's user.
    pub fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.clone(),
            role: user.role.into(),
            tenant_id: Some(user.tenant.to_string()),
            created_at: iso_millis(user.created_at),
            updated_at: iso_millis(user.updated_at),
        }
    }

    /// An operator.
    pub fn of_operator(operator: &Operator) -> Self {
        Self {
            id: operator.id.to_string(),
            email: operator.email.clone(),
            role: AccountRole::Operator,
            tenant_id: None,
            created_at: iso_millis(operator.created_at),
            updated_at: iso_millis(operator.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imported_rows_are_validated() {
        let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let row = |email: &str, hash: &str, role: &str| json!({"email": email, "passwordHash": hash, "role": role});
        for form in ["$2a$", "$2b$", "$2y$"] {
            let read = imported(&row("a@acme.test", &hash.replacen("$2b$", form, 1), "owner")).unwrap();
            assert!(matches!(read, NewUser { role: Role::Owner, password: Password::Bcrypt(_), .. }), "{read:?}");
        }
        for (wrong, about) in [
            (row("acme.test", hash, "member"), "email"),
            (row("a@acme.test", "$argon2id$v=19", "member"), "passwordHash"),
            (row("a@acme.test", &hash[..40], "member"), "passwordHash"),
            (row("a@acme.test", &hash.replacen("$10$", "$20$", 1), "member"), "passwordHash"),
            (row("a@acme.test", hash, "operator"), "role"),
            (row("a@acme.test", hash, "king"), "role"),
            (json!({"email": "a@acme.test"}), "passwordHash"),
            (json!([]), "email"),
        ] {
            let why = imported(&wrong).unwrap_err();
            assert!(why.contains(about), "{wrong}: {why}");
        }
    }
}
