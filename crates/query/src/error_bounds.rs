//! `error_bound(f(…))`: how far the answer of an aggregate that rests on a sketch may be off.
//!
//! DataFusion nests no aggregates, so that before planning each call becomes one of a function of its own,
//! `error_bound_f(…)`, which takes what `f` takes. The rewriter computes it where `f` is computed from a sketch.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, not_impl_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, VisitMut, VisitorMut,
};

use crate::error::QueryError;
use crate::using::normal;

const ERROR_BOUND: &str = "error_bound";
/// What stands before the name of the function whose answer may be off.
const PREFIX: &str = "error_bound_";

/// The functions that may rest on a sketch.
const BOUNDED: &[&str] = &["median", "approx_median", "percentile_cont", "approx_percentile_cont", "approx_distinct"];

/// The function whose error a function of this name tells, and whether it tells the error: else it is itself.
pub(crate) fn of_name(name: &str) -> (&str, bool) {
    name.strip_prefix(PREFIX).map_or((name, false), |of| (of, true))
}

/// Puts a function of its own into each call's place.
///
/// # Errors
/// [`QueryError::Sql`] for a call over anything else than one of these functions.
pub(crate) fn write_out(statement: &mut Statement) -> Result<(), QueryError> {
    let visited = match statement {
        Statement::Statement(statement) => VisitMut::visit(statement.as_mut(), &mut Bounds),
        Statement::Explain(explain) => return write_out(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => ControlFlow::Continue(()),
    };
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(QueryError::Sql(format!(
            "{ERROR_BOUND} takes an aggregate that may rest on a sketch, as in {ERROR_BOUND}(median(…)): {}; count, sum, min and max \
             are exact, avg and stddev the nearest double",
            BOUNDED.join(", ")
        ))),
    }
}

struct Bounds;

impl VisitorMut for Bounds {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        if name_of(call).as_deref() != Some(ERROR_BOUND) {
            return ControlFlow::Continue(());
        }
        match bounded(call) {
            Some(bound) => {
                *expr = Expr::Function(bound);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

fn name_of(call: &Function) -> Option<String> {
    match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(normal(name)),
        _ => None,
    }
}

/// The one call within, under its new name.
fn bounded(call: &Function) -> Option<Function> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(within)))] = list.args.as_slice() else {
        return None;
    };
    let plain = list.clauses.is_empty()
        && list.duplicate_treatment.is_none()
        && call.filter.is_none()
        && call.over.is_none()
        && call.within_group.is_empty()
        && within.over.is_none();
    let name = name_of(within).filter(|name| plain && BOUNDED.contains(&name.as_str()))?;
    let mut within = within.clone();
    within.name.0 = vec![ObjectNamePart::Identifier(Ident::new(format!("{PREFIX}{name}")))];
    Some(within)
}

/// The functions as the planner knows them.
pub(crate) fn functions(state: &SessionState) -> Vec<Arc<AggregateUDF>> {
    let bound = |name: &&str| {
        let of = state.aggregate_functions().get(*name)?.clone();
        Some(Arc::new(AggregateUDF::new_from_impl(Bound { name: format!("{PREFIX}{name}"), of })))
    };
    BOUNDED.iter().filter_map(bound).collect()
}

/// A function that takes what another one takes. It is never computed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bound {
    name: String,
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Bound {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.of.supports_within_group_clause()
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{ERROR_BOUND} is of aggregates over a product's rows: above them {} is exact", self.of.name())
    }
}
