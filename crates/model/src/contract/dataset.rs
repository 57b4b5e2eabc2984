//! The private half of a contract: how a department's own files become observations. Peers learn its hash only.

use chrono::NaiveDateTime;

use super::terms::{Method, OnInvalid};
use crate::names::DatasetName;
use crate::time::{Span, Zone};

/// How a department's own rows are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The dataset's name, as given to `civicmesh ingest --dataset`.
    pub name: DatasetName,
    /// How delimited text is laid out.
    pub format: FileFormat,
    /// The event time of a row.
    pub time: TimeSpec,
    /// Columns taken from the file.
    pub columns: Vec<InputColumn>,
    /// Columns made by looking a code up in a file.
    pub lookups: Vec<Lookup>,
    /// Columns made by SQL, in order; each may use columns, lookups and earlier derived columns.
    pub derived: Vec<Derived>,
    /// SQL condition; a row for which it is not true is left out and counted, not rejected.
    pub filter: Option<String>,
    /// Columns that name a row: a row seen before counts once, a changed one is a correction.
    pub key: Vec<String>,
    /// Who stands behind a row.
    pub contributor: Contributor,
    /// How many rejects an ingest may have and still succeed.
    pub rejects_max: RejectLimit,
}

impl Dataset {
    /// Whether an input, lookup or derived column has this name.
    pub fn has_column(&self, name: &str) -> bool {
        self.kind(name).is_some()
    }

    /// Whether a threshold counts a number that each row gives: a cell of enough contributors may rest on two rows,
    /// and count, sum and sum of squares together would give both. So no sum of squares leaves then.
    pub fn rows_are_counts(&self, method: &Method) -> bool {
        matches!((method, &self.contributor), (Method::Threshold { .. }, Contributor::Count(_)))
    }

    /// What the column of this name holds.
    pub fn kind(&self, name: &str) -> Option<InputKind> {
        let column = self.column(name).map(|column| column.kind);
        let lookup = || self.lookups.iter().find(|lookup| lookup.name == name).map(|_| InputKind::Text);
        let derived = || self.derived.iter().find(|derived| derived.name == name).map(|derived| derived.kind);
        column.or_else(lookup).or_else(derived)
    }

    /// The input column of this name.
    pub fn column(&self, name: &str) -> Option<&InputColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// How delimited text is laid out. NDJSON and Parquet need none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFormat {
    /// Whether the first line names the columns.
    pub header: bool,
    /// The byte between fields.
    pub delimiter: u8,
}

/// Where a row's event time stands and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSpec {
    /// The input column that holds it, of kind [`InputKind::Timestamp`].
    pub column: String,
    /// How it is written, in chrono's `strftime` letters; `None`: RFC 3339 or ISO 8601.
    pub format: Option<String>,
    /// The zone in which a time without an offset is meant.
    pub zone: Zone,
    /// First valid event time, civil time of `zone`; an earlier row is rejected.
    pub valid_from: Option<NaiveDateTime>,
    /// First event time past the valid range, civil time of `zone`; this row and later ones are rejected.
    pub valid_until: Option<NaiveDateTime>,
    /// How long the stretch is that a written time stands for: a day for a date, else nothing unless stated.
    pub resolution: Span,
}

/// A column taken from the file.
#[derive(Clone, Debug, PartialEq)]
pub struct InputColumn {
    /// Its name in this contract, safe in SQL without quotes.
    pub name: String,
    /// Where it stands in the file.
    pub from: ColumnRef,
    /// What is read from its text.
    pub kind: InputKind,
    /// How a timestamp is written, [`TimeSpec::format`] unless the column has its own; `None`: RFC 3339 or ISO 8601.
    pub format: Option<String>,
    /// Texts that mean "no value", beside the empty one.
    pub missing: Vec<String>,
    /// Least valid value, inclusive.
    pub min: Option<f64>,
    /// Greatest valid value, inclusive.
    pub max: Option<f64>,
    /// What becomes of a value that cannot be read or is out of range.
    pub on_invalid: OnInvalid,
    /// Whether a row without a value is rejected.
    pub required: bool,
}

impl InputColumn {
    /// A column without a range, codes for missing values or a format of its own.
    pub fn new(name: &str, from: ColumnRef, kind: InputKind) -> Self {
        let (format, missing, on_invalid) = (None, Vec::new(), OnInvalid::Reject);
        Self { name: name.to_owned(), from, kind, format, missing, min: None, max: None, on_invalid, required: false }
    }
}

/// Where an input column stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// By the text in the header line, or the field's name in NDJSON and Parquet.
    Header(String),
    /// By position, counted from 1.
    Position(usize),
}

/// What is read from a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Text as it stands.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A decimal number.
    Number,
    /// A point in time.
    Timestamp,
    /// `true` or `false`.
    Boolean,
}

impl InputKind {
    /// Every kind.
    pub const ALL: [InputKind; 5] = [Self::Text, Self::Integer, Self::Number, Self::Timestamp, Self::Boolean];

    /// The word for it in a contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Timestamp => "timestamp",
            Self::Boolean => "boolean",
        }
    }

    /// Whether its values can be summed and have a range.
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }
}

/// A column made by looking a code up in a file beside the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The column it makes, text.
    pub name: String,
    /// The input column that holds the code.
    pub column: String,
    /// The file, relative to the contract's folder.
    pub file: String,
    /// Header of the file's column of codes.
    pub key: String,
    /// Header of the file's column of values.
    pub value: String,
    /// What becomes of a code that the file does not have.
    pub unknown: UnknownCode,
}

/// What becomes of a code that a lookup does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownCode {
    /// The row is rejected and counted.
    Reject,
    /// The column gets this value.
    Value(String),
}

/// A column made by a SQL expression of immutable scalar functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Its name, safe in SQL without quotes.
    pub name: String,
    /// The expression over columns, lookups and earlier derived columns.
    pub sql: String,
    /// What the expression gives.
    pub kind: InputKind,
    /// Least valid value, inclusive.
    pub min: Option<f64>,
    /// Greatest valid value, inclusive.
    pub max: Option<f64>,
    /// What becomes of a value out of range.
    pub on_invalid: OnInvalid,
}

/// Who stands behind a row: what a threshold counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contributor {
    /// Nobody: the dataset is about no person.
    None,
    /// Every row is another contributor.
    Row,
    /// The dataset's column of this name identifies the contributor.
    Column(String),
    /// The dataset's column of this name says how many contributors the row stands for.
    Count(String),
}

/// How many rejects an ingest may have and still succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RejectLimit {
    /// Greatest share of rejected rows, 0 to 1.
    pub share: f64,
}
