//! `switchyard backfill`: bring every resident that ALIS lists into the store and into Caspio.

use crate::say;
use crate::target::Target;
use anyhow::Result;
use clap::{Args, builder::BoolishValueParser};
use std::process::ExitCode;
use switchyard_adt::{BackfillOptions, PAGE_SIZE, ProcessDeps, backfill};

/// The function whose settings a backfill runs with.
const CONSUMER: &str = "adt-consumer";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Whose residents.
    #[arg(short = 'c', long = "companyKey", alias = "company-key")]
    company_key: String,
    /// Only of this community.
    #[arg(long = "communityId", alias = "community-id")]
    community_id: Option<i64>,
    /// Residents a page.
    #[arg(long = "pageSize", alias = "page-size", default_value_t = PAGE_SIZE, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    page_size: u32,
    /// Read and normalise, but write nothing. `--dryRun=false` runs live.
    #[arg(long = "dryRun", alias = "dry-run", num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    dry_run: bool,
    /// Keep residents' state, but leave Caspio alone.
    #[arg(long = "skipCaspio", alias = "skip-caspio", num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    skip_caspio: bool,
}

/// Runs with the settings of the stack's own consumer; exit code 1 when any resident failed.
pub(crate) async fn run(target: &Target, arguments: Arguments) -> Result<ExitCode> {
    let aws = target.aws().await;
    let deps = ProcessDeps::from_env(&aws, &target.settings_of(CONSUMER).await?).await?;
    let options = BackfillOptions {
        company_key: arguments.company_key.into(),
        community_id: arguments.community_id,
        page_size: arguments.page_size,
        dry_run: arguments.dry_run,
        skip_caspio: arguments.skip_caspio,
    };
    let summary = backfill(&deps, &options, |id, outcome| match outcome {
        Ok(status) => say(&format!("{id} {status}")),
        Err(error) => say(&format!("{id} FAILED {error}")),
    })
    .await?;
    say(&serde_json::to_string_pretty(&summary)?);
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
