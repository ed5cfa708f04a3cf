//! Who logs in, and what they may do.

use crate::error::SignalsError;
use crate::model::TenantStatus;
use crate::password;
use crate::store::{Audit, OPERATORS, Store, Tenant, UserRow, UserWrite};
use crate::view::UserView;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use switchyard_core::jwt::{self, Issuer, JwtKey};
use switchyard_core::{Clock, Env, EnvError, Secret, error_chain};
use switchyard_identity::Role;
use switchyard_io::keys::is_payable;
use switchyard_io::{Aws, Secrets, Table};

/// Attempts at one account that are answered within [`SPAN`].
const MOST_ATTEMPTS: u32 = 10;

/// For so long failures are remembered.
const SPAN: Duration = Duration::from_secs(15 * 60);

const ISSUER: Issuer = Issuer { name: "switchyard", audience: "signals" };

/// What looking after users needs.
#[derive(Clone)]
pub struct UserDeps {
    store: Store,
    secrets: Secrets,
    secret_id: String,
    ttl: Duration,
    clock: Clock,
}

impl UserDeps {
    /// Reads `SIGNALS_TABLE`, `JWT_TTL_SECONDS` (default 3600), and `JWT_SECRET`, which names the secret whose `JWT_KEY`
    /// signs tokens; those signed by its `JWT_KEY_BEFORE` are good too.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            secrets: Secrets::new(aws),
            secret_id: env.required("JWT_SECRET")?,
            ttl: Duration::from_secs(env.parsed("JWT_TTL_SECONDS", 3_600)?),
            clock: Clock::system(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Looks at the secret for tokens, so that nothing starts with one that is missing or that anybody could guess.
    ///
    /// # Errors
    /// It is such a secret, or could not be had.
    pub async fn check_secret(&self) -> Result<(), EnvError> {
        let unusable = |error| EnvError::Invalid { name: "JWT_SECRET".to_owned(), reason: error_chain(&error) };
        self.keys().await.map(drop).map_err(unusable)
    }

    /// The key that signs, and the one before it.
    async fn keys(&self) -> Result<Vec<JwtKey>, SignalsError> {
        let values = self.secrets.get(&self.secret_id).await.map_err(SignalsError::TokenSecret)?;
        let current = values.required("JWT_KEY").map_err(SignalsError::TokenSetting)?;
        let mut keys = vec![JwtKey::new(current).map_err(SignalsError::WeakTokenSecret)?];
        if let Ok(before) = values.required("JWT_KEY_BEFORE") {
            keys.push(JwtKey::new(before).map_err(SignalsError::WeakTokenSecret)?);
        }
        Ok(keys)
    }
}

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    tid: String,
    role: Role,
    jti: String,
    /// Of the password when the token was made.
    pwv: u64,
}

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Session {
    user: UserRow,
    /// Whose user it is; `None` for an operator.
    pub tenant: Option<Tenant>,
}

impl Session {
    /// What the user may do.
    pub fn role(&self) -> Role {
        self.user.role
    }

    /// The user as [`users`] has it.
    pub fn profile(&self) -> UserView {
        UserView::of(&self.user)
    }

    /// The user's id.
    pub fn user_id(&self) -> &str {
        &self.user.id
    }
}

/// Outcome of [`log_in`].
#[derive(Debug)]
pub enum LoggedIn {
    /// With this token, for so long.
    Token {
        /// A bearer token.
        token: String,
        /// How long it is good.
        ttl: Duration,
    },
    /// The account or its password is wrong, or the address is one of several tenants'.
    Refused,
    /// Too many attempts.
    Throttled {
        /// Until the next is answered.
        retry_after: Duration,
    },
}

