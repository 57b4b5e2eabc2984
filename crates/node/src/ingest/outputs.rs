//! The last stretch: from a dataset's columns to observations. Dimensions become text, measures exact integers,
//! contributors and keys hashes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use civicmesh_model::contract::{Contract, Contributor, Dataset, InputColumn, InputKind, Measure, OnInvalid};
use civicmesh_model::names::DatasetName;
use civicmesh_model::number::{VALUE_MAX, round_half_even};
use civicmesh_observation::{Layout, Observations};

use super::column::unfit;
use super::error::IngestError;
use super::identity::{ContributorSecret, contents, contributors, distinct, keys};
use super::lookup::text;
use super::recipe::{ColumnPlace, without};
use super::reject::Reason;
use super::table::Chunk;

/// What a dataset's columns become.
pub(super) struct Outputs {
    pub layout: Layout,
    dataset: DatasetName,
    time: usize,
    dimensions: Vec<Output>,
    measures: Vec<MeasureOutput>,
    distinct: Vec<Output>,
    contributor: ContributorOutput,
    secret: ContributorSecret,
    key: Vec<usize>,
}

/// An output and the column that it is made of.
struct Output {
    name: Arc<str>,
    column: usize,
}

struct MeasureOutput {
    output: Output,
    decimals: u8,
    min: i64,
    max: i64,
    outside: OnInvalid,
}

enum ContributorOutput {
    None,
    Hashed(Output),
    Count(Output),
}

/// A chunk in the shape of observations, column by column.
pub(super) struct Shaped {
    pub time: ArrayRef,
    /// As text, in the layout's order.
    pub dimensions: Vec<ArrayRef>,
    /// Scaled, in the layout's order.
    pub measures: Vec<ArrayRef>,
    /// As keyed hashes, in the layout's order.
    distinct: Vec<ArrayRef>,
    contributor: Option<ArrayRef>,
    /// Key and content.
    pub identity: Option<(ArrayRef, ArrayRef)>,
}

impl Outputs {
    /// What `contract` makes of the columns of its `dataset`.
    pub fn new(
        contract: &Contract,
        dataset: &Dataset,
        columns: &[ColumnPlace],
        secret: &ContributorSecret,
    ) -> Result<Self, IngestError> {
        let find = |what, name: &str, kinds: &[InputKind]| Output::find(columns, what, name, kinds);
        let layout = Layout::of(dataset, &[contract])?;
        let named = [InputKind::Text, InputKind::Integer, InputKind::Boolean];
        let dimensions = layout.dimensions.iter().map(|name| find("dimension", name, &named));
        let measures = layout.measures.iter().map(|column| {
            let measure = contract.measures.iter().find(|measure| measure.name == column.name);
            let measure = measure.expect("the layout's measures are the contract's");
            let output = find("measure", &column.name, &[InputKind::Integer, InputKind::Number])?;
            Ok::<_, IngestError>(MeasureOutput::new(output, measure))
        });
        let distinct = layout.distinct.iter().map(|name| find("column of distinct values", name, &InputKind::ALL));
        let contributor = match &dataset.contributor {
            Contributor::None | Contributor::Row => ContributorOutput::None,
            Contributor::Column(name) => ContributorOutput::Hashed(find("contributor", name, &InputKind::ALL)?),
            Contributor::Count(name) => ContributorOutput::Count(find("contributor", name, &[InputKind::Integer])?),
        };
        let key = dataset.key.iter().map(|name| Ok(find("key", name, &InputKind::ALL)?.column));
        Ok(Outputs {
            dataset: dataset.name.clone(),
            time: find("time", &dataset.time.column, &[InputKind::Timestamp])?.column,
            dimensions: dimensions.collect::<Result<_, _>>()?,
            measures: measures.collect::<Result<_, _>>()?,
            distinct: distinct.collect::<Result<_, _>>()?,
            contributor,
            secret: secret.clone(),
            key: key.collect::<Result<_, IngestError>>()?,
            layout,
        })
    }

