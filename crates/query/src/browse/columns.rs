//! `information_schema.columns` as PostgreSQL has it: its names of types, and columns counted from one.

use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, TableFactor};

use super::nothing::derived;
use crate::using::normal;

/// How the planner writes a type (a pattern of LIKE), how PostgreSQL does, and its name in `pg_type`.
const TYPES: &[(&str, &str, &str)] = &[
    ("Timestamp(%, \"%", "timestamp with time zone", "timestamptz"),
    ("Timestamp(%", "timestamp without time zone", "timestamp"),
    ("Date%", "date", "date"),
    ("Time%", "time without time zone", "time"),
    ("Interval%", "interval", "interval"),
    ("Duration%", "interval", "interval"),
    ("%Utf8%", "text", "text"),
    ("Decimal%", "numeric", "numeric"),
    ("Boolean", "boolean", "bool"),
    ("Int8", "smallint", "int2"),
    ("Int16", "smallint", "int2"),
    ("UInt8", "smallint", "int2"),
    ("Int32", "integer", "int4"),
    ("UInt16", "integer", "int4"),
    ("Int64", "bigint", "int8"),
    ("UInt32", "bigint", "int8"),
    ("UInt64", "numeric", "numeric"),
    ("Float64", "double precision", "float8"),
    ("Float%", "real", "float4"),
    ("%Binary%", "bytea", "bytea"),
    ("%List%", "ARRAY", "_text"),
];

/// Whether this is the table.
fn is_columns(table: &TableFactor) -> bool {
    let TableFactor::Table { name, args: None, .. } = table else { return false };
    let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(normal).collect();
    matches!(parts.as_slice(), [.., schema, table] if schema == "information_schema" && table == "columns")
}

/// The same table as PostgreSQL tells it; none if it is another one.
pub(super) fn told(table: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { alias: given, .. } = table else { return None };
    if !is_columns(table) {
        return None;
    }
    let one_of = |told: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        let whens = TYPES.iter().map(|row| format!("WHEN data_type LIKE '{}' THEN '{}'", row.0, told(row)));
        format!("CASE {} ELSE data_type END", whens.collect::<Vec<_>>().join(" "))
    };
    let (kind, name) = (one_of(|row| row.1), one_of(|row| row.2));
    let sql = format!(
        "SELECT table_catalog, table_schema, table_name, column_name, ordinal_position + 1 AS ordinal_position, \
         column_default, is_nullable, {kind} AS data_type, character_maximum_length, character_octet_length, \
         numeric_precision, numeric_precision_radix, numeric_scale, datetime_precision, interval_type, \
         table_catalog AS udt_catalog, 'pg_catalog' AS udt_schema, {name} AS udt_name FROM information_schema.columns"
    );
    derived(&sql, given.as_ref().map_or_else(|| Ident::new("columns"), |alias| alias.name.clone()))
}