/// Logs in with an address and a password. Without a tenant's slug the address has to be one account's only.
///
/// # Errors
/// DynamoDB or the secret could not be reached.
pub async fn log_in(
    deps: &UserDeps,
    slug: Option<&str>,
    email: &str,
    password: &Secret<String>,
) -> Result<LoggedIn, SignalsError> {
    let now = deps.clock.now();
    let user = account_of(deps, slug, email).await?;
    // However it is named, an account has one count. No id holds a `#`, so that nobody counts for another by a name.
    let account = match &user {
        Some(user) => format!("account {} {}", user.tenant, user.id),
        None => format!("{}#{email}", slug.unwrap_or_default()),
    };
    if let Some(retry_after) = throttled(deps, &account).await? {
        return Ok(LoggedIn::Throttled { retry_after });
    }
    let fits = password::fits(password, user.as_ref().map(|user| user.password_hash.as_str())).await;
    let (Some(mut user), true) = (user, fits.map_err(SignalsError::Password)?) else { return Ok(LoggedIn::Refused) };
    if password::is_imported(&user.password_hash) {
        let hash = password::hash(password).await.map_err(SignalsError::Password)?;
        let after = UserRow { password_hash: hash, updated_at: now, ..user.clone() };
        // Should another change come first, the next login does it.
        if deps.store.change_user(&user, &after, Vec::new()).await? == UserWrite::Done {
            user = after;
        }
    }
    deps.store.forget_attempts(&account).await?;
    let claims = Claims {
        sub: user.id,
        tid: user.tenant,
        role: user.role,
        jti: deps.clock.new_id().to_string(),
        pwv: user.password_version,
    };
    let keys = deps.keys().await?;
    let Some(key) = keys.first() else { return Ok(LoggedIn::Refused) };
    let token = jwt::sign(&claims, ISSUER, key, now, now + deps.ttl).map_err(SignalsError::Token)?;
    Ok(LoggedIn::Token { token, ttl: deps.ttl })
}

/// Counts an attempt at an account; returns how long to wait when there were too many.
async fn throttled(deps: &UserDeps, account: &str) -> Result<Option<Duration>, SignalsError> {
    let now = deps.clock.now();
    let (attempts, until) = deps.store.count_attempt(account, SPAN, now).await?;
    let wait = Duration::from_secs(u64::try_from(until - now.as_second()).unwrap_or(1).max(1));
    Ok((attempts > MOST_ATTEMPTS).then_some(wait))
}

/// The account that is meant, if there is one and its tenant is not deleted.
async fn account_of(deps: &UserDeps, slug: Option<&str>, email: &str) -> Result<Option<UserRow>, SignalsError> {
    let tenant = match slug {
        Some(slug) => match deps.store.tenant_by_slug(slug).await? {
            Some(tenant) => Some(tenant.id),
            None => return Ok(None),
        },
        None => None,
    };
    let mut users = deps.store.users_of_address(tenant.as_deref(), email).await?;
    // Nobody can take an operator's address from them by using it too.
    if let Some(operator) = users.iter().position(|user| user.tenant == OPERATORS) {
        return Ok(Some(users.swap_remove(operator)));
    }
    let mut found = None;
    for user in users {
        if may_enter(&user, deps.store.tenant(&user.tenant).await?.as_ref()) && found.replace(user).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// Whether a user's tenant, if it is still there, lets anybody in. Operators have none.
fn may_enter(user: &UserRow, tenant: Option<&Tenant>) -> bool {
    tenant.map_or(user.tenant == OPERATORS, |tenant| tenant.status != TenantStatus::Deleted)
}

/// Who a bearer token stands for; `None` when it is not to be trusted, or not any more.
///
/// # Errors
/// DynamoDB or the secret could not be reached.
pub async fn session(deps: &UserDeps, token: &str) -> Result<Option<Session>, SignalsError> {
    let keys = deps.keys().await?;
    let Ok(claims) = jwt::verify::<Claims>(token, ISSUER, &keys, deps.clock.now()) else { return Ok(None) };
    let (user, tenant) = tokio::try_join!(deps.store.user(&claims.tid, &claims.sub), deps.store.tenant(&claims.tid))?;
    let is_good = |user: &UserRow| user.password_version == claims.pwv && may_enter(user, tenant.as_ref());
    Ok(user.filter(is_good).map(|user| Session { user, tenant }))
}

/// What a new user is to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// An address that nobody else of the tenant has.
    pub email: String,
    /// The password, or a bcrypt hash of it.
    pub password: Password,
    /// What the user may do.
    pub role: Role,
}

/// How a password is given.
#[derive(Clone, Debug)]
pub enum Password {
    /// As it is.
    Plain(Secret<String>),
    /// A bcrypt hash from elsewhere; it is replaced when the user logs in.
    Bcrypt(String),
}

/// Longest address, in characters.
pub const MAX_EMAIL: usize = 254;

/// Whether a text may be an address; the rest shows when mail is sent to it.
pub fn is_email(text: &str) -> bool {
    let is_address = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let is_plain = !text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    is_address && is_plain && text.chars().count() <= MAX_EMAIL
}

/// A user of the service this one replaces.
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
    /// So many users were made.
    Done(usize),
    /// These rows are wrong, each with why, and nothing was made.
    Wrong(Vec<(usize, String)>),
}

