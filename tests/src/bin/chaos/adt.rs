//! ADT under fire: third parties that fail, a host that dies once, events delivered twice and out of place; then the
//! ledger is compared with what was sent.
//!
//! `--once-off` builds the functions without the guards of `switchyard_work::once` and fails unless it sees double effects:
//! it proves that the harness would notice them.

use crate::{Killer, pause, say};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchyard_local::Profile;
use switchyard_tests::client::{Client, poll, wait_until, webhook};
use switchyard_tests::process::{HostOptions, HostProcess, build};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const COMPANY: &str = "testco0";
const POISON: usize = 50;
const SETTLE: Duration = Duration::from_secs(300);
/// Each check reads every row.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// One event that ALIS means to deliver.
#[derive(Clone)]
struct Event {
    id: String,
    resident: u64,
    /// Position among the resident's events; later is newer.
    order: usize,
    poison: bool,
    body: Value,
}

/// Sends `deliveries`, then judges.
pub async fn run(seed: u64, deliveries: usize, once_off: bool) -> Result<()> {
    let extra: &[&str] = if once_off { &["--features", "switchyard-work/chaos-once-off"] } else { &[] };
    let binaries = build(Profile::Dev, extra)?;
    let data = std::env::temp_dir().join(format!("switchyard-chaos-{}", std::process::id()));
    let options = HostOptions {
        binaries,
        data: Some(data.clone()),
        // The host that comes after the crash must answer where the first one did.
        port: four_free_ports()?,
        arguments: Vec::new(),
        settings: vec![
            ("REQUEST_TIMEOUT_MS".to_owned(), "1000".to_owned()),
            ("CASPIO_TIMEOUT_MS".to_owned(), "1000".to_owned()),
            ("LOG_LEVEL".to_owned(), "warn".to_owned()),
        ],
    };
    let host = HostProcess::start(&options).await?;
    let outcome = storm(host, &options, seed, deliveries, once_off).await;
    drop(std::fs::remove_dir_all(&data));
    outcome
}

async fn storm(host: HostProcess, options: &HostOptions, seed: u64, deliveries: usize, once_off: bool) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let events = plan(&mut random, deliveries);
    let queue = order(&mut random, &events, deliveries);
    let client = host.client()?;
    set_faults(&client, seed, &events).await?;

    let started = Instant::now();
    let killer = Killer::start(client.clone(), random.fork());
    let sent = Arc::new(AtomicUsize::new(0));
    let deliver = tokio::spawn(deliver_all(client.clone(), queue, sent.clone()));
    wait_until(SETTLE, async || Ok(sent.load(Ordering::Relaxed) >= deliveries / 2)).await?;
    // A host that is starting takes a process that dies for a wrong setting, and rightly gives up.
    killer.hold(true);
    host.kill().await?;
    let _restarted = HostProcess::start(options).await?;
    killer.hold(false);
    say(&format!("host killed and restarted after {} deliveries", sent.load(Ordering::Relaxed)));
    deliver.await??;
    say(&format!("all deliveries answered after {:.1} s", started.elapsed().as_secs_f64()));

    let all: Vec<_> = events.iter().collect();
    let healthy: Vec<_> = events.iter().filter(|event| !event.poison).collect();
    settle(&client, &all).await?;
    let kills = killer.stop().await?;
    say(&format!("settled after {:.1} s and {kills} kills", started.elapsed().as_secs_f64()));

    let in_dlq = dlq(&client).await?;
    let before = judge(&client, &healthy).await?;
    client.sandbox("DELETE", "/_sandbox/faults", None).await?;
    client.redrive("adt", "adt-sweep-EveryMinute").await?;
    settle(&client, &all).await?;
    let poisoned: Vec<_> = events.iter().filter(|event| event.poison).collect();
    let after = judge(&client, &all).await?;
    say(&format!(
        "{} events: {} lost, {} double effects; {in_dlq} in the DLQ (wanted {POISON}); after redrive {} of {POISON} \
         processed, {} lost, {} double effects; {:.1} s in all",
        events.len(),
        before.lost.len(),
        before.doubled.len(),
        POISON - unprocessed(&client, &poisoned).await?,
        after.lost.len(),
        after.doubled.len(),
        started.elapsed().as_secs_f64(),
    ));
    for (what, names) in [("lost", &after.lost), ("doubled", &after.doubled)] {
        if !names.is_empty() {
            say(&format!("{what}: {}", names.iter().take(20).cloned().collect::<Vec<_>>().join(", ")));
        }
    }
    match (once_off, after.doubled.is_empty()) {
        (true, true) => bail!("without the guards there should have been double effects; this run proves nothing"),
        (true, false) => Ok(()),
        (false, false) => bail!("there were double effects"),
        _ if !after.lost.is_empty() => bail!("events were lost"),
        _ if in_dlq != POISON => bail!("the DLQ holds other messages than the poisoned ones"),
        _ => Ok(()),
    }
}

