//! `/api/rules`: a tenant's rules, their versions, and dry runs.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, conflict, field, not_found};
use crate::ids::Id;
use axum::extract;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use switchyard_api::{
    Authenticated, Created, Endpoint, IfMatch, Json, JsonText, NoContent, Operation, Page, PageQuery, Path, Query,
    Refusal, Reply, Versioned, page_of,
};
use switchyard_identity::{Access, Role, Scope};
use switchyard_signals::RuleId;
use switchyard_signals::RuleStatus;
use switchyard_signals::dry_run::{self, Candidate, DryRun, MAX_SAMPLE, Run, State as PastState, TriedEvent};
use switchyard_signals::rules::{self, Issue, MAX_ACTIVE, RuleWrite};
use switchyard_signals::view::{RuleVersionView, RuleView, SampleOutcome};

pub(crate) fn endpoints() -> [Endpoint<State>; 13] {
    const CHANGED: &[(u16, &str)] = &[(409, "There are too many active rules, or another request changed the rule")];
    let read = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Member, Some(Scope::RulesRead)));
    let write = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Admin, Some(Scope::RulesWrite)));
    [
        write(Endpoint::post("/api/rules", create_rule)).summary("Create a rule").idempotent().refuses(CHANGED),
        read(Endpoint::get("/api/rules", list_rules)).summary("List rules"),
        read(Endpoint::post("/api/rules/validate", validate_rule)).summary("Validate a rule").idempotent(),
        read(Endpoint::post("/api/rules/test", test_rule_document))
            .summary("Test a rule that is not stored")
            .idempotent(),
        read(Endpoint::get("/api/rules/{id}", get_rule)).summary("Get a rule"),
        write(Endpoint::put("/api/rules/{id}", replace_rule)).summary("Create a rule's next version").refuses(CHANGED),
        write(Endpoint::delete("/api/rules/{id}", archive_rule)).summary("Archive a rule").refuses(CHANGED),
        write(Endpoint::post("/api/rules/{id}/pause", pause_rule))
            .summary("Pause a rule")
            .idempotent()
            .refuses(CHANGED),
        write(Endpoint::post("/api/rules/{id}/resume", resume_rule))
            .summary("Resume a rule")
            .idempotent()
            .refuses(CHANGED),
        read(Endpoint::post("/api/rules/{id}/test", test_rule)).summary("Test a rule").idempotent(),
        read(Endpoint::get("/api/rules/{id}/versions", list_rule_versions)).summary("List a rule's versions"),
        read(Endpoint::get("/api/rules/{id}/versions/{n}", get_rule_version)).summary("Get a rule's version"),
        write(Endpoint::post("/api/rules/{id}/versions/{n}/activate", activate_rule_version))
            .summary("Activate a rule's version")
            .idempotent()
            .refuses(CHANGED),
    ]
}

/// A rule document.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's schema; `switchyard_rules::parse_text` reads the text")]
struct RuleDocument {
    #[schemars(length(min = 1, max = 150))]
    name: String,
    /// An exact type, `payment.*` or `*`.
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["active", "paused"]), with = "String")]
    #[serde(default)]
    status: Option<String>,
    #[schemars(range(min = -1000, max = 1000), with = "i64")]
    #[serde(default)]
    priority: Option<i64>,
    #[schemars(with = "String")]
    #[serde(default)]
    description: Option<String>,
    /// `when`, `threshold`, `cooldown`, `digest` and `actions`.
    definition: Map<String, Value>,
}

async fn create_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    document: JsonText<RuleDocument>,
) -> Result<Versioned<Created<RuleView>>, Failure> {
    let written = rules::create(&state.0.tenants, &actor.id(), actor.tenant_id()?, &document.text).await?;
    let (rule, version) = outcome(written, IfMatch(None))?;
    Ok(Versioned(Created(rule), version))
}

/// Which rules to list.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RulesQuery {
    /// Only rules of this event type, as their documents write it.
    event_type: Option<String>,
    /// Only rules with this status.
    status: Option<ListedStatus>,
}

