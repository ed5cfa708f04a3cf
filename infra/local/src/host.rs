//! The host: starts and stops engines, functions and listeners.

use crate::aws::Aws;
use crate::binaries::Binaries;
use crate::events::Events;
use crate::functions::Pool;
use crate::gateway::Gateway;
use crate::logs::LogSink;
use crate::s3::S3;
use crate::schedule::Scheduled;
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::template::{FunctionSpec, Template, text_of};
use crate::{mapping, runtime_api};
use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use dynoxide::Database;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchyard_sandbox::Sandbox;
use switchyard_sqs::{Clock, Location, Sqs, TextMap};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Where state is stored.
#[derive(Clone, Debug)]
pub enum Data {
    /// In memory.
    Ephemeral,
    /// In this folder, across restarts and `kill -9`.
    Folder(PathBuf),
}

/// Which ports to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// HTTP API here, WebSocket API on the next, AWS endpoint on the one after, sandbox on the fourth.
    From(u16),
    /// Free ports.
    Free,
}

/// How to serve the template.
#[derive(Clone, Debug)]
pub struct Options {
    /// `template.yaml`.
    pub template: PathBuf,
    /// The function binaries.
    pub binaries: Binaries,
    /// Ports of the loopback interface.
    pub ports: Ports,
    /// Where state is stored.
    pub data: Data,
    /// Whether the sandbox plays the third parties.
    pub sandbox: bool,
    /// Workflows to serve; empty for all.
    pub only: Vec<String>,
    /// Settings that override the sandbox's and the template's.
    pub settings: Settings,
    /// Whether queues and schedules invoke functions; if not, messages stay in their queues.
    pub consumers: bool,
    /// Whether functions reach DynamoDB through the AWS endpoint, which counts calls, or directly at its engine.
    pub count_calls: bool,
    /// Where log lines go.
    pub logs: LogSink,
}

/// The URLs of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// HTTP API.
    pub http: String,
    /// WebSocket API.
    pub ws: String,
    /// AWS endpoint.
    pub aws: String,
    /// Sandbox, unless it was left out.
    pub sandbox: Option<String>,
}

/// A running host. Dropping it without [`Host::stop`] kills the processes too, without waiting for them.
pub struct Host {
    urls: Urls,
    settings: Settings,
    sandbox: Option<Sandbox>,
    pools: Vec<Arc<Pool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Host {
    /// Serves the template; returns once every function has started.
    ///
    /// # Errors
    /// A port is taken, the template or a setting is wrong, or a function does not start.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = match &options.data {
            Data::Ephemeral => None,
            Data::Folder(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
                Some(folder.clone())
            }
        };
        let file = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let [http, ws, aws, third] = listeners(options.ports).await?;
        let (dynamo, runtime) = (free_port().await?, free_port().await?);
        let mut tasks = Vec::new();

        // Third parties.
        // A developer is watching: failures are retried soon (docs/adr/0004).
        let mut settings = Settings::default().with([
            ("QUEUE_RETRY_BASE_MS", "250"),
            ("AUTH_MODE", "open"),
            // Webhooks of a demonstration are sent to this machine.
            ("WEBHOOK_ALLOW_HTTP", "true"),
            ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8,::1/128"),
        ]);
        let (mut sandbox, mut sandbox_url) = (None, None);
        if options.sandbox {
            let opened = Sandbox::open(switchyard_sandbox::Options { state_dir: file("sandbox") })?;
            let base = url(&third)?;
            settings = settings.with(Sandbox::settings(&base));
            tasks.push(serve(third, opened.router()));
            (sandbox, sandbox_url) = (Some(opened), Some(base));
        }
        let settings = options.settings.over(settings);

        // Engines.
        let template = Template::read(&options.template, &url(&aws)?)?;
        let database = match file("dynamodb.sqlite") {
            Some(file) => Database::new(&file.to_string_lossy()),
            None => Database::memory(),
        };
        let database = database.map_err(|error| anyhow!("opening DynamoDB's engine: {error}"))?;
        create_tables(&template, &database)?;
        let sqs = Sqs::open(&file("sqs.sqlite").map_or(Location::Memory, Location::File), Clock::system())?;
        create_queues(&template, &sqs)?;
        sqs.release_in_flight()?;
        let secrets = Arc::new(Secrets::open(file("secrets.json"))?);
        create_secrets(&template, &secrets, &settings)?;
        let s3 = S3::open(file("s3"), &template.bucket_names()?)?;
        let dynamo_address = dynamo.local_addr()?.to_string();
        tasks.push(tokio::spawn(dynoxide::server::serve_on(dynamo, database.clone())));
        tasks.push(tokio::spawn(sweep_expired(database)));