/// Events of a quarter as many residents, some of them poisoned: ALIS will not answer for those.
fn plan(random: &mut fastrand::Rng, deliveries: usize) -> Vec<Event> {
    let unique = deliveries * 10 / 11;
    let residents = (unique / 4).max(1) as u64;
    let mut orders: HashMap<u64, usize> = HashMap::new();
    let types = ["residents.move_in", "residents.basic_info_updated", "resident.room_changed", "residents.move_out"];
    (0..unique)
        .map(|number| {
            let poison = number < POISON;
            let resident = if poison { 1_990_000 + number as u64 } else { 1_000_000 + random.u64(..residents) };
            let order = orders.entry(resident).and_modify(|order| *order += 1).or_insert(0);
            let id = format!("chaos-{number}");
            let body = webhook(
                COMPANY,
                &id,
                json!({
                    "EventType": types[random.usize(..types.len())],
                    "EventMessageDate": format!("2026-02-03T{:02}:{:02}:00Z", *order / 60, *order % 60),
                    "NotificationData": {"ResidentId": resident},
                }),
            );
            Event { id, resident, order: *order, poison, body }
        })
        .collect()
}

/// The deliveries: each event once, a tenth again, a fifth out of their place.
fn order(random: &mut fastrand::Rng, events: &[Event], deliveries: usize) -> Vec<Value> {
    let mut queue: Vec<_> = events.iter().map(|event| event.body.clone()).collect();
    while queue.len() < deliveries {
        let again = random.choice(events).map(|event| event.body.clone());
        queue.insert(random.usize(..=queue.len()), again.unwrap_or_default());
    }
    for _ in 0..deliveries / 5 {
        let from = random.usize(..queue.len());
        let to = (from + random.usize(1..50)).min(queue.len() - 1);
        queue.swap(from, to);
    }
    queue
}

/// 10 % answered 429 or 500, 2 % never answered, 3 % of Caspio's answers lost after the commit, and the poison.
async fn set_faults(client: &Client, seed: u64, events: &[Event]) -> Result<()> {
    client.sandbox("DELETE", "/_sandbox/faults", None).await?;
    client.sandbox("POST", "/_sandbox/faults/seed", Some(&json!({"seed": seed}))).await?;
    let mut rules: Vec<Value> = events
        .iter()
        .filter(|event| event.poison)
        .map(|event| {
            let path = format!("/alis/v1/integration/residents/{}", event.resident);
            json!({"path": path, "kind": "status", "status": 500})
        })
        .collect();
    for service in ["/alis", "/caspio"] {
        rules.push(json!({"path": service, "kind": "status", "status": 429, "share": 0.05}));
        rules.push(json!({"path": service, "kind": "status", "status": 500, "share": 0.05}));
        rules.push(json!({"path": service, "kind": "timeout", "share": 0.02}));
    }
    rules.push(json!({"path": "/caspio/integrations", "kind": "lost_answer", "share": 0.03}));
    client.sandbox("POST", "/_sandbox/faults", Some(&Value::Array(rules))).await?;
    Ok(())
}

