//! What the suite, the chaos run and the benchmark share: a running stack, and HTTP towards it.

pub mod client;
pub mod dlqs;
pub mod document;
pub mod process;
pub mod stack;

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Every Rust file in `folder` and below.
///
/// # Panics
/// The folder cannot be read.
#[expect(clippy::expect_used, reason = "a test that cannot go on should say where")]
pub fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
