//! What tenants and operators manage, over HTTP.

use super::management_world::{PASSWORD, SOON, World, log_in, rule, telegram};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_tests::client::{Answer, poll};

#[tokio::test]
async fn v22_v23_a_rule_that_is_wrong_is_refused_where_it_is() {
    let world = World::new().await;
    let legacy = json!({"name": "r", "eventType": "t", "definition": {"conditions": {"greaterThan": {"amount": 1000}},
        "actions": [{"type": "notify", "channel": "email"}]}});
    let answer = world.own("POST", "/api/rules", &legacy).await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("rule_invalid")), "{}", answer.body);
    let detail = &answer.body["details"][0];
    assert_eq!(
        (&detail["pointer"], &detail["code"]),
        (&json!("/definition/conditions/greaterThan"), &json!("unknown_condition"))
    );
    let mut wrong = rule("hi");
    wrong["definition"]["when"] = json!({"path": "payload.a", "op": "greater", "value": 1});
    let answer = world.own("POST", "/api/rules/validate", &wrong).await;
    let detail = &answer.body["details"][0];
    assert_eq!((answer.status, &detail["code"]), (400, &json!("unknown_operator")), "{}", answer.body);
    assert!(["gt", "gte"].contains(&detail["hint"].as_str().unwrap()));
}

#[tokio::test]
async fn v37_an_address_inside_is_refused_when_a_config_is_written() {
    let world = World::new().await;
    let secret = format!("whsec_{}", "A".repeat(44));
    let config = |url: &str| json!({"name": "w", "channel": "webhook", "config": {"url": url, "secret": secret}});
    let answer = world.own("POST", "/api/notification-configs", &config("https://169.254.169.254/")).await;
    assert_eq!((answer.status, &answer.body["details"][0]["pointer"]), (400, &json!("/url")), "{}", answer.body);
    assert_eq!(world.own("POST", "/api/notification-configs", &config("https://example.com/hook")).await.status, 201);
}

#[tokio::test]
async fn v38_the_version_in_force_is_the_one_that_fires() {
    let world = World::new().await;
    assert_eq!(world.own("POST", "/api/notification-configs", &telegram()).await.status, 201);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let made = world.rule().await;
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/api/rules/{id}");
    let bearer = format!("Bearer {}", world.owner);
    let put = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str()), ("if-match", tag)];
        world.client.send("PUT", &path, &headers, rule("two").to_string()).await.unwrap()
    };
    let second = put("\"1\"").await;
    assert_eq!((second.status, &second.body["version"]), (200, &json!(2)), "{}", second.body);
    assert_eq!(second.headers["etag"], "\"2\"");
    assert_eq!(put("\"1\"").await.status, 412);
    // Rulesets are kept for five seconds by anyone who evaluated one; this tenant's was not evaluated yet.
    let event = world.event(&key).await.body;
    let path = format!("/api/events/{}", event["id"].as_str().unwrap());
    let shown = poll(Duration::from_secs(20), Duration::from_millis(100), async || {
        let shown = world.own("GET", &path, &Value::Null).await.body;
        // Whether it arrives is the third party's; a deployed stack asks Telegram itself.
        Ok(shown["deliveries"][0]["ruleVersion"].is_number())
    });
    shown.await.unwrap();
    let shown = world.own("GET", &path, &Value::Null).await.body;
    assert_eq!((&shown["deliveries"][0]["ruleVersion"], &shown["payload"]), (&json!(2), &json!({"name": "Ann"})));
    let activated = world.own("POST", &format!("/api/rules/{id}/versions/1/activate"), &Value::Null).await;
    assert_eq!((activated.status, &activated.body["version"]), (200, &json!(1)));
    let versions = async |query: &str| {
        let page = world.own("GET", &format!("/api/rules/{id}/versions{query}"), &Value::Null).await.body;
        let numbers = page["items"].as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap());
        (numbers.collect::<Vec<_>>(), page["nextCursor"].clone())
    };
    assert_eq!(versions("").await, (vec![2, 1], Value::Null));
    assert_eq!(versions("?limit=1").await, (vec![2], json!("2")));
    assert_eq!(versions("?limit=1&cursor=2").await, (vec![1], Value::Null));
    assert_eq!(versions("?cursor=1").await, (vec![], Value::Null));
}