    /// The decimals of the measure that an input column is as it stands.
    pub fn decimals_of(&self, column: &InputColumn) -> Option<u8> {
        let measure = self.measures.iter().find(|measure| *measure.output.name == *column.name);
        measure.map(|measure| measure.decimals)
    }

    /// Makes the outputs of `chunk`; rows that cannot be observations are rejected there.
    pub fn shape(&self, chunk: &mut Chunk) -> Result<Shaped, IngestError> {
        let first = chunk.columns.len();
        for Output { name, column } in &self.dimensions {
            let values: ArrayRef = Arc::new(text(&chunk.columns[*column], name)?);
            let faults = (0..values.len()).filter(|&row| values.is_null(row)).map(|row| (row, Reason::Missing));
            let faults: Vec<_> = faults.collect();
            add(chunk, values);
            chunk.reject(&faults, name, None);
        }
        for measure in &self.measures {
            measure.shape(chunk);
        }
        for Output { name, column } in &self.distinct {
            let values = distinct(&chunk.columns[*column], &self.dataset, name, &self.secret)?;
            add(chunk, Arc::new(values));
        }
        self.shape_contributor(chunk)?;
        // all that is rejected is out by now, and the columns have their final rows
        let mut made = chunk.columns.split_off(first);
        chunk.exact.truncate(first);
        let others = self.dimensions.len() + self.measures.len() + self.distinct.len();
        let contributor = (made.len() > others).then(|| made.pop()).flatten();
        let distinct = made.split_off(self.dimensions.len() + self.measures.len());
        let measures = made.split_off(self.dimensions.len());
        let times = chunk.columns[self.time].as_primitive::<TimestampMicrosecondType>().clone();
        let mut shaped = Shaped {
            time: Arc::new(times.with_timezone("UTC")),
            dimensions: made,
            measures,
            distinct,
            contributor,
            identity: None,
        };
        if !self.key.is_empty() {
            let columns: Vec<ArrayRef> = self.key.iter().map(|&column| chunk.columns[column].clone()).collect();
            let stored: Vec<ArrayRef> = shaped.stored().cloned().collect();
            shaped.identity = Some((Arc::new(keys(&columns, chunk.len())?), Arc::new(contents(&stored, chunk.len())?)));
        }
        Ok(shaped)
    }

    fn shape_contributor(&self, chunk: &mut Chunk) -> Result<(), IngestError> {
        let (ContributorOutput::Hashed(output) | ContributorOutput::Count(output)) = &self.contributor else {
            return Ok(());
        };
        let column = chunk.columns[output.column].clone();
        let counts = match self.contributor {
            ContributorOutput::Count(_) => column.as_primitive_opt::<Int64Type>(),
            _ => None,
        };
        let fault = |row: usize| match counts {
            _ if column.is_null(row) => Some((row, Reason::Missing)),
            Some(counts) if counts.value(row) < 0 => Some((row, Reason::NegativeCount)),
            Some(counts) if counts.value(row) > VALUE_MAX => Some((row, Reason::TooManyDigits)),
            _ => None,
        };
        let faults: Vec<_> = (0..column.len()).filter_map(fault).collect();
        chunk.reject(&faults, &output.name, Some(column.as_ref()));
        let column = chunk.columns[output.column].clone();
        let values = match &self.contributor {
            ContributorOutput::Hashed(_) => Arc::new(contributors(&column, &self.dataset, &self.secret)?),
            _ => column,
        };
        add(chunk, values);
        Ok(())
    }

    /// The observations of a shaped chunk.
    pub fn observations(&self, shaped: Shaped) -> Result<Observations, IngestError> {
        let words = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
        let wrong = || IngestError::Contract("a dimension that cannot be held as text".to_owned());
        let Shaped { time, dimensions, measures, distinct, contributor, identity } = shaped;
        let mut columns = vec![time];
        for dimension in dimensions {
            columns.push(cast(&dimension, &words).map_err(|_| wrong())?);
        }
        columns.extend(measures);
        columns.extend(distinct);
        columns.extend(contributor);
        columns.extend(identity.into_iter().flat_map(|(key, content)| [key, content]));
        let batch = RecordBatch::try_new(self.layout.schema(), columns);
        let batch = batch.map_err(|_| IngestError::Contract("columns that are not the layout's".to_owned()))?;
        Ok(Observations::new(batch, &self.layout)?)
    }
}

