//! The benchmark: release binaries, through the local host, on this machine. Prints a table and writes
//! `target/bench.json`.
//!
//! `cargo run --release --package switchyard-tests --bin bench [-- --events 10000]`

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use switchyard_local::Profile;
use switchyard_tests::client::{Client, wait_until, webhook};
use switchyard_tests::process::{HostOptions, HostProcess, build, function_names};
use switchyard_tests::root;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const STARTS: usize = 30;
const WARM: usize = 1000;

/// us-east-1, USD, as published on 2026-11-24: Lambda arm64 a GB-second and a million requests, HTTP API, SQS FIFO and
/// on-demand DynamoDB writes a million, CloudWatch Logs a GB.
const PRICES: Prices = Prices {
    dated: "2026-11-24",
    gb_second: 0.000_013_333_4,
    lambda_million: 0.20,
    http_api_million: 1.00,
    sqs_fifo_million: 0.50,
    write_million: 0.625,
    log_gb: 0.50,
};

struct Prices {
    dated: &'static str,
    gb_second: f64,
    lambda_million: f64,
    http_api_million: f64,
    sqs_fifo_million: f64,
    write_million: f64,
    log_gb: f64,
}

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
    let events = words.iter().position(|word| word == "--events").and_then(|at| words.get(at + 1)?.parse().ok());
    let events = events.unwrap_or(10_000);
    let binaries = build(Profile::Release, &[])?;
    let options = |arguments: Vec<&'static str>| HostOptions {
        binaries: binaries.clone(),
        data: None,
        port: 0,
        arguments,
        settings: vec![("LOG_LEVEL".to_owned(), "warn".to_owned())],
    };
    let started = Instant::now();
    let host = HostProcess::start(&options(Vec::new())).await?;
    let mut figures = Map::new();
    figures.insert("host ready (s)".into(), json!(round(started.elapsed().as_secs_f64())));
    let client = host.client()?;
    let functions = client.local_functions().await?;
    for name in function_names(&root())? {
        let binary = binaries.join(&name);
        let about = alone(&name, &binary, &functions[&name]["environment"]).await?;
        for (figure, value) in about {
            figures.insert(format!("{name}: {figure}"), value);
        }
        let (size, zipped) = sizes(&binary)?;
        figures.insert(format!("{name}: binary (MB)"), json!(size));
        figures.insert(format!("{name}: zip (MB)"), json!(zipped));
    }
    for (figure, value) in end_to_end(&client, events).await? {
        figures.insert(figure, value);
    }
    host.kill().await?;
    let host = HostProcess::start(&options(vec!["--no-consumers"])).await?;
    for (figure, value) in accepting(&host.client()?, events).await? {
        figures.insert(figure, value);
    }
    host.kill().await?;
    let host = HostProcess::start(&options(vec!["--count-calls"])).await?;
    for (figure, value) in calls(&host.client()?).await? {
        figures.insert(figure, value);
    }
    cost(&mut figures);
    for (figure, value) in &figures {
        say(&format!("{figure:44} {value}"));
    }
    let file = root().join("target/bench.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&figures)?)?;
    say(&format!("written to {}", file.display()));
    host.kill().await
}

/// One function by itself, against a Runtime API of the benchmark's own.
async fn alone(name: &str, binary: &Path, environment: &Value) -> Result<Vec<(&'static str, Value)>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (mut to_next, mut to_first) = (Vec::new(), Vec::new());
    for number in 0..STARTS {
        let started = Instant::now();
        let mut process = spawn(name, binary, environment, &listener)?;
        let mut runtime = Runtime::accept(&listener).await?;
        to_next.push(millis(started));
        runtime.invoke(&event(name, number)?).await?;
        to_first.push(millis(started));
        process.kill().await?;
    }
    let mut process = spawn(name, binary, environment, &listener)?;
    let mut runtime = Runtime::accept(&listener).await?;
    let mut warm = Vec::new();
    for number in 0..WARM {
        let one = event(name, STARTS + number)?;
        let started = Instant::now();
        runtime.invoke(&one).await?;
        warm.push(millis(started));
    }
    let peak = peak_memory_mb(process.id().context("the process's id")?)?;
    process.kill().await?;
    Ok(vec![
        ("start to /next p50 (ms)", percentile(&mut to_next, 50)),
        ("start to /next p99 (ms)", percentile(&mut to_next, 99)),
        ("start to first answer p50 (ms)", percentile(&mut to_first, 50)),
        ("warm p50 (ms)", percentile(&mut warm, 50)),
        ("warm p99 (ms)", percentile(&mut warm, 99)),
        ("peak memory (MB)", json!(peak)),
    ])
}

