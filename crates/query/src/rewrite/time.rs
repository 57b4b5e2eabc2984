//! Time among rows: a comparison may stand where it keeps whole windows together, a function where windows lie within
//! what it makes one. Bounds are looked at after constant folding, and written into the plan as they were looked at.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::NaiveDate;
use civicmesh_model::grain::Grain;
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::{Rewrite, refusal};
use crate::civil::{Unit, civil_trunc};
use crate::error::QueryError;
use crate::product::Product;

const DAY_US: i64 = 86_400_000_000;
const DAY_MS: i64 = 86_400_000;
const DAY_NS: i64 = 1_000 * DAY_US;
/// Most bins whose edges are looked at for one `date_bin`.
const BINS_MAX: usize = 1_000_000;

impl Rewrite {
    /// `time op other`: allowed where `other` is a constant window edge and `op` is `>=` or `<`.
    pub(super) fn bound(&self, product: &Product, time: &Expr, op: Operator, other: &Expr) -> Result<Expr> {
        let Some(value) = self.constant(other)? else {
            return Err(refusal::bound_not_constant(product).into());
        };
        if value.is_null() && !matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) {
            return Ok(Expr::Literal(ScalarValue::Boolean(None), None));
        }
        let at = self.instant(product, &value)?;
        match op {
            Operator::GtEq | Operator::Lt if product.calendar.is_edge(at) => Ok(self.at_edge(time, op, at)),
            Operator::GtEq | Operator::Lt => Err(refusal::window_cut(product, op, at).into()),
            _ => Err(refusal::instant_cut(product, op, at).into()),
        }
    }

    /// BETWEEN takes its upper bound in, and so cuts the first instant off the window that starts there.
    pub(super) fn between(&self, product: &Product, between: &Between) -> Result<Expr> {
        let (Some(low), Some(high)) = (self.constant(&between.low)?, self.constant(&between.high)?) else {
            return Err(refusal::bound_not_constant(product).into());
        };
        let (low, high) = (self.instant(product, &low)?, self.instant(product, &high)?);
        Err(refusal::between(product, between.negated, low, high).into())
    }

    /// The instant that a constant compared with a time means.
    pub(super) fn instant(&self, product: &Product, value: &ScalarValue) -> Result<UtcMicros> {
        instant(product, value).ok_or_else(|| refusal::no_instant(product, value).into())
    }

    /// A function of a product's time: a truncation, a field or a bin that windows lie within.
    pub(super) fn time_function(&self, product: &Product, call: &ScalarFunction) -> Result<Expr> {
        let unit = |text: Option<&str>, of: fn(&str) -> Option<Unit>| match text.and_then(of) {
            Some(unit) if unit.holds(product.grain()) => Ok(unit),
            _ => Err(refusal::finer_than_grain(product, text.unwrap_or("a unit that is not written out"))),
        };
        match (call.func.name(), call.args.as_slice()) {
            ("date_trunc", [name, time]) => {
                let name = self.constant_text(name)?;
                let unit = unit(name.as_deref(), Unit::of_trunc)?;
                Ok(civil_trunc(unit, self.zone).call(vec![time.clone().unalias()]))
            }
            ("date_part", [name, _]) => {
                let name = self.constant_text(name)?;
                unit(name.as_deref().map(|name| name.trim_matches(['\'', '"'])), Unit::of_field)?;
                Ok(Expr::ScalarFunction(call.clone()))
            }
            ("date_bin", [stride, time]) => self.bins(product, call, stride, time, None),
            ("date_bin", [stride, time, origin]) => self.bins(product, call, stride, time, Some(origin)),
            (name, _) => Err(refusal::function_of_time(product, name).into()),
        }
    }

    /// `date_bin`, which reckons in UTC: allowed under a day where every bin's edge is a window's.
    fn bins(
        &self,
        product: &Product,
        call: &ScalarFunction,
        stride: &Expr,
        time: &Expr,
        origin: Option<&Expr>,
    ) -> Result<Expr> {
        let stride_us = match self.stride_us(stride)? {
            Some(stride_us) if (1..DAY_US).contains(&stride_us) => stride_us,
            _ => return Err(refusal::bin_of_days(product).into()),
        };
        let origin_at = match origin.map(|origin| self.constant(origin)).transpose()? {
            None => UtcMicros(0),
            Some(Some(origin)) => self.instant(product, &origin)?,
            Some(None) => return Err(refusal::bound_not_constant(product).into()),
        };
        if !self.bins_keep_windows(product, stride_us, origin_at) {
            return Err(refusal::bin_cuts(product).into());
        }
        let mut args = vec![stride.clone(), time.clone().unalias()];
        if origin.is_some() {
            let ns = origin_at.0.checked_mul(1_000);
            args.push(Expr::Literal(ScalarValue::TimestampNanosecond(ns, Some(self.zone.name().into())), None));
        }
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&call.func), args)))
    }

    fn stride_us(&self, stride: &Expr) -> Result<Option<i64>> {
        let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        let stride = self.constant(stride)?.and_then(|stride| stride.cast_to(&interval).ok());
        Ok(match stride {
            Some(ScalarValue::IntervalMonthDayNano(Some(stride)))
                if stride.months == 0 && stride.days == 0 && stride.nanoseconds % 1_000 == 0 =>
            {
                Some(stride.nanoseconds / 1_000)
            }
            _ => None,
        })
    }

    /// Whether every edge of the bins is a window's, from the product's start until now (or its end).
    fn bins_keep_windows(&self, product: &Product, stride_us: i64, origin: UtcMicros) -> bool {
        let coverage = &product.contract.coverage;
        let from = self.zone.start_of_local(coverage.start);
        let until = coverage.end.map_or(self.now, |end| self.zone.start_of_local(end)).max(UtcMicros(from.0 + DAY_US));
        // Windows that follow the clock have their edges where their phase says until the offset from UTC changes,
        // which it does not twice a day: one bin a day tells. Civil windows are looked at one by one.
        let step = match product.grain() {
            Grain::Minutes(n) if stride_us % (i64::from(n) * 60_000_000) == 0 => stride_us * (DAY_US / stride_us),
            Grain::Hours(1) if stride_us % 3_600_000_000 == 0 => stride_us * (DAY_US / stride_us),
            Grain::Hours(n) if n > 1 => stride_us,
            _ => return false,
        };
        let first = from.0 + (origin.0 - from.0).rem_euclid(stride_us);
        let mut bins = (first..until.0).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        bins.by_ref().take(BINS_MAX).all(|bin| product.calendar.is_edge(UtcMicros(bin))) && bins.next().is_none()
    }
}

