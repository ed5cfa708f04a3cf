//! Which data keys are still needed, and sealing under the current one what is kept under an older one.

use crate::say;
use crate::target::Target;
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;
use switchyard_io::reseal::{self, SealedColumn, Tally};
use switchyard_io::vault::Vault;
use switchyard_io::{Secrets, Table};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Count the sealed values by key, and open each; exit code 1 while a key other than the current one is needed.
    Check {
        /// One table only [default: all].
        #[arg(long)]
        table: Option<Sealing>,
    },
    /// Seal every value under the current key that is sealed under an older one. May be interrupted and run again.
    Reseal {
        /// One table only [default: all].
        #[arg(long)]
        table: Option<Sealing>,
    },
}

/// A table that keeps sealed values.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sealing {
    /// Stores' tokens.
    Orders,
    /// Webhooks' secrets.
    Callbacks,
    /// Secrets of tenants' notification configs.
    Signals,
}

const ALL: [Sealing; 3] = [Sealing::Orders, Sealing::Callbacks, Sealing::Signals];

impl Sealing {
    /// A function that has the table and the keys in its settings, the table's setting, and its sealed columns.
    fn source(self) -> (&'static str, &'static str, &'static [SealedColumn]) {
        match self {
            Self::Orders => ("marketplace-api", "ORDERS_TABLE", switchyard_orders::SEALED),
            Self::Callbacks => ("marketplace-api", "CALLBACKS_TABLE", switchyard_callbacks::SEALED),
            Self::Signals => ("events-api", "SIGNALS_TABLE", switchyard_signals::SEALED),
        }
    }
}

pub(crate) async fn run(target: &Target, command: &Command) -> Result<ExitCode> {
    let (chosen, writes) = match command {
        Command::Check { table } => (table, false),
        Command::Reseal { table } => (table, true),
    };
    let aws = target.aws().await;
    let mut is_done = true;
    for sealing in chosen.map_or(ALL.to_vec(), |table| vec![table]) {
        let (function, setting, columns) = sealing.source();
        let env = target.settings_of(function).await?;
        let table = Table::from_env(&aws, &env, setting)?;
        let vault = Vault::from_env(&Secrets::new(&aws), &env)?;
        let tally = if writes {
            reseal::reseal(&table, &vault, columns).await?
        } else {
            reseal::check(&table, &vault, columns).await?
        };
        let current = vault.current_key().await?;
        is_done &= tally.needs_only(&current);
        say(&format!("{}: {}", env.required(setting)?, line(&tally, &current)));
    }
    say(if is_done { "only the current key is needed" } else { "keys other than the current one are still needed" });
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(tally: &Tally, current: &str) -> String {
    let by_key: Vec<_> = tally
        .by_key
        .iter()
        .map(|(key, count)| format!("{count} under {key}{}", if key == current { " (current)" } else { "" }))
        .collect();
    let by_key = if by_key.is_empty() { "no sealed values".to_owned() } else { by_key.join(", ") };
    let (resealed, changed, unopened) = (tally.resealed, tally.changed, tally.unopened);
    format!("{by_key}; {resealed} resealed, {changed} rows changed at the same time, {unopened} do not open")
}
