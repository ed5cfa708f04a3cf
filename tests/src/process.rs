//! The local host as a process of its own, to be killed and started again.

use crate::client::Client;
use crate::stack::{COMPANIES, Stack, company};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use switchyard_local::{Binaries, Profile, Template};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How to run the host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Folder with the host's binary and the functions'.
    pub binaries: PathBuf,
    /// Where state lives; `None` for memory.
    pub data: Option<PathBuf>,
    /// First of four ports; 0 for free ones.
    pub port: u16,
    /// Further arguments, such as `--count-calls`.
    pub arguments: Vec<&'static str>,
    /// Settings that override the sandbox's.
    pub settings: Vec<(String, String)>,
}

/// A running host. Dropping it kills it.
pub struct HostProcess {
    child: Child,
    stack: Stack,
}

impl HostProcess {
    /// Starts the host and waits for its `ready` line.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(options: &HostOptions) -> Result<Self> {
        let companies: Vec<_> = (0..COMPANIES).map(company).collect();
        let mut command = Command::new(options.binaries.join("switchyard-local"));
        command.current_dir(crate::root()).args(["--json-logs", "--port", &options.port.to_string(), "--binaries"]);
        command.arg(&options.binaries).args(&options.arguments);
        match &options.data {
            Some(folder) => command.arg("--data-dir").arg(folder),
            None => command.arg("--ephemeral"),
        };
        command.env("ALIS_SANDBOX_COMPANIES", companies.join(","));
        command.envs(options.settings.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting the host")?;
        let stdout = child.stdout.take().context("the host's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut said = Vec::new();
        let ready = loop {
            match lines.next_line().await? {
                Some(line) if line.starts_with("ready ") => break line,
                Some(line) => said.push(line),
                None => bail!("the host ended before it was ready: {}", said.join("\n")),
            }
        };
        tokio::spawn(drain(lines));
        let url = |name: &str| {
            let found = ready.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).with_context(|| format!("no {name} in {ready}"))
        };
        let stack = Stack::at(url("http")?, url("aws")?, url("sandbox")?);
        Ok(Self { child, stack })
    }

    /// Where it answers.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A client of it.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.stack.clone())
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing the host")
    }
}

/// Keeps reading, so that the host never blocks on a full pipe.
async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// Builds the host and all functions, with `extra` arguments to cargo; returns the folder of the binaries.
///
/// # Errors
/// Something does not compile.
pub fn build(profile: Profile, extra: &[&str]) -> Result<PathBuf> {
    let root = crate::root();
    let mut packages = Template::read(&root.join("template.yaml"), "")?.binaries()?;
    packages.push("switchyard-local".to_owned());
    let binaries = Binaries::build(&root, &packages, profile, extra)?;
    let host = binaries.path("switchyard-local")?;
    host.parent().map(Path::to_path_buf).context("the binaries' folder")
}

/// Each of the template's functions with its binary.
///
/// # Errors
/// The template cannot be read.
pub fn functions(root: &Path) -> Result<Vec<(String, String)>> {
    let functions = Template::read(&root.join("template.yaml"), "")?.functions()?;
    Ok(functions.into_iter().map(|function| (function.name, function.binary)).collect())
}