impl Output {
    /// The column of this name, which is to be a `what` and so of one of `kinds`.
    fn find(columns: &[ColumnPlace], what: &str, name: &str, kinds: &[InputKind]) -> Result<Self, IngestError> {
        let wrong = |why: &str| IngestError::Contract(format!("{what} `{name}`: {why}"));
        let column = columns.iter().position(|column| column.name == name);
        let column = column.ok_or_else(|| wrong("the dataset has no such column"))?;
        let kind = columns[column].kind;
        if !kinds.contains(&kind) {
            return Err(wrong(&format!("a column of kind {} cannot be that", kind.as_str())));
        }
        Ok(Output { name: name.into(), column })
    }
}

fn add(chunk: &mut Chunk, column: ArrayRef) {
    chunk.columns.push(column);
    chunk.exact.push(None);
}

impl Shaped {
    /// All that is stored of a row.
    fn stored(&self) -> impl Iterator<Item = &ArrayRef> {
        let parts = [&self.dimensions, &self.measures, &self.distinct];
        std::iter::once(&self.time).chain(parts.into_iter().flatten()).chain(&self.contributor)
    }
}

impl MeasureOutput {
    fn new(output: Output, measure: &Measure) -> Self {
        MeasureOutput {
            output,
            decimals: measure.decimals,
            min: measure.min.unwrap_or(-VALUE_MAX),
            max: measure.max.unwrap_or(VALUE_MAX),
            outside: measure.outside,
        }
    }

    /// Adds the measure's scaled values to `chunk`.
    fn shape(&self, chunk: &mut Chunk) {
        let Output { name, column } = &self.output;
        let source = chunk.columns[*column].clone();
        let (values, faults) = self.scaled(&source, chunk.exact[*column].as_ref());
        match self.outside {
            OnInvalid::Reject => {
                add(chunk, values);
                chunk.reject(&faults, name, Some(source.as_ref()));
            }
            OnInvalid::Null => {
                chunk.note_nulled(name, faults.len());
                add(chunk, without(&values, &faults));
            }
        }
    }

    /// The values of a column scaled by the measure's decimals, and the rows whose value is no measure's. `exact`
    /// holds them already where they were read as decimals.
    fn scaled(&self, source: &ArrayRef, exact: Option<&ArrayRef>) -> (ArrayRef, Vec<(usize, Reason)>) {
        let factor = 10_i64.pow(self.decimals.into());
        let times = |value: i64| {
            let value = value.checked_mul(factor).filter(|value| (-VALUE_MAX..=VALUE_MAX).contains(value));
            value.ok_or(Reason::TooManyDigits)
        };
        let rounded = |value: f64| round_half_even(value, self.decimals).map_err(unfit);
        type Scaled<'a> = Box<dyn Iterator<Item = Option<Result<i64, Reason>>> + 'a>;
        let values: Scaled<'_> = if let Some(exact) = exact {
            Box::new(exact.as_primitive::<Int64Type>().iter().map(|value| value.map(Ok)))
        } else if let Some(numbers) = source.as_primitive_opt::<Int64Type>() {
            Box::new(numbers.iter().map(move |value| value.map(times)))
        } else {
            Box::new(source.as_primitive::<Float64Type>().iter().map(move |value| value.map(rounded)))
        };
        let mut faults = Vec::new();
        let mut scaled = Int64Builder::with_capacity(source.len());
        for (row, value) in values.enumerate() {
            let fit = value.map(|value| value.and_then(|value| self.check(value))).transpose();
            faults.extend(fit.err().map(|reason| (row, reason)));
            scaled.append_option(fit.ok().flatten());
        }
        (Arc::new(scaled.finish()), faults)
    }

    fn check(&self, value: i64) -> Result<i64, Reason> {
        match value {
            _ if value < self.min => Err(Reason::TooSmall),
            _ if value > self.max => Err(Reason::TooLarge),
            _ => Ok(value),
        }
    }
}