/// Delivers like ALIS: again, until the answer is 2xx.
async fn deliver_all(client: Client, queue: Vec<Value>, sent: Arc<AtomicUsize>) -> Result<()> {
    let slots = Arc::new(Semaphore::new(16));
    let mut tasks = Vec::new();
    for body in queue {
        let slot = slots.clone().acquire_owned().await?;
        let (client, sent) = (client.clone(), sent.clone());
        tasks.push(tokio::spawn(async move {
            let end = Instant::now() + SETTLE;
            loop {
                match client.webhook(&body).await {
                    Ok(answer) if (200..300).contains(&answer.status) => break,
                    Ok(answer) if answer.status < 500 => bail!("refused with {}: {}", answer.status, answer.body),
                    _ if Instant::now() > end => bail!("never accepted"),
                    _ => pause(Duration::from_millis(50)).await,
                }
            }
            sent.fetch_add(1, Ordering::Relaxed);
            // A little room between deliveries, so that kills and faults fall in among them.
            pause(Duration::from_millis(50)).await;
            drop(slot);
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Waits until nothing is on its way: the queue is empty, and whatever is not processed lies in the DLQ.
async fn settle(client: &Client, events: &[&Event]) -> Result<()> {
    let mut seen = String::new();
    let settled = poll(SETTLE, CHECK_EVERY, async || {
        // The host may be restarting: then there is no answer, and so no verdict yet.
        let (Ok(waiting), Ok(dead), Ok(left)) =
            (waiting(client).await, dlq(client).await, unprocessed(client, events).await)
        else {
            return Ok(false);
        };
        seen = format!("{waiting} in the queue, {dead} in the DLQ, {left} not processed");
        Ok(waiting == 0 && left <= dead)
    });
    settled.await.with_context(|| format!("waiting for calm: {seen}"))
}

async fn unprocessed(client: &Client, events: &[&Event]) -> Result<usize> {
    let rows = client.rows(COMPANY, "E#").await?;
    let processed: HashSet<_> = rows
        .iter()
        .filter(|row| row["status"]["S"] == "processed")
        .filter_map(|row| row["event_message_id"]["S"].as_str())
        .collect();
    Ok(events.iter().filter(|event| !processed.contains(event.id.as_str())).count())
}

/// Messages in the queue itself, in flight or not.
async fn waiting(client: &Client) -> Result<usize> {
    let request = json!({"QueueUrl": client.stack().adt_queue, "AttributeNames": ["All"]});
    let answer = client.aws("AmazonSQS.GetQueueAttributes", &request).await?;
    let count =
        |name: &str| answer["Attributes"][name].as_str().and_then(|text| text.parse::<usize>().ok()).context("a count");
    Ok(count("ApproximateNumberOfMessages")? + count("ApproximateNumberOfMessagesNotVisible")?)
}

/// Messages in the dead-letter queue, and archived ones that were not redriven.
async fn dlq(client: &Client) -> Result<usize> {
    let waiting = client.dead_letters("adt").await?["waiting"].as_u64().context("a count")?;
    Ok(usize::try_from(waiting)?)
}

struct Verdict {
    lost: Vec<String>,
    doubled: Vec<String>,
}

/// Lost: an event that is not processed, or a resident whose row does not show the newest event. Doubled: an event
/// whose facts were written more than once, or a resident with more than one row.
async fn judge(client: &Client, events: &[&Event]) -> Result<Verdict> {
    let rows = client.rows(COMPANY, "E#").await?;
    let status: HashMap<_, _> = rows
        .iter()
        .filter_map(|row| Some((row["event_message_id"]["S"].as_str()?, row["status"]["S"].as_str()?)))
        .collect();
    let mut lost: Vec<String> = events
        .iter()
        .filter(|event| status.get(event.id.as_str()) != Some(&"processed"))
        .map(|event| event.id.clone())
        .collect();
    let effects = client.effects(COMPANY).await?;
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    let mut inserts: BTreeMap<u64, usize> = BTreeMap::new();
    let mut shown: HashMap<u64, String> = HashMap::new();
    for effect in &effects {
        if let Some(id) = effect["request"]["eventMessageId"].as_str() {
            *writes.entry(id.to_owned()).or_default() += 1;
        }
        let resident = effect["record"]["alisResidentId"].as_u64().unwrap_or_default();
        if effect["operation"] == "insert" {
            *inserts.entry(resident).or_default() += 1;
        }
        shown.insert(resident, effect["record"]["eventMessageId"].as_str().unwrap_or_default().to_owned());
    }
    let mut newest: HashMap<u64, &Event> = HashMap::new();
    for event in events {
        let newer = newest.get(&event.resident).is_none_or(|known| event.order > known.order);
        if newer {
            newest.insert(event.resident, event);
        }
    }
    for (resident, event) in newest {
        if shown.get(&resident) != Some(&event.id) {
            lost.push(format!("{} of resident {resident}, whose row shows {:?}", event.id, shown.get(&resident)));
        }
    }
    let doubled_events =
        writes.into_iter().filter(|(_, count)| *count > 1).map(|(id, count)| format!("{id} x {count}"));
    let doubled_rows =
        inserts.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| format!("row of resident {id}"));
    Ok(Verdict { lost, doubled: doubled_events.chain(doubled_rows).collect() })
}

/// The first of four consecutive ports that are free now.
fn four_free_ports() -> Result<u16> {
    for first in (20_000..60_000).step_by(4) {
        let listeners: Vec<_> =
            (first..first + 4).map_while(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if listeners.len() == 4 {
            return Ok(first);
        }
    }
    bail!("no four free ports")
}
