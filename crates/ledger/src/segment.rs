//! Segments: contiguous runs of the newest entries of a product, merged into columns that a question reads a few of.
//!
//! A segment holds all that its releases say, so that their canonical bytes can be rebuilt from it and need not be
//! kept beside it; of a refusal or a run of empty windows it holds what questions need. Its rows are stretches of time
//! without a gap. Cells stand in the order of rows and, within a row, of coordinates.
//!
//! ```text
//! part 0     rows: kind, length in microseconds, index above the last one's, revision, windows, closed-through above
//!            the end, cells, suppressed cells, share band, sources
//! part 1     salts of releases, 32 bytes each
//! part 2     coordinates that occur, in order: for each its values (length:LEB128, UTF-8), all in one plane after
//!            their length:LEB128
//! part 3     of each cell, which coordinate
//! part 4     of each suppressed cell, which coordinate, then why
//! part 5     of each cell, how many observations
//! part 16+8m of measure m, of each cell: count less observations; +1 sum less count × the measure's mean here; +2 sum
//!            of squares less sum² / count, halved if all are as even as their sum says; +3 sum / count less the least;
//!            +4 the greatest less sum / count; +5 of each release, which extremes it has (bit 0 the least, bit 1 the
//!            greatest)
//! part 1024+s of the s-th column of sketches: of each cell, how long its sketch is; all of them in one plane
//! ```
//! Every part but salts and coordinates is made of columns (see [`column`]). What is said less another number says
//! less; sums and squares that no cell has are left out.
//!
//! The leaf of a release can be reckoned from it, and is stored nowhere else. Version 1 kept it beside.

pub(crate) mod column;
mod columns;
mod reading;
mod writing;

use std::collections::BTreeMap;

use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::{EmptyRun, Entry, ShareBand, SketchColumn};
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Read;
use serde::{Deserialize, Serialize};

pub use self::column::Numbers;
pub(crate) use self::columns::Columns;
pub use self::reading::{Segment, Sketches, States, Wanted};
pub(crate) use self::writing::Builder;

use crate::error::LedgerError;
use crate::keys::segment;

/// Most rows of a segment.
pub(crate) const SEGMENT_ROWS_MAX: usize = 4096;
/// A segment of so many cells, suppressed ones included, takes no more.
pub(crate) const SEGMENT_CELLS_MAX: usize = 32_768;

/// A segment whose sketches take so many bytes takes no more.
pub(crate) const SEGMENT_SKETCH_BYTES_MAX: usize = 4 << 20;

/// The version of the layout, and the first one, which is read and made anew.
const VERSION: u8 = 2;
const VERSION_MIN: u8 = 1;

const ROWS: u16 = 0;
const SALTS: u16 = 1;
const COORDINATES: u16 = 2;
const CELLS: u16 = 3;
const SUPPRESSED: u16 = 4;
const OBSERVATIONS: u16 = 5;

const COUNT: u16 = 0;
const SUM: u16 = 1;
const SUM_SQUARES: u16 = 2;
const MIN: u16 = 3;
const MAX: u16 = 4;
const EXTREMES: u16 = 5;

const HAS_MIN: i64 = 1;
const HAS_MAX: i64 = 2;

fn measure_part(measure: usize, column: u16) -> u16 {
    16 + 8 * u16::try_from(measure).expect("the number of measures is bounded") + column
}

fn sketch_part(column: usize) -> u16 {
    1024 + u16::try_from(column).expect("the number of sketches is bounded")
}

/// What is known of a segment without its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) version: u8,
    /// Where its last window ends.
    pub(crate) end: UtcMicros,
    pub(crate) rows: usize,
    pub(crate) cells: usize,
    pub(crate) suppressed: usize,
    pub(crate) coordinates: usize,
    /// Canonical bytes of its releases together.
    pub(crate) body_bytes: u64,
    /// Bytes of its sketches.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) sketch_bytes: usize,
    /// A hash of all its columns, by which it is told from what stands in its place before or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Hash32>,
    /// The leaves that are reckoned from it; none if there are none, or they are stored by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaves: Option<HeldLeaves>,
    /// What its releases have in common; none if there is none.
    pub(crate) releases: Option<Layout>,
}

/// The leaves of a segment's releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldLeaves {
    /// The least of their indexes.
    pub(crate) first: u64,
    /// The greatest.
    pub(crate) last: u64,
    /// A hash of them all, in the order of rows.
    pub(crate) hash: Hash32,
}

