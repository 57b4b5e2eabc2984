//! Every figure of a run, in the form in which a report shows them and `report.json` holds them.

use serde::Serialize;

/// A whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// What was run.
    pub title: String,
    /// One sentence: what came of it.
    pub verdict: String,
    /// Whether everything that was checked holds; none where nothing is promised, but compared.
    pub holds: Option<bool>,
    /// What the scenario is to show, in its own words.
    pub purpose: String,
    /// The seed.
    pub seed: u64,
    /// The figures to be seen first.
    pub headlines: Vec<Headline>,
    /// The nodes.
    pub nodes: Vec<NodeFigures>,
    /// Bytes on each link.
    pub links: Vec<LinkFigures>,
    /// What was done to the city, sorted by its beginning.
    pub faults: Vec<FaultSpan>,
    /// Length of the run in simulated hours.
    pub hours: f64,
    /// What was checked.
    pub checks: Vec<CheckFigures>,
    /// Everything else, in order.
    pub sections: Vec<Section>,
    /// What the reader must know to judge the figures.
    pub notes: Vec<String>,
    /// What the figures were made of, for programs; not on the page.
    pub measured: serde_json::Value,
}

/// A figure to be seen first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Headline {
    /// The figure with its unit, as people read it.
    pub figure: String,
    /// What it is, in a few words.
    pub what: String,
}

/// One node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeFigures {
    /// Its domain.
    pub domain: String,
    /// What kind of department it is.
    pub kind: String,
    /// Rows that it took in.
    pub rows: u64,
    /// Rows that it rejected.
    pub rejected: u64,
    /// Rows that it had already.
    pub duplicates: u64,
    /// How often it was started.
    pub starts: u64,
    /// Bytes in its databases; none where they were not measured.
    pub stored_bytes: Option<u64>,
}

/// Bytes that went from one node to another.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinkFigures {
    /// Who sent them.
    pub from: String,
    /// Who received them.
    pub to: String,
    /// How many.
    pub bytes: u64,
}

/// A stretch of time in which something was broken.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultSpan {
    /// When it began, in hours from the start.
    pub from_hours: f64,
    /// When it ended.
    pub until_hours: f64,
    /// What was broken, and whom it hit, in a few words.
    pub what: String,
}

/// What one checker found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckFigures {
    /// The invariant.
    pub name: String,
    /// Whether it held.
    pub held: bool,
    /// How many things were looked at.
    pub looked_at: u64,
    /// What they were: windows, answers, bytes.
    pub of: String,
    /// What was found, if it did not hold; else what it means that it did.
    pub finding: String,
}

/// A part of the report under a heading.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// What it says, a paragraph each.
    pub paragraphs: Vec<String>,
    /// Drawings of who tells whom.
    pub graphs: Vec<Graph>,
    /// Plots.
    pub charts: Vec<Chart>,
    /// Tables.
    pub tables: Vec<Table>,
}

/// Nodes and what passes between them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Graph {
    /// What it shows.
    pub title: String,
    /// What the reader should see in it.
    pub caption: String,
    /// The nodes, in the order in which they stand around.
    pub nodes: Vec<NodeFigures>,
    /// What passes between each two.
    pub links: Vec<LinkFigures>,
    /// The domain that stands in the middle, if one does.
    pub hub: Option<String>,
    /// The bytes that the thickest line stands for, so that two drawings have one scale; by default the most of any.
    pub bytes_most: Option<u64>,
}

/// A plot of lines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Chart {
    /// What it shows, as a sentence or the start of one.
    pub title: String,
    /// What the reader should see in it.
    pub caption: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, eight at the most; further ones are left to the JSON.
    pub lines: Vec<Line>,
}

/// An axis.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// Equal steps are equal factors.
    pub log: bool,
    /// How its numbers are written.
    pub unit: Unit,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// As they are.
    #[default]
    Plain,
    /// B, kB, MB, GB.
    Bytes,
    /// Parts of one as per cent.
    Share,
    /// Hours since the start, marked by hours and days.
    Hours,
}

/// A line of a plot.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// A table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// What it holds.
    pub caption: String,
    /// The heads of its columns; the first column names the row, the others hold figures.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// What stands below it.
    pub notes: Vec<String>,
}
