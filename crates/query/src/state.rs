//! The aggregate functions that stand in for SQL's own over cells: exact, checked, under names of our own.
//!
//! SQL's `avg(speed)` over rows becomes `civicmesh_avg(speed)` over cells, where `speed` is the struct of a measure's
//! [`MeasureState`]; `sum(1)` becomes `civicmesh_sum(1, __observations)`. Every one of them merges states and only
//! says something else of the merged one. They are in no registry: only the rewriter makes them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Fields, Int64Type, UInt64Type};
use civicmesh_model::contract::{Measure, Statistic};
use civicmesh_model::number::{DIGITS_MAX, Deviation, MeasureState, mean, stddev, variance};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use crate::error::QueryError;

/// Digits of a sum: as many as a Decimal128 has.
const SUM_DIGITS: u8 = 38;
/// The first number with more digits.
const SUM_LIMIT: i128 = 10_i128.pow(SUM_DIGITS as u32);

/// The type of a measure as clients see it.
pub(crate) fn measure_type(decimals: u8) -> DataType {
    DataType::Decimal128(DIGITS_MAX as u8, decimals as i8)
}

/// The columns of a state, in order.
pub(crate) fn state_fields() -> Fields {
    let wide = DataType::Decimal128(SUM_DIGITS, 0);
    Fields::from(vec![
        Field::new("count", DataType::UInt64, false),
        Field::new("sum", wide.clone(), false),
        Field::new("sum_squares", wide, false),
        Field::new("min", DataType::Int64, true),
        Field::new("max", DataType::Int64, true),
    ])
}

/// The columns of a measure's states in cells: where its contract publishes quantiles, a sketch of them comes last.
pub(crate) fn measure_fields(measure: &Measure) -> Fields {
    let sketch = measure.publishes(Statistic::Quantiles).then(|| Field::new("quantiles", DataType::Binary, true));
    state_fields().iter().cloned().chain(sketch.map(Arc::new)).collect()
}

/// States as columns, in the order of [`state_fields`].
pub(crate) fn state_columns(states: &[MeasureState]) -> Vec<ArrayRef> {
    columns_of(
        states.iter().map(|state| state.count).collect(),
        [states.iter().map(|state| state.sum).collect(), states.iter().map(|state| state.sum_squares).collect()],
        [states.iter().map(|state| state.min).collect(), states.iter().map(|state| state.max).collect()],
    )
}

/// The columns of states: their counts, sums and sums of squares, least and greatest values.
pub(crate) fn columns_of(counts: Vec<u64>, sums: [Vec<i128>; 2], extremes: [Int64Array; 2]) -> Vec<ArrayRef> {
    let wide = |sums| -> ArrayRef {
        Arc::new(Decimal128Array::from(sums).with_data_type(DataType::Decimal128(SUM_DIGITS, 0)))
    };
    let extreme = |extremes| -> ArrayRef { Arc::new(extremes) };
    let counts: ArrayRef = Arc::new(UInt64Array::from(counts));
    std::iter::once(counts).chain(sums.map(wide)).chain(extremes.map(extreme)).collect()
}

/// The arguments of a function, a state a cell.
enum Cells<'a> {
    States(&'a StructArray, StateColumns<'a>),
    /// A number, and how many observations have it.
    Weighted(&'a Int64Array, &'a UInt64Array),
}

/// States read back from columns.
struct StateColumns<'a> {
    count: &'a UInt64Array,
    sum: &'a Decimal128Array,
    sum_squares: &'a Decimal128Array,
    min: &'a Int64Array,
    max: &'a Int64Array,
}

impl<'a> StateColumns<'a> {
    fn new(columns: &'a [ArrayRef]) -> Result<Self> {
        let [count, sum, sum_squares, min, max, ..] = columns else {
            return Err(QueryError::Internal("a state has five columns at least").into());
        };
        Ok(Self {
            count: count.as_primitive::<UInt64Type>(),
            sum: sum.as_primitive::<Decimal128Type>(),
            sum_squares: sum_squares.as_primitive::<Decimal128Type>(),
            min: min.as_primitive::<Int64Type>(),
            max: max.as_primitive::<Int64Type>(),
        })
    }

    fn get(&self, row: usize) -> MeasureState {
        let extreme = |column: &Int64Array| column.is_valid(row).then(|| column.value(row));
        MeasureState {
            count: self.count.value(row),
            sum: self.sum.value(row),
            sum_squares: self.sum_squares.value(row),
            min: extreme(self.min),
            max: extreme(self.max),
        }
    }
}

/// What is said of the merged state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Says {
    /// `count`
    Count,
    /// `sum`
    Sum,
    /// `avg`
    Mean,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `var_samp`
    VarianceSample,
    /// `var_pop`
    VariancePopulation,
    /// `stddev_samp`
    DeviationSample,
    /// `stddev_pop`
    DeviationPopulation,
}

