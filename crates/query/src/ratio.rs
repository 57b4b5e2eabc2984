//! The quotient of numbers with a fraction: of sums, mostly, which are decimals.
//!
//! DataFusion's quotient of decimals has four decimals more than its dividend, and what is computed of a rate is wrong
//! from there on. This one is a double, as an average is, and still no number where the divisor is zero.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::kernels::arity::try_binary;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::error::QueryError;

/// The function that divides two doubles.
pub(crate) fn ratio() -> Arc<ScalarUDF> {
    static RATIO: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Ratio { signature }))
    });
    RATIO.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ratio {
    signature: Signature,
}

impl ScalarUDFImpl for Ratio {
    fn name(&self) -> &str {
        "civicmesh_ratio"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [dividend, divisor] = arrays.as_slice() else {
            return Err(QueryError::Internal("a quotient has two sides").into());
        };
        let (dividend, divisor) = (dividend.as_primitive::<Float64Type>(), divisor.as_primitive::<Float64Type>());
        let divide = |dividend: f64, divisor: f64| match divisor == 0.0 {
            true => Err(ArrowError::DivideByZero),
            false => Ok(dividend / divisor),
        };
        let quotient: Float64Array = try_binary(dividend, divisor, divide)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&quotient, 0)?),
            false => ColumnarValue::Array(Arc::new(quotient) as ArrayRef),
        })
    }
}
