//! What DataFusion answers with another number than SQL's, wherever it stands: refused.

use arrow::datatypes::DataType;
use civicmesh_model::time::Zone;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Subquery};

use crate::error::QueryError;

/// Looks at a plan as the question has it, rows and all.
pub(super) fn must_be_sound(plan: &LogicalPlan) -> Result<()> {
    each(plan, &|expr, schema| {
        time(expr, schema)?;
        correlated(expr)
    })?;
    plan.apply_with_subqueries(|plan| {
        for input in plan.inputs() {
            if let LogicalPlan::Subquery(subquery) = input {
                lateral(subquery)?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Looks for times that change their zone. What the grain says of one has precedence.
pub(super) fn must_keep_zone(plan: &LogicalPlan, zone: Zone) -> Result<()> {
    each(plan, &|expr, schema| {
        let (inner, to) = match expr {
            Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
            _ => return Ok(()),
        };
        let moves = matches!(to, DataType::Timestamp(_, Some(to)) if to.as_ref() != zone.name())
            && matches!(inner.get_type(schema)?, DataType::Timestamp(_, Some(_)));
        match moves {
            true => refuse(&format!(
                "AT TIME ZONE of a time that has a zone is not answered as SQL has it: times are the city's, in {}; \
                 leave AT TIME ZONE out",
                zone.name()
            )),
            false => Ok(()),
        }
    })
}

fn each(plan: &LogicalPlan, look: &dyn Fn(&Expr, &DFSchema) -> Result<()>) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        plan.apply_expressions(|expr| expr.apply(|expr| look(expr, &schema).map(|()| TreeNodeRecursion::Continue)))
    })?;
    Ok(())
}

fn refuse<T>(message: &str) -> Result<T> {
    Err(QueryError::Sql(message.to_owned()).into())
}

/// Times made of numbers in a unit that depends on the number's type, and times that lose their zone.
fn time(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let Expr::ScalarFunction(call) = expr else { return Ok(()) };
    match (call.func.name(), call.args.first()) {
        ("to_timestamp", Some(argument)) if argument.get_type(schema)?.is_numeric() => {
            refuse("to_timestamp of a number is read in more than one unit: write to_timestamp_seconds(…)")
        }
        ("from_unixtime", _) => refuse("from_unixtime loses the zone: write to_timestamp_seconds(…)"),
        ("arrow_cast" | "arrow_try_cast", _) if matches!(expr.get_type(schema)?, DataType::Timestamp(_, None)) => {
            refuse("arrow_cast to a timestamp without zone takes it for UTC: write CAST(… AS TIMESTAMP)")
        }
        _ => Ok(()),
    }
}

/// A test of a subquery that refers to the row outside of it, and has one row whatever it finds.
fn correlated(expr: &Expr) -> Result<()> {
    let subquery = match expr {
        Expr::Exists(test) => &test.subquery,
        Expr::InSubquery(test) => &test.subquery,
        Expr::SetComparison(test) => &test.subquery,
        _ => return Ok(()),
    };
    match is_correlated(subquery) && holds(&subquery.subquery, is_of_all)? {
        true => refuse(
            "EXISTS, IN, ANY or ALL of an aggregate without GROUP BY cannot refer to the question around it: compare \
             with a subquery in parentheses, as in 3 < (SELECT count(*) …), or join one that has GROUP BY",
        ),
        false => Ok(()),
    }
}

/// LATERAL whose one row is filtered.
fn lateral(subquery: &Subquery) -> Result<()> {
    let filters = |plan: &LogicalPlan| match plan {
        LogicalPlan::Filter(filter) => holds(&filter.input, is_of_all),
        LogicalPlan::Limit(limit) => holds(&limit.input, is_of_all),
        LogicalPlan::Join(_) => holds(plan, is_of_all),
        _ => Ok(false),
    };
    match is_correlated(subquery) && holds(&subquery.subquery, filters)? {
        true => refuse(
            "LATERAL cannot filter an aggregate without GROUP BY: filter outside of it, with WHERE, or join a subquery \
             that has GROUP BY",
        ),
        false => Ok(()),
    }
}

fn is_correlated(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty()
}

/// Whether it gives a row even of nothing.
fn is_of_all(plan: &LogicalPlan) -> Result<bool> {
    Ok(match plan {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty()
                || aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
        }
        _ => false,
    })
}

fn holds(plan: &LogicalPlan, what: impl Fn(&LogicalPlan) -> Result<bool>) -> Result<bool> {
    let mut found = false;
    plan.apply(|plan| {
        found |= what(plan)?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