/// The instant that a constant compared with a product's time means, if it means one. A date means its first instant in
/// the city.
pub(crate) fn instant(product: &Product, value: &ScalarValue) -> Option<UtcMicros> {
    let zone = product.zone();
    let day = |days: i64| {
        let date = i32::try_from(days).ok().and_then(NaiveDate::from_epoch_days);
        date.map(|date| zone.start_of_day(date))
    };
    match value {
        ScalarValue::Date32(Some(days)) => day((*days).into()),
        ScalarValue::Date64(Some(ms)) if ms % DAY_MS == 0 => day(ms / DAY_MS),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            match NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d") {
                Ok(date) => Some(zone.start_of_day(date)),
                // Arrow wants seconds
                Err(_) => cast_to_instant(zone, value).or_else(|| cast_to_instant(zone, &format!("{text}:00").into())),
            }
        }
        value if matches!(value.data_type(), DataType::Timestamp(..)) => cast_to_instant(zone, value),
        _ => None,
    }
}

/// As Arrow reads it: a time without an offset is the city's, and one that never was or came twice is none.
fn cast_to_instant(zone: Zone, value: &ScalarValue) -> Option<UtcMicros> {
    let to = |unit| value.cast_to(&DataType::Timestamp(unit, Some(zone.name().into())));
    match (to(TimeUnit::Nanosecond), to(TimeUnit::Microsecond)) {
        (Ok(ScalarValue::TimestampNanosecond(Some(ns), _)), _) => (ns % 1_000 == 0).then_some(UtcMicros(ns / 1_000)),
        // nanoseconds do not reach as far
        (_, Ok(ScalarValue::TimestampMicrosecond(Some(us), _))) => Some(UtcMicros(us)),
        _ => None,
    }
}

/// DataFusion drops the hours of a date plus hours, wherever it stands; SQL has them.
pub(super) fn keeps_hours(plan: &LogicalPlan) -> Result<()> {
    let mut drops = false;
    plan.apply_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let drops_hours = |expr: &Expr| match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus, right }) => {
                let is_date = |expr: &Expr| matches!(expr.get_type(&schema), Ok(DataType::Date32));
                Ok((is_date(left) && has_hours(right)) || (is_date(right) && has_hours(left)))
            }
            _ => Ok(false),
        };
        plan.apply_expressions(|expr| {
            drops |= expr.exists(drops_hours)?;
            Ok(if drops { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    match drops {
        true => {
            Err(QueryError::Sql("a date plus hours is a time: write TIMESTAMP '2020-02-24 00:00:00' + …".into()).into())
        }
        false => Ok(()),
    }
}

/// Whether an expression is an interval with a part of a day.
fn has_hours(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => interval.nanoseconds % DAY_NS != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            i64::from(interval.milliseconds) % DAY_MS != 0
        }
        _ => false,
    }
}
