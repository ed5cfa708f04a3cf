//! Every route: its method and path, who may call it, and what its documents say. Nothing is served that is not here.

use crate::access::Who;
use crate::manage::{api_keys, auth, configs, dead_letters, events, tenants, users};
use http::Method;
use schemars::{JsonSchema, Schema, schema_for};
use switchyard_signals::Role;

/// What an API key may be allowed.
pub const SCOPES: [&str; 6] =
    ["events:write", "events:read", "rules:read", "rules:write", "usage:read", "deliveries:read"];

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Something open.
    Open(Open),
    /// Something for those whom [`Route::who`] lets in.
    Guarded(Op),
}

/// What is answered to whoever asks, or looks at its caller itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    Docs,
    DocsJson,
    DocsYaml,
    Health,
    Ready,
    HookCheck,
    HookWhatsapp,
    HookSes,
    TakeEvent,
    TakeBatch,
    LogIn,
}

/// What is done for a caller who may have it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Me,
    Password,
    TenantCreate,
    TenantList,
    TenantShow,
    TenantChange,
    TenantSuspend,
    TenantActivate,
    TenantDelete,
    OwnTenant,
    OwnTenantChange,
    UserCreate,
    UserList,
    UserChange,
    UserRemove,
    KeyCreate,
    KeyList,
    KeyShow,
    KeyChange,
    KeyRotate,
    KeyRevoke,
    RuleCreate,
    RuleList,
    RuleValidate,
    RuleTestDocument,
    RuleShow,
    RuleReplace,
    RulePause,
    RuleResume,
    RuleArchive,
    RuleTest,
    RuleVersions,
    RuleVersion,
    RuleActivate,
    ConfigCreate,
    ConfigList,
    ConfigShow,
    ConfigReplace,
    ConfigRemove,
    ConfigEnable,
    ConfigDisable,
    ConfigTest,
    EventList,
    EventShow,
    EventReplay,
    DeliveryList,
    DeliveryShow,
    DeliveryRetry,
    LetterList,
    LetterShow,
    LetterRemove,
    LetterRedrive,
    LetterRedriveAll,
    SuppressionList,
    SuppressionRemove,
    Usage,
    UsageExport,
}

/// One route.
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path, with names in braces for what varies.
    pub path: &'static str,
    /// What it does.
    pub does: Does,
    /// Who may call it.
    pub who: Who,
    /// Status of its success.
    pub status: u16,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Parameters of its query.
    pub query: &'static [&'static str],
    /// Its body's schema.
    pub body: Option<fn() -> Schema>,
}

impl Route {
    const fn open(
        method: &'static str,
        path: &'static str,
        op: Open,
        who: Who,
        status: u16,
        summary: &'static str,
    ) -> Self {
        Self { method, path, does: Does::Open(op), who, status, summary, query: &[], body: None }
    }

    const fn new(
        method: &'static str,
        path: &'static str,
        op: Op,
        who: Who,
        status: u16,
        summary: &'static str,
    ) -> Self {
        Self { method, path, does: Does::Guarded(op), who, status, summary, query: &[], body: None }
    }

    const fn asks(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn takes(self, body: fn() -> Schema) -> Self {
        Self { body: Some(body), ..self }
    }

    /// What stands in the braces of a path; `None` when it is another route's.
    pub fn matches<'a>(&self, method: &Method, path: &'a str) -> Option<Vec<&'a str>> {
        if self.method != method.as_str() {
            return None;
        }
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        let mut ids = Vec::new();
        loop {
            match (own.next(), given.next()) {
                (None, None) => return Some(ids),
                (Some(name), Some(part)) if name.starts_with('{') && !part.is_empty() => ids.push(part),
                (Some(literal), Some(part)) if literal == part => {}
                _ => return None,
            }
        }
    }
}

fn schema<T: JsonSchema>() -> Schema {
    schema_for!(T)
}

const MEMBER: Who = Who::Role(Role::Member, None);
const ADMIN: Who = Who::Role(Role::Admin, None);
const OWNER: Who = Who::Role(Role::Owner, None);
const KEEPER: Who = Who::AdminOrOperator;

const fn member(scope: &'static str) -> Who {
    Who::Role(Role::Member, Some(scope))
}

const fn admin(scope: &'static str) -> Who {
    Who::Role(Role::Admin, Some(scope))
}

/// HTTP method.
pub const DELETE: &str = "DELETE";
const GET: &str = "GET";
const PATCH: &str = "PATCH";
/// HTTP method.
pub const POST: &str = "POST";
const PUT: &str = "PUT";

