//! The benchmark: release binaries, through the local host, on this machine. Prints a table and writes
//! `target/bench.json`.
//!
//! `cargo run --release --package switchyard-tests --bin bench [-- --events 10000]`; with `-- loads` only what is taken in a
//! second, to compare two states of the code by turns; with `-- signals-cpu` only what rules and keys cost, without any process.

mod adt;
mod alone;
mod cpu;
mod orders;
mod signals;

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use switchyard_local::Profile;
use switchyard_tests::process::{HostOptions, HostProcess, build, functions};
use switchyard_tests::root;

/// What was measured, by name, in the order of measuring.
type Figures = Vec<(String, Value)>;

/// Requests under way at a time where the load is what is measured.
const SENDERS: usize = 32;

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
    if words.iter().any(|word| word == "signals-cpu") {
        cpu::figures()?.iter().for_each(tell);
        return Ok(());
    }
    let events = words.iter().position(|word| word == "--events").and_then(|at| words.get(at + 1)?.parse().ok());
    let events = events.unwrap_or(10_000);
    let binaries = build(Profile::Release, &[])?;
    if words.iter().any(|word| word == "loads") {
        loads(&binaries, events).await?.iter().for_each(tell);
        return Ok(());
    }
    let mut figures = Figures::new();

    let started = Instant::now();
    let host = host(&binaries, &[], &[]).await?;
    figures.push(("host ready (s)".to_owned(), json!(round(started.elapsed().as_secs_f64()))));
    figures.extend(each_function(&host, &binaries).await?);
    figures.extend(adt::end_to_end(&host.client()?, events).await?);
    host.kill().await?;

    figures.extend(loads(&binaries, events).await?);

    let host = self::host(&binaries, &[], &[("ADAPTER_ETSY", "live")]).await?;
    figures.extend(orders::syncing(&host.client()?).await?);
    host.kill().await?;

    let host = self::host(&binaries, &["--count-calls"], &[]).await?;
    figures.extend(adt::calls(&host.client()?).await?);
    figures.extend(orders::calls(&host.client()?).await?);
    host.kill().await?;

    let host = self::host(&binaries, &["--count-calls", "--no-consumers"], &[]).await?;
    figures.extend(orders::sweeping(&host.client()?).await?);
    figures.extend(signals::calls(&host.client()?).await?);
    host.kill().await?;

    figures.extend(cpu::figures()?);
    figures.push(adt::cost(&figures));
    figures.iter().for_each(tell);
    let file = root().join("target/bench.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&figures.into_iter().collect::<Map<_, _>>())?)?;
    say(&format!("written to {}", file.display()));
    Ok(())
}

/// What is taken in a second, by every way in.
async fn loads(binaries: &Path, events: usize) -> Result<Figures> {
    let host = host(binaries, &["--no-consumers"], &[]).await?;
    let mut figures = adt::accepting(&host.client()?, events).await?;
    figures.extend(orders::importing(&host.client()?, events).await?);
    figures.extend(signals::ingesting(&host.client()?, events).await?);
    host.kill().await?;
    Ok(figures)
}

async fn host(binaries: &Path, arguments: &[&'static str], settings: &[(&str, &str)]) -> Result<HostProcess> {
    let settings = [&[("LOG_LEVEL", "warn")], settings].concat();
    HostProcess::start(&HostOptions {
        binaries: binaries.to_owned(),
        data: None,
        port: 0,
        arguments: arguments.to_vec(),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
    .await
}

/// Every function by itself, and the size of its binary.
async fn each_function(host: &HostProcess, binaries: &Path) -> Result<Figures> {
    let served = host.client()?.local_functions().await?;
    let mut figures = Figures::new();
    for (name, binary) in functions(&root())? {
        let binary = binaries.join(&binary);
        let mut about = alone::times(&name, &binary, &served[&name]["environment"]).await?;
        about.extend(alone::sizes(&binary)?);
        figures.extend(about.into_iter().map(|(figure, value)| (format!("{name}: {figure}"), value)));
    }
    Ok(figures)
}

/// Sends requests `0..count`, [`SENDERS`] at a time; returns the seconds it took and each request's milliseconds.
async fn under_load<F>(count: usize, send: impl Fn(usize) -> F + Clone + Send + 'static) -> Result<(f64, Vec<f64>)>
where
    F: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (send, next) = (send.clone(), next.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(took);
                    }
                    let sent = Instant::now();
                    send(number).await?;
                    took.push(millis(sent));
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.await??);
    }
    Ok((started.elapsed().as_secs_f64(), latencies))
}

/// Figures of `what` under load, by throughput and latency.
fn load_figures(what: &str, (seconds, mut latencies): (f64, Vec<f64>)) -> Figures {
    vec![
        (format!("{what} a second"), json!((latencies.len() as f64 / seconds).round())),
        (format!("{what}: latency under that load p50 (ms)"), percentile(&mut latencies, 50)),
        (format!("{what}: latency under that load p99 (ms)"), percentile(&mut latencies, 99)),
    ]
}

/// AWS calls that grew from `before` to `after`, for each of `count`.
fn calls_each(what: &str, count: usize, before: &Value, after: &Value) -> Figures {
    let more = |call: &String| after[call].as_u64().unwrap_or(0) - before[call].as_u64().unwrap_or(0);
    let calls = after.as_object().into_iter().flatten().map(|(call, _)| (call, more(call)));
    let each = |more: u64| json!(round(more as f64 / count as f64));
    calls
        .filter(|(_, more)| *more > 0)
        .map(|(call, more)| (format!("AWS calls per {what}: {call}"), each(more)))
        .collect()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn percentile(values: &mut [f64], percent: usize) -> Value {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    json!(values.get(at).map(|value| round(*value)))
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn tell((figure, value): &(String, Value)) {
    say(&format!("{figure:52} {value}"));
}

#[expect(clippy::print_stdout, reason = "this is the command's own output")]
fn say(line: &str) {
    println!("{line}");
}
