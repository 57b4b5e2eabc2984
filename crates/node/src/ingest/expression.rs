//! SQL expressions of a contract: planned once, evaluated over whole batches by DataFusion.
//!
//! Only what gives the same result for the same row, whenever and wherever it runs, is let in: columns, literals,
//! operators and immutable scalar functions. DataFusion's own messages may quote a row's values, so none of them gets
//! out of [`Expression::evaluate`]; those of planning speak of the contract's SQL alone.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};
use civicmesh_model::contract::InputKind;
use civicmesh_model::time::Zone;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::prelude::SessionConfig;

use super::cell::kind_word;
use super::error::IngestError;
use super::reject::Reason;

/// Plans the expressions of one contract.
pub(super) struct Planner {
    state: SessionState,
    zone: Zone,
}

/// An expression over the columns of a batch.
pub(super) struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    /// The columns that it was planned for: the first of a chunk's.
    pub schema: SchemaRef,
    result: DataType,
    whole: bool,
}

/// What an expression gives for each row.
pub(super) struct Values {
    /// The values, null where the expression gives null or fails.
    pub array: ArrayRef,
    /// Rows that it fails on, ascending.
    pub faults: Vec<(usize, Reason)>,
}

impl Planner {
    /// Plans with literals and calendar functions in `zone`.
    pub fn new(zone: Zone) -> Self {
        let mut config = SessionConfig::new();
        config.options_mut().execution.time_zone = Some(zone.name().to_owned());
        let builder = SessionStateBuilder::new().with_config(config).with_default_features();
        Planner { state: builder.with_session_id("ingest".to_owned()).build(), zone }
    }

    /// Plans `sql`, which stands at `place` in the contract, over columns of `schema`, for a result of `kind`.
    pub fn plan(&self, place: &str, sql: &str, kind: InputKind, schema: &Schema) -> Result<Expression, IngestError> {
        let wrong = |message: String| IngestError::Expression { place: place.to_owned(), message };
        let columns = DFSchema::try_from(schema.clone()).map_err(|error| wrong(said(&error)))?;
        let logical = self.state.create_logical_expr(sql, &columns).map_err(|error| wrong(said(&error)))?;
        check(&logical, &columns).map_err(wrong)?;
        let planned = self.written_out(logical, &columns);
        let planned = planned.and_then(|logical| self.state.create_physical_expr(logical, &columns));
        let physical = planned.and_then(checked).map_err(|error| wrong(said(&error)))?;
        let gives = physical.data_type(schema).map_err(|error| wrong(said(&error)))?;
        let result = result_type(kind, self.zone);
        if !becomes(&gives, kind) {
            let mend = match (&gives, kind) {
                (DataType::Duration(_) | DataType::Interval(_), _) => "; write extract(epoch from ...) for seconds",
                (DataType::Timestamp(_, None), _) => "; it has no time zone, take a timestamp column of the file",
                _ => "",
            };
            return Err(wrong(format!("the contract says {}, and the SQL gives {gives}{mend}", kind_word(kind))));
        }
        let whole = kind == InputKind::Integer && !gives.is_integer();
        Ok(Expression { physical, schema: Arc::new(schema.clone()), result, whole })
    }

    /// The expression with each function as it says of itself that it is to be planned: `coalesce`, `nvl2` and casts by
    /// name cannot be computed otherwise.
    fn written_out(&self, logical: Expr, columns: &DFSchema) -> Result<Expr, DataFusionError> {
        let context = SimplifyContext::builder().with_schema(Arc::new(columns.clone()));
        let context = context.with_config_options(self.state.config_options().clone()).build();
        let logical = ExprSimplifier::new(context.clone()).coerce(logical, columns)?;
        let write_out = |expr: Expr| {
            let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return Ok(Transformed::no(expr)) };
            Ok(match func.simplify(args, &context)? {
                ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
                ExprSimplifyResult::Original(args) => {
                    Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
                }
            })
        };
        logical.transform_up(write_out).data()
    }
}

/// The Arrow type in which a column of this kind is held.
pub(super) fn result_type(kind: InputKind, zone: Zone) -> DataType {
    match kind {
        InputKind::Text => DataType::Utf8,
        InputKind::Integer => DataType::Int64,
        InputKind::Number => DataType::Float64,
        InputKind::Boolean => DataType::Boolean,
        InputKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(zone.name().into())),
    }
}

fn becomes(gives: &DataType, kind: InputKind) -> bool {
    use DataType::{Boolean, Dictionary, LargeUtf8, Null, Timestamp, Utf8, Utf8View};
    match (gives, kind) {
        (Null, _) => true,
        (Dictionary(_, values), kind) => becomes(values, kind),
        (Utf8 | LargeUtf8 | Utf8View, InputKind::Text) => true,
        (Boolean, InputKind::Boolean) => true,
        (Timestamp(_, Some(_)), InputKind::Timestamp) => true,
        (number, InputKind::Integer | InputKind::Number) => number.is_numeric(),
        _ => false,
    }
}

/// What DataFusion says of an expression, on one line and without its class of error in front.
fn said(error: &DataFusionError) -> String {
    error.strip_backtrace().lines().next().unwrap_or_default().to_owned()
}

