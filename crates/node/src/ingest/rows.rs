//! Rows of a file, whatever its format, held against the columns that the contract takes from it.

use std::collections::{BTreeMap, BTreeSet};

use civicmesh_model::contract::{ColumnRef, Dataset, InputColumn};
use memchr::memchr;

use super::cell::{Cell, kind_word};
use super::delimited::{Next, Records};
use super::error::{IngestError, MissingColumns};
use super::json::{self, Object, Wanted};
use super::parquet::{self, ParquetRows};
use super::reject::Reason;
use super::spool::{Content, Format, Spool};
use super::table::Table;
use super::thrift::COLUMNS_MAX;
use super::window::{RECORD_BYTES_MAX, Window};

/// How many of a file's first rows are looked at to tell whether it fits the contract.
pub(super) const FIT_ROWS: usize = 1_000;
/// Least likeness, of 1, of a name that is proposed in place of a missing one.
const LIKENESS_MIN: f64 = 0.6;

/// Rows of a file.
pub(super) enum Rows {
    Delimited {
        records: Records,
        /// For each column of the contract, its field.
        fields: Vec<usize>,
        /// How many fields a row must have.
        width: usize,
    },
    Json {
        lines: Lines,
        wanted: Wanted,
        object: Object,
    },
    Parquet(Box<ParquetRows>, u64),
}

impl Rows {
    /// The rows of `spool`, whose columns are found to be those that `dataset` takes from a file.
    pub fn open(spool: &Spool, dataset: &Dataset) -> Result<Self, IngestError> {
        match spool.format {
            Format::Delimited => Self::open_delimited(spool, dataset),
            Format::Json => Self::open_json(spool, dataset),
            Format::Parquet => Self::open_parquet(spool, dataset),
        }
    }

    fn open_delimited(spool: &Spool, dataset: &Dataset) -> Result<Self, IngestError> {
        let delimiter = dataset.format.delimiter;
        let mut records = Records::new(spool.content()?, delimiter)?;
        let mut header = Vec::new();
        let width = if dataset.format.header {
            if let Next::Record { .. } = records.next()? {
                let name = |index| String::from_utf8_lossy(records.field(index)).trim().to_owned();
                header = (0..records.width()).map(name).collect();
            }
            header.len()
        } else {
            usual_width(Records::new(spool.content()?, delimiter)?)?
        };
        let fields = places(&dataset.columns, &header, width)?;
        Ok(Self::Delimited { records, fields, width })
    }

    fn open_json(spool: &Spool, dataset: &Dataset) -> Result<Self, IngestError> {
        let mut paths = Vec::new();
        for column in &dataset.columns {
            match &column.from {
                ColumnRef::Header(path) => paths.push(path.as_str()),
                ColumnRef::Position(_) => {
                    return Err(IngestError::NoPositions { column: column.name.clone() });
                }
            }
        }
        let wanted = Wanted::new(paths.iter().copied());
        let mut object = Object::new(&wanted);
        let mut lines = Lines::new(spool.content()?)?;
        let (mut seen, mut present) = (vec![false; paths.len()], BTreeSet::new());
        for _ in 0..FIT_ROWS {
            if lines.next()? == Line::End {
                break;
            }
            if object.read(lines.bytes(), &wanted) {
                seen.iter_mut().enumerate().for_each(|(column, seen)| *seen |= object.has(column, &wanted));
                if seen.contains(&false) {
                    present.extend(json::paths(lines.bytes()).into_iter().flatten().map(|(path, _)| path));
                }
            }
        }
        let missing: Vec<&str> = paths.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(path, _)| *path).collect();
        if !missing.is_empty() && !present.is_empty() {
            // names in JSON are names, never values
            return Err(missing_columns(&missing, present.into_iter().collect(), true));
        }
        Ok(Self::Json { lines: Lines::new(spool.content()?)?, wanted, object })
    }

    fn open_parquet(spool: &Spool, dataset: &Dataset) -> Result<Self, IngestError> {
        let schema = parquet::schema(spool)?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let roots = places(&dataset.columns, &names, names.len())?;
        for (column, &root) in dataset.columns.iter().zip(&roots) {
            let holds = schema.field(root).data_type();
            if !parquet::can_be(holds, column.kind) {
                let (column, kind) = (column.name.clone(), kind_word(column.kind));
                return Err(IngestError::WrongType { column, kind, holds: holds.to_string() });
            }
        }
        Ok(Self::Parquet(Box::new(ParquetRows::new(spool, &roots)?), spool.bytes))
    }

    /// Bytes of the file on disk consumed so far.
    pub fn consumed(&self) -> u64 {
        match self {
            Self::Delimited { records, .. } => records.consumed(),
            Self::Json { lines, .. } => lines.window.consumed(),
            Self::Parquet(rows, bytes) => rows.consumed(*bytes),
        }
    }

    /// Reads the next row into `table`; false at the end.
    pub fn read(&mut self, table: &mut Table) -> Result<bool, IngestError> {
        match self {
            Self::Delimited { records, fields, width } => match records.next()? {
                Next::Record { line } if records.width() == *width => {
                    table.row(line, |column| Cell::Text(records.field(fields[column])));
                }
                Next::Record { line } => table.broken(line, Reason::Ragged, records.start()),
                Next::Broken { line, reason, start } => table.broken(line, reason, &start),
                Next::End => return Ok(false),
            },
            Self::Json { lines, wanted, object } => match lines.next()? {
                Line::Whole(line) if object.read(lines.bytes(), wanted) => {
                    table.row(line, |column| object.cell(column, wanted));
                }
                Line::Whole(line) => table.broken(line, Reason::NotJson, lines.bytes()),
                Line::TooLong(line) => table.broken(line, Reason::TooLong, b""),
                Line::End => return Ok(false),
            },
            Self::Parquet(rows, _) => match rows.advance()? {
                Some(row) if rows.text_bytes() > RECORD_BYTES_MAX => table.broken(row, Reason::TooLong, b""),
                Some(row) => table.row(row, |column| rows.cell(column)),
                None => return Ok(false),
            },
        }
        Ok(true)
    }
}

