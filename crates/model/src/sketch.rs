//! Sketches from Apache DataSketches: small states of which quantiles, or a number of distinct values, can be told
//! within a bound, and which merge. Java, C++ and Python read their bytes as they stand in a release.
//!
//! A sketch of quantiles (KLL) draws at random which values it keeps: its bytes are drawn once, when a window is
//! released, and stored. A sketch of distinct values (HLL) depends on nothing but the values, and its bytes are put in
//! one canonical form, which tells no order in which they came.
//!
//! Bytes that come from elsewhere are checked before the library sees them, as it trusts lengths and registers that
//! would end the process.

mod distinct;
mod quantiles;

pub use self::distinct::{DISTINCT_LG_K, Distinct};
pub use self::quantiles::{QUANTILES_K, Quantiles};

/// Longest sketch, in bytes: above what either kind can have (tests reckon).
pub const SKETCH_BYTES_MAX: usize = 8 << 10;

/// Why bytes are no sketch that a release may hold, or two sketches do not merge. The text never says a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// Longer than any sketch is.
    #[error("a sketch is longer than {SKETCH_BYTES_MAX} bytes")]
    TooLong,
    /// They are none, or not in the one form that is written.
    #[error("the bytes of a sketch are not as a release holds them")]
    Malformed,
    /// Together they would hold more values than can be counted.
    #[error("a sketch of more values than can be counted")]
    TooMany,
}
