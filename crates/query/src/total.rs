//! `sum` above the aggregates, of whole numbers and decimals: added up in 128 bits, every step checked, and an error
//! where the result does not fit its type. DataFusion's own sum wraps.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use crate::error::QueryError;

const DIGITS: u8 = 38;
/// The first number with more digits than a Decimal128 has.
const LIMIT: i128 = 10_i128.pow(DIGITS as u32);
/// Of what is added up so far.
const WIDE: DataType = DataType::Decimal128(DIGITS, 0);

/// The function.
pub(crate) fn total() -> Arc<AggregateUDF> {
    static TOTAL: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Total { signature }))
    });
    TOTAL.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Total {
    signature: Signature,
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        "civicmesh_total"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// As that of `sum`, so that it can stand in its place.
    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Int64] => Ok(DataType::Int64),
            [DataType::UInt64] => Ok(DataType::UInt64),
            [DataType::Decimal128(digits, decimals)] => Ok(DataType::Decimal128((digits + 10).min(DIGITS), *decimals)),
            _ => Err(QueryError::Internal("a total of something else than numbers").into()),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(arguments.name, "total");
        let field = match arguments.is_distinct {
            true => Field::new_list(name, Field::new_list_field(WIDE, true), true),
            false => Field::new(name, WIDE, true),
        };
        Ok(vec![Arc::new(field)])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = arguments.return_type().clone();
        Ok(match arguments.is_distinct {
            true => Box::new(Distinct { of, times: BTreeMap::new() }),
            false => Box::new(One { of, sum: 0, values: 0 }),
        })
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.accumulator(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { of: arguments.return_type().clone(), sums: Vec::new() }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// Numbers read from a column.
enum Numbers<'a> {
    Whole(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Decimal(&'a Decimal128Array),
}

impl<'a> Numbers<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Int64 => Self::Whole(column.as_primitive::<Int64Type>()),
            DataType::UInt64 => Self::Unsigned(column.as_primitive::<UInt64Type>()),
            DataType::Decimal128(..) => Self::Decimal(column.as_primitive::<Decimal128Type>()),
            _ => return Err(QueryError::Internal("a total of something else than numbers").into()),
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Whole(column) => column.len(),
            Self::Unsigned(column) => column.len(),
            Self::Decimal(column) => column.len(),
        }
    }

    fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Whole(column) => column.is_valid(row).then(|| column.value(row).into()),
            Self::Unsigned(column) => column.is_valid(row).then(|| column.value(row).into()),
            Self::Decimal(column) => column.is_valid(row).then(|| column.value(row)),
        }
    }

    /// Every number that there is.
    fn iter(&self) -> impl Iterator<Item = i128> + '_ {
        (0..self.len()).filter_map(|row| self.get(row))
    }
}

fn add(sum: i128, number: i128) -> Result<i128> {
    Ok(sum.checked_add(number).ok_or(QueryError::Overflow)?)
}

/// Sums as a column of the type, if they fit.
fn said(of: &DataType, sums: &[Option<i128>]) -> Result<ArrayRef> {
    let fits = |sum: &Option<i128>| match (of, sum) {
        (_, None) => true,
        (DataType::Int64, Some(sum)) => i64::try_from(*sum).is_ok(),
        (DataType::UInt64, Some(sum)) => u64::try_from(*sum).is_ok(),
        (_, Some(sum)) => -LIMIT < *sum && *sum < LIMIT,
    };
    if !sums.iter().all(fits) {
        return Err(QueryError::Overflow.into());
    }
    Ok(match of {
        DataType::Int64 => Arc::new(sums.iter().map(|sum| sum.map(|sum| sum as i64)).collect::<Int64Array>()),
        DataType::UInt64 => Arc::new(sums.iter().map(|sum| sum.map(|sum| sum as u64)).collect::<UInt64Array>()),
        _ => wide(sums, of),
    })
}

/// Sums as a column of decimals, unchecked.
fn wide(sums: &[Option<i128>], of: &DataType) -> ArrayRef {
    Arc::new(sums.iter().copied().collect::<Decimal128Array>().with_data_type(of.clone()))
}

/// A total without groups, or of a window that slides.
#[derive(Debug)]
struct One {
    of: DataType,
    sum: i128,
    values: u64,
}

impl One {
    fn known(&self) -> Option<i128> {
        (self.values > 0).then_some(self.sum)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for number in Numbers::new(&values[0])?.iter() {
            self.sum = add(self.sum, number)?;
            self.values += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for number in Numbers::new(&values[0])?.iter() {
            self.sum = self.sum.checked_sub(number).ok_or(QueryError::Overflow)?;
            self.values -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&said(&self.of, &[self.known()])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&wide(&[self.known()], &WIDE), 0)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A total of each number once.
#[derive(Debug)]
struct Distinct {
    of: DataType,
    /// How many times each number is there.
    times: BTreeMap<i128, u64>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for number in Numbers::new(&values[0])?.iter() {
            *self.times.entry(number).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for number in Numbers::new(&values[0])?.iter() {
            let times = self.times.remove(&number).ok_or(QueryError::Internal("a window left what it never had"))?;
            if times > 1 {
                self.times.insert(number, times - 1);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.times.keys().try_fold(0, |sum, number| add(sum, *number))?;
        ScalarValue::try_from_array(&said(&self.of, &[(!self.times.is_empty()).then_some(sum)])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<Option<i128>> = self.times.keys().copied().map(Some).collect();
        Ok(vec![SingleRowListArrayBuilder::new(wide(&numbers, &WIDE)).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_list::<i32>().iter().flatten().try_for_each(|numbers| self.update_batch(&[numbers]))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.times.len() * size_of::<(i128, u64)>()
    }
}

/// The total of each group.
#[derive(Debug)]
struct Groups {
    of: DataType,
    sums: Vec<Option<i128>>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.sums.resize(groups_total, None);
        let numbers = Numbers::new(&values[0])?;
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| passes(*row)) {
            if let Some(number) = numbers.get(row) {
                let sum = &mut self.sums[*group];
                *sum = Some(add(sum.unwrap_or(0), number)?);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        said(&self.of, &emit_to.take_needed(&mut self.sums))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![wide(&emit_to.take_needed(&mut self.sums), &WIDE)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], groups_total: usize) -> Result<()> {
        self.update_batch(states, groups, None, groups_total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut groups = Self { of: self.of.clone(), sums: Vec::new() };
        groups.update_batch(values, &(0..values[0].len()).collect::<Vec<_>>(), filter, values[0].len())?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i128>>()
    }
}
