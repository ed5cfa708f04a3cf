//! What the suite, the chaos run and the benchmark share: a running stack, and HTTP towards it.

pub mod client;
pub mod document;
pub mod process;
pub mod stack;

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}
