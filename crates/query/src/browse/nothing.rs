//! What PostgreSQL's clients ask of things that there are none of here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    JoinOperator, ObjectNamePart, Select, SetExpr, Statement, TableFactor, TableWithJoins, Value, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::columns;
use super::functions::LISTED;
use crate::using::normal;

/// What clients write of things that there are none of here, and that the planner has no room for: each becomes what it
/// would give, there being none. An operator that the planner lacks becomes one that it has.
pub(super) struct Nothing;

impl VisitorMut for Nothing {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let instead = match expr {
            // types of enumerations
            Expr::Exists { subquery, negated } => match subquery.body.as_ref() {
                SetExpr::Select(select) if select.from.iter().any(joins_enums) && !groups(select) => {
                    Some(Expr::Value(Value::Boolean(*negated).with_empty_span()))
                }
                _ => None,
            },
            // defaults, sequences, collations
            Expr::Case { conditions, else_result, .. }
                if conditions.iter().all(|condition| is_nothing(&condition.result))
                    && else_result.as_deref().is_none_or(is_nothing) =>
            {
                written("CAST(NULL AS TEXT)")
            }
            // the order of an index's columns
            Expr::Case { .. } if expr.to_string().to_ascii_lowercase().contains("indoption") => {
                written("CAST(NULL AS TEXT)")
            }
            // types of rows
            Expr::Subquery(query) if query.to_string().contains("typrelid") => written("false"),
            Expr::Subquery(_) if is_nothing(expr) => written("CAST(NULL AS TEXT)"),
            // what a parameter is compared with is a list of names
            Expr::Function(function) if called(function) == "array_contains" => {
                cast_list(function);
                None
            }
            Expr::Function(function) => match (called(function).as_str(), &function.args) {
                // options of tables
                ("array_to_string", arguments) if arguments.to_string().contains("reloptions") => {
                    written("CAST(NULL AS TEXT)")
                }
                // keys and indexes
                ("unnest" | "generate_subscripts", arguments) => of_keys(arguments, |column| column),
                ("_pg_expandarray", arguments) => {
                    of_keys(arguments, |column| format!("named_struct('x', {column}, 'n', {column})"))
                }
                // settings of PostgreSQL's storage
                ("current_setting", _) => written("CAST(NULL AS TEXT)"),
                // members of roles
                ("array", FunctionArguments::Subquery(_)) => written("CAST(NULL AS TEXT[])"),
                _ => None,
            },
            Expr::CompoundIdentifier(names) if names.last().is_some_and(|name| normal(name) == "reloptions") => {
                written("CAST(NULL AS TEXT[])")
            }
            // one of the columns of a key
            Expr::CompoundFieldAccess { root, access_chain } if is_one_of_keys(access_chain) => {
                let key = access_chain.first().map(AccessExpr::to_string).unwrap_or_default();
                written(&key_column(&format!("{root}{key}")))
            }
            // a part of a row
            Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
                [AccessExpr::Dot(Expr::Identifier(part))] => written(&format!("get_field({root}, '{}')", normal(part))),
                _ => None,
            },
            // functions have names here, and no identifiers
            Expr::BinaryOp { left, op: BinaryOperator::NotEq | BinaryOperator::Eq, right } => {
                let named = is_function_name(left).then(|| function_named(right)).flatten();
                if let Some(name) = named {
                    **right = Expr::Value(Value::SingleQuotedString(name).with_empty_span());
                }
                None
            }
            Expr::Like { pattern, escape_char: escape @ Some(_), .. }
            | Expr::ILike { pattern, escape_char: escape @ Some(_), .. } => {
                let escaped = escape.take().and_then(|escape| written(&format!("replace({pattern}, {escape}, '\\')")));
                if let Some(escaped) = escaped {
                    **pattern = escaped;
                }
                None
            }
            _ => None,
        };
        if let Some(instead) = instead {
            *expr = instead;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // a series takes no shorter numbers
        if let Expr::Function(function) = expr
            && called(function) == "array_upper"
            && let Some(instead) = written(&format!("CAST({function} AS BIGINT)"))
        {
            *expr = instead;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let Some(told) = of_no_keys(table).or_else(|| columns::told(table)) {
            *table = told;
        }
        ControlFlow::Continue(())
    }
}

