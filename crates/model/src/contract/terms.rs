//! What a contract promises to its peers: dimensions, measures, coverage, retention, audience and method.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;

use crate::names::DomainName;
use crate::time::Span;

/// Whether a contract releases anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Takes observations in and releases nothing.
    Draft,
    /// Releases what its method lets through.
    Active,
}

/// A column of the product that observations are grouped by. Its values are text and never null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Column name, safe in SQL without quotes.
    pub name: String,
    /// What it means, for people; empty when the contract says nothing.
    pub description: String,
}

/// A column of the product of which nothing leaves but a sketch of how many distinct values it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinctColumn {
    /// Column name, safe in SQL without quotes.
    pub name: String,
    /// What it means, for people; empty when the contract says nothing.
    pub description: String,
}

/// A column of the product that is counted, summed and averaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Column name, safe in SQL without quotes.
    pub name: String,
    /// What it means, for people; empty when the contract says nothing.
    pub description: String,
    /// Unit as UCUM writes it where it can (`km/h`, `Cel`, `1`).
    pub unit: String,
    /// Decimals kept, 0 to [`crate::number::DECIMALS_MAX`]; values are rounded half-even to them.
    pub decimals: u8,
    /// Least valid value, inclusive, scaled by 10^`decimals`.
    pub min: Option<i64>,
    /// Greatest valid value, inclusive, scaled by 10^`decimals`.
    pub max: Option<i64>,
    /// What becomes of a value outside `min..=max`.
    pub outside: OnInvalid,
    /// A level rather than an amount ("cars inside"): its sum over time means nothing and is refused in queries.
    pub gauge: bool,
    /// What leaves; [`Statistic::Count`] is always among them.
    pub publish: BTreeSet<Statistic>,
}

impl Measure {
    /// Whether this statistic of the measure leaves the department.
    pub fn publishes(&self, statistic: Statistic) -> bool {
        self.publish.contains(&statistic)
    }
}

/// An aggregate of one measure in one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// Observations in which the measure is not null.
    Count,
    /// Exact sum.
    Sum,
    /// Exact sum of squares, for variance and standard deviation.
    SumSquares,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// A sketch of the values' quantiles; of few values it holds them all, so that it leaves of open products only.
    Quantiles,
}

impl Statistic {
    /// Every statistic.
    pub const ALL: [Statistic; 6] = [Self::Count, Self::Sum, Self::SumSquares, Self::Min, Self::Max, Self::Quantiles];
    /// Those that are exact: what an open product publishes of a measure unless its contract says otherwise.
    pub const EXACT: [Statistic; 5] = [Self::Count, Self::Sum, Self::SumSquares, Self::Min, Self::Max];

    /// The word for it in a contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::SumSquares => "sum_squares",
            Self::Min => "min",
            Self::Max => "max",
            Self::Quantiles => "quantiles",
        }
    }
}

/// What becomes of a value that cannot be read or lies outside its valid range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// The row is rejected, counted and reported to its owner.
    Reject,
    /// The value becomes null, the row stays.
    Null,
}

/// From when to when windows are expected, in civil time of the city's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Start of the first expected window.
    pub start: NaiveDateTime,
    /// End of the last expected window; `None` while the product goes on.
    pub end: Option<NaiveDateTime>,
    /// What a window without any observation means.
    pub empty: EmptyWindows,
}

/// What a window without any observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyWindows {
    /// Nothing happened: a count of zero.
    Zero,
    /// Nothing was measured: a gap.
    Missing,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Raw observations in the department's own vault; longer than lateness.
    pub raw: Span,
    /// Releases at peers.
    pub releases: Span,
}

/// Who may hold the product's releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every domain of the city.
    City,
    /// These domains, and the owner.
    Only(BTreeSet<DomainName>),
}

impl Audience {
    /// Whether this domain may hold the product's releases. The owner is not asked.
    pub fn admits(&self, domain: &DomainName) -> bool {
        match self {
            Self::City => true,
            Self::Only(domains) => domains.contains(domain),
        }
    }
}

/// How observations become a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// For what is about no person: every cell leaves.
    Open {
        /// Why nobody can be concerned.
        reason: String,
        /// Who decided so.
        approver: String,
    },
    /// A cell leaves when at least `k` contributors are in it.
    Threshold {
        /// Least number of contributors in a published cell; at least [`super::K_MIN`].
        k: u64,
        /// Who decided so.
        approver: String,
    },
}
