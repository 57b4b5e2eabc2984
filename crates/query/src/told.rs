//! `civicmesh.completeness`: how complete every product of the city is at this node, as a table that SQL can ask.
//!
//! A row a product, over all of its time; the answer to a question comes with the same over what the question touches.
//! It is read from the same snapshot as the question that names it.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::civil::time_type;
use crate::completeness::{self, ProductCompleteness};
use crate::error::QueryError;
use crate::shelf::Standing;

/// The schema of what a node tells of itself.
pub(crate) const SCHEMA: &str = "civicmesh";
/// The table's name.
pub(crate) const COMPLETENESS: &str = "completeness";

/// The table. It is filled before the plan that scans it is made physical.
pub(crate) struct CompletenessTable {
    schema: SchemaRef,
    zone: Zone,
    rows: OnceLock<RecordBatch>,
}

impl std::fmt::Debug for CompletenessTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompletenessTable")
    }
}

/// One row: what is known of a product, granted or not.
pub(crate) enum Told {
    Granted(ProductCompleteness),
    NotGranted(Standing),
}

impl CompletenessTable {
    pub(crate) fn new(zone: Zone) -> Self {
        let column = |name: &str, kind: DataType| Field::new(name, kind, true);
        let always = |name: &str, kind: DataType| Field::new(name, kind, false);
        let schema = Schema::new(vec![
            always("product", DataType::Utf8),
            always("owner", DataType::Utf8),
            always("own", DataType::Boolean),
            always("granted", DataType::Boolean),
            column("method", DataType::Utf8),
            column("contract_version", DataType::Utf8),
            column("windows_expected", DataType::Int64),
            column("windows_present", DataType::Int64),
            column("windows_empty", DataType::Int64),
            column("windows_missing", DataType::Int64),
            column("windows_refused", DataType::Int64),
            column("windows_open", DataType::Int64),
            column("windows_expired", DataType::Int64),
            column("coverage", DataType::Float64),
            column("cells", DataType::Int64),
            column("cells_suppressed", DataType::Int64),
            column("suppressed_share", DataType::Utf8),
            column("revision_max", DataType::Int64),
            column("newest_window", time_type(zone)),
            column("closed_through", time_type(zone)),
            column("head_confirmed_at", time_type(zone)),
            column("head_age_seconds", DataType::Float64),
            column("unreachable_since", time_type(zone)),
            column("exact", DataType::Boolean),
            always("note", DataType::Utf8),
        ]);
        Self { schema: Arc::new(schema), zone, rows: OnceLock::new() }
    }

    /// The table that the plan scans, if it scans one.
    pub(crate) fn of_plan(plan: &LogicalPlan) -> Result<Option<Arc<dyn TableProvider>>> {
        let mut found = None;
        plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan {
                let provider = source_as_provider(&scan.source)?;
                if provider.downcast_ref::<Self>().is_some() {
                    found = Some(provider);
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// Fills the table. A question that scans it twice sees the same rows.
    pub(crate) fn fill(&self, told: &[Told]) -> Result<()> {
        let known = |of: &dyn Fn(&ProductCompleteness) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(told.iter().map(|told| told.known().and_then(of))))
        };
        let count = |of: fn(&ProductCompleteness) -> u64| known(&move |product| i64::try_from(of(product)).ok());
        let number = |of: fn(&ProductCompleteness) -> Option<f64>| -> ArrayRef {
            Arc::new(Float64Array::from_iter(told.iter().map(|told| told.known().and_then(of))))
        };
        let text = |of: fn(&ProductCompleteness) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter(told.iter().map(|told| told.known().map(of))))
        };
        let time = |of: fn(&ProductCompleteness) -> Option<UtcMicros>| -> ArrayRef {
            let times = told.iter().map(|told| told.known().and_then(of).map(|UtcMicros(micros)| micros));
            Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone(self.zone.name()))
        };
        let each =
            |of: fn(&Told) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(told.iter().map(of))) };
        let is = |of: fn(&Told) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from_iter(told.iter().map(|told| Some(of(told)))))
        };
        let columns = vec![
            each(Told::product),
            each(Told::owner),
            is(|told| told.known().is_some_and(|product| product.own)),
            is(|told| told.known().is_some()),
            text(|product| completeness::method(product.method)),
            text(|product| product.contract_version.clone()),
            count(|product| product.windows_expected),
            count(|product| product.windows_present),
            count(|product| product.windows_empty),
            count(|product| product.windows_missing),
            count(|product| product.windows_refused),
            count(|product| product.windows_open),
            count(|product| product.windows_expired),
            number(|product| Some(product.coverage())),
            count(|product| product.cells),
            count(|product| product.cells_suppressed),
            text(|product| completeness::band(product.suppressed_share).to_owned()),
            known(&|product| product.revision_max.map(i64::from)),
            time(|product| product.newest_window),
            time(|product| product.closed_through),
            time(|product| product.head_confirmed_at),
            number(|product| product.head_age_us.map(|age| age as f64 / 1e6)),
            time(|product| product.unreachable_since),
            Arc::new(BooleanArray::from_iter(told.iter().map(|told| told.known().map(|product| product.exact)))),
            each(Told::note),
        ];
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.rows.set(rows).map_err(|_| QueryError::Internal("completeness was told twice").into())
    }
}

impl Told {
    fn known(&self) -> Option<&ProductCompleteness> {
        match self {
            Self::Granted(product) => Some(product),
            Self::NotGranted(_) => None,
        }
    }

    fn product(&self) -> String {
        match self {
            Self::Granted(product) => product.product.to_string(),
            Self::NotGranted(standing) => standing.product.to_string(),
        }
    }

    fn owner(&self) -> String {
        match self {
            Self::Granted(product) => product.owner.to_string(),
            Self::NotGranted(standing) => standing.product.domain.to_string(),
        }
    }

    fn note(&self) -> String {
        match self {
            Self::Granted(product) => product.note.clone(),
            Self::NotGranted(standing) => format!("{}: not granted to this domain", standing.product),
        }
    }
}

#[async_trait]
impl TableProvider for CompletenessTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.get().ok_or(QueryError::Internal("completeness was not told before planning"))?;
        let batches = [vec![rows.clone()]];
        Ok(MemorySourceConfig::try_new_exec(&batches, self.schema.clone(), projection.cloned())?)
    }
}
