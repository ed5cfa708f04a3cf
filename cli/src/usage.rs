//! `switchyard usage`: what tenants used in a month.

use crate::say;
use crate::signals::{ACTOR, Access, show};
use crate::target::Target;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;
use switchyard_signals::{ExportFormat, export, reconcile, usage};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare the counts with the stored events, correct them, and show each corrected hour.
    Reconcile {
        /// The tenant's slug.
        tenant: String,
        /// Such as 2026-11 [default: the current month].
        #[arg(long)]
        month: Option<String>,
    },
    /// Export the billable usage, hour by hour. Exporting twice bills once.
    Export {
        /// The tenant's slug.
        tenant: String,
        /// csv, cloudevents, lago or stripe.
        #[arg(long)]
        format: ExportFormat,
        /// Such as 2026-11.
        #[arg(long)]
        period: String,
    },
}

/// Shows the usage of a month.
pub(crate) async fn show_month(target: &Target, tenant: &str, month: Option<&str>) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let tenant = access.tenant(tenant).await?;
    let used = usage(&access.tenants, &tenant, month).await?;
    show(&used);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    match command {
        Command::Reconcile { tenant, month } => {
            let tenant = access.tenant(&tenant).await?;
            let corrections = reconcile(&access.tenants, &tenant, month.as_deref(), &ACTOR).await?;
            for correction in &corrections {
                show(correction);
            }
            say(&format!("corrected {} hours", corrections.len()));
        }
        Command::Export { tenant, format, period } => {
            let tenant = access.tenant(&tenant).await?;
            say(export(&access.tenants, &tenant, &period, format).await?.body.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}