/// The status of a rule that is listed; archived ones are not.
#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ListedStatus {
    /// Events are evaluated.
    Active,
    /// Events are not evaluated.
    Paused,
}

impl ListedStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
        }
    }
}

async fn list_rules(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<RulesQuery>,
    page: PageQuery,
) -> Result<Json<Page<RuleView>>, Failure> {
    let mut rules = rules::list(&state.0.tenants, actor.tenant_id()?).await?;
    rules.retain(|rule| {
        query.event_type.as_deref().is_none_or(|wanted| rule.text("eventType") == Some(wanted))
            && query.status.is_none_or(|wanted| rule.text("status") == Some(wanted.name()))
    });
    Ok(Json(page_of(rules, &page, RuleView::id)?))
}

async fn get_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    let rule = rules::rule(&state.0.tenants, actor.tenant_id()?, &id).await?;
    let (rule, version) = rule.ok_or_else(not_found)?;
    Ok(Versioned(Json(rule), version))
}

async fn replace_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    known: IfMatch,
    document: JsonText<RuleDocument>,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    let (deps, tenant) = (&state.0.tenants, actor.tenant_id()?);
    changed(rules::replace(deps, &actor.id(), tenant, &id, &document.text, known.0).await?, known)
}

async fn archive_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    known: IfMatch,
) -> Result<NoContent, Failure> {
    set_status(&state, &actor, &id, RuleStatus::Archived, known).await.map(|_| NoContent)
}

async fn pause_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    known: IfMatch,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    set_status(&state, &actor, &id, RuleStatus::Paused, known).await
}

async fn resume_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    known: IfMatch,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    set_status(&state, &actor, &id, RuleStatus::Active, known).await
}

async fn set_status(
    state: &State,
    actor: &Actor,
    id: &RuleId,
    status: RuleStatus,
    known: IfMatch,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    let (deps, tenant) = (&state.0.tenants, actor.tenant_id()?);
    changed(rules::set_status(deps, &actor.id(), tenant, id, status, known.0).await?, known)
}

async fn list_rule_versions(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    page: PageQuery,
) -> Result<Json<Page<RuleVersionView>>, Failure> {
    let before = page.cursor.as_ref().map(switchyard_api::Cursor::parse).transpose()?;
    let (deps, tenant) = (&state.0.tenants, actor.tenant_id()?);
    let (items, next) = rules::versions(deps, tenant, &id, before, page.limit).await?;
    // Every rule has a first version.
    if items.is_empty() && before.is_none() {
        return Err(not_found());
    }
    Ok(Json(Page { items, next_cursor: next.map(|version| version.to_string()) }))
}

async fn get_rule_version(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path((Id(id), version)): Path<(Id<RuleId>, u64)>,
) -> Result<Json<RuleVersionView>, Failure> {
    let version = rules::version(&state.0.tenants, actor.tenant_id()?, &id, version).await?;
    version.map(Json).ok_or_else(not_found)
}

async fn activate_rule_version(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path((Id(id), version)): Path<(Id<RuleId>, u64)>,
    known: IfMatch,
) -> Result<Versioned<Json<RuleView>>, Failure> {
    let (deps, tenant) = (&state.0.tenants, actor.tenant_id()?);
    changed(rules::activate(deps, &actor.id(), tenant, &id, version, known.0).await?, known)
}

/// A document that is valid.
#[derive(JsonSchema, Serialize)]
struct ValidRule {
    /// `true`.
    valid: bool,
    /// What its author probably did not mean.
    warnings: Vec<Issue>,
}

async fn validate_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    document: JsonText<RuleDocument>,
) -> Result<Json<ValidRule>, Failure> {
    match rules::validate(&state.0.tenants, actor.tenant_id()?, &document.text).await? {
        Ok(warnings) => Ok(Json(ValidRule { valid: true, warnings })),
        Err(issues) => Err(invalid(&issues)),
    }
}

