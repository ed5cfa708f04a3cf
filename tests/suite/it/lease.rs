//! The lease engine against a real table: holders, fences, claims of requests.

use super::{aws, env};
use serde_json::json;
use switchyard_core::Owner;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, Create, Item, Key, Update};
use switchyard_tests::client::unique;
use switchyard_work::lease::{CLAIM, Columns, Fence, Holder, ROW};

/// The columns that the orders' sync lease has in deployed tables.
const FENCED: Columns = Columns { owner: "owner", attempt: Some("attempt"), until: "expires_ms", fence: Some("fence") };

/// One row and leases on it that last 1,000 ms.
struct Row {
    table: Table,
    key: Key,
}

impl Row {
    async fn new() -> Self {
        let (aws, client) = aws().await;
        let table = Table::from_env(&aws, &env(vec![("T", client.stack().adt_table.clone())]), "T").unwrap();
        let key = Key { pk: format!("LEASE#{}", unique()), sk: "row".into() };
        Self { table, key }
    }

    async fn with(self, columns: serde_json::Value) -> Self {
        let mut row = json!({"pk": self.key.pk, "sk": self.key.sk});
        row.as_object_mut().unwrap().extend(columns.as_object().unwrap().clone());
        assert!(matches!(self.table.create(&row).await.unwrap(), Create::Created));
        self
    }

    /// The row after the changes, or `None` when they were refused.
    async fn change(&self, changes: Changes) -> Option<Item> {
        match self.table.update(&self.key, changes).await.unwrap() {
            Update::Applied(row) => Some(row),
            Update::Refused(_) => None,
        }
    }

    async fn acquire(&self, columns: Columns, by: &Owner, now_ms: i64) -> Option<Item> {
        self.change(columns.acquire(Changes::new(), by, now_ms, now_ms + 1_000)).await
    }

    async fn fenced(&self, by: &Owner, now_ms: i64) -> Option<Fence> {
        self.acquire(FENCED, by, now_ms).await.map(|row| FENCED.fence(&row).unwrap())
    }
}

fn owner(message_id: &str, attempt: u32) -> Owner {
    Owner { message_id: message_id.to_owned(), attempt }
}

#[tokio::test]
async fn a_fence_names_the_latest_holder_and_survives_the_release() {
    let row = Row::new().await;
    let first = row.fenced(&owner("a", 1), 0).await.unwrap();
    assert!(row.fenced(&owner("b", 1), 1_000).await.is_none(), "it is held to the end of that millisecond");
    let second = row.fenced(&owner("b", 1), 1_001).await.unwrap();
    assert_ne!(first, second);
    for changes in [
        FENCED.renew(Changes::new(), Holder::Fence(first), 9_000),
        FENCED.release(Changes::new(), Holder::Fence(first)),
        FENCED.only_if_held(Changes::new().set("x", 1_i64), Holder::Fence(first)),
    ] {
        assert!(row.change(changes).await.is_none(), "the first holder lost it");
    }
    let renewed = row.change(FENCED.renew(Changes::new(), Holder::Fence(second), 9_000)).await.unwrap();
    assert_eq!(FENCED.until_ms(&renewed), Some(9_000));
    let released = row.change(FENCED.release(Changes::new(), Holder::Fence(second))).await.unwrap();
    assert_eq!((FENCED.until_ms(&released), FENCED.fence(&released)), (None, Some(second)));
    assert!(row.change(FENCED.renew(Changes::new(), Holder::Fence(second), 9_000)).await.is_none(), "it was released");
    let third = row.fenced(&owner("a", 1), 2_000).await.unwrap();
    assert!(third != first && third != second, "no fence comes twice");
}

#[tokio::test]
async fn a_lease_that_a_deployed_function_wrote_is_respected() {
    let held = json!({"owner": "old", "attempt": 2, "expires_ms": 5_000, "fence": 41});
    let row = Row::new().await.with(held).await;
    assert!(row.fenced(&owner("new", 1), 4_000).await.is_none());
    assert!(row.fenced(&owner("old", 1), 4_000).await.is_none(), "an earlier delivery");
    let later = row.acquire(FENCED, &owner("old", 3), 4_000).await.unwrap();
    assert_eq!(later["fence"].as_n().unwrap(), "42");
}

#[tokio::test]
async fn acquiring_twice_is_acquiring_once() {
    let row = Row::new().await;
    let by = owner("a", 2);
    assert!(row.acquire(ROW, &by, 0).await.is_some());
    assert!(row.acquire(ROW, &by, 1).await.is_some(), "the SDK repeats a call whose response was lost");
    assert!(row.acquire(ROW, &owner("a", 1), 2).await.is_none(), "an earlier delivery");
    assert!(row.change(ROW.release(Changes::new(), Holder::Owner(&owner("a", 1)))).await.is_none());
    assert!(row.change(ROW.only_if_free(Changes::new().set("x", 1_i64), 500)).await.is_none());
    let released = row.change(ROW.release(Changes::new(), Holder::Owner(&by))).await.unwrap();
    assert!(!released.keys().any(|name| name.starts_with("lease_")), "{released:?}");
    assert!(row.change(ROW.only_if_free(Changes::new().set("x", 1_i64), 500)).await.is_some());
}

#[tokio::test]
async fn a_claim_is_its_requests_alone_until_its_time_has_passed() {
    let row = Row::new().await;
    let (first, second) = (Owner::request("r1".into()), Owner::request("r2".into()));
    let claimed = row.acquire(CLAIM, &first, 0).await.unwrap();
    let names: std::collections::BTreeSet<_> = claimed.keys().map(String::as_str).collect();
    assert_eq!(names, ["claim", "claim_until", "pk", "sk"].into());
    assert!(row.acquire(CLAIM, &second, 1_000).await.is_none());
    assert!(row.acquire(CLAIM, &second, 1_001).await.is_some());
    assert!(row.change(CLAIM.release(Changes::new(), Holder::Owner(&first))).await.is_none());
    assert!(row.change(CLAIM.release(Changes::new(), Holder::Owner(&second))).await.is_some());
}

#[tokio::test]
async fn of_twelve_at_once_one_acquires_it() {
    let row = std::sync::Arc::new(Row::new().await);
    let tries = (0..12).map(|number: u32| {
        let row = row.clone();
        tokio::spawn(async move { row.fenced(&owner(&number.to_string(), 1), 0).await })
    });
    let mut fences = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        fences.extend(attempt.await.unwrap());
    }
    assert_eq!(fences.len(), 1);
}
