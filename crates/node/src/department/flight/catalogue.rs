//! What there is to ask: the city as catalog, a schema a domain, a table a product.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::Command;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use civicmesh_query::Table;

use super::answer::defect;
use super::facts::facts;
use crate::compose::Parts;
use crate::department::failure::Failure;

/// What products are called among kinds of tables.
const TABLE: &str = "TABLE";

/// The rows that a command about the catalogue asks for; none if it is another command. Reads the ledger.
pub(super) fn listed(parts: &Parts, command: Command) -> Result<Option<RecordBatch>, Failure> {
    let city = parts.city.name.as_str();
    let batch = match command {
        Command::CommandGetCatalogs(_) => {
            let mut catalogs = GetCatalogsBuilder::new();
            catalogs.append(city);
            catalogs.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut schemas = command.into_builder();
            let mut domains: Vec<String> = parts.engine.tables()?.into_iter().map(|table| table.domain).collect();
            domains.dedup();
            domains.iter().for_each(|domain| schemas.append(city, domain));
            schemas.build()
        }
        Command::CommandGetTables(command) => {
            let mut tables = command.into_builder();
            for Table { domain, name, schema } in parts.engine.tables()? {
                tables.append(city, domain, name, TABLE, &schema).map_err(|_| defect())?;
            }
            tables.build()
        }
        Command::CommandGetTableTypes(command) => {
            let mut kinds = command.into_builder();
            kinds.append(TABLE);
            kinds.build()
        }
        Command::CommandGetSqlInfo(command) => command.into_builder(&facts(parts.config.limits.query_ms_max)?).build(),
        Command::CommandGetPrimaryKeys(_) => Ok(none(PRIMARY_KEYS)),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(none(FOREIGN_KEYS)),
        _ => return Ok(None),
    };
    batch.map(Some).map_err(|_| defect())
}

type Column = (&'static str, DataType, bool);

/// The columns of a list of primary keys: name, type, whether null may stand in it.
const PRIMARY_KEYS: &[Column] = &[
    ("catalog_name", DataType::Utf8, true),
    ("db_schema_name", DataType::Utf8, true),
    ("table_name", DataType::Utf8, false),
    ("column_name", DataType::Utf8, false),
    ("key_sequence", DataType::Int32, false),
    ("key_name", DataType::Utf8, true),
];

/// The columns of a list of foreign keys.
const FOREIGN_KEYS: &[Column] = &[
    ("pk_catalog_name", DataType::Utf8, true),
    ("pk_db_schema_name", DataType::Utf8, true),
    ("pk_table_name", DataType::Utf8, false),
    ("pk_column_name", DataType::Utf8, false),
    ("fk_catalog_name", DataType::Utf8, true),
    ("fk_db_schema_name", DataType::Utf8, true),
    ("fk_table_name", DataType::Utf8, false),
    ("fk_column_name", DataType::Utf8, false),
    ("key_sequence", DataType::Int32, false),
    ("fk_key_name", DataType::Utf8, true),
    ("pk_key_name", DataType::Utf8, true),
    ("update_rule", DataType::UInt8, false),
    ("delete_rule", DataType::UInt8, false),
];

/// No rows of these columns: products have no keys.
fn none(columns: &[Column]) -> RecordBatch {
    let field = |(name, kind, nullable): &Column| Field::new(*name, kind.clone(), *nullable);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    RecordBatch::new_empty(schema)
}
