//! Rows that were not taken, and why: the one place where an observation's value may be shown, and only to its owner.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use civicmesh_model::hash::Hash32;
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;
use serde::{Serialize, Serializer};

use super::error::IngestError;

/// Longest value shown in a report, in characters.
pub const REJECT_VALUE_CHARACTERS_MAX: usize = 100;
/// Largest reject file, in bytes. What comes after is counted and not written.
pub const REJECT_FILE_BYTES_MAX: u64 = 64 << 20;

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// More or fewer fields than the file has columns.
    Ragged,
    /// A quote that is opened and never closed.
    OpenQuote,
    /// Text after a closing quote.
    StrayQuote,
    /// A longer record than is read.
    TooLong,
    /// Bytes that are no UTF-8 text.
    NotUtf8,
    /// A line that is no JSON object.
    NotJson,
    /// A list or an object where one value belongs.
    Nested,
    /// Not a whole number.
    NotInteger,
    /// Not a finite number.
    NotNumber,
    /// Not a time as the contract writes it.
    NotTime,
    /// A local time that the clock change skips.
    SkippedTime,
    /// Neither true nor false.
    NotBoolean,
    /// No value where one is required.
    Missing,
    /// Outside the range of times that the contract takes.
    TimeOutOfRange,
    /// More than a year later than the node's clock.
    AheadOfClock,
    /// Below the least valid value.
    TooSmall,
    /// Above the greatest valid value.
    TooLarge,
    /// More digits than an exact number holds.
    TooManyDigits,
    /// A code that the lookup does not have.
    UnknownCode,
    /// The expression fails on this row.
    Expression,
    /// A count of contributors below zero.
    NegativeCount,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 21] = [
        Self::Ragged,
        Self::OpenQuote,
        Self::StrayQuote,
        Self::TooLong,
        Self::NotUtf8,
        Self::NotJson,
        Self::Nested,
        Self::NotInteger,
        Self::NotNumber,
        Self::NotTime,
        Self::SkippedTime,
        Self::NotBoolean,
        Self::Missing,
        Self::TimeOutOfRange,
        Self::AheadOfClock,
        Self::TooSmall,
        Self::TooLarge,
        Self::TooManyDigits,
        Self::UnknownCode,
        Self::Expression,
        Self::NegativeCount,
    ];

    /// What is wrong, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ragged => "more or fewer fields than the file has columns",
            Self::OpenQuote => "a quote is opened and never closed",
            Self::StrayQuote => "text after a closing quote",
            Self::TooLong => "the record is too long",
            Self::NotUtf8 => "not UTF-8 text",
            Self::NotJson => "not a JSON object on one line",
            Self::Nested => "a list or an object where one value belongs",
            Self::NotInteger => "not a whole number",
            Self::NotNumber => "not a number",
            Self::NotTime => "not a time as the contract writes it",
            Self::SkippedTime => "a local time that the clock change skips",
            Self::NotBoolean => "neither true nor false",
            Self::Missing => "no value where one is required",
            Self::TimeOutOfRange => "outside the range of times that the contract takes",
            Self::AheadOfClock => "more than a year later than the node's clock",
            Self::TooSmall => "below the least valid value",
            Self::TooLarge => "above the greatest valid value",
            Self::TooManyDigits => "more digits than an exact number holds",
            Self::UnknownCode => "a code that the lookup does not have",
            Self::Expression => "the expression fails on this row",
            Self::NegativeCount => "a count of contributors below zero",
        }
    }

    /// Whether such a row cannot be read at all: a file of nothing else does not fit its contract.
    pub(super) fn is_unreadable(self) -> bool {
        self <= Self::Missing
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row that was not taken. For the department's own terminal and reject file only: `Debug` hides the value.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// Line on which the row starts, counted from 1 as an editor does; in Parquet the row, counted from 1.
    pub line: u64,
    /// The column at fault; None where the row as a whole is.
    #[serde(serialize_with = "optional_text")]
    pub column: Option<Arc<str>>,
    /// What stands there, cut to [`REJECT_VALUE_CHARACTERS_MAX`].
    pub value: String,
    /// What is wrong with it.
    pub reason: Reason,
}

fn optional_text<S: Serializer>(text: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(to)
}

impl fmt::Debug for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reject { line, column, value: _, reason } = self;
        f.debug_struct("Reject").field("line", line).field("column", column).field("reason", reason).finish()
    }
}

/// The text of a value in a report: cut, and without characters that would move a terminal's cursor.
pub(super) fn shown(value: &str) -> String {
    let visible = |character: char| {
        if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }
    };
    value.chars().take(REJECT_VALUE_CHARACTERS_MAX).map(visible).collect()
}

/// How many rows one reason cost in one column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectCount {
    /// The column at fault; None where the row as a whole is.
    pub column: Option<Arc<str>>,
    /// What is wrong.
    pub reason: Reason,
    /// How many rows.
    pub rows: u64,
}

/// Counts rejects by column and reason.
#[derive(Debug, Default)]
pub(super) struct RejectTally(BTreeMap<(Option<Arc<str>>, Reason), u64>);

impl RejectTally {
    pub fn add(&mut self, reject: &Reject) {
        *self.0.entry((reject.column.clone(), reject.reason)).or_default() += 1;
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Counts, most rows first.
    pub fn counts(&self) -> Vec<RejectCount> {
        let count = |((column, reason), rows): (&(Option<Arc<str>>, Reason), &u64)| RejectCount {
            column: column.clone(),
            reason: *reason,
            rows: *rows,
        };
        let mut counts: Vec<RejectCount> = self.0.iter().map(count).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.rows));
        counts
    }
}

