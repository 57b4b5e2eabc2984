//! What `pg_class` and its like list: the city's tables, and the catalogue's own.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;

use super::{SCHEMA, Tables};

type Columns = BTreeMap<String, BTreeMap<String, SchemaRef>>;

/// The columns of every table by schema and name, as the latest question saw them. Tables keep their identifiers from
/// question to question, so that all questions share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    city: String,
    shown: Arc<RwLock<Arc<Columns>>>,
}

impl Names {
    pub(crate) fn new(city: &str) -> Self {
        Self { city: city.to_owned(), shown: Arc::default() }
    }

    /// Shows these tables from now on, and the catalogue's own.
    pub(crate) fn show(&self, mut columns: Columns, tables: &Tables) -> Result<()> {
        let own = match self.now().get(SCHEMA) {
            Some(own) => own.clone(),
            None => own(tables)?,
        };
        columns.insert(SCHEMA.to_owned(), own);
        columns.entry("information_schema".to_owned()).or_default();
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(columns);
        Ok(())
    }

    fn now(&self) -> Arc<Columns> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The columns of the catalogue's own tables.
fn own(tables: &Tables) -> Result<BTreeMap<String, SchemaRef>> {
    let mut own = BTreeMap::new();
    for name in PG_CATALOG_TABLES {
        if let Some(table) = tables.build_table_by_name(name)? {
            own.insert((*name).to_owned(), table.try_into_table_provider()?.schema());
        }
    }
    Ok(own)
}

#[async_trait]
impl CatalogInfo for Names {
    async fn catalog_names(&self) -> Result<Vec<String>> {
        Ok(vec![self.city.clone()])
    }

    async fn schema_names(&self, catalog: &str) -> Result<Option<Vec<String>>> {
        Ok((catalog == self.city).then(|| self.now().keys().cloned().collect()))
    }

    async fn table_names(&self, catalog: &str, schema: &str) -> Result<Option<Vec<String>>> {
        let now = self.now();
        let tables = now.get(schema).filter(|_| catalog == self.city);
        Ok(tables.map(|tables| tables.keys().cloned().collect()))
    }

    async fn table_schema(&self, catalog: &str, schema: &str, table: &str) -> Result<Option<SchemaRef>> {
        let now = self.now();
        let tables = now.get(schema).filter(|_| catalog == self.city);
        Ok(tables.and_then(|tables| tables.get(table)).cloned())
    }

    async fn table_type(&self, catalog: &str, schema: &str, table: &str) -> Result<Option<TableType>> {
        Ok(self.table_schema(catalog, schema, table).await?.map(|_| TableType::Base))
    }
}
