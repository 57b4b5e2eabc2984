//! Aggregates whose groups have one cell each: asked for by what tells merged cells apart, as a join of products by
//! district and hour asks for each of them. There is nothing left to group, so each cell is only said.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, ScalarFunction};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::QueryError;
use crate::functions::follow;
use crate::state::{is_state_function, say_each};

/// The plan over cells that were read, with a projection for each aggregate that has nothing to group.
pub(crate) fn said(plan: LogicalPlan) -> Result<LogicalPlan> {
    let said = plan.transform_down_with_subqueries(|plan| {
        let projection = match &plan {
            LogicalPlan::Aggregate(aggregate) => projection(aggregate)?,
            _ => None,
        };
        Ok(match projection {
            Some(projection) => Transformed::yes(LogicalPlan::Projection(projection)),
            None => Transformed::no(plan),
        })
    });
    said.map(|said| said.data)
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
    if groups.iter().any(is_set) || !keys.iter().all(|key| groups.contains(key)) {
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
