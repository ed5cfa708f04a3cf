//! One function by itself, against a Runtime API of the benchmark's own.

use crate::{Figures, millis, percentile, round};
use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use switchyard_tests::root;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const STARTS: usize = 30;
const WARM: usize = 1000;

/// How long one function takes to start and to answer, and how much memory.
pub async fn times(name: &str, binary: &Path, environment: &Value) -> Result<Figures> {
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
    let figures = [
        ("start to /next p50 (ms)", percentile(&mut to_next, 50)),
        ("start to /next p99 (ms)", percentile(&mut to_next, 99)),
        ("start to first answer p50 (ms)", percentile(&mut to_first, 50)),
        ("warm p50 (ms)", percentile(&mut warm, 50)),
        ("warm p99 (ms)", percentile(&mut warm, 99)),
        ("peak memory (MB)", json!(peak)),
    ];
    Ok(figures.map(|(figure, value)| (figure.to_owned(), value)).into())
}

/// An event for one function: for the webhook a new one each time, for the others one that leaves nothing behind.
fn event(function: &str, number: usize) -> Result<Vec<u8>> {
    let sample = match function {
        "adt-webhook" => "queued",
        "adt-consumer" => "unknown-event",
        "marketplace-api" => "sync-status-unknown-store",
        "order-consumer" => "unknown-store",
        "callback-consumer" => "event-without-endpoints",
        "events-api" => "unknown-key",
        "notify-consumer" => "unknown-delivery",
        "ops-api" => "unauthorized",
        "rules-consumer" => "unknown-event",
        "adt-sweep" | "callbacks-sweep" | "orders-sweep" | "signals-sweep" => "scheduled",
        _ => bail!("no sample is chosen for {function}"),
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

/// The binary's size, and its size as it is uploaded.
pub fn sizes(binary: &Path) -> Result<Figures> {
    let bytes = std::fs::read(binary)?;
    let mut zip = DeflateEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&bytes)?;
    let megabytes = |bytes: usize| json!(round(bytes as f64 / 1e6));
    Ok(vec![
        ("binary (MB)".to_owned(), megabytes(bytes.len())),
        ("zip (MB)".to_owned(), megabytes(zip.finish()?.len())),
    ])
}

fn peak_memory_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("peak memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(round(kilobytes / 1000.0))
}