/// What all releases of a segment have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    pub(crate) contract: Hash32,
    /// The threshold; none of an open product.
    pub(crate) k: Option<u64>,
    pub(crate) dimensions: Vec<String>,
    pub(crate) measures: Vec<MeasureLayout>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sketches: Vec<SketchColumn>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasureLayout {
    pub(crate) name: String,
    pub(crate) decimals: u8,
    /// About the mean of its values in the segment, scaled.
    pub(crate) mean: i64,
    pub(crate) sums: bool,
    pub(crate) squares: bool,
    /// Whether what is known of squares is halved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) halved: bool,
}

impl Header {
    /// Whether it may still grow.
    pub(crate) fn is_small(&self) -> bool {
        self.rows < SEGMENT_ROWS_MAX / 4
            && self.cells + self.suppressed < SEGMENT_CELLS_MAX / 2
            && self.sketch_bytes < SEGMENT_SKETCH_BYTES_MAX / 2
    }

    /// Whether an earlier version made it, which took more room.
    pub(crate) fn is_outdated(&self) -> bool {
        self.version < VERSION
    }

    /// Whether the releases of both can stand in one segment.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (&self.releases, &other.releases) {
            (Some(ours), Some(theirs)) => ours.is_like(theirs),
            _ => true,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        crate::keys::to_json(self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        let header: Self = crate::keys::from_json(bytes)?;
        match header.version {
            VERSION_MIN..=VERSION => Ok(header),
            _ => Err(LedgerError::Damaged("a segment of a version that this node does not know")),
        }
    }
}

impl Layout {
    fn is_like(&self, other: &Self) -> bool {
        let column = |measure: &MeasureLayout| (measure.name.clone(), measure.decimals);
        (self.contract, self.k) == (other.contract, other.k)
            && self.dimensions == other.dimensions
            && self.measures.iter().map(column).eq(other.measures.iter().map(column))
            && self.sketches == other.sketches
    }
}

/// What a row of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A disclosed window.
    Release,
    /// A refused window.
    Refusal,
    /// Windows in which nothing was observed.
    Empty {
        /// Whether that means zero; else that it is missing.
        zero: bool,
    },
}

/// A row of a segment: a stretch of time, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// What it is.
    pub kind: RowKind,
    /// Where it begins.
    pub start: UtcMicros,
    /// Where it ends.
    pub end: UtcMicros,
    /// Its entry's index in the log.
    pub index: u64,
    /// Its revision.
    pub revision: u32,
    /// How many windows it is.
    pub windows: u64,
    /// The first of its cells among the segment's; the next row's is the first after them.
    pub first_cell: usize,
    /// The first of its suppressed cells, likewise.
    pub first_suppressed: usize,
    /// The share that is held back.
    pub suppressed_share: ShareBand,
    pub(crate) closed_through: UtcMicros,
    sources: u32,
}

/// Where a segment's columns come from.
pub(crate) enum Source<'s> {
    Stored { moment: &'s civicmesh_store::Snapshot<'s>, product: ProductId, start: UtcMicros },
    Held(BTreeMap<u16, Vec<u8>>),
}

impl Source<'_> {
    fn part<T>(&self, part: u16, read: impl FnOnce(&[u8]) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        const MISSING: LedgerError = LedgerError::Damaged("a segment without one of its columns");
        match self {
            Self::Stored { moment, product, start } => {
                let value = moment.get(segment::COLUMNS, &segment::column_key(product, *start, part))?;
                read(&value.ok_or(MISSING)?)
            }
            Self::Held(columns) => read(columns.get(&part).ok_or(MISSING)?),
        }
    }
}

/// What a row is made of.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) index: u64,
    /// Of a run of empty windows, as much as is still the newest.
    pub(crate) entry: Entry,
}

impl Placed {
    fn kind(&self) -> RowKind {
        match &self.entry {
            Entry::Release(_) => RowKind::Release,
            Entry::Refusal(_) => RowKind::Refusal,
            Entry::Empty(EmptyRun { zero, .. }) => RowKind::Empty { zero: *zero },
        }
    }
}

impl RowKind {
    const KINDS: [Self; 4] = [Self::Release, Self::Refusal, Self::Empty { zero: false }, Self::Empty { zero: true }];

    fn tag(self) -> i128 {
        Self::KINDS.iter().position(|kind| *kind == self).expect("every kind has a tag") as i128
    }
}

const BANDS: [ShareBand; 5] =
    [ShareBand::None, ShareBand::Under1, ShareBand::Under5, ShareBand::Under20, ShareBand::More];

#[cfg(test)]
pub(crate) mod tests;
