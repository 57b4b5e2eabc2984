//! The same SQL over all raw rows in one process, which no city could have: for comparison beside a city's answer.
//!
//! Reads files as an ingest would, keeps nothing, and opens no database. It exists so that whoever holds the files of
//! every department (a demonstration, a test) can see what the releases gave away in exchange for keeping rows at home.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use civicmesh_model::time::Zone;
use civicmesh_query::{QueryError, using};
use datafusion::catalog::MemTable;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::contracts;
use crate::environment::Environment;
use crate::ingest::{self, ContributorSecret, IngestError, Recipe};

/// The catalog in which the tables stand.
const CATALOG: &str = "raw";

/// Why there is no answer over raw rows.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// A contract cannot be used.
    #[error("{0}: the contract cannot be used; `civicmesh contract check` says why")]
    Contract(PathBuf),
    /// A file cannot be read.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The question cannot be read.
    #[error(transparent)]
    Question(#[from] QueryError),
    /// The engine refuses the question.
    #[error("the raw rows cannot be asked: {0}")]
    Engine(#[from] DataFusionError),
}

/// Answers `sql` over the accepted rows of every source, a contract with its files each; a product is the table
/// `domain.product`, as in a city. `city` is the zone in which time is told.
pub async fn answer(sql: &str, sources: &[(PathBuf, Vec<PathBuf>)], city: Zone) -> Result<Vec<RecordBatch>, RawError> {
    let config = SessionConfig::new().with_default_catalog_and_schema(CATALOG, "public");
    let mut config = config.with_create_default_catalog_and_schema(false);
    config.options_mut().execution.time_zone = Some(city.name().to_owned());
    let context = SessionContext::new_with_config(config);
    let catalog = Arc::new(MemoryCatalogProvider::new());
    context.register_catalog(CATALOG, Arc::clone(&catalog) as Arc<dyn CatalogProvider>);
    for (contract, files) in sources {
        let own = contracts::read_one(contract).ok_or_else(|| RawError::Contract(contract.clone()))?;
        let recipe = Recipe::new(&own.contract, &own.folder, &ContributorSecret::new(&[0; 32]))?;
        let rows = ingest::read_all(&recipe, &own.contract, city, files, Environment::real().clock.as_ref())?;
        let Some(first) = rows.first() else {
            return Err(RawError::Contract(contract.clone()));
        };
        let table = MemTable::try_new(first.schema(), vec![rows])?;
        let product = &own.contract.product;
        let schema = catalog.schema(product.domain.as_str());
        let schema = schema.unwrap_or_else(|| Arc::new(MemorySchemaProvider::new()));
        schema.register_table(product.product.to_string(), Arc::new(table))?;
        catalog.register_schema(product.domain.as_str(), schema)?;
    }
    let state = context.state();
    let mut statement = state.sql_to_statement(sql, &Dialect::Generic)?;
    using::write_out(&mut statement)?;
    let plan = state.statement_to_plan(statement).await?;
    Ok(context.execute_logical_plan(plan).await?.collect().await?)
}