/// The routes. Of two that fit a path, the first is meant.
pub static ROUTES: &[Route] = &[
    Route::open(GET, "/api/docs", Open::Docs, Who::Anyone, 200, "These documents, to read"),
    Route::open(GET, "/api/docs-json", Open::DocsJson, Who::Anyone, 200, "These documents, as OpenAPI in JSON"),
    Route::open(GET, "/api/docs-yaml", Open::DocsYaml, Who::Anyone, 200, "These documents, as OpenAPI in YAML"),
    Route::open(GET, "/api/health", Open::Health, Who::Anyone, 200, "Whether the function answers"),
    Route::open(GET, "/api/health/ready", Open::Ready, Who::Anyone, 200, "Whether table and queue answer"),
    Route::open(POST, "/api/events", Open::TakeEvent, Who::Producer, 201, "Take an event").takes(event_schema),
    Route::open(POST, "/api/events/batch", Open::TakeBatch, Who::Producer, 207, "Take up to 100 events")
        .takes(batch_schema),
    Route::open(GET, "/api/hooks/whatsapp", Open::HookCheck, Who::Anyone, 200, "WhatsApp checks the address").asks(&[
        "hub.mode",
        "hub.verify_token",
        "hub.challenge",
    ]),
    Route::open(POST, "/api/hooks/whatsapp", Open::HookWhatsapp, Who::Anyone, 200, "Take WhatsApp's signed reports"),
    Route::open(POST, "/api/hooks/ses", Open::HookSes, Who::Anyone, 200, "Take SES's reports, signed by SNS"),
    Route::open(POST, "/api/auth/login", Open::LogIn, Who::Anyone, 200, "Log in").takes(schema::<auth::LogIn>),
    Route::new(GET, "/api/auth/me", Op::Me, Who::User, 200, "Who is logged in"),
    Route::new(POST, "/api/auth/password", Op::Password, Who::User, 204, "Change the password; older tokens end")
        .takes(schema::<auth::NewPassword>),
    Route::new(POST, "/api/tenants", Op::TenantCreate, Who::Operator, 201, "Make a tenant")
        .takes(schema::<tenants::TenantBody>),
    Route::new(GET, "/api/tenants", Op::TenantList, Who::Operator, 200, "List tenants").asks(&["limit", "cursor"]),
    Route::new(GET, "/api/tenants/{id}", Op::TenantShow, Who::Operator, 200, "Show a tenant"),
    Route::new(PATCH, "/api/tenants/{id}", Op::TenantChange, Who::Operator, 200, "Change a tenant")
        .takes(schema::<tenants::TenantChange>),
    Route::new(POST, "/api/tenants/{id}/suspend", Op::TenantSuspend, Who::Operator, 200, "Take nothing from a tenant"),
    Route::new(POST, "/api/tenants/{id}/activate", Op::TenantActivate, Who::Operator, 200, "Take from it again"),
    Route::new(DELETE, "/api/tenants/{id}", Op::TenantDelete, Who::Operator, 202, "Shut a tenant out for ever"),
    Route::new(GET, "/api/tenant", Op::OwnTenant, MEMBER, 200, "Show one's own tenant"),
    Route::new(PATCH, "/api/tenant", Op::OwnTenantChange, OWNER, 200, "Change one's own tenant")
        .takes(schema::<tenants::OwnTenantChange>),
    Route::new(POST, "/api/users", Op::UserCreate, ADMIN, 201, "Make a user").takes(schema::<users::UserBody>),
    Route::new(GET, "/api/users", Op::UserList, ADMIN, 200, "List users").asks(&["limit", "cursor"]),
    Route::new(PATCH, "/api/users/{id}", Op::UserChange, ADMIN, 200, "Change a user")
        .takes(schema::<users::UserChange>),
    Route::new(DELETE, "/api/users/{id}", Op::UserRemove, ADMIN, 204, "Remove a user"),
    Route::new(POST, "/api/api-keys", Op::KeyCreate, ADMIN, 201, "Make an API key, which is shown once")
        .takes(schema::<api_keys::KeyBody>),
    Route::new(GET, "/api/api-keys", Op::KeyList, MEMBER, 200, "List API keys").asks(&["limit", "cursor"]),
    Route::new(GET, "/api/api-keys/{id}", Op::KeyShow, MEMBER, 200, "Show an API key"),
    Route::new(PATCH, "/api/api-keys/{id}", Op::KeyChange, ADMIN, 200, "Change an API key")
        .takes(schema::<api_keys::KeyPatch>),
    Route::new(POST, "/api/api-keys/{id}/rotate", Op::KeyRotate, ADMIN, 201, "Replace an API key")
        .takes(schema::<api_keys::Rotation>),
    Route::new(POST, "/api/api-keys/{id}/revoke", Op::KeyRevoke, ADMIN, 200, "Make an API key useless"),
    Route::new(DELETE, "/api/api-keys/{id}", Op::KeyRevoke, ADMIN, 200, "The same"),
    Route::new(POST, "/api/rules", Op::RuleCreate, admin("rules:write"), 201, "Make a rule").takes(rule_schema),
    Route::new(GET, "/api/rules", Op::RuleList, member("rules:read"), 200, "List rules").asks(&[
        "eventType",
        "status",
        "limit",
        "cursor",
    ]),
    Route::new(POST, "/api/rules/validate", Op::RuleValidate, member("rules:read"), 200, "Check a rule")
        .takes(rule_schema),
    Route::new(POST, "/api/rules/test", Op::RuleTestDocument, member("rules:read"), 200, "Try a document")
        .asks(&["sample"])
        .takes(inline_schema),
    Route::new(GET, "/api/rules/{id}", Op::RuleShow, member("rules:read"), 200, "Show a rule"),
    Route::new(PUT, "/api/rules/{id}", Op::RuleReplace, admin("rules:write"), 200, "Make a rule's next version")
        .takes(rule_schema),
    Route::new(POST, "/api/rules/{id}/pause", Op::RulePause, admin("rules:write"), 200, "Leave a rule alone for now"),
    Route::new(POST, "/api/rules/{id}/resume", Op::RuleResume, admin("rules:write"), 200, "Weigh it again"),
    Route::new(DELETE, "/api/rules/{id}", Op::RuleArchive, admin("rules:write"), 204, "Leave a rule alone for ever"),
    Route::new(POST, "/api/rules/{id}/test", Op::RuleTest, member("rules:read"), 200, "Try a rule")
        .asks(&["sample"])
        .takes(test_schema),
    Route::new(
        GET,
        "/api/rules/{id}/versions",
        Op::RuleVersions,
        member("rules:read"),
        200,
        "List a rule's versions, newest first",
    )
    .asks(&["limit", "cursor"]),
    Route::new(GET, "/api/rules/{id}/versions/{n}", Op::RuleVersion, member("rules:read"), 200, "Show a version"),
    Route::new(
        POST,
        "/api/rules/{id}/versions/{n}/activate",
        Op::RuleActivate,
        admin("rules:write"),
        200,
        "Put a version in force",
    ),
    Route::new(POST, "/api/notification-configs", Op::ConfigCreate, ADMIN, 201, "Make a notification config")
        .takes(schema::<configs::ConfigBody>),
    Route::new(GET, "/api/notification-configs", Op::ConfigList, ADMIN, 200, "List notification configs")
        .asks(&["limit", "cursor"]),
    Route::new(GET, "/api/notification-configs/{id}", Op::ConfigShow, ADMIN, 200, "Show a notification config"),
    Route::new(PUT, "/api/notification-configs/{id}", Op::ConfigReplace, ADMIN, 200, "Replace a notification config")
        .takes(schema::<configs::ConfigBody>),
    Route::new(DELETE, "/api/notification-configs/{id}", Op::ConfigRemove, ADMIN, 204, "Remove it"),
    Route::new(POST, "/api/notification-configs/{id}/enable", Op::ConfigEnable, ADMIN, 200, "Send with it"),
    Route::new(POST, "/api/notification-configs/{id}/disable", Op::ConfigDisable, ADMIN, 200, "Send nothing with it"),
    Route::new(POST, "/api/notification-configs/{id}/test", Op::ConfigTest, ADMIN, 200, "Send one message with it")
        .takes(schema::<configs::TrialBody>),
    Route::new(GET, "/api/events", Op::EventList, member("events:read"), 200, "List events, newest first")
        .asks(&["type", "source", "status", "from", "to", "limit", "cursor"]),
    Route::new(GET, "/api/events/{id}", Op::EventShow, member("events:read"), 200, "Show what became of an event"),
    Route::new(POST, "/api/events/{id}/replay", Op::EventReplay, ADMIN, 202, "Weigh an event again")
        .takes(schema::<events::ReplayBody>),
    Route::new(GET, "/api/deliveries", Op::DeliveryList, member("deliveries:read"), 200, "List deliveries")
        .asks(&["eventId", "ruleId", "status", "limit", "cursor"]),
    Route::new(GET, "/api/deliveries/{id}", Op::DeliveryShow, member("deliveries:read"), 200, "Show its attempts"),
    Route::new(POST, "/api/deliveries/{id}/retry", Op::DeliveryRetry, ADMIN, 202, "Begin it again after it failed"),
    Route::new(GET, "/api/dlq", Op::LetterList, KEEPER, 200, "List dead letters, newest first")
        .asks(&["queue", "kind", "reason", "limit", "cursor"]),
    Route::new(POST, "/api/dlq/redrive", Op::LetterRedriveAll, KEEPER, 202, "Send several again")
        .takes(schema::<dead_letters::RedriveBody>),
    Route::new(GET, "/api/dlq/{id}", Op::LetterShow, KEEPER, 200, "Show a dead letter with its message"),
    Route::new(DELETE, "/api/dlq/{id}", Op::LetterRemove, KEEPER, 204, "Remove a dead letter"),
    Route::new(POST, "/api/dlq/{id}/redrive", Op::LetterRedrive, KEEPER, 202, "Send it again, which can be done once"),
    Route::new(GET, "/api/suppressions", Op::SuppressionList, MEMBER, 200, "List addresses not written to any more")
        .asks(&["limit", "cursor"]),
    Route::new(DELETE, "/api/suppressions/{id}", Op::SuppressionRemove, ADMIN, 204, "Write to an address again"),
    Route::new(GET, "/api/usage", Op::Usage, member("usage:read"), 200, "Show what was used, this month or by months")
        .asks(&["from", "to"]),
    Route::new(GET, "/api/usage/export", Op::UsageExport, member("usage:read"), 200, "Export a month, hour by hour")
        .asks(&["format", "period"]),
];