        // Functions.
        let pools_cell: runtime_api::Pools = Arc::new(OnceLock::new());
        let runtime_address = runtime.local_addr()?.to_string();
        tasks.push(serve(runtime, runtime_api::router(pools_cell.clone())));
        let mut pools = Vec::new();
        for spec in served(&template, &options.only)? {
            let binary = options.binaries.path(&spec.binary)?;
            let engine = (!options.count_calls).then_some(dynamo_address.as_str());
            let variables = variables(&spec, &settings, &url(&aws)?, engine);
            pools.push(Pool::new(spec, binary, variables, runtime_address.clone(), options.logs.clone()));
        }
        // Set once, before any process runs.
        drop(pools_cell.set(pools.clone()));
        let by_name: HashMap<String, Arc<Pool>> =
            pools.iter().map(|pool| (pool.spec.name.clone(), pool.clone())).collect();

        // Sources of invocations.
        let mut schedules = Vec::new();
        for schedule in template.schedules()? {
            if let Some(pool) = by_name.get(&schedule.function) {
                schedules.push(Scheduled::new(schedule, pool.clone())?);
            }
        }
        let aws_url = url(&aws)?;
        let urls = Urls {
            http: url(&http)?,
            ws: url(&ws)?.replacen("http", "ws", 1),
            aws: aws_url.clone(),
            sandbox: sandbox_url,
        };
        let endpoint = Aws {
            url: aws_url,
            dynamo: dynamo_address,
            sqs: sqs.clone(),
            secrets,
            events: Events::open(file("events.jsonl"))?,
            s3,
            pools: pools.clone(),
            schedules: schedules.clone(),
        };
        tasks.push(serve(aws, endpoint.router()));
        let mut starting = JoinSet::new();
        for pool in &pools {
            let pool = pool.clone();
            starting.spawn(async move { pool.warm_up().await });
        }
        while let Some(started) = starting.join_next().await {
            started??;
        }
        tasks.push(serve(http, Gateway::router(template.routes()?, by_name.clone(), options.logs.clone())));
        // The WebSocket API has no routes in the template yet; its reserved port returns 404.
        tasks.push(serve(ws, Router::new()));
        let mappings = if options.consumers { template.mappings()? } else { Vec::new() };
        for mapping in mappings {
            if let Some(pool) = by_name.get(&mapping.function) {
                tasks.push(tokio::spawn(mapping::run(mapping, pool.clone(), sqs.clone(), options.logs.clone())));
            }
        }
        for scheduled in schedules.into_iter().filter(|_| options.consumers) {
            tasks.push(tokio::spawn(scheduled.run(options.logs.clone())));
        }
        Ok(Self { urls, settings, sandbox, pools, tasks })
    }

    /// The URLs of the listeners.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The setting that functions receive as `name`, unless only the template decides it.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name)
    }

    /// The sandbox, unless it was left out.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Process ids of a function.
    pub fn processes(&self, function: &str) -> Vec<u32> {
        self.pools.iter().filter(|pool| pool.spec.name == function).flat_map(|pool| pool.pids()).collect()
    }

    /// Stops accepting work and ends every process.
    pub async fn stop(mut self) {
        self.abort_tasks();
        for pool in &self.pools {
            pool.stop().await;
        }
    }

    fn abort_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.abort_tasks();
    }
}

async fn listeners(ports: Ports) -> Result<[TcpListener; 4]> {
    let port = |offset: u16| match ports {
        Ports::Free => 0,
        Ports::From(first) => first.saturating_add(offset),
    };
    Ok([listen(port(0)).await?, listen(port(1)).await?, listen(port(2)).await?, listen(port(3)).await?])
}

async fn free_port() -> Result<TcpListener> {
    listen(0).await
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("listening on port {port}; is another host running? try --port 0"))
}

fn url(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

fn serve(listener: TcpListener, router: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        // Ends only with the task.
        drop(axum::serve(listener, service).await);
    })
}

