//! What a planned question will scan of each product: which columns, and under which filters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, ToDFSchema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableScan};
use datafusion::physical_plan::PhysicalExpr;

use crate::coarse::Apart;
use crate::error::QueryError;
use crate::functions::{self, TimeFunctions};
use crate::product::{CellsTable, Product};

/// All the scans of one product in a question.
pub(crate) struct Scans {
    pub product: Arc<Product>,
    /// The columns of the cells that they need; the time's always.
    pub columns: BTreeSet<usize>,
    /// The conjunction that each scan is filtered by, as far as it was pushed down to it. Columns are unqualified.
    filters: Vec<Vec<Expr>>,
    functions: TimeFunctions,
}

/// Every product that the plan touches, with its scans.
pub(crate) fn of_plan(plan: &LogicalPlan) -> Result<BTreeMap<ProductId, Scans>> {
    let mut products = BTreeMap::new();
    let mut functions = functions::of_plan(plan)?;
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(CellsTable(product)) = source_as_provider(&scan.source)?.downcast_ref::<CellsTable>()
        {
            let scans = products.entry(product.id().clone()).or_insert_with(|| Scans {
                product: product.clone(),
                columns: BTreeSet::from([0]),
                filters: Vec::new(),
                functions: functions.remove(product.id()).unwrap_or_default(),
            });
            let all = || (0..product.cells_schema().fields().len()).collect();
            scans.columns.extend(scan.projection.clone().unwrap_or_else(all));
            scans.filters.push(pushed(scan)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(products)
}

/// The conjunction that a scan is filtered by, as far as it was pushed down to it and a cell alone can tell. Columns are
/// unqualified.
pub(crate) fn pushed(scan: &TableScan) -> Result<Vec<Expr>> {
    let filters = scan.filters.iter().cloned().flat_map(split_conjunction_owned);
    filters.filter(is_of_cells).map(unqualified).collect()
}

/// Whether the filter can be computed from a cell alone.
pub(crate) fn is_of_cells(filter: &Expr) -> bool {
    let is_not = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::Placeholder(_)
        ))
    };
    !filter.is_volatile() && !filter.exists(is_not).unwrap_or(true)
}

fn unqualified(expr: Expr) -> Result<Expr> {
    let expr = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    });
    expr.map(|expr| expr.data)
}

/// A half-open stretch of time; open where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub from: Option<UtcMicros>,
    pub until: Option<UtcMicros>,
}

impl Scans {
    /// All of a product's time, whatever the cells say.
    pub(crate) fn whole(product: Arc<Product>) -> Self {
        Self { product, columns: BTreeSet::from([0]), filters: vec![Vec::new()], functions: TimeFunctions::default() }
    }

    /// The stretch of time outside of which no scan reads.
    pub(crate) fn stretch(&self) -> Stretch {
        let stretches = self.filters.iter().map(|filters| {
            let bounds = filters.iter().filter_map(|filter| self.bound(filter));
            bounds.fold(Stretch::default(), |stretch, bound| match bound {
                (Operator::GtEq, at) => Stretch { from: stretch.from.max(Some(at)), ..stretch },
                (_, at) => Stretch { until: Some(stretch.until.map_or(at, |until| until.min(at))), ..stretch },
            })
        });
        let widest = |a: Stretch, b: Stretch| Stretch {
            from: a.from.zip(b.from).map(|(a, b)| a.min(b)),
            until: a.until.zip(b.until).map(|(a, b)| a.max(b)),
        };
        stretches.reduce(widest).unwrap_or_default()
    }

    /// Whether every scan reads each window that lies within the stretch, whatever its time.
    pub(crate) fn reads_whole_stretch(&self) -> bool {
        let Some(filters) = self.filters.first() else { return false };
        let is_bound_or_of_cells = |filter: &Expr| {
            let of_more = || filter.column_refs().iter().any(|column| column.name != self.product.time());
            self.bound(filter).is_some() || of_more()
        };
        self.filters.iter().all(|others| others == filters) && filters.iter().all(is_bound_or_of_cells)
    }

