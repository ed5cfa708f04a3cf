//! `cargo switchyard`: what an operator does with a running stack, local or deployed.

mod backfill;
mod data_keys;
mod dlq;
mod flow;
mod health;
mod invoke;
mod keys;
mod mock_webhook;
mod notifications;
mod operators;
mod orders;
mod outputs;
mod rules;
mod signals;
mod target;
mod tenants;
mod usage;
mod webhooks;

use clap::{Parser, Subcommand};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use target::Target;

/// Operate a running Switchyard: the one that `cargo dev` serves, or a deployed stage.
#[derive(Parser)]
#[command(name = "switchyard", version)]
struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Invoke a function with an event file and print its answer.
    Invoke {
        /// The function's name, such as adt-webhook.
        function: String,
        /// The event, such as events/adt-webhook/queued.json.
        #[arg(long)]
        event: PathBuf,
    },
    /// The outputs of a deployed stage's stack: addresses, and names of tables and queues.
    Outputs,
    /// Ask the HTTP API how the platform and what it depends on are.
    Health,
    /// Bring every resident that ALIS lists for a company into the store and into Caspio.
    Backfill(backfill::Arguments),
    /// API keys of a stack that asks for them (AUTH_MODE=api_key).
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// The keys under which tokens and secrets are sealed.
    DataKeys {
        #[command(subcommand)]
        command: data_keys::Command,
    },
    /// Stores and orders.
    Orders {
        #[command(subcommand)]
        command: orders::Command,
    },
    /// Demonstrations against a running stack.
    Flow {
        #[command(subcommand)]
        command: flow::Command,
    },
    /// Receive webhooks and print them; `?fail=1` or `?status=NNN` at the end of the address make it fail.
    MockWebhook {
        /// Where to listen.
        #[arg(long, default_value = "4000")]
        port: String,
    },
    /// The people who run the platform.
    Operators(operators::Arguments),
    /// The tenants of Signals.
    Tenants {
        #[command(subcommand)]
        command: tenants::Command,
    },
    /// Tenants' rules.
    Rules {
        #[command(subcommand)]
        command: rules::Command,
    },
    /// Tenants' notification configs.
    Notifications {
        #[command(subcommand)]
        command: notifications::Command,
    },
    /// A tenant's usage in a month.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Usage {
        #[command(subcommand)]
        command: Option<usage::Command>,
        /// The tenant's slug.
        #[arg(required = true)]
        tenant: Option<String>,
        /// Such as 2026-11 [default: the current month].
        #[arg(long)]
        month: Option<String>,
    },
    /// A demonstration tenant, and the import of users.
    Signals {
        #[command(subcommand)]
        command: signals::Command,
    },
    /// Webhooks, as their receiver sees them.
    Webhooks {
        #[command(subcommand)]
        command: webhooks::Command,
    },
    /// Look at dead-letter queues and send messages back.
    Dlq {
        #[command(subcommand)]
        command: dlq::Command,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { target, command } = Arguments::parse();
    let outcome = match command {
        Command::Invoke { function, event } => invoke::run(&target, &function, &event).await,
        Command::Outputs => outputs::run(&target).await,
        Command::Health => health::run(&target).await,
        Command::Backfill(arguments) => backfill::run(&target, arguments).await,
        Command::Keys { command } => keys::run(&target, command).await,
        Command::DataKeys { command } => data_keys::run(&target, &command).await,
        Command::Orders { command } => orders::run(&target, &command).await,
        Command::Flow { command } => Ok(flow::run(&target, &command).await),
        Command::MockWebhook { port } => mock_webhook::run(&port).await,
        Command::Operators(arguments) => operators::run(&target, arguments).await,
        Command::Tenants { command } => tenants::run(&target, command).await,
        Command::Rules { command } => rules::run(&target, command).await,
        Command::Notifications { command } => notifications::run(&target, command).await,
        Command::Usage { command: Some(command), .. } => usage::run(&target, command).await,
        Command::Usage { command: None, tenant, month } => {
            usage::show_month(&target, &tenant.unwrap_or_default(), month.as_deref()).await
        }
        Command::Signals { command } => signals::run(&target, command).await,
        Command::Webhooks { command } => webhooks::run(command),
        Command::Dlq { command } => dlq::run(&target, command).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            say(&format!("       {}", target.advice()));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the command's own output. Who reads it may have seen enough, as `| head` has.
fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}
