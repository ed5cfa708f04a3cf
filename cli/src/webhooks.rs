//! `switchyard webhooks`: verify webhooks as their receiver does.

use crate::say;
use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use switchyard_core::Clock;
use switchyard_core::signature::verify;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check a received webhook's signature, as its receiver should; exit code 1 when it does not fit.
    Verify {
        /// The endpoint's secret, whsec_….
        #[arg(long, env = "WEBHOOK_SIGNING_SECRET", hide_env_values = true)]
        secret: String,
        /// The webhook-id header.
        #[arg(long)]
        id: String,
        /// The webhook-timestamp header.
        #[arg(long)]
        timestamp: String,
        /// The webhook-signature header.
        #[arg(long)]
        signature: String,
        /// A file with the body, byte for byte.
        #[arg(long)]
        body: PathBuf,
    },
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let Command::Verify { secret, id, timestamp, signature, body } = command;
    let body = std::fs::read_to_string(&body).with_context(|| format!("reading {}", body.display()))?;
    Ok(match verify(&secret, &id, &timestamp, &signature, &body, Clock::system().now()) {
        Ok(()) => {
            say("the signature fits");
            ExitCode::SUCCESS
        }
        Err(mismatch) => {
            say(&format!("not genuine: {mismatch}"));
            ExitCode::FAILURE
        }
    })
}
