//! Whole numbers as SQL has them, with a sign: some of DataFusion's counts have none, and half of one is a fraction. (Ranks
//! get theirs in [`crate::ranks`].)

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection};

/// The result of a function as a number with a sign.
pub(super) fn signed(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let explicit = match &expr {
        Expr::ScalarFunction(call) => matches!(call.func.name(), "arrow_cast" | "arrow_try_cast"),
        _ => true,
    };
    Ok(match !explicit && is_unsigned(&expr.get_type(schema)?) {
        true => with_sign(expr),
        false => expr,
    })
}

/// A plan of aggregates, with a projection above it where one of them has no sign.
pub(super) fn signed_above(plan: LogicalPlan) -> Result<LogicalPlan> {
    let computed = match &plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.len(),
        _ => 0,
    };
    let schema = plan.schema();
    let given = schema.fields().len() - computed;
    let gives_unsigned = |column: &usize| *column >= given && is_unsigned(schema.field(*column).data_type());
    if !(0..schema.fields().len()).any(|column| gives_unsigned(&column)) {
        return Ok(plan);
    }
    let column = |column: usize| {
        let (qualifier, field) = schema.qualified_field(column);
        let expr = Expr::Column(Column::from((qualifier, field)));
        match gives_unsigned(&column) {
            true => with_sign(expr).alias_qualified(qualifier.cloned(), field.name()),
            false => expr,
        }
    };
    let exprs = (0..schema.fields().len()).map(column).collect();
    Projection::try_new(exprs, Arc::new(plan)).map(LogicalPlan::Projection)
}

fn with_sign(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Int64))
}

fn is_unsigned(kind: &DataType) -> bool {
    matches!(kind, DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64)
}
