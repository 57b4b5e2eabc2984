//! Files that are whole or not there at all, and private where they have to be.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::OfficeError;

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
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(privacy.file_mode()).open(&fresh)?;
    file.set_permissions(fs::Permissions::from_mode(privacy.file_mode()))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Whether others than its owner may read or write the file.
pub(super) fn is_exposed(path: &Path) -> Result<bool, OfficeError> {
    let metadata = fs::metadata(path).map_err(|error| failed(path, error))?;
    Ok(metadata.permissions().mode() & 0o077 != 0)
}