/// Makes users of rows `{email,passwordHash,role}`, whose bcrypt hashes are replaced when they log in: all of them, or none
/// when one is wrong.
///
/// # Errors
/// DynamoDB could not be reached, or another took an address in the meantime; then the rows before are made.
pub async fn import(deps: &UserDeps, actor: &str, tenant: &str, rows: &[Value]) -> Result<Imported, SignalsError> {
    let known = deps.store.users(tenant).await?;
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
        return Ok(Imported::Wrong(wrong));
    }
    for user in &users {
        let Written::User(_) = create(deps, actor, tenant, user).await? else {
            return Err(SignalsError::Contended { what: "a user's address" });
        };
    }
    Ok(Imported::Done(users.len()))
}

/// What a row stands for, or what is wrong with it, without what it says.
fn imported(row: &Value) -> Result<NewUser, String> {
    let row = ImportedRow::deserialize(row).map_err(|_| "expected email, passwordHash and role alone".to_owned())?;
    if !is_email(&row.email) {
        return Err("email must be an e-mail address".to_owned());
    }
    if !password::is_imported(&row.password_hash) || !is_payable(&row.password_hash) {
        return Err("passwordHash must be a bcrypt hash ($2a$, $2b$ or $2y$) of a cost up to 14".to_owned());
    }
    if row.role == Role::Operator {
        return Err("role must be member, admin or owner".to_owned());
    }
    Ok(NewUser { email: row.email, password: Password::Bcrypt(row.password_hash), role: row.role })
}

/// Outcome of a change of a user.
#[derive(Debug)]
pub enum Written {
    /// The user as [`users`] has it.
    User(UserView),
    /// The address is taken.
    Taken,
    /// There is no such user.
    Unknown,
    /// The user's role is above the caller's.
    Above,
    /// It would leave the tenant without an owner.
    LastOwner,
    /// Another change came first.
    Stale,
}

/// A user's row that is still to be written.
pub(crate) async fn prepare(tenant: &str, id: &str, new: &NewUser, now: Timestamp) -> Result<UserRow, SignalsError> {
    let hash = match &new.password {
        Password::Plain(password) => password::hash(password).await.map_err(SignalsError::Password)?,
        Password::Bcrypt(hash) => hash.clone(),
    };
    Ok(UserRow::new(tenant, id, &new.email, &hash, new.role, now))
}

/// Makes a user of a tenant; `actor` is who did it.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn create(deps: &UserDeps, actor: &str, tenant: &str, new: &NewUser) -> Result<Written, SignalsError> {
    let (id, now) = (deps.clock.new_id().to_string(), deps.clock.now());
    let user = prepare(tenant, &id, new, now).await?;
    let after = UserView::of(&user);
    let audit = audit(deps, actor, "user.create", &user, None, Some(&after))?;
    Ok(match deps.store.add_user(&user, vec![audit]).await? {
        UserWrite::Done => Written::User(after),
        UserWrite::Refused | UserWrite::LastOwner => Written::Taken,
    })
}

/// Makes somebody who runs the platform.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn create_operator(
    deps: &UserDeps,
    actor: &str,
    email: &str,
    password: &Secret<String>,
) -> Result<Written, SignalsError> {
    let new = NewUser { email: email.to_owned(), password: Password::Plain(password.clone()), role: Role::Operator };
    create(deps, actor, OPERATORS, &new).await
}

