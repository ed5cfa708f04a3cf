//! A running stack: one that the environment names, or one started here through the local host's library.

use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::sync::OnceLock;
use switchyard_core::Env;
use switchyard_local::{Binaries, Data, Host, LogSink, Options, Ports, Profile, Settings};

/// Companies that the started stack lets use the sandbox's ALIS credentials; every test takes its own.
pub const COMPANIES: u32 = 200;

/// Where a stack answers.
#[derive(Clone, Debug)]
pub struct Stack {
    /// HTTP API.
    pub http: String,
    /// AWS endpoint.
    pub aws: String,
    /// Sandbox.
    pub sandbox: String,
    /// The ADT table's name.
    pub adt_table: String,
    /// The ADT queue's URL.
    pub adt_queue: String,
    /// Name or ARN of the secret that holds the operator's credentials.
    pub admin_secret: String,
    /// What comes before a function's name in its deployed name.
    pub function_prefix: String,
    /// Deployed, as opposed to served by the local host.
    pub is_deployed: bool,
    /// Lines the functions have written, when the stack was started here.
    pub logs: Option<LogSink>,
    webhook: (String, String),
}

impl Stack {
    /// The stack that `API_URL` and its companions name (as `tests/deploy/run.sh` sets them), else one started here,
    /// once for the whole test binary.
    ///
    /// # Errors
    /// A companion variable is missing, or the stack does not start.
    pub fn shared() -> Result<Self> {
        static STACK: OnceLock<Result<Stack, String>> = OnceLock::new();
        let env = Env::process();
        let stack = STACK.get_or_init(|| {
            let stack = if env.optional("API_URL").is_some() { Self::named(&env) } else { Self::started() };
            stack.map_err(|error| format!("{error:#}"))
        });
        stack.clone().map_err(anyhow::Error::msg)
    }

    fn named(env: &Env) -> Result<Self> {
        Ok(Self {
            http: env.base_url("API_URL")?,
            aws: env.base_url("AWS_ENDPOINT_URL")?,
            sandbox: env.base_url("SANDBOX_URL")?,
            adt_table: env.required("ADT_TABLE")?,
            adt_queue: env.required("ADT_QUEUE_URL")?,
            admin_secret: env.required("ADMIN_SECRET")?,
            function_prefix: env.optional("FUNCTION_PREFIX").unwrap_or_default(),
            is_deployed: true,
            logs: None,
            webhook: (env.required("WEBHOOK_BASIC_USER")?, env.required("WEBHOOK_BASIC_PASS")?),
        })
    }

    /// Starts the stack on a thread of its own, which lives as long as the process.
    fn started() -> Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new();
            let runtime = match runtime.context("starting a runtime") {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            runtime.block_on(async {
                let logs = LogSink::keep();
                match start(Data::Ephemeral, Ports::Free, logs.clone(), Settings::default()).await {
                    Ok(host) => {
                        drop(tell.send(Ok(Self::of(&host, Some(logs)))));
                        std::future::pending::<()>().await;
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        });
        told.recv().context("the stack's thread ended")?
    }

    /// The stack that `host` serves.
    pub fn of(host: &Host, logs: Option<LogSink>) -> Self {
        let urls = host.urls();
        let sandbox = urls.sandbox.clone().unwrap_or_default();
        Self { logs, ..Self::at(urls.http.clone(), urls.aws.clone(), sandbox) }
    }

    /// A host that runs as a process of its own, with the sandbox's demo credentials.
    pub fn at(http: String, aws: String, sandbox: String) -> Self {
        let settings = Settings::default().with(switchyard_sandbox::Sandbox::settings(&sandbox));
        let setting = |name: &str| settings.get(name).unwrap_or_default().to_owned();
        Self {
            adt_queue: format!("{aws}/000000000000/AdtQueue.fifo"),
            adt_table: "AdtTable".to_owned(),
            admin_secret: "AdminSecret".to_owned(),
            function_prefix: String::new(),
            logs: None,
            webhook: (setting("WEBHOOK_BASIC_USER"), setting("WEBHOOK_BASIC_PASS")),
            is_deployed: false,
            http,
            aws,
            sandbox,
        }
    }

    /// User and password of the webhook.
    pub fn webhook_credentials(&self) -> (&str, &str) {
        (&self.webhook.0, &self.webhook.1)
    }
}

/// The host's settings for tests: every test company may use the sandbox's credentials.
pub fn settings() -> Settings {
    let companies: Vec<_> = (0..COMPANIES).map(company).collect();
    Settings::default().with([
        ("ALIS_SANDBOX_COMPANIES", format!("appstoresandbox,{}", companies.join(","))),
        ("REQUEST_TIMEOUT_MS", "2000".to_owned()),
        ("CASPIO_TIMEOUT_MS", "2000".to_owned()),
        ("LOG_LEVEL", "debug".to_owned()),
    ])
}

/// The key of a test company.
pub fn company(number: u32) -> String {
    format!("testco{number}")
}

/// Starts a host with dev-built functions.
///
/// # Errors
/// The functions do not build, or the host does not start.
pub async fn start(data: Data, ports: Ports, logs: LogSink, more: Settings) -> Result<Host> {
    let root = crate::root();
    let template = root.join("template.yaml");
    let names = switchyard_local::Template::read(&template, "")?.binaries()?;
    let binaries =
        tokio::task::spawn_blocking(move || Binaries::build(&root, &names, Profile::Dev, &["--quiet"])).await??;
    start_with(binaries, template, data, ports, logs, more).await
}

/// Starts a host with given functions.
///
/// # Errors
/// The host does not start.
pub async fn start_with(
    binaries: Binaries,
    template: PathBuf,
    data: Data,
    ports: Ports,
    logs: LogSink,
    more: Settings,
) -> Result<Host> {
    let settings = more.over(settings());
    let options = Options {
        template,
        binaries,
        ports,
        data,
        sandbox: true,
        only: Vec::new(),
        consumers: true,
        count_calls: true,
        settings,
        logs,
    };
    Host::start(options).await
}
