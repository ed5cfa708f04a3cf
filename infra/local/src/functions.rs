//! A warm pool of processes per function, invoked one event at a time, as Lambda does.

use crate::logs::LogSink;
use crate::template::{ACCOUNT, FunctionSpec, REGION};
use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long a process may take to ask for its first event.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an invocation has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// The function returned an error.
    #[error("the function failed: {0}")]
    Function(String),
    /// The function exceeded its timeout and was killed.
    #[error("Task timed out after {0} seconds")]
    TimedOut(u64),
    /// The process ended.
    #[error("the process ended: {0}")]
    Crashed(String),
    /// The process could not be started.
    #[error("the function did not start: {0}")]
    Start(String),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

/// One event for one process.
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) payload: Bytes,
    pub(crate) deadline_ms: u64,
    pub(crate) trace: String,
    pub(crate) function_arn: String,
}

/// The processes of one function.
pub(crate) struct Pool {
    pub(crate) spec: FunctionSpec,
    binary: PathBuf,
    variables: Vec<(String, String)>,
    /// `host:port` of the Runtime API.
    runtime: String,
    slots: Semaphore,
    idle: Mutex<Vec<Arc<Worker>>>,
    workers: Mutex<HashMap<String, Arc<Worker>>>,
    started: AtomicU64,
    stopping: AtomicBool,
    logs: LogSink,
}

/// One process.
pub(crate) struct Worker {
    id: String,
    pid: u32,
    to_process: mpsc::UnboundedSender<Invocation>,
    inbox: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    pending: Mutex<Option<Pending>>,
    state: watch::Sender<State>,
    kill: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    /// Whether it has asked for an event.
    Ready,
    Dead,
}

struct Pending {
    request_id: String,
    /// The process has fetched the event.
    fetched: bool,
    answer: oneshot::Sender<Answer>,
}

enum Answer {
    Result(Bytes),
    Error(String),
    Ended { fetched: bool, was_ready: bool, how: String },
}

impl Pool {
    pub(crate) fn new(
        spec: FunctionSpec,
        binary: PathBuf,
        variables: Vec<(String, String)>,
        runtime: String,
        logs: LogSink,
    ) -> Arc<Self> {
        Arc::new(Self {
            slots: Semaphore::new(spec.concurrency),
            spec,
            binary,
            variables,
            runtime,
            idle: Mutex::default(),
            workers: Mutex::default(),
            started: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            logs,
        })
    }

    /// Starts one process and waits until it asks for an event, so that a wrong setting fails at once.
    pub(crate) async fn warm_up(self: &Arc<Self>) -> Result<()> {
        let worker = self.spawn()?;
        let mut state = worker.state.subscribe();
        let changed = tokio::time::timeout(INIT_TIMEOUT, state.wait_for(|state| *state != State::Starting)).await;
        if !matches!(changed, Ok(Ok(state)) if *state == State::Ready) {
            worker.kill.notify_one();
            return Err(anyhow!("{} did not start; its last lines say why", self.spec.name));
        }
        lock(&self.idle).push(worker);
        Ok(())
    }

    /// Invokes the function. The invocation completes even when the caller disconnects.
    pub(crate) async fn invoke(self: &Arc<Self>, payload: Bytes) -> Result<Bytes, InvokeError> {
        let pool = self.clone();
        tokio::spawn(async move { pool.run(payload).await }).await.unwrap_or(Err(InvokeError::Stopping))
    }