/// A tenant's users, by age.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn users(deps: &UserDeps, tenant: &str) -> Result<Vec<UserView>, SignalsError> {
    Ok(deps.store.users(tenant).await?.iter().map(UserView::of).collect())
}

/// Gives a user another role, another password, or both. Nobody touches a role above their own, `own`.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn change(
    deps: &UserDeps,
    (actor, own): (&str, Role),
    tenant: &str,
    id: &str,
    role: Option<Role>,
    password: Option<&Secret<String>>,
) -> Result<Written, SignalsError> {
    // What is written below holds only for the user as it is read here, role included.
    let Some(before) = deps.store.user(tenant, id).await? else { return Ok(Written::Unknown) };
    if before.role > own {
        return Ok(Written::Above);
    }
    let mut after = UserRow { role: role.unwrap_or(before.role), updated_at: deps.clock.now(), ..before.clone() };
    if let Some(password) = password {
        after.password_hash = password::hash(password).await.map_err(SignalsError::Password)?;
        after.password_version += 1;
    }
    let shown = UserView::of(&after);
    let audit = audit(deps, actor, "user.change", &after, Some(&UserView::of(&before)), Some(&shown))?;
    Ok(outcome(deps.store.change_user(&before, &after, vec![audit]).await?, shown))
}

/// Removes a user, whose tokens end with it. Nobody touches a role above their own, `own`.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn remove(
    deps: &UserDeps,
    (actor, own): (&str, Role),
    tenant: &str,
    id: &str,
) -> Result<Written, SignalsError> {
    let Some(user) = deps.store.user(tenant, id).await? else { return Ok(Written::Unknown) };
    if user.role > own {
        return Ok(Written::Above);
    }
    let shown = UserView::of(&user);
    let audit = audit(deps, actor, "user.remove", &user, Some(&shown), None)?;
    Ok(outcome(deps.store.remove_user(&user, vec![audit]).await?, shown))
}

/// Outcome of [`change_password`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChange {
    /// It is replaced, and older tokens end.
    Done,
    /// The current one is another.
    Refused,
    /// Too many attempts.
    Throttled {
        /// Until the next is answered.
        retry_after: Duration,
    },
}

/// Replaces the password of somebody who knows the current one.
///
/// # Errors
/// DynamoDB could not be reached, or the user was changed in the meantime.
pub async fn change_password(
    deps: &UserDeps,
    session: &Session,
    current: &Secret<String>,
    new: &Secret<String>,
) -> Result<PasswordChange, SignalsError> {
    let account = format!("user {}", session.user.id);
    if let Some(retry_after) = throttled(deps, &account).await? {
        return Ok(PasswordChange::Throttled { retry_after });
    }
    let fits = password::fits(current, Some(&session.user.password_hash)).await;
    if !fits.map_err(SignalsError::Password)? {
        return Ok(PasswordChange::Refused);
    }
    deps.store.forget_attempts(&account).await?;
    let actor = format!("user:{}", session.user.id);
    let by = (&*actor, session.user.role);
    match change(deps, by, &session.user.tenant, &session.user.id, None, Some(new)).await? {
        Written::User(_) => Ok(PasswordChange::Done),
        _ => Err(SignalsError::Contended { what: "the user" }),
    }
}

fn outcome(write: UserWrite, shown: UserView) -> Written {
    match write {
        UserWrite::Done => Written::User(shown),
        UserWrite::Refused => Written::Stale,
        UserWrite::LastOwner => Written::LastOwner,
    }
}

fn audit(
    deps: &UserDeps,
    actor: &str,
    action: &str,
    user: &UserRow,
    before: Option<&UserView>,
    after: Option<&UserView>,
) -> Result<switchyard_io::dynamo::Write, SignalsError> {
    let (before, after) = (before.map(|view| json!(view)), after.map(|view| json!(view)));
    let (before, after) = (before.as_ref(), after.as_ref());
    let audit = Audit { tenant: &user.tenant, actor, action, subject: &user.id, before, after };
    Ok(deps.store.audit(audit, deps.clock.now())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_services_are_read_strictly() {
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
