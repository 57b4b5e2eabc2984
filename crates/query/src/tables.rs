//! What can be asked, as tables with their columns: for wires whose clients list them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use civicmesh_model::contract::{Contract, Method};
use civicmesh_model::time::Zone;
use datafusion::catalog::TableProvider;

use crate::product::{Product, RowsTable};
use crate::told::{self, CompletenessTable};

/// A table that can be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The domain: SQL's schema.
    pub domain: String,
    /// The product's name without its domain.
    pub name: String,
    /// The columns. A product's say in their metadata what the contract says of them: `civicmesh.role` (`time`,
    /// `dimension`, `measure` or `gauge`), `civicmesh.unit`, `civicmesh.publishes`, `civicmesh.description`; and the
    /// schema's `civicmesh.method`, `civicmesh.grain` and `civicmesh.contract_version`.
    pub schema: SchemaRef,
}

/// The tables of these products, and the one that tells of them.
pub(crate) fn of(contracts: impl IntoIterator<Item = Arc<Contract>>, zone: Zone) -> Vec<Table> {
    let mut tables: Vec<Table> = contracts.into_iter().map(|contract| of_product(contract, zone)).collect();
    tables.push(Table {
        domain: told::SCHEMA.to_owned(),
        name: told::COMPLETENESS.to_owned(),
        schema: CompletenessTable::new(zone).schema(),
    });
    tables.sort_by(|a, b| (&a.domain, &a.name).cmp(&(&b.domain, &b.name)));
    tables
}

fn of_product(contract: Arc<Contract>, zone: Zone) -> Table {
    let schema = RowsTable(Arc::new(Product::new(contract.clone(), zone))).schema();
    let said = said(&contract);
    let fields = schema.fields().iter().zip(said).map(|(field, said)| field.as_ref().clone().with_metadata(said));
    let method = match &contract.method {
        Method::Open { .. } => "open".to_owned(),
        Method::Threshold { k, .. } => format!("threshold k={k}"),
    };
    let terms =
        [("method", method), ("grain", contract.grain.to_string()), ("contract_version", contract.version.clone())];
    Table {
        domain: contract.product.domain.to_string(),
        name: contract.product.product.to_string(),
        schema: Arc::new(Schema::new_with_metadata(fields.collect::<Vec<Field>>(), keyed(terms))),
    }
}

/// What the contract says of each column, in the order of the table.
fn said(contract: &Contract) -> impl Iterator<Item = HashMap<String, String>> + '_ {
    let time = keyed([("role", "time".to_owned())]);
    let dimensions = contract
        .dimensions
        .iter()
        .map(|dimension| keyed([("role", "dimension".to_owned()), ("description", dimension.description.clone())]));
    let measures = contract.measures.iter().map(|measure| {
        let publishes: Vec<&str> = measure.publish.iter().map(|statistic| statistic.as_str()).collect();
        keyed([
            ("role", if measure.gauge { "gauge" } else { "measure" }.to_owned()),
            ("unit", measure.unit.clone()),
            ("publishes", publishes.join(", ")),
            ("description", measure.description.clone()),
        ])
    });
    std::iter::once(time).chain(dimensions).chain(measures)
}

/// Metadata under our own keys; what is empty is left out.
fn keyed<const N: usize>(said: [(&str, String); N]) -> HashMap<String, String> {
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    said.map(|(key, text)| (format!("civicmesh.{key}"), text)).collect()
}
