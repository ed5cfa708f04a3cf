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
use switchyard_core::access::BasicCredentials;
use switchyard_core::{error_chain, iso_millis};
use tokio::time::Instant;

/// Residents a page asks for unless told otherwise.
pub const PAGE_SIZE: u32 = 100;

/// Pages after which a backfill stops, whatever ALIS says: a million residents at the default size.
const MAX_PAGES: u32 = 10_000;

/// Failed residents that a summary names.
const NAMED_FAILURES: usize = 50;

/// Between two residents, so that Caspio's quota is left to the webhooks.
const PAUSE: Duration = Duration::from_millis(250);

/// For one page, or one resident.
const STEP: Duration = Duration::from_secs(60);

/// What to backfill.
#[derive(Clone, Debug)]
pub struct BackfillOptions {
    /// Whose residents.
    pub company_key: CompanyKey,
    /// Only of this community.
    pub community_id: Option<i64>,
    /// Residents a page.
    pub page_size: u32,
    /// Read and normalise, but write nothing anywhere.
    pub dry_run: bool,
    /// Keep residents' state, but leave Caspio alone.
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
    /// Residents that could not be.
    pub failed: u64,
    /// Rows without a resident's number.
    pub skipped: u64,
    /// Pages read.
    pub pages: u32,
    /// Residents a page.
    pub page_size: u32,
    /// Whether anything was written at all.
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
    /// Why, without personal data.
    pub error: String,
}

/// Brings every resident that ALIS lists for a company through the same normalising, storing and writing as an event.
/// `each` hears of every resident's number and status, or of the failure. One that fails is counted, and the rest goes
/// on; running it again is harmless.
///
/// # Errors
/// ALIS would not list the residents, or the company has no credentials.
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
        let deadline = Instant::now() + STEP;
        let (company, community) = (&options.company_key, options.community_id);
        let page = deps.alis.residents(&auth, company, community, number, options.page_size, deadline).await?;
        summary.pages += 1;
        let ids: Vec<_> = page.residents.iter().map(resident_id).collect();
        // A page that only repeats what came before means that ALIS does not page; going on would never end.
        let news = ids.iter().flatten().any(|id| !seen.contains(id));
        if page.residents.is_empty() || !news && ids.iter().any(Option::is_some) {
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
                        if summary.failed_residents.len() < NAMED_FAILURES {
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

/// One resident; returns their status.
async fn one(
    deps: &ProcessDeps,
    options: &BackfillOptions,
    auth: &BasicCredentials,
    id: i64,
) -> Result<String, AdtError> {
    let deadline = Instant::now() + STEP;
    let (detail, basic) =
        tokio::try_join!(deps.alis.resident(auth, id, deadline), deps.alis.basic_info(auth, id, deadline))?;
    let resident = normalise(&detail, &basic).ok_or(AdtError::NamelessResident)?;
    if options.dry_run {
        return Ok(resident.status);
    }
    let now = deps.clock.now();
    // The state is as old as ALIS says; an event that came since keeps its facts.
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
    tokio::time::sleep(PAUSE).await;
}