    async fn run(self: Arc<Self>, payload: Bytes) -> Result<Bytes, InvokeError> {
        let _slot = self.slots.acquire().await.map_err(|_| InvokeError::Stopping)?;
        let started = Instant::now();
        let request_id = switchyard_core::random::uuid().to_string();
        loop {
            let worker = match self.idle_worker() {
                Some(worker) => worker,
                None => self.spawn().map_err(|error| InvokeError::Start(format!("{error:#}")))?,
            };
            let (answer, answered) = oneshot::channel();
            *lock(&worker.pending) = Some(Pending { request_id: request_id.clone(), fetched: false, answer });
            let invocation = Invocation {
                request_id: request_id.clone(),
                payload: payload.clone(),
                deadline_ms: epoch_ms() + self.spec.timeout_s * 1000,
                trace: trace_header(),
                function_arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.spec.name),
            };
            if worker.to_process.send(invocation).is_err() || worker.is_dead() {
                lock(&worker.pending).take();
                continue;
            }
            let answer = tokio::time::timeout(Duration::from_secs(self.spec.timeout_s), answered).await;
            self.logs.detail(&self.spec.name, || {
                format!("{request_id} took {:.1} ms in process {}", started.elapsed().as_secs_f64() * 1e3, worker.pid)
            });
            return match answer {
                Ok(Ok(Answer::Result(bytes))) => {
                    lock(&self.idle).push(worker);
                    Ok(bytes)
                }
                Ok(Ok(Answer::Error(text))) => {
                    lock(&self.idle).push(worker);
                    Err(InvokeError::Function(text))
                }
                // The process died before it fetched the event: as on Lambda, another one handles it.
                Ok(Ok(Answer::Ended { fetched: false, was_ready: true, .. })) => continue,
                Ok(Ok(Answer::Ended { how, .. })) => Err(InvokeError::Crashed(how)),
                Ok(Err(_)) => Err(InvokeError::Stopping),
                Err(_) => {
                    worker.kill.notify_one();
                    Err(InvokeError::TimedOut(self.spec.timeout_s))
                }
            };
        }
    }

    fn idle_worker(&self) -> Option<Arc<Worker>> {
        let mut idle = lock(&self.idle);
        while let Some(worker) = idle.pop() {
            if !worker.is_dead() {
                return Some(worker);
            }
        }
        None
    }

    fn spawn(self: &Arc<Self>) -> Result<Arc<Worker>> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(anyhow!("the host is stopping"));
        }
        let name = &self.spec.name;
        let id = format!("{name}-{}", self.started.fetch_add(1, Ordering::Relaxed));
        let mut child = Command::new(&self.binary)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", format!("http://{}/{id}", self.runtime)),
                ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.spec.memory_mb.to_string()),
                ("AWS_REGION", REGION.to_owned()),
                ("AWS_ACCESS_KEY_ID", "local".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
                ("_HANDLER", "bootstrap".to_owned()),
                ("TZ", ":UTC".to_owned()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for the host, which lets its processes finish their invocations.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let (to_process, inbox) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            id: id.clone(),
            pid: child.id().unwrap_or_default(),
            to_process,
            inbox: tokio::sync::Mutex::new(inbox),
            pending: Mutex::default(),
            state: watch::Sender::new(State::Starting),
            kill: Notify::new(),
        });
        lock(&self.workers).insert(id, worker.clone());
        tokio::spawn(pass_on(child.stdout.take(), name.clone(), self.logs.clone()));
        tokio::spawn(pass_on(child.stderr.take(), name.clone(), self.logs.clone()));
        tokio::spawn(self.clone().watch(worker.clone(), child));
        Ok(worker)
    }

    /// Waits for a process to end, kills it on request, and fails its invocation.
    async fn watch(self: Arc<Self>, worker: Arc<Worker>, mut child: Child) {
        let status = tokio::select! {
            status = child.wait() => status,
            () = worker.kill.notified() => {
                drop(child.start_kill());
                child.wait().await
            }
        };
        let was_ready = worker.state.send_replace(State::Dead) == State::Ready;
        lock(&self.workers).remove(&worker.id);
        lock(&self.idle).retain(|idle| idle.id != worker.id);
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let pending = lock(&worker.pending).take();
        if !self.stopping.load(Ordering::SeqCst) {
            self.logs.host(&self.spec.name, &format!("process {} ended: {how}", worker.pid));
        }
        if let Some(Pending { fetched, answer, .. }) = pending {
            // The receiver is gone when the invocation has timed out.
            drop(answer.send(Answer::Ended { fetched, was_ready, how }));
        }
    }

    /// The process called `id`.
    pub(crate) fn worker(&self, id: &str) -> Option<Arc<Worker>> {
        lock(&self.workers).get(id).cloned()
    }

    /// The environment of its processes, without the variables that Lambda itself sets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Ids of the running processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        lock(&self.workers).values().map(|worker| worker.pid).collect()
    }

    /// Ends all processes and waits for them.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.slots.close();
        let workers: Vec<_> = lock(&self.workers).values().cloned().collect();
        for worker in &workers {
            worker.kill.notify_one();
        }
        let gone = async {
            while !lock(&self.workers).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        // Nothing more can be done about a process that survives SIGKILL for seconds.
        drop(tokio::time::timeout(Duration::from_secs(5), gone).await);
    }
}

impl Worker {
    fn is_dead(&self) -> bool {
        *self.state.borrow() == State::Dead
    }

    /// The process asks for its next event; waits until there is one.
    pub(crate) async fn next(&self) -> Option<Invocation> {
        self.state.send_if_modified(|state| {
            let first = *state == State::Starting;
            if first {
                *state = State::Ready;
            }
            first
        });
        let invocation = self.inbox.lock().await.recv().await?;
        if let Some(pending) = lock(&self.pending).as_mut() {
            pending.fetched = true;
        }
        Some(invocation)
    }

    /// The process returns a result; `false` when it is not for its current event.
    pub(crate) fn answer(&self, request_id: &str, answer: Result<Bytes, String>) -> bool {
        let Some(pending) = lock(&self.pending).take_if(|pending| pending.request_id == request_id) else {
            return false;
        };
        let answer = match answer {
            Ok(bytes) => Answer::Result(bytes),
            Err(text) => Answer::Error(text),
        };
        // The receiver is gone when the invocation has timed out.
        drop(pending.answer.send(answer));
        true
    }
}

async fn pass_on(stream: Option<impl AsyncRead + Unpin>, function: String, logs: LogSink) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        logs.line(&function, &line);
    }
}

fn trace_header() -> String {
    let id = switchyard_core::random::uuid().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=1", epoch_ms() / 1000, &id[..24], &id[..16])
}

#[expect(clippy::disallowed_methods, reason = "deadlines are told to processes in the machine's own time")]
pub(crate) fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
