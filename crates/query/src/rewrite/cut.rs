//! Bounds of time that cut a window, for askers who always cut one: a dashboard asks for the last six hours, whenever
//! it is. As the asker wants it, they are moved to window edges, inwards or outwards, and each move is told.
//!
//! A bound is moved where AND, OR and NOT alone stand above it, so that it is known which way is inwards.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use civicmesh_model::time::UtcMicros;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use super::{Kind, Rewrite, Rows, refusal};
use crate::engine::WindowCut;
use crate::product::Product;

/// What one question wants of bounds that cut a window, and what became of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    pub window_cut: WindowCut,
    notices: Arc<Mutex<BTreeSet<String>>>,
}

impl Cut {
    pub(crate) fn new(window_cut: WindowCut) -> Self {
        Self { window_cut, notices: Arc::default() }
    }

    /// What was moved where, a line each.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.lock().expect("nobody panics while a notice is taken").iter().cloned().collect()
    }

    fn tell(&self, notice: String) {
        self.notices.lock().expect("nobody panics while a notice is taken").insert(notice);
    }
}

impl Rewrite {
    /// The predicate with its bounds moved to window edges, if the asker wants that.
    pub(super) fn uncut(&self, rows: &Rows, predicate: Expr) -> Result<Expr> {
        match self.cut.window_cut {
            WindowCut::Error => Ok(predicate),
            WindowCut::Inside => self.moved(rows, predicate, true),
            WindowCut::Covering => self.moved(rows, predicate, false),
        }
    }

    fn moved(&self, rows: &Rows, expr: Expr, inwards: bool) -> Result<Expr> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let (left, right) = (self.moved(rows, *left, inwards)?, self.moved(rows, *right, inwards)?);
                Ok(binary(left, op, right))
            }
            Expr::Not(inner) => Ok(Expr::Not(Box::new(self.moved(rows, *inner, !inwards)?))),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let moved = match (rows.bare(&left), rows.bare(&right), op.swap()) {
                    (Some(Kind::Time(product)), ..) => self.moved_bound(product, &left, op, &right, inwards)?,
                    (_, Some(Kind::Time(product)), Some(op)) => {
                        self.moved_bound(product, &right, op, &left, inwards)?
                    }
                    _ => None,
                };
                Ok(moved.unwrap_or(Expr::BinaryExpr(BinaryExpr { left, op, right })))
            }
            Expr::Between(Between { expr: time, negated, low, high })
                if matches!(rows.bare(&time), Some(Kind::Time(_))) =>
            {
                let (from, join, until) = match negated {
                    false => (Operator::GtEq, Operator::And, Operator::LtEq),
                    true => (Operator::Lt, Operator::Or, Operator::Gt),
                };
                let from = binary(time.as_ref().clone(), from, *low);
                let until = binary(*time, until, *high);
                self.moved(rows, binary(from, join, until), inwards)
            }
            other => Ok(other),
        }
    }

    /// `time op other` with `other` on a window edge; none where it is there already, or is no such bound.
    fn moved_bound(
        &self,
        product: &Product,
        time: &Expr,
        op: Operator,
        other: &Expr,
        inwards: bool,
    ) -> Result<Option<Expr>> {
        let after = match op {
            Operator::GtEq | Operator::Lt => 0,
            Operator::Gt | Operator::LtEq => 1,
            _ => return Ok(None),
        };
        let at = match self.constant(other)? {
            Some(value) if !value.is_null() => self.instant(product, &value)?,
            _ => return Ok(None),
        };
        // the half-open form: from this instant on, or until before it
        let bound = UtcMicros(at.0.saturating_add(after));
        let calendar = &product.calendar;
        let (half_open, edge) = match (op, inwards) {
            (Operator::GtEq | Operator::Gt, true) => (Operator::GtEq, calendar.align_up(bound)),
            (Operator::GtEq | Operator::Gt, false) => (Operator::GtEq, calendar.align_down(bound)),
            (_, true) => (Operator::Lt, calendar.align_down(bound)),
            (_, false) => (Operator::Lt, calendar.align_up(bound)),
        };
        if edge == at && half_open == op {
            return Ok(None);
        }
        self.cut.tell(refusal::moved(product, op, at, half_open, edge));
        Ok(Some(self.at_edge(time, half_open, edge)))
    }

    /// `time op at`, as the plan has it.
    pub(super) fn at_edge(&self, time: &Expr, op: Operator, at: UtcMicros) -> Expr {
        let at = ScalarValue::TimestampMicrosecond(Some(at.0), Some(self.zone.name().into()));
        binary(time.clone().unalias(), op, Expr::Literal(at, None))
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}
