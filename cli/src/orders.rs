//! `switchyard orders`: stores and orders.

use crate::target::Target;
use crate::{invoke, say};
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Queue a sync job for every store that is due, without waiting for the next minute.
    Sweep {
        /// One pass; the default, and it wins over --loop.
        #[arg(long)]
        once: bool,
        /// A pass at once and every 30 seconds after that.
        #[arg(long = "loop")]
        repeat: bool,
    },
}

pub(crate) async fn run(target: &Target, command: &Command) -> Result<ExitCode> {
    let Command::Sweep { once, repeat } = command;
    loop {
        sweep(target).await?;
        if *once || !repeat {
            return Ok(ExitCode::SUCCESS);
        }
        #[expect(clippy::disallowed_methods, reason = "that is what --loop asks for")]
        tokio::time::sleep(EVERY).await;
    }
}

/// Invokes the stack's `orders-sweep` once.
async fn sweep(target: &Target) -> Result<()> {
    let (answer, is_error) = invoke::call(target, "orders-sweep", "{}".to_owned()).await?;
    if is_error {
        bail!("the sweep failed: {answer}");
    }
    let answer: Value = serde_json::from_str(&answer).context("reading the result of orders-sweep")?;
    let orders = &answer["orders"];
    let line = json!({
        "event": "scheduler_run",
        "scannedStores": orders["scannedStores"],
        "enqueuedJobs": orders["enqueuedJobs"],
    });
    say(&line.to_string());
    Ok(())
}
