//! `switchyard tenants`: the tenants of Signals.

use crate::signals::{ACTOR, Access, show};
use crate::target::Target;
use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::num::ParseIntError;
use std::process::ExitCode;
use std::str::FromStr;
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::view::TenantView;
use switchyard_signals::{Plan, Tenant, TenantStatus};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a tenant.
    Create {
        /// Its slug, which no other tenant may have.
        #[arg(long)]
        slug: String,
        /// Its name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show a tenant.
    Show {
        /// Its slug.
        slug: String,
    },
    /// Update a tenant; options that are not given stay as they are.
    Change {
        /// Its slug.
        slug: String,
        /// Its name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Suspend a tenant: its events are refused and its rules not evaluated, within a minute.
    Suspend {
        /// Its slug.
        slug: String,
    },
    /// Reactivate a suspended tenant.
    Activate {
        /// Its slug.
        slug: String,
    },
}

#[derive(clap::Args)]
pub(crate) struct Settings {
    /// free, pro or enterprise.
    #[arg(long)]
    plan: Option<String>,
    /// Events a month beyond which it is warned; `none` for no limit.
    #[arg(long)]
    soft_limit: Option<String>,
    /// Most events a month; `none` for no limit.
    #[arg(long)]
    hard_limit: Option<String>,
    /// Most events a second, 1 to 1000; `none` for no limit.
    #[arg(long)]
    rate: Option<String>,
    /// An address or domain that it may send mail from through SES. Repeat it for each; they replace the current ones.
    #[arg(long = "ses-identity")]
    ses_identities: Vec<String>,
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let shown = match command {
        Command::Create { slug, name, settings } => {
            tenants::create(&access.tenants, &ACTOR, &slug, &name, &settings.edit()?, None)
                .await?
                .with_context(|| format!("another tenant has the slug {slug}"))?
        }
        Command::Show { slug } => access.tenant(&slug).await?,
        Command::Change { slug, name, settings } => {
            let edit = TenantEdit { name, ..settings.edit()? };
            change(&access, &slug, &edit).await?
        }
        Command::Suspend { slug } => change(&access, &slug, &status(TenantStatus::Suspended)).await?,
        Command::Activate { slug } => change(&access, &slug, &status(TenantStatus::Active)).await?,
    };
    show(&TenantView::of(&shown));
    Ok(ExitCode::SUCCESS)
}

fn status(status: TenantStatus) -> TenantEdit {
    TenantEdit { status: Some(status), ..TenantEdit::default() }
}

async fn change(access: &Access, slug: &str, edit: &TenantEdit) -> Result<Tenant> {
    let known = access.tenant(slug).await?;
    tenants::change(&access.tenants, &ACTOR, &known.id, edit).await?.context("the tenant was deleted")
}

impl Settings {
    fn edit(&self) -> Result<TenantEdit> {
        let plan = self.plan.as_deref().map(|plan| match plan {
            "free" => Ok(Plan::Free),
            "pro" => Ok(Plan::Pro),
            "enterprise" => Ok(Plan::Enterprise),
            other => Err(anyhow::anyhow!("unknown plan {other}; expected free, pro or enterprise")),
        });
        Ok(TenantEdit {
            plan: plan.transpose()?,
            monthly_soft_limit: limit(self.soft_limit.as_deref())?,
            monthly_hard_limit: limit(self.hard_limit.as_deref())?,
            rate_per_second: limit(self.rate.as_deref())?,
            ses_identities: (!self.ses_identities.is_empty()).then(|| self.ses_identities.clone()),
            ..TenantEdit::default()
        })
    }
}

/// A limit, `none` for no limit, or no change.
fn limit<T: FromStr<Err = ParseIntError>>(text: Option<&str>) -> Result<Option<Option<T>>> {
    Ok(match text {
        None => None,
        Some("none") => Some(None),
        Some(text) => Some(Some(text.parse().with_context(|| format!("{text} is not a number or `none`"))?)),
    })
}
