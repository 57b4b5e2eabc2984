//! What can be wrong with a batch of raw rows; never says which value.

/// Why a batch of rows was refused. Column names are in it, values never are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObservationError {
    /// The batch's columns are not those of the layout.
    #[error("the columns of these observations are not those of their layout: {reason} (column `{column}`)")]
    Columns {
        /// The first column that differs.
        column: String,
        /// How it differs.
        reason: &'static str,
    },
    /// A column holds a null where every row must have a value.
    #[error("column `{column}` holds a null, and every observation must have a value there")]
    Null {
        /// The column's name.
        column: String,
    },
    /// A measure has more digits than an exact number may have.
    #[error("column `{column}` holds a number of more than {} digits", civicmesh_model::number::DIGITS_MAX)]
    Digits {
        /// The column's name.
        column: String,
    },
    /// A count of contributors below zero.
    #[error("column `{column}` holds a negative count of contributors")]
    NegativeCount {
        /// The column's name.
        column: String,
    },
    /// Two contracts over one dataset write the same measure with different decimals.
    #[error("measure `{measure}` has {one} decimals in one contract and {other} in another over the same dataset")]
    Decimals {
        /// The measure's name.
        measure: String,
        /// Decimals in the first contract.
        one: u8,
        /// Decimals in the other.
        other: u8,
    },
    /// Bytes that are no encoded observations.
    #[error("a stored block of observations cannot be read: {0}")]
    Block(&'static str),
    /// Observations that are too large to be encoded as one block.
    #[error("a block of observations would take {bytes} bytes, and {} is the most", crate::BLOCK_BYTES_MAX)]
    TooLarge {
        /// Its size before compression.
        bytes: usize,
    },
}