/// What is read by hand, so that it is kept or checked byte for byte.
fn event_schema() -> Schema {
    schemars::json_schema!({
        "type": "object",
        "required": ["type", "payload"],
        "properties": {
            "type": {"type": "string", "minLength": 1, "maxLength": 120},
            "payload": {"type": "object"},
            "source": {"type": ["string", "null"], "maxLength": 255},
            "occurredAt": {"type": ["string", "null"], "description": "RFC 3339, or a year, month or day"},
        },
    })
}

fn batch_schema() -> Schema {
    let event = event_schema();
    schemars::json_schema!({
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "minItems": 1, "maxItems": 100, "items": event}},
    })
}

fn rule_schema() -> Schema {
    schemars::json_schema!({
        "type": "object",
        "required": ["name", "eventType", "definition"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 150},
            "eventType": {"type": "string", "description": "payment.failed, payment.* or *"},
            "status": {"enum": ["active", "paused"]},
            "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
            "description": {"type": "string"},
            "definition": {"type": "object", "description": "when, threshold, cooldown, digest and actions"},
        },
    })
}

fn tried_schema() -> Schema {
    schemars::json_schema!({
        "type": "object",
        "required": ["type", "payload"],
        "properties": {
            "type": {"type": "string"}, "payload": {"type": "object"}, "source": {"type": "string"},
            "occurredAt": {"type": "string"}, "receivedAt": {"type": "string"},
        },
    })
}