    /// `time >= at` or `time < at`, as the rewriter writes them.
    fn bound(&self, filter: &Expr) -> Option<(Operator, UtcMicros)> {
        let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::GtEq | Operator::Lt), right }) = filter else {
            return None;
        };
        match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _))
                if column.name == self.product.time() =>
            {
                Some((*op, UtcMicros(*at)))
            }
            _ => None,
        }
    }

    /// What tells cells apart where they may be merged: every scan goes into an aggregate, all under one filter, whose
    /// parts are each of the time alone or of dimensions alone. None where they may not.
    pub(crate) fn apart(&self, state: &SessionState) -> Result<Option<Apart>> {
        let Some(filters) = self.filters.first() else {
            return Ok(None);
        };
        if self.functions.scans != self.filters.len() || self.filters.iter().any(|other| other != filters) {
            return Ok(None);
        }
        let (mut of_time, mut of_dimensions) = (Vec::new(), Vec::new());
        for filter in filters {
            let columns = filter.column_refs();
            let is_time = |column: &&Column| column.name == self.product.time();
            let is_dimension = |column: &&Column| {
                self.product.contract.dimensions.iter().any(|dimension| dimension.name == column.name)
            };
            if columns.iter().copied().all(|column| is_time(&column)) {
                of_time.push(filter.clone());
            } else if columns.iter().copied().all(|column| is_dimension(&column)) {
                of_dimensions.push(filter.clone());
            } else {
                return Ok(None);
            }
        }
        let times: Schema = self.product.cells_schema().project(&[0])?;
        let dimension_columns: Vec<usize> = (1..=self.product.contract.dimensions.len()).collect();
        let dimensions: Schema = self.product.cells_schema().project(&dimension_columns)?;
        let predicate = |filters: Vec<Expr>, schema: Schema| -> Result<Predicate> {
            let Some(filter) = conjunction(filters) else {
                return Ok(Predicate(None));
            };
            Ok(Predicate(Some(state.create_physical_expr(filter, &schema.to_dfschema()?)?)))
        };
        let schema = times.clone().to_dfschema()?;
        let functions = self.functions.functions.iter();
        let functions = functions.map(|function| state.create_physical_expr(function.clone(), &schema));
        let read = |dimension: &usize| self.columns.contains(dimension);
        let key =
            |dimension| Expr::Column(Column::new_unqualified(self.product.cells_schema().field(dimension).name()));
        let keys = dimension_columns.into_iter().filter(read).map(key);
        let keys = keys.chain(self.functions.functions.iter().cloned()).collect();
        let functions = functions.collect::<Result<Vec<_>>>()?;
        Ok(Some(Apart {
            keys: are_alike_where_equal(&functions, &times)?.then_some(keys),
            functions,
            time: predicate(of_time, times)?,
            dimensions: predicate(of_dimensions, dimensions)?,
        }))
    }

    /// What any of the scans reads, as far as these columns can tell.
    pub(crate) fn predicate(&self, state: &SessionState, schema: &Schema) -> Result<Predicate> {
        let scan = |filters: &Vec<Expr>| {
            let is_known = |filter: &&Expr| filter.column_refs().iter().all(|name| schema.index_of(&name.name).is_ok());
            conjunction(filters.iter().filter(is_known).cloned())
        };
        // a scan without filters reads everything, whatever the others do
        let scans = self.filters.iter().map(scan).collect::<Option<Vec<_>>>();
        let Some(any) = scans.and_then(disjunction) else {
            return Ok(Predicate(None));
        };
        let schema = schema.clone().to_dfschema()?;
        state.create_physical_expr(any, &schema).map(|expr| Predicate(Some(expr)))
    }
}

/// Whether cells that a function tells apart are of two groups: zeros of both signs are of one, and kinds that hold some
/// may be.
fn are_alike_where_equal(functions: &[Arc<dyn PhysicalExpr>], times: &Schema) -> Result<bool> {
    for function in functions {
        let kind = function.data_type(times)?;
        if kind.is_floating() || kind.is_nested() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A filter over windows or cells; none lets all through.
#[derive(Clone)]
pub(crate) struct Predicate(pub Option<Arc<dyn PhysicalExpr>>);

impl Predicate {
    /// Which rows pass.
    pub(crate) fn passing(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let rows = batch.num_rows();
        let Some(expr) = &self.0 else {
            return Ok(BooleanArray::new(BooleanBuffer::new_set(rows), None));
        };
        let passing = expr.evaluate(batch)?.into_array(rows)?;
        let passing = passing.as_any().downcast_ref::<BooleanArray>();
        let passing = passing.ok_or(QueryError::Internal("a filter that is not boolean"))?;
        Ok(match passing.nulls() {
            None => passing.clone(),
            Some(valid) => BooleanArray::new(passing.values() & valid.inner(), None),
        })
    }
}
