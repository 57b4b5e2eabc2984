//! Expressions written anew under the names that they had.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Writes each expression of a node anew; what is above it finds it under its old name.
pub(crate) fn map_named(
    plan: LogicalPlan,
    write: impl Fn(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let named = |expr: Expr| {
        let name = names.save(&expr);
        Ok(write(expr)?.update_data(|expr| name.restore(expr)))
    };
    plan.map_expressions(|expr| match expr {
        // a grouping set has no name; each of its columns has one
        Expr::GroupingSet(_) => expr.map_children(named),
        expr => named(expr),
    })
}
