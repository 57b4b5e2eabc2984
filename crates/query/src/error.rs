//! Why a question has no answer, in plain words.
//!
//! DataFusion's and Arrow's errors quote values, so none of them leaves this crate with its text unless it can only
//! speak of the question's own words: errors of parsing and planning do, errors of execution are told by kind.

use std::error::Error;

use arrow::error::ArrowError;
use civicmesh_model::names::{DomainName, ProductId};
use datafusion::error::DataFusionError;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The released cells cannot give the number that the same SQL gives over raw rows.
    #[error("{message}; ask instead: {instead}")]
    Refused {
        /// The kind of refusal, for programs.
        code: RefusalCode,
        /// What is wrong with the question, in plain words.
        message: String,
        /// A question that can be asked.
        instead: String,
    },
    /// The product exists, and its contract does not grant it to this domain.
    #[error(
        "{product} is not granted to this domain; ask {owner} to add it to the audience of the contract of {product}"
    )]
    NotGranted {
        /// The product.
        product: ProductId,
        /// The domain to ask.
        owner: DomainName,
    },
    /// The contract in force cannot be read by this version.
    #[error(
        "the contract of {0} cannot be read by this version of civicmesh; its owner uses a newer one, so update this node"
    )]
    UnreadableContract(ProductId),
    /// No such table.
    #[error("there is no table {name}{}", listed(.known))]
    UnknownTable {
        /// The name as the question has it.
        name: String,
        /// The tables there are.
        known: Vec<String>,
    },
    /// Every cell that the question touches is suppressed.
    #[error("every cell this question touches is suppressed ({}): too few contributors in each; ask over a longer time or fewer dimensions", joined(.products))]
    AllSuppressed {
        /// The products it touches.
        products: Vec<ProductId>,
    },
    /// A complete answer was required and the question touches gaps.
    #[error("the answer is not complete: {}", .gaps.join("; "))]
    Incomplete {
        /// One line a gap.
        gaps: Vec<String>,
    },
    /// A peer's head is older than the question allows.
    #[error("the answer is too old: {}", .stale.join("; "))]
    Stale {
        /// One line a product.
        stale: Vec<String>,
    },
    /// Fewer windows are here than the question demands.
    #[error("the answer covers too little: {}", .uncovered.join("; "))]
    Uncovered {
        /// One line a product.
        uncovered: Vec<String>,
    },
    /// The SQL cannot be parsed or planned. The text speaks of the question's own words only.
    #[error("{0}")]
    Sql(String),
    /// The answer would not be exact: a sum left its bounds.
    #[error("a sum overflowed: the exact number has more than 38 digits or counts more than the limit of values")]
    Overflow,
    /// Too many questions at once.
    #[error("busy: {queries_max} questions are being answered; ask again")]
    Busy {
        /// How many are answered at a time.
        queries_max: usize,
    },
    /// The question, its working memory or its answer is larger than a limit.
    #[error("{what} exceeds its limit of {limit}; ask for less")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in the unit that `what` names.
        limit: u64,
    },
    /// The question took longer than it may.
    #[error("the question took longer than {time_ms_max} ms; ask for less")]
    TimedOut {
        /// The limit.
        time_ms_max: u64,
    },
    /// Computing the answer failed; the kind says how.
    #[error("the answer could not be computed: {0}")]
    Execution(&'static str),
    /// The ledger could not be read.
    #[error("the ledger could not be read")]
    Ledger,
    /// A flaw of ours.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// Raw rows, or an order, a limit, a window function over them.
    RawRows,
    /// An expression over a measure other than the bare column.
    MeasureExpression,
    /// A filter, a group or a join on a measure.
    MeasureFilter,
    /// A statistic that the contract does not publish.
    Statistic,
    /// A sum over a gauge.
    Gauge,
    /// A function that cannot be computed from cells.
    Function,
    /// A time finer than the grain.
    Grain,
    /// A bound that cuts a window.
    WindowCut,
    /// A comparison that cuts one instant off a window.
    InstantCut,
    /// A join or union of unaggregated products.
    Join,
    /// A statement that does more than read.
    ReadOnly,
}

impl RefusalCode {
    /// The word for it in machine-readable answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RawRows => "raw_rows",
            Self::MeasureExpression => "measure_expression",
            Self::MeasureFilter => "measure_filter",
            Self::Statistic => "statistic",
            Self::Gauge => "gauge",
            Self::Function => "function",
            Self::Grain => "grain",
            Self::WindowCut => "window_cut",
            Self::InstantCut => "instant_cut",
            Self::Join => "join",
            Self::ReadOnly => "read_only",
        }
    }
}

fn listed(known: &[String]) -> String {
    match known {
        [] => "; this node has no products yet".to_owned(),
        known => format!("; there are: {}", known.join(", ")),
    }
}

fn joined(products: &[ProductId]) -> String {
    products.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What was being done when DataFusion failed: decides whether its text may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Parsing and planning: nothing but the question was looked at.
    Plan,
    /// Computing over cells.
    Execute,
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

impl QueryError {
    /// What may be said of an error of DataFusion's.
    pub(crate) fn of(error: &DataFusionError, stage: Stage, memory_bytes_max: u64) -> Self {
        if let Some(own) = own(error) {
            return own;
        }
        match (error.find_root(), stage) {
            (DataFusionError::ResourcesExhausted(_), _) => {
                Self::TooLarge { what: "working memory in bytes", limit: memory_bytes_max }
            }
            (DataFusionError::ArrowError(error, _), Stage::Execute) => Self::Execution(arrow_kind(error)),
            (DataFusionError::Internal(_), _) => Self::Internal("the planner broke a rule of its own"),
            (_, Stage::Execute) => Self::Execution("a function was given a value that it does not take"),
            (root, Stage::Plan) => Self::Sql(root.strip_backtrace()),
        }
    }
}

/// Our own error, however deep it was wrapped.
fn own(error: &DataFusionError) -> Option<QueryError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<QueryError>() {
            return Some(own.clone());
        }
        next = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(errors)) => errors.first().map(|error| error as _),
            _ => match error.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => error.source(),
            },
        };
    }
    None
}

fn arrow_kind(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::DivideByZero => "division by zero",
        ArrowError::ArithmeticOverflow(_) => "a number overflowed",
        ArrowError::CastError(_) => "a value cannot be cast",
        ArrowError::ParseError(_) => "a text cannot be read as what it is cast to",
        ArrowError::MemoryError(_) => "out of memory",
        _ => "a function was given a value that it does not take",
    }
}
