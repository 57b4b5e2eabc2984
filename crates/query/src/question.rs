//! A question with what it is asked with, and what is known of one before it is asked.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::QueryError;

/// Most parameters of one question.
pub const PARAMETERS_MAX: usize = 1_000;

/// A question with what it is asked with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// The text.
    pub sql: String,
    /// The values of `$1`, `$2`, and so on.
    pub parameters: Vec<ScalarValue>,
    /// The domain that a product without one belongs to; the node's own where none is given.
    pub domain: Option<String>,
}

impl From<&str> for Question {
    fn from(sql: &str) -> Self {
        Self { sql: sql.to_owned(), ..Self::default() }
    }
}

/// What is known of a question before its parameters are.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The answer's columns.
    pub schema: SchemaRef,
    /// The types of `$1`, `$2`, and so on; none where the question does not tell.
    pub parameters: Vec<Option<DataType>>,
}

/// The types of a plan's parameters in order, those that the asker gave before those that the plan tells.
pub(crate) fn parameters(plan: &LogicalPlan, given: &[Option<DataType>]) -> Result<Vec<Option<DataType>>> {
    let mut types: Vec<Option<DataType>> = Vec::new();
    for (id, kind) in plan.get_parameter_types()? {
        *place(&mut types, &id)? = kind;
    }
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Limit(limit) = plan {
            for count in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = count.as_ref() {
                    place(&mut types, &placeholder.id)?.get_or_insert(DataType::Int64);
                }
            }
        }
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                {
                    place(&mut types, &placeholder.id)?.get_or_insert_with(|| cast.field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    for (kind, given) in types.iter_mut().zip(given) {
        if given.is_some() {
            kind.clone_from(given);
        }
    }
    Ok(types)
}

/// The place of the parameter of this name.
fn place<'t>(types: &'t mut Vec<Option<DataType>>, id: &str) -> Result<&'t mut Option<DataType>> {
    let number = id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()).filter(|number| *number > 0);
    let number = number.ok_or_else(|| QueryError::Sql(format!("{id} is no parameter: write $1, $2 and so on")))?;
    if number > PARAMETERS_MAX {
        return Err(QueryError::TooLarge { what: "the number of parameters", limit: PARAMETERS_MAX as u64 }.into());
    }
    if types.len() < number {
        types.resize(number, None);
    }
    Ok(&mut types[number - 1])
}

/// The plan with its parameters filled in.
pub(crate) fn filled(plan: LogicalPlan, parameters: &[ScalarValue]) -> Result<LogicalPlan> {
    match parameters {
        [] => Ok(plan),
        parameters => plan.replace_params_with_values(&ParamValues::from(parameters.to_vec())),
    }
}

/// A null of each type, text where none is known.
pub(crate) fn nulls(types: &[Option<DataType>]) -> Result<Vec<ScalarValue>> {
    types.iter().map(|kind| ScalarValue::try_from(kind.as_ref().unwrap_or(&DataType::Utf8))).collect()
}
