//! What deep health checks share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a verdict is kept, so that watching costs two checks a minute at most.
const KEEP: Duration = Duration::from_secs(30);

/// The status of a dependency, as health checks show it.
pub fn word(is_reachable: bool) -> &'static str {
    if is_reachable { "ok" } else { "error: unreachable" }
}

/// The verdict of the last check.
pub struct Kept<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Kept<T> {
    /// None yet.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The last verdict, or `check`'s when that was given more than 30 s ago.
    pub async fn or(&self, check: impl Future<Output = T>) -> T {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, verdict)) = last
            && at.elapsed() < KEEP
        {
            return verdict;
        }
        let verdict = check.await;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), verdict.clone()));
        verdict
    }
}

impl<T: Clone> Default for Kept<T> {
    fn default() -> Self {
        Self::new()
    }
}
