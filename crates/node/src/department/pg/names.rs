//! What columns without a name are called: as PostgreSQL does, after their function.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, ObjectNamePart, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// What PostgreSQL calls a column that nothing names.
const UNNAMED: &str = "?column?";

/// The schema of the answer to this question, with PostgreSQL's names for columns that have none.
pub(super) fn named(sql: &str, schema: SchemaRef) -> SchemaRef {
    let Some(names) = names(sql).filter(|names| names.len() == schema.fields().len()) else { return schema };
    let fields = schema.fields().iter().zip(names).map(|(field, name)| match name {
        Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
        None => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The names of a question's columns, where they are not named already; none where they cannot be told.
fn names(sql: &str) -> Option<Vec<Option<String>>> {
    let statements = Parser::parse_sql(&GenericDialect {}, sql).ok()?;
    let [Statement::Query(query)] = statements.as_slice() else { return None };
    let mut body = query.body.as_ref();
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(query) => body = query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => body = left.as_ref(),
            _ => return None,
        }
    };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => Some(None),
        SelectItem::UnnamedExpr(expr) => Some(Some(label(expr))),
        SelectItem::ExprWithAlias { .. } => Some(None),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

fn label(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names.last().map_or(UNNAMED, |name| name.value.as_str()).to_owned(),
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(ObjectNamePart::as_ident);
            name.map_or(UNNAMED.to_owned(), |name| name.value.to_ascii_lowercase())
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => label(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_a_name_are_called_after_their_function() {
        let of =
            |sql: &str| names(sql).map(|names| names.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>());
        for (sql, expected) in [
            (
                "SELECT district, t.x, sum(b), Count(*), 1 + 1, avg(a) AS a FROM t",
                ["", "", "sum", "count", UNNAMED, ""].as_slice(),
            ),
            ("SELECT CAST(max(x) AS TEXT), extract(year FROM t) UNION ALL SELECT 1, 2", &["max", "extract"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(of(sql), Some(expected), "{sql}");
        }
        assert_eq!(of("SELECT * FROM t"), None);
        assert_eq!(of("SHOW TABLES"), None);
    }
}
