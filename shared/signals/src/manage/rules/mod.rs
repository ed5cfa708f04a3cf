//! Making rules and changing them.

pub(crate) mod row;
pub(crate) mod view;

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, RuleId, TenantId};
use crate::manage::configs::row::ConfigStatus;
use crate::manage::rules::row::{RuleChange, RuleRow, RuleStatus};
use crate::manage::tenants::TenantDeps;
use crate::view::{RuleVersionView, RuleView};
use serde_json::json;
use switchyard_io::dynamo::Write;
pub use switchyard_rules::Issue;
use switchyard_rules::{Code, MAX_PATTERN_BYTES, Parsed, Status, parse_text};

/// Rules in force that a tenant has at most.
pub const MAX_ACTIVE: usize = 500;

/// Rules that a tenant has at most, those paused included.
pub const MAX_RULES: usize = 1_000;

/// Bytes of all documents in force that a tenant has at most: anyone who evaluates an event holds them all.
const MAX_DOCUMENTS: usize = 2_000_000;

/// Attempts at a change that others get in the way of.
const ATTEMPTS: u32 = 5;

const OTHERS_CHANGED: SignalsError = SignalsError::Contended { what: "the tenant's rules" };

/// Outcome of a rule that was written.
#[derive(Debug)]
pub enum RuleWrite {
    /// It is in force, or waits: the rule, the number of its last change, and what its author probably did
    /// not mean.
    Rule(RuleView, i64, Vec<Issue>),
    /// The document is wrong; this is everything that is.
    Invalid(Vec<Issue>),
    /// The rule does not exist.
    Unknown,
    /// Another change came first, or the caller knew an older version.
    Stale,
    /// There are [`MAX_ACTIVE`] already.
    TooMany,
}

/// Makes a rule of a document, `{name,eventType,status?,priority?,description?,definition}`.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn create(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    document: &str,
) -> Result<RuleWrite, SignalsError> {
    let (parsed, warnings) = match check(deps, tenant, document).await? {
        Ok(checked) => checked,
        Err(issues) => return Ok(RuleWrite::Invalid(issues)),
    };
    let (id, status) =
        (RuleId::from(deps.clock.new_id().to_string()), status_of(&parsed).unwrap_or(RuleStatus::Active));
    let row = RuleRow {
        pattern_bytes: parsed.pattern_bytes(),
        ..RuleRow::new(tenant, &id, status, document, deps.clock.now())
    };
    for _ in 0..ATTEMPTS {
        let rev = deps.store.ruleset_rev(tenant).await?;
        let rows = deps.store.rules(tenant).await?;
        if rows.len() >= MAX_RULES {
            return Ok(RuleWrite::TooMany);
        }
        if let Some(refusal) = crowded(&rows, &row, &parsed) {
            return Ok(refusal);
        }
        let record = record(deps, actor, tenant, "rule.create", None, &row)?;
        if deps.store.add_rule(tenant, &row, rev, record).await? {
            return Ok(RuleWrite::Rule(RuleView::of(&row), row.lock, warnings));
        }
    }
    Err(OTHERS_CHANGED)
}