impl Says {
    /// The function that SQL has under this name (DataFusion's own name for it, not an alias).
    pub(crate) fn of_sql(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "var" => Self::VarianceSample,
            "var_pop" => Self::VariancePopulation,
            "stddev" => Self::DeviationSample,
            "stddev_pop" => Self::DeviationPopulation,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Count => "civicmesh_count",
            Self::Sum => "civicmesh_sum",
            Self::Mean => "civicmesh_avg",
            Self::Min => "civicmesh_min",
            Self::Max => "civicmesh_max",
            Self::VarianceSample => "civicmesh_var_samp",
            Self::VariancePopulation => "civicmesh_var_pop",
            Self::DeviationSample => "civicmesh_stddev_samp",
            Self::DeviationPopulation => "civicmesh_stddev_pop",
        }
    }
}

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Merges {
    /// One argument: the struct of a measure with so many decimals.
    States {
        /// Decimals of the measure.
        decimals: u8,
    },
    /// Two arguments: an integer that all observations of a cell share, and how many these are.
    Weighted,
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct StateFunction {
    says: Says,
    merges: Merges,
    signature: Signature,
}

/// The function that merges so and says so.
pub(crate) fn state_function(says: Says, merges: Merges) -> Arc<AggregateUDF> {
    let arguments = match merges {
        Merges::States { .. } => 1,
        Merges::Weighted => 2,
    };
    let signature = Signature::any(arguments, Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(StateFunction { says, merges, signature }))
}

/// Whether the function is one of these.
pub(crate) fn is_state_function(function: &AggregateUDF) -> bool {
    function.inner().downcast_ref::<StateFunction>().is_some()
}

/// What one of the functions says of each cell by itself.
pub(crate) fn say_each(function: &AggregateUDF, arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let function = function.inner().downcast_ref::<StateFunction>();
    let groups = function.ok_or(QueryError::Internal("a function that merges no states"))?.groups();
    let cells = groups.cells(arguments)?;
    let state = |cell| Ok(groups.state_of(&cells, cell)?.unwrap_or_default());
    groups.say(&(0..cells.len()).map(state).collect::<Result<Vec<_>>>()?)
}

impl StateFunction {
    fn groups(&self) -> Groups {
        Groups { says: self.says, merges: self.merges, states: Vec::new() }
    }
}

impl Cells<'_> {
    fn len(&self) -> usize {
        match self {
            Self::States(states, _) => states.len(),
            Self::Weighted(numbers, _) => numbers.len(),
        }
    }
}

impl AggregateUDFImpl for StateFunction {
    fn name(&self) -> &str {
        self.says.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match (self.says, self.merges) {
            (Says::Count, _) => DataType::Int64,
            (Says::Sum, Merges::States { decimals }) => DataType::Decimal128(SUM_DIGITS, decimals as i8),
            (Says::Min | Says::Max, Merges::States { decimals }) => measure_type(decimals),
            (Says::Sum | Says::Min | Says::Max, Merges::Weighted) => DataType::Int64,
            _ => DataType::Float64,
        })
    }

    fn is_nullable(&self) -> bool {
        self.says != Says::Count
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.says {
            Says::Count => Ok(ScalarValue::Int64(Some(0))),
            _ => ScalarValue::try_from(data_type),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let named = |field: &FieldRef| {
            let name = format_state_name(arguments.name, field.name());
            Arc::new(field.as_ref().clone().with_name(name))
        };
        Ok(state_fields().iter().map(named).collect())
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let mut groups = self.groups();
        groups.states.push(MeasureState::default());
        Ok(Box::new(OneGroup(groups)))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.groups()))
    }
}

/// The merged state of each group.
#[derive(Debug)]
struct Groups {
    says: Says,
    merges: Merges,
    states: Vec<MeasureState>,
}

impl Groups {
    fn add(&mut self, group: usize, state: &MeasureState) -> Result<()> {
        Ok(self.states[group].merge(state).map_err(|_| QueryError::Overflow)?)
    }

    /// The state of `weight` observations that all have `value`.
    fn weighted(&self, value: i64, weight: u64) -> Result<MeasureState> {
        let wide = i128::from(value);
        let sum = wide.checked_mul(i128::from(weight)).ok_or(QueryError::Overflow)?;
        let sum_squares = match self.says {
            Says::VarianceSample | Says::VariancePopulation | Says::DeviationSample | Says::DeviationPopulation => {
                sum.checked_mul(wide).ok_or(QueryError::Overflow)?
            }
            _ => 0,
        };
        Ok(MeasureState { count: weight, sum, sum_squares, min: Some(value), max: Some(value) })
    }

