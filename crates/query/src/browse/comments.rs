//! Comments on products and their columns: what contracts say, where PostgreSQL's clients look for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::TaskContext;
use datafusion_pg_catalog::pg_catalog::PgCatalogTable;
use datafusion_pg_catalog::pg_catalog::oid_field::{kind, oid_field};
use futures::TryStreamExt;

use super::{SCHEMA, Tables};
use crate::describe;
use crate::error::QueryError;
use crate::product::Product;

/// The comments.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Comments {
    /// The identifier of `pg_class`, which all of them are about.
    class: i32,
    /// The comment on a table's column, or on the table for column 0.
    texts: BTreeMap<(i32, i32), String>,
}

impl Comments {
    pub(super) async fn of(tables: &Tables, products: &[Arc<Product>]) -> Result<Self> {
        let mut schemas = BTreeMap::new();
        for batch in rows(tables, "pg_namespace").await? {
            let (oids, names) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_string::<i32>());
            schemas.extend(oids.iter().flatten().zip(names.iter().flatten().map(str::to_owned)));
        }
        let mut classes = BTreeMap::new();
        for batch in rows(tables, "pg_class").await? {
            let (oids, names) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_string::<i32>());
            let within = batch.column(2).as_primitive::<Int32Type>();
            for ((oid, name), within) in oids.iter().flatten().zip(names.iter().flatten()).zip(within.iter().flatten())
            {
                let schema = schemas.get(&within).cloned().unwrap_or_default();
                classes.insert((schema, name.to_owned()), oid);
            }
        }
        let class = classes.get(&(SCHEMA.to_owned(), "pg_class".to_owned())).copied().unwrap_or_default();
        let mut texts = BTreeMap::new();
        for product in products {
            let id = product.id();
            let Some(oid) = classes.get(&(id.domain.to_string(), id.product.to_string())) else { continue };
            texts.insert((*oid, 0), describe::comment(&product.contract));
            for (column, number) in describe::columns(&product.contract, product.zone()).iter().zip(1..) {
                texts.insert((*oid, number), column.comment());
            }
        }
        Ok(Self { class, texts })
    }

    /// The comment on a column, or on the table for column 0.
    pub(super) fn on(&self, table: i64, column: i64) -> Option<&str> {
        let key = (i32::try_from(table).ok()?, i32::try_from(column).ok()?);
        self.texts.get(&key).map(String::as_str)
    }

    /// As the table `pg_description`.
    pub(super) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        let schema = Arc::new(Schema::new(vec![
            oid_field("objoid", kind::OID, false),
            oid_field("classoid", kind::REGCLASS, false),
            Field::new("objsubid", DataType::Int32, false),
            Field::new("description", DataType::Utf8, false),
        ]));
        let (keys, class) = (self.texts.keys(), self.class);
        let columns: [arrow::array::ArrayRef; 4] = [
            Arc::new(Int32Array::from_iter_values(keys.clone().map(|(table, _)| *table))),
            Arc::new(Int32Array::from_iter_values(keys.clone().map(|_| class))),
            Arc::new(Int32Array::from_iter_values(keys.map(|(_, column)| *column))),
            Arc::new(StringArray::from_iter_values(self.texts.values())),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns.to_vec())?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

pub(super) async fn rows(tables: &Tables, name: &str) -> Result<Vec<RecordBatch>> {
    match tables.build_table_by_name(name)? {
        Some(PgCatalogTable::Dynamic(table)) => table.execute(Arc::new(TaskContext::default())).try_collect().await,
        _ => Err(QueryError::Internal("a table of pg_catalog is not there").into()),
    }
}