/// How many stored events to test a rule on, instead of the body's event.
#[derive(Deserialize, JsonSchema)]
struct SampleQuery {
    #[schemars(range(min = 1, max = 1000))]
    sample: Option<String>,
}

impl SampleQuery {
    fn count(&self) -> Result<Option<usize>, Failure> {
        let Some(text) = &self.sample else { return Ok(None) };
        let count = text.parse().ok().filter(|count| (1..=MAX_SAMPLE).contains(count));
        count.map(Some).ok_or_else(|| field(format!("sample must be 1 to {MAX_SAMPLE}")))
    }
}

/// A dry run of a stored rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RuleTest {
    /// The event to test with; not with `sample`.
    event: Option<TriedEvent>,
    /// A version of the rule; the active one when absent.
    version: Option<u64>,
    /// What happened before.
    #[serde(default)]
    state: PastState,
}

/// A dry run of a document.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DocumentTest {
    /// The document.
    #[schemars(with = "RuleDocument")]
    rule: Box<RawValue>,
    /// The event to test with; not with `sample`.
    event: Option<TriedEvent>,
    /// What happened before.
    #[serde(default)]
    state: PastState,
}

/// What a rule would do with an event, or for how many stored events it holds.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum TestResult {
    /// With an event.
    Run(Box<DryRun>),
    /// With `sample`.
    Sample(SampleOutcome),
}

impl IntoResponse for TestResult {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl Reply for TestResult {
    fn describe(operation: &mut Operation) {
        operation.json::<Self>(200, "OK");
    }
}

async fn test_rule_document(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<SampleQuery>,
    Json(DocumentTest { rule, event, state: past }): Json<DocumentTest>,
) -> Result<TestResult, Failure> {
    run(&state, &actor, Candidate::Document(rule.get()), query.count()?, event.as_ref(), &past).await
}

async fn test_rule(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<RuleId>>,
    Query(query): Query<SampleQuery>,
    Json(RuleTest { event, version, state: past }): Json<RuleTest>,
) -> Result<TestResult, Failure> {
    run(&state, &actor, Candidate::Rule(&id, version), query.count()?, event.as_ref(), &past).await
}

async fn run(
    state: &State,
    actor: &Actor,
    tried: Candidate<'_>,
    sample: Option<usize>,
    event: Option<&TriedEvent>,
    past: &PastState,
) -> Result<TestResult, Failure> {
    let (deps, tenant) = (&state.0.events, actor.tenant()?);
    let ran = match (sample, event) {
        (Some(_), Some(_)) => return Err(field("event must be absent when sample is given")),
        (Some(count), None) => dry_run::sample(deps, tenant, tried, count).await?,
        (None, Some(event)) => dry_run::test(deps, tenant, tried, event, past).await?,
        (None, None) => return Err(field("event: missing field")),
    };
    match ran {
        Run::Ran(run) => Ok(TestResult::Run(Box::new(run))),
        Run::Sampled(sample) => Ok(TestResult::Sample(sample)),
        Run::Invalid(issues) => Err(invalid(&issues)),
        Run::Unknown => Err(not_found()),
        Run::BadField(message) => Err(field(message)),
    }
}

fn changed(written: RuleWrite, known: IfMatch) -> Result<Versioned<Json<RuleView>>, Failure> {
    outcome(written, known).map(|(rule, version)| Versioned(Json(rule), version))
}

fn outcome(written: RuleWrite, known: IfMatch) -> Result<(RuleView, i64), Failure> {
    match written {
        RuleWrite::Rule(rule, version, warnings) => Ok((rule.with_warnings(&warnings), version)),
        RuleWrite::Invalid(issues) => Err(invalid(&issues)),
        RuleWrite::Unknown => Err(not_found()),
        RuleWrite::Stale => Err(known.conflict().into()),
        RuleWrite::TooMany => {
            Err(conflict("too_many_rules", format!("A tenant has at most {MAX_ACTIVE} active rules")))
        }
    }
}

fn invalid(issues: &[Issue]) -> Failure {
    Refusal::invalid("rule_invalid", "The rule is not valid", json!(issues)).into()
}
