//! Which statements may be asked: those that read, and that a planner has room for.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectNamePart, Query, Select, SetExpr, Statement as Sql, TableFactor, Visit, Visitor,
};

use crate::error::{QueryError, RefusalCode};
use crate::using::normal;

/// Deepest nesting of expressions: how many `OR` one may put in a row.
const NESTING_MAX: usize = 100;
/// Most tables, subqueries and SELECTs of one statement together, those of a WITH query wherever it is named.
const PARTS_MAX: usize = 100;

/// Bounds what planners recurse over.
pub(crate) fn must_be_small(statement: &Statement) -> Result<(), QueryError> {
    let statement = match statement {
        Statement::Statement(statement) => statement,
        Statement::Explain(explain) => return must_be_small(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => return Ok(()),
    };
    let mut size = Size::default();
    match statement.visit(&mut size) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// How large what was visited so far is.
#[derive(Default)]
struct Size {
    nesting: usize,
    /// A frame a query, the innermost last.
    frames: Vec<Frame>,
}

/// A query on its way.
#[derive(Default)]
struct Frame {
    parts: usize,
    /// The names of its WITH queries that were not visited yet. They are the first queries within it, in order.
    coming: VecDeque<String>,
    /// The parts of its WITH queries, which are planned again wherever they are named.
    known: BTreeMap<String, usize>,
}

impl Size {
    fn add(&mut self, parts: usize) -> ControlFlow<QueryError> {
        let Some(frame) = self.frames.last_mut() else { return ControlFlow::Continue(()) };
        frame.parts += parts;
        too_large("the number of tables and SELECTs", frame.parts, PARTS_MAX)
    }
}

/// Goes on unless the size is past the limit.
pub(crate) fn too_large(what: &'static str, size: usize, limit: usize) -> ControlFlow<QueryError> {
    match size > limit {
        true => ControlFlow::Break(QueryError::TooLarge { what, limit: limit as u64 }),
        false => ControlFlow::Continue(()),
    }
}

impl Visitor for Size {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<QueryError> {
        self.nesting += 1;
        too_large("the nesting of expressions (IN may stand for OR)", self.nesting, NESTING_MAX)
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<QueryError> {
        self.nesting -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let coming = with.map(|with| normal(&with.alias.name)).collect();
        self.frames.push(Frame { coming, ..Frame::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<QueryError> {
        let Some(Frame { parts, .. }) = self.frames.pop() else { return ControlFlow::Continue(()) };
        match self.frames.last_mut() {
            Some(Frame { coming, known, .. }) if !coming.is_empty() => {
                known.extend(coming.pop_front().map(|name| (name, parts)));
                ControlFlow::Continue(())
            }
            _ => self.add(parts),
        }
    }

    fn pre_visit_select(&mut self, _select: &Select) -> ControlFlow<QueryError> {
        self.add(1)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<QueryError> {
        let name = match table {
            TableFactor::Table { name, .. } => name.0.first().and_then(ObjectNamePart::as_ident).map(normal),
            _ => None,
        };
        let known = name.and_then(|name| self.frames.iter().rev().find_map(|frame| frame.known.get(&name).copied()));
        self.add(known.unwrap_or(1))
    }
}

/// Lets through a closed list of statements.
pub(crate) fn must_read(statement: &Statement) -> Result<(), QueryError> {
    let reads = match statement {
        Statement::Statement(statement) => reads(statement),
        Statement::Explain(ExplainStatement { statement, options }) if !options.analyze => {
            return must_read(statement);
        }
        Statement::Explain(_) => false,
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    };
    if reads { Ok(()) } else { Err(read_only()) }
}

fn reads(statement: &Sql) -> bool {
    match statement {
        Sql::Query(query) => selects(query),
        Sql::Explain { analyze, statement, .. } => !analyze && reads(statement),
        Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowFunctions { .. } => true,
        _ => false,
    }
}

/// Whether a query's body is made of SELECT, VALUES and sets of them. What it holds deeper down the plan shows.
fn selects(query: &Query) -> bool {
    fn reads(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => select.into.is_none(),
            SetExpr::Query(query) => selects(query),
            SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
            SetExpr::Values(_) => true,
            _ => false,
        }
    }
    reads(&query.body)
}

/// A statement that does more than read.
pub(crate) fn read_only() -> QueryError {
    QueryError::Refused {
        code: RefusalCode::ReadOnly,
        message: "this statement does more than read; releases are made by their owner's node alone".to_owned(),
        instead: "SELECT, EXPLAIN (without ANALYZE), SHOW TABLES or DESCRIBE".to_owned(),
    }
}