/// Makes a document the next version of a rule, and puts it in force, unless the rule is paused and the document says nothing
/// of that. `if_lock` is the number of the change that the caller knows.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn replace(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &RuleId,
    document: &str,
    if_lock: Option<i64>,
) -> Result<RuleWrite, SignalsError> {
    let Some(before) = known(deps, tenant, id).await? else { return Ok(RuleWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != before.lock) {
        return Ok(RuleWrite::Stale);
    }
    let (parsed, warnings) = match check(deps, tenant, document).await? {
        Ok(checked) => checked,
        Err(issues) => return Ok(RuleWrite::Invalid(issues)),
    };
    let status = status_of(&parsed).unwrap_or(before.status);
    let after = RuleRow {
        status,
        version: before.newest + 1,
        newest: before.newest + 1,
        document: document.to_owned(),
        pattern_bytes: parsed.pattern_bytes(),
        updated_at: deps.clock.now(),
        ..before.clone()
    };
    write(deps, (actor, "rule.replace"), tenant, &before, after, Some(&parsed), warnings).await
}

/// Puts an earlier version of a rule in force again.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn activate(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &RuleId,
    version: u64,
    if_lock: Option<i64>,
) -> Result<RuleWrite, SignalsError> {
    let Some(before) = known(deps, tenant, id).await? else { return Ok(RuleWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != before.lock) {
        return Ok(RuleWrite::Stale);
    }
    let Some(chosen) = deps.store.rule_version(tenant, id, version).await? else { return Ok(RuleWrite::Unknown) };
    let after = RuleRow {
        status: RuleStatus::Active,
        version,
        document: chosen.document,
        updated_at: deps.clock.now(),
        ..before.clone()
    };
    change(deps, actor, tenant, &before, after).await
}

/// Pauses a rule, has it go on, or archives it.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn set_status(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &RuleId,
    status: RuleStatus,
    if_lock: Option<i64>,
) -> Result<RuleWrite, SignalsError> {
    let Some(before) = known(deps, tenant, id).await? else { return Ok(RuleWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != before.lock) {
        return Ok(RuleWrite::Stale);
    }
    let after = RuleRow { status, updated_at: deps.clock.now(), ..before.clone() };
    change(deps, actor, tenant, &before, after).await
}

async fn change(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    before: &RuleRow,
    mut after: RuleRow,
) -> Result<RuleWrite, SignalsError> {
    let by = (actor, "rule.change");
    if after.status != RuleStatus::Active {
        return write(deps, by, tenant, before, after, None, Vec::new()).await;
    }
    // A later release may know better than the one it was written by.
    let parsed = match parse_text(&after.document) {
        Ok(parsed) => parsed,
        Err(issues) => return Ok(RuleWrite::Invalid(issues)),
    };
    after.pattern_bytes = parsed.pattern_bytes();
    write(deps, by, tenant, before, after, Some(&parsed), Vec::new()).await
}

/// Replaces a rule as it was read. Of one that is in force, `parsed` is its document: it has to have room beside the others, and
/// these must not change until then.
async fn write(
    deps: &TenantDeps,
    (actor, action): (&ActorId, &str),
    tenant: &TenantId,
    before: &RuleRow,
    after: RuleRow,
    parsed: Option<&Parsed>,
    warnings: Vec<Issue>,
) -> Result<RuleWrite, SignalsError> {
    for _ in 0..ATTEMPTS {
        let mut rev = None;
        if let Some(parsed) = parsed.filter(|_| after.status == RuleStatus::Active) {
            rev = Some(deps.store.ruleset_rev(tenant).await?);
            if let Some(refusal) = crowded(&deps.store.rules(tenant).await?, &after, parsed) {
                return Ok(refusal);
            }
        }
        let record = record(deps, actor, tenant, action, Some(before), &after)?;
        let is_new_version = after.newest != before.newest;
        match deps.store.change_rule(tenant, before, &after, is_new_version, rev, record).await? {
            RuleChange::Done => return Ok(RuleWrite::Rule(RuleView::of(&after), before.lock + 1, warnings)),
            RuleChange::Stale => return Ok(RuleWrite::Stale),
            RuleChange::OthersChanged => {}
        }
    }
    Err(OTHERS_CHANGED)
}

/// The record of a change of a rule.
fn record(
    deps: &TenantDeps,
    actor: &ActorId,
    tenant: &TenantId,
    action: &str,
    before: Option<&RuleRow>,
    after: &RuleRow,
) -> Result<Write, SignalsError> {
    let (before, now) = (before.map(|row| json!(RuleView::of(row))), json!(RuleView::of(after)));
    let audit = Audit {
        tenant: tenant.as_str(),
        actor,
        action,
        subject: after.id.as_str(),
        before: before.as_ref(),
        after: Some(&now),
    };
    Ok(deps.store.audit(audit, deps.clock.now())?)
}

/// A tenant's rules that are not archived, by age.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn list(deps: &TenantDeps, tenant: &TenantId) -> Result<Vec<RuleView>, SignalsError> {
    let rows = deps.store.rules(tenant).await?;
    Ok(rows.iter().filter(|row| row.status != RuleStatus::Archived).map(RuleView::of).collect())
}

/// One rule with the number of its last change, unless it is archived.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn rule(deps: &TenantDeps, tenant: &TenantId, id: &RuleId) -> Result<Option<(RuleView, i64)>, SignalsError> {
    Ok(known(deps, tenant, id).await?.map(|row| (RuleView::of(&row), row.lock)))
}

