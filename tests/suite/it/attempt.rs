//! Rows that are attempted until they are settled, against a real table.

use super::{aws, env};
use serde::Deserialize;
use serde_json::json;
use switchyard_core::Owner;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, Create, IntoAttribute as _, Key, Update, number};
use switchyard_tests::client::unique;
use switchyard_work::attempt::{Claim, Claimant, Retry, claim, settle};
use switchyard_work::lease::{Lease, ROW};
use switchyard_work::outbox;

#[derive(Deserialize)]
struct Row {
    is_open: bool,
    #[serde(flatten)]
    lease: Lease,
}

struct World {
    table: Table,
    key: Key,
}

impl World {
    async fn new() -> Self {
        let (aws, client) = aws().await;
        let table = Table::from_env(&aws, &env(vec![("T", client.stack().adt_table.clone())]), "T").unwrap();
        let key = Key { pk: format!("ATTEMPT#{}", unique()), sk: "row".into() };
        let row = json!({"pk": key.pk, "sk": key.sk, "is_open": true, "attempts": 0});
        assert!(matches!(table.create(&row).await.unwrap(), Create::Created));
        Self { table, key }
    }

    /// Claims for 1,000 ms.
    async fn claim(&self, message_id: &str, attempts: u32, now_ms: i64) -> Claim<Row> {
        let owner = Owner { message_id: message_id.into(), attempt: 1 };
        let by = Claimant { owner: &owner, attempts, now_ms, until_ms: now_ms + 1_000 };
        let open = Changes::new().only_if("#is_open = ?", [true.into_attribute()]);
        claim(&self.table, &self.key, by, open, |row: &Row| row.is_open).await.unwrap()
    }

    async fn change(&self, changes: Changes) -> switchyard_io::dynamo::Item {
        match self.table.update(&self.key, changes).await.unwrap() {
            Update::Applied(row) => row,
            refused => panic!("{refused:?}"),
        }
    }
}

#[tokio::test]
async fn a_row_is_claimed_rescheduled_and_settled() {
    let world = World::new().await;
    let Claim::Mine(row) = world.claim("a", 0, 0).await else { panic!("it is open") };
    assert!(matches!(world.claim("b", 0, 500).await, Claim::Busy { until_ms: 1_000 }));

    let retry = Retry::at(60_000, 0).with_slot();
    let again = retry.reschedule(row.lease.release(Changes::new().set("attempts", 1_i64)), "adt#3".into());
    let item = world.change(again).await;
    let grace_ms = i64::try_from(outbox::GRACE.as_millis()).unwrap();
    assert_eq!(number(&item, "next_attempt_at"), Some(60_000));
    assert_eq!(number(&item, "slot_at"), Some(60_000));
    assert_eq!(number(&item, "due_at"), Some(60_000 + grace_ms), "a message brings it before the sweep does");
    assert_eq!(ROW.until_ms(&item), None);

    assert!(matches!(world.claim("a", 0, 60_000).await, Claim::Settled(_)), "a message of an earlier state");
    let Claim::Mine(row) = world.claim("c", 1, 60_000).await else { panic!("it is open again") };
    let ended = row.lease.release(settle(Changes::new())).set("is_open", false.into_attribute());
    let item = world.change(ended).await;
    for gone in ["next_attempt_at", "slot_at", "due_shard", "due_at", "due_count"] {
        assert!(!item.contains_key(gone), "{gone}");
    }
    assert!(matches!(world.claim("c", 1, 60_001).await, Claim::Settled(row) if !row.is_open));
}

#[tokio::test]
async fn the_sweep_brings_what_no_message_can() {
    let world = World::new().await;
    let item = world.change(Retry::at(3_600_000, 0).reschedule(Changes::new(), "adt#3".into())).await;
    assert_eq!((number(&item, "due_at"), number(&item, "due_count")), (Some(3_600_000), Some(0)));
    assert!(!item.contains_key("slot_at"));
    let nowhere = World { key: Key { pk: "ATTEMPT#nowhere".into(), sk: "row".into() }, ..world };
    assert!(matches!(nowhere.claim("a", 0, 0).await, Claim::Missing));
}
