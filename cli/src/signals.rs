//! Tenants, their rules, notifications and usage.

use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use switchyard_core::{Env, Secret, random};
use switchyard_io::Aws;
use switchyard_io::keys::{ApiKeys, NewKey};
use switchyard_notify::Channel;
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_signals::rules::{self, Written};
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::users::{self, UserDeps};
use switchyard_signals::view::TenantView;
use switchyard_signals::{
    ConfigStatus, ExportFormat, Plan, RuleStatus, Tenant, TenantStatus, export, password, reconcile, usage,
};

/// Who the records say did it.
const ACTOR: &str = "cli";

/// Versions of a rule that are read at a time.
const PAGE: usize = 100;

#[derive(Subcommand)]
pub(crate) enum Signals {
    /// Make a tenant and a key that is known beforehand, for a demonstration; both may be there already.
    Seed {
        /// The tenant's short name.
        #[arg(long)]
        slug: String,
        /// The key, such as test_api_key_123.
        #[arg(long)]
        key: String,
    },
    /// Make somebody who runs the platform; the password is SWITCHYARD_PASSWORD, or a new one that is shown.
    Bootstrap {
        /// The address to log in with.
        #[arg(long)]
        email: String,
        /// The password.
        #[arg(long, env = "SWITCHYARD_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
    /// Make users of a tenant out of those of the service this one replaces: all of them, or none when one is wrong.
    ImportUsers {
        /// The tenant's short name.
        tenant: String,
        /// A file with `[{"email", "passwordHash", "role"}]`, the hashes bcrypt's.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum Tenants {
    /// Make a tenant.
    Create {
        /// Its short name; nobody else may have it.
        #[arg(long)]
        slug: String,
        /// What people call it.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show a tenant.
    Show {
        /// Its short name.
        slug: String,
    },
    /// Change a tenant; what is not named stays.
    Change {
        /// Its short name.
        slug: String,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Take nothing from a tenant any more, and do nothing for it; in force within a minute.
    Suspend {
        /// Its short name.
        slug: String,
    },
    /// The opposite.
    Activate {
        /// Its short name.
        slug: String,
    },
}

#[derive(clap::Args)]
pub(crate) struct Settings {
    /// free, pro or enterprise.
    #[arg(long)]
    plan: Option<String>,
    /// Events a month beyond which it is warned; `none` for never.
    #[arg(long)]
    soft_limit: Option<String>,
    /// Events a month that are taken at most; `none` for all.
    #[arg(long)]
    hard_limit: Option<String>,
    /// Events that are taken within one second at most, 1 to 1000; `none` for all.
    #[arg(long)]
    rate: Option<String>,
    /// An address or a domain that it may send mail from over SES; again for each, in place of those known.
    #[arg(long = "ses-identity")]
    ses_identities: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum Rules {
    /// List a tenant's rules.
    List {
        /// The tenant's short name.
        tenant: String,
    },
    /// Make a rule of a JSON document.
    Create {
        /// The tenant's short name.
        tenant: String,
        /// The document.
        file: PathBuf,
    },
    /// Make a JSON document the next version of a rule.
    Replace {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
        /// The document.
        file: PathBuf,
    },
    /// Show every version of a rule.
    Versions {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// Put an earlier version in force again.
    Activate {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
        /// Its number.
        version: u64,
    },
    /// Leave a rule alone for now.
    Pause {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// The opposite.
    Resume {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
    },
    /// Archive a rule.
    Archive {
        /// The tenant's short name.
        tenant: String,
        /// The rule's id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Notifications {
    /// List a tenant's notification configs; of secrets the last four characters.
    List {
        /// The tenant's short name.
        tenant: String,
    },
    /// Make a notification config.
    Create {
        /// The tenant's short name.
        tenant: String,
        /// email, telegram, whatsapp, slack or webhook.
        channel: Channel,
        /// A file with the channel's settings as JSON.
        file: PathBuf,
        /// What people call it.
        #[arg(long, default_value = "")]
        name: String,
        /// Used where a rule names none.
        #[arg(long)]
        default: bool,
    },
    /// Send with a config again.
    Enable {
        /// The tenant's short name.
        tenant: String,
        /// The config's id.
        id: String,
    },
    /// Send nothing with a config.
    Disable {
        /// The tenant's short name.
        tenant: String,
        /// The config's id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Usage {
    /// Compare what was counted with the events that are kept, and put it right; shows each hour that was wrong.
    Reconcile {
        /// The tenant's short name.
        tenant: String,
        /// Such as 2026-11 [default: this one].
        #[arg(long)]
        month: Option<String>,
    },
    /// Write what is billed, hour by hour. Exporting again is harmless.
    Export {
        /// The tenant's short name.
        tenant: String,
        /// csv, cloudevents, lago or stripe.
        #[arg(long)]
        format: ExportFormat,
        /// Such as 2026-11.
        #[arg(long)]
        period: String,
    },
}

struct Access {
    aws: Aws,
    env: Env,
    tenants: TenantDeps,
}

impl Access {
    async fn new(target: &Target) -> Result<Self> {
        let (aws, env) = (target.aws().await, target.settings_of("events-api").await?);
        Ok(Self { tenants: TenantDeps::from_env(&aws, &env)?, aws, env })
    }

    async fn tenant(&self, slug: &str) -> Result<Tenant> {
        tenants::tenant_by_slug(&self.tenants, slug).await?.with_context(|| format!("no tenant is called {slug}"))
    }
}

/// The keys of all tenants.
pub(crate) async fn keys(target: &Target) -> Result<ApiKeys> {
    let access = Access::new(target).await?;
    Ok(ApiKeys::from_env(&access.aws, &access.env, "SIGNALS_TABLE")?)
}

/// The same, and the id of the tenant that is called `slug`.
pub(crate) async fn keys_of(target: &Target, slug: &str) -> Result<(ApiKeys, String)> {
    let access = Access::new(target).await?;
    Ok((ApiKeys::from_env(&access.aws, &access.env, "SIGNALS_TABLE")?, access.tenant(slug).await?.id))
}

pub(crate) async fn signals(target: &Target, command: Signals) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let (slug, key) = match command {
        Signals::Seed { slug, key } => (slug, key),
        Signals::Bootstrap { email, password } => return bootstrap(&access, &email, password).await,
        Signals::ImportUsers { tenant, file } => return import_users(&access, &tenant, &file).await,
    };
    let known = tenants::tenant_by_slug(&access.tenants, &slug).await?;
    let tenant = match known {
        Some(tenant) => tenant,
        None => tenants::create(&access.tenants, ACTOR, &slug, &slug, &TenantEdit::default(), None)
            .await?
            .with_context(|| format!("{slug} was made by another just now; try again"))?,
    };
    let keys = keys(target).await?;
    let new = NewKey { tenant: tenant.id.clone(), label: "seed".to_owned(), ..NewKey::default() };
    match keys.take_in(&new, &Secret::new(key.clone())).await? {
        Some(_) => say(&format!("tenant {slug} has the key")),
        None if keys.tenant_of(&key).await? == Some(tenant.id) => say(&format!("tenant {slug} has the key already")),
        None => bail!("the key is in use already, for another tenant or no longer"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn bootstrap(access: &Access, email: &str, given: Option<String>) -> Result<ExitCode> {
    let deps = UserDeps::from_env(&access.aws, &access.env)?;
    let password = given.clone().unwrap_or_else(|| random::uuid().simple().to_string());
    if !password::LENGTH.contains(&password.chars().count()) {
        bail!("a password has {} to {} characters", password::LENGTH.start(), password::LENGTH.end());
    }
    match users::create_operator(&deps, ACTOR, email, &Secret::new(password.clone())).await? {
        users::Written::User(user) => show(&user),
        _ => bail!("there is an operator {email} already"),
    }
    if given.is_none() {
        say(&format!("password: {password}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn import_users(access: &Access, slug: &str, file: &Path) -> Result<ExitCode> {
    let deps = UserDeps::from_env(&access.aws, &access.env)?;
    let rows: Vec<Value> = serde_json::from_str(&read(file)?).context("the file is no JSON list")?;
    match users::import(&deps, ACTOR, &access.tenant(slug).await?.id, &rows).await? {
        users::Imported::Done(made) => {
            say(&format!("{made} users are made"));
            Ok(ExitCode::SUCCESS)
        }
        users::Imported::Wrong(rows) => {
            rows.iter().for_each(|(index, why)| say(&format!("{index}: {why}")));
            say("nothing is imported");
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(crate) async fn tenants(target: &Target, command: Tenants) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let shown = match command {
        Tenants::Create { slug, name, settings } => {
            tenants::create(&access.tenants, ACTOR, &slug, &name, &settings.edit()?, None)
                .await?
                .with_context(|| format!("there is a tenant {slug} already"))?
        }
        Tenants::Show { slug } => access.tenant(&slug).await?,
        Tenants::Change { slug, name, settings } => {
            let edit = TenantEdit { name, ..settings.edit()? };
            change(&access, &slug, &edit).await?
        }
        Tenants::Suspend { slug } => change(&access, &slug, &status(TenantStatus::Suspended)).await?,
        Tenants::Activate { slug } => change(&access, &slug, &status(TenantStatus::Active)).await?,
    };
    show(&TenantView::of(&shown));
    Ok(ExitCode::SUCCESS)
}

fn status(status: TenantStatus) -> TenantEdit {
    TenantEdit { status: Some(status), ..TenantEdit::default() }
}

async fn change(access: &Access, slug: &str, edit: &TenantEdit) -> Result<Tenant> {
    let known = access.tenant(slug).await?;
    tenants::change(&access.tenants, ACTOR, &known.id, edit).await?.context("the tenant is gone")
}

impl Settings {
    fn edit(&self) -> Result<TenantEdit> {
        let plan = self.plan.as_deref().map(|plan| match plan {
            "free" => Ok(Plan::Free),
            "pro" => Ok(Plan::Pro),
            "enterprise" => Ok(Plan::Enterprise),
            other => Err(anyhow::anyhow!("{other} is no plan; there are free, pro and enterprise")),
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

/// A limit; `none` for no limit, and nothing for the one there is.
fn limit<T: FromStr<Err = ParseIntError>>(text: Option<&str>) -> Result<Option<Option<T>>> {
    Ok(match text {
        None => None,
        Some("none") => Some(None),
        Some(text) => Some(Some(text.parse().with_context(|| format!("{text} is no limit"))?)),
    })
}

pub(crate) async fn rules(target: &Target, command: Rules) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let deps = &access.tenants;
    let id_of = async |slug: &str| -> Result<String> { Ok(access.tenant(slug).await?.id) };
    let written = match command {
        Rules::List { tenant } => {
            rules::list(deps, &id_of(&tenant).await?).await?.iter().for_each(show);
            return Ok(ExitCode::SUCCESS);
        }
        Rules::Versions { tenant, id } => {
            let (tenant, mut before) = (id_of(&tenant).await?, None);
            loop {
                let (page, next) = rules::versions(deps, &tenant, &id, before, PAGE).await?;
                page.iter().for_each(show);
                if next.is_none() {
                    return Ok(ExitCode::SUCCESS);
                }
                before = next;
            }
        }
        Rules::Create { tenant, file } => rules::create(deps, ACTOR, &id_of(&tenant).await?, &read(&file)?).await?,
        Rules::Replace { tenant, id, file } => {
            rules::replace(deps, ACTOR, &id_of(&tenant).await?, &id, &read(&file)?, None).await?
        }
        Rules::Activate { tenant, id, version } => {
            rules::activate(deps, ACTOR, &id_of(&tenant).await?, &id, version, None).await?
        }
        Rules::Pause { tenant, id } => set(deps, &id_of(&tenant).await?, &id, RuleStatus::Paused).await?,
        Rules::Resume { tenant, id } => set(deps, &id_of(&tenant).await?, &id, RuleStatus::Active).await?,
        Rules::Archive { tenant, id } => set(deps, &id_of(&tenant).await?, &id, RuleStatus::Archived).await?,
    };
    match written {
        Written::Rule(rule, _, warnings) => {
            for warning in warnings {
                say(&format!("warning: {}: {}", warning.pointer, warning.message));
            }
            show(&rule);
            return Ok(ExitCode::SUCCESS);
        }
        Written::Invalid(issues) => {
            for issue in issues {
                let hint = issue.hint.map(|hint| format!(" (did you mean {hint}?)")).unwrap_or_default();
                say(&format!("{}: {}{hint}", issue.pointer, issue.message));
            }
        }
        Written::Unknown => say("no such rule"),
        Written::Stale => say("the rule was changed by another request; try again"),
        Written::TooMany => say(&format!("a tenant has at most {} rules in force", rules::MAX_ACTIVE)),
    }
    Ok(ExitCode::FAILURE)
}

async fn set(deps: &TenantDeps, tenant: &str, id: &str, status: RuleStatus) -> Result<Written> {
    Ok(rules::set_status(deps, ACTOR, tenant, id, status, None).await?)
}

pub(crate) async fn notifications(target: &Target, command: Notifications) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let deps = ConfigDeps::from_env(&access.aws, &access.env)?;
    match command {
        Notifications::List { tenant } => {
            configs::list(&deps, &access.tenant(&tenant).await?.id).await?.iter().for_each(show);
        }
        Notifications::Create { tenant, channel, file, name, default } => {
            let config: Value = serde_json::from_str(&read(&file)?).context("the file is not JSON")?;
            let tenant = access.tenant(&tenant).await?.id;
            let new = NewConfig { name, channel, config, is_default: default, allow_override: true, status: None };
            return Ok(said(configs::create(&deps, ACTOR, &tenant, &new).await?));
        }
        Notifications::Enable { tenant, id } => {
            return switch(&deps, &access.tenant(&tenant).await?.id, &id, ConfigStatus::Active).await;
        }
        Notifications::Disable { tenant, id } => {
            return switch(&deps, &access.tenant(&tenant).await?.id, &id, ConfigStatus::Disabled).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn switch(deps: &ConfigDeps, tenant: &str, id: &str, status: ConfigStatus) -> Result<ExitCode> {
    Ok(said(configs::set_status(deps, ACTOR, tenant, id, status, None).await?))
}

fn said(written: configs::Written) -> ExitCode {
    match written {
        configs::Written::Config(config, _) => {
            show(&config);
            return ExitCode::SUCCESS;
        }
        configs::Written::Invalid(issues) => {
            issues.iter().for_each(|issue| say(&format!("{}: {}", issue.pointer, issue.message)));
        }
        configs::Written::Unknown => say("no such config"),
        configs::Written::Stale => say("the config was changed by another request; try again"),
        configs::Written::TooMany => say(&format!("a tenant has at most {} configs", configs::MAX_CONFIGS)),
        configs::Written::OtherChannel => say("a config's channel stays what it is"),
    }
    ExitCode::FAILURE
}

pub(crate) async fn show_usage(target: &Target, tenant: &str, month: Option<&str>) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let tenant = access.tenant(tenant).await?;
    let used = usage(&access.tenants, &tenant, month).await?;
    show(&used);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn usage_command(target: &Target, command: Usage) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    match command {
        Usage::Reconcile { tenant, month } => {
            let tenant = access.tenant(&tenant).await?;
            let corrections = reconcile(&access.tenants, &tenant, month.as_deref(), ACTOR).await?;
            for correction in &corrections {
                show(correction);
            }
            say(&format!("{} hours were counted wrong and are put right", corrections.len()));
        }
        Usage::Export { tenant, format, period } => {
            let tenant = access.tenant(&tenant).await?;
            say(export(&access.tenants, &tenant, &period, format).await?.body.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn show(value: &impl serde::Serialize) {
    say(&format!("{:#}", serde_json::json!(value)));
}
