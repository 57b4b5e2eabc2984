//! What reading has settled is not computed again: filters that every merged cell was read under, and aggregates whose
//! groups have one merged cell each, as where products are joined that are asked for by district and hour.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, ScalarFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, BinaryExpr, ColumnarValue, Expr, Filter, LogicalPlan, Operator, Projection,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::QueryError;
use crate::functions::follow;
use crate::state::{is_state_function, say_each};

/// The plan over cells that were read, without what reading has settled. A group of groups that were settled is one of
/// cells itself, and so may be settled, too.
pub(crate) fn without(plan: LogicalPlan) -> Result<LogicalPlan> {
    let without = plan.transform_up_with_subqueries(|plan| {
        let less = match &plan {
            LogicalPlan::Aggregate(aggregate) => projection(aggregate)?.map(LogicalPlan::Projection),
            LogicalPlan::Filter(filter) => unfiltered(filter)?,
            _ => None,
        };
        Ok(less.map_or_else(|| Transformed::no(plan), Transformed::yes))
    });
    without.map(|without| without.data)
}

/// The filter's input, under what of the filter is not settled; none where nothing is.
fn unfiltered(filter: &Filter) -> Result<Option<LogicalPlan>> {
    let Some(chain) = follow(&filter.input)?.filter(|chain| chain.product.keys().is_some()) else { return Ok(None) };
    let (schema, parts) = (filter.input.schema(), split_conjunction(&filter.predicate));
    let mut left = Vec::new();
    for part in &parts {
        if !chain.pushed.contains(&chain.of_cells((*part).clone(), schema)?) {
            left.push((*part).clone());
        }
    }
    if left.len() == parts.len() {
        return Ok(None);
    }
    Ok(Some(match conjunction(left) {
        None => filter.input.as_ref().clone(),
        Some(left) => LogicalPlan::Filter(Filter::try_new(left, filter.input.clone())?),
    }))
}

/// The projection that says the same as the aggregate; none where two cells may fall into one group.
fn projection(aggregate: &Aggregate) -> Result<Option<Projection>> {
    // without groups there is a row even of no cells
    if aggregate.group_expr.is_empty() {
        return Ok(None);
    }
    let Some(chain) = follow(&aggregate.input)? else { return Ok(None) };
    let Some(keys) = chain.product.keys() else { return Ok(None) };
    let schema = aggregate.input.schema();
    let groups = aggregate.group_expr.iter().map(|group| chain.of_cells(group.clone().unalias(), schema));
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let is_set = |group: &Expr| matches!(group, Expr::GroupingSet(_));
    let is_one =
        |key: &Expr| matches!(key, Expr::Column(_)) && chain.pushed.iter().any(|filter| gives_one(filter, key));
    if groups.iter().any(is_set) || !keys.iter().all(|key| groups.contains(key) || is_one(key)) {
        return Ok(None);
    }
    let fields = aggregate.schema.iter();
    let said = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).zip(fields).map(|(expr, (qualifier, field))| {
        let said = match expr.clone().unalias() {
            Expr::AggregateFunction(call) => said_alone(&call, field)?,
            other => other,
        };
        match expr {
            Expr::Column(_) => Some(said),
            _ => Some(said.alias_qualified(qualifier.cloned(), field.name())),
        }
    });
    let Some(said) = said.collect() else { return Ok(None) };
    Projection::try_new_with_schema(said, aggregate.input.clone(), aggregate.schema.clone()).map(Some)
}

/// Whether what passes the filter has one value of this dimension.
fn gives_one(filter: &Expr, of: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return false };
    match (left.as_ref(), right.as_ref()) {
        (column, Expr::Literal(..)) | (Expr::Literal(..), column) => column == of,
        _ => false,
    }
}

/// The call as one of a cell by itself; none where it may say something else.
fn said_alone(call: &AggregateFunction, field: &FieldRef) -> Option<Expr> {
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = &call.params;
    let plain = !distinct && filter.is_none() && order_by.is_empty() && null_treatment.is_none();
    if !plain || !is_state_function(&call.func) {
        return None;
    }
    let said = Said {
        function: call.func.clone(),
        kind: field.data_type().clone(),
        nullable: field.is_nullable(),
        signature: Signature::any(args.len(), Volatility::Immutable),
    };
    let func = Arc::new(ScalarUDF::new_from_impl(said));
    Some(Expr::ScalarFunction(ScalarFunction { func, args: args.clone() }))
}

/// What an aggregate function says of a cell that is the only one of its group.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Said {
    function: Arc<AggregateUDF>,
    kind: DataType,
    nullable: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Said {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.kind.clone(), self.nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let arguments = arguments.args.into_iter().map(|argument| argument.into_array(rows));
        let said = say_each(&self.function, &arguments.collect::<Result<Vec<_>>>()?)?;
        if said.len() != rows {
            return Err(QueryError::Internal("a function that says not one thing of each cell").into());
        }
        Ok(ColumnarValue::Array(said))
    }
}
