//! Arithmetic that DataFusion cuts short and SQL does not: quotients and averages of decimals, and what is cast to a
//! whole number. It is written anew before types are coerced, so that what stands above it is coerced to its type.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::functions::math::round;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, WindowFunctionDefinition};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::signed::signed;
use crate::ratio::ratio;

/// One expression; those within it are written anew already.
pub(super) fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
            let (of, by) = (kind(&left, schema)?, kind(&right, schema)?);
            match (of.is_decimal() && !by.is_floating()) || (by.is_decimal() && !of.is_floating()) {
                true => Transformed::yes(ratio().call(vec![double(*left), double(*right)])),
                false => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right })),
            }
        }
        Expr::Cast(mut cast) if cast.field.data_type().is_integer() && has_fraction(&cast.expr, schema)? => {
            cast.expr = Box::new(round().call(vec![*cast.expr]));
            Transformed::yes(Expr::Cast(cast))
        }
        Expr::TryCast(mut cast) if cast.field.data_type().is_integer() && has_fraction(&cast.expr, schema)? => {
            cast.expr = Box::new(round().call(vec![*cast.expr]));
            Transformed::yes(Expr::TryCast(cast))
        }
        Expr::ScalarFunction(call) if matches!(call.func.name(), "arrow_cast" | "arrow_try_cast") => {
            let mut call = call;
            let whole = Expr::ScalarFunction(call.clone()).get_type(schema)?.is_integer();
            match call.args.first() {
                Some(argument) if whole && has_fraction(argument, schema)? => {
                    call.args[0] = round().call(vec![argument.clone()]);
                    Transformed::yes(Expr::ScalarFunction(call))
                }
                _ => Transformed::no(Expr::ScalarFunction(call)),
            }
        }
        call @ Expr::ScalarFunction(_) => Transformed::yes(signed(call, schema)?),
        Expr::AggregateFunction(mut call) => {
            let changed = average(call.func.name(), &mut call.params.args, schema)?;
            Transformed::new_transformed(Expr::AggregateFunction(call), changed)
        }
        Expr::WindowFunction(mut call) => {
            let changed = match &call.fun {
                WindowFunctionDefinition::AggregateUDF(func) => average(func.name(), &mut call.params.args, schema)?,
                WindowFunctionDefinition::WindowUDF(_) => false,
            };
            Transformed::new_transformed(Expr::WindowFunction(call), changed)
        }
        other => Transformed::no(other),
    })
}

/// Averages doubles in place of decimals, and takes the middle of two numbers as a double too.
fn average(name: &str, args: &mut [Expr], schema: &DFSchema) -> Result<bool> {
    let Some(argument) = args.first_mut() else { return Ok(false) };
    let kind = kind(argument, schema)?;
    let cut_short = match name {
        "avg" => kind.is_decimal(),
        "median" | "percentile_cont" => kind.is_decimal() || kind.is_integer(),
        _ => false,
    };
    if cut_short {
        *argument = double(argument.clone());
    }
    Ok(cut_short)
}

/// The type that an expression will have once types are coerced: a CASE speaks of its first branch alone until then.
fn kind(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    match expr.exists(|expr| Ok(matches!(expr, Expr::Case(_))))? {
        true => expr.clone().rewrite(&mut TypeCoercionRewriter::new(schema))?.data.get_type(schema),
        false => expr.get_type(schema),
    }
}

fn has_fraction(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let kind = kind(expr, schema)?;
    Ok(kind.is_decimal() || kind.is_floating())
}

fn double(expr: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Float64))
}
