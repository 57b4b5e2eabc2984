//! The report of a run: one HTML file that stands by itself, and every figure as JSON.
//!
//! Plots are drawn by `plotters`; the map and the timeline are shapes of our own, which no plotting library has.

mod figures;
mod map;
pub mod of_run;
mod page;
mod plot;
#[cfg(test)]
mod tests;
mod timeline;
pub mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use figures::{
    Axis, Chart, CheckFigures, FaultSpan, Figures, Graph, Headline, Line, LinkFigures, NodeFigures, Section, Table,
    Unit,
};
pub use plot::PlotError;

/// The page's file.
pub const PAGE_FILE: &str = "report.html";
/// The figures' file.
pub const FIGURES_FILE: &str = "report.json";

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A plot cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The figures cannot be written as JSON.
    #[error("the figures cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file cannot be written.
    #[error("{}: {error}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Writes `report.html` and `report.json` into the folder, which is made if need be. Returns where the page is.
pub fn write(figures: &Figures, folder: &Path) -> Result<PathBuf, ReportError> {
    let (page, json) = (page::html(figures)?, serde_json::to_string_pretty(figures)?);
    let put = |name: &str, content: &str| {
        let file = folder.join(name);
        fs::write(&file, content).map_err(|error| ReportError::File { file: file.clone(), error })?;
        Ok::<_, ReportError>(file)
    };
    fs::create_dir_all(folder).map_err(|error| ReportError::File { file: folder.to_owned(), error })?;
    put(FIGURES_FILE, &json)?;
    put(PAGE_FILE, &page)
}
