//! Which functions of a product's time a question uses, so that cells that no function tells apart can be merged while
//! they are read.
//!
//! Between a scan and its aggregate stand filters, projections and aliases. What is computed of a cell there and in the
//! aggregate is computed of its dimensions, of its states and weight by functions that merge them, and of its time
//! through the largest expressions that name nothing but the time. Two cells with the same dimensions, for which all
//! those expressions say the same, may be merged into one cell at either's time: nothing above can tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use civicmesh_model::names::ProductId;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::product::{CellsTable, Product, WEIGHT};
use crate::scans::{is_of_cells, pushed};
use crate::sketched::is_sketch_function;
use crate::state::is_state_function;

/// Aggregates that say the same however often a value comes.
const UNWEIGHTED: &[&str] = &["min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "approx_distinct", "grouping"];

/// The functions of one product's time.
#[derive(Default)]
pub(crate) struct TimeFunctions {
    /// How many scans of the product were followed up to their aggregate.
    pub scans: usize,
    /// The functions, of columns of the cells.
    pub functions: Vec<Expr>,
}

/// What stands between an aggregate and a scan of cells.
pub(crate) struct Chain {
    pub product: Arc<Product>,
    /// Each output column as an expression of the cells' columns.
    outputs: Vec<Expr>,
    /// Filters that were not pushed down to the scan.
    filters: Vec<Expr>,
    /// Those that were, which are true of every cell that is read where cells may be merged.
    pub pushed: Vec<Expr>,
}

/// The functions of each product's time, as far as scans could be followed.
pub(crate) fn of_plan(plan: &LogicalPlan) -> Result<BTreeMap<ProductId, TimeFunctions>> {
    let mut products: BTreeMap<ProductId, TimeFunctions> = BTreeMap::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Aggregate(aggregate) = plan
            && let Some(chain) = follow(&aggregate.input)?
        {
            let schema = aggregate.input.schema();
            let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
            let exprs = exprs.map(|expr| chain.of_cells(expr.clone(), schema)).collect::<Result<Vec<_>>>()?;
            let mut functions = Vec::new();
            let all = exprs.iter().chain(&chain.filters);
            if all.clone().all(is_of_cells) && all.into_iter().all(|expr| chain.collect(expr, &mut functions)) {
                let product = products.entry(chain.product.id().clone()).or_default();
                product.scans += 1;
                functions.retain(|function| !product.functions.contains(function));
                product.functions.append(&mut functions);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(products)
}

/// The chain under an aggregate, if nothing else stands there.
pub(crate) fn follow(plan: &LogicalPlan) -> Result<Option<Chain>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let Some(CellsTable(product)) = provider.downcast_ref::<CellsTable>() else {
                return Ok(None);
            };
            if scan.fetch.is_some() {
                return Ok(None);
            }
            let fields = scan.projected_schema.fields().iter();
            Some(Chain {
                product: product.clone(),
                outputs: fields.map(|field| Expr::Column(Column::new_unqualified(field.name()))).collect(),
                filters: Vec::new(),
                pushed: pushed(scan)?,
            })
        }
        LogicalPlan::SubqueryAlias(alias) => follow(&alias.input)?,
        LogicalPlan::Filter(filter) => {
            let Some(mut chain) = follow(&filter.input)? else {
                return Ok(None);
            };
            for part in split_conjunction(&filter.predicate) {
                let part = chain.of_cells(part.clone(), filter.input.schema())?;
                if !chain.pushed.contains(&part) {
                    chain.filters.push(part);
                }
            }
            Some(chain)
        }
        LogicalPlan::Projection(projection) => {
            let Some(mut chain) = follow(&projection.input)? else {
                return Ok(None);
            };
            let schema = projection.input.schema();
            let outputs = projection.expr.iter().map(|expr| chain.of_cells(expr.clone().unalias(), schema));
            chain.outputs = outputs.collect::<Result<_>>()?;
            Some(chain)
        }
        _ => None,
    })
}

impl Chain {
    /// The expression, over columns of `schema`, as one over the cells' columns.
    pub(crate) fn of_cells(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        let expr = expr.transform_up(|expr| {
            Ok(match expr {
                Expr::Column(column) => Transformed::yes(self.outputs[schema.index_of_column(&column)?].clone()),
                other => Transformed::no(other),
            })
        });
        expr.map(|expr| expr.data)
    }

    /// Collects the functions of time within an expression; false where cells may not be merged under it.
    fn collect(&self, expr: &Expr, functions: &mut Vec<Expr>) -> bool {
        let columns = expr.column_refs();
        let time = self.product.time();
        match expr {
            Expr::AggregateFunction(call) => {
                let arguments = || call.params.args.iter().chain(call.params.filter.as_deref());
                if is_state_function(&call.func) || is_sketch_function(&call.func) {
                    let is_state = |expr: &Expr| matches!(expr, Expr::Column(column) if self.is_state(&column.name));
                    return arguments().filter(|expr| !is_state(expr)).all(|expr| self.collect(expr, functions));
                }
                let unweighted = call.params.distinct || UNWEIGHTED.contains(&call.func.name());
                unweighted && call.params.order_by.is_empty() && arguments().all(|expr| self.collect(expr, functions))
            }
            Expr::GroupingSet(_) | Expr::Alias(_) => self.collect_within(expr, functions),
            _ if columns.iter().any(|column| self.is_state(&column.name)) => false,
            _ if columns.is_empty() => true,
            _ if columns.iter().all(|column| column.name == time) => {
                if !functions.contains(expr) {
                    functions.push(expr.clone());
                }
                true
            }
            _ => self.collect_within(expr, functions),
        }
    }

    fn collect_within(&self, expr: &Expr, functions: &mut Vec<Expr>) -> bool {
        let mut all = true;
        let within = expr.apply_children(|expr| {
            all &= self.collect(expr, functions);
            Ok(TreeNodeRecursion::Continue)
        });
        within.is_ok() && all
    }

    /// Whether the column of cells is a state, a sketch or the weight.
    fn is_state(&self, column: &str) -> bool {
        let contract = &self.product.contract;
        column == WEIGHT
            || contract.measures.iter().any(|measure| measure.name == column)
            || contract.distinct.iter().any(|distinct| distinct.name == column)
    }
}
