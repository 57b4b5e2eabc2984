//! The rewriter: the one analyzer rule, first in the list, that makes a question over rows one over cells, or refuses.
//!
//! A plan's node either gives [`Rows`] (a product not yet aggregated: every row stands for as many as its weight says)
//! or is plain. Rows may pass through a closed list of nodes: filter, projection, alias and a join with something
//! plain, all of them of expressions that are the same for every observation of a cell (see [`steady`]). An aggregate
//! or a DISTINCT makes them plain. Whatever else stands above rows is refused. Above that, SQL is DataFusion's own.

mod aggregate;
mod cut;
mod exact;
mod refusal;
mod signed;
mod sound;
mod steady;
mod time;

use std::sync::Arc;

use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Distinct, EmptyRelation, Expr, FetchType, Filter, Join, LogicalPlan, Projection, Subquery, SubqueryAlias,
    TableScan, TableScanBuilder, Union,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

pub(crate) use self::cut::Cut;
use self::exact::exact;
use self::signed::signed_above;
pub(crate) use self::time::instant;
use crate::error::QueryError;
use crate::named::map_named;
use crate::opaque::opaque;
use crate::plans::Uses;
use crate::product::{CellsTable, Product, RowsTable};

/// The rule, for one question.
#[derive(Debug)]
pub(crate) struct Rewriter {
    /// The city's zone.
    pub zone: Zone,
    /// What `now()` says.
    pub now: UtcMicros,
    /// What becomes of bounds that cut a window.
    pub cut: Cut,
    /// What constants that are left open stand for, where some are.
    pub uses: Option<Uses>,
}

impl AnalyzerRule for Rewriter {
    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        time::keeps_hours(&plan)?;
        sound::must_be_sound(&plan)?;
        let keeps_zone = sound::must_keep_zone(&plan, self.zone);
        let rewrite = Rewrite {
            zone: self.zone,
            now: self.now,
            cut: self.cut.clone(),
            uses: self.uses.clone(),
            options: Arc::new(options.clone()),
        };
        let plan = rewrite.plain(plan)?;
        keeps_zone.map(|()| plan)
    }

    fn name(&self) -> &str {
        "rows_to_cells"
    }
}

/// One run of the rule.
struct Rewrite {
    zone: Zone,
    now: UtcMicros,
    cut: Cut,
    uses: Option<Uses>,
    options: Arc<ConfigOptions>,
}

/// What a node gives.
enum Shape {
    Plain(LogicalPlan),
    Rows(Rows),
}

/// A product not yet aggregated.
struct Rows {
    plan: LogicalPlan,
    /// What each column of the plan is, in order; one of them is the weight.
    kinds: Vec<Kind>,
    /// The product, which refusals speak of.
    product: Arc<Product>,
}

/// What a column of rows is.
#[derive(Clone)]
enum Kind {
    /// The same for every observation of a cell.
    Key,
    /// The product's time: of cells, the window's start.
    Time(Arc<Product>),
    /// A measure of the product: of cells, a state.
    Measure(Arc<Product>, usize),
    /// A column whose distinct values are counted: of cells, a sketch.
    Distinct(Arc<Product>, usize),
    /// How many observations a cell rests on.
    Weight,
}

impl Rows {
    fn of_product(scan: TableScan, product: Arc<Product>) -> Result<Self> {
        let source = provider_as_source(Arc::new(CellsTable(product.clone())));
        let scan = TableScanBuilder::new(scan.table_name, source).with_filters(scan.filters).build()?;
        let last = product.cells_schema().fields().len() - 1;
        let kind = |column: usize| match (column, product.measure_at(column)) {
            (0, _) => Kind::Time(product.clone()),
            (_, Some(measure)) => Kind::Measure(product.clone(), measure),
            _ if let Some(distinct) = product.distinct_at(column) => Kind::Distinct(product.clone(), distinct),
            _ if column == last => Kind::Weight,
            _ => Kind::Key,
        };
        Ok(Self { plan: LogicalPlan::TableScan(scan), kinds: (0..=last).map(kind).collect(), product })
    }