/// The rows that the columns of a key make, of which there are none.
fn of_no_keys(table: &TableFactor) -> Option<TableFactor> {
    let TableFactor::UNNEST { alias: Some(alias), array_exprs, .. } = table else { return None };
    let [keys] = array_exprs.as_slice() else { return None };
    let name = alias.columns.first().map_or(&alias.name, |column| &column.name);
    let of_keys = column(keys).is_some_and(|name| KEYS.contains(&name.as_str()));
    of_keys.then(|| derived(&format!("SELECT CAST(NULL AS SMALLINT) AS {name}"), alias.name.clone())).flatten()
}

/// A query in the place of a table.
pub(super) fn derived(sql: &str, name: Ident) -> Option<TableFactor> {
    let statement =
        Parser::parse_sql(&PostgreSqlDialect {}, &format!("SELECT * FROM ({sql}) AS {name}")).ok()?.pop()?;
    let Statement::Query(query) = statement else { return None };
    let SetExpr::Select(select) = *query.body else { return None };
    select.from.into_iter().next().map(|from| from.relation)
}

/// Columns of the catalogue that list those of keys and indexes.
const KEYS: [&str; 6] = ["conkey", "confkey", "indkey", "indoption", "indclass", "indcollation"];

fn is_one_of_keys(access_chain: &[AccessExpr]) -> bool {
    match access_chain {
        [AccessExpr::Dot(Expr::Identifier(list)), AccessExpr::Subscript(_)] => KEYS.contains(&normal(list).as_str()),
        _ => false,
    }
}

/// Whether this is null, or looked up where nothing is.
fn is_nothing(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => value.value == Value::Null,
        Expr::Nested(expr) => is_nothing(expr),
        Expr::Subquery(query) => {
            let text = query.to_string();
            ["pg_attrdef", "pg_sequence", "json_build_object"].iter().any(|name| text.contains(name))
        }
        _ => false,
    }
}

/// What stands for one of several columns of a key or index. The planner takes the columns for a text, and a null would
/// be a constant, by which it cannot sort.
fn of_keys(arguments: &FunctionArguments, made: fn(String) -> String) -> Option<Expr> {
    let FunctionArguments::List(arguments) = arguments else { return None };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(columns))) = arguments.args.first() else { return None };
    let is_key = column(columns).is_some_and(|name| KEYS.contains(&name.as_str()));
    is_key.then(|| written(&made(key_column(&columns.to_string())))).flatten()
}

fn key_column(columns: &str) -> String {
    format!("TRY_CAST(CAST({columns} AS TEXT) AS SMALLINT)")
}

/// The name of the column that this is, without its table.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(normal(name)),
        Expr::CompoundIdentifier(names) => names.last().map(normal),
        _ => None,
    }
}

/// Casts a parameter in the place of a list: the planner takes it for a text.
fn cast_list(function: &mut Function) {
    if let FunctionArguments::List(arguments) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(list))) = arguments.args.first_mut()
        && matches!(&*list, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
        && let Some(cast) = written(&format!("{LISTED}(CAST({list} AS TEXT[]))"))
    {
        *list = cast;
    }
}

fn written(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr()).ok()
}

/// The name of the function that is called, without its schema.
fn called(function: &Function) -> String {
    function.name.0.last().and_then(ObjectNamePart::as_ident).map(normal).unwrap_or_default()
}

/// The name of the function that is looked up for its identifier; that of none is a dash.
fn function_named(expr: &Expr) -> Option<String> {
    let text = expr.to_string();
    if text == "0" {
        return Some("-".to_owned());
    }
    let name = text.split('\'').nth(1).filter(|_| text.contains("pg_proc"))?;
    name.rsplit('.').next().map(str::to_owned)
}

/// Whether this is a column of functions, as of `pg_type`.
fn is_function_name(expr: &Expr) -> bool {
    let names = ["typreceive", "typsend", "typinput", "typoutput"];
    column(expr).is_some_and(|name| names.contains(&name.as_str()))
}

fn groups(select: &Select) -> bool {
    select.group_by != GroupByExpr::Expressions(Vec::new(), Vec::new())
}

/// Whether tables are joined with the table of enumerations so that only rows in both are left.
fn joins_enums(tables: &TableWithJoins) -> bool {
    let is_enums = |table: &TableFactor| match table {
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|name| normal(name) == "pg_enum")
        }
        _ => false,
    };
    tables.joins.iter().any(|join| {
        matches!(join.join_operator, JoinOperator::Inner(_) | JoinOperator::Join(_)) && is_enums(&join.relation)
    })
}
