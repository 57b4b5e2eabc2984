//! A product as SQL sees it, twice: the table of raw rows that clients and the planner see, and the table of cells
//! that the rewriter puts in its place.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use civicmesh_model::contract::{Contract, Measure, Statistic};
use civicmesh_model::grain::{Calendar, Grain};
use civicmesh_model::names::ProductId;
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, not_impl_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::civil::{Unit, time_type};
use crate::error::QueryError;
use crate::state::{measure_fields, measure_type};

const HOUR_US: i64 = 3_600_000_000;

/// The column of cells that says how many observations each rests on.
pub(crate) const WEIGHT: &str = "__observations";

/// What was read of a product for a question.
pub(crate) struct Read {
    /// The columns of the cells that were read, in order.
    pub columns: Vec<usize>,
    pub batches: Vec<RecordBatch>,
    /// The columns and functions of columns by which no two cells are alike, where cells were merged and they are known.
    pub keys: Option<Vec<Expr>>,
}

/// What a question needs of a product's releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A statistic of the measure of this index.
    Statistic(usize, Statistic),
    /// The distinct values of the column of this index.
    Distinct(usize),
}

/// A product within one question.
pub(crate) struct Product {
    pub contract: Arc<Contract>,
    pub calendar: Calendar,
    /// Time, dimensions, measures as decimals, columns of distinct values as texts.
    rows: SchemaRef,
    /// Time, dimensions, measures as states, sketches of distinct values, [`WEIGHT`].
    cells: SchemaRef,
    needs: Mutex<BTreeSet<Need>>,
    /// What was read for the question, before it is computed.
    read: OnceLock<Read>,
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Product({})", self.id())
    }
}

impl Product {
    pub(crate) fn new(contract: Arc<Contract>, zone: Zone) -> Self {
        let column = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
        let keys = || {
            let dimensions = contract.dimensions.iter();
            std::iter::once(column(&contract.time_column, time_type(zone), false))
                .chain(dimensions.map(|dimension| column(&dimension.name, DataType::Utf8, false)))
        };
        let measures = |kind: &dyn Fn(&Measure) -> (DataType, bool)| -> Vec<Field> {
            let field = |measure: &Measure| {
                let (kind, nullable) = kind(measure);
                column(&measure.name, kind, nullable)
            };
            contract.measures.iter().map(field).collect()
        };
        let distinct = |kind: DataType| -> Vec<Field> {
            contract.distinct.iter().map(|distinct| column(&distinct.name, kind.clone(), true)).collect()
        };
        let rows = keys().chain(measures(&|measure| (measure_type(measure.decimals), true)));
        let rows = rows.chain(distinct(DataType::Utf8));
        let cells = keys().chain(measures(&|measure| (DataType::Struct(measure_fields(measure)), false)));
        let cells = cells.chain(distinct(DataType::Binary)).chain([column(WEIGHT, DataType::UInt64, false)]);
        Self {
            calendar: contract.calendar(zone),
            rows: Arc::new(Schema::new(rows.collect::<Vec<_>>())),
            cells: Arc::new(Schema::new(cells.collect::<Vec<_>>())),
            needs: Mutex::default(),
            read: OnceLock::new(),
            contract,
        }
    }

    /// The same product within another question of the same plan: nothing of it is read.
    pub(crate) fn again(&self) -> Self {
        Self {
            contract: self.contract.clone(),
            calendar: self.calendar,
            rows: self.rows.clone(),
            cells: self.cells.clone(),
            needs: Mutex::new(self.needs()),
            read: OnceLock::new(),
        }
    }

    pub(crate) fn id(&self) -> &ProductId {
        &self.contract.product
    }

    pub(crate) fn zone(&self) -> Zone {
        self.calendar.zone()
    }

    pub(crate) fn grain(&self) -> Grain {
        self.contract.grain
    }

    pub(crate) fn time(&self) -> &str {
        &self.contract.time_column
    }