    fn cells<'a>(&self, arguments: &'a [ArrayRef]) -> Result<Cells<'a>> {
        Ok(match (self.merges, arguments) {
            (Merges::States { .. }, [states]) => {
                let states: &StructArray = states.as_struct();
                Cells::States(states, StateColumns::new(states.columns())?)
            }
            (Merges::Weighted, [numbers, weights]) => {
                Cells::Weighted(numbers.as_primitive::<Int64Type>(), weights.as_primitive::<UInt64Type>())
            }
            _ => return Err(QueryError::Internal("a function with other arguments").into()),
        })
    }

    /// The state of a cell, if it has one.
    #[inline]
    fn state_of(&self, cells: &Cells<'_>, cell: usize) -> Result<Option<MeasureState>> {
        Ok(match cells {
            Cells::States(states, columns) => states.is_valid(cell).then(|| columns.get(cell)),
            Cells::Weighted(numbers, weights) if numbers.is_valid(cell) && weights.is_valid(cell) => {
                Some(self.weighted(numbers.value(cell), weights.value(cell))?)
            }
            Cells::Weighted(..) => None,
        })
    }

    fn update(&mut self, values: &[ArrayRef], group: impl Fn(usize) -> Option<usize>) -> Result<()> {
        let cells = self.cells(values)?;
        for (cell, group) in (0..cells.len()).filter_map(|cell| group(cell).map(|group| (cell, group))) {
            if let Some(state) = self.state_of(&cells, cell)? {
                self.add(group, &state)?;
            }
        }
        Ok(())
    }

    fn say(&self, states: &[MeasureState]) -> Result<ArrayRef> {
        let decimals = match self.merges {
            Merges::States { decimals } => decimals,
            Merges::Weighted => 0,
        };
        let float = |of: &dyn Fn(&MeasureState) -> Option<f64>| -> ArrayRef {
            Arc::new(states.iter().map(of).collect::<Float64Array>())
        };
        let spread = |of: fn(u64, i128, i128, u8, Deviation) -> Option<f64>, deviation: fn() -> Deviation| {
            float(&|state| of(state.count, state.sum, state.sum_squares, decimals, deviation()))
        };
        Ok(match self.says {
            Says::Count => {
                let counts = states.iter().map(|state| i64::try_from(state.count));
                let counts = counts.collect::<Result<Vec<_>, _>>().map_err(|_| QueryError::Overflow)?;
                Arc::new(Int64Array::from(counts))
            }
            Says::Sum => self.numbers(states, decimals, |state| Ok(Some(state.sum)))?,
            Says::Min => self.numbers(states, decimals, |state| known(state.min))?,
            Says::Max => self.numbers(states, decimals, |state| known(state.max))?,
            Says::Mean => float(&|state| mean(state.sum, state.count, decimals)),
            Says::VarianceSample => spread(variance, || Deviation::Sample),
            Says::VariancePopulation => spread(variance, || Deviation::Population),
            Says::DeviationSample => spread(stddev, || Deviation::Sample),
            Says::DeviationPopulation => spread(stddev, || Deviation::Population),
        })
    }

    /// Numbers of the type that the function returns; null for a group without values.
    fn numbers(
        &self,
        states: &[MeasureState],
        decimals: u8,
        of: fn(&MeasureState) -> Result<Option<i128>>,
    ) -> Result<ArrayRef> {
        let number = |state: &MeasureState| {
            if state.count == 0 { Ok(None) } else { of(state) }
        };
        let numbers = states.iter().map(number).collect::<Result<Vec<_>>>()?;
        if let Merges::Weighted = self.merges {
            let narrow = |number: Option<i128>| number.map(i64::try_from).transpose();
            let numbers = numbers.into_iter().map(narrow).collect::<Result<Int64Array, _>>();
            return Ok(Arc::new(numbers.map_err(|_| QueryError::Overflow)?));
        }
        if numbers.iter().flatten().any(|number| *number <= -SUM_LIMIT || *number >= SUM_LIMIT) {
            return Err(QueryError::Overflow.into());
        }
        let digits = if self.says == Says::Sum { SUM_DIGITS } else { DIGITS_MAX as u8 };
        Ok(Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(digits, decimals as i8)?))
    }
}

/// An extreme of a group that has values: the plan asks only where every state says it.
fn known(extreme: Option<i64>) -> Result<Option<i128>> {
    match extreme {
        Some(extreme) => Ok(Some(extreme.into())),
        None => Err(QueryError::Internal("a state without the extreme that its contract publishes").into()),
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.states.resize(groups_total, MeasureState::default());
        let passes = |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        self.update(values, |row| passes(row).then(|| groups[row]))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = emit_to.take_needed(&mut self.states);
        self.say(&states)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state_columns(&emit_to.take_needed(&mut self.states)))
    }

    fn merge_batch(&mut self, columns: &[ArrayRef], groups: &[usize], groups_total: usize) -> Result<()> {
        self.states.resize(groups_total, MeasureState::default());
        let columns = StateColumns::new(columns)?;
        groups.iter().enumerate().try_for_each(|(row, group)| self.add(*group, &columns.get(row)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut groups = Self { states: Vec::new(), ..*self };
        groups.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        Ok(state_columns(&groups.states))
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<MeasureState>()
    }
}

/// An aggregate without groups.
#[derive(Debug)]
struct OneGroup(Groups);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update(values, |_| Some(0))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.0.say(&self.0.states)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = state_columns(&self.0.states);
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = StateColumns::new(columns)?;
        (0..columns.count.len()).try_for_each(|row| self.0.add(0, &columns.get(row)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}
