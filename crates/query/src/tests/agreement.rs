//! Whether the engine over cells agrees with plain SQL over raw rows.