/// Refuses all that is not a pure function of the row, and what loses a part of its result in silence.
fn check(expression: &Expr, columns: &DFSchema) -> Result<(), String> {
    let mut fault = None;
    let walked = expression.apply(|node| {
        fault = refusal(node).or_else(|| lost_remainder(node, columns));
        Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (walked, fault) {
        (Ok(_), None) => Ok(()),
        (_, fault) => Err(fault.unwrap_or_else(|| "cannot be looked through".to_owned())),
    }
}

fn refusal(node: &Expr) -> Option<String> {
    match node {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_) => None,
        Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Immutable => None,
        Expr::ScalarFunction(call) => {
            let name = call.name();
            Some(format!("`{name}` may give another result for the same row; use immutable functions only"))
        }
        Expr::AggregateFunction(call) => {
            Some(format!("`{}` is an aggregate; an expression sees one row", call.func.name()))
        }
        Expr::WindowFunction(_) => Some("a window function sees other rows; an expression sees one row".to_owned()),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
            Some("a subquery is not allowed; use a lookup".to_owned())
        }
        other => Some(format!("`{}` is not allowed in a contract", other.variant_name())),
    }
}

/// Refuses `/` between whole numbers, which SQL takes for a division that drops the remainder: 3 / 4 would be 0.
fn lost_remainder(node: &Expr, columns: &DFSchema) -> Option<String> {
    let Expr::BinaryExpr(binary) = node else { return None };
    let is_whole = |side: &Expr| side.get_type(columns).is_ok_and(|kind| kind.is_integer());
    if binary.op != Operator::Divide || !is_whole(&binary.left) || !is_whole(&binary.right) {
        return None;
    }
    let (left, mut right) = (binary.left.human_display().to_string(), binary.right.human_display().to_string());
    if matches!(*binary.right, Expr::BinaryExpr(_)) {
        right = format!("({right})");
    }
    Some(format!(
        "`{left} / {right}` divides whole numbers and would drop the remainder; write CAST({left} AS DOUBLE) / {right}"
    ))
}

/// Makes whole-number arithmetic fail where it would wrap around.
fn checked(expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    expression
        .transform_up(|node| {
            let Some(binary) = node.downcast_ref::<BinaryExpr>() else {
                return Ok(Transformed::no(node));
            };
            if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
                return Ok(Transformed::no(node));
            }
            let (left, right) = (binary.left().clone(), binary.right().clone());
            let checked = BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true);
            Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
        })
        .data()
}

impl Expression {
    /// The expression's value for each row of `batch`. A row that it fails on costs itself: a batch that fails is
    /// halved until the row is found.
    pub fn evaluate(&self, batch: &RecordBatch) -> Values {
        let (mut parts, mut faults) = (Vec::new(), Vec::new());
        self.evaluate_range(batch, 0..batch.num_rows(), &mut parts, &mut faults);
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let array = match parts.as_slice() {
            [] => new_null_array(&self.result, 0),
            parts => concat(parts).expect("all parts are of the result's type"),
        };
        Values { array, faults }
    }

    fn evaluate_range(
        &self,
        batch: &RecordBatch,
        rows: Range<usize>,
        parts: &mut Vec<ArrayRef>,
        faults: &mut Vec<(usize, Reason)>,
    ) {
        if rows.is_empty() {
            return;
        }
        match self.try_evaluate(&batch.slice(rows.start, rows.len())) {
            Some(array) => parts.push(array),
            None if rows.len() == 1 => {
                faults.push((rows.start, Reason::Expression));
                parts.push(new_null_array(&self.result, 1));
            }
            None => {
                let middle = rows.start + rows.len() / 2;
                self.evaluate_range(batch, rows.start..middle, parts, faults);
                self.evaluate_range(batch, middle..rows.end, parts, faults);
            }
        }
    }

    /// The values in the contract's kind; None where any row fails. A function that panics on a value fails too.
    fn try_evaluate(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.physical.evaluate(batch)));
        let array = evaluated.ok()?.ok()?.into_array(batch.num_rows()).ok()?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        if self.whole {
            let numbers = cast_with_options(&array, &DataType::Float64, &options).ok()?;
            let numbers = numbers.as_primitive::<Float64Type>();
            // beyond 2^53 a Float64 skips whole numbers
            let is_whole = |number: f64| number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
            if !numbers.iter().flatten().all(is_whole) {
                return None;
            }
            return Some(Arc::new(numbers.unary::<_, Int64Type>(|number| number as i64)));
        }
        cast_with_options(&array, &self.result, &options).ok()
    }

    /// The rows of `batch` for which the condition is true, one flag a row, and those that it fails on.
    pub fn is_true(&self, batch: &RecordBatch) -> (Vec<bool>, Vec<(usize, Reason)>) {
        let Values { array, faults } = self.evaluate(batch);
        let flags: &BooleanArray = array.as_boolean();
        (flags.iter().map(|flag| flag == Some(true)).collect(), faults)
    }
}

/// The numbers of a derived column as Float64, for a look at their range.
pub(super) fn as_numbers(array: &ArrayRef) -> Option<Float64Array> {
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        return Some(numbers.clone());
    }
    let numbers: &Int64Array = array.as_primitive_opt::<Int64Type>()?;
    Some(numbers.unary(|number| number as f64))
}
