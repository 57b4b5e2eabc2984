//! `pg_settings`: what clients ask of PostgreSQL's own bounds.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::MemTable;

use super::Tables;
use super::comments::rows;
use crate::error::QueryError;

/// The table.
pub(super) const TABLE: &str = "pg_settings";
/// What PostgreSQL says and the library does not: JDBC's driver asks it before it looks for keys.
const BEYOND: [(&str, &str); 1] = [("max_index_keys", "32")];

pub(super) async fn table(tables: &Tables) -> Result<Arc<dyn TableProvider>> {
    let mut batches = rows(tables, TABLE).await?;
    let schema = batches.first().ok_or(QueryError::Internal("there are no settings"))?.schema();
    let column = |name: &str, kind| -> ArrayRef {
        match name {
            "name" => Arc::new(StringArray::from_iter_values(BEYOND.map(|(name, _)| name))),
            "setting" => Arc::new(StringArray::from_iter_values(BEYOND.map(|(_, setting)| setting))),
            _ => new_null_array(kind, BEYOND.len()),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
    batches.push(RecordBatch::try_new(schema.clone(), columns)?);
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}
