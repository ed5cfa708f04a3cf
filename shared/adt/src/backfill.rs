//! The backfill: reads every resident of a company from ALIS and writes what differs to Caspio.

use crate::credentials::Credentials;
use crate::decide::{FlatEvent, flat_row, normalise, resident_id};
use crate::error::AdtError;
use crate::model::{CompanyKey, EventMessageId, LeaveRead};
use crate::process::{FLAT_KEY, ProcessDeps};
use crate::store::Retention;
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;
use switchyard_core::{error_chain, iso_millis};
use switchyard_identity::BasicCredentials;
use tokio::time::Instant;

/// Residents a page, unless an operator chooses another size.
pub const PAGE_SIZE: u32 = 100;

/// A backfill stops after this many pages: a million residents at the default size.
const MAX_PAGES: u32 = 10_000;

/// The most failed residents that a summary lists.
const MAX_NAMED_FAILURES: usize = 50;

/// The pause between two residents, which leaves Caspio's quota to the webhooks.
const PAUSE_BETWEEN_RESIDENTS: Duration = Duration::from_millis(250);

/// The time for one page or one resident.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// What to backfill.
#[derive(Clone, Debug)]
pub struct BackfillOptions {
    /// The company.
    pub company_key: CompanyKey,
    /// Only residents of this community.
    pub community_id: Option<i64>,
    /// Residents a page.
    pub page_size: u32,
    /// Read and normalise, but write nothing.
    pub dry_run: bool,
    /// Write the residents' state, but not to Caspio.
    pub skip_caspio: bool,
}

/// What a backfill did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillSummary {
    /// Residents that ALIS listed.
    pub total: u64,
    /// Residents read and, unless a dry run, written.
    pub succeeded: u64,
    /// Residents that could not be read or written.
    pub failed: u64,
    /// Rows without a resident's number.
    pub skipped: u64,
    /// Pages read.
    pub pages: u32,
    /// Residents a page.
    pub page_size: u32,
    /// Whether it was a dry run: nothing was written.
    pub dry_run: bool,
    /// The first failures.
    pub failed_residents: Vec<FailedResident>,
}

/// One resident that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedResident {
    /// ALIS's number.
    pub resident_id: i64,
    /// The error, without personal data.
    pub error: String,
}

/// Reads, normalises, stores and writes every resident that ALIS lists for a company, as an event would. `each` is called
/// with every resident's number and status, or with the error. A resident that fails is counted, and the others are still
/// processed. A backfill may be repeated.
///
/// # Errors
/// ALIS could not list the residents, or the company has no credentials.
pub async fn backfill(
    deps: &ProcessDeps,
    options: &BackfillOptions,
    mut each: impl FnMut(i64, Result<&str, &str>),
) -> Result<BackfillSummary, AdtError> {
    let credentials: &Credentials = &deps.credentials;
    let auth = credentials.of(&options.company_key, false).await?;
    let mut summary =
        BackfillSummary { page_size: options.page_size, dry_run: options.dry_run, ..BackfillSummary::default() };
    let mut seen = HashSet::new();
    for number in 1..=MAX_PAGES {
        let deadline = Instant::now() + STEP_TIMEOUT;
        let (company, community) = (&options.company_key, options.community_id);
        let page = deps.alis.residents(&auth, company, community, number, options.page_size, deadline).await?;
        summary.pages += 1;
        let ids: Vec<_> = page.residents.iter().map(resident_id).collect();
        // A page with no new residents means that ALIS ignores the page number: the loop would never end.
        let has_new = ids.iter().flatten().any(|id| !seen.contains(id));
        if page.residents.is_empty() || !has_new && ids.iter().any(Option::is_some) {
            break;
        }
        for id in ids {
            summary.total += 1;
            match id {
                None => summary.skipped += 1,
                Some(id) if !seen.insert(id) => summary.skipped += 1,
                Some(id) => match one(deps, options, &auth, id).await {
                    Ok(status) => {
                        summary.succeeded += 1;
                        each(id, Ok(&status));
                    }
                    Err(error) => {
                        summary.failed += 1;
                        let error = error_chain(&error);
                        each(id, Err(&error));
                        if summary.failed_residents.len() < MAX_NAMED_FAILURES {
                            summary.failed_residents.push(FailedResident { resident_id: id, error });
                        }
                    }
                },
            }
        }
        if !page.has_more {
            break;
        }
    }
    Ok(summary)
}

/// Processes one resident. Returns the resident's status.
async fn one(
    deps: &ProcessDeps,
    options: &BackfillOptions,
    auth: &BasicCredentials,
    id: i64,
) -> Result<String, AdtError> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    let (detail, basic) =
        tokio::try_join!(deps.alis.resident(auth, id, deadline), deps.alis.basic_info(auth, id, deadline))?;
    let resident = normalise(&detail, &basic).ok_or(AdtError::NamelessResident)?;
    if options.dry_run {
        return Ok(resident.status);
    }
    let now = deps.clock.now();
    // The state is as old as ALIS reports; the facts of a later event stay.
    let as_of = resident.updated_at.map_or(0, |at| at.as_millisecond());
    let in_order = deps.table.save_resident(&options.company_key, &resident, as_of, Retention::AsIs, now).await?;
    if !options.skip_caspio {
        let facts = FlatEvent {
            event_type: "backfill.resident",
            event_message_id: &EventMessageId::from(format!("backfill-{}-{id}", options.company_key)),
            event_message_date: &iso_millis(now),
            leave: &LeaveRead::NotRead,
        };
        let community = options.community_id.or_else(|| detail.integer("CommunityId"));
        let row = flat_row(&options.company_key, community, &resident, in_order.then_some(facts));
        deps.caspio.upsert(&FLAT_KEY, &row, deadline).await?;
        pause().await;
    }
    Ok(resident.status)
}

#[expect(clippy::disallowed_methods, reason = "runs from an operator's machine; the pause is the rate limit")]
async fn pause() {
    tokio::time::sleep(PAUSE_BETWEEN_RESIDENTS).await;
}
