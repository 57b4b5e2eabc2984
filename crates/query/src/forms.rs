//! Forms of SQL that the planner reads and then does not keep to, or has no room for: refused.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier,
    TableFactor, Visit, Visitor,
};

use crate::error::QueryError;
use crate::statement::too_large;

/// Deepest nesting of calls. Each one may double how long planning takes: ten take a tenth of a second where nothing
/// is optimised, sixteen would take ten.
pub(crate) const CALLS_MAX: usize = 10;
/// Deepest nesting of subqueries within expressions, which doubles it too.
const SUBQUERIES_MAX: usize = 6;
/// Most columns that one SELECT lists: planning takes the square of them.
const COLUMNS_MAX: usize = 500;
/// Most grouping sets of one SELECT. Each is planned, and takes every row once more.
const GROUPING_SETS_MAX: usize = 256;

/// Most branches of all CASE of a statement together: planning takes the square of them.
const BRANCHES_MAX: usize = 500;

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
    subqueries: usize,
    branches: usize,
}

fn refuse(message: &str) -> ControlFlow<QueryError> {
    ControlFlow::Break(QueryError::Sql(message.to_owned()))
}

impl Visitor for Forms {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        distinct_from(expr)?;
        self.calls += usize::from(is_call(expr));
        self.subqueries += usize::from(is_subquery(expr));
        if let Expr::Case { conditions, .. } = expr {
            self.branches += conditions.len();
        }
        too_large("the number of CASE branches", self.branches, BRANCHES_MAX)?;
        too_large("the nesting of calls (a subquery in FROM may name what is within)", self.calls, CALLS_MAX)?;
        too_large("the nesting of subqueries (WITH may name what is within)", self.subqueries, SUBQUERIES_MAX)
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        self.calls -= usize::from(is_call(expr));
        self.subqueries -= usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if !query.locks.is_empty() {
            return refuse("FOR UPDATE and FOR SHARE lock nothing here: leave them out");
        }
        sets(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        too_large("the number of selected columns", select.projection.len(), COLUMNS_MAX)?;
        let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return ControlFlow::Continue(()) };
        let sets = exprs.iter().map(|expr| match expr {
            Expr::Cube(exprs) => 1_usize.checked_shl(exprs.len() as u32).unwrap_or(usize::MAX),
            Expr::Rollup(exprs) => exprs.len() + 1,
            Expr::GroupingSets(sets) => sets.len(),
            _ => 1,
        });
        let sets = sets.fold(1, usize::saturating_mul);
        too_large("the number of grouping sets (CUBE doubles it with every column)", sets, GROUPING_SETS_MAX)
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

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Subquery(_)
            | Expr::Exists { .. }
            | Expr::InSubquery { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::Function(Function { args: FunctionArguments::Subquery(_), .. })
    )
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

/// IS DISTINCT FROM: the parser takes all that follows for its right side, an AND or OR included.
fn distinct_from(expr: &Expr) -> ControlFlow<QueryError> {
    let (Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)) = expr else {
        return ControlFlow::Continue(());
    };
    match right.as_ref() {
        Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor, .. } => refuse(
            "what follows IS DISTINCT FROM is read together: put it in brackets, as in (a IS DISTINCT FROM b) AND …",
        ),
        _ => ControlFlow::Continue(()),
    }
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
