//! Thousands of random calls, compared with a naive model: a list of messages.

use crate::{World, grouped, redrive};
use std::collections::BTreeMap;
use switchyard_sqs::NewMessage;

const MAX_RECEIVE_COUNT: u32 = 3;
const RETENTION_S: i64 = 600;

/// Xorshift64: enough randomness for a test, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[derive(Clone, Debug)]
struct Entry {
    seq: u64,
    group: String,
    body: String,
    sent: i64,
    visible: i64,
    received: u32,
}

/// A model of a queue that follows the documentation, and computes everything anew in each call.
struct Naive {
    fifo: bool,
    entries: Vec<Entry>,
    buried: Vec<String>,
    remembered: BTreeMap<String, i64>,
    arrivals: u64,
}

impl Naive {
    fn expire(&mut self, now: i64) {
        self.entries.retain(|entry| entry.sent + RETENTION_S * 1000 > now);
    }

    fn send(&mut self, group: &str, body: &str, delay_s: i64, now: i64) {
        if self.fifo {
            let known = self.remembered.get(body).is_some_and(|sent| now < sent + 300_000);
            if known {
                return;
            }
            self.remembered.insert(body.to_owned(), now);
        }
        self.arrivals += 1;
        self.entries.push(Entry {
            seq: self.arrivals,
            group: group.to_owned(),
            body: body.to_owned(),
            sent: now,
            visible: now + delay_s * 1000,
            received: 0,
        });
    }

    /// Sequences of the available messages, in order.
    fn available(&self, max: usize, now: i64) -> Vec<u64> {
        let mut found: Vec<&Entry> = Vec::new();
        if self.fifo {
            let mut groups: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
            for entry in &self.entries {
                groups.entry(&entry.group).or_default().push(entry);
            }
            groups.retain(|_, members| {
                members[0].visible <= now && !members.iter().any(|entry| entry.received > 0 && entry.visible > now)
            });
            let since = |members: &[&Entry]| {
                members
                    .iter()
                    .take(10)
                    .filter(|entry| entry.received > 0 || entry.seq == members[0].seq)
                    .map(|entry| entry.visible)
                    .max()
            };
            let mut groups: Vec<Vec<&Entry>> = groups.into_values().collect();
            groups.sort_by_key(|members| (since(members), members[0].seq));
            for members in groups {
                found.extend(members.into_iter().take_while(|entry| entry.visible <= now));
            }
        } else {
            found.extend(self.entries.iter().filter(|entry| entry.visible <= now));
            found.sort_by_key(|entry| (entry.visible, entry.seq));
        }
        found.into_iter().take(max).map(|entry| entry.seq).collect()
    }

    fn receive(&mut self, max: usize, visibility_s: i64, now: i64) -> Vec<(String, u32)> {
        self.expire(now);
        loop {
            let available = self.available(max, now);
            let mut received = Vec::new();
            for seq in &available {
                let at = self.entries.iter().position(|entry| entry.seq == *seq).unwrap();
                if self.entries[at].received >= MAX_RECEIVE_COUNT {
                    self.buried.push(self.entries.remove(at).body);
                    continue;
                }
                self.entries[at].received += 1;
                self.entries[at].visible = now + visibility_s * 1000;
                received.push((self.entries[at].body.clone(), self.entries[at].received));
            }
            if available.is_empty() || !received.is_empty() {
                return received;
            }
        }
    }

    /// Whether the receive numbered `received` of the message `body` may still delete.
    fn delete(&mut self, (body, received): &(String, u32), seq: u64, now: i64) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.seq == seq && entry.body == *body) else {
            return true;
        };
        let entry = &self.entries[at];
        if self.fifo && (entry.received != *received || entry.visible <= now) {
            return false;
        }
        self.entries.remove(at);
        true
    }

    fn change_visibility(&mut self, received: u32, seq: u64, visibility_s: i64, now: i64) -> bool {
        let held = self.entries.iter_mut().find(|entry| entry.seq == seq && entry.received == received);
        let Some(entry) = held.filter(|entry| entry.visible > now) else { return false };
        entry.visible = now + visibility_s * 1000;
        true
    }

    fn counts(&mut self, now: i64) -> (u64, u64, u64) {
        self.expire(now);
        let count = |of: &dyn Fn(&Entry) -> bool| self.entries.iter().filter(|entry| of(entry)).count() as u64;
        (
            count(&|entry| entry.visible <= now),
            count(&|entry| entry.visible > now && entry.received > 0),
            count(&|entry| entry.visible > now && entry.received == 0),
        )
    }
}