/// Refuses a file with more columns than are looked at.
pub(super) fn not_too_wide(columns: usize) -> Result<(), IngestError> {
    if columns > COLUMNS_MAX { Err(IngestError::TooWide { columns_max: COLUMNS_MAX }) } else { Ok(()) }
}

/// How many fields most of the first rows have.
fn usual_width(mut records: Records) -> Result<usize, IngestError> {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..FIT_ROWS {
        match records.next()? {
            Next::Record { .. } => *widths.entry(records.width()).or_default() += 1,
            Next::Broken { .. } => {}
            Next::End => break,
        }
    }
    Ok(widths.into_iter().max_by_key(|&(_, rows)| rows).map_or(0, |(width, _)| width))
}

/// The place, counted from 0, of each of the contract's columns in a file with this header and width.
fn places(columns: &[InputColumn], header: &[String], width: usize) -> Result<Vec<usize>, IngestError> {
    not_too_wide(width)?;
    let (mut places, mut missing, mut needed) = (Vec::new(), Vec::new(), 0);
    for column in columns {
        match &column.from {
            ColumnRef::Position(position) => {
                needed = needed.max(*position);
                places.push(position - 1);
            }
            ColumnRef::Header(name) => {
                let mut found = header.iter().enumerate().filter(|(_, header)| *header == name).map(|(place, _)| place);
                match (found.next(), found.next()) {
                    (Some(place), None) => places.push(place),
                    (Some(_), Some(_)) => {
                        return Err(IngestError::TwiceInFile { column: name.clone() });
                    }
                    (None, _) => missing.push(name.as_str()),
                }
            }
        }
    }
    if needed > width {
        return Err(IngestError::TooNarrow { needed, found: width });
    }
    if missing.is_empty() {
        return Ok(places);
    }
    let is_header = missing.len() < columns.len();
    Err(missing_columns(&missing, header.to_vec(), is_header))
}

/// The error for columns that a file lacks. Where `is_header` is false, what the file has may be values, and stays
/// unsaid unless it is like a name that is missing.
fn missing_columns(missing: &[&str], present: Vec<String>, is_header: bool) -> IngestError {
    let similar = |name: &str| {
        let likeness =
            |other: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
        let best = present.iter().map(|other| (likeness(other), other)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 >= LIKENESS_MIN).then(|| best.1.clone())
    };
    let missing: Vec<_> = missing.iter().map(|name| ((*name).to_owned(), similar(name))).collect();
    let is_header = is_header || missing.iter().any(|(_, similar)| similar.is_some());
    IngestError::MissingColumns(MissingColumns { missing, present: if is_header { present } else { Vec::new() } })
}

/// Lines of a text.
pub(super) struct Lines {
    window: Window,
    length: usize,
    line: u64,
}

/// What comes next in a text of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line that is not blank, in view, with its number, counted from 1.
    Whole(u64),
    /// A line that is longer than is read.
    TooLong(u64),
    /// The end.
    End,
}

impl Lines {
    pub fn new(content: Content) -> Result<Self, IngestError> {
        Ok(Lines { window: Window::new(content)?, length: 0, line: 0 })
    }

    /// The line in view.
    pub fn bytes(&self) -> &[u8] {
        self.window.rest()[..self.length].trim_ascii()
    }

    /// Goes on to the next line that is not blank.
    pub fn next(&mut self) -> Result<Line, IngestError> {
        self.window.pass(self.length);
        self.length = 0;
        loop {
            let found = memchr(b'\n', self.window.rest()).map(|at| at + 1);
            let ended = self.window.ended();
            match found {
                None if ended && self.window.rest().is_empty() => return Ok(Line::End),
                None if !ended && self.window.is_full() => {
                    self.window.pass_line()?;
                    self.line += 1;
                    return Ok(Line::TooLong(self.line));
                }
                None if !ended => self.window.fill()?,
                found => {
                    self.length = found.unwrap_or(self.window.rest().len());
                    self.line += 1;
                    if !self.bytes().is_empty() {
                        return Ok(Line::Whole(self.line));
                    }
                    self.window.pass(self.length);
                    self.length = 0;
                }
            }
        }
    }
}
