//! Forms of SQL that the planner reads and then does not keep to, or has no room for: refused.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr, SetOperator, SetQuantifier, TableFactor, Visit, Visitor};

use crate::error::QueryError;

/// Deepest nesting of calls. Each one doubles how long planning takes.
const CALLS_MAX: usize = 10;

/// Looks at the whole statement.
pub(crate) fn must_be_kept_to(statement: &Statement) -> Result<(), QueryError> {
    let statement = match statement {
        Statement::Statement(statement) => statement,
        Statement::Explain(explain) => return must_be_kept_to(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => return Ok(()),
    };
    match statement.visit(&mut Forms::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

#[derive(Default)]
struct Forms {
    calls: usize,
}

fn refuse(message: &str) -> ControlFlow<QueryError> {
    ControlFlow::Break(QueryError::Sql(message.to_owned()))
}

impl Visitor for Forms {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        self.calls += usize::from(is_call(expr));
        match self.calls > CALLS_MAX {
            true => ControlFlow::Break(QueryError::TooLarge {
                what: "the nesting of calls (a subquery in FROM may name what is within)",
                limit: CALLS_MAX as u64,
            }),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        self.calls -= usize::from(is_call(expr));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if !query.locks.is_empty() {
            return refuse("FOR UPDATE and FOR SHARE lock nothing here: leave them out");
        }
        sets(&query.body)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<QueryError> {
        match table {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                refuse("there is no TABLESAMPLE of released cells: leave it out, or ask for a shorter time with WHERE")
            }
            TableFactor::Table { with_ordinality: true, .. }
            | TableFactor::Function { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_offset: true, .. } => {
                refuse("there is no WITH ORDINALITY: write row_number() OVER (ORDER BY …)")
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What planners ask for its type again and again.
fn is_call(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Function(_)
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Case { .. }
            | Expr::Array(_)
            | Expr::Tuple(_)
            | Expr::Struct { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::CompoundFieldAccess { .. }
    )
}

/// EXCEPT ALL and INTERSECT ALL count rows; the planner only looks whether there is one.
fn sets(body: &SetExpr) -> ControlFlow<QueryError> {
    use SetOperator::{Except, Intersect, Minus};
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else {
        return ControlFlow::Continue(());
    };
    if matches!(op, Except | Intersect | Minus)
        && !matches!(set_quantifier, SetQuantifier::None | SetQuantifier::Distinct)
    {
        return refuse("EXCEPT ALL and INTERSECT ALL are not answered: write EXCEPT or INTERSECT, or join and count");
    }
    sets(left)?;
    sets(right)
}
