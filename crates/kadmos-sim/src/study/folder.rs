//! The report of a study on disk: what was run, its tables, its data, its figures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::plot::{PlotError, svg};
use super::report::StudyReport;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The disk refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A figure cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a StudyReport,
}

/// Writes `report.txt`, `report.json` and a picture for each figure into `folder`, which is made if need be; files of an
/// earlier run of the same study are replaced. Returns what was written. The command and the seed are in both
/// reports.
///
/// Errors: [`FolderError`].
pub fn write_folder(report: &StudyReport, folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    fs::create_dir_all(folder).map_err(|source| FolderError::Io { path: folder.into(), source })?;
    let mut written = Vec::new();
    let mut write = |name: String, contents: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, contents).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        written.push(path);
        Ok::<(), FolderError>(())
    };
    write("report.txt".into(), report.to_string().as_bytes())?;
    let document = Document { schema: "kadmos.study/1", report };
    let json = serde_json::to_vec_pretty(&document)
        .map_err(|error| FolderError::Io { path: folder.join("report.json"), source: error.into() })?;
    write("report.json".into(), &json)?;
    for figure in &report.figures {
        write(format!("{}.svg", figure.name), svg(figure)?.as_bytes())?;
    }
    Ok(written)
}
