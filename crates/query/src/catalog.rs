//! The city's catalogue for one question: a schema a domain, a table a product, and beside them what the node tells of
//! itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use civicmesh_model::time::Zone;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;

use crate::browse;
use crate::product::{Product, RowsTable};
use crate::told::{self, CompletenessTable};

/// The one catalog, under the city's name.
#[derive(Debug)]
pub(crate) struct Catalogue {
    city: String,
    domains: Arc<Domains>,
}

#[derive(Debug)]
struct Domains {
    domains: BTreeMap<String, Arc<Domain>>,
    /// Found by its name, and in no list of schemas.
    pg_catalog: Option<Arc<dyn SchemaProvider>>,
}

#[derive(Debug, Default)]
struct Domain(BTreeMap<String, Arc<dyn TableProvider>>);

impl Catalogue {
    pub(crate) fn new<'a>(city: &str, zone: Zone, products: impl IntoIterator<Item = &'a Arc<Product>>) -> Self {
        let mut domains: BTreeMap<String, Domain> = BTreeMap::new();
        for product in products {
            let id = product.id();
            let domain = domains.entry(id.domain.to_string()).or_default();
            domain.0.insert(id.product.to_string(), Arc::new(RowsTable(product.clone())));
        }
        let told: Arc<dyn TableProvider> = Arc::new(CompletenessTable::new(zone));
        domains.insert(told::SCHEMA.to_owned(), Domain(BTreeMap::from([(told::COMPLETENESS.to_owned(), told)])));
        let domains = domains.into_iter().map(|(name, domain)| (name, Arc::new(domain))).collect();
        Self { city: city.to_owned(), domains: Arc::new(Domains { domains, pg_catalog: None }) }
    }

    /// The same with the schema `pg_catalog`.
    pub(crate) fn with_pg_catalog(self, pg_catalog: Option<Arc<dyn SchemaProvider>>) -> Self {
        let domains = Domains { domains: self.domains.domains.clone(), pg_catalog };
        Self { domains: Arc::new(domains), ..self }
    }

    /// The columns of every table, by schema and name.
    pub(crate) fn columns(&self) -> BTreeMap<String, BTreeMap<String, SchemaRef>> {
        let columns = |domain: &Domain| domain.0.iter().map(|(name, table)| (name.clone(), table.schema())).collect();
        self.domains.domains.iter().map(|(name, domain)| (name.clone(), columns(domain))).collect()
    }
}

impl CatalogProviderList for Catalogue {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.city.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.city).then(|| self.domains.clone() as _)
    }
}

impl CatalogProvider for Domains {
    fn schema_names(&self) -> Vec<String> {
        self.domains.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            browse::SCHEMA => self.pg_catalog.clone(),
            name => self.domains.get(name).map(|domain| domain.clone() as _),
        }
    }
}

#[async_trait]
impl SchemaProvider for Domain {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
