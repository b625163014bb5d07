//! Cases that failed once, kept to be run again: a file of JSON each, in `corpus/sim/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Case, CheckReport, FailureKind, check_case};

/// A case with what is expected of it and why it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Why it is kept: what failed, and what repaired it or what is known of it.
    pub note: String,
    /// How it fails today; absent when it passes, as it does once its bug is repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<FailureKind>,
    /// The case.
    pub case: Case,
}

/// Why a saved case cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds no case.
    #[error("{path}: {error}")]
    Json {
        /// Where.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

impl Saved {
    /// The failed case of a report, to be looked into.
    pub fn of(report: &CheckReport) -> Self {
        let first = report.violations.first().map(ToString::to_string);
        let note = report.panic.clone().or(first).unwrap_or_default();
        Self { note, fails: report.failure, case: report.case.clone() }
    }

    /// The file's name: the seed, and how it fails or failed.
    pub fn file_name(&self) -> String {
        let kind = self.fails.map_or("passed", FailureKind::label);
        format!("{}-{kind}.json", self.case.seed)
    }

    /// Writes it into `folder`, which is made if it is not there; returns where.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, SavedError> {
        let path = folder.join(self.file_name());
        let io = |error| SavedError::Io { path: path.clone(), error };
        fs::create_dir_all(folder).map_err(io)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| SavedError::Json { path: path.clone(), error })?;
        fs::write(&path, text + "\n").map_err(io)?;
        Ok(path)
    }

    /// Reads every saved case of `folder`, by name.
    pub fn read_all(folder: &Path) -> Result<Vec<(PathBuf, Self)>, SavedError> {
        let io = |path: &Path, error| SavedError::Io { path: path.to_owned(), error };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| io(folder, error))? {
            let path = entry.map_err(|error| io(folder, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).map_err(|error| io(&path, error))?;
            let saved = serde_json::from_str(&text)
                .map_err(|error| SavedError::Json { path: path.clone(), error })?;
            Ok((path, saved))
        };
        paths.into_iter().map(read).collect()
    }

    /// Runs the case again.
    pub fn replay(&self) -> CheckReport {
        check_case(&self.case)
    }
}
