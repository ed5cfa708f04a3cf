//! The rules, without I/O: a receipt's state after a verdict, the waits, a store's status.

use crate::model::{LogState, LogStatus, SyncStatus, Verdict};
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::backoff::{Backoff, at_least};

/// How many of the newest receipts decide a store's status.
pub(crate) const STATUS_WINDOW: usize = 20;

/// The sync gives a receipt up after this many refusals.
pub(crate) const MAX_RETRIES: u32 = 8;

/// Waits after a receipt's failures: 5 minutes, doubling, at most an hour. The contract fixes them, so that there is no
/// jitter.
pub(crate) const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(5 * 60), Duration::from_secs(60 * 60));

/// A longer `Retry-After` of a marketplace is cut to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Who asked the marketplace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedBy {
    /// An import: the first call.
    Import,
    /// The sync: a later call.
    Sync,
}

/// A store's status, from the statuses of its newest receipts, newest first.
pub fn sync_status(window: &[LogStatus]) -> SyncStatus {
    let Some(last) = window.first() else { return SyncStatus::Pending };
    let good = window.contains(&LogStatus::Success);
    let bad = window.iter().any(|status| matches!(status, LogStatus::Failed | LogStatus::RateLimited));
    match last {
        LogStatus::Success if !bad => SyncStatus::Success,
        LogStatus::Failed if !good => SyncStatus::Failed,
        _ => SyncStatus::Partial,
    }
}

/// The wait after failure number `before` (from 0): at least the marketplace's `Retry-After`.
pub(crate) fn wait_after(before: u32, retry_after: Option<Duration>) -> Duration {
    at_least(RETRY_BACKOFF.ceiling(before), retry_after, MAX_RETRY_AFTER)
}

/// The state of a receipt after a verdict.
pub(crate) fn settle(before: &LogState, verdict: Verdict, asked: AskedBy, now: Timestamp) -> LogState {
    let mut after = LogState { next_retry_at: None, error_details: None, ..before.clone() };
    let reschedule = |after: &mut LogState, status, error: &str, retry_after: Option<Duration>| {
        after.status = status;
        after.error_details = Some(error.to_owned());
        // An import counts as the first attempt.
        after.attempt = before.attempt + 1;
        after.next_retry_at = Some(now + wait_after(before.attempt, retry_after));
    };
    match verdict {
        Verdict::Found { order_id, amount, currency } => {
            after.status = LogStatus::Success;
            after.order_id = Some(order_id);
            after.amount = Some(amount);
            after.currency = Some(currency);
            after.imported_at = Some(now);
        }
        Verdict::RateLimited { retry_after, .. } => {
            reschedule(&mut after, LogStatus::RateLimited, "rate_limited", retry_after);
        }
        Verdict::Unavailable => reschedule(&mut after, LogStatus::Pending, "marketplace_unavailable", None),
        Verdict::Invalid => refuse(&mut after, "invalid_receipt".to_owned(), asked, now),
        Verdict::Auth => refuse(&mut after, "AuthError: Authentication failed".to_owned(), asked, now),
        Verdict::Refused(reason) => {
            refuse(&mut after, format!("MarketplaceError: Marketplace API error: {reason}"), asked, now);
        }
    }
    after
}

/// The state of a receipt that is retried on request, however often it was refused; `None` when it is imported.
pub(crate) fn reopened(before: &LogState) -> Option<LogState> {
    (before.status != LogStatus::Success).then(|| LogState {
        retries: 0,
        retry_exhausted: false,
        next_retry_at: None,
        ..before.clone()
    })
}