/// An event for one function: for the webhook a new one each time, for the others their first sample.
fn event(function: &str, number: usize) -> Result<Vec<u8>> {
    let sample = match function {
        "adt-webhook" => "queued",
        "adt-consumer" => "unknown-event",
        _ => "scheduled",
    };
    let path = root().join("events").join(function).join(format!("{sample}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.replace("639104054955416900", &format!("7{number:017}")).into_bytes())
}

fn spawn(name: &str, binary: &Path, environment: &Value, listener: &TcpListener) -> Result<Child> {
    let mut command = Command::new(binary);
    command.env_clear().kill_on_drop(true);
    for (name, value) in environment.as_object().context("the environment")? {
        command.env(name, value.as_str().unwrap_or_default());
    }
    command.envs([
        ("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string().as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ]);
    command.stdout(std::process::Stdio::null()).spawn().with_context(|| format!("starting {name}"))
}

/// The Runtime API's side of one process: it asks for an event, gets one, answers, and asks again.
struct Runtime {
    stream: BufReader<TcpStream>,
    invocations: usize,
}

impl Runtime {
    /// Waits for a process's first `/next`.
    async fn accept(listener: &TcpListener) -> Result<Self> {
        let (stream, _) = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await??;
        stream.set_nodelay(true)?;
        let mut runtime = Self { stream: BufReader::new(stream), invocations: 0 };
        runtime.request("/next").await?;
        Ok(runtime)
    }

    /// Hands out an event, waits for the answer, then for the next `/next`.
    async fn invoke(&mut self, event: &[u8]) -> Result<()> {
        self.invocations += 1;
        let deadline = std::time::UNIX_EPOCH.elapsed()?.as_millis() + 60_000;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: {}\r\n\
             lambda-runtime-deadline-ms: {deadline}\r\nlambda-runtime-invoked-function-arn: arn\r\n\
             lambda-runtime-trace-id: Root=1-0-0\r\ncontent-length: {}\r\n\r\n",
            self.invocations,
            event.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.write_all(event).await?;
        self.request("/response").await?;
        self.stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
        self.request("/next").await
    }

    /// Reads one request, whose path must end in `expected`.
    async fn request(&mut self, expected: &str) -> Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some(length) = head.split("content-length: ").nth(1) {
            let length: usize = length.split("\r\n").next().unwrap_or_default().trim().parse()?;
            self.stream.read_exact(&mut vec![0; length]).await?;
        } else if head.contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            while !body.ends_with(b"0\r\n\r\n") {
                body.push(self.stream.read_u8().await?);
            }
        }
        if !path.ends_with(expected) {
            bail!("expected a request for {expected}, got {path}");
        }
        Ok(())
    }
}

/// AWS calls that accepting and processing cost, counted at the endpoint.
async fn calls(client: &Client) -> Result<Vec<(String, Value)>> {
    const EVENTS: usize = 50;
    // The first ones pay for secrets and tokens, once a process.
    one_by_one(client, "warm", EVENTS).await?;
    let before = client.aws_calls().await?;
    one_by_one(client, "calls", EVENTS).await?;
    let after = client.aws_calls().await?;
    let mut found = Vec::new();
    for (call, count) in after.as_object().into_iter().flatten() {
        let more = count.as_u64().unwrap_or(0) - before[call].as_u64().unwrap_or(0);
        if more > 0 {
            found.push((format!("AWS calls per event: {call}"), json!(round(more as f64 / EVENTS as f64))));
        }
    }
    Ok(found)
}

/// Events sent and processed one after the other, so that one process of each function does it all.
async fn one_by_one(client: &Client, name: &str, events: usize) -> Result<()> {
    for number in 0..events {
        let id = format!("{name}-{number}");
        let accepted = client.webhook(&webhook("testco1", &id, json!({}))).await?;
        if accepted.status != 202 {
            bail!("the webhook answered {}", accepted.status);
        }
        wait_until(Duration::from_secs(60), async || {
            // Nothing but Caspio is asked: that costs no AWS call.
            Ok(client.effects("testco1").await?.iter().any(|effect| effect["record"]["eventMessageId"] == id.as_str()))
        })
        .await?;
    }
    Ok(())
}

/// Webhooks accepted a second: written and queued, consumers held.
async fn accepting(client: &Client, events: usize) -> Result<Vec<(String, Value)>> {
    let (seconds, mut latencies) = send_all(client, events).await?;
    Ok(vec![
        ("webhooks accepted a second".into(), json!((events as f64 / seconds).round())),
        ("webhook latency under that load p50 (ms)".into(), percentile(&mut latencies, 50)),
        ("webhook latency under that load p99 (ms)".into(), percentile(&mut latencies, 99)),
    ])
}

/// Events brought to Caspio a second, accepted meanwhile.
async fn end_to_end(client: &Client, events: usize) -> Result<Vec<(String, Value)>> {
    let started = Instant::now();
    send_all(client, events).await?;
    wait_until(Duration::from_secs(600), async || Ok(client.effect_count().await? >= events as u64)).await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(vec![
        (format!("{events} events end to end (s)"), json!(round(seconds))),
        ("events end to end a second".into(), json!((events as f64 / seconds).round())),
    ])
}

/// Sends webhooks from 32 senders; answers the seconds it took and each webhook's milliseconds.
async fn send_all(client: &Client, events: usize) -> Result<(f64, Vec<f64>)> {
    const SENDERS: usize = 32;
    let next = Arc::new(AtomicUsize::new(0));
    let mut latencies = Vec::new();
    let started = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (client, next) = (client.clone(), next.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return Ok(took);
                    }
                    let sent = Instant::now();
                    let answer = client.webhook(&webhook("testco0", &format!("bench-{number}"), json!({}))).await?;
                    if answer.status != 202 {
                        bail!("a webhook answered {}: {}", answer.status, answer.body);
                    }
                    took.push(millis(sent));
                }
            })
        })
        .collect();
    for sender in senders {
        latencies.extend(sender.await??);
    }
    Ok((started.elapsed().as_secs_f64(), latencies))
}