fn served(template: &Template, only: &[String]) -> Result<Vec<FunctionSpec>> {
    let mut functions = template.functions()?;
    let all: BTreeSet<_> = functions.iter().filter_map(|function| function.workflow.clone()).collect();
    if let Some(unknown) = only.iter().find(|name| !all.contains(*name)) {
        return Err(anyhow!(
            "there is no workflow {unknown}; the template has {}",
            all.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    functions.retain(|function| {
        only.is_empty() || function.workflow.as_ref().is_none_or(|workflow| only.contains(workflow))
    });
    Ok(functions)
}

/// The environment of a process: the template's variables, overridden by settings unless they name a resource, and the AWS
/// endpoint.
fn variables(spec: &FunctionSpec, settings: &Settings, aws_url: &str, dynamo: Option<&str>) -> Vec<(String, String)> {
    let mut variables: Vec<_> = spec
        .variables
        .iter()
        .map(|(name, variable)| {
            let setting = settings.get(name).filter(|_| !variable.is_resource);
            (name.clone(), setting.unwrap_or(&variable.value).to_owned())
        })
        .collect();
    variables.push(("AWS_ENDPOINT_URL".to_owned(), aws_url.to_owned()));
    if let Some(address) = dynamo {
        variables.push(("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), format!("http://{address}")));
    }
    variables
}

fn create_tables(template: &Template, database: &Database) -> Result<()> {
    for (id, properties) in template.resources("AWS::DynamoDB::Table")? {
        let mut request = Map::new();
        request.insert("TableName".to_owned(), json!(id));
        for name in
            ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode", "StreamSpecification"]
        {
            if let Some(value) = properties.get(name) {
                request.insert(name.to_owned(), value.clone());
            }
        }
        let request = serde_json::from_value(Value::Object(request)).with_context(|| format!("table {id}"))?;
        match database.create_table(request) {
            Ok(_) => {}
            Err(error) if error.to_string().contains("already exists") || error.to_json().contains("ResourceInUse") => {
                continue;
            }
            Err(error) => return Err(anyhow!("creating table {id}: {error}")),
        }
        if let Some(ttl) = properties.get("TimeToLiveSpecification") {
            let request = serde_json::from_value(json!({"TableName": id, "TimeToLiveSpecification": ttl}))?;
            database.update_time_to_live(request).map_err(|error| anyhow!("expiry of table {id}: {error}"))?;
        }
    }
    Ok(())
}

fn create_queues(template: &Template, sqs: &Sqs) -> Result<()> {
    const ATTRIBUTES: [&str; 9] = [
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "RedrivePolicy",
        "VisibilityTimeout",
    ];
    let mut queues = template.resources("AWS::SQS::Queue")?;
    // A dead-letter queue must be created before the queue that names it.
    queues.sort_by_key(|(_, properties)| properties.get("RedrivePolicy").is_some());
    let known = sqs.queues()?;
    for (id, properties) in queues {
        let name = template.queue_name(&id);
        let mut attributes: TextMap =
            ATTRIBUTES.iter().filter_map(|name| Some(((*name).to_owned(), text_of(properties.get(*name)?)))).collect();
        if known.contains(&name) {
            attributes.remove("FifoQueue");
            sqs.set_attributes(&name, &attributes).with_context(|| format!("queue {name}"))?;
        } else {
            sqs.create_queue(&name, &attributes, TextMap::new()).with_context(|| format!("queue {name}"))?;
        }
    }
    Ok(())
}

/// Every secret of the template; settings override values of the same name.
fn create_secrets(template: &Template, secrets: &Secrets, settings: &Settings) -> Result<()> {
    for (id, properties) in template.resources("AWS::SecretsManager::Secret")? {
        let generated = &properties["GenerateSecretString"];
        let text = properties.get("SecretString").unwrap_or(&generated["SecretStringTemplate"]);
        let mut values: Map<String, Value> =
            serde_json::from_str(&text_of(text)).with_context(|| format!("secret {id} is not a JSON object"))?;
        if let Some(key) = generated["GenerateStringKey"].as_str() {
            let kept = secrets
                .object(&id)
                .remove(key)
                .unwrap_or_else(|| json!(switchyard_core::random::uuid().simple().to_string()));
            values.insert(key.to_owned(), kept);
        }
        for (name, value) in &mut values {
            if let Some(setting) = settings.get(name) {
                *value = setting.into();
            }
        }
        secrets.put(&id, Value::Object(values).to_string())?;
    }
    Ok(())
}

/// Deletes expired rows, as DynamoDB does in the background.
async fn sweep_expired(database: Database) {
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        ticks.tick().await;
        // After a failure the next run deletes the rows.
        drop(database.sweep_ttl());
    }
}
