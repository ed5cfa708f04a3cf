use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use std::process::ExitCode;
use std::time::Duration;
use switchyard_io::dlq::{Dlq, Dlqs};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List dead-letter queues and how many messages wait in each.
    List,
    /// Show messages of one dead-letter queue; they stay there.
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
    let dlqs = Dlqs::from_env(&target.aws().await, &target.settings_of("ops-api").await?)?;
    match command {
        Command::List => {
            for dlq in dlqs.all() {
                say(&format!("{:>8}  {}", dlqs.waiting(dlq).await?, dlq.name));
            }
        }
        Command::Show { name, limit } => {
            for dead in dlqs.look(find(&dlqs, &name)?, limit).await? {
                let sent = jiff::Timestamp::from_millisecond(dead.sent_ms).unwrap_or_default();
                say(&format!("{} sent {sent:.0}, received {} times", dead.id, dead.receives));
                say(&format!("    {}", dead.body));
            }
        }
        Command::Redrive { name } => redrive(&dlqs, find(&dlqs, &name)?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(dlqs: &'a Dlqs, name: &str) -> Result<&'a Dlq> {
    let names = || dlqs.all().iter().map(|dlq| dlq.name.as_str()).collect::<Vec<_>>().join(", ");
    dlqs.find(name).with_context(|| format!("no dead-letter queue is called {name}; there are: {}", names()))
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