/// A handle from the engine, and what the model calls the same receive.
struct Held {
    handle: String,
    receive: (String, u32),
    seq: u64,
}

fn compare(suffix: &str, seed: u64) {
    let fifo = !suffix.is_empty();
    let world = World::new();
    let (queue, dead) = (format!("work{suffix}"), format!("dead{suffix}"));
    world.create(&dead, &[("MessageRetentionPeriod", "1209600")]);
    let retention = RETENTION_S.to_string();
    world.create(
        &queue,
        &[("RedrivePolicy", &redrive(&dead, MAX_RECEIVE_COUNT)), ("MessageRetentionPeriod", &retention)],
    );
    let mut naive = Naive { fifo, entries: Vec::new(), buried: Vec::new(), remembered: BTreeMap::new(), arrivals: 0 };
    let mut dice = Dice(seed);
    let mut held: Vec<Held> = Vec::new();
    for step in 0..4000 {
        let now = world.now();
        let context = format!("seed {seed}, step {step}");
        match dice.roll(20) {
            0..=6 => {
                let group = format!("g{}", dice.roll(4));
                // Bodies come again, so that there is something to deduplicate.
                let body = if fifo { format!("m{}", dice.roll(1 + step / 2)) } else { format!("m{step}") };
                let delay_s = if fifo { 0 } else { dice.roll(3) * 7 };
                let message = if fifo {
                    grouped(&group, &body)
                } else {
                    NewMessage { delay_s: Some(delay_s as u32), ..NewMessage::new(&body) }
                };
                world.sqs.send(&queue, message).unwrap();
                naive.send(&group, &body, delay_s as i64, now);
            }
            7..=11 => {
                let (max, visibility_s) = (1 + dice.roll(10) as usize, dice.roll(4) * 15);
                let received = world.sqs.receive(&queue, max, Some(visibility_s as u32)).unwrap();
                let expected = naive.receive(max, visibility_s as i64, now);
                let answer: Vec<_> =
                    received.iter().map(|message| (message.body.clone(), message.receive_count)).collect();
                assert_eq!(answer, expected, "{context}");
                for (message, receive) in received.into_iter().zip(expected) {
                    let of_it = |entry: &&Entry| entry.body == receive.0 && entry.received == receive.1;
                    let seq = naive.entries.iter().filter(of_it).map(|entry| entry.seq).next_back().unwrap();
                    held.push(Held { handle: message.receipt_handle, receive, seq });
                }
            }
            12..=14 if !held.is_empty() => {
                let of = held.swap_remove(dice.roll(held.len() as u64) as usize);
                let deleted = world.sqs.delete(&queue, &of.handle).is_ok();
                assert_eq!(deleted, naive.delete(&of.receive, of.seq, now), "{context}");
            }
            15..=16 if !held.is_empty() => {
                let of = &held[dice.roll(held.len() as u64) as usize];
                let visibility_s = dice.roll(3) * 20;
                let changed = world.sqs.change_visibility(&queue, &of.handle, visibility_s as u32).is_ok();
                let expected = naive.change_visibility(of.receive.1, of.seq, visibility_s as i64, now);
                assert_eq!(changed, expected, "{context}");
            }
            17 => {
                assert_eq!(world.counts(&queue), naive.counts(now), "{context}");
                assert_eq!(world.counts(&dead).0, naive.buried.len() as u64, "{context}");
            }
            18 if dice.roll(10) == 0 => {
                naive.entries.iter_mut().filter(|entry| entry.received > 0).for_each(|entry| {
                    entry.visible = entry.visible.min(now);
                });
                world.sqs.release_in_flight().unwrap();
            }
            _ => world.pass(dice.roll(12) as i64),
        }
    }
    let mut buried = Vec::new();
    while let messages = world.sqs.receive(&dead, 10, Some(43_200)).unwrap()
        && !messages.is_empty()
    {
        for message in messages {
            world.sqs.delete(&dead, &message.receipt_handle).unwrap();
            buried.push(message.body);
        }
    }
    buried.sort();
    naive.buried.sort();
    assert!(naive.arrivals > 100 && !naive.buried.is_empty());
    assert_eq!(buried, naive.buried, "seed {seed}");
}

#[test]
fn standard_queues_do_as_the_model_does() {
    (1..=4).for_each(|seed| compare("", seed * 0x9e37_79b9));
}

#[test]
fn fifo_queues_do_as_the_model_does() {
    (1..=4).for_each(|seed| compare(".fifo", seed * 0x9e37_79b9));
}
