//! The function binaries: builds them, or finds those in a folder.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How functions are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`, with the dependencies that the rest of the workspace has compiled already.
    Dev,
    /// `cargo build --release`, each function with its own features only, as it is deployed.
    Release,
}

/// Variables that cargo sets for what it runs.
const OUTER: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];

/// A folder of function binaries.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Existing binaries in a folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Builds `functions` of the workspace at `root` with the cargo that runs this process.
    ///
    /// # Errors
    /// Cargo cannot be run or a function does not compile.
    pub fn build(root: &Path, functions: &[String], profile: Profile, extra: &[&str]) -> Result<Self> {
        let mut cargo = Command::new(cargo());
        cargo.current_dir(root).arg("build").args(extra);
        // The outer cargo's variables about its package would make build scripts, such as ring's, run again.
        for (name, _) in std::env::vars_os() {
            if OUTER.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                cargo.env_remove(name);
            }
        }
        let selector = match profile {
            Profile::Dev => "--bin",
            Profile::Release => "--package",
        };
        for function in functions {
            cargo.args([selector, function]);
        }
        let folder = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                cargo.arg("--release");
                "release"
            }
        };
        let status = cargo.status().context("running cargo")?;
        if !status.success() {
            bail!("the functions did not build");
        }
        Ok(Self { folder: target_folder(root).join(folder) })
    }

    /// The binary of one function.
    ///
    /// # Errors
    /// The binary does not exist.
    pub fn path(&self, function: &str) -> Result<PathBuf> {
        let path = self.folder.join(function);
        if !path.is_file() {
            bail!("{} is missing; build it with `cargo build --package {function}`", path.display());
        }
        Ok(path)
    }
}

#[expect(clippy::disallowed_methods, reason = "cargo tells its children where it is; this is no setting of ours")]
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The workspace's target folder: the host's own binary lies in one of its profiles, or deeper when it is a test.
fn target_folder(root: &Path) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let profile = own.ancestors().find(|path| path.ends_with("debug") || path.ends_with("release"));
    profile.and_then(Path::parent).map_or_else(|| root.join("target"), Path::to_path_buf)
}
