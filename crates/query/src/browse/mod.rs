//! The catalogue as PostgreSQL's clients look for it: the tables and functions of `pg_catalog`, in the one session.
//!
//! The tables are `datafusion-pg-catalog`'s, which also rewrites what those clients send into what DataFusion plans.
//! Some of its rewritings change what a statement means (a correlated subquery becomes NULL), so that they are kept to
//! statements that name nothing but the catalogue. A question that names a product is planned as it is written.

mod comments;
pub(crate) mod functions;
mod names;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, GroupByExpr, JoinOperator, ObjectName, ObjectNamePart, Query,
    Select, SetExpr, Statement as Sql, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules;

use self::comments::Comments;
use self::names::Names;
use crate::catalog::Catalogue;
use crate::product::Product;
use crate::using::normal;

/// The schema of the tables.
pub(crate) const SCHEMA: &str = "pg_catalog";
/// The table of comments, which is ours.
const COMMENTS: &str = "pg_description";

type Tables = PgCatalogSchemaProvider<Names, EmptyContextProvider>;

/// Makes the catalogue, and keeps what stays the same from question to question: the identifiers of tables.
#[derive(Debug, Default)]
pub(crate) struct Browser {
    names: Names,
    tables: OnceLock<Arc<Tables>>,
    parser: OnceLock<PostgresCompatibilityParser>,
}

/// The catalogue of one question.
#[derive(Default)]
pub(crate) struct Browsing {
    /// The tables; none where the question cannot name one.
    pub tables: Option<Arc<dyn SchemaProvider>>,
    /// Functions that look things up in them.
    pub functions: Vec<Arc<ScalarUDF>>,
}

impl Browser {
    pub(crate) fn new(city: &str) -> Self {
        Self { names: Names::new(city), ..Self::default() }
    }

    /// The catalogue for this question, of what can be named in it.
    pub(crate) async fn open(&self, sql: &str, catalogue: &Catalogue, products: &[Arc<Product>]) -> Result<Browsing> {
        let text = sql.to_ascii_lowercase();
        if !["pg_", "_description", "::reg", "as reg"].iter().any(|sign| text.contains(sign)) {
            return Ok(Browsing::default());
        }
        let tables = self.tables()?;
        self.names.show(catalogue.columns(), &tables)?;
        let comments = match text.contains("description") {
            true => Comments::of(&tables, products).await?,
            false => Comments::default(),
        };
        let comments = Arc::new(comments);
        let functions = functions::of_comments(&comments).to_vec();
        Ok(Browsing { tables: Some(Arc::new(Commented { tables, comments })), functions })
    }

    fn tables(&self) -> Result<Arc<Tables>> {
        if let Some(tables) = self.tables.get() {
            return Ok(tables.clone());
        }
        let fixed = Arc::new(PgCatalogStaticTables::try_new()?);
        let made = Arc::new(Tables::try_new(self.names.clone(), fixed, EmptyContextProvider)?);
        Ok(self.tables.get_or_init(|| made).clone())
    }

    /// The statement, rewritten, if it is a query of the catalogue alone or of nothing.
    pub(crate) fn statement(&self, sql: &str) -> Option<Statement> {
        let text = sql.to_ascii_lowercase();
        let statements = if text.contains("pg_") {
            self.parser.get_or_init(PostgresCompatibilityParser::new).parse(sql).ok()?
        } else if text.contains("information_schema") || !text.contains("from") {
            Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.into_iter().map(harmless).collect()
        } else {
            return None;
        };
        let [mut statement]: [Sql; 1] = statements.try_into().ok()?;
        let _ = VisitMut::visit(&mut statement, &mut Nothing);
        (matches!(statement, Sql::Query(_)) && is_of_catalogue(&statement))
            .then(|| Statement::Statement(Box::new(statement)))
    }
}

/// Teaches the planner the names of PostgreSQL's types.
pub(crate) fn type_planner() -> Arc<dyn TypePlanner> {
    Arc::new(PgOidTypePlanner)
}

/// The rewritings that change the writing alone.
fn harmless(statement: Sql) -> Sql {
    let rules: [&dyn rules::SqlStatementRewriteRule; 7] = [
        &rules::RewriteArrayAnyAllOperation,
        &rules::StripCallableQualifier,
        &rules::FixArrayLiteral,
        &rules::CurrentUserVariableToSessionUserFunctionCall,
        &rules::StripCollate,
        &rules::RewritePgCatalogOperator,
        &rules::FixVersionColumnName,
    ];
    rules.into_iter().fold(statement, |statement, rule| rule.rewrite(statement))
}

/// What clients write of things that there are none of here, and that the planner has no room for: each becomes what it
/// would give, there being none. An operator that the planner lacks becomes one that it has.
struct Nothing;

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
            Expr::Function(function) => match (called(function).as_str(), &function.args) {
                // options of tables
                ("array_to_string", arguments) if arguments.to_string().contains("reloptions") => {
                    written("CAST(NULL AS TEXT)")
                }
                // members of roles
                ("array", FunctionArguments::Subquery(_)) => written("CAST(NULL AS TEXT[])"),
                _ => None,
            },
            // functions have names here, and no identifiers
            Expr::BinaryOp { left, op: BinaryOperator::NotEq | BinaryOperator::Eq, right } => {
                if is_function_name(left) && right.to_string() == "0" {
                    **right = Expr::Value(Value::SingleQuotedString("-".to_owned()).with_empty_span());
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
}

fn written(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr()).ok()
}

/// The name of the function that is called, without its schema.
fn called(function: &Function) -> String {
    function.name.0.last().and_then(ObjectNamePart::as_ident).map(normal).unwrap_or_default()
}

/// Whether this is a column of functions, as of `pg_type`.
fn is_function_name(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => match names.last() {
            Some(name) => name,
            None => return false,
        },
        _ => return false,
    };
    ["typreceive", "typsend", "typinput", "typoutput"].contains(&normal(name).as_str())
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

/// Whether every table that the statement names is one of the catalogue, or of the statement itself.
fn is_of_catalogue(statement: &Sql) -> bool {
    let mut named = Named::default();
    let _ = statement.visit(&mut named);
    let Named { within, tables } = named;
    tables.iter().all(|name| {
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(normal).collect();
        match parts.as_slice() {
            [name] => within.contains(name),
            [.., schema, _] => matches!(schema.as_str(), SCHEMA | "information_schema"),
            [] => false,
        }
    })
}

/// What a statement names.
#[derive(Default)]
struct Named {
    /// Its own WITH queries.
    within: BTreeSet<String>,
    tables: Vec<ObjectName>,
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.within.extend(with.map(|with| normal(&with.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = table {
            self.tables.push(name.clone());
        }
        ControlFlow::Continue(())
    }
}

/// The tables, with comments of ours.
#[derive(Debug)]
struct Commented {
    tables: Arc<Tables>,
    comments: Arc<Comments>,
}

#[async_trait]
impl SchemaProvider for Commented {
    fn table_names(&self) -> Vec<String> {
        self.tables.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match name {
            COMMENTS => self.comments.table().map(Some),
            name => self.tables.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name)
    }
}
