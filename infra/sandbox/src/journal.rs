//! The journal: state that survives a restart, in one append-only file of JSON lines.

use crate::alis;
use crate::answer::Object;
use crate::ledger::Entry;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FILE_NAME: &str = "journal.jsonl";

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// An entry of the ledger; its row is rebuilt from it too.
    Effect(Entry),
    /// The ledger was emptied. Rows stay.
    LedgerCleared,
    /// ALIS was changed through its control routes.
    Alis(alis::Change),
    /// The fault rules from here on.
    Faults(Vec<Object>),
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("opening the sandbox's state {path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// A line before the last is invalid: the later lines depend on it.
    #[error("reading line {line} of the sandbox's state {path}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The error.
        #[source]
        source: serde_json::Error,
    },
}

/// The open file, or none when state is stored in memory only.
#[derive(Default)]
pub(crate) struct Journal(Option<Mutex<Tail>>);

struct Tail {
    file: File,
    length: u64,
}

impl Journal {
    /// Opens the journal in `directory` and returns its lines.
    ///
    /// A process killed while writing leaves a torn last line. Its request was never answered, so that it is cut off.
    pub(crate) fn open(directory: Option<&Path>) -> Result<(Self, Vec<Line>), OpenError> {
        let Some(directory) = directory else { return Ok((Self(None), Vec::new())) };
        let path = directory.join(FILE_NAME);
        let failed = |source| OpenError::File { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let content = fs::read(&path).map_err(failed)?;
        let (mut lines, mut length) = (Vec::new(), 0);
        for text in content.split_inclusive(|byte| *byte == b'\n') {
            let whole = text.ends_with(b"\n");
            match serde_json::from_slice(text) {
                Ok(line) if whole => lines.push(line),
                Err(source) if length + text.len() < content.len() => {
                    return Err(OpenError::Line { path, line: lines.len() + 1, source });
                }
                _ => break,
            }
            length += text.len();
        }
        if length < content.len() {
            tracing::warn!(
                bytes = content.len() - length,
                "the sandbox's journal ended in a torn line; it was cut off"
            );
            file.set_len(length as u64).map_err(failed)?;
        }
        Ok((Self(Some(Mutex::new(Tail { file, length: length as u64 }))), lines))
    }

    /// Writes all of `lines` or none; once written they survive the death of this process.
    pub(crate) fn append(&self, lines: &[Line]) -> io::Result<()> {
        let Some(tail) = &self.0 else { return Ok(()) };
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tail.file.write_all(&text) {
            tail.file.set_len(tail.length)?;
            return Err(error);
        }
        tail.length += text.len() as u64;
        Ok(())
    }
}
