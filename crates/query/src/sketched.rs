//! The aggregate functions that merge sketches: of a measure's quantiles, and of how many distinct values a column has.
//!
//! SQL's `median(speed)` over rows becomes `civicmesh_median(speed)` over cells, where `speed` is the struct of a
//! measure's state with a sketch in its last field; `approx_distinct(car)` becomes `civicmesh_distinct(car)`, where
//! `car` is a sketch. `error_bound(median(speed))` (see [`crate::error_bounds`]) becomes a function that merges the same
//! and says how far the answer may be off. They are in no registry: only the rewriter makes them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, FieldRef};
use civicmesh_model::number::{DIGITS_MAX, VALUE_MAX};
use civicmesh_model::sketch::{Distinct, Quantiles, SketchError};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use crate::error::QueryError;
use crate::state::measure_type;

/// What is said of the merged sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tells {
    /// `median`: the value in the middle, or between the two there, as the measure's own type.
    Median {
        /// Decimals of the measure.
        decimals: u8,
    },
    /// A quantile.
    Quantile(Rank),
    /// How far a quantile may be off.
    QuantileError(Rank),
    /// `approx_distinct`.
    Distinct,
    /// How far that may be off.
    DistinctError,
}

/// A rank, 0 to 1, by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rank(u64);

impl Rank {
    /// The rank in the middle.
    pub(crate) const MIDDLE: Self = Self(0.5_f64.to_bits());

    /// This rank; none outside of 0 to 1.
    pub(crate) fn of(rank: f64) -> Option<Self> {
        (0.0..=1.0).contains(&rank).then(|| Self(rank.to_bits()))
    }

    /// The rank from the other end.
    pub(crate) fn reversed(self) -> Self {
        Self((1.0 - self.get()).to_bits())
    }

    fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl std::fmt::Debug for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl Tells {
    /// The same, or how far its answer may be off.
    pub(crate) fn or_error(self, error: bool) -> Self {
        match self {
            told if !error => told,
            Self::Median { .. } => Self::QuantileError(Rank::MIDDLE),
            Self::Quantile(rank) => Self::QuantileError(rank),
            Self::Distinct => Self::DistinctError,
            error => error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Median { .. } => "civicmesh_median",
            Self::Quantile(_) => "civicmesh_quantile",
            Self::QuantileError(_) => "civicmesh_quantile_error",
            Self::Distinct => "civicmesh_distinct",
            Self::DistinctError => "civicmesh_distinct_error",
        }
    }

    fn of_quantiles(self) -> bool {
        !matches!(self, Self::Distinct | Self::DistinctError)
    }
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SketchFunction {
    tells: Tells,
    signature: Signature,
}

/// The function that merges sketches and tells this.
pub(crate) fn sketch_function(tells: Tells) -> Arc<AggregateUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(SketchFunction { tells, signature }))
}

/// Whether the function is one of these.
pub(crate) fn is_sketch_function(function: &AggregateUDF) -> bool {
    function.inner().downcast_ref::<SketchFunction>().is_some()
}

impl AggregateUDFImpl for SketchFunction {
    fn name(&self) -> &str {
        self.tells.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.tells {
            Tells::Median { decimals } => measure_type(decimals),
            Tells::Quantile(_) | Tells::QuantileError(_) | Tells::DistinctError => DataType::Float64,
            Tells::Distinct => DataType::UInt64,
        })
    }

    fn is_nullable(&self) -> bool {
        self.tells.of_quantiles()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.tells {
            Tells::Distinct => Ok(ScalarValue::UInt64(Some(0))),
            Tells::DistinctError => Ok(ScalarValue::Float64(Some(0.0))),
            _ => ScalarValue::try_from(data_type),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(arguments.name, "sketch");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(Groups { tells: self.tells, sketches: vec![Merged::None] })))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { tells: self.tells, sketches: Vec::new() }))
    }
}

/// A sketch on its way.
#[derive(Clone, Debug, Default)]
pub(crate) enum Merged {
    /// Of no value.
    #[default]
    None,
    Quantiles(Box<Quantiles>),
    Distinct(Box<Distinct>),
}

impl Merged {
    /// Adds the sketch of a cell, or of a part.
    pub(crate) fn add(&mut self, bytes: &[u8], quantiles: bool) -> Result<(), QueryError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.merge(match quantiles {
            true => Self::Quantiles(Box::new(Quantiles::stored(bytes).map_err(broken)?)),
            false => Self::Distinct(Box::new(Distinct::stored(bytes).map_err(broken)?)),
        })
    }

    /// Adds a merged one.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), QueryError> {
        match (&mut *self, other) {
            (_, Self::None) => {}
            (Self::None, other) => *self = other,
            (Self::Quantiles(merged), Self::Quantiles(other)) => merged.merge(&other).map_err(broken)?,
            (Self::Distinct(merged), Self::Distinct(other)) => merged.merge(&other),
            _ => return Err(QueryError::Internal("sketches of two kinds in one column")),
        }
        Ok(())
    }

    /// The bytes, empty of no value.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Quantiles(sketch) => sketch.to_bytes(),
            Self::Distinct(sketch) => sketch.to_bytes(),
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::None => 0,
                Self::Quantiles(sketch) => size_of::<Quantiles>() + sketch.values_bytes(),
                Self::Distinct(sketch) => size_of::<Distinct>() + sketch.memory_bytes(),
            }
    }

    fn quantiles(&self) -> Option<&Quantiles> {
        match self {
            Self::Quantiles(sketch) => Some(sketch),
            _ => None,
        }
    }

    fn distinct(&self) -> Option<&Distinct> {
        match self {
            Self::Distinct(sketch) => Some(sketch),
            _ => None,
        }
    }
}

