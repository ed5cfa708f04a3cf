use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use switchyard_core::Clock;
use switchyard_io::dlq::{Dlq, Dlqs};
use switchyard_signals::{ARCHIVED, QueueDeps, WantedLetters, Whose, dead_letters};
use tokio::time::Instant;

/// Dead letters that are looked at or sent again together.
const TOGETHER: usize = 200;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List dead-letter queues and how many messages wait in each; of signals' queues, those too that are kept and were not sent again.
    List,
    /// Show messages of one dead-letter queue, or those of signals' that are kept; they stay there.
    Show {
        /// Its name, such as adt.
        name: String,
        /// How many, at most ten.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=10))]
        limit: u8,
    },
    /// Send every message of one dead-letter queue back to where it came from, and wait until that is done.
    Redrive {
        /// Its name, such as adt.
        name: String,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let aws = target.aws().await;
    let dlqs = Dlqs::from_env(&aws, &target.settings_of("ops-api").await?)?;
    let letters = QueueDeps::from_env(&aws, &target.settings_of("events-api").await?)?;
    match command {
        Command::List => {
            for dlq in dlqs.all() {
                let kept = match is_archived(&dlq.name) {
                    true => find_letters(&letters, &dlq.name, true, TOGETHER).await?.len(),
                    false => 0,
                };
                let more = if kept == TOGETHER { "+" } else { "" };
                say(&format!("{:>8}{more}  {}", dlqs.waiting(dlq).await? + kept as u64, dlq.name));
            }
        }
        Command::Show { name, limit } => {
            for dead in dlqs.look(find(&dlqs, &name)?, limit).await? {
                let sent = jiff::Timestamp::from_millisecond(dead.sent_ms).unwrap_or_default();
                say(&format!("{} sent {sent:.0}, received {} times", dead.id, dead.receives));
                say(&format!("    {}", dead.body));
            }
            if is_archived(&name) {
                for letter in find_letters(&letters, &name, false, usize::from(limit)).await? {
                    say(&letter.to_string());
                }
            }
        }
        Command::Redrive { name } => {
            let dlq = find(&dlqs, &name)?;
            if is_archived(&name) {
                redrive_letters(&letters, &name).await?;
            } else {
                redrive(&dlqs, dlq).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(dlqs: &'a Dlqs, name: &str) -> Result<&'a Dlq> {
    let names = || dlqs.all().iter().map(|dlq| dlq.name.as_str()).collect::<Vec<_>>().join(", ");
    dlqs.find(name).with_context(|| format!("no dead-letter queue is called {name}; there are: {}", names()))
}

/// Whether what dies in a queue is moved into signals' table.
fn is_archived(name: &str) -> bool {
    ARCHIVED.contains(&name)
}

/// The messages of a queue that are kept, at most `limit`. Notifications that were given up are their tenants' affair.
async fn find_letters(deps: &QueueDeps, queue: &str, is_open: bool, limit: usize) -> Result<Vec<Value>> {
    let wanted = WantedLetters { is_open, ..messages_of(queue) };
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let left = limit - found.len();
        let (some, next) = dead_letters::list(deps, Whose::Everybody, &wanted, cursor.as_deref(), left).await?;
        found.extend(some.iter().map(|letter| serde_json::json!(letter)));
        cursor = next;
        if found.len() >= limit || cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Sends messages again that were not sent again before.
async fn redrive_letters(deps: &QueueDeps, queue: &str) -> Result<()> {
    // What fails again after this run started is left for the next one.
    let wanted = WantedLetters { is_open: true, older_than: Some(Clock::system().now()), ..messages_of(queue) };
    let (mut sent, mut cursor) = (0, None);
    loop {
        let (before, deadline) = (cursor.as_deref(), Instant::now() + Duration::from_secs(60));
        let redriven = dead_letters::redrive_all(deps, "cli", Whose::Everybody, &wanted, before, TOGETHER, deadline);
        let (some, next) = redriven.await?;
        sent += some;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    say(&format!("{sent} messages of {queue} sent again"));
    Ok(())
}

fn messages_of(queue: &str) -> WantedLetters {
    WantedLetters { queue: Some(queue.to_owned()), is_given_up: Some(false), ..WantedLetters::default() }
}

async fn redrive(dlqs: &Dlqs, dlq: &Dlq) -> Result<()> {
    dlqs.redrive(dlq).await?;
    loop {
        let progress = dlqs.progress(dlq).await?.context("the redrive is not known any more")?;
        match progress.status.as_str() {
            "RUNNING" | "CANCELLING" => pause().await,
            "COMPLETED" => {
                say(&format!("{} messages sent back from {}", progress.moved, dlq.name));
                return Ok(());
            }
            other => bail!("the redrive ended as {other} after {} messages", progress.moved),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command that waits for a task asks now and then")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
