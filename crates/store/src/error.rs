//! What can go wrong with a database, told apart where an operator acts differently.

use rocksdb::ErrorKind;
use std::path::PathBuf;

/// Why a store could not be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the database.
    #[error("another civicmesh node has {} open", path.display())]
    Locked {
        /// The database's directory.
        path: PathBuf,
    },
    /// The disk or its quota is full; nothing of the batch is stored.
    #[error("the disk is full: nothing of this batch was stored")]
    DiskFull,
    /// The directory cannot be made or its mode not set.
    #[error("the database's directory {} cannot be used: {reason}", path.display())]
    Directory {
        /// The database's directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The stored bytes are damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The disk answered with an error.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// RocksDB refused for another reason.
    #[error("the database refused: {0}")]
    Refused(String),
    /// A [`Hook`](crate::Hook) failed this batch on purpose.
    #[error("batch {batch} was failed on purpose")]
    Injected {
        /// Which batch since the store was opened, from 1.
        batch: u64,
    },
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let kind = error.kind();
        Self::classify(kind, error.into_string())
    }
}

impl StoreError {
    /// The error of an attempt to open `path`: here a failed lock has its own meaning.
    pub(crate) fn of_opening(path: PathBuf, error: rocksdb::Error) -> Self {
        match Self::from(error) {
            Self::Disk(text) if text.contains("/LOCK") || text.contains("lock hold by") => Self::Locked { path },
            other => other,
        }
    }

    /// Whether a write that failed so is the last: RocksDB then refuses all others until it is opened anew. It waits
    /// for space by itself.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Disk(_) | Self::Refused(_))
    }

    fn classify(kind: ErrorKind, text: String) -> Self {
        let full = ["No space left on device", "Disk quota exceeded"];
        match kind {
            ErrorKind::IOError if full.iter().any(|phrase| text.contains(phrase)) => Self::DiskFull,
            ErrorKind::IOError => Self::Disk(text),
            ErrorKind::Corruption => Self::Damaged(text),
            _ => Self::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_failing_one() {
        // As RocksDB words them.
        let of = |kind, text: &str| StoreError::classify(kind, text.into());
        let full = "IO error: No space left on device: While appending to file: /x/000004.log: No space left on device";
        assert_eq!(of(ErrorKind::IOError, full), StoreError::DiskFull);
        assert!(matches!(of(ErrorKind::IOError, "IO error: While fsync: /x: Input/output error"), StoreError::Disk(_)));
        assert!(matches!(of(ErrorKind::Corruption, "Corruption: block checksum mismatch"), StoreError::Damaged(_)));
    }
}
