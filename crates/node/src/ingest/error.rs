//! Why a file was not taken in; never says which value.

use std::fmt;
use std::io;

use civicmesh_observation::ObservationError;

use super::reject::Reason;

/// Why an ingest failed. Column names, lines and the contract's own SQL are in it, an observation's values never are.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The disk failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The file is of a kind that is not read.
    #[error("the file is {what}; {mend}")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// What to do about it.
        mend: &'static str,
    },
    /// The file holds nothing.
    #[error("the file is empty")]
    Empty,
    /// The file cannot be read to its end.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// The file unpacks to more than is read.
    #[error("the file is larger than {} GiB unpacked", super::spool::UNPACKED_BYTES_MAX >> 30)]
    TooLarge,
    /// The file has more columns than are looked at.
    #[error(
        "the file has more than {columns_max} columns; leave out those that are not needed, or is the delimiter right?"
    )]
    TooWide {
        /// The limit.
        columns_max: usize,
    },
    /// Columns that the contract names are not in the file.
    #[error("{0}")]
    MissingColumns(MissingColumns),
    /// Two columns of the file bear one name that the contract uses.
    #[error("the file has more than one column `{column}`; the contract cannot tell which is meant")]
    TwiceInFile {
        /// The name.
        column: String,
    },
    /// The contract names columns by position, and the file is too narrow.
    #[error("the contract takes the file's column {needed}, and the file has {found}; is the delimiter right?")]
    TooNarrow {
        /// Greatest position in the contract, counted from 1.
        needed: usize,
        /// Columns in most of the first rows.
        found: usize,
    },
    /// NDJSON has no order of fields.
    #[error("column `{column}` is taken by position, and NDJSON has none; name its field with `from`")]
    NoPositions {
        /// The contract's column.
        column: String,
    },
    /// A Parquet column's type cannot be what the contract says.
    #[error("column `{column}` is {kind} in the contract, and {holds} in the file")]
    WrongType {
        /// The contract's column.
        column: String,
        /// The kind that the contract states.
        kind: &'static str,
        /// Arrow's name for what the file holds.
        holds: String,
    },
    /// Not one of the first rows can be read as the contract says.
    #[error("none of the first {rows} rows fits the contract; line {line}{}: {reason}", in_column(column))]
    NothingFits {
        /// How many rows were tried.
        rows: usize,
        /// Line of the first of them.
        line: u64,
        /// The column at fault there.
        column: Option<String>,
        /// What is wrong with it.
        reason: Reason,
    },
    /// A lookup's file cannot be used.
    #[error("lookup `{lookup}`: {message}")]
    Lookup {
        /// The column that the lookup makes.
        lookup: String,
        /// What is wrong, with the file's name.
        message: String,
    },
    /// A SQL expression of the contract cannot be used.
    #[error("{place}: {message}")]
    Expression {
        /// The derived column's name, or `filter`.
        place: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// The contract cannot be used for reading files.
    #[error("{0}")]
    Contract(String),
    /// The observations were not taken.
    #[error(transparent)]
    Observations(#[from] ObservationError),
    /// The vault did not take them.
    #[error(transparent)]
    Vault(#[from] civicmesh_vault::VaultError),
    /// The caller asked to stop; what was acknowledged is kept, and the same file goes on from there.
    #[error("stopped; what was stored is kept, and the same file resumes from there")]
    Stopped,
}

/// At whose door an error lies: a service maps it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is wrong, or does not fit the contract.
    File,
    /// The contract is wrong.
    Contract,
    /// The node failed: disk, vault.
    Node,
    /// Nobody: it was asked to stop.
    Stopped,
}

impl IngestError {
    /// At whose door the error lies.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Vault(_) | Self::Observations(_) => Fault::Node,
            Self::Lookup { .. } | Self::Expression { .. } | Self::Contract(_) => Fault::Contract,
            Self::Stopped => Fault::Stopped,
            Self::Foreign { .. }
            | Self::Empty
            | Self::Damaged(_)
            | Self::TooLarge
            | Self::TooWide { .. }
            | Self::MissingColumns(_)
            | Self::TwiceInFile { .. }
            | Self::TooNarrow { .. }
            | Self::NoPositions { .. }
            | Self::WrongType { .. }
            | Self::NothingFits { .. } => Fault::File,
        }
    }

    /// Wraps an error of the system.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> IngestError {
        move |error| IngestError::Io { what, error }
    }
}

/// Columns that the contract takes from the file and that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingColumns {
    /// The missing names, each with the most similar one that the file has.
    pub missing: Vec<(String, Option<String>)>,
    /// What the file has. Empty where not one name fits: its first line may then be a row, not names.
    pub present: Vec<String>,
}

/// Most names that an error lists.
const NAMES_MAX: usize = 40;

impl fmt::Display for MissingColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file does not have ")?;
        for (index, (name, similar)) in self.missing.iter().take(NAMES_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
            if let Some(similar) = similar {
                write!(f, " (did you mean `{similar}`?)")?;
            }
        }
        if self.present.is_empty() {
            return f.write_str(
                ", nor any other column of the contract: is it another file, is the delimiter right, \
                 or has it no header line (then `header: false`, and columns by position)?",
            );
        }
        let present: Vec<&str> = self.present.iter().map(String::as_str).take(NAMES_MAX).collect();
        write!(f, "; it has {}", present.join(", "))?;
        match self.present.len().saturating_sub(NAMES_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn in_column(column: &Option<String>) -> String {
    column.as_ref().map(|column| format!(", column `{column}`")).unwrap_or_default()
}
