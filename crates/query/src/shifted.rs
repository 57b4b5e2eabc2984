//! A time and an interval: days and months go by the calendar and the clocks of the time's zone, hours by the instant.
//!
//! Arrow fails where the clocks show the time that comes out twice or never, and with it whoever compares each hour of a
//! year with the same hour a week before. Here it is what a calendar means by it ([`Zone::of_calendar`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{Months, TimeDelta};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};

use crate::error::QueryError;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const OUT_OF_RANGE: QueryError = QueryError::Execution("a time plus an interval lies out of range");

/// The sum or difference of a time in a zone and an interval, as a calendar has it; other expressions as they are.
pub(crate) fn shifted(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let (left_kind, right_kind) = (left.get_type(schema)?, right.get_type(schema)?);
    let ((time, time_kind), (interval, interval_kind)) = match *op == Operator::Plus && is_interval(&left_kind) {
        true => ((right, right_kind), (left, left_kind)),
        false => ((left, left_kind), (right, right_kind)),
    };
    let zone = match time_kind {
        // as fine as our own instants, or finer
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, zone) if is_interval(&interval_kind) => zone,
        _ => None,
    };
    let Some(zone) = zone.and_then(|zone| zone.parse::<Zone>().ok()) else { return Ok(Transformed::no(expr)) };
    let signature = Signature::any(2, Volatility::Immutable);
    let shift = Arc::new(ScalarUDF::new_from_impl(Shift { subtracts: *op == Operator::Minus, zone, signature }));
    let interval = interval.as_ref().clone();
    let interval = if interval_kind == INTERVAL { interval } else { cast(interval, INTERVAL) };
    Ok(Transformed::yes(shift.call(vec![time.as_ref().clone(), interval])))
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_))
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    subtracts: bool,
    zone: Zone,
    signature: Signature,
}

impl Shift {
    /// The time, in parts of a microsecond, so much later or earlier.
    fn moved(&self, time: i64, parts: i64, by: IntervalMonthDayNano) -> Option<i64> {
        let mut at = UtcMicros(time.div_euclid(parts));
        if by.months != 0 || by.days != 0 {
            let local = at.is_in_range().then(|| self.zone.to_local(at))?;
            let months = Months::new(by.months.unsigned_abs());
            let local = match (by.months < 0) == self.subtracts {
                true => local.checked_add_months(months)?,
                false => local.checked_sub_months(months)?,
            };
            let days = TimeDelta::days(by.days.into());
            let local = if self.subtracts { local.checked_sub_signed(days) } else { local.checked_add_signed(days) };
            at = self.zone.of_calendar(local?);
        }
        let parts_of_hours = by.nanoseconds / (1_000 / parts);
        let time = at.0.checked_mul(parts)?.checked_add(time.rem_euclid(parts))?;
        match self.subtracts {
            true => time.checked_sub(parts_of_hours),
            false => time.checked_add(parts_of_hours),
        }
    }

    fn all<T: ArrowTimestampType>(&self, times: &ArrayRef, intervals: &ArrayRef, parts: i64) -> Result<ArrayRef> {
        let (times, intervals) = (times.as_primitive::<T>(), intervals.as_primitive::<IntervalMonthDayNanoType>());
        let moved = times.iter().zip(intervals.iter()).map(|(time, interval)| match time.zip(interval) {
            None => Ok(None),
            Some((time, interval)) => self.moved(time, parts, interval).ok_or(OUT_OF_RANGE).map(Some),
        });
        let moved = moved.collect::<Result<PrimitiveArray<T>, _>>()?;
        Ok(Arc::new(moved.with_data_type(times.data_type().clone())))
    }
}

impl ScalarUDFImpl for Shift {
    fn name(&self) -> &str {
        if self.subtracts { "civicmesh_earlier" } else { "civicmesh_later" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments.first().cloned().ok_or_else(|| QueryError::Internal("a time and an interval are two").into())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&kinds)?, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { arguments.number_rows };
        let arrays =
            arguments.args.into_iter().map(|argument| argument.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let [times, intervals] = arrays.as_slice() else {
            return Err(QueryError::Internal("a time and an interval are two").into());
        };
        let moved = match times.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.all::<TimestampMicrosecondType>(times, intervals, 1)?
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                self.all::<TimestampNanosecondType>(times, intervals, 1_000)?
            }
            _ => return Err(QueryError::Internal("a time of another unit").into()),
        };
        match is_one {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&moved, 0)?)),
            false => Ok(ColumnarValue::Array(moved)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_by_the_calendar_and_hours_by_the_instant() {
        let at = |text: &str| text.parse::<UtcMicros>().unwrap();
        let interval = |months, days, hours: i64| IntervalMonthDayNano::new(months, days, hours * 3_600_000_000_000);
        for (from, by, to) in [
            // 02:00 was skipped a week later, came twice a week later, and is as ever
            ("2020-03-22T01:00:00Z", interval(0, 7, 0), "2020-03-29T01:00:00Z"),
            ("2020-03-22T01:30:00Z", interval(0, 7, 0), "2020-03-29T01:30:00Z"),
            ("2020-10-18T00:00:00Z", interval(0, 7, 0), "2020-10-25T00:00:00Z"),
            ("2020-11-01T01:00:00Z", interval(0, -7, 0), "2020-10-25T00:00:00Z"),
            ("2020-06-07T00:00:00Z", interval(0, 7, 0), "2020-06-14T00:00:00Z"),
            ("2020-03-28T12:00:00Z", interval(0, 1, 0), "2020-03-29T11:00:00Z"),
            ("2020-03-28T12:00:00Z", interval(0, 0, 24), "2020-03-29T12:00:00Z"),
            ("2020-01-31T11:00:00Z", interval(1, 1, 1), "2020-03-01T12:00:00Z"),
            ("2020-05-31T10:00:00Z", interval(-3, 0, 0), "2020-02-29T11:00:00Z"),
        ] {
            let zone: Zone = "Europe/Copenhagen".parse().unwrap();
            let shift = |subtracts| Shift { subtracts, zone, signature: Signature::any(2, Volatility::Immutable) };
            let back = IntervalMonthDayNano::new(-by.months, -by.days, -by.nanoseconds);
            assert_eq!(shift(false).moved(at(from).0, 1, by), Some(at(to).0), "{from} {by:?}");
            assert_eq!(shift(true).moved(at(from).0, 1, back), Some(at(to).0), "{from} {by:?}");
            let nanos = shift(false).moved(at(from).0 * 1_000 + 7, 1_000, by);
            assert_eq!(nanos, Some(at(to).0 * 1_000 + 7), "{from} {by:?}");
        }
        let zone = Zone::UTC;
        let shift = Shift { subtracts: false, zone, signature: Signature::any(2, Volatility::Immutable) };
        assert_eq!(shift.moved(UtcMicros::MAX.0, 1, interval(i32::MAX, 0, 0)), None);
        assert_eq!(shift.moved(i64::MAX, 1, interval(0, 0, 1)), None);
    }
}
