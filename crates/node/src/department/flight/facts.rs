//! What the node says of itself as an SQL server (`CommandGetSqlInfo`).

use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction};

use super::answer::{COMPLETENESS_KEY, defect};
use crate::compose::VERSION;
use crate::department::failure::Failure;

/// The first number that a server may use as it likes: the key of the schema's metadata that says how complete an
/// answer is.
const COMPLETENESS_FACT: u32 = 10_000;

/// All facts; `timeout_ms` is how long a question may take.
pub(super) fn facts(timeout_ms: u64) -> Result<SqlInfoData, Failure> {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "civicmesh");
    facts.append(SqlInfo::FlightSqlServerVersion, VERSION);
    facts.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    facts.append(SqlInfo::FlightSqlServerReadOnly, true);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    facts.append(SqlInfo::FlightSqlServerCancel, true);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    facts.append(SqlInfo::FlightSqlServerStatementTimeout, i32::try_from(timeout_ms).unwrap_or(i32::MAX));
    facts.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
    for (fact, can) in [
        (SqlInfo::SqlDdlCatalog, false),
        (SqlInfo::SqlDdlSchema, false),
        (SqlInfo::SqlDdlTable, false),
        (SqlInfo::SqlSupportsColumnAliasing, true),
        (SqlInfo::SqlNullPlusNullIsNull, true),
        (SqlInfo::SqlSupportsTableCorrelationNames, true),
        (SqlInfo::SqlTransactionsSupported, false),
        (SqlInfo::SqlBatchUpdatesSupported, false),
        (SqlInfo::SqlSavepointsSupported, false),
    ] {
        facts.append(fact, can);
    }
    let lower = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
    facts.append(SqlInfo::SqlIdentifierCase, lower);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.append(SqlInfo::SqlCatalogTerm, "city");
    facts.append(SqlInfo::SqlSchemaTerm, "domain");
    facts.append(COMPLETENESS_FACT, COMPLETENESS_KEY);
    facts.build().map_err(|_| defect())
}
