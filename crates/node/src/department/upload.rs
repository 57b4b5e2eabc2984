//! Uploads on disk: the bytes of a file on their way in, until the ingest that reads them ends.
//!
//! A file must be read twice (for its hash, then for its rows), so it is kept whole. `NODE_DIR/spool`, mode 0700,
//! files 0600; what a crash left is removed at start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use civicmesh_exchange::link::Entropy;

/// The folder of uploads in a node's folder.
pub(crate) const SPOOL_FOLDER: &str = "spool";

/// Makes the folder of uploads in the node's folder `dir` and empties it. To be called by whoever holds the node's
/// databases: what lies there may be another process's.
pub(crate) fn prepare(dir: &Path) -> io::Result<PathBuf> {
    let spool = dir.join(SPOOL_FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&spool)?;
    must_be_own(dir)?;
    for entry in fs::read_dir(&spool)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(spool)
}

/// Refuses a folder of uploads that is a link: what is behind it is not the node's to empty.
pub(crate) fn must_be_own(dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(dir.join(SPOOL_FOLDER)) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "`spool` must be a folder of the node's own, and no link to another: remove it, the node makes it anew",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The file is larger than the node takes.
    #[error("the file is larger than {bytes_max} bytes, the node's limit")]
    TooLarge {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// One file on its way in. Dropped, it is gone from the disk.
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Upload {
    /// An empty upload in the folder `spool`, of at most `bytes_max` bytes.
    pub(crate) fn new(spool: &Path, bytes_max: u64, entropy: &dyn Entropy) -> io::Result<Upload> {
        let mut name = [0_u8; 16];
        entropy.fill(&mut name);
        let path = spool.join(hex::encode(name));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Upload { path, file, bytes: 0, bytes_max })
    }

    /// Appends the file's next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let total = self.bytes.saturating_add(bytes.len() as u64);
        if total > self.bytes_max {
            return Err(UploadError::TooLarge { bytes_max: self.bytes_max });
        }
        self.file.write_all(bytes)?;
        self.bytes = total;
        Ok(())
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the bytes lie.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "an upload could not be removed; it is at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_upload_is_private_bounded_and_gone_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let spool = prepare(dir.path()).unwrap();
        let mut upload = Upload::new(&spool, 8, Environment::real().entropy.as_ref()).unwrap();
        upload.write(b"time").unwrap();
        upload.write(b",x\n1").unwrap();
        assert!(matches!(upload.write(b"2"), Err(UploadError::TooLarge { bytes_max: 8 })));
        assert_eq!(upload.bytes(), 8);
        assert_eq!(fs::read(upload.path()).unwrap(), b"time,x\n1");
        assert_eq!(fs::metadata(upload.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let path = upload.path().to_owned();
        drop(upload);
        assert!(!path.exists());
    }

    #[test]
    fn a_spool_that_is_a_link_is_refused_and_what_is_behind_it_stays() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("thesis"), "years of work").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join(SPOOL_FOLDER)).unwrap();
        assert_eq!(prepare(dir.path()).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(other.path().join("thesis").exists());
    }

    #[test]
    fn what_a_crash_left_is_removed_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let spool = prepare(dir.path()).unwrap();
        fs::write(spool.join("left"), "over").unwrap();
        prepare(dir.path()).unwrap();
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
    }
}