#[tokio::test]
async fn a_rules_tag_tells_of_pauses_too_and_a_put_leaves_it_paused() {
    let world = World::new().await;
    let made = world.rule().await;
    let path = format!("/api/rules/{}", made.body["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", world.owner);
    let put = async |tag: &Answer| {
        let tag = tag.headers["etag"].to_str().unwrap();
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str()), ("if-match", tag)];
        world.client.send("PUT", &path, &headers, rule("two").to_string()).await.unwrap()
    };
    let paused = world.own("POST", &format!("{path}/pause"), &Value::Null).await;
    assert_eq!((paused.status, &paused.body["status"]), (200, &json!("paused")), "{}", paused.body);
    assert_eq!(put(&made).await.status, 412, "it was paused meanwhile");
    let replaced = put(&paused).await;
    assert_eq!((replaced.status, &replaced.body["status"]), (200, &json!("paused")), "{}", replaced.body);
    let shown = world.own("GET", &path, &Value::Null).await;
    assert_eq!(shown.headers["etag"], replaced.headers["etag"]);
    let tried = json!({"event": {"type": "user.signup", "payload": {}}});
    assert_eq!(world.own("POST", &format!("{path}/test"), &tried).await.body["stoppedBy"], "paused");
    let known = shown.headers["etag"].to_str().unwrap().to_owned();
    let resumed = world.own("POST", &format!("{path}/resume"), &Value::Null).await;
    for (method, path) in
        [("POST", format!("{path}/pause")), ("POST", format!("{path}/versions/1/activate")), ("DELETE", path.clone())]
    {
        let headers = [("authorization", bearer.as_str()), ("if-match", known.as_str())];
        let late = world.client.send(method, &path, &headers, String::new()).await.unwrap();
        assert_eq!((late.status, &late.body["code"]), (412, &json!("stale")), "{method} {path}");
    }
    assert_eq!((put(&shown).await.status, put(&resumed).await.body["status"].clone()), (412, json!("active")));
}

#[tokio::test]
async fn v39_both_keys_are_good_until_the_grace_is_over() {
    let world = World::new().await;
    let (id, old) = world.key(&json!({"label": "p", "environment": "test"})).await;
    assert!(old.starts_with("so_test_"));
    let rotated = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 3600})).await;
    assert_eq!(rotated.status, 201, "{}", rotated.body);
    assert!(rotated.body["previousExpiresAt"].is_string());
    let new = rotated.body["key"].as_str().unwrap();
    assert_eq!((world.event(&old).await.status, world.event(new).await.status), (201, 201));
    let id = rotated.body["id"].as_str().unwrap();
    let again = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 0})).await;
    let newest = again.body["key"].as_str().unwrap();
    assert_eq!(world.event(newest).await.status, 201);
    let listed = world.own("GET", "/api/api-keys", &Value::Null).await.body.to_string();
    assert!(!listed.contains(new) && !listed.contains("digest"), "a key shows once");
    // The first key's end was the grace's; the second's own is none, however often it is replaced.
    assert_eq!((&rotated.body["expiresAt"], &again.body["expiresAt"]), (&Value::Null, &Value::Null));
    let ended = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({})).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("key_not_active")), "{}", ended.body);
    assert_eq!(ended.body["message"], "The API key has expired");
    let over = json!({"label": "p", "expiresAt": "2026-01-01T00:00:00Z"});
    let over = world.own("POST", "/api/api-keys", &over).await;
    assert_eq!((over.status, &over.body["message"]), (400, &json!(["expiresAt must lie in the future"])));
    let wrong = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 604_801})).await;
    assert_eq!((wrong.status, &wrong.body["message"]), (400, &json!(["graceSeconds must be 0 to 604800"])));
}