    fn kind(&self, column: &Column) -> Result<&Kind> {
        Ok(&self.kinds[self.plan.schema().index_of_column(column)?])
    }

    /// The kind of an expression that is a bare column, under whatever alias.
    fn bare(&self, expr: &Expr) -> Option<&Kind> {
        match expr {
            Expr::Alias(alias) => self.bare(&alias.expr),
            Expr::Column(column) => self.kind(column).ok(),
            _ => None,
        }
    }

    fn weight(&self) -> Result<Expr> {
        let weight = self.kinds.iter().position(|kind| matches!(kind, Kind::Weight));
        let weight = weight.ok_or(QueryError::Internal("rows without a weight"))?;
        Ok(Expr::Column(Column::from(self.plan.schema().qualified_field(weight))))
    }
}

impl Rewrite {
    /// Rewrites a plan that must not give rows.
    fn plain(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match self.rewrite(plan)? {
            Shape::Plain(plan) => Ok(plan),
            Shape::Rows(rows) => Err(refusal::raw_rows(&rows, "the question asks for raw rows").into()),
        }
    }

    fn rewrite(&self, plan: LogicalPlan) -> Result<Shape> {
        if let LogicalPlan::TableScan(scan) = plan {
            return self.scan(scan);
        }
        if asks_for_nothing(&plan) {
            return self.nothing(plan).map(Shape::Plain);
        }
        let inputs = plan.inputs().into_iter().cloned().map(|input| self.rewrite(input));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        if inputs.iter().all(|input| matches!(input, Shape::Plain(_))) {
            return self.above(plan, inputs).map(Shape::Plain);
        }
        let mut inputs = inputs.into_iter();
        match (plan, inputs.next(), inputs.next()) {
            (LogicalPlan::Projection(projection), Some(Shape::Rows(rows)), None) => {
                self.project(projection, rows).map(Shape::Rows)
            }
            (LogicalPlan::Filter(filter), Some(Shape::Rows(mut rows)), None) => {
                if let Some(ScalarValue::Boolean(None | Some(false))) = self.constant(&filter.predicate)? {
                    return Ok(Shape::Plain(empty(&filter.input)));
                }
                let predicate = self.steady(&rows, self.uncut(&rows, filter.predicate)?)?;
                rows.plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(rows.plan))?);
                Ok(Shape::Rows(rows))
            }
            (LogicalPlan::SubqueryAlias(alias), Some(Shape::Rows(mut rows)), None) => {
                let alias = SubqueryAlias::try_new(Arc::new(rows.plan), alias.alias)?;
                rows.plan = LogicalPlan::SubqueryAlias(alias);
                Ok(Shape::Rows(rows))
            }
            (LogicalPlan::Aggregate(aggregate), Some(Shape::Rows(rows)), None) => {
                self.aggregate(aggregate, rows).map(Shape::Plain)
            }
            (LogicalPlan::Distinct(Distinct::All(_)), Some(Shape::Rows(rows)), None) => {
                self.distinct(rows).map(Shape::Plain)
            }
            (LogicalPlan::Join(join), Some(left), Some(right)) => self.join(join, left, right).map(Shape::Rows),
            (plan, first, second) => {
                let rows = [first, second].into_iter().flatten().chain(inputs).find_map(|shape| match shape {
                    Shape::Rows(rows) => Some(rows),
                    Shape::Plain(_) => None,
                });
                let rows = rows.ok_or(QueryError::Internal("a plan lost its rows"))?;
                Err(refusal::node(&plan, &rows).into())
            }
        }
    }

    /// LIMIT 0, by which clients ask for the columns alone: of raw rows, too, there are none.
    fn nothing(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let LogicalPlan::Limit(limit) = &plan else { return Ok(plan) };
        match self.rewrite(limit.input.as_ref().clone()) {
            Ok(Shape::Plain(input)) => Ok(empty(&input)),
            _ => Ok(empty(&plan)),
        }
    }

    fn scan(&self, scan: TableScan) -> Result<Shape> {
        let provider = source_as_provider(&scan.source)?;
        match provider.downcast_ref::<RowsTable>() {
            Some(RowsTable(product)) => Rows::of_product(scan, product.clone()).map(Shape::Rows),
            None => Ok(Shape::Plain(LogicalPlan::TableScan(scan))),
        }
    }

    /// A node above plain inputs: as it was, but for types, which may have changed, and for subqueries.
    fn above(&self, plan: LogicalPlan, inputs: Vec<Shape>) -> Result<LogicalPlan> {
        let mut inputs = inputs.into_iter();
        let next = |_| match inputs.next() {
            Some(Shape::Plain(input)) => Ok(Transformed::yes(input)),
            _ => Err(QueryError::Internal("a plan has another number of inputs than it says").into()),
        };
        let plan = plan.map_children(next)?.data;
        let schema = merge_schema(&plan.inputs());
        let plan = map_named(plan, |expr| {
            expr.transform_up(|expr| self.subquery(expr, &schema)?.transform_data(|e| exact(e, &schema)))
        })?;
        match plan.data {
            // whose schema would stay as it was
            LogicalPlan::Union(union) => Union::try_new_with_loose_types(union.inputs).map(LogicalPlan::Union),
            plan => signed_above(plan.recompute_schema()?),
        }
    }

    /// Rewrites the plan within a subquery expression of a node with this schema below it.
    fn subquery(&self, expr: Expr, outer: &DFSchema) -> Result<Transformed<Expr>> {
        let rewrite = |subquery: Subquery| -> Result<Subquery> {
            let retype = |expr: Expr| expr.transform_up(|expr| Ok(retype(expr, outer)));
            let plan = self.plain(Arc::unwrap_or_clone(subquery.subquery))?;
            let plan = plan.transform_down_with_subqueries(|plan| plan.map_expressions(retype))?.data;
            let columns = subquery.outer_ref_columns.into_iter().map(|column| retype(column).map(|column| column.data));
            Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns: columns.collect::<Result<_>>()?, ..subquery })
        };
        Ok(match expr {
            Expr::ScalarSubquery(subquery) => {
                let mut subquery = rewrite(subquery)?;
                subquery.subquery = Arc::new(nullable(Arc::unwrap_or_clone(subquery.subquery))?);
                Transformed::yes(Expr::ScalarSubquery(subquery))
            }
            Expr::InSubquery(mut test) => {
                test.subquery = rewrite(test.subquery)?;
                Transformed::yes(Expr::InSubquery(test))
            }
            Expr::Exists(mut test) => {
                test.subquery = rewrite(test.subquery)?;
                Transformed::yes(Expr::Exists(test))
            }
            Expr::SetComparison(mut test) => {
                test.subquery = rewrite(test.subquery)?;
                Transformed::yes(Expr::SetComparison(test))
            }
            other => Transformed::no(other),
        })
    }

    fn project(&self, projection: Projection, rows: Rows) -> Result<Rows> {
        let names = NamePreserver::new_for_projection();
        let mut exprs = Vec::with_capacity(projection.expr.len() + 1);
        let mut kinds = Vec::with_capacity(projection.expr.len() + 1);
        for expr in projection.expr {
            if let Some(kind) = rows.bare(&expr) {
                kinds.push(kind.clone());
                exprs.push(expr);
            } else {
                kinds.push(Kind::Key);
                let name = names.save(&expr);
                exprs.push(name.restore(self.steady(&rows, expr)?));
            }
        }
        exprs.push(rows.weight()?);
        kinds.push(Kind::Weight);
        let projection = Projection::try_new(exprs, Arc::new(rows.plan))?;
        Ok(Rows { plan: LogicalPlan::Projection(projection), kinds, product: rows.product })
    }

    /// DISTINCT over what cells share: how many observations there are does not matter.
    fn distinct(&self, rows: Rows) -> Result<LogicalPlan> {
        let mut exprs = Vec::with_capacity(rows.kinds.len() - 1);
        for (column, kind) in rows.kinds.iter().enumerate() {
            match kind {
                Kind::Key => exprs.push(Expr::Column(Column::from(rows.plan.schema().qualified_field(column)))),
                Kind::Weight => {}
                Kind::Time(product) => return Err(refusal::instant(product).into()),
                Kind::Measure(product, measure) => {
                    return Err(refusal::group_by_measure(product, *measure).into());
                }
                Kind::Distinct(product, column) => return Err(refusal::distinct(product, *column).into()),
            }
        }
        let projection = Projection::try_new(exprs, Arc::new(rows.plan))?;
        Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(LogicalPlan::Projection(projection)))))
    }

    /// A join of rows with something plain that keeps every row's matches: as each observation would be matched, so
    /// is its cell.
    fn join(&self, join: Join, left: Shape, right: Shape) -> Result<Rows> {
        use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
        let (rows_left, rows, plain) = match (left, right) {
            (Shape::Rows(rows), Shape::Plain(plain)) => (true, rows, plain),
            (Shape::Plain(plain), Shape::Rows(rows)) => (false, rows, plain),
            (Shape::Rows(left), Shape::Rows(right)) => {
                return Err(refusal::join_of_rows(&left.product, &right.product).into());
            }
            _ => return Err(QueryError::Internal("a plan lost its rows").into()),
        };
        let (left, right) = if rows_left { (rows.plan, plain) } else { (plain, rows.plan) };
        let (left, right) = (Arc::new(left), Arc::new(right));
        let keys = std::iter::repeat_n(Kind::Key, if rows_left { &right } else { &left }.schema().fields().len());
        let both: Vec<Kind> = match rows_left {
            true => rows.kinds.iter().cloned().chain(keys).collect(),
            false => keys.chain(rows.kinds.iter().cloned()).collect(),
        };
        // the expressions of a join may name the columns of both sides
        let sides = Join::try_new(
            left.clone(),
            right.clone(),
            Vec::new(),
            None,
            Inner,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        let sides = Rows { plan: LogicalPlan::Join(sides), kinds: both, product: rows.product };
        if steady::refers_to(if rows_left { &right } else { &left }, &sides)? {
            return Err(refusal::correlated(&sides.product).into());
        }
        let steady = |(left, right)| Ok((self.steady(&sides, left)?, self.steady(&sides, right)?));
        let on = join.on.into_iter().map(steady).collect::<Result<Vec<_>>>()?;
        let filter = join.filter.map(|filter| self.steady(&sides, self.uncut(&sides, filter)?)).transpose()?;
        let kinds = match (join.join_type, rows_left) {
            (Inner | Left, true) | (Inner | Right, false) => sides.kinds,
            (LeftSemi | LeftAnti, true) | (RightSemi | RightAnti, false) => rows.kinds,
            _ => return Err(refusal::outer_join(&sides.product).into()),
        };
        let plan = Join::try_new(
            left,
            right,
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        Ok(Rows { plan: LogicalPlan::Join(plan), kinds, product: sides.product })
    }
}

/// The plan of a scalar subquery, whose value is null where it finds no row.
fn nullable(plan: LogicalPlan) -> Result<LogicalPlan> {
    let column = Column::from(plan.schema().qualified_field(0));
    if plan.schema().field(0).is_nullable() || !plan.all_out_ref_exprs().is_empty() {
        return Ok(plan);
    }
    let name = column.name.clone();
    let value = opaque().call(vec![Expr::Column(column)]).alias(name);
    Projection::try_new(vec![value], Arc::new(plan)).map(LogicalPlan::Projection)
}

fn asks_for_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Limit(limit) => matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0)))),
        _ => false,
    }
}

/// No row, of the plan's columns.
fn empty(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: plan.schema().clone() })
}

/// A reference to a column of the outer query, of the type that the column has now.
fn retype(expr: Expr, outer: &DFSchema) -> Transformed<Expr> {
    let Expr::OuterReferenceColumn(field, column) = expr else {
        return Transformed::no(expr);
    };
    match outer.maybe_index_of_column(&column) {
        Some(index) if outer.field(index) != &field => {
            Transformed::yes(Expr::OuterReferenceColumn(outer.field(index).clone(), column))
        }
        _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
    }
}
