//! The last analyzer rule: a time that loses its zone keeps what the city's clocks show.
//!
//! DataFusion compares a date with a time in a zone by taking both as UTC, so that `week = DATE '2020-03-02'` would
//! never hold in New York. It says so with a cast to a timestamp without zone, as does a client's own
//! `CAST(week AS TIMESTAMP)`; both mean the city's clock here, as they do in PostgreSQL.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::functions::datetime::to_local_time;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::named::map_named;

/// The rule.
#[derive(Debug)]
pub(crate) struct WallClock;

impl AnalyzerRule for WallClock {
    fn analyze(&self, plan: LogicalPlan, _options: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(keep_clocks)?.data)
    }

    fn name(&self) -> &str {
        "keep_wall_clock"
    }
}

fn keep_clocks(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    map_named(plan, |expr| expr.transform_up(|expr| keep_clock(expr, &schema)))
}

fn keep_clock(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (inner, to) = match &expr {
        Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
        Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
        _ => return Ok(Transformed::no(expr)),
    };
    let loses_zone = matches!(to, DataType::Timestamp(_, None))
        && matches!(inner.get_type(schema)?, DataType::Timestamp(_, Some(_)));
    if !loses_zone {
        return Ok(Transformed::no(expr));
    }
    Ok(Transformed::yes(match expr {
        Expr::Cast(mut cast) => {
            cast.expr = Box::new(to_local_time().call(vec![*cast.expr]));
            Expr::Cast(cast)
        }
        Expr::TryCast(mut cast) => {
            cast.expr = Box::new(to_local_time().call(vec![*cast.expr]));
            Expr::TryCast(cast)
        }
        other => other,
    }))
}