fn state_schema() -> Schema {
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "priorEvents": {"type": "array", "items": {"type": "object", "properties": {
                "receivedAt": {"type": "string"}, "payload": {"type": "object"}}}},
            "lastFiredAt": {"type": "string"},
        },
    })
}

fn test_schema() -> Schema {
    let (event, state) = (tried_schema(), state_schema());
    schemars::json_schema!({
        "type": "object",
        "properties": {"event": event, "version": {"type": "integer"}, "state": state},
    })
}

fn inline_schema() -> Schema {
    let (rule, event, state) = (rule_schema(), tried_schema(), state_schema());
    schemars::json_schema!({
        "type": "object",
        "required": ["rule"],
        "properties": {"rule": rule, "event": event, "state": state},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn does(method: &str, path: &str) -> Option<Does> {
        ROUTES.iter().find(|route| route.matches(&method.parse().unwrap(), path).is_some()).map(|route| route.does)
    }

    #[test]
    fn words_go_before_names_in_braces() {
        assert_eq!(does(POST, "/api/rules/test"), Some(Does::Guarded(Op::RuleTestDocument)));
        assert_eq!(does(POST, "/api/rules/7/test"), Some(Does::Guarded(Op::RuleTest)));
        assert_eq!(does(GET, "/api/rules/"), None);
        assert_eq!(does(PUT, "/api/rules"), None);
    }

    #[test]
    fn every_route_is_reached_by_its_own_path() {
        for route in ROUTES {
            let path = route.path.replace("{id}", "x").replace("{n}", "1");
            assert_eq!(does(route.method, &path), Some(route.does), "{} {}", route.method, route.path);
        }
    }
}
