//! The chaos runs: real binaries, killed at random, and third parties that fail. Bounded in count and time; the seed makes
//! a run's faults repeatable.
//!
//! `cargo run --package switchyard-tests --bin chaos -- adt [--seed 7] [--deliveries 2000] [--once-off]`
//! `cargo run --package switchyard-tests --bin chaos -- callbacks [--seed 7] [--events 5000] [--compare]`
//! `cargo run --package switchyard-tests --bin chaos -- signals [--seed 7] [--events 5000]`

mod adt;
mod callbacks;
mod signals;

use anyhow::{Result, bail};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard_core::random;
use switchyard_tests::client::Client;
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)?.parse().ok());
    let seed = number("--seed").unwrap_or_else(|| random::below(1_000_000));
    match words.get(1).map(String::as_str) {
        Some("adt") => {
            let deliveries = number("--deliveries").unwrap_or(2000) as usize;
            let once_off = words.iter().any(|word| word == "--once-off");
            say(&format!("seed {seed}, {deliveries} deliveries, once {}", if once_off { "off" } else { "on" }));
            adt::run(seed, deliveries, once_off).await
        }
        Some("callbacks") => {
            let events = number("--events").unwrap_or(5000) as usize;
            say(&format!("seed {seed}, {events} events to 4 endpoints"));
            callbacks::run(seed, events, words.iter().any(|word| word == "--compare")).await
        }
        Some("signals") => {
            let events = number("--events").unwrap_or(5000) as usize;
            say(&format!("seed {seed}, {events} events of 3 rules each"));
            signals::run(seed, events).await
        }
        _ => bail!("which run: adt, callbacks or signals?"),
    }
}

/// Kills one process of some function every 0.2 to 0.8 seconds, with `kill -9`, until stopped.
struct Killer {
    calm: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Killer {
    fn start(client: Client, random: fastrand::Rng) -> Self {
        let (calm, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(kill_functions(client, calm.clone(), held.clone(), random));
        Self { calm, held, task }
    }

    /// Whether to spare everything for now.
    fn hold(&self, is_held: bool) {
        self.held.store(is_held, Ordering::SeqCst);
    }

    /// Returns how many it killed.
    async fn stop(self) -> Result<usize> {
        self.calm.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

async fn kill_functions(
    client: Client,
    calm: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    mut random: fastrand::Rng,
) -> usize {
    let mut kills = 0;
    while !calm.load(Ordering::Relaxed) {
        pause(Duration::from_millis(random.u64(200..800))).await;
        // No answer while the host is down: then there is nothing to kill.
        let Ok(functions) = client.local_functions().await else { continue };
        let processes: Vec<_> = functions
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, about)| about["processes"].as_array().cloned().unwrap_or_default())
            .collect();
        if held.load(Ordering::SeqCst) {
            continue;
        }
        if let Some(pid) = random.choice(&processes) {
            let status = tokio::process::Command::new("kill").args(["-9", &pid.to_string()]).status().await;
            kills += usize::from(status.is_ok_and(|status| status.success()));
        }
    }
    kills
}

#[expect(clippy::disallowed_methods, reason = "the pace of the storm")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

#[expect(clippy::print_stdout, reason = "this is the command's own output")]
fn say(line: &str) {
    println!("{line}");
}
