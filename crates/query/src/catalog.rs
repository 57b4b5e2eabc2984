//! The city's catalogue for one question: a schema a domain, a table a product, and beside them what the node tells of
//! itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use civicmesh_model::time::Zone;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;

use crate::product::{Product, RowsTable};
use crate::told::{self, CompletenessTable};

/// The one catalog, under the city's name.
#[derive(Debug)]
pub(crate) struct Catalogue {
    city: String,
    domains: Arc<Domains>,
}

#[derive(Debug)]
struct Domains(BTreeMap<String, Arc<Domain>>);

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
        Self { city: city.to_owned(), domains: Arc::new(Domains(domains)) }
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
        self.0.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.0.get(name).map(|domain| domain.clone() as _)
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