/// What a million events cost, from the measured calls and times: webhook and consumer at 256 MB, batches of ten, and
/// 1 KB of log an event. DynamoDB rows up to 1 KB; an index write counts as one.
fn cost(figures: &mut Map<String, Value>) {
    let figure = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let gb_seconds = |millis: f64| millis / 1000.0 * 0.25 * 1e6 * PRICES.gb_second;
    // The table's writes, and the index's: one entry when accepted, one moved when claimed.
    let writes = figure("AWS calls per event: DynamoDB_20120810.PutItem")
        + figure("AWS calls per event: DynamoDB_20120810.UpdateItem")
        + 3.0;
    let queue = figure("AWS calls per event: AmazonSQS.SendMessage") + 0.2;
    let total = PRICES.http_api_million
        + PRICES.lambda_million * 1.1
        + gb_seconds(figure("adt-webhook: warm p50 (ms)"))
        // The consumer waits for three calls to third parties, 200 ms each, ten events side by side.
        + gb_seconds(600.0 / 10.0)
        + PRICES.write_million * writes
        + PRICES.sqs_fifo_million * queue
        + PRICES.log_gb;
    figures.insert(format!("USD per million events (prices of {})", PRICES.dated), json!(round(total)));
}

fn sizes(binary: &Path) -> Result<(f64, f64)> {
    let bytes = std::fs::read(binary)?;
    let mut zip = DeflateEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&bytes)?;
    let megabytes = |bytes: usize| round(bytes as f64 / 1e6);
    Ok((megabytes(bytes.len()), megabytes(zip.finish()?.len())))
}

fn peak_memory_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("peak memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(round(kilobytes / 1000.0))
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

#[expect(clippy::print_stdout, reason = "this is the command's own output")]
fn say(line: &str) {
    println!("{line}");
}
