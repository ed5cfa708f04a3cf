//! Who calls, and what they may do: API keys, users, operators, tokens, Basic.
//!
//! Start at [`Access`]: every HTTP operation names one, the function's authenticator makes a [`Caller`] of the presented
//! credential and checks it, and the API document describes it.

mod access;
mod allowlist;
pub mod api_key;
pub mod api_keys;
mod attempts;
mod basic;
mod bcrypt_hash;
mod caller;
mod error;
mod ids;
mod jwt;
pub mod operators;
pub mod password;
mod role;
mod scope;
mod token;
pub mod users;

pub use access::Access;
pub use allowlist::IpAllowlist;
pub use attempts::{Attempts, PasswordCheck, account_of};
pub use basic::{Basic, BasicCredentials, BasicError};
pub use caller::{Caller, Denied};
pub use error::IdentityError;
pub use ids::{ApiKeyId, OperatorId, TenantId, TokenId, UserId};
pub use jwt::{BadToken, WeakSecret};
pub use operators::{Operator, Operators};
pub use role::Role;
pub use scope::{Scope, UnknownScope};
pub use token::{Claims, Subject, Token, Tokens};
pub use users::{NewUser, Password, User, Users};
