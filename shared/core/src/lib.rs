//! The pure part every workflow shares.
//!
//! Nothing here opens a socket or reads the clock or the environment by itself; callers hand those in.
//! Start at [`Envelope`], which is all that workflows know of each other, and [`Disposition`], which says
//! what becomes of a message that failed.

pub mod backoff;
mod channel;
mod clock;
mod digest;
mod disposition;
mod env;
mod envelope;
mod id;
mod invocation;
pub mod metric;
mod owner;
pub mod random;
mod secret;
pub mod signature;

pub use channel::{Channel, UnknownChannel};
pub use clock::{Clock, iso_millis, made_at, new_id_at, uuid_of};
pub use digest::{hex_sha256, shard_of};
pub use disposition::{Classify, Disposition, error_chain};
pub use env::{Env, EnvError};
pub use envelope::{Envelope, EnvelopeError};
pub use id::{ActorId, OrganizationId};
pub use invocation::Invocation;
pub use owner::Owner;
pub use secret::Secret;

pub use jiff::{SignedDuration, Timestamp};
pub use uuid::Uuid;
