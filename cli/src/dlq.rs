//! `switchyard dlq`: the dead-letter queues of every workflow, with the dead letters that were archived.

use crate::say;
use crate::signals::ACTOR;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use std::process::ExitCode;
use std::time::Duration;
use switchyard_core::Timestamp;
use switchyard_work::dead_letters::{DeadLetterQueue, DeadLetterQueues, MayShow, RedriveOutcome};
use tokio::time::Instant;

/// How long archived dead letters are redriven before the command says how far it came.
const REDRIVE_TIME: Duration = Duration::from_secs(600);

/// Workflows whose messages may hold people's data, each with the messages that may be shown.
const PRIVATE: [(&str, MayShow); 1] = [("adt", switchyard_adt::is_queued_event)];

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List dead-letter queues and how many messages of each wait to be redriven.
    List,
    /// Show dead letters of a queue, newest first; they stay there.
    Show {
        /// The queue's name, such as adt.
        name: String,
        /// The number of archived dead letters, at most 200.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=200))]
        limit: u8,
    },
    /// Redrive every message of a queue that was not redriven yet, or one that is archived.
    Redrive {
        /// The queue's name, such as adt.
        name: String,
        /// The id of an archived dead letter.
        id: Option<String>,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let queues = DeadLetterQueues::from_env(&target.aws().await, &target.settings_of("ops-api").await?, &PRIVATE)?;
    match command {
        Command::List => {
            for queue in queues.all() {
                say(&format!("{:>8}  {}", queues.waiting(queue).await?, queue.dlq.name));
            }
        }
        Command::Show { name, limit } => show(&queues, find(&queues, &name)?, limit).await?,
        Command::Redrive { name, id: None } => redrive(&queues, find(&queues, &name)?).await?,
        Command::Redrive { name, id: Some(id) } => redrive_one(&queues, find(&queues, &name)?, &id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(queues: &'a DeadLetterQueues, name: &str) -> Result<&'a DeadLetterQueue> {
    let names = || queues.all().iter().map(|queue| queue.dlq.name.as_str()).collect::<Vec<_>>().join(", ");
    queues.find(name).with_context(|| format!("no dead-letter queue is called {name}; there are {}", names()))
}

async fn show(queues: &DeadLetterQueues, queue: &DeadLetterQueue, limit: u8) -> Result<()> {
    let body =
        |body: &str| format!("    {}", queue.shown(body).unwrap_or("(redacted: not a message of this workflow)"));
    for message in queues.peek(queue, limit.min(10)).await? {
        let sent = Timestamp::from_millisecond(message.sent_ms).unwrap_or_default();
        say(&format!("{} sent {sent:.0}, received {} times, in SQS", message.id, message.receives));
        say(&body(&message.body));
    }
    for letter in queues.archived(queue, None, usize::from(limit)).await?.0 {
        let redriven = letter.redriven_at.map(|at| format!(", redriven {at:.0}")).unwrap_or_default();
        let (id, sent, receives, code) = (&letter.id, letter.first_sent_at, letter.receives, &letter.error_code);
        say(&format!("{id} sent {sent:.0}, received {receives} times, {code}{redriven}"));
        say(&body(&letter.body));
    }
    Ok(())
}

async fn redrive(queues: &DeadLetterQueues, queue: &DeadLetterQueue) -> Result<()> {
    let redriven = queues.redrive(queue, &ACTOR, Instant::now() + REDRIVE_TIME).await?;
    let moved = if redriven.in_queue > 0 { moved_by_sqs(queues, queue).await? } else { 0 };
    let total = i64::try_from(redriven.archived)? + moved;
    let noun = if total == 1 { "message" } else { "messages" };
    say(&format!("redrove {total} {noun} of {}; archived ones are sent within a minute", queue.dlq.name));
    if !redriven.is_complete {
        bail!("there are more archived messages; run the command again");
    }
    Ok(())
}

/// Waits until SQS has moved the messages that were not archived yet, and returns how many.
async fn moved_by_sqs(queues: &DeadLetterQueues, queue: &DeadLetterQueue) -> Result<i64> {
    loop {
        let progress = queues.progress(queue).await?.context("the redrive is unknown to SQS")?;
        match progress.status.as_str() {
            "RUNNING" | "CANCELLING" => pause().await,
            "COMPLETED" => return Ok(progress.moved),
            other => bail!("the redrive ended as {other} after {} messages", progress.moved),
        }
    }
}

async fn redrive_one(queues: &DeadLetterQueues, queue: &DeadLetterQueue, id: &str) -> Result<()> {
    match queues.redrive_one(queue, id, &ACTOR).await? {
        Some(RedriveOutcome::Redriven) => say(&format!("{id} is sent within a minute")),
        Some(RedriveOutcome::AlreadyRedriven) => bail!("{id} was redriven before"),
        Some(RedriveOutcome::Notification) => bail!("{id} is a notification; its tenant redrives it"),
        None => bail!("{} has no archived dead letter {id}", queue.dlq.name),
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a command that waits for a task polls it")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
