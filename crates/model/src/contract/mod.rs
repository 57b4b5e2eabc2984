//! A product's contract: an Open Data Contract Standard v3.1 document with two entries of ours.
//!
//! `civicmesh.terms` is public and travels with the document; `civicmesh.dataset` says how the department's own
//! files are read and stays at home: the public document holds its hash in its place.

mod dataset;
pub mod draft;
mod finding;
mod parse;
mod terms;

pub use dataset::{
    ColumnRef, Contributor, Dataset, Derived, FileFormat, InputColumn, InputKind, Lookup, RejectLimit, TimeSpec,
    UnknownCode,
};
pub use finding::{Finding, Severity};
pub use parse::{CONTRACT_BYTES_MAX, ODCS_VERSION};
pub use terms::{
    Audience, Coverage, Dimension, DistinctColumn, EmptyWindows, Measure, Method, OnInvalid, Retention, Statistic,
    Status,
};

use std::fmt;

use self::finding::Findings;
use self::parse::Side;
use crate::grain::{Calendar, Grain};
use crate::hash::Hash32;
use crate::names::ProductId;
use crate::time::{Span, Zone};

/// Least `k` of a threshold method: fewer contributors in a cell than this never leave.
pub const K_MIN: u64 = 10;

/// How long a silent source may hold windows open when a contract does not say.
pub const IDLE_AFTER_DEFAULT: Span = Span::days(2);
/// Share of rejected rows up to which an ingest succeeds when a contract does not say.
pub const REJECT_SHARE_MAX_DEFAULT: f64 = 0.05;

/// The contract of one product. It is made by parsing a file ([`Contract::parse`]) or a peer's public document
/// ([`Contract::from_public`]), and is valid once it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The product, `domain.product`.
    pub product: ProductId,
    /// The contract's own version, as its author counts.
    pub version: String,
    /// Whether it releases anything.
    pub status: Status,
    /// One line for people.
    pub title: String,
    /// What the product may be used for.
    pub purpose: String,
    /// The product's time column, which holds the start of the window.
    pub time_column: String,
    /// What cells are grouped by, in the schema's order.
    pub dimensions: Vec<Dimension>,
    /// What is aggregated, in the schema's order.
    pub measures: Vec<Measure>,
    /// Whose distinct values are counted, in the schema's order.
    pub distinct: Vec<DistinctColumn>,
    /// Length of a window.
    pub grain: Grain,
    /// From when to when windows are expected.
    pub coverage: Coverage,
    /// How long after a window's end its observations may still arrive.
    pub lateness: Span,
    /// How long a silent source may hold windows open.
    pub idle_after: Span,
    /// How long raw observations and releases are kept.
    pub retention: Retention,
    /// Who may hold the releases.
    pub audience: Audience,
    /// How observations become a release.
    pub method: Method,
    /// How the department's own files are read; `None` at peers.
    pub dataset: Option<Dataset>,
    document: String,
    hash: Hash32,
}

impl Contract {
    /// Reads the owner's file; `file` is how findings call it. Gives warnings beside the contract, or every error.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let mut findings = Findings::new(file);
        match parse::parse(text, Side::Owner, &mut findings) {
            Some(contract) => Ok((contract, findings.into_list())),
            None => Err(findings.into_list()),
        }
    }

    /// Reads a peer's public document, which must be canonical, or its hash would not mean it.
    pub fn from_public(bytes: &[u8]) -> Result<Self, PublicDocumentError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PublicDocumentError::NotText)?;
        let mut findings = Findings::new("public document");
        let Some(contract) = parse::parse(text, Side::Peer, &mut findings) else {
            let first = findings.into_list().into_iter().find(|finding| finding.severity == Severity::Error);
            return Err(PublicDocumentError::Invalid(first.expect("what cannot be read has an error")));
        };
        if contract.document == text { Ok(contract) } else { Err(PublicDocumentError::NotCanonical) }
    }

    /// The canonical JSON that peers see: the document with the private entry replaced by its hash.
    pub fn public_document(&self) -> &[u8] {
        self.document.as_bytes()
    }

    /// SHA-256 of [`Contract::public_document`].
    pub fn hash(&self) -> Hash32 {
        self.hash
    }

    /// The windows of this contract in the city's zone.
    pub fn calendar(&self, city: Zone) -> Calendar {
        Calendar::new(city, self.grain)
    }

    /// Why this contract cannot follow an older one under the same name: windows released under the older one would
    /// mean something else. `None` when it can.
    pub fn breaks(&self, older: &Self) -> Option<String> {
        let changed = |what: &str, old: &dyn fmt::Display, new: &dyn fmt::Display| {
            Some(format!("{what} changed from {old} to {new}; this needs a new product"))
        };
        if self.product != older.product {
            return changed("the product", &older.product, &self.product);
        }
        if self.grain != older.grain {
            return changed("the grain", &older.grain, &self.grain);
        }
        if self.time_column != older.time_column {
            return changed("the time column", &older.time_column, &self.time_column);
        }
        let names = |contract: &Self| -> Vec<String> {
            contract.dimensions.iter().map(|dimension| dimension.name.clone()).collect()
        };
        let (old, new) = (names(older), names(self));
        if old != new {
            return changed("the dimensions", &format!("[{}]", old.join(", ")), &format!("[{}]", new.join(", ")));
        }
        for new in &self.measures {
            let Some(old) = older.measures.iter().find(|old| old.name == new.name) else {
                continue;
            };
            if old.unit != new.unit {
                return changed(&format!("the unit of {}", new.name), &old.unit, &new.unit);
            }
            if old.decimals != new.decimals {
                return changed(&format!("the decimals of {}", new.name), &old.decimals, &new.decimals);
            }
        }
        match (&older.method, &self.method) {
            (Method::Threshold { .. }, Method::Open { .. }) => changed("the method", &"threshold", &"open"),
            _ => None,
        }
    }
}

/// Why a peer's public document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicDocumentError {
    /// It is not UTF-8.
    #[error("the public contract is not text")]
    NotText,
    /// It reads as a contract, but is not written in the one canonical way.
    #[error("the public contract is not canonical json")]
    NotCanonical,
    /// It is no valid contract.
    #[error("the public contract is not valid: {0}")]
    Invalid(Finding),
}
