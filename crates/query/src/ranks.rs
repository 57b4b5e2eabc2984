//! Ranks with a sign, as SQL has them: DataFusion's have none, so that a rank cannot be negated and half of one is a
//! fraction. Each call becomes a cast of itself, before it is planned.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, Function, ObjectNamePart, VisitMut, VisitorMut};

use crate::using::normal;

/// The window functions that count.
const RANKS: &[&str] = &["row_number", "rank", "dense_rank", "ntile"];

/// Gives every rank of the statement a sign.
pub(crate) fn sign(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _ = VisitMut::visit(statement.as_mut(), &mut Ranks);
        }
        Statement::Explain(explain) => sign(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

struct Ranks;

impl VisitorMut for Ranks {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        if is_rank(call) {
            let call = Box::new(expr.clone());
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: call,
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

fn is_rank(call: &Function) -> bool {
    match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => call.over.is_some() && RANKS.contains(&normal(name).as_str()),
        _ => false,
    }
}