#[tokio::test]
async fn a_keys_end_is_moved_and_lifted_until_the_key_is_revoked() {
    let world = World::new().await;
    let end = json!("2999-01-01T00:00:00.000Z");
    let (id, _) = world.key(&json!({"label": "p", "expiresAt": end})).await;
    let path = format!("/api/api-keys/{id}");
    let patch = async |body: Value| world.own("PATCH", &path, &body).await;
    for (body, wanted) in [(json!({"label": "q"}), &end), (json!({"expiresAt": null}), &Value::Null)] {
        let changed = patch(body).await;
        assert_eq!((changed.status, &changed.body["expiresAt"]), (200, wanted), "{}", changed.body);
        assert_eq!(&world.own("GET", &path, &Value::Null).await.body["expiresAt"], wanted);
    }
    let revoke = format!("{path}/revoke");
    for _ in 0..2 {
        let revoked = world.own("POST", &revoke, &Value::Null).await;
        assert_eq!((revoked.status, &revoked.body["status"]), (200, &json!("revoked")), "as often as one likes");
    }
    let rotated = world.own("POST", &format!("{path}/rotate"), &json!({})).await;
    for refused in [patch(json!({"label": "r"})).await, rotated] {
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("key_not_active")), "{}", refused.body);
        assert_eq!(refused.body["message"], "The API key was revoked");
    }
}

#[tokio::test]
async fn v40_a_dead_letter_is_sent_again_once() {
    let world = World::new().await;
    world.bury("019b2a3c-7c00-7a11-8b22-0c0ffee00001").await;
    let letter = world.first("/api/dlq").await;
    assert_eq!((&letter["errorCode"], &letter["receiveCount"]), (&json!("unknown_event"), &json!(1)), "{letter}");
    let path = format!("/api/dlq/{}", letter["id"].as_str().unwrap());
    let full = world.own("GET", &path, &Value::Null).await;
    assert_eq!(full.body["body"]["tenant"], world.tenant["id"], "{}", full.body);
    let redrive = format!("{path}/redrive");
    let sent = world.own("POST", &redrive, &Value::Null).await;
    assert_eq!((sent.status, &sent.body["status"]), (202, &json!("enqueued")), "{}", sent.body);
    let again = world.own("POST", &redrive, &Value::Null).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("not_retryable")), "{}", again.body);
    // It is as bad as before, and comes back as another.
    let is_back = async || {
        let letters = world.own("GET", "/api/dlq?reason=unknown_event", &Value::Null).await.body;
        Ok(letters["items"].as_array().is_some_and(|letters| letters.len() == 2))
    };
    poll(SOON, Duration::from_millis(100), is_back).await.unwrap();
    assert_eq!(world.call("GET", &path, &world.operator, &Value::Null).await.status, 200, "an operator sees all");
    let several = world.call("POST", "/api/dlq/redrive", &world.owner, &json!({"queue": "rules", "max": 5})).await;
    assert_eq!((several.status, &several.body), (202, &json!({"matched": 1, "nextCursor": null})));
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", &path, &Value::Null).await.status, 404);
    for (body, message) in [
        (json!({"queue": "adt"}), "queue must be one of rules, notify"),
        (json!({"queue": "rules", "max": 501}), "max must be 1 to 500"),
        (json!({"queue": "rules", "olderThan": "yesterday"}), "olderThan must be an RFC 3339 time"),
    ] {
        let refused = world.own("POST", "/api/dlq/redrive", &body).await;
        assert_eq!((refused.status, &refused.body["message"]), (400, &json!([message])));
    }
}

