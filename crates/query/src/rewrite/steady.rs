//! Steady expressions: those that are the same for every observation of a cell, so that a cell may stand for them.
//!
//! Dimensions and constants are steady; a product's time is where a function or a comparison keeps to window edges
//! (see [`super::time`]); a measure never is. What is made of steady parts by the closed list below is steady.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Subquery, Volatility, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::exact::exact;
use super::{Kind, Rewrite, Rows, refusal};
use crate::civil::{Unit, time_type};
use crate::plans::Use;
use crate::shifted::shifted;

impl Rewrite {
    /// The expression over cells that is, for each, what it is over every observation of the cell; or a refusal.
    pub(super) fn steady(&self, rows: &Rows, expr: Expr) -> Result<Expr> {
        if let Some(open) = self.left_open(rows, &expr)? {
            return Ok(open);
        }
        if let Some(steady) = self.of_time(rows, &expr)? {
            return Ok(steady);
        }
        match &expr {
            Expr::Column(column) => match rows.kind(column)? {
                Kind::Key | Kind::Weight => Ok(expr),
                Kind::Time(product) => Err(refusal::instant(product).into()),
                Kind::Measure(product, measure) => Err(refusal::measure(product, *measure).into()),
                Kind::Distinct(product, column) => Err(refusal::distinct(product, *column).into()),
            },
            Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Volatile => {
                Err(refusal::function(&rows.product, call.func.name()).into())
            }
            Expr::ScalarSubquery(subquery) => self.steady_subquery(rows, subquery, &expr),
            Expr::Exists(test) => self.steady_subquery(rows, &test.subquery, &expr),
            Expr::InSubquery(test) => {
                let subquery = test.subquery.clone();
                let expr = expr.map_children(|child| Ok(Transformed::yes(self.steady(rows, child)?)))?.data;
                self.steady_subquery(rows, &subquery, &expr)
            }
            Expr::Literal(..)
            | Expr::OuterReferenceColumn(..)
            | Expr::Alias(_)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
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
            | Expr::InList(_)
            | Expr::ScalarFunction(_) => {
                let expr = expr.map_children(|child| Ok(Transformed::yes(self.steady(rows, child)?)))?.data;
                Ok(exact(expr, rows.plan.schema())?.data)
            }
            _ => Err(refusal::expression(&rows.product).into()),
        }
    }

    /// A comparison with a constant that is left open: with a text that cells share, or a bound of time, which is held
    /// against window edges once it is there. Where it stands for anything else, nothing is kept of the plan.
    fn left_open(&self, rows: &Rows, expr: &Expr) -> Result<Option<Expr>> {
        let (Expr::BinaryExpr(BinaryExpr { left, op, right }), Some(uses)) = (expr, &self.uses) else {
            return Ok(None);
        };
        let Expr::Placeholder(placeholder) = right.as_ref() else { return Ok(None) };
        let (of, kind) = match (rows.bare(left), op) {
            (Some(Kind::Time(product)), Operator::GtEq | Operator::Lt) => {
                (Use::Bound(product.clone()), time_type(self.zone))
            }
            (Some(Kind::Key), Operator::Eq) if left.get_type(rows.plan.schema())? == DataType::Utf8 => {
                (Use::Text, DataType::Utf8)
            }
            _ => return Err(refusal::expression(&rows.product).into()),
        };
        uses.note(&placeholder.id, of)?;
        let field = Arc::new(Field::new("", kind, false));
        let open = Expr::Placeholder(Placeholder::new_with_field(placeholder.id.clone(), Some(field)));
        let left = left.as_ref().clone().unalias();
        Ok(Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), *op, Box::new(open)))))
    }

    /// Where the expression takes a product's time as it is: what it is over cells, or a refusal.
    fn of_time(&self, rows: &Rows, expr: &Expr) -> Result<Option<Expr>> {
        let product = |expr: &Expr| match rows.bare(expr) {
            Some(Kind::Time(product)) => Some(product.clone()),
            _ => None,
        };
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
                match (product(left), product(right)) {
                    (Some(product), None) => self.bound(&product, left, *op, right).map(Some),
                    (None, Some(product)) => self.bound(&product, right, op.swap().unwrap_or(*op), left).map(Some),
                    _ => Ok(None),
                }
            }
            Expr::Between(between) => match product(&between.expr) {
                Some(product) => self.between(&product, between).map(Some),
                None => Ok(None),
            },
            Expr::IsNull(inner) if product(inner).is_some() => Ok(Some(lit(false))),
            Expr::IsNotNull(inner) if product(inner).is_some() => Ok(Some(lit(true))),
            Expr::Cast(cast) => match (product(&cast.expr), cast.field.data_type()) {
                (Some(product), DataType::Date32) if Unit::Day.holds(product.grain()) => Ok(Some(expr.clone())),
                (Some(product), DataType::Date32) => Err(refusal::finer_than_grain(&product, "a day").into()),
                _ => Ok(None),
            },
            Expr::ScalarFunction(call) => match call.args.iter().find_map(product) {
                Some(product) => self.time_function(&product, call).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// A subquery among rows must be the same for all of them.
    fn steady_subquery(&self, rows: &Rows, subquery: &Subquery, expr: &Expr) -> Result<Expr> {
        if refers_to(&subquery.subquery, rows)? {
            return Err(refusal::correlated(&rows.product).into());
        }
        Ok(self.subquery(expr.clone(), &DFSchema::empty())?.data)
    }

    /// The value of an expression that names no column, after type coercion and constant folding.
    pub(super) fn constant(&self, expr: &Expr) -> Result<Option<ScalarValue>> {
        let names_columns = |expr: &Expr| {
            Ok(matches!(
                expr,
                Expr::Column(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::Placeholder(_)
                    | Expr::ScalarVariable(..)
            ))
        };
        if expr.exists(names_columns)? {
            return Ok(None);
        }
        let now = chrono::DateTime::from_timestamp_micros(self.now.0);
        let context = SimplifyContext::builder()
            .with_config_options(self.options.clone())
            .with_query_execution_start_time(now)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.coerce(expr.clone().unalias_nested().data, &DFSchema::empty())?;
        let expr = expr.transform_up(|expr| shifted(expr, &DFSchema::empty()))?.data;
        match simplifier.simplify(expr)? {
            Expr::Literal(value, _) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// The text of a constant argument, in lower case.
    pub(super) fn constant_text(&self, expr: &Expr) -> Result<Option<String>> {
        Ok(match self.constant(expr)? {
            Some(
                ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
            ) => Some(text.to_lowercase()),
            _ => None,
        })
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Whether something within the plan refers to a column of the rows outside of it.
pub(super) fn refers_to(plan: &LogicalPlan, rows: &Rows) -> Result<bool> {
    let schema = rows.plan.schema();
    let names_row = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Ok(schema.maybe_index_of_column(column).is_some()),
        _ => Ok(false),
    };
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            found |= expr.exists(names_row)?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}
