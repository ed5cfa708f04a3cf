//! `switchyard rules`: tenants' rules.

use crate::say;
use crate::signals::{ACTOR, Access, read, show};
use crate::target::Target;
use anyhow::Result;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use switchyard_signals::rules::{self, RuleWrite};
use switchyard_signals::tenants::TenantDeps;
use switchyard_signals::{RuleId, RuleStatus, TenantId};

/// Versions of a rule that are read at a time.
const PAGE: usize = 100;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List a tenant's rules.
    List {
        /// The tenant's slug.
        tenant: String,
    },
    /// Create a rule from a JSON document.
    Create {
        /// The tenant's slug.
        tenant: String,
        /// The document.
        file: PathBuf,
    },
    /// Update a rule: a JSON document becomes its next version.
    Replace {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
        /// The document.
        file: PathBuf,
    },
    /// List the versions of a rule.
    Versions {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// Activate an earlier version of a rule.
    Activate {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
        /// The version's number.
        version: u64,
    },
    /// Pause a rule.
    Pause {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// Resume a paused rule.
    Resume {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// Archive a rule.
    Archive {
        /// The tenant's slug.
        tenant: String,
        /// The rule's id.
        id: String,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let deps = &access.tenants;
    let id_of = async |slug: &str| -> Result<TenantId> { Ok(access.tenant(slug).await?.id) };
    let written = match command {
        Command::List { tenant } => {
            rules::list(deps, &id_of(&tenant).await?).await?.iter().for_each(show);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Versions { tenant, id } => {
            let (tenant, mut before) = (id_of(&tenant).await?, None);
            loop {
                let (page, next) = rules::versions(deps, &tenant, &id.as_str().into(), before, PAGE).await?;
                page.iter().for_each(show);
                if next.is_none() {
                    return Ok(ExitCode::SUCCESS);
                }
                before = next;
            }
        }
        Command::Create { tenant, file } => rules::create(deps, &ACTOR, &id_of(&tenant).await?, &read(&file)?).await?,
        Command::Replace { tenant, id, file } => {
            rules::replace(deps, &ACTOR, &id_of(&tenant).await?, &id.into(), &read(&file)?, None).await?
        }
        Command::Activate { tenant, id, version } => {
            rules::activate(deps, &ACTOR, &id_of(&tenant).await?, &id.into(), version, None).await?
        }
        Command::Pause { tenant, id } => {
            set_status(deps, &id_of(&tenant).await?, &id.into(), RuleStatus::Paused).await?
        }
        Command::Resume { tenant, id } => {
            set_status(deps, &id_of(&tenant).await?, &id.into(), RuleStatus::Active).await?
        }
        Command::Archive { tenant, id } => {
            set_status(deps, &id_of(&tenant).await?, &id.into(), RuleStatus::Archived).await?
        }
    };
    match written {
        RuleWrite::Rule(rule, _, warnings) => {
            for warning in warnings {
                say(&format!("warning: {}: {}", warning.pointer, warning.message));
            }
            show(&rule);
            return Ok(ExitCode::SUCCESS);
        }
        RuleWrite::Invalid(issues) => {
            for issue in issues {
                let hint = issue.hint.map(|hint| format!(" (did you mean {hint}?)")).unwrap_or_default();
                say(&format!("{}: {}{hint}", issue.pointer, issue.message));
            }
        }
        RuleWrite::Unknown => say("no such rule"),
        RuleWrite::Stale => say("the rule was changed by another request; try again"),
        RuleWrite::TooMany => say(&format!("a tenant has at most {} active rules", rules::MAX_ACTIVE)),
    }
    Ok(ExitCode::FAILURE)
}

async fn set_status(deps: &TenantDeps, tenant: &TenantId, id: &RuleId, status: RuleStatus) -> Result<RuleWrite> {
    Ok(rules::set_status(deps, &ACTOR, tenant, id, status, None).await?)
}
