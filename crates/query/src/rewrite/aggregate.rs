//! Aggregates over rows, rewritten one by one: of a measure to the function that merges its states, of anything else
//! that a cell shares to its weighted form; DISTINCT and extremes do not mind the weight.

use std::sync::Arc;

use arrow::datatypes::DataType;
use civicmesh_model::contract::Statistic;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Cast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, GroupingSet, LogicalPlan, SortExpr, lit, when,
};

use super::signed::signed_above;
use super::{Kind, Rewrite, Rows, refusal};
use crate::error_bounds;
use crate::product::{Need, Product};
use crate::sketched::{Rank, Tells, sketch_function};
use crate::state::{Merges, Says, state_function};

impl Rewrite {
    /// An aggregate over rows: plain from here on.
    pub(super) fn aggregate(&self, aggregate: Aggregate, rows: Rows) -> Result<LogicalPlan> {
        let groups = aggregate.group_expr.into_iter().map(|expr| self.group(&rows, expr)).collect::<Result<_>>()?;
        let names = NamePreserver::new_for_projection();
        let rewrite = |expr: Expr| {
            let name = names.save(&expr);
            Ok(name.restore(self.aggregate_expr(&rows, expr)?))
        };
        let aggregates = aggregate.aggr_expr.into_iter().map(rewrite).collect::<Result<_>>()?;
        signed_above(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rows.plan), groups, aggregates)?))
    }

    fn group(&self, rows: &Rows, expr: Expr) -> Result<Expr> {
        let keys = |exprs: Vec<Expr>| exprs.into_iter().map(|expr| self.key(rows, expr)).collect::<Result<Vec<_>>>();
        Ok(match expr {
            Expr::GroupingSet(GroupingSet::Rollup(exprs)) => Expr::GroupingSet(GroupingSet::Rollup(keys(exprs)?)),
            Expr::GroupingSet(GroupingSet::Cube(exprs)) => Expr::GroupingSet(GroupingSet::Cube(keys(exprs)?)),
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                let sets = sets.into_iter().map(keys).collect::<Result<_>>()?;
                Expr::GroupingSet(GroupingSet::GroupingSets(sets))
            }
            expr => self.key(rows, expr)?,
        })
    }

    /// A steady expression under the name that it had.
    fn key(&self, rows: &Rows, expr: Expr) -> Result<Expr> {
        if let Some(Kind::Measure(product, measure)) = rows.bare(&expr) {
            return Err(refusal::group_by_measure(product, *measure).into());
        }
        let name = NamePreserver::new_for_projection().save(&expr);
        Ok(name.restore(self.steady(rows, expr)?))
    }

    fn aggregate_expr(&self, rows: &Rows, expr: Expr) -> Result<Expr> {
        let AggregateFunction { func, params } = match expr {
            Expr::Alias(mut alias) => {
                alias.expr = Box::new(self.aggregate_expr(rows, *alias.expr)?);
                return Ok(Expr::Alias(alias));
            }
            Expr::AggregateFunction(call) => call,
            _ => return Err(refusal::expression(&rows.product).into()),
        };
        let (name, error) = error_bounds::of_name(func.name());
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        if name == "grouping" {
            let args = args.into_iter().map(|arg| self.key(rows, arg)).collect::<Result<_>>()?;
            return Ok(call(func, args, distinct, filter));
        }
        let within = args.first().or(order_by.first().map(|by| &by.expr));
        if let Some(Kind::Measure(product, measure)) = within.and_then(|argument| rows.bare(argument))
            && (takes_sketch(name) || (name == "count" && distinct))
        {
            let declared = &product.contract.measures[*measure];
            if distinct || !takes_quantiles(name) || !declared.publishes(Statistic::Quantiles) {
                let name = if distinct { format!("{name} DISTINCT") } else { name.to_owned() };
                return Err(refusal::sketch(product, *measure, &name).into());
            }
            let tells = self.quantile(product, declared.decimals, name, &args, &order_by)?;
            product.need(Need::Statistic(*measure, Statistic::Quantiles));
            let filter = self.filter(rows, filter)?;
            return Ok(call(
                sketch_function(tells.or_error(error)),
                args.into_iter().take(1).map(Expr::unalias).collect(),
                false,
                filter,
            ));
        }
        let (Some(argument), 1, true, None) = (args.first(), args.len(), order_by.is_empty(), null_treatment) else {
            return Err(refusal::aggregate_function(&rows.product, name).into());
        };
        let filter = self.filter(rows, filter)?;
        let says = Says::of_sql(name);
        match (rows.bare(argument), says) {
            (Some(Kind::Measure(product, measure)), Some(says)) => {
                if distinct && !matches!(says, Says::Min | Says::Max) {
                    return Err(refusal::aggregate_function(product, &format!("{name}(DISTINCT …)")).into());
                }
                let func = self.of_measure(product, *measure, says, name)?;
                Ok(call(func, vec![argument.clone().unalias()], false, filter))
            }
            (Some(Kind::Distinct(product, column)), _) if name == "approx_distinct" && !distinct => {
                product.need(Need::Distinct(*column));
                Ok(call(
                    sketch_function(Tells::Distinct.or_error(error)),
                    vec![argument.clone().unalias()],
                    false,
                    filter,
                ))
            }
            (Some(Kind::Distinct(product, column)), _) => Err(refusal::distinct(product, *column).into()),
            _ if error => Err(refusal::no_error_bound(&rows.product, name).into()),
            (Some(Kind::Measure(product, _)), None) => Err(refusal::aggregate_function(product, name).into()),
            (Some(Kind::Time(_)), Some(Says::Count)) if !distinct => {
                Ok(call(state_function(Says::Count, Merges::Weighted), vec![lit(1_i64), rows.weight()?], false, filter))
            }
            _ => {
                let argument = argument.clone();
                self.of_steady(rows, func.clone(), says, argument, distinct, filter)
            }
        }
    }

    fn filter(&self, rows: &Rows, filter: Option<Box<Expr>>) -> Result<Option<Box<Expr>>> {
        filter.map(|filter| self.steady(rows, self.uncut(rows, *filter)?).map(Box::new)).transpose()
    }

    /// What a function of quantiles tells: its rank is a constant, and counts from the other end where the order is
    /// descending.
    fn quantile(
        &self,
        product: &Product,
        decimals: u8,
        name: &str,
        args: &[Expr],
        order_by: &[SortExpr],
    ) -> Result<Tells> {
        match (name, args, order_by) {
            ("median", [_], []) => return Ok(Tells::Median { decimals }),
            ("approx_median", [_], []) => return Ok(Tells::Quantile(Rank::MIDDLE)),
            _ => {}
        }
        // a third argument sizes a digest that is not used
        let (2 | 3, 0 | 1) = (args.len(), order_by.len()) else {
            return Err(refusal::aggregate_function(product, name).into());
        };
        let rank = self.constant(&args[1])?.and_then(|rank| rank.cast_to(&DataType::Float64).ok());
        let rank = match rank {
            Some(ScalarValue::Float64(Some(rank))) => Rank::of(rank),
            _ => None,
        };
        let rank = rank.ok_or_else(|| refusal::rank(product, name))?;
        let descending = order_by.first().is_some_and(|by| !by.asc);
        Ok(Tells::Quantile(if descending { rank.reversed() } else { rank }))
    }

    /// The function over a measure's states, if its contract publishes what that needs.
    fn of_measure(&self, product: &Arc<Product>, measure: usize, says: Says, name: &str) -> Result<Arc<AggregateUDF>> {
        let declared = &product.contract.measures[measure];
        if declared.gauge && says == Says::Sum {
            return Err(refusal::gauge(product, declared).into());
        }
        let needs: &[Statistic] = match says {
            Says::Count => &[Statistic::Count],
            Says::Sum | Says::Mean => &[Statistic::Sum],
            Says::Min => &[Statistic::Min],
            Says::Max => &[Statistic::Max],
            Says::VarianceSample | Says::VariancePopulation | Says::DeviationSample | Says::DeviationPopulation => {
                &[Statistic::Sum, Statistic::SumSquares]
            }
        };
        for need in needs {
            // a measure's count always leaves
            if *need != Statistic::Count && !declared.publishes(*need) {
                return Err(refusal::statistic(product, declared, name).into());
            }
            product.need(Need::Statistic(measure, *need));
        }
        Ok(state_function(says, Merges::States { decimals: declared.decimals }))
    }

    /// An aggregate of what a cell shares.
    fn of_steady(
        &self,
        rows: &Rows,
        func: Arc<AggregateUDF>,
        says: Option<Says>,
        argument: Expr,
        distinct: bool,
        filter: Option<Box<Expr>>,
    ) -> Result<Expr> {
        let name = func.name();
        if let Some((product, measure)) = measure_within(rows, &argument)? {
            return Err(refusal::measure_expression(&product, measure, name).into());
        }
        let argument = self.steady(rows, argument)?;
        match (name, says, distinct) {
            // the same value many times over changes none of these
            ("count", _, true)
            | ("min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or" | "approx_distinct", ..) => {
                Ok(call(func, vec![argument], distinct, filter))
            }
            ("count", Some(says), false) => {
                let one = match argument.nullable(rows.plan.schema())? {
                    true => when(argument.is_not_null(), lit(1_i64)).end()?,
                    false => lit(1_i64),
                };
                Ok(call(state_function(says, Merges::Weighted), vec![one, rows.weight()?], false, filter))
            }
            (_, Some(says), false) => {
                use DataType::{Int8, Int16, Int32, Int64, Null, UInt8, UInt16, UInt32};
                let kind = argument.get_type(rows.plan.schema())?;
                if !matches!(kind, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Null) {
                    return Err(refusal::weighted(&rows.product, name).into());
                }
                let whole = Expr::Cast(Cast::new(Box::new(argument), Int64));
                Ok(call(state_function(says, Merges::Weighted), vec![whole, rows.weight()?], false, filter))
            }
            _ => Err(refusal::aggregate_function(&rows.product, name).into()),
        }
    }
}

/// Whether the function tells a quantile.
fn takes_quantiles(function: &str) -> bool {
    matches!(function, "median" | "percentile_cont" | "approx_median" | "approx_percentile_cont")
}

/// Whether the function over a measure needs more of its values than sums and extremes.
fn takes_sketch(function: &str) -> bool {
    matches!(
        function,
        "median"
            | "percentile_cont"
            | "approx_distinct"
            | "approx_median"
            | "approx_percentile_cont"
            | "approx_percentile_cont_with_weight"
    )
}

fn call(func: Arc<AggregateUDF>, args: Vec<Expr>, distinct: bool, filter: Option<Box<Expr>>) -> Expr {
    Expr::AggregateFunction(AggregateFunction::new_udf(func, args, distinct, filter, Vec::new(), None))
}

/// A measure that the expression names.
fn measure_within(rows: &Rows, expr: &Expr) -> Result<Option<(Arc<Product>, usize)>> {
    for column in expr.column_refs() {
        if let Kind::Measure(product, measure) = rows.kind(column)? {
            return Ok(Some((product.clone(), *measure)));
        }
    }
    Ok(None)
}