/// The rejects of one file on disk, one JSON object a line, for the owner alone (mode 0600). It is made with the
/// first reject, and anew when an ingest resumes, which finds the same rejects again.
pub(super) struct RejectFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl RejectFile {
    /// The reject file of the file named `key`. A dataset's name holds no `-`, so names of files do not collide.
    pub fn new(folder: &Path, dataset: &DatasetName, key: &Hash32) -> Self {
        let key = key.to_string();
        let path = folder.join(format!("{dataset}-{}.ndjson", &key[..16]));
        RejectFile { path, file: None, bytes: 0 }
    }

    pub fn add(&mut self, reject: &Reject) -> Result<(), IngestError> {
        if self.bytes >= REJECT_FILE_BYTES_MAX {
            return Ok(());
        }
        let mut line = serde_json::to_vec(reject).expect("a reject is plain text and numbers");
        line.push(b'\n');
        self.bytes += line.len() as u64;
        self.write(&line).map_err(IngestError::io("writing the reject file"))
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(create(&self.path)?)),
        };
        file.write_all(line)
    }

    /// Makes the file durable; `now` is the time from which its retention counts. None where there was no reject.
    pub fn finish(self, now: UtcMicros) -> Result<Option<PathBuf>, IngestError> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        let close = || -> io::Result<()> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.set_modified(system_time(now))?;
            file.sync_all()
        };
        close().map_err(IngestError::io("writing the reject file"))?;
        Ok(Some(self.path))
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn system_time(at: UtcMicros) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}

/// Drops the reject files of `dataset` that were finished before `before`: they are raw observations and live as
/// long. Returns how many.
pub fn expire_rejects(folder: &Path, dataset: &DatasetName, before: UtcMicros) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut dropped = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let of_dataset =
            name.to_str().and_then(|name| name.split_once('-')).is_some_and(|(of, _)| of == dataset.as_str());
        if of_dataset && entry.metadata()?.modified()? < system_time(before) {
            fs::remove_file(entry.path())?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn reject(value: &str) -> Reject {
        Reject { line: 7, column: Some("speed".into()), value: shown(value), reason: Reason::NotNumber }
    }

    #[test]
    fn a_reject_shows_its_value_in_the_report_only() {
        let reject = reject("canary\u{1b}[2J");
        assert!(!format!("{reject:?}").contains("canary"));
        let line = serde_json::to_string(&reject).unwrap();
        assert_eq!(line, "{\"line\":7,\"column\":\"speed\",\"value\":\"canary\u{fffd}[2J\",\"reason\":\"not_number\"}");
        assert_eq!(shown(&"x".repeat(500)).len(), REJECT_VALUE_CHARACTERS_MAX);
    }

    #[test]
    fn the_file_is_the_owners_alone_and_expires() {
        let folder = tempfile::tempdir().unwrap();
        let rejects = folder.path().join("rejects");
        let dataset: DatasetName = "trips".parse().unwrap();
        let key = Hash32::of(&[b"file"]);
        let mut file = RejectFile::new(&rejects, &dataset, &key);
        assert!(!rejects.exists(), "no reject, no file");
        file.add(&reject("x")).unwrap();
        file.add(&reject("y")).unwrap();
        let path = file.finish(UtcMicros(5_000_000)).unwrap().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&rejects)), (0o600, 0o700));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);

        let other: DatasetName = "trip".parse().unwrap();
        assert_eq!(expire_rejects(&rejects, &other, UtcMicros(9_000_000)).unwrap(), 0);
        assert_eq!(expire_rejects(&rejects, &dataset, UtcMicros(5_000_000)).unwrap(), 0);
        assert_eq!(expire_rejects(&rejects, &dataset, UtcMicros(5_000_001)).unwrap(), 1);
        assert!(!path.exists());
        assert_eq!(expire_rejects(&folder.path().join("none"), &dataset, UtcMicros(1)).unwrap(), 0);
    }

    #[test]
    fn a_reject_file_has_a_greatest_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RejectFile::new(folder.path(), &"trips".parse().unwrap(), &Hash32::of(&[]));
        file.bytes = REJECT_FILE_BYTES_MAX;
        file.add(&reject("x")).unwrap();
        assert_eq!(file.finish(UtcMicros(0)).unwrap(), None);
    }

    #[test]
    fn counts_come_with_the_most_frequent_first() {
        let mut tally = RejectTally::default();
        let ragged = Reject { column: None, reason: Reason::Ragged, ..reject("x") };
        for one in [&reject("x"), &ragged, &ragged] {
            tally.add(one);
        }
        assert_eq!(tally.total(), 3);
        let rows: Vec<(Reason, u64)> = tally.counts().iter().map(|count| (count.reason, count.rows)).collect();
        assert_eq!(rows, [(Reason::Ragged, 2), (Reason::NotNumber, 1)]);
    }

    #[test]
    fn unreadable_reasons_come_first() {
        let unreadable: Vec<Reason> = Reason::ALL.into_iter().filter(|reason| reason.is_unreadable()).collect();
        assert!(unreadable.contains(&Reason::Ragged) && unreadable.contains(&Reason::Missing));
        assert!(!unreadable.contains(&Reason::TimeOutOfRange) && !unreadable.contains(&Reason::TooSmall));
    }
}
