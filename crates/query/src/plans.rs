//! Plans of questions that were asked before, with the constants left open that may differ: planning takes most of the
//! time of a small question.
//!
//! What is kept is an optimized plan in which the constants of a [`Template`] are placeholders. The rewriter lets one
//! stand where it can say what it means whatever it is: as a product's text that is compared with `=`, or as a bound of
//! its time. A question fills in its own constants, and each bound is held against the windows' edges as it would be in
//! planning. Whatever does not fit (a bound that cuts a window, a plan that depends on more) is planned as if nothing
//! were kept, so every refusal is planning's own. A plan is kept for one text, one domain, one `window_cut`, and for the
//! very contracts and grants that it was made under.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::DataType;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Volatility};

use crate::engine::WindowCut;
use crate::error::QueryError;
use crate::product::{CellsTable, Product};
use crate::rewrite::instant;
use crate::shelf::Standing;
use crate::template::{Constant, Template};
use crate::text::is_asking;

/// Most templates that are kept, those of which it is only known that no plan can be kept included.
const TEMPLATES_MAX: usize = 256;

/// What a constant stands for where it was left open.
#[derive(Clone, Debug)]
pub(crate) enum Use {
    /// A text, as it is.
    Text,
    /// A bound of the product's time, which must be a window's edge.
    Bound(Arc<Product>),
}

impl PartialEq for Use {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text, Self::Text) => true,
            (Self::Bound(ours), Self::Bound(theirs)) => ours.id() == theirs.id(),
            _ => false,
        }
    }
}

/// What the rewriter says of the constants that are left open, by their placeholder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Arc<Mutex<BTreeMap<String, Use>>>);

impl Uses {
    /// Notes what a placeholder stands for; an error if it stands for something else elsewhere.
    pub(crate) fn note(&self, id: &str, of: Use) -> Result<(), QueryError> {
        match locked(&self.0).insert(id.to_owned(), of.clone()) {
            Some(before) if before != of => Err(QueryError::Internal("a constant that stands for two things")),
            _ => Ok(()),
        }
    }
}

/// Under which contracts and grants a question is planned.
pub(crate) type Audience = Vec<(ProductId, bool, Option<Hash32>)>;

pub(crate) fn audience(standings: &BTreeMap<ProductId, Standing>) -> Audience {
    let of = |standing: &Standing| {
        let hash = standing.contract.as_ref().map(|contract| contract.hash());
        (standing.product.clone(), standing.granted, hash)
    };
    standings.values().map(of).collect()
}

/// A plan with constants left open.
#[derive(Debug)]
pub(crate) struct Plan {
    plan: LogicalPlan,
    /// Of each constant.
    uses: Vec<Use>,
}

impl Plan {
    /// The optimized plan of a template; none where it depends on more than the template's constants.
    pub(crate) fn new(plan: LogicalPlan, template: &Template, uses: &Uses) -> Result<Option<Self>> {
        let known = locked(&uses.0).clone();
        let names = (1..=template.constants.len()).map(|number| format!("${number}"));
        let uses: Option<Vec<Use>> = names.map(|name| known.get(&name).cloned()).collect();
        let Some(uses) = uses else { return Ok(None) };
        let named = plan.schema().fields().iter().any(|field| field.name().contains('$'));
        let fits = !named && fits(&plan, &known)?;
        Ok(fits.then_some(Self { plan, uses }))
    }

    /// The plan of a question with these constants, ready to be read for; none where one of them does not fit.
    pub(crate) fn filled(&self, constants: &[Constant]) -> Result<Option<LogicalPlan>> {
        let values = self.uses.iter().zip(constants).map(|(of, constant)| value(of, constant));
        let Some(values) = values.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut products: BTreeMap<ProductId, Arc<Product>> = BTreeMap::new();
        let fill = |expr: Expr| {
            expr.transform_up(|expr| {
                Ok(match &expr {
                    Expr::Placeholder(placeholder) => {
                        let value = number(&placeholder.id).and_then(|number| values.get(number - 1));
                        let value = value.ok_or(QueryError::Internal("a placeholder without its constant"))?;
                        Transformed::yes(Expr::Literal(value.clone(), None))
                    }
                    _ => Transformed::no(expr),
                })
            })
        };
        let plan = self.plan.clone().transform_up(|plan| match plan {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                let CellsTable(product) =
                    provider.downcast_ref().ok_or(QueryError::Internal("a kept plan scans something else"))?;
                let product = products.entry(product.id().clone()).or_insert_with(|| Arc::new(product.again()));
                let filters = scan.filters.into_iter().map(|filter| Ok(fill(filter)?.data)).collect::<Result<_>>()?;
                let source = provider_as_source(Arc::new(CellsTable(product.clone())));
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, filters, ..scan })))
            }
            LogicalPlan::Filter(_) | LogicalPlan::Join(_) => plan.map_expressions(fill),
            plan => Ok(Transformed::no(plan)),
        })?;
        Ok(Some(plan.data))
    }
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse().ok().filter(|number| *number > 0)
}

