//! What an entry of a product's log says: a release, a refused window, or a run of empty ones.
//!
//! An [`Entry`]'s canonical bytes ([`Entry::encode`]) are what is hashed, logged, sent and kept. [`Entry::decode`]
//! takes no other bytes for the same entry, and none for an entry that breaks the rules of [`Entry::check`].

mod check;
mod layout;

use crate::codec::CodecError;
use crate::grain::Window;
use crate::hash::Hash32;
use crate::names::ProductId;
use crate::number::MeasureState;
use crate::sketch::SketchError;
use crate::time::UtcMicros;

/// Most dimensions of a product.
pub const DIMENSIONS_MAX: usize = 16;
/// Most measures of a product.
pub const MEASURES_MAX: usize = 64;
/// Longest name of a dimension or measure, in bytes.
pub const COLUMN_NAME_BYTES_MAX: usize = 64;
/// Most cells of a window, suppressed ones included.
pub const CELLS_MAX: usize = 100_000;
/// Most states of a window: cells times measures.
pub const STATES_MAX: usize = 200_000;
/// Longest value of a dimension, in bytes.
pub const COORDINATE_BYTES_MAX: usize = 256;
/// All the values of dimensions in an entry, in bytes, their lengths included.
pub const COORDINATES_BYTES_MAX: usize = 4 << 20;
/// Most columns of sketches.
pub const SKETCHES_MAX: usize = MEASURES_MAX;
/// Longest entry, in bytes; the bounds above leave room below it (a test reckons).
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// One entry of a product's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A window's cells.
    Release(Release),
    /// A window that cannot be released, and why.
    Refusal(RefusedWindow),
    /// Windows in which nothing was observed.
    Empty(EmptyRun),
}

/// A disclosed window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The product.
    pub product: ProductId,
    /// The window in UTC, never an index into a calendar: the rules of time zones change.
    pub window: Window,
    /// 0 at first, one more each time late observations change it.
    pub revision: u32,
    /// Hash of the contract's public document that it was made under.
    pub contract: Hash32,
    /// How it was disclosed.
    pub method: MethodTag,
    /// Every window that ends by then is in the log up to this entry.
    pub closed_through: UtcMicros,
    /// Names of the dimensions, in the order of coordinates.
    pub dimensions: Vec<String>,
    /// Names of the measures, in the order of states.
    pub measures: Vec<String>,
    /// Decimals of each measure.
    pub decimals: Vec<u8>,
    /// Which sketches cells have, in the order of [`Cell::sketches`].
    pub sketches: Vec<SketchColumn>,
    /// The published cells, sorted by coordinate.
    pub cells: Vec<Cell>,
    /// The cells that are held back, sorted by coordinate.
    pub suppressed: Vec<Suppressed>,
    /// How many of the observations are held back.
    pub suppressed_share: ShareBand,
    /// What the published cells rest on.
    pub coverage: ReleaseCoverage,
    /// Keeps the hash of a small or erased release from being guessed.
    pub salt: [u8; 32],
}

/// One coordinate in the dimensions within a window, with what is known of its measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// A value for each dimension.
    pub coordinate: Vec<String>,
    /// How many observations it rests on.
    pub observations: u64,
    /// A state for each measure.
    pub measures: Vec<MeasureState>,
    /// The bytes of a sketch for each of [`Release::sketches`], empty where there is no value.
    pub sketches: Vec<Vec<u8>>,
}

/// Sketches of one column, one a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SketchColumn {
    /// What is sketched.
    pub kind: SketchKind,
    /// The measure, or the column whose distinct values are counted.
    pub name: String,
}

/// What is sketched of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SketchKind {
    /// The quantiles of a measure's values ([`crate::sketch::Quantiles`]).
    Quantiles,
    /// How many distinct values a column has ([`crate::sketch::Distinct`]).
    Distinct,
}

/// Whether so many states and these sketches find room in one release.
pub fn sketches_fit<'s>(states: usize, sketches: impl Iterator<Item = &'s [u8]>) -> bool {
    const ROOM_BYTES: usize = STATES_MAX * layout::STATE_BYTES_MAX;
    let taken = states.saturating_mul(layout::STATE_BYTES_MAX);
    let mut taken = sketches.map(|sketch| sketch.len() + layout::SKETCH_LENGTH_BYTES_MAX).scan(taken, |sum, bytes| {
        *sum = sum.saturating_add(bytes);
        Some(*sum)
    });
    taken.all(|taken| taken <= ROOM_BYTES)
}

/// A cell that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// A value for each dimension.
    pub coordinate: Vec<String>,
    /// Why.
    pub reason: SuppressionReason,
}

/// Why a cell is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuppressionReason {
    /// It has fewer contributors than the contract's k.
    BelowThreshold,
}

/// The disclosure method of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodTag {
    /// As it is: about no person.
    Open,
    /// Cells of at least `k` contributors.
    Threshold {
        /// Least number of contributors of a published cell.
        k: u64,
    },
}

