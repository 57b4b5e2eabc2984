//! A named, ordered map from keys to values within a store.

/// A column family. Declare each as a constant, beside the layout of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyspace {
    pub(crate) name: &'static str,
    pub(crate) blobs: bool,
    pub(crate) points: bool,
}

impl Keyspace {
    /// A keyspace of small values, read in order.
    pub const fn new(name: &'static str) -> Self {
        Self { name, blobs: false, points: false }
    }

    /// Values are large and already compressed: they stand in blob files, which compaction does not rewrite.
    pub const fn with_blobs(self) -> Self {
        Self { blobs: true, ..self }
    }

    /// Keys are mostly asked for one by one and mostly absent: they get a bloom filter.
    pub const fn with_bloom(self) -> Self {
        Self { points: true, ..self }
    }

    /// Its name, which is its column family's.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}
