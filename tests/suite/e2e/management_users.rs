//! Who may do what over HTTP: logins, roles, passwords, operators.

use super::management_world::{PASSWORD, World, address, log_in, rule, token};
use serde_json::{Value, json};
use switchyard_signals::users::{self, Imported};

#[tokio::test]
async fn v41_members_look_and_admins_change() {
    let world = World::new().await;
    let (member_id, member) = world.user("member").await;
    let (_, admin) = world.user("admin").await;
    let refused = world.call("POST", "/api/rules", &member, &rule("hi")).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")));
    assert_eq!(world.call("POST", "/api/rules", &admin, &rule("hi")).await.status, 201);
    assert_eq!(world.call("GET", "/api/rules", &member, &Value::Null).await.body["items"][0]["name"], "r");
    let (owner_new, raised) =
        (json!({"email": "x@acme.test", "password": PASSWORD, "role": "owner"}), json!({"role": "owner"}));
    assert_eq!(world.call("POST", "/api/users", &admin, &owner_new).await.status, 403, "an admin makes no owners");
    let path = format!("/api/users/{member_id}");
    assert_eq!(world.call("PATCH", &path, &admin, &raised).await.status, 403);
    assert_eq!(world.own("PATCH", &path, &raised).await.status, 200);
    for (method, body) in [("PATCH", json!({"password": "another-horse-2"})), ("DELETE", Value::Null)] {
        let refused = world.call(method, &path, &admin, &body).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "owner by now");
    }
    assert_eq!(world.call("PATCH", "/api/tenant", &admin, &json!({"name": "x"})).await.status, 403);
    let renamed = world.own("PATCH", "/api/tenant", &json!({"name": "Other"})).await;
    assert_eq!((renamed.status, &renamed.body["name"]), (200, &json!("Other")));
    let limits = world.own("PATCH", "/api/tenant", &json!({"monthlyHardLimit": 1})).await;
    assert_eq!(limits.status, 400, "a tenant does not raise its own limits");
    assert!(limits.body["message"][0].as_str().unwrap().contains("monthlyHardLimit"), "{}", limits.body);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let world = World::new().await;
    let me = world.own("GET", "/api/auth/me", &Value::Null).await.body;
    let path = format!("/api/users/{}", me["id"].as_str().unwrap());
    for (method, body) in [("DELETE", Value::Null), ("PATCH", json!({"role": "member"}))] {
        let answer = world.own(method, &path, &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("last_owner")), "{}", answer.body);
    }
    let second = json!({"email": "second@acme.test", "password": PASSWORD, "role": "owner"});
    assert_eq!(world.own("POST", "/api/users", &second).await.status, 201);
    assert_eq!(world.own("POST", "/api/users", &second).await.status, 409, "the address is taken");
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", "/api/auth/me", &Value::Null).await.status, 401, "the token ended with its user");
}

#[tokio::test]
async fn a_new_password_ends_older_tokens_and_guessing_ends_soon() {
    let world = World::new().await;
    let wrong = json!({"current": "not it at all", "new": "another-horse-2"});
    assert_eq!(world.own("POST", "/api/auth/password", &wrong).await.status, 400);
    let right = json!({"current": PASSWORD, "new": "another-horse-2"});
    assert_eq!(world.own("POST", "/api/auth/password", &right).await.status, 204);
    let ended = world.own("GET", "/api/auth/me", &Value::Null).await;
    assert_eq!((ended.status, &ended.body["message"]), (401, &json!("Invalid token")));
    let (slug, owner) = (Some(world.slug.as_str()), address(&world.slug, "owner"));
    for _ in 0..10 {
        let refused = log_in(&world.client, slug, &owner, PASSWORD).await;
        assert_eq!((refused.status, &refused.body["message"]), (401, &json!("Invalid credentials")));
    }
    let throttled = log_in(&world.client, slug, &owner, "another-horse-2").await;
    assert_eq!((throttled.status, &throttled.body["code"]), (429, &json!("too_many_attempts")));
    assert!(throttled.headers.contains_key("retry-after"));
    let nobody = log_in(&world.client, slug, "nobody@acme.test", PASSWORD).await;
    assert_eq!((nobody.status, &nobody.body["message"]), (401, &json!("Invalid credentials")));
}

#[tokio::test]
async fn an_account_has_one_count_of_attempts_however_it_is_named() {
    let world = World::new().await;
    let email = format!("ann-{}@acme.test", world.slug);
    let new = json!({"email": email, "password": PASSWORD, "role": "member"});
    assert_eq!(world.own("POST", "/api/users", &new).await.status, 201);
    let names = [Some(world.slug.as_str()), None];
    let tries = async |name, password| log_in(&world.client, name, &email, password).await.status;
    assert_eq!((tries(names[0], PASSWORD).await, tries(names[1], PASSWORD).await), (200, 200));
    for attempt in 0..10 {
        assert_eq!(tries(names[attempt % 2], "not it at all").await, 401);
    }
    assert_eq!((tries(names[0], PASSWORD).await, tries(names[1], PASSWORD).await), (429, 429));
}

