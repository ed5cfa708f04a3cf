//! Notices of orders, signed as Shopify and Etsy sign them.

use super::client;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Clock;
use switchyard_core::signature::signatures;
use switchyard_tests::client::{Answer, Client, poll};

/// The sandbox's secret at Etsy.
const ETSY: &str = "whsec_c2FuZGJveC1ldHN5LXdlYmhvb2stc2VjcmV0LTMyYnk=";

/// A store of this test's own; returns its shop's id and its token.
async fn store(client: &Client, marketplace: &str) -> (String, String) {
    let number = switchyard_core::random::below_u32(u32::MAX);
    let shop = if marketplace == "shopify" { format!("s{number}.myshopify.com") } else { number.to_string() };
    let registration = json!({
        "organizationId": format!("org-{number}"), "marketplace": marketplace, "externalStoreId": shop,
        "storeName": "S", "accessToken": "t", "currency": "USD",
    });
    let answer = client.post("/stores/register", &registration).await.unwrap();
    (shop, answer.body["syncToken"].as_str().unwrap().to_owned())
}

/// `body` as Shopify sends it; `signature` is made with OpenSSL, for the sandbox's app secret.
async fn shopify(client: &Client, shop: &str, topic: &str, signature: &str, body: &str) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("x-shopify-hmac-sha256", signature),
        ("x-shopify-shop-domain", shop),
        ("x-shopify-topic", topic),
    ];
    client.send("POST", "/inbound/shopify", &headers, body.to_owned()).await.unwrap()
}

async fn etsy(client: &Client, secret: &str, body: &Value) -> Answer {
    let now = Clock::system().now().as_second();
    let text = body.to_string();
    let signature = signatures([secret], "msg_1", now, &text).unwrap();
    let at = now.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", at.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    client.send("POST", "/inbound/etsy", &headers, text).await.unwrap()
}

async fn receipts(client: &Client, token: &str) -> Vec<Value> {
    let page = client.get(&format!("/orders?syncToken={token}")).await.unwrap();
    page.body["orders"].as_array().unwrap().clone()
}

#[tokio::test]
async fn shopifys_notice_becomes_an_imported_order_once() {
    const BODY: &str = r#"{"id":820982911946154501}"#;
    const SIGNATURE: &str = "Hk8zALeJwVTXo4RB9MAfcm+RoVqtDxv7w0j/VfACIzc=";
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: a deployed stack has no secret of Shopify's");
        return;
    }
    let (shop, token) = store(&client, "shopify").await;
    let forged = shopify(&client, &shop, "orders/create", "AAAA", BODY).await;
    assert_eq!((forged.status, &forged.body["error"]), (401, &json!("unauthorized")));
    let other = shopify(&client, &shop, "orders/create", SIGNATURE, r#"{"id":1}"#).await;
    assert_eq!(other.status, 401, "the signature is another body's");
    assert!(receipts(&client, &token).await.is_empty());

    let ignored = shopify(&client, &shop, "products/update", SIGNATURE, BODY).await;
    assert_eq!((ignored.status, ignored.body), (202, json!({"stores": 0})));
    let stranger = shopify(&client, "nobody.myshopify.com", "orders/create", SIGNATURE, BODY).await;
    assert_eq!((stranger.status, stranger.body), (202, json!({"stores": 0})));
    for _ in 0..2 {
        let noted = shopify(&client, &shop, "orders/create", SIGNATURE, BODY).await;
        assert_eq!((noted.status, &noted.body), (202, &json!({"stores": 1})));
    }
    let known = receipts(&client, &token).await;
    assert_eq!((known.len(), &known[0]["receipt"]), (1, &json!("820982911946154501")));

    client.invoke("orders-sweep", &json!({})).await.unwrap();
    let imported = poll(Duration::from_secs(20), Duration::from_millis(100), async || {
        Ok(receipts(&client, &token).await[0]["status"] == "success")
    });
    imported.await.unwrap();
    let again = shopify(&client, &shop, "orders/paid", SIGNATURE, BODY).await;
    assert_eq!(again.body, json!({"stores": 1}));
    assert_eq!(receipts(&client, &token).await[0]["status"], "success", "an imported order stays as it is");
}

#[tokio::test]
async fn etsys_notice_is_read_and_its_address_never_called() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: a deployed stack has no secret of Etsy's");
        return;
    }
    let (shop, token) = store(&client, "etsy").await;
    let url = format!("https://openapi.etsy.com/v3/application/shops/{shop}/receipts/901");
    let number: u64 = shop.parse().unwrap();
    let body = json!({"event_type": "order.paid", "resource_url": url, "shop_id": number});
    let forged = etsy(&client, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &body).await;
    assert_eq!(forged.status, 401);
    let noted = etsy(&client, ETSY, &body).await;
    assert_eq!((noted.status, noted.body), (202, json!({"stores": 1})));
    assert_eq!(receipts(&client, &token).await[0]["receipt"], "901");
    for (change, field) in [
        (json!({"resource_url": "http://169.254.169.254/shops/1/receipts/1"}), "resource_url"),
        (json!({"resource_url": null}), "resource_url"),
        (json!({"shop_id": true}), "shop_id"),
        (json!({"event_type": 1}), "event_type"),
    ] {
        let mut wrong = body.clone();
        for (name, value) in change.as_object().unwrap() {
            wrong[name] = value.clone();
        }
        let answer = etsy(&client, ETSY, &wrong).await;
        assert_eq!((answer.status, &answer.body["details"][0]["path"]), (400, &json!([field])), "{}", answer.body);
    }
    let shipped = etsy(&client, ETSY, &json!({"event_type": "order.shipped"})).await;
    assert_eq!((shipped.status, shipped.body), (202, json!({"stores": 0})));
    assert_eq!(client.post("/inbound/amazon", &json!({})).await.unwrap().status, 404);
}
