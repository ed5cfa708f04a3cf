//! What a tenant used, month by month.

pub(crate) mod counters;
pub(crate) mod crossing;
pub(crate) mod export;
pub(crate) mod nightly;
pub(crate) mod reconcile;
pub(crate) mod view;

use crate::error::SignalsError;
use crate::manage::tenants::TenantDeps;
use crate::manage::tenants::row::Tenant;
use crate::period::Month;
use crate::view::UsageView;

/// What is wrong with a month that is none.
pub(crate) const NO_MONTH: &str = "must be a month, YYYY-MM";

/// Most months that are shown at once.
const MAX_MONTHS: usize = 24;

/// What a tenant used in a month, `2026-11`, or in this one.
///
/// # Errors
/// [`SignalsError::Refused`] names `month` when it is not a month; otherwise DynamoDB could not be reached.
pub async fn usage(deps: &TenantDeps, tenant: &Tenant, month: Option<&str>) -> Result<UsageView, SignalsError> {
    let month = match month {
        Some(text) => Month::parse(text).ok_or_else(|| SignalsError::refused("month", NO_MONTH))?,
        None => Month::of(deps.clock.now()),
    };
    let used = deps.store.usage(tenant, &month).await?;
    Ok(UsageView::of(tenant, &month, &used))
}

/// What a tenant used in each month from one to another, both `2026-11` and both included, the oldest first.
///
/// # Errors
/// [`SignalsError::Refused`] names `from` or `to` when that is no month, when they are the wrong way round, or more than 24
/// months lie between; else DynamoDB could not be reached.
pub async fn usage_between(
    deps: &TenantDeps,
    tenant: &Tenant,
    from: &str,
    to: &str,
) -> Result<Vec<UsageView>, SignalsError> {
    let mut summaries = Vec::new();
    for month in months(from, to)? {
        let used = deps.store.usage(tenant, &month).await?;
        summaries.push(UsageView::of(tenant, &month, &used));
    }
    Ok(summaries)
}

fn months(from: &str, to: &str) -> Result<Vec<Month>, SignalsError> {
    let first = Month::parse(from).ok_or_else(|| SignalsError::refused("from", NO_MONTH))?;
    let last = Month::parse(to).ok_or_else(|| SignalsError::refused("to", NO_MONTH))?;
    if first > last {
        return Err(SignalsError::refused("from", "must not be after to"));
    }
    let mut months = vec![first];
    while let Some(month) = months.last().filter(|month| **month < last) {
        if months.len() == MAX_MONTHS {
            return Err(SignalsError::refused("to", format!("must not be more than {MAX_MONTHS} months on")));
        }
        months.push(month.next());
    }
    Ok(months)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::counters::Usage;
    use serde_json::json;

    #[test]
    fn a_period_is_a_whole_month() {
        let tenant = Tenant::new(&"t".into(), "acme", "Acme", "2026-01-05T10:00:00Z".parse().unwrap());
        let mut used = Usage::default();
        used.counters.extend([("events_ingested".to_owned(), 100_001), ("sent_email".to_owned(), 3)]);
        let summary = json!(UsageView::of(&tenant, &Month::parse("2026-02").unwrap(), &used));
        assert_eq!(summary["period"], json!({"start": "2026-02-01", "end": "2026-02-28"}));
        assert_eq!((&summary["softLimitExceeded"], &summary["remaining"]), (&json!(true), &json!(19_999)));
        assert_eq!(summary["byChannel"], json!({"email": 3}));
    }

    #[test]
    fn at_most_two_years_are_shown_in_their_order() {
        assert_eq!(months("2025-11", "2026-02").unwrap().len(), 4);
        assert_eq!(months("2026-02", "2026-02").unwrap(), [Month::parse("2026-02").unwrap()]);
        assert_eq!(months("2025-01", "2026-12").unwrap().len(), 24);
        let refused = |from, to| months(from, to).unwrap_err().to_string();
        assert_eq!(refused("2026-1", "2026-02"), "from must be a month, YYYY-MM");
        assert_eq!(refused("2026-01", "x"), "to must be a month, YYYY-MM");
        assert_eq!(refused("2026-02", "2026-01"), "from must not be after to");
        assert_eq!(refused("2025-01", "2027-01"), "to must not be more than 24 months on");
        assert!(months("9999-12", "9999-12").is_ok());
    }
}