#[tokio::test]
async fn nobody_logs_in_to_a_tenant_that_is_deleted() {
    let (world, other) = (World::new().await, World::new().await);
    let email = format!("ann-{}@acme.test", world.slug);
    let new = json!({"email": email, "password": PASSWORD, "role": "member"});
    for tenant in [&world, &other] {
        assert_eq!(tenant.own("POST", "/api/users", &new).await.status, 201);
    }
    let slugs = [Some(world.slug.as_str()), Some(other.slug.as_str()), None];
    let statuses = async || {
        let mut statuses = Vec::new();
        for slug in slugs {
            let answer = log_in(&world.client, slug, &email, PASSWORD).await;
            let is_refused = answer.body["message"] == "Invalid credentials";
            assert_eq!(answer.status == 401, is_refused, "{}", answer.body);
            statuses.push(answer.status);
        }
        statuses
    };
    let delete = async |tenant: &World| {
        let path = format!("/api/tenants/{}", tenant.tenant["id"].as_str().unwrap());
        assert_eq!(tenant.call("DELETE", &path, &tenant.operator, &Value::Null).await.status, 202);
    };
    assert_eq!(statuses().await, [200, 200, 401], "without a tenant it is nobody's while two have it");
    delete(&world).await;
    assert_eq!(statuses().await, [401, 200, 200], "what is deleted does not stand in the way");
    delete(&other).await;
    assert_eq!(statuses().await, [401, 401, 401]);
}

#[tokio::test]
async fn nobody_takes_an_operators_address_or_a_secret_away() {
    let world = World::new().await;
    let me = world.call("GET", "/api/auth/me", &world.operator, &Value::Null).await.body;
    let email = me["email"].as_str().unwrap();
    let same = json!({"email": email, "password": "another-horse-2", "role": "member"});
    assert_eq!(world.own("POST", "/api/users", &same).await.status, 201);
    let again = log_in(&world.client, None, email, PASSWORD).await;
    assert_eq!(again.status, 200, "{}", again.body);

    let mail = |url: &str, token: &str| {
        let config = json!({"transport": "http", "from": "a@acme.test", "http": {"url": url, "token": token}});
        json!({"name": "m", "channel": "email", "config": config})
    };
    let made = world.own("POST", "/api/notification-configs", &mail("https://example.com/a", "secret-token-1")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api/notification-configs/{}", made.body["id"].as_str().unwrap());
    let shown = made.body["config"]["http"]["token"].as_str().unwrap();
    assert_eq!(world.own("PUT", &path, &mail("https://example.com/a", shown)).await.status, 200);
    let elsewhere = world.own("PUT", &path, &mail("https://example.org/a", shown)).await;
    assert_eq!(
        (elsewhere.status, &elsewhere.body["details"][0]["pointer"]),
        (400, &json!("/http/token")),
        "{}",
        elsewhere.body
    );
    let billed = json!({"metadata": {"stripeCustomerId": "cus_another"}});
    assert_eq!(world.own("PATCH", "/api/tenant", &billed).await.status, 400);
}

#[tokio::test]
async fn users_from_elsewhere_keep_their_passwords() {
    let world = World::new().await;
    let tenant = world.tenant["id"].as_str().unwrap();
    let hash = bcrypt::hash(PASSWORD, 4).unwrap().replacen("$2b$", "$2y$", 1);
    let row = |email: &str, role: &str| json!({"email": email, "passwordHash": hash, "role": role});
    let wrong =
        [row("ann@acme.test", "admin"), row(&address(&world.slug, "Owner"), "member"), row("ANN@acme.test", "member")];
    let refused = users::import(&world.users, &"cli".into(), &tenant.into(), &wrong).await.unwrap();
    let Imported::Invalid(rows) = refused else { panic!("{refused:?}") };
    assert_eq!(rows.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log_in(&world.client, Some(&world.slug), "ann@acme.test", PASSWORD).await.status, 401);
    let rows = [row("ann@acme.test", "admin"), row("bob@acme.test", "member")];
    let made = users::import(&world.users, &"cli".into(), &tenant.into(), &rows).await.unwrap();
    assert!(matches!(made, Imported::Done(2)), "{made:?}");
    assert_eq!(log_in(&world.client, Some(&world.slug), "ann@acme.test", "another-horse").await.status, 401);
    // The second time the hash is ours.
    for _ in 0..2 {
        let token = token(&log_in(&world.client, Some(&world.slug), "ann@acme.test", PASSWORD).await);
        assert_eq!(world.call("GET", "/api/auth/me", &token, &Value::Null).await.body["role"], "admin");
    }
    let settings = world.client.settings_of("events-api").await.unwrap();
    let query = json!({
        "TableName": settings["SIGNALS_TABLE"],
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
        "ExpressionAttributeValues": {":pk": {"S": format!("T#{tenant}")}, ":sk": {"S": "USER#"}},
    });
    let kept = world.client.aws("DynamoDB_20120810.Query", &query).await.unwrap();
    for (email, form) in [("ann@acme.test", "$argon2id$"), ("bob@acme.test", "$2y$")] {
        let rows = kept["Items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["email"]["S"] == email).unwrap();
        assert!(row["password_hash"]["S"].as_str().unwrap().starts_with(form), "{row}");
    }
}