#[tokio::test]
async fn a_delivery_shows_its_attempts_and_lists_by_state() {
    let world = World::new().await;
    let (_, key) = world.key(&json!({"label": "p"})).await;
    // Nobody set a bot up.
    world.rule().await;
    let event = world.event(&key).await.body;
    let failed = world.first("/api/deliveries?status=failed").await;
    assert_eq!((&failed["eventId"], &failed["lastError"]), (&event["id"], &json!("no_active_config")), "{failed}");
    let path = format!("/api/deliveries/{}", failed["id"].as_str().unwrap());
    let full = world.own("GET", &path, &Value::Null).await.body;
    assert_eq!((&full["status"], &full["history"]), (&json!("failed"), &json!([])), "{full}");
    let retried = world.own("POST", &format!("{path}/retry"), &Value::Null).await;
    assert_eq!((retried.status, &retried.body["code"]), (409, &json!("not_retryable")), "{}", retried.body);
    let sent = world.own("GET", "/api/deliveries?status=sent", &Value::Null).await.body;
    assert_eq!(sent, json!({"items": [], "nextCursor": null}));
    let wrong = world.own("GET", "/api/deliveries?status=lost", &Value::Null).await;
    assert!(wrong.body["message"][0].as_str().unwrap().starts_with("status must be one of pending"), "{}", wrong.body);
}

#[tokio::test]
async fn a_scope_is_given_once_and_is_one_of_ours() {
    let world = World::new().await;
    let (id, _) = world.key(&json!({"label": "p", "scopes": ["events:read", "events:write"]})).await;
    let (path, twice) = (format!("/api/api-keys/{id}"), ["events:read", "usage:read", "events:read"]);
    let made = world.own("POST", "/api/api-keys", &json!({"label": "p", "scopes": twice})).await;
    for refused in [made, world.own("PATCH", &path, &json!({"scopes": twice})).await] {
        let wanted = json!(["scopes: `events:read` must not be repeated"]);
        assert_eq!((refused.status, &refused.body["message"]), (400, &wanted), "{}", refused.body);
    }
    let unknown = world.own("PATCH", &path, &json!({"scopes": ["events:all"]})).await;
    assert_eq!(unknown.status, 400, "{}", unknown.body);
    assert!(
        unknown.body["message"][0]
            .as_str()
            .unwrap()
            .starts_with("scopes: unknown scope `events:all`; allowed: events:write")
    );
}

#[tokio::test]
async fn a_dry_run_shows_what_a_rule_would_do() {
    let world = World::new().await;
    let document = json!({"name": "Big card failure", "eventType": "payment.*", "definition": {"schema": 2,
        "when": {"all": [{"path": "payload.method", "op": "eq", "value": "card", "ci": true},
                         {"path": "payload.amount", "op": "gte", "value": 750}]},
        "cooldown": {"for": "15m", "by": ["payload.customerId"]},
        "actions": [{"type": "notify", "channel": "slack", "text": "{{payload.customerId}} failed {{payload.amount}} (+{{suppressed}} quiet)"}]}});
    let made = world.own("POST", "/api/rules", &document).await;
    let path = format!("/api/rules/{}/test", made.body["id"].as_str().unwrap());
    let event = json!({"type": "payment.failed", "payload": {"method": "Card", "amount": 900, "customerId": "c7"}});
    let ran = world.own("POST", &path, &json!({"event": event})).await;
    assert_eq!((ran.status, &ran.body["wouldFire"]), (200, &json!(true)), "{}", ran.body);
    assert_eq!(ran.body["renders"][0]["text"], "c7 failed 900 (+0 quiet)");
    assert_eq!(ran.body["trace"][1]["pointer"], "/definition/when/all/1");
    let inline = world
        .own(
            "POST",
            "/api/rules/test",
            &json!({"rule": document, "event": event, "state": {"lastFiredAt": "yesterday"}}),
        )
        .await;
    assert_eq!(inline.body["message"], json!(["state.lastFiredAt must be an RFC 3339 time"]));
    let strange = world.own("POST", &path, &json!({"event": event, "verbose": true})).await;
    assert!(strange.body["message"][0].as_str().unwrap().contains("verbose"), "{}", strange.body);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    assert_eq!(world.event(&key).await.status, 201);
    let sampled = world.own("POST", "/api/rules/test?sample=10", &json!({"rule": rule("hi")})).await;
    assert_eq!((&sampled.body["sampled"], &sampled.body["matched"]), (&json!(1), &json!(1)), "{}", sampled.body);
}

