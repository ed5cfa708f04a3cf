//! Turns in time, on a real table.

use super::{aws, env, table};
use std::time::Duration;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, Key};
use switchyard_tests::client::unique;
use switchyard_work::pace::{held_until, hold, reserve};

const NOW: i64 = 1_767_607_200_000;

async fn own_table() -> (Table, Key) {
    let (aws, client) = aws().await;
    let name = format!("it-pace-{}", unique());
    table(&client, "SignalsTable", &name).await;
    let table = Table::from_env(&aws, &env(vec![("TABLE", name)]), "TABLE").unwrap();
    (table, Key { pk: "P".into(), sk: "P".into() })
}

#[tokio::test]
async fn a_line_grows_no_longer_than_anybody_waits() {
    let (table, key) = own_table().await;
    let (second, horizon) = (Duration::from_secs(1), Duration::from_secs(3));
    let ask = async |now| reserve(&table, &key, second, now, horizon, &Changes::new()).await.unwrap();
    let mut places = Vec::new();
    for _ in 0..50 {
        places.push(ask(NOW).await);
    }
    assert_eq!(places[..5], [Some(NOW), Some(NOW + 1_000), Some(NOW + 2_000), Some(NOW + 3_000), None]);
    assert!(places[5..].iter().all(Option::is_none));
    assert_eq!(ask(NOW + 2_000).await, Some(NOW + 4_000), "those who were too late took nobody's place");
    assert_eq!(ask(NOW + 60_000).await, Some(NOW + 60_000));
}

#[tokio::test]
async fn a_hold_keeps_those_back_too_who_have_a_place() {
    let (table, key) = own_table().await;
    let (second, horizon) = (Duration::from_secs(1), Duration::from_secs(3_600));
    for _ in 0..100 {
        reserve(&table, &key, second, NOW, horizon, &Changes::new()).await.unwrap();
    }
    for (until, held) in [(30_000, 30_000), (20_000, 30_000), (40_000, 40_000)] {
        hold(&table, &key, NOW + until, Changes::new()).await.unwrap();
        assert_eq!(held_until(&table, &key).await.unwrap(), Some(NOW + held), "{until}");
    }
    let next = reserve(&table, &key, second, NOW, horizon, &Changes::new()).await.unwrap();
    assert_eq!(next, Some(NOW + 100_000), "the line is longer than that");
    hold(&table, &key, NOW + 500_000, Changes::new()).await.unwrap();
    let next = reserve(&table, &key, second, NOW, horizon, &Changes::new()).await.unwrap();
    assert_eq!(next, Some(NOW + 500_000));
}