fn broken(error: SketchError) -> QueryError {
    match error {
        SketchError::TooMany => QueryError::Overflow,
        SketchError::TooLong | SketchError::Malformed => {
            tracing::error!(%error, "a sketch could not be read for a question");
            QueryError::Ledger
        }
    }
}

/// A column of sketches, null where there is no value.
pub(crate) fn sketches_array<'s>(sketches: impl Iterator<Item = &'s [u8]>) -> BinaryArray {
    sketches.map(|sketch| (!sketch.is_empty()).then_some(sketch)).collect()
}

/// The merged sketch of each group.
#[derive(Debug)]
struct Groups {
    tells: Tells,
    sketches: Vec<Merged>,
}

impl Groups {
    fn update(&mut self, values: &ArrayRef, group: impl Fn(usize) -> Option<usize>) -> Result<()> {
        // of a measure the sketch is the last field of its state
        let within = values.as_struct_opt().map(StructArray::columns).and_then(|columns| columns.last());
        let sketches = within.unwrap_or(values).as_binary_opt::<i32>();
        let sketches = sketches.ok_or(QueryError::Internal("a column without sketches"))?;
        for row in (0..sketches.len()).filter(|row| sketches.is_valid(*row)) {
            if let Some(group) = group(row) {
                self.sketches[group].add(sketches.value(row), self.tells.of_quantiles())?;
            }
        }
        Ok(())
    }

    fn say(&self, sketches: &[Merged]) -> Result<ArrayRef> {
        let floats = |of: &dyn Fn(&Merged) -> Option<f64>| -> ArrayRef {
            Arc::new(sketches.iter().map(of).collect::<Float64Array>())
        };
        Ok(match self.tells {
            Tells::Median { decimals } => {
                let medians = sketches.iter().map(|sketch| median(sketch.quantiles()?, decimals));
                let medians = medians.collect::<Decimal128Array>();
                Arc::new(medians.with_precision_and_scale(DIGITS_MAX as u8, decimals as i8)?)
            }
            Tells::Quantile(rank) => floats(&|sketch| sketch.quantiles()?.at(rank.get())),
            Tells::QuantileError(rank) => floats(&|sketch| sketch.quantiles()?.error_at(rank.get())),
            Tells::Distinct => {
                let numbers = sketches.iter().map(|sketch| sketch.distinct().map_or(0.0, Distinct::estimate));
                // never below zero, and far below the greatest number
                Arc::new(UInt64Array::from_iter_values(numbers.map(|number| number.round() as u64)))
            }
            Tells::DistinctError => floats(&|sketch| Some(sketch.distinct().map_or(0.0, Distinct::error))),
        })
    }
}

/// The value between the two in the middle, scaled, cut as DataFusion's own `median` cuts it.
fn median(sketch: &Quantiles, decimals: u8) -> Option<i128> {
    let (low, high) = sketch.middle()?;
    // a double tells a decimal of twelve digits exactly
    let scaled = |value: f64| (value * 10_f64.powi(decimals.into())).round() as i128;
    let greatest = i128::from(VALUE_MAX);
    Some(((scaled(low) + scaled(high)) / 2).clamp(-greatest, greatest))
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.sketches.resize(groups_total, Merged::None);
        let passes = |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        self.update(&values[0], |row| passes(row).then(|| groups[row]))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sketches = emit_to.take_needed(&mut self.sketches);
        self.say(&sketches)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sketches: Vec<Vec<u8>> = emit_to.take_needed(&mut self.sketches).iter().map(Merged::to_bytes).collect();
        Ok(vec![Arc::new(sketches_array(sketches.iter().map(Vec::as_slice)))])
    }

    fn merge_batch(&mut self, columns: &[ArrayRef], groups: &[usize], groups_total: usize) -> Result<()> {
        self.update_batch(columns, groups, None, groups_total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut groups = Self { tells: self.tells, sketches: Vec::new() };
        groups.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sketches.iter().map(Merged::bytes).sum()
    }
}

/// An aggregate without groups.
#[derive(Debug)]
struct OneGroup(Groups);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update(&values[0], |_| Some(0))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.0.say(&self.0.sketches)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = self.0.sketches[0].to_bytes();
        Ok(vec![ScalarValue::Binary((!bytes.is_empty()).then_some(bytes))])
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.update_batch(columns)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}
