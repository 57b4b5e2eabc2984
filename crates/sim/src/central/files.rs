//! The files of a city on disk, so that drawing them is in no measurement.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};

use crate::city::City;

/// The files of a city.
pub(super) struct Files {
    folder: PathBuf,
    /// By department in the city's order, in the order in which they are sent.
    pub of: Vec<Vec<PathBuf>>,
    /// Rows that were written.
    pub rows: u64,
    /// Those of them that are about people.
    pub personal_rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The same under zstd.
    pub packed_bytes: u64,
}

impl Files {
    /// Writes the files of the city's first `hours` hours.
    pub(super) fn write(city: &City, hours: u32, folder: &Path) -> anyhow::Result<Files> {
        let mut files =
            Files { folder: folder.to_owned(), of: Vec::new(), rows: 0, personal_rows: 0, bytes: 0, packed_bytes: 0 };
        for of in &city.departments {
            let own = folder.join(&of.domain);
            fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
            let mut written = Vec::new();
            for feed in of.feeds(city).take(hours as usize) {
                let feed = feed.with_context(|| of.domain.clone())?;
                let file = own.join(&feed.name);
                fs::write(&file, &feed.csv).with_context(|| file.display().to_string())?;
                files.rows += feed.rows;
                files.personal_rows += if of.personal { feed.rows } else { 0 };
                files.bytes += feed.csv.len() as u64;
                files.packed_bytes += packed_bytes(&feed.csv)?;
                written.push(file);
            }
            files.of.push(written);
        }
        Ok(files)
    }

    /// Removes them.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| self.folder.display().to_string())
    }
}

/// How many bytes zstd makes of these, at the level that Arrow takes.
fn packed_bytes(bytes: &[u8]) -> anyhow::Result<u64> {
    let schema = Arc::new(Schema::new(vec![Field::new("file", DataType::Binary, false)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(BinaryArray::from_vec(vec![bytes]))])?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.len() as u64)
}
