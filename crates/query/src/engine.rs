//! The engine: questions in, answers out, each with how complete it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use civicmesh_ledger::Ledger;
use civicmesh_model::names::DomainName;
use civicmesh_model::time::{UtcMicros, Zone};

use crate::asking::Asker;
use crate::completeness::ProductCompleteness;
use crate::error::QueryError;
use crate::limits::Limits;
use crate::question::{Prepared, Question};
use crate::shelf::Shelf;
use crate::tables::{self, Table};

/// The city as the engine sees it from its node.
#[derive(Clone, Debug)]
pub struct CityView {
    /// The city's name: SQL's catalog.
    pub name: String,
    /// The city's zone, in which time is told.
    pub zone: Zone,
    /// The node's own domain: SQL's default schema.
    pub domain: DomainName,
}

/// What the asker wants beside the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueryOptions {
    /// A gap is an error.
    pub require_complete: bool,
    /// The oldest that a peer's head may be, in microseconds since its owner last confirmed it; older is an error.
    pub staleness_us_max: Option<i64>,
    /// The least share of the expected windows that must be here, from 0 to 1; less is an error. A window in which
    /// nothing happened counts as here, one that its contract calls missing does not.
    pub coverage_min: Option<f64>,
    /// What becomes of a bound of time that cuts a window.
    pub window_cut: WindowCut,
}

/// What becomes of a bound of time that cuts a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowCut {
    /// The question is refused.
    #[default]
    Error,
    /// Only the windows that lie wholly inside are read.
    Inside,
    /// Every window that is touched is read.
    Covering,
}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
    /// How complete it is, by product, in the order of their names.
    pub completeness: Vec<ProductCompleteness>,
    /// What the asker should know beside, in plain words.
    pub notices: Vec<String>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        write!(f, "Answer({rows} rows of {} columns)", self.schema.fields().len())
    }
}

/// Answers questions from a ledger.
pub struct Engine {
    ledger: Arc<Ledger>,
    city: CityView,
    asker: Asker,
}

impl Engine {
    /// An engine over the node's ledger.
    ///
    /// # Errors
    /// [`QueryError::Internal`] if DataFusion cannot be set up.
    pub fn new(ledger: Arc<Ledger>, city: CityView, limits: Limits) -> Result<Self, QueryError> {
        Ok(Self { ledger, asker: Asker::new(city.clone(), limits)?, city })
    }

    /// Answers one question from one snapshot of the ledger; `now` is what `now()` says. Dropping the future ends the
    /// work.
    ///
    /// # Errors
    /// Why there is no answer; see [`QueryError`].
    pub async fn query(&self, sql: &str, now: UtcMicros, options: &QueryOptions) -> Result<Answer, QueryError> {
        self.ask(Question::from(sql), now, options).await
    }

    /// Answers one question as [`Self::query`] does, with its parameters.
    ///
    /// # Errors
    /// Why there is no answer; see [`QueryError`].
    pub async fn ask(&self, question: Question, now: UtcMicros, options: &QueryOptions) -> Result<Answer, QueryError> {
        let shelf = Shelf::Ledger(self.ledger.snapshot());
        self.asker.ask(&shelf, question, now, options).await
    }

    /// Plans one question and reads nothing: what its answer's columns will be, and the types of its parameters, where
    /// the asker does not give them in `types`. The question's own parameters are not looked at.
    ///
    /// # Errors
    /// Why it could not be answered, as far as its parameters play no part.
    pub async fn prepare(
        &self,
        question: &Question,
        types: &[Option<DataType>],
        now: UtcMicros,
        options: &QueryOptions,
    ) -> Result<Prepared, QueryError> {
        let shelf = Shelf::Ledger(self.ledger.snapshot());
        self.asker.prepare(&shelf, question, types, now, options).await
    }

    /// Every table that can be asked, in the order of their names. Reads the ledger.
    ///
    /// # Errors
    /// [`QueryError::Ledger`] if it cannot be read.
    pub fn tables(&self) -> Result<Vec<Table>, QueryError> {
        let standings = Shelf::Ledger(self.ledger.snapshot()).standings()?;
        let granted = standings.into_iter().filter(|standing| standing.granted);
        Ok(tables::of(granted.filter_map(|standing| standing.contract), self.city.zone))
    }
}
