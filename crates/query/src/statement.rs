//! Which statements may be asked: those that read.

use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement as Sql};

use crate::error::{QueryError, RefusalCode};

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
