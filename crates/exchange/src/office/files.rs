//! Files that are whole or not there at all, and private where they have to be.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::OfficeError;

/// Names that are tried for a file on its way to its place, should a process before this one have left some.
const FRESH_TRIES_MAX: u32 = 1_000;

/// What a file may be seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Its owner alone.
    Private,
    /// Everyone who gets as far as its folder.
    Open,
}

impl Privacy {
    fn file_mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Open => 0o644,
        }
    }

    fn folder_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::Open => 0o750,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, OfficeError> {
    fs::read(path).map_err(|error| failed(path, error))
}

pub(super) fn read_text(path: &Path) -> Result<String, OfficeError> {
    fs::read_to_string(path).map_err(|error| failed(path, error))
}

pub(super) fn failed(path: &Path, error: io::Error) -> OfficeError {
    OfficeError::File { path: path.to_owned(), error }
}

/// Makes a folder and those above it; one that exists keeps its mode.
pub(super) fn make_folder(path: &Path, privacy: Privacy) -> Result<(), OfficeError> {
    DirBuilder::new().recursive(true).mode(privacy.folder_mode()).create(path).map_err(|error| failed(path, error))
}

/// Writes a file so that it is there whole, or as it was before.
pub(super) fn write(path: &Path, content: &[u8], privacy: Privacy) -> Result<(), OfficeError> {
    write_whole(path, content, privacy).map_err(|error| failed(path, error))
}

fn write_whole(path: &Path, content: &[u8], privacy: Privacy) -> io::Result<()> {
    let (fresh, file) = create_beside(path, privacy)?;
    if let Err(error) = fill(file, content, privacy).and_then(|()| fs::rename(&fresh, path)) {
        // it is nobody's: what stays of it is in nobody's way
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn fill(mut file: File, content: &[u8], privacy: Privacy) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(privacy.file_mode()))?;
    file.write_all(content)?;
    file.sync_all()
}

/// A file beside `path` that was not there: no other writer's, and no link that was laid out for it.
fn create_beside(path: &Path, privacy: Privacy) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut tries = 0;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.new", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let fresh = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).mode(privacy.file_mode()).open(&fresh) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < FRESH_TRIES_MAX => tries += 1,
            opened => return opened.map(|file| (fresh, file)),
        }
    }
}

/// Whether others than its owner may read or write the file.
pub(super) fn is_exposed(path: &Path) -> Result<bool, OfficeError> {
    let metadata = fs::metadata(path).map_err(|error| failed(path, error))?;
    Ok(metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_one_file_never_meet_and_no_link_leads_them_astray() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roster.json");
        let other = dir.path().join("other");
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("roster.json.new")).unwrap();
        let (one, mut half) = create_beside(&path, Privacy::Private).unwrap();
        half.write_all(b"half").unwrap();
        write(&path, b"whole", Privacy::Open).unwrap();
        assert!(one.exists(), "another writer's file stays");
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"whole".to_vec(), b"mine".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left over");
    }
}
