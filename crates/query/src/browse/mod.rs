//! The catalogue as PostgreSQL's clients look for it: the tables and functions of `pg_catalog`, in the one session.
//!
//! The tables are `datafusion-pg-catalog`'s, which also rewrites what those clients send into what DataFusion plans.
//! Some of its rewritings change what a statement means (a correlated subquery becomes NULL), so that they are kept to
//! statements that name nothing but the catalogue. A question that names a product is planned as it is written.

mod columns;
mod comments;
pub(crate) mod functions;
mod names;
mod nothing;
mod settings;

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
    ObjectName, ObjectNamePart, Query, Statement as Sql, TableFactor, Visit, VisitMut, Visitor,
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
use self::nothing::Nothing;
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

    /// The statement, rewritten, if it is a query of the catalogue alone or of nothing. `is_product` says of a bare name
    /// whether it is a product's.
    pub(crate) fn statement(&self, sql: &str, is_product: impl Fn(&str) -> bool) -> Option<Statement> {
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
        (matches!(statement, Sql::Query(_)) && is_of_catalogue(&statement, is_product))
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

/// Whether every table that the statement names is one of the catalogue, or of the statement itself. A WITH query may
/// hide a product behind its own name, and read it within: a product's name is always one.
fn is_of_catalogue(statement: &Sql, is_product: impl Fn(&str) -> bool) -> bool {
    let mut named = Named::default();
    let _ = statement.visit(&mut named);
    let Named { within, tables } = named;
    tables.iter().all(|name| {
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(normal).collect();
        match parts.as_slice() {
            [name] => within.contains(name) && !is_product(name),
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
            settings::TABLE => settings::table(&self.tables).await.map(Some),
            name => self.tables.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name)
    }
}