#[tokio::test]
async fn mail_over_ses_is_sent_as_an_operator_allows() {
    let world = World::new().await;
    let mail = |from: &str| {
        let config = json!({"transport": "ses", "from": from, "ses": {"region": "us-east-1"}});
        json!({"name": "m", "channel": "email", "config": config})
    };
    let path = format!("/api/tenants/{}", world.tenant["id"].as_str().unwrap());
    let allowed = json!({"metadata": {"sesIdentities": ["acme.test"]}});
    let refused = world.own("POST", "/api/notification-configs", &mail("Acme <a@acme.test>")).await;
    assert_eq!((refused.status, &refused.body["details"][0]["pointer"]), (400, &json!("/from")), "{}", refused.body);
    assert_eq!(world.own("PATCH", "/api/tenant", &allowed).await.status, 400);
    let strange = json!({"metadata": {"sesIdentities": "acme.test"}});
    assert_eq!(world.call("PATCH", &path, &world.operator, &strange).await.status, 400);
    assert_eq!(world.call("PATCH", &path, &world.operator, &allowed).await.status, 200);
    let made = world.own("POST", "/api/notification-configs", &mail("Acme <a@acme.test>")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api/notification-configs/{}", made.body["id"].as_str().unwrap());
    assert_eq!(world.own("PUT", &path, &mail("a@globex.test")).await.status, 400);
    // What an owner leaves out of the metadata stays.
    assert_eq!(world.own("PATCH", "/api/tenant", &json!({"metadata": {"note": "x"}})).await.status, 200);
    assert_eq!(world.own("PUT", &path, &mail("b@acme.test")).await.status, 200);
}

#[tokio::test]
async fn what_an_owner_hides_is_seen_by_rules_alone() {
    let world = World::new().await;
    for wrong in ["email", "payload", "type", "payload.a[*][*]"] {
        let answer = world.own("PATCH", "/api/tenant", &json!({"redact": ["payload.a", wrong]})).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
        let message = answer.body["message"][0].as_str().unwrap();
        assert!(message.starts_with("redact must") && message.contains(wrong), "{message}");
    }
    let (_, admin) = world.user("admin").await;
    let hidden = json!({"redact": ["payload.name"]});
    assert_eq!(world.call("PATCH", "/api/tenant", &admin, &hidden).await.status, 403);
    let set = world.own("PATCH", "/api/tenant", &hidden).await;
    assert_eq!((set.status, &set.body["redact"]), (200, &hidden["redact"]), "{}", set.body);
    let mut by_name = rule("hi");
    by_name["definition"]["when"] = json!({"path": "payload.name", "op": "eq", "value": "Canaryperson"});
    assert_eq!(world.own("POST", "/api/rules", &by_name).await.status, 201);

    let (_, key) = world.key(&json!({"label": "p", "scopes": ["events:write", "events:read"]})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let event = json!({"type": "user.signup", "payload": {"name": "Canaryperson", "n": 1}}).to_string();
    let taken = world.client.send("POST", "/api/events", &headers, event).await.unwrap();
    let path = format!("/api/events/{}", taken.body["id"].as_str().unwrap());
    let read = async || world.client.send("GET", &path, &headers[1..], String::new()).await.unwrap().body;
    let processed =
        poll(Duration::from_secs(20), Duration::from_millis(100), async || Ok(read().await["status"] == "processed"));
    processed.await.unwrap();
    let read = read().await;
    assert_eq!(read["payload"], json!({"name": "***", "n": 1}), "{read}");
    let outcome = read["outcomes"].as_object().unwrap().values().next().unwrap();
    assert_eq!(outcome["outcome"], "fired", "{read}");
    let listed = world.own("GET", "/api/events", &Value::Null).await.body;
    assert_eq!(listed["items"][0]["payload"], read["payload"]);
    let sampled = world.own("POST", "/api/rules/test?sample=10", &json!({"rule": by_name})).await.body;
    assert_eq!((&sampled["sampled"], &sampled["matched"]), (&json!(1), &json!(0)), "nobody finds out by asking");
    let twice = r#"{"type":"user.signup","payload":{"name":"Canaryperson","name":"b"}}"#.to_owned();
    let taken = world.client.send("POST", "/api/events", &headers, twice).await.unwrap();
    let path = format!("/api/events/{}", taken.body["id"].as_str().unwrap());
    let shown = world.own("GET", &path, &Value::Null).await;
    assert!(!shown.body.to_string().contains("Canaryperson"), "{}", shown.body);
    if let Some(logs) = &world.client.stack().logs {
        assert!(logs.kept().iter().all(|(_, line)| !line.contains("Canaryperson")));
    }
}

#[tokio::test]
async fn a_rate_is_set_by_operators_and_refuses_what_comes_too_fast() {
    let world = World::new().await;
    let path = format!("/api/tenants/{}", world.tenant["id"].as_str().unwrap());
    assert_eq!(world.own("PATCH", "/api/tenant", &json!({"ratePerSecond": 1})).await.status, 400);
    let wrong = world.call("PATCH", &path, &world.operator, &json!({"ratePerSecond": 0})).await;
    assert_eq!(wrong.body["message"], json!(["ratePerSecond must be 1 to 1000, or null"]));
    let set = world.call("PATCH", &path, &world.operator, &json!({"ratePerSecond": 1})).await;
    assert_eq!((set.status, &set.body["ratePerSecond"]), (200, &json!(1)), "{}", set.body);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let event = json!({"type": "t", "payload": {}});
    let batch = json!({"events": vec![event; 20]}).to_string();
    let items = world.client.send("POST", "/api/events/batch", &headers, batch).await.unwrap().body;
    let items = items["items"].as_array().unwrap();
    let refused = items.iter().find(|item| item["status"] == 429).unwrap();
    assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    assert!(items.iter().any(|item| item["status"] == 201));
    let mut answers = Vec::new();
    while answers.len() < 20 {
        answers.push(world.event(&key).await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["code"], "rate_limited");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_breaks_nothing() {
    let world = World::new().await;
    let long = "a".repeat(3_000);
    for (path, status) in [
        ("/api/events?from=9999-12-30T00:00:00Z", 400),
        ("/api/events?to=-009999-01-02T02:00:00Z", 400),
        ("/api/events?cursor=!", 400),
        ("/api/events?cursor=", 400),
        ("/api/dlq?cursor=-", 400),
        ("/api/dlq?kind=x", 400),
        ("/api/deliveries?cursor=-", 400),
        ("/api/deliveries?cursor=", 400),
        ("/api/users?limit=abc", 400),
        ("/api/rules/x/versions?cursor=y", 400),
        ("/api/api-keys?bogus=1", 400),
        (&*format!("/api/rules/{long}"), 404),
        (&*format!("/api/deliveries?eventId={long}"), 404),
    ] {
        let answer = world.own("GET", path, &Value::Null).await;
        assert_eq!(answer.status, status, "{} {}", &path[..path.len().min(60)], answer.body);
    }
    assert_eq!(log_in(&world.client, Some(&long), "a@acme.test", PASSWORD).await.status, 401);
    let padded = rule("hi").to_string() + &" ".repeat(40_000);
    let headers = [("content-type", "application/json"), ("authorization", &*format!("Bearer {}", world.owner))];
    let answer = world.client.send("POST", "/api/rules", &headers, padded).await.unwrap();
    assert_eq!((answer.status, &answer.body["details"][0]["code"]), (400, &json!("too_large")), "{}", answer.body);
    let made = world.rule().await.body;
    let path = format!("/api/rules/{}", made["id"].as_str().unwrap());
    let strange = world.own("POST", &format!("{path}/pause"), &json!({"for": "ever"})).await;
    assert!(strange.status == 400 && strange.body["message"][0].as_str().unwrap().contains("for"), "{}", strange.body);
    assert_eq!(world.own("GET", &format!("{path}?for=ever"), &Value::Null).await.status, 400);
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", &path, &Value::Null).await.status, 404);
    assert_eq!(world.own("POST", &format!("{path}/resume"), &Value::Null).await.status, 404, "archived for ever");
}

#[tokio::test]
async fn events_are_listed_page_by_page_however_large_they_are() {
    let world = World::new().await;
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let mut posted = Vec::new();
    for number in 0..60 {
        let body = json!({"type": "large.event", "payload": {"number": number, "text": "x".repeat(100_000)}});
        let answer = world.client.send("POST", "/api/events", &headers, body.to_string()).await.unwrap();
        posted.push(answer.body["id"].as_str().unwrap().to_owned());
    }
    posted.reverse();
    for limit in [50, 200] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/events?type=large.*&limit={limit}{cursor}");
            let page = world.own("GET", &path, &Value::Null).await;
            assert_eq!(page.status, 200, "{}", page.body);
            let items = page.body["items"].as_array().unwrap();
            listed.extend(items.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(listed, posted, "limit {limit}");
    }
    let none = world
        .own("GET", "/api/events?type=other&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", &Value::Null)
        .await;
    assert_eq!(none.status, 400, "{}", none.body);
}

#[tokio::test]
async fn a_creation_that_is_repeated_takes_effect_once() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.owner);
    let headers =
        [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let send =
        async |body: &Value| world.client.send("POST", "/api/api-keys", &headers, body.to_string()).await.unwrap();
    let (first, again) = (send(&json!({"label": "p"})).await, send(&json!({"label": "p"})).await);
    assert_eq!((first.status, &first.body["key"]), (201, &again.body["key"]));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(send(&json!({"label": "q"})).await.status, 422);
    let listed = world.own("GET", "/api/api-keys", &Value::Null).await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let headers =
        [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", "two")];
    let make = async || world.client.send("POST", "/api/rules", &headers, rule("hi").to_string()).await.unwrap();
    let (first, again) = (make().await, make().await);
    assert_eq!((first.status, &first.body["id"]), (201, &again.body["id"]));
    assert_eq!(first.headers["etag"], again.headers["etag"]);
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn a_suspended_tenant_may_look_and_no_more() {
    let world = World::new().await;
    let id = world.tenant["id"].as_str().unwrap();
    let suspend = format!("/api/tenants/{id}/suspend");
    assert_eq!(world.call("POST", &suspend, &world.operator, &Value::Null).await.body["status"], "suspended");
    let refused = world.own("POST", "/api/rules", &rule("hi")).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("tenant_suspended")));
    assert_eq!(world.own("GET", "/api/rules", &Value::Null).await.status, 200);
    assert_eq!(world.call("DELETE", &format!("/api/tenants/{id}"), &world.operator, &Value::Null).await.status, 202);
    assert_eq!(world.own("GET", "/api/rules", &Value::Null).await.status, 401, "nobody logs in to what is deleted");
    let activated = world.call("POST", &format!("/api/tenants/{id}/activate"), &world.operator, &Value::Null).await;
    assert_eq!((activated.status, &activated.body["code"]), (409, &json!("tenant_deleted")), "{}", activated.body);
}
