//! Who calls, and what they may do.
//!
//! Start at [`Access`]: every HTTP operation names one, the function's authenticator enforces it, and the API document
//! describes it.

mod access;
mod role;
mod scope;

pub use access::Access;
pub use role::Role;
pub use scope::{Scope, UnknownScope};
