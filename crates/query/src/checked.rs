//! Arithmetic on whole numbers that says when a number does not fit, in the place of DataFusion's, which goes on with
//! another one.
//!
//! The rule runs after types are coerced, over the whole plan. It is a closed list: operators and aggregates that may
//! leave their type's bounds are put in their checked form, and an aggregate that is in no list is refused. A time and an
//! interval are added as a calendar does it (see [`crate::shifted`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowFunctionDefinition,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

use crate::error::QueryError;
use crate::named::map_named;
use crate::shifted::shifted;
use crate::text::Room;
use crate::total::total;

/// The rule.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Of the question, for what its functions make.
    pub room: Room,
}

impl AnalyzerRule for Checked {
    fn analyze(&self, plan: LogicalPlan, _options: &ConfigOptions) -> Result<LogicalPlan> {
        let check = |plan: LogicalPlan| {
            let schema = merge_schema(&plan.inputs());
            map_named(plan, |expr| {
                expr.transform_up(|expr| {
                    let expr = checked(expr, &schema)?.transform_data(|expr| shifted(expr, &schema))?;
                    expr.transform_data(|expr| Ok(Transformed::yes(self.room.ask(expr))))
                })
            })
        };
        Ok(plan.transform_up_with_subqueries(check)?.data)
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }
}

/// One expression, whose types are coerced; those within it are checked already.
fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Arithmetic::of(op) {
            Some(arithmetic) if left.get_type(schema)?.is_integer() && right.get_type(schema)?.is_integer() => {
                Transformed::yes(arithmetic.call(*left, *right))
            }
            None if op == Operator::Divide && left.get_type(schema)?.is_decimal() => {
                return refuse("a quotient of decimals would be cut short: CAST one side AS DOUBLE");
            }
            _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
        },
        Expr::Negative(inner) => {
            let kind = inner.get_type(schema)?;
            match kind.is_integer() {
                true => {
                    let zero = Expr::Literal(ScalarValue::new_zero(&kind)?, None);
                    Transformed::yes(Arithmetic::Subtract.call(zero, *inner))
                }
                false => Transformed::no(Expr::Negative(inner)),
            }
        }
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let checked = aggregate(&func, &params.args, schema)?;
            let changed = checked.is_some();
            let call = AggregateFunction { func: checked.unwrap_or(func), params };
            Transformed::new_transformed(Expr::AggregateFunction(call), changed)
        }
        Expr::WindowFunction(mut call) => {
            let checked = match &call.fun {
                WindowFunctionDefinition::AggregateUDF(func) => aggregate(func, &call.params.args, schema)?,
                WindowFunctionDefinition::WindowUDF(_) => None,
            };
            let changed = checked.is_some();
            if let Some(func) = checked {
                call.fun = WindowFunctionDefinition::AggregateUDF(func);
            }
            Transformed::new_transformed(Expr::WindowFunction(call), changed)
        }
        other => Transformed::no(other),
    })
}

/// The aggregate to take in the place of this one, if this one would not say that a number does not fit.
fn aggregate(func: &AggregateUDF, args: &[Expr], schema: &DFSchema) -> Result<Option<Arc<AggregateUDF>>> {
    let kind = match args.first() {
        Some(argument) => argument.get_type(schema)?,
        None => DataType::Null,
    };
    match func.name() {
        "sum" => match kind {
            DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..) => Ok(Some(total())),
            DataType::Float64 | DataType::Null => Ok(None),
            kind => refuse(&format!("sum of {kind} is not checked: CAST it AS DECIMAL(38, …), or as DOUBLE")),
        },
        "avg" => match kind {
            DataType::Float64 | DataType::Null => Ok(None),
            kind => refuse(&format!("avg of {kind} would be cut short: CAST it AS DOUBLE")),
        },
        name if SOUND.contains(&name) || name.starts_with("civicmesh_") => Ok(None),
        name => refuse(&format!("the aggregate {name} is not in the list of those that are known to be right")),
    }
}

/// Aggregates that stay within their type, or reckon in doubles.
const SOUND: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "var",
    "var_pop",
];

fn refuse<T>(message: &str) -> Result<T> {
    Err(QueryError::Sql(message.to_owned()).into())
}

/// What may leave the bounds of a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

impl Arithmetic {
    fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::Plus => Self::Add,
            Operator::Minus => Self::Subtract,
            Operator::Multiply => Self::Multiply,
            _ => return None,
        })
    }

    fn call(self, left: Expr, right: Expr) -> Expr {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(CheckedArithmetic { arithmetic: self, signature })).call(vec![left, right])
    }

    fn compute(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => add(left, right),
            Self::Subtract => sub(left, right),
            Self::Multiply => mul(left, right),
        }
    }
}

/// Checked arithmetic of two whole numbers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedArithmetic {
    arithmetic: Arithmetic,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedArithmetic {
    fn name(&self) -> &str {
        match self.arithmetic {
            Arithmetic::Add => "civicmesh_add",
            Arithmetic::Subtract => "civicmesh_subtract",
            Arithmetic::Multiply => "civicmesh_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [left, right] if left == right => Ok(left.clone()),
            _ => Err(QueryError::Internal("arithmetic on whole numbers of two types").into()),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&kinds)?, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return Err(QueryError::Internal("arithmetic has two sides").into());
        };
        apply(left, right, |left, right| self.arithmetic.compute(left, right))
    }
}