/// A refused import is due again at once; refusals of the sync wait longer each time, and in the end exhaust the retries.
fn refuse(after: &mut LogState, error: String, asked: AskedBy, now: Timestamp) {
    after.status = LogStatus::Failed;
    after.error_details = Some(error);
    if asked == AskedBy::Sync {
        after.next_retry_at = Some(now + RETRY_BACKOFF.ceiling(after.retries));
        after.retries += 1;
        if after.retries >= MAX_RETRIES {
            after.retry_exhausted = true;
            after.next_retry_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amount;

    const NOW: &str = "2026-01-05T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn minutes(state: &LogState) -> Option<i64> {
        state.next_retry_at.map(|at| at.duration_since(now()).as_mins())
    }

    #[test]
    fn status_follows_the_table_of_the_contract() {
        use LogStatus::{Failed as F, Pending as P, RateLimited as R, Success as S};
        use SyncStatus as Status;
        let full = |last: LogStatus| [vec![S; 19], vec![last]].concat();
        for (window, status) in [
            (vec![], Status::Pending),
            (vec![S], Status::Success),
            (vec![S, P], Status::Success),
            (vec![F], Status::Failed),
            (vec![F, R], Status::Failed),
            (vec![S, F], Status::Partial),
            (vec![F, S], Status::Partial),
            (vec![R, S], Status::Partial),
            (vec![R], Status::Partial),
            (vec![R, F], Status::Partial),
            (vec![P], Status::Partial),
            (vec![P, S], Status::Partial),
            (full(S), Status::Success),
            (full(F), Status::Partial),
        ] {
            assert_eq!(sync_status(&window), status, "{window:?}");
        }
    }

    #[test]
    fn v11_a_limited_import_waits_five_minutes() {
        let limited = Verdict::RateLimited { retry_after: None, account_wide: false };
        let state = settle(&LogState::new(), limited, AskedBy::Import, now());
        assert_eq!((state.status, state.attempt, minutes(&state)), (LogStatus::RateLimited, 1, Some(5)));
    }

    #[test]
    fn v27_waits_double_to_an_hour() {
        for (before, stored, wait) in [(0, 1, 5), (1, 2, 10), (2, 3, 20), (3, 4, 40), (4, 5, 60), (9, 10, 60)] {
            let row = LogState { status: LogStatus::RateLimited, attempt: before, ..LogState::new() };
            let limited = Verdict::RateLimited { retry_after: None, account_wide: false };
            let state = settle(&row, limited, AskedBy::Sync, now());
            assert_eq!((state.attempt, minutes(&state)), (stored, Some(wait)), "attempt {before}");
        }
    }

    #[test]
    fn a_longer_retry_after_counts_and_a_shorter_one_does_not() {
        for (wish, wait) in [(30, 5), (900, 15)] {
            let limited = Verdict::RateLimited { retry_after: Some(Duration::from_secs(wish)), account_wide: true };
            assert_eq!(minutes(&settle(&LogState::new(), limited, AskedBy::Import, now())), Some(wait));
        }
    }

    #[test]
    fn refusals_are_retried_at_once_then_later_and_later_until_they_are_exhausted() {
        let mut state = settle(&LogState::new(), Verdict::Invalid, AskedBy::Import, now());
        assert_eq!((state.attempt, state.retries, minutes(&state)), (0, 0, None));
        let mut waits = Vec::new();
        while state.is_unfinished() {
            state = settle(&state, Verdict::Invalid, AskedBy::Sync, now());
            waits.push(minutes(&state));
        }
        let wanted = [Some(5), Some(10), Some(20), Some(40), Some(60), Some(60), Some(60), None];
        assert_eq!(waits, wanted);
        assert_eq!(state.public_error(), "invalid_receipt");
        assert_eq!(state.attempt, 0);
    }

    #[test]
    fn a_success_clears_what_was_wrong_and_keeps_the_attempts() {
        let row = LogState {
            status: LogStatus::RateLimited,
            attempt: 3,
            error_details: Some("rate_limited".into()),
            next_retry_at: Some(now()),
            ..LogState::new()
        };
        let found =
            Verdict::Found { order_id: "o".into(), amount: Amount::parse("0").unwrap(), currency: "USD".into() };
        let state = settle(&row, found, AskedBy::Sync, now());
        assert_eq!((state.status, state.attempt), (LogStatus::Success, 3));
        assert_eq!((state.error_details, state.next_retry_at), (None, None));
        assert_eq!(state.amount.unwrap().to_json().to_string(), "0");
    }

    #[test]
    fn v15_errors_lose_their_prefix_towards_clients() {
        let auth = settle(&LogState::new(), Verdict::Auth, AskedBy::Import, now());
        assert_eq!(auth.error_details.as_deref(), Some("AuthError: Authentication failed"));
        assert_eq!(auth.public_error(), "Authentication failed");
        let refused = settle(&LogState::new(), Verdict::Refused("Teapot".into()), AskedBy::Import, now());
        assert_eq!(refused.public_error(), "Marketplace API error: Teapot");
    }

    #[test]
    fn v16_an_unreachable_marketplace_leaves_a_pending_row() {
        let state = settle(&LogState::new(), Verdict::Unavailable, AskedBy::Import, now());
        assert_eq!((state.status, state.attempt, minutes(&state)), (LogStatus::Pending, 1, Some(5)));
        assert_eq!(state.public_error(), "marketplace_unavailable");
    }
}
