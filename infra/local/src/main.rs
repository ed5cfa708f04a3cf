//! `cargo dev`.

use anyhow::{Context as _, Result};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use switchyard_local::{Binaries, Data, Host, LogForm, LogSink, Options, Ports, Profile, Settings, Template};

/// Serve every workflow of template.yaml on this machine, with no account and nothing else to install.
#[derive(Parser)]
#[command(name = "cargo dev", version)]
struct Arguments {
    /// HTTP API's port; WebSocket API, AWS endpoint and sandbox take the next three. 0 picks free ones.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Store state in memory only.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Where state is stored.
    #[arg(long, default_value = ".switchyard")]
    data_dir: PathBuf,
    /// Build and run optimised functions.
    #[arg(long)]
    release: bool,
    /// Run without the sandbox; your settings then name the third parties' URLs.
    #[arg(long)]
    no_sandbox: bool,
    /// Only these workflows, such as adt,orders.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print metrics and every invocation too.
    #[arg(long, conflicts_with = "json_logs")]
    verbose: bool,
    /// Print the functions' own JSON lines.
    #[arg(long)]
    json_logs: bool,
    /// The template to serve.
    #[arg(long, default_value = "template.yaml")]
    template: PathBuf,
    /// Hold queues and schedules: messages stay in their queues, for inspection.
    #[arg(long)]
    no_consumers: bool,
    /// Count every AWS call, DynamoDB's included, at GET /_local/calls.
    #[arg(long)]
    count_calls: bool,
    /// Run binaries from this folder instead of building them.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<()> {
    let template = found_upwards(&arguments.template)?;
    let root = template.parent().map(Path::to_path_buf).unwrap_or_default();
    let functions = Template::read(&template, "")?.binaries()?;
    let profile = if arguments.release { Profile::Release } else { Profile::Dev };
    let binaries = match arguments.binaries {
        Some(folder) => Binaries::in_folder(folder),
        None => Binaries::build(&root, &functions, profile, &[])?,
    };
    let started = Instant::now();
    let form = match (arguments.json_logs, arguments.verbose) {
        (true, _) => LogForm::Json,
        (_, true) => LogForm::Verbose,
        _ => LogForm::Short,
    };
    let host = Host::start(Options {
        template,
        binaries,
        ports: if arguments.port == 0 { Ports::Free } else { Ports::From(arguments.port) },
        data: if arguments.ephemeral { Data::Ephemeral } else { Data::Folder(root.join(arguments.data_dir)) },
        sandbox: !arguments.no_sandbox,
        only: arguments.only,
        consumers: !arguments.no_consumers,
        count_calls: arguments.count_calls,
        settings: Settings::default().with_env_file(&root.join(".env")).with(environment()),
        logs: LogSink::Print(form),
    })
    .await?;
    introduce(&host);
    let urls = host.urls();
    let sandbox = urls.sandbox.as_ref().map(|url| format!(" sandbox={url}")).unwrap_or_default();
    let took = started.elapsed().as_secs_f64();
    say(&format!("ready http={} ws={} aws={}{sandbox} in {took:.1}s", urls.http, urls.ws, urls.aws));
    stop_signal().await?;
    host.stop().await;
    Ok(())
}

/// Credentials and commands to begin with.
fn introduce(host: &Host) {
    let setting = |name: &str| host.setting(name).unwrap_or("(from your settings)").to_owned();
    let (user, password) = (setting("WEBHOOK_BASIC_USER"), setting("WEBHOOK_BASIC_PASS"));
    let urls = host.urls();
    say("");
    say(&format!("  ALIS webhook   {user} / {password}"));
    say(&format!("  operator       {} / {}", setting("ADMIN_BASIC_USER"), setting("ADMIN_BASIC_PASS")));
    say("");
    say(&format!("  curl -i -u {user}:{password} {}/webhook/alis --json @events/bodies/move-in.json", urls.http));
    if let Some(sandbox) = &urls.sandbox {
        say(&format!("  curl {sandbox}/_sandbox/ledger"));
    }
    say(&format!("  aws --endpoint-url {} --region us-east-1 dynamodb list-tables", urls.aws));
    say("");
}

async fn stop_signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The environment, as far as it is text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// `path` here or in the nearest folder above, so that `cargo dev` works anywhere in the checkout.
fn found_upwards(path: &Path) -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().map(|folder| folder.join(path)).find(|candidate| candidate.is_file());
    found.with_context(|| format!("{} is not here nor in a folder above", path.display()))
}

#[expect(clippy::print_stdout, reason = "this is the command's own output")]
fn say(line: &str) {
    println!("{line}");
}
