//! A contract made ready for reading files: columns, lookups, expressions, and what becomes of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::nullif;
use arrow::datatypes::{Field, Schema};
use civicmesh_model::contract::{Contract, Dataset, InputKind, OnInvalid};
use civicmesh_model::hash::Hash32;

use super::column::{ColumnBuilder, check_range};
use super::error::IngestError;
use super::expression::{Expression, Planner, Values, as_numbers, result_type};
use super::identity::ContributorSecret;
use super::lookup::Lookup;
use super::outputs::Outputs;
use super::reject::Reason;
use super::table::{Chunk, Table};

/// A contract made ready for reading files.
pub struct Recipe {
    pub(super) dataset: Dataset,
    pub(super) contract: Hash32,
    steps: Vec<Step>,
    pub(super) outputs: Outputs,
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").field("dataset", &self.dataset.name).finish_non_exhaustive()
    }
}

/// What is done to a chunk, in order.
enum Step {
    Lookup(Lookup),
    Derive(Derive),
    Filter(Expression),
}

/// Adds a derived column.
struct Derive {
    name: Arc<str>,
    expression: Expression,
    min: f64,
    max: f64,
    on_invalid: OnInvalid,
}

/// A column of a chunk.
#[derive(Clone, Debug)]
pub(super) struct ColumnPlace {
    pub name: String,
    pub kind: InputKind,
}

impl Recipe {
    /// Makes `contract` ready: loads its lookups from `folder`, the contract's, and plans its SQL. Contributors are
    /// hashed with `secret`.
    pub fn new(contract: &Contract, folder: &Path, secret: &ContributorSecret) -> Result<Self, IngestError> {
        let lacks = || IngestError::Contract(format!("{} has no dataset: it is a peer's", contract.product));
        let dataset = contract.dataset.as_ref().ok_or_else(lacks)?;
        let mut columns: Vec<ColumnPlace> = Vec::new();
        for column in &dataset.columns {
            columns.push(ColumnPlace { name: column.name.clone(), kind: column.kind });
        }
        let steps = plan(dataset, folder, &mut columns)?;
        let outputs = Outputs::new(contract, dataset, &columns, secret)?;
        Ok(Recipe { dataset: dataset.clone(), contract: contract.hash(), steps, outputs })
    }

    /// An empty table for rows of a file.
    pub(super) fn table(&self) -> Result<Table, IngestError> {
        let builder = |column| ColumnBuilder::new(column, &self.dataset, self.outputs.decimals_of(column));
        Ok(Table::new(self.dataset.columns.iter().map(builder).collect::<Result<_, _>>()?))
    }

    /// Looks up, derives and filters. Rows that do not pass drop out of `chunk`.
    pub(super) fn apply(&self, chunk: &mut Chunk) -> Result<(), IngestError> {
        for step in &self.steps {
            match step {
                Step::Lookup(lookup) => lookup.apply(chunk)?,
                Step::Derive(derive) => derive.apply(chunk)?,
                Step::Filter(condition) => filter(condition, chunk)?,
            }
        }
        Ok(())
    }
}

/// The steps after reading, in order: lookups, then derived columns as the contract lists them. The filter comes as
/// soon as all of its columns are there: what it leaves out, no later step rejects.
fn plan(dataset: &Dataset, folder: &Path, columns: &mut Vec<ColumnPlace>) -> Result<Vec<Step>, IngestError> {
    let planner = Planner::new(dataset.time.zone);
    let mut steps = Vec::new();
    for terms in &dataset.lookups {
        let place = columns.iter().position(|column| column.name == terms.column);
        let lacks = || IngestError::Contract(format!("lookup `{}`: no column `{}`", terms.name, terms.column));
        let place = place.ok_or_else(lacks)?;
        steps.push(Step::Lookup(Lookup::load(terms, folder, place, columns[place].kind)?));
        columns.push(ColumnPlace { name: terms.name.clone(), kind: InputKind::Text });
    }
    let schema = |columns: &[ColumnPlace]| {
        let zone = dataset.time.zone;
        let field = |column: &ColumnPlace| Field::new(&column.name, result_type(column.kind, zone), true);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    };
    let mut filter = dataset.filter.as_deref();
    for derived in &dataset.derived {
        if let Some(sql) = filter
            && let Ok(condition) = planner.plan("filter", sql, InputKind::Boolean, &schema(columns))
        {
            steps.push(Step::Filter(condition));
            filter = None;
        }
        let expression = planner.plan(&derived.name, &derived.sql, derived.kind, &schema(columns))?;
        steps.push(Step::Derive(Derive {
            name: derived.name.as_str().into(),
            expression,
            min: derived.min.unwrap_or(f64::NEG_INFINITY),
            max: derived.max.unwrap_or(f64::INFINITY),
            on_invalid: derived.on_invalid,
        }));
        columns.push(ColumnPlace { name: derived.name.clone(), kind: derived.kind });
    }
    if let Some(sql) = filter {
        steps.push(Step::Filter(planner.plan("filter", sql, InputKind::Boolean, &schema(columns))?));
    }
    Ok(steps)
}

/// Leaves out the rows for which the condition is not true; those that it fails on are rejected.
fn filter(condition: &Expression, chunk: &mut Chunk) -> Result<(), IngestError> {
    let (mut flags, faults) = condition.is_true(&chunk.batch(&condition.schema)?);
    let mut faulty = faults.iter().map(|fault| fault.0).peekable();
    let mut row = 0;
    flags.retain(|_| {
        row += 1;
        faulty.next_if_eq(&(row - 1)).is_none()
    });
    chunk.reject(&faults, &"filter".into(), None);
    let left_out: Vec<usize> = (0..flags.len()).filter(|&row| !flags[row]).collect();
    chunk.filtered += left_out.len() as u64;
    chunk.drop_rows(&left_out);
    Ok(())
}

impl Derive {
    fn apply(&self, chunk: &mut Chunk) -> Result<(), IngestError> {
        let Values { array, mut faults } = self.expression.evaluate(&chunk.batch(&self.expression.schema)?);
        if let Some(numbers) = as_numbers(&array) {
            for (row, number) in numbers.iter().enumerate() {
                let Some(number) = number else { continue };
                let fit =
                    if number.is_finite() { check_range(number, self.min, self.max) } else { Err(Reason::NotNumber) };
                faults.extend(fit.err().map(|reason| (row, reason)));
            }
            faults.sort_unstable_by_key(|fault| fault.0);
        }
        match self.on_invalid {
            OnInvalid::Reject => {
                chunk.columns.push(array.clone());
                chunk.exact.push(None);
                chunk.reject(&faults, &self.name, Some(array.as_ref()));
            }
            OnInvalid::Null => {
                chunk.note_nulled(&self.name, faults.len());
                chunk.columns.push(without(&array, &faults));
                chunk.exact.push(None);
            }
        }
        Ok(())
    }
}

/// The array with nulls at the faulty rows.
pub(super) fn without(array: &ArrayRef, faults: &[(usize, Reason)]) -> ArrayRef {
    if faults.is_empty() {
        return array.clone();
    }
    let mut faulty = vec![false; array.len()];
    faults.iter().for_each(|fault| faulty[fault.0] = true);
    nullif(array, &BooleanArray::from(faulty)).expect("one flag a row")
}
