//! Room for the texts and lists that functions make.
//!
//! `s || s`, named again and again in a WITH query, doubles a text with every line: no pool would see it before it is
//! there. So what may make more than it is given first asks the pool for as much as it may come to, and gives it back
//! when the question is over.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr as Physical, Column};

use crate::error::QueryError;

/// Functions whose result is no longer than all their arguments together.
const ADDING: &[&str] =
    &["array_append", "array_concat", "array_prepend", "concat", "concat_ws", "make_array", "named_struct", "struct"];
/// Functions that write their last arguments in the place of parts of their first.
const REPLACING: &[&str] = &["array_replace_all", "array_to_string", "encode", "overlay", "regexp_replace", "replace"];
/// What a part costs beside its text: an offset or a view.
const PART_BYTES: usize = 16;

/// The room of one question.
#[derive(Clone)]
pub(crate) struct Room(Arc<MemoryReservation>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

/// Whether a function asks for room, which is one question's.
pub(crate) fn is_asking(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Asking>().is_some()
}

impl Room {
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        Self(Arc::new(MemoryConsumer::new("texts").register(pool)))
    }

    /// The expression, which asks for room if it may make more than it is given.
    pub(crate) fn ask(&self, expr: Expr) -> Expr {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                self.function(Makes::Joined).call(vec![*left, *right])
            }
            Expr::ScalarFunction(mut call) => {
                let name = call.func.name();
                let makes = match (ADDING.contains(&name), REPLACING.contains(&name)) {
                    (true, _) => Makes::Sum(call.func.clone()),
                    (_, true) => Makes::Product(call.func.clone()),
                    _ => return Expr::ScalarFunction(call),
                };
                call.func = self.function(makes);
                Expr::ScalarFunction(call)
            }
            other => other,
        }
    }

    fn function(&self, makes: Makes) -> Arc<ScalarUDF> {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Asking { makes, room: self.clone(), signature }))
    }
}

/// What is made, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Makes {
    /// `a || b`
    Joined,
    /// As much as the arguments together.
    Sum(Arc<ScalarUDF>),
    /// As much as the first argument, each part of it as long as the others.
    Product(Arc<ScalarUDF>),
}

impl Makes {
    /// What it comes to at most, in bytes.
    fn bytes(&self, arguments: &ScalarFunctionArgs) -> usize {
        let rows = arguments.number_rows;
        let whole = |value: &ColumnarValue| match value {
            ColumnarValue::Array(array) => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX),
            ColumnarValue::Scalar(scalar) => scalar.size().saturating_mul(rows),
        };
        let parts = arguments.args.len().saturating_mul(rows).saturating_mul(PART_BYTES);
        let sum = |values: &[ColumnarValue]| values.iter().map(whole).fold(parts, usize::saturating_add);
        match self {
            Self::Joined | Self::Sum(_) => sum(&arguments.args),
            Self::Product(_) => {
                let (first, others) = arguments.args.split_at(arguments.args.len().min(1));
                let longest = others.iter().map(|value| match value {
                    ColumnarValue::Array(_) => whole(value),
                    ColumnarValue::Scalar(scalar) => scalar.size(),
                });
                sum(first).saturating_mul(longest.max().unwrap_or(0).max(2))
            }
        }
    }
}

/// A function that asks for room first.
#[derive(Debug)]
struct Asking {
    makes: Makes,
    room: Room,
    signature: Signature,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.makes == other.makes && Arc::ptr_eq(&self.room.0, &other.room.0)
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.makes.hash(state);
    }
}

impl ScalarUDFImpl for Asking {
    fn name(&self) -> &str {
        match &self.makes {
            Makes::Joined => "civicmesh_joined",
            Makes::Sum(function) | Makes::Product(function) => function.name(),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (&self.makes, arguments) {
            (Makes::Joined, [left, _]) => Ok(left.clone()),
            (Makes::Sum(function) | Makes::Product(function), arguments) => function.return_type(arguments),
            _ => Err(QueryError::Internal("what is joined has two sides").into()),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match (&self.makes, arguments.arg_fields) {
            (Makes::Joined, [left, right]) => {
                let nullable = left.is_nullable() || right.is_nullable();
                Ok(Arc::new(left.as_ref().clone().with_name(self.name()).with_nullable(nullable)))
            }
            (Makes::Sum(function) | Makes::Product(function), _) => function.return_field_from_args(arguments),
            _ => Err(QueryError::Internal("what is joined has two sides").into()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.room.0.try_grow(self.makes.bytes(&arguments))?;
        match &self.makes {
            Makes::Joined => joined(arguments),
            Makes::Sum(function) | Makes::Product(function) => function.invoke_with_args(arguments),
        }
    }
}

/// `a || b`, by DataFusion's own operator.
fn joined(arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let schema = Arc::new(Schema::new(arguments.arg_fields.clone()));
    let sides = arguments.args.iter().map(|side| side.to_array(arguments.number_rows)).collect::<Result<_>>()?;
    let batch = RecordBatch::try_new(schema, sides)?;
    let side =
        |column: usize| Arc::new(Column::new(arguments.arg_fields[column].name(), column)) as Arc<dyn PhysicalExpr>;
    Physical::new(side(0), Operator::StringConcat, side(1)).evaluate(&batch)
}
