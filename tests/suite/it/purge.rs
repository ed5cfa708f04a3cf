//! What is left of a tenant that was deleted a month ago.

use super::signals_world::{World, rule, telegram};
use super::{env, owner};
use serde_json::json;
use switchyard_core::{Clock, Secret};
use switchyard_identity::Role;
use switchyard_identity::api_keys::{ApiKeys, NewKey};
use switchyard_identity::{NewUser, Password};
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::users::{self, UserDeps};
use switchyard_signals::{TenantStatus, process};

const DAY: u64 = 86_400;
const GONE: &str = "019b2a3c-7c00-7a11-8b22-0c0ffee00001";

#[tokio::test]
async fn a_month_after_its_deletion_nothing_of_a_tenant_is_left() {
    let world = World::with_bot().await;
    *world.now.lock().unwrap() = Clock::system().now();
    let tenant = &world.tenant.id;
    let key_env = vec![("SIGNALS_TABLE", world.table.clone()), ("API_KEY_SECRET", "ApiKeySecret".to_owned())];
    let keys = ApiKeys::from_env(&world.aws, &env(key_env), "SIGNALS_TABLE").unwrap();
    let new = NewKey { tenant: tenant.clone(), label: "p".into(), scopes: vec![], expires_at: None, is_live: true };
    keys.create(&new).await.unwrap();
    let hash = "$2b$04$abcdefghijklmnopqrstuuIIu6aMPRK8Jm3Ym8zn2mN3d4Qyq9bgK";
    assert!(keys.import_hashed(&new, "an_old_key_of_16", hash).await.unwrap());
    let user_env = vec![
        ("SIGNALS_TABLE", world.table.clone()),
        ("IDENTITY_TABLE", "IdentityTable".to_owned()),
        ("JWT_SECRET", "JwtSecret".to_owned()),
    ];
    let users = UserDeps::from_env(&world.aws, &env(user_env)).unwrap();
    let password = Secret::new("a long password".to_owned());
    let new = NewUser { email: "ann@acme.test".to_owned(), password: Password::Plain(password), role: Role::Owner };
    users::create(&users, &"cli".into(), tenant, &new).await.unwrap();
    let definition = json!({"when": true, "cooldown": {"for": "1h"}, "actions": telegram("hi")});
    world.rule(rule("t", definition)).await;
    // More than are removed at a time.
    for _ in 0..30 {
        world.event("t", json!({})).await;
    }
    world.work().await;
    let lost =
        json!({"v": 1, "id": "e", "kind": "signals.event", "tenant": tenant, "body": {"eventId": GONE, "type": "t"}});
    process(&world.rules, &lost.to_string(), &owner()).await.unwrap();

    let edit = TenantEdit { status: Some(TenantStatus::Deleted), ..TenantEdit::default() };
    tenants::change(&world.tenants, &"cli".into(), tenant, &edit).await.unwrap().unwrap();
    for days in [1, 28] {
        world.pass(days * DAY);
        // Its month does not begin anew.
        tenants::change(&world.tenants, &"cli".into(), tenant, &edit).await.unwrap().unwrap();
        world.run_sweep().await;
        assert!(tenants::tenant(&world.tenants, tenant).await.unwrap().is_some(), "it can still be looked at");
    }
    world.pass(3 * DAY);
    world.run_sweep().await;
    let mut left = world.rows().await;
    // These end by themselves: what a rule remembers, and the pace of a third party.
    left.retain(|(pk, _)| !pk.starts_with("S#") && !pk.starts_with("P#"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].0.starts_with(&format!("A#{tenant}#")), "the record of it: {left:?}");
    let slug =
        tenants::create(&world.tenants, &"cli".into(), "acme", "Acme", &TenantEdit::default(), None).await.unwrap();
    assert!(slug.is_some(), "its slug is free");
}
