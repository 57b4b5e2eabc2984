//! A function that gives what it is given, and that planners see nothing through.
//!
//! DataFusion reckons backwards from a filter to the columns in it, as if a cast to a date or a whole quotient had an
//! inverse, and takes a column of which it finds one value for a constant: what is sorted by it comes unsorted. It also
//! takes a scalar subquery for never null where its column is not, and one that finds no row is.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use crate::error::QueryError;

/// The function. Its result may be null.
pub(crate) fn opaque() -> Arc<ScalarUDF> {
    static OPAQUE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        // what is volatile is not computed while planning
        let signature = Signature::any(1, Volatility::Volatile);
        Arc::new(ScalarUDF::new_from_impl(Opaque { signature }))
    });
    OPAQUE.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Opaque {
    signature: Signature,
}

impl ScalarUDFImpl for Opaque {
    fn name(&self) -> &str {
        "civicmesh_opaque"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments.first().cloned().ok_or_else(|| QueryError::Internal("a function without its argument").into())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&kinds)?, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let first = arguments.args.into_iter().next();
        first.ok_or_else(|| QueryError::Internal("a function without its argument").into())
    }
}

/// The first physical rule: no filter is reckoned backwards from.
#[derive(Debug)]
pub(crate) struct OpaqueFilters;

impl PhysicalOptimizerRule for OpaqueFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let config = Arc::new(config.clone());
        let hide = |plan: Arc<dyn ExecutionPlan>| {
            let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(plan)) };
            let (schema, predicate) = (filter.input().schema(), filter.predicate().clone());
            let hidden = ScalarFunctionExpr::try_new(opaque(), vec![predicate], &schema, config.clone())?;
            let filter = FilterExecBuilder::from(filter).with_predicate(Arc::new(hidden)).build()?;
            Ok(Transformed::yes(Arc::new(filter) as Arc<dyn ExecutionPlan>))
        };
        Ok(plan.transform_up(hide)?.data)
    }

    fn name(&self) -> &str {
        "opaque_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