/// The value in the place of a constant.
fn value(of: &Use, constant: &Constant) -> Option<ScalarValue> {
    let value = constant.value()?;
    match of {
        Use::Text => matches!(value, ScalarValue::Utf8(Some(_))).then_some(value),
        Use::Bound(product) => {
            let at = instant(product, &value)?;
            let zone = product.zone().name().into();
            product.calendar.is_edge(at).then_some(ScalarValue::TimestampMicrosecond(Some(at.0), Some(zone)))
        }
    }
}

/// Whether the plan says the same of every question of its template: it scans cells alone, nothing in it depends on the
/// time at which it is asked or keeps something of one question, and open constants stand in filters alone.
fn fits(plan: &LogicalPlan, known: &BTreeMap<String, Use>) -> Result<bool> {
    let mut fits = true;
    plan.apply_with_subqueries(|plan| {
        let may_be_open = match plan {
            LogicalPlan::TableScan(scan) => {
                fits &= source_as_provider(&scan.source)?.downcast_ref::<CellsTable>().is_some();
                true
            }
            LogicalPlan::Filter(_) | LogicalPlan::Join(_) => true,
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::Extension(_) => {
                fits = false;
                false
            }
            _ => false,
        };
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                fits &= match expr {
                    Expr::Placeholder(placeholder) => {
                        let kind = placeholder.field.as_ref().map(|field| field.data_type());
                        let is = |of: &Use| match of {
                            Use::Text => kind == Some(&DataType::Utf8),
                            Use::Bound(_) => matches!(kind, Some(DataType::Timestamp(..))),
                        };
                        may_be_open && known.get(&placeholder.id).is_some_and(is)
                    }
                    Expr::ScalarFunction(call) => {
                        call.func.signature().volatility == Volatility::Immutable
                            && call.func.name() != "date_bin"
                            && !is_asking(&call.func)
                    }
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => false,
                    _ => true,
                };
                Ok(if fits { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })?;
        Ok(if fits { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(fits)
}

/// What is known of a template.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It comes for the first time: it is not worth a plan that nobody may ask for again.
    New,
    /// It came before, and has no plan for this audience.
    Planless,
    /// No plan can be kept for this audience.
    Unfit,
    Kept(Arc<Plan>),
}

/// Plans by template.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<Shelved>);

#[derive(Debug, Default)]
struct Shelved {
    plans: BTreeMap<Key, Place>,
    turn: u64,
}

/// A text, the domain that it is asked in, and what becomes of bounds that cut a window.
pub(crate) type Key = (String, Option<String>, WindowCut);

#[derive(Debug)]
struct Place {
    used: u64,
    /// None where it only came once; without a plan where none can be kept for this audience.
    plan: Option<(Audience, Option<Arc<Plan>>)>,
}

impl Plans {
    /// What is known of a template for this audience.
    pub(crate) fn known(&self, key: &Key, audience: &Audience) -> Known {
        let mut shelved = locked(&self.0);
        shelved.turn += 1;
        let turn = shelved.turn;
        let Some(place) = shelved.plans.get_mut(key) else {
            shelved.keep(key.clone(), None);
            return Known::New;
        };
        place.used = turn;
        match &place.plan {
            Some((of, plan)) if of == audience => plan.clone().map_or(Known::Unfit, Known::Kept),
            _ => Known::Planless,
        }
    }

    /// Keeps a plan, or that there is none for this audience.
    pub(crate) fn keep(&self, key: Key, audience: Audience, plan: Option<Arc<Plan>>) {
        locked(&self.0).keep(key, Some((audience, plan)));
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        let shelved = locked(&self.0);
        let kept = shelved.plans.values().filter(|place| matches!(place.plan, Some((_, Some(_)))));
        (shelved.plans.len(), kept.count())
    }
}

impl Shelved {
    fn keep(&mut self, key: Key, plan: Option<(Audience, Option<Arc<Plan>>)>) {
        if self.plans.len() >= TEMPLATES_MAX && !self.plans.contains_key(&key) {
            let oldest = self.plans.iter().min_by_key(|(_, place)| place.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.plans.remove(&oldest));
        }
        self.plans.insert(key, Place { used: self.turn, plan });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