/// The share of observations that is held back, in percent, in bands so that it tells no count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShareBand {
    /// Nothing is held back.
    #[default]
    None,
    /// Under 1 %.
    Under1,
    /// Under 5 %.
    Under5,
    /// Under 20 %.
    Under20,
    /// 20 % and more.
    More,
}

impl ShareBand {
    /// The band of `suppressed` out of `total` observations.
    pub fn of(suppressed: u64, total: u64) -> Self {
        let under = |percent: u128| u128::from(suppressed) * 100 < u128::from(total) * percent;
        match suppressed {
            0 => Self::None,
            _ if under(1) => Self::Under1,
            _ if under(5) => Self::Under5,
            _ if under(20) => Self::Under20,
            _ => Self::More,
        }
    }
}

/// What the published cells of a release rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseCoverage {
    /// Observations in published cells.
    pub observations: u64,
    /// Sources with an observation in the window. 0 means not told: a threshold release never tells, for it would count
    /// a source whose observations are all held back.
    pub sources: u32,
}

/// A window that the gate refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWindow {
    /// The product.
    pub product: ProductId,
    /// The window.
    pub window: Window,
    /// 0 at first, one more each time late observations change it.
    pub revision: u32,
    /// Hash of the contract's public document.
    pub contract: Hash32,
    /// Every window that ends by then is in the log up to this entry.
    pub closed_through: UtcMicros,
    /// Why.
    pub reason: RefusalReason,
    /// Keeps the hash from being guessed.
    pub salt: [u8; 32],
}

/// Why a window was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// A sum left the bounds of exact numbers.
    Overflow,
    /// More cells, or more bytes of their sketches, than a release may have.
    TooManyCells,
    /// Dimensions' values longer than a release may hold.
    TooLong,
    /// Raw observations of the window were past their retention before it was closed.
    Expired,
}

/// A run of consecutive windows in which nothing was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptyRun {
    /// The product.
    pub product: ProductId,
    /// Where the first window begins.
    pub start: UtcMicros,
    /// Where the last window ends.
    pub end: UtcMicros,
    /// How many windows.
    pub windows: u64,
    /// Hash of the contract's public document.
    pub contract: Hash32,
    /// Every window that ends by then is in the log up to this entry.
    pub closed_through: UtcMicros,
    /// Whether nothing observed means zero; else that it is missing.
    pub zero: bool,
    /// Keeps the hash from being guessed.
    pub salt: [u8; 32],
}

/// Why bytes, or an entry, are none that a log may hold. The text never says a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes are not in canonical form.
    #[error("not canonical: {0}")]
    Codec(#[from] CodecError),
    /// More bytes than an entry may have.
    #[error("longer than {ENTRY_BYTES_MAX} bytes")]
    TooLong,
    /// An encoding version that this node does not know.
    #[error("encoding version {0} is unknown: this node is older than the one that wrote it")]
    Version(u8),
    /// A tag that stands for nothing.
    #[error("the tag of the {0} stands for nothing")]
    Tag(&'static str),
    /// A name that breaks its rule.
    #[error("the {0} is not a valid name")]
    Name(&'static str),
    /// A sketch that is none.
    #[error(transparent)]
    Sketch(#[from] SketchError),
    /// A bound, or two parts that contradict each other.
    #[error("{0}")]
    Rule(&'static str),
}

impl Entry {
    /// Its product.
    pub fn product(&self) -> &ProductId {
        match self {
            Self::Release(release) => &release.product,
            Self::Refusal(refusal) => &refusal.product,
            Self::Empty(run) => &run.product,
        }
    }

    /// The stretch of time it speaks for: its window, or from its first window to its last.
    pub fn window(&self) -> Window {
        match self {
            Self::Release(release) => release.window,
            Self::Refusal(refusal) => refusal.window,
            Self::Empty(run) => Window { start: run.start, end: run.end },
        }
    }

    /// How many windows it speaks for.
    pub fn windows(&self) -> u64 {
        match self {
            Self::Release(_) | Self::Refusal(_) => 1,
            Self::Empty(run) => run.windows,
        }
    }

    /// Its revision; an empty run has but one.
    pub fn revision(&self) -> u32 {
        match self {
            Self::Release(release) => release.revision,
            Self::Refusal(refusal) => refusal.revision,
            Self::Empty(_) => 0,
        }
    }

    /// Hash of the contract it was made under.
    pub fn contract(&self) -> Hash32 {
        match self {
            Self::Release(release) => release.contract,
            Self::Refusal(refusal) => refusal.contract,
            Self::Empty(run) => run.contract,
        }
    }

    /// Every window that ends by then is in the log up to this entry.
    pub fn closed_through(&self) -> UtcMicros {
        match self {
            Self::Release(release) => release.closed_through,
            Self::Refusal(refusal) => refusal.closed_through,
            Self::Empty(run) => run.closed_through,
        }
    }
}

#[cfg(test)]
mod tests;
