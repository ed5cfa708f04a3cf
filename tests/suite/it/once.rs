//! The once-only guard against a real table.

use super::{aws, env};
use serde_json::json;
use switchyard_core::Owner;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, Create, Key, Update};
use switchyard_tests::client::unique;
use switchyard_work::once::{self, Claim};

/// One row and the guard's calls on it; leases last 1,000 ms.
struct Row {
    table: Table,
    key: Key,
}

impl Row {
    async fn new() -> Self {
        let (aws, client) = aws().await;
        let table = Table::from_env(&aws, &env(vec![("T", client.stack().adt_table.clone())]), "T").unwrap();
        let key = Key { pk: format!("ONCE#{}", unique()), sk: "row".into() };
        let created = table.create(&json!({"pk": key.pk, "sk": key.sk})).await.unwrap();
        assert!(matches!(created, Create::Created));
        Self { table, key }
    }

    async fn claim(&self, message_id: &str, attempt: u32, now: i64) -> Claim {
        let owner = Owner { message_id: message_id.into(), attempt };
        once::claim(&self.table, &self.key, &owner, now, now + 1000, Changes::new()).await.unwrap()
    }

    async fn complete(&self, message_id: &str, attempt: u32, now: i64) -> bool {
        let owner = Owner { message_id: message_id.into(), attempt };
        once::complete(&self.table, &self.key, &owner, now, Changes::new()).await.unwrap()
    }

    async fn release(&self, message_id: &str, attempt: u32) -> bool {
        let owner = Owner { message_id: message_id.into(), attempt };
        once::release(&self.table, &self.key, &owner, Changes::new()).await.unwrap()
    }
}

#[tokio::test]
async fn a_lease_keeps_others_out_until_it_ends() {
    let row = Row::new().await;
    assert!(matches!(row.claim("a", 1, 0).await, Claim::Mine(_)));
    assert!(matches!(row.claim("b", 1, 500).await, Claim::Busy { until_ms: 1000 }));
    assert!(matches!(row.claim("b", 1, 1001).await, Claim::Mine(_)));
    assert!(!row.complete("a", 1, 1002).await, "the first owner lost it");
    assert!(row.complete("b", 1, 1003).await);
    assert!(matches!(row.claim("c", 1, 9999).await, Claim::Done(_)));
}

#[tokio::test]
async fn a_later_delivery_of_the_same_message_takes_over_at_once() {
    let row = Row::new().await;
    assert!(matches!(row.claim("a", 1, 0).await, Claim::Mine(_)));
    assert!(matches!(row.claim("a", 2, 10).await, Claim::Mine(_)));
    assert!(!row.complete("a", 1, 11).await, "the earlier delivery changes nothing any more");
    assert!(!row.release("a", 1).await);
    assert!(row.complete("a", 2, 12).await);
}

#[tokio::test]
async fn a_repeated_call_whose_answer_was_lost_recognises_itself() {
    let row = Row::new().await;
    assert!(matches!(row.claim("a", 1, 0).await, Claim::Mine(_)));
    assert!(matches!(row.claim("a", 1, 1).await, Claim::Mine(_)));
    assert!(row.complete("a", 1, 5).await);
    assert!(row.complete("a", 1, 5).await);
}

#[tokio::test]
async fn released_work_can_be_claimed_again_and_missing_rows_say_so() {
    let row = Row::new().await;
    assert!(matches!(row.claim("a", 1, 0).await, Claim::Mine(_)));
    assert!(row.release("a", 1).await);
    assert!(matches!(row.claim("b", 1, 1).await, Claim::Mine(_)));
    let nowhere = Row { key: Key { pk: "ONCE#nowhere".into(), sk: "row".into() }, ..row };
    assert!(matches!(nowhere.claim("a", 1, 0).await, Claim::Missing));
}

#[tokio::test]
async fn of_twelve_claims_at_once_one_wins() {
    let row = std::sync::Arc::new(Row::new().await);
    let tries = (0..12).map(|number| {
        let row = row.clone();
        tokio::spawn(async move { matches!(row.claim(&number.to_string(), 1, 0).await, Claim::Mine(_)) })
    });
    let mut won = 0;
    for attempt in tries.collect::<Vec<_>>() {
        won += usize::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_refused_update_brings_the_row_that_stood_in_the_way() {
    let row = Row::new().await;
    let set = |value: &str| Changes::new().set("x", value);
    assert!(matches!(row.table.update(&row.key, set("1")).await.unwrap(), Update::Applied(_)));
    let refused = row.table.update(&row.key, set("2").only_if("attribute_not_exists(#x)", [])).await.unwrap();
    let Update::Refused(Some(old)) = refused else { panic!("{refused:?}") };
    assert_eq!(old["x"].as_s().unwrap(), "1");
}