    pub(crate) fn cells_schema(&self) -> &SchemaRef {
        &self.cells
    }

    /// The measure in this column of the cells, if it is one.
    pub(crate) fn measure_at(&self, column: usize) -> Option<usize> {
        let measure = column.checked_sub(1 + self.contract.dimensions.len())?;
        (measure < self.contract.measures.len()).then_some(measure)
    }

    /// The column of distinct values in this column of the cells, if it is one.
    pub(crate) fn distinct_at(&self, column: usize) -> Option<usize> {
        let distinct = column.checked_sub(1 + self.contract.dimensions.len() + self.contract.measures.len())?;
        (distinct < self.contract.distinct.len()).then_some(distinct)
    }

    /// Notes what the question needs.
    pub(crate) fn need(&self, need: Need) {
        self.needs.lock().expect("nobody panics while noting a need").insert(need);
    }

    /// What was noted so far.
    pub(crate) fn needs(&self) -> BTreeSet<Need> {
        self.needs.lock().expect("nobody panics while noting a need").clone()
    }

    /// Lays down what was read for the question.
    pub(crate) fn lay(&self, read: Read) -> std::result::Result<(), QueryError> {
        self.read.set(read).map_err(|_| QueryError::Internal("a product was read twice"))
    }

    /// The columns and functions of columns by which no two of the cells are alike that were read, where they are known.
    pub(crate) fn keys(&self) -> Option<&[Expr]> {
        self.read.get()?.keys.as_deref()
    }

    /// Text of a group of this product's time at its own grain, for questions that can be asked instead.
    pub(crate) fn by_grain(&self) -> String {
        match self.grain() {
            Grain::Minutes(n) if n > 1 && self.bins_are_windows() => {
                format!("date_bin(INTERVAL '{n} minutes', {})", self.time())
            }
            grain => format!("date_trunc('{}', {})", Unit::finest(grain).name(), self.time()),
        }
    }

    /// Whether `date_bin`'s own edges are window edges where the product starts; they are not where the zone's offset
    /// is no multiple of the grain.
    fn bins_are_windows(&self) -> bool {
        let hour = self.zone().start_of_local(self.contract.coverage.start).0.div_euclid(HOUR_US) * HOUR_US;
        self.calendar.is_edge(UtcMicros(hour))
    }

    /// A question about this product that can always be asked.
    pub(crate) fn some_question(&self) -> String {
        let mut columns = vec![self.by_grain()];
        columns.extend(self.contract.dimensions.first().map(|dimension| dimension.name.clone()));
        let groups = (1..=columns.len()).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        columns.push(match self.contract.measures.first() {
            Some(measure) if measure.publishes(Statistic::Sum) => format!("avg({})", measure.name),
            _ => "count(*)".to_owned(),
        });
        format!("SELECT {} FROM {} GROUP BY {groups}", columns.join(", "), self.id())
    }
}

/// The table that clients and the planner see. It cannot be scanned: the rewriter takes its place.
#[derive(Debug)]
pub(crate) struct RowsTable(pub Arc<Product>);

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        self.0.rows.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("raw rows never leave their department")
    }
}

/// The table of cells.
#[derive(Debug)]
pub(crate) struct CellsTable(pub Arc<Product>);

#[async_trait]
impl TableProvider for CellsTable {
    fn schema(&self) -> SchemaRef {
        self.0.cells.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters are wanted, for what is read and for completeness, and computed again above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let read = self.0.read.get().ok_or(QueryError::Internal("cells were not read before planning"))?;
        let place = |column: &usize| read.columns.iter().position(|read| read == column);
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.0.cells.fields().len()).collect());
        let places = wanted.iter().map(place).collect::<Option<Vec<_>>>();
        let places = places.ok_or(QueryError::Internal("a column was not read before planning"))?;
        let schema = Arc::new(self.0.cells.project(&read.columns)?);
        Ok(MemorySourceConfig::try_new_exec(std::slice::from_ref(&read.batches), schema, Some(places))?)
    }
}
