//! Which products the figures of each column were computed from, so that a figure that lacks cells is marked beside it.
//!
//! A column is traced through the optimized plan: an aggregate rests on every row below it, a key on none, and what was
//! chosen by a figure (HAVING, LIMIT after ORDER BY) rests on that figure. Where in doubt, a column rests on more.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use civicmesh_model::names::ProductId;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan};

use crate::completeness::ProductCompleteness;
use crate::product::CellsTable;

/// The key of a field's metadata whose value lists, parted by commas, the products of which the column lacks cells or
/// windows. A column without it is exact.
pub const LACKS: &str = "civicmesh.lacks";

type Products = BTreeSet<ProductId>;

/// The answer's schema with a mark at each column whose figures lack something.
pub(crate) fn mark(schema: &Schema, plan: &LogicalPlan, completeness: &[ProductCompleteness]) -> Result<SchemaRef> {
    let lacking: Products = completeness.iter().filter(|product| !product.exact).map(|p| p.product.clone()).collect();
    let columns = of_columns(plan)?;
    let field = |(field, products): (&Arc<Field>, &Products)| {
        let lacks: Vec<String> = products.intersection(&lacking).map(ToString::to_string).collect();
        if lacks.is_empty() {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(LACKS.to_owned(), lacks.join(","));
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().zip(&columns).map(field).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The products that each column of the answer rests on.
fn of_columns(plan: &LogicalPlan) -> Result<Vec<Products>> {
    let Trace { rows, chosen, mut columns, .. } = trace(plan)?;
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Ok(vec![Products::new(); columns.len()]);
    }
    // what no column says is said of all: which rows there are
    let said: Products = columns.iter().flatten().chain(&chosen).cloned().collect();
    let unsaid: Vec<ProductId> = rows.difference(&said).cloned().collect();
    for column in &mut columns {
        column.extend(chosen.iter().chain(&unsaid).cloned());
    }
    Ok(columns)
}

/// What a node's output rests on.
#[derive(Clone, Default)]
struct Trace {
    /// What decides which rows there are.
    rows: Products,
    /// Whose figures decided which of the rows are kept.
    chosen: Products,
    /// Whose figures the rows are in the order of.
    order: Products,
    /// Whose figures each column holds.
    columns: Vec<Products>,
}

impl Trace {
    /// All that the output rests on.
    fn all(&self) -> Products {
        self.rows.iter().chain(self.columns.iter().flatten()).cloned().collect()
    }

    /// A choice among the rows by these figures.
    fn choose(&mut self, by: Products) {
        self.rows.extend(by.iter().cloned());
        self.chosen.extend(by);
    }

    /// Whose figures an expression over this output is made of.
    fn of(&self, expr: &Expr, schema: &DFSchema) -> Result<Products> {
        let mut products = Products::new();
        expr.apply(|expr| {
            match expr {
                Expr::Column(column) => products.extend(self.columns[schema.index_of_column(column)?].iter().cloned()),
                Expr::ScalarSubquery(subquery) => products.extend(trace(&subquery.subquery)?.all()),
                Expr::Exists(test) => products.extend(trace(&test.subquery.subquery)?.all()),
                Expr::InSubquery(test) => products.extend(trace(&test.subquery.subquery)?.all()),
                Expr::SetComparison(test) => products.extend(trace(&test.subquery.subquery)?.all()),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(products)
    }

    fn of_each<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> Result<Vec<Products>> {
        exprs.into_iter().map(|expr| self.of(expr, schema)).collect()
    }
}

fn trace(plan: &LogicalPlan) -> Result<Trace> {
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(scan) => {
            let rows = source_as_provider(&scan.source)?
                .downcast_ref::<CellsTable>()
                .map(|CellsTable(product)| product.id().clone());
            Ok(Trace { rows: rows.into_iter().collect(), columns: vec![Products::new(); width], ..Trace::default() })
        }
        LogicalPlan::Projection(projection) => {
            let input = trace(&projection.input)?;
            let columns = input.of_each(&projection.expr, projection.input.schema())?;
            Ok(Trace { columns, ..input })
        }
        LogicalPlan::Filter(filter) => {
            let mut input = trace(&filter.input)?;
            let by = input.of(&filter.predicate, filter.input.schema())?;
            input.choose(by);
            Ok(input)
        }
        LogicalPlan::Sort(sort) => {
            let mut input = trace(&sort.input)?;
            let by = input.of_each(sort.expr.iter().map(|by| &by.expr), sort.input.schema())?;
            input.order = by.into_iter().flatten().collect();
            if sort.fetch.is_some() {
                input.choose(input.order.clone());
            }
            Ok(input)
        }
        LogicalPlan::Limit(limit) => {
            let mut input = trace(&limit.input)?;
            input.choose(input.order.clone());
            Ok(input)
        }
        LogicalPlan::Window(window) => {
            let mut input = trace(&window.input)?;
            for of in input.of_each(&window.window_expr, window.input.schema())? {
                let column = of.into_iter().chain(input.rows.iter().cloned()).collect();
                input.columns.push(column);
            }
            Ok(input)
        }
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Join(join) => of_join(join),
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            let input = trace(&distinct.input)?;
            let schema = distinct.input.schema();
            let by = distinct.sort_expr.iter().flatten().map(|by| &by.expr).chain(&distinct.on_expr);
            let by = input.of_each(by, schema)?.into_iter().flatten().collect();
            let mut output = Trace { columns: input.of_each(&distinct.select_expr, schema)?, ..input };
            output.choose(by);
            Ok(output)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => trace(input),
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input),
        LogicalPlan::Subquery(subquery) => trace(&subquery.subquery),
        LogicalPlan::Repartition(repartition) => trace(&repartition.input),
        LogicalPlan::Union(union) => {
            let mut output = Trace { columns: vec![Products::new(); width], ..Trace::default() };
            for input in &union.inputs {
                let input = trace(input)?;
                output.rows.extend(input.rows);
                output.chosen.extend(input.chosen);
                output.columns.iter_mut().zip(input.columns).for_each(|(column, of)| column.extend(of));
            }
            Ok(output)
        }
        plan => of_any(plan, width),
    }
}

/// A node of which nothing is known but what it takes in: all of its output rests on that.
fn of_any(plan: &LogicalPlan, width: usize) -> Result<Trace> {
    let (mut inputs, mut rows) = (Trace::default(), Products::new());
    for input in plan.inputs() {
        let input = trace(input)?;
        rows.extend(input.all());
        inputs.columns.extend(input.columns);
    }
    let schema = merge_schema(&plan.inputs());
    for expr in plan.expressions() {
        rows.extend(inputs.of(&expr, &schema)?);
    }
    Ok(Trace { columns: vec![rows.clone(); width], chosen: rows.clone(), rows, ..Trace::default() })
}

fn of_aggregate(aggregate: &Aggregate) -> Result<Trace> {
    let input = trace(&aggregate.input)?;
    let schema = aggregate.input.schema();
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let mut columns = input.of_each(&aggregate.group_expr, schema)?;
    let keys: Products = columns.iter().flatten().cloned().collect();
    if columns.len() != groups {
        // a grouping set is one expression of many columns
        columns = vec![keys.clone(); groups];
    }
    for of in input.of_each(&aggregate.aggr_expr, schema)? {
        columns.push(of.into_iter().chain(input.rows.iter().cloned()).collect());
    }
    let rows = input.rows.into_iter().chain(keys).collect();
    Ok(Trace { rows, chosen: input.chosen, order: Products::new(), columns })
}

fn of_join(join: &Join) -> Result<Trace> {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let (mut left, mut right) = (trace(&join.left)?, trace(&join.right)?);
    let schema = merge_schema(&[&join.left, &join.right]);
    let both = Trace { columns: left.columns.iter().chain(&right.columns).cloned().collect(), ..Trace::default() };
    let mut on = both.of_each(join.filter.iter().chain(join.on.iter().flat_map(|(a, b)| [a, b])), &schema)?;
    let on: Products = on.drain(..).flatten().collect();
    // a side that may be missing is NULL where its rows are
    let missing = |side: &mut Trace| {
        let rows = side.rows.clone();
        side.columns.iter_mut().for_each(|column| column.extend(rows.iter().chain(&on).cloned()));
    };
    if matches!(join.join_type, Left | Full) {
        missing(&mut right);
    }
    if matches!(join.join_type, Right | Full) {
        missing(&mut left);
    }
    let tests = |mut kept: Trace, other: Trace, marks: bool| {
        let by: Products = other.all().into_iter().chain(on.iter().cloned()).collect();
        match marks {
            true => kept.columns.push(by),
            false => kept.choose(by),
        }
        kept
    };
    let mut output = match join.join_type {
        LeftSemi | LeftAnti => tests(left, right, false),
        LeftMark => tests(left, right, true),
        RightSemi | RightAnti => tests(right, left, false),
        RightMark => tests(right, left, true),
        Inner | Left | Right | Full => {
            left.columns.extend(right.columns);
            left.rows.extend(right.rows);
            left.chosen.extend(right.chosen);
            left.choose(on);
            left
        }
    };
    output.order.clear();
    Ok(output)
}