/// At most `limit` versions of a rule, newest first, from below `before` on, and before which the next page begins, if there is
/// one.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn versions(
    deps: &TenantDeps,
    tenant: &TenantId,
    id: &RuleId,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<RuleVersionView>, Option<u64>), SignalsError> {
    let (rows, has_more) = deps.store.rule_versions(tenant, id, before, limit).await?;
    let next = rows.last().filter(|_| has_more).map(|row| row.version);
    Ok((rows.iter().map(RuleVersionView::of).collect::<Result<_, _>>()?, next))
}

/// One version of a rule.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn version(
    deps: &TenantDeps,
    tenant: &TenantId,
    id: &RuleId,
    version: u64,
) -> Result<Option<RuleVersionView>, SignalsError> {
    deps.store.rule_version(tenant, id, version).await?.as_ref().map(RuleVersionView::of).transpose()
}

/// Why a rule cannot be in force beside a tenant's others: there are too many, or their patterns together take too much of
/// a memory that the tenant shares with others.
fn crowded(rows: &[RuleRow], rule: &RuleRow, parsed: &Parsed) -> Option<RuleWrite> {
    if rule.status != RuleStatus::Active {
        return None;
    }
    let others = || rows.iter().filter(|row| row.status == RuleStatus::Active && row.id != rule.id);
    if others().count() >= MAX_ACTIVE {
        return Some(RuleWrite::TooMany);
    }
    if others().map(|row| row.document.len()).sum::<usize>() + rule.document.len() > MAX_DOCUMENTS {
        let message = format!("the documents of all rules in force must have at most {MAX_DOCUMENTS} bytes");
        return Some(RuleWrite::Invalid(vec![issue(String::new(), Code::TooLarge, message)]));
    }
    let mut bytes = others().map(|row| row.pattern_bytes).sum::<usize>();
    let beyond = parsed.patterns.iter().find(|pattern| {
        bytes += pattern.bytes;
        bytes > MAX_PATTERN_BYTES
    })?;
    let message = "with this pattern those of all rules in force are too large once compiled";
    Some(RuleWrite::Invalid(vec![issue(beyond.pointer.clone(), Code::TooLarge, message.to_owned())]))
}

async fn known(deps: &TenantDeps, tenant: &TenantId, id: &RuleId) -> Result<Option<RuleRow>, SignalsError> {
    Ok(deps.store.rule(tenant, id).await?.filter(|row| row.status != RuleStatus::Archived))
}

/// What is wrong with a document, and what its author probably did not mean: nothing is written.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn validate(
    deps: &TenantDeps,
    tenant: &TenantId,
    document: &str,
) -> Result<Result<Vec<Issue>, Vec<Issue>>, SignalsError> {
    Ok(check(deps, tenant, document).await?.map(|(_, warnings)| warnings))
}

/// Reads a document, and holds what it says of configs against those that there are.
async fn check(
    deps: &TenantDeps,
    tenant: &TenantId,
    document: &str,
) -> Result<Result<(Parsed, Vec<Issue>), Vec<Issue>>, SignalsError> {
    let parsed = match parse_text(document) {
        Ok(parsed) => parsed,
        Err(issues) => return Ok(Err(issues)),
    };
    let configs = deps.store.configs(tenant).await?;
    let (mut issues, mut warnings) = (Vec::new(), parsed.warnings.clone());
    for action in parsed.rule.actions() {
        let of_channel = || configs.iter().filter(|config| config.channel == action.channel);
        match &action.config {
            Some(id) if !of_channel().any(|config| config.id.as_str() == id) => {
                let message = format!("there is no {} config of this id", action.channel);
                issues.push(issue(format!("{}/config", action.pointer), Code::UnknownConfig, message));
            }
            None if !of_channel().any(|config| config.status == ConfigStatus::Active) => {
                let message = format!("there is no active {} config to send it with", action.channel);
                warnings.push(issue(action.pointer.clone(), Code::NoActiveConfig, message));
            }
            _ => {}
        }
    }
    Ok(if issues.is_empty() { Ok((parsed, warnings)) } else { Err(issues) })
}

fn issue(pointer: String, code: Code, message: String) -> Issue {
    Issue { pointer, code, message, hint: None }
}

/// What a document says, if it does.
fn status_of(parsed: &Parsed) -> Option<RuleStatus> {
    parsed.rule.status.map(|status| match status {
        Status::Active => RuleStatus::Active,
        Status::Paused => RuleStatus::Paused,
    })
}
