//! How a store is opened.

use crate::{Hook, Keyspace, StoreError};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Who may enter a database's directory. RocksDB makes its files readable as the process's umask says; the
/// directory is what keeps others out, so its mode is set each time it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryMode {
    /// `0700`: the node's own user.
    Owner,
    /// `0750`: the node's user, and its group for reading.
    OwnerAndGroup,
}

impl DirectoryMode {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::OwnerAndGroup => 0o750,
        }
    }
}

/// A disk that exists in memory only. Clones are the same disk: a store that is dropped and opened again on it
/// finds all that was committed.
#[derive(Clone)]
pub struct MemoryDisk(pub(crate) rocksdb::Env);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Result<Self, StoreError> {
        Ok(Self(rocksdb::Env::mem_env()?))
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

/// Where the bytes go.
#[derive(Debug, Clone, Default)]
pub enum Environment {
    /// The file system.
    #[default]
    Disk,
    /// Memory, for the simulation and tests; one disk holds one database.
    Memory(MemoryDisk),
}

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Every keyspace that the store may hold; those that do not exist yet are made.
    pub keyspaces: &'static [Keyspace],
    /// Who may enter its directory.
    pub directory_mode: DirectoryMode,
    /// Where the bytes go.
    pub environment: Environment,
    /// Fails batches on purpose.
    pub hook: Option<Arc<dyn Hook>>,
}

impl Options {
    /// A store on the file system, without a hook.
    pub fn new(keyspaces: &'static [Keyspace], directory_mode: DirectoryMode) -> Self {
        Self { keyspaces, directory_mode, environment: Environment::Disk, hook: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("keyspaces", &self.keyspaces.iter().map(Keyspace::name).collect::<Vec<_>>())
            .field("directory_mode", &self.directory_mode)
            .field("environment", &self.environment)
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

/// Makes the directory and sets its mode, whatever the umask.
pub(crate) fn prepare_directory(path: &Path, mode: DirectoryMode) -> Result<(), StoreError> {
    let refuse = |error: std::io::Error| StoreError::Directory { path: path.into(), reason: error.to_string() };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        // Made closed, then opened as far as asked: there is no moment in which it is open too far.
        builder.mode(DirectoryMode::Owner.bits());
        builder.create(path).map_err(refuse)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.bits())).map_err(refuse)
    }
    #[cfg(not(unix))]
    {
        let _ = mode;
        builder.create(path).map_err(refuse)
    }
}
