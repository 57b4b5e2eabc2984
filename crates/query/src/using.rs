//! What `USING` means, in SQL's own sense: a column that two sides share becomes one, the first of `*`.
//!
//! DataFusion 55 takes the column of the side whose name comes first in the alphabet, which after a LEFT JOIN is NULL
//! where there was no match, and calls the column ambiguous from the second USING on. So before planning, `USING (k)`
//! is written out: as `ON`, and `k` and `*` as what they stand for.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExceptSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::error::QueryError;

/// Writes out every USING of the statement.
pub fn write_out(statement: &mut Statement) -> Result<(), QueryError> {
    let flow = match statement {
        Statement::Statement(statement) => VisitMut::visit(statement.as_mut(), &mut Queries),
        Statement::Explain(explain) => return write_out(&mut explain.statement),
        _ => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Visits every query, the innermost first.
struct Queries;

impl VisitorMut for Queries {
    type Break = QueryError;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        match body(&mut query.body, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn body(expr: &mut SetExpr, order_by: Option<&mut OrderBy>) -> Result<(), QueryError> {
    match expr {
        SetExpr::Select(select) => self::select(select, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            body(left, None)?;
            body(right, None)
        }
        _ => Ok(()),
    }
}

fn select(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<(), QueryError> {
    if !select.from.iter_mut().any(shares_columns) {
        return Ok(());
    }
    let mut from = std::mem::take(&mut select.from);
    let mut side = Side::default();
    for table in &mut from {
        side = side.beside(tables(table)?);
    }
    let mut outputs = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        for item in side.write_out(item)? {
            outputs.extend(output(&item));
            select.projection.push(item);
        }
    }
    let mut names = Names { shared: side.shared, depth: 0 };
    let _ = VisitMut::visit(select, &mut names);
    select.from = from;
    // ORDER BY looks at what is selected first
    names.shared.retain(|(name, _)| !outputs.contains(&normal(name)));
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by {
        let _ = VisitMut::visit(exprs, &mut names);
    }
    Ok(())
}

fn shares_columns(table: &mut TableWithJoins) -> bool {
    let within = |factor: &mut TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => shares_columns(table_with_joins),
        _ => false,
    };
    let shares = |operator: &mut JoinOperator| {
        matches!(constraint(operator), Some((JoinConstraint::Using(_) | JoinConstraint::Natural, _)))
    };
    within(&mut table.relation)
        || table.joins.iter_mut().any(|join| shares(&mut join.join_operator) || within(&mut join.relation))
}

/// Which side's columns a join keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// Both; a shared column is the left one's.
    BothAsLeft,
    /// Both; a shared column is the right one's.
    BothAsRight,
    /// Both; a shared column is whichever there is.
    Both,
    /// The left one's alone.
    Left,
    /// The right one's alone.
    Right,
}

fn constraint(operator: &mut JoinOperator) -> Option<(&mut JoinConstraint, Keeps)> {
    use JoinOperator::{
        Anti, CrossJoin, FullOuter, Inner, Join, Left, LeftAnti, LeftOuter, LeftSemi, Right, RightAnti, RightOuter,
        RightSemi, Semi, StraightJoin,
    };
    match operator {
        Join(on) | Inner(on) | Left(on) | LeftOuter(on) | CrossJoin(on) | StraightJoin(on) => {
            Some((on, Keeps::BothAsLeft))
        }
        Right(on) | RightOuter(on) => Some((on, Keeps::BothAsRight)),
        FullOuter(on) => Some((on, Keeps::Both)),
        Semi(on) | LeftSemi(on) | Anti(on) | LeftAnti(on) => Some((on, Keeps::Left)),
        RightSemi(on) | RightAnti(on) => Some((on, Keeps::Right)),
        _ => None,
    }
}

/// What one side of a join has.
#[derive(Default)]
struct Side {
    /// What `*` stands for, in order.
    columns: Vec<Columns>,
    /// The columns that USING made one, and what they are.
    shared: Vec<(Ident, Expr)>,
}

/// A part of `*`.
enum Columns {
    Shared(Ident),
    /// The columns of a table but for these. A table without a name cannot be spoken of.
    Of(Option<ObjectName>, Vec<Ident>),
}

impl Side {
    fn of(factor: &mut TableFactor) -> Result<Self, QueryError> {
        let alias = match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => return tables(table_with_joins),
            TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } => {
                tables(table_with_joins)?;
                Some(alias.name.clone())
            }
            TableFactor::Table { alias: None, name, .. } => {
                return Ok(Self { columns: vec![Columns::Of(Some(name.clone()), Vec::new())], shared: Vec::new() });
            }
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
            _ => None,
        };
        let name = alias.map(|alias| ObjectName(vec![ObjectNamePart::Identifier(alias)]));
        Ok(Self { columns: vec![Columns::Of(name, Vec::new())], shared: Vec::new() })
    }

    /// Both sides, with nothing made one.
    fn beside(mut self, other: Self) -> Self {
        self.columns.extend(other.columns);
        self.shared.extend(other.shared);
        self
    }

    /// What a column of this side is that USING names.
    fn column(&self, name: &Ident) -> Result<Expr, QueryError> {
        if let Some((_, expr)) = self.shared.iter().find(|(shared, _)| same(shared, name)) {
            return Ok(expr.clone());
        }
        match self.columns.as_slice() {
            [Columns::Of(Some(table), _)] => {
                let parts = table.0.iter().filter_map(ObjectNamePart::as_ident).cloned();
                Ok(Expr::CompoundIdentifier(parts.chain([name.clone()]).collect()))
            }
            [Columns::Of(None, _)] => Err(QueryError::Sql(format!("USING ({name}): name the subquery with AS"))),
            _ => Err(QueryError::Sql(format!("USING ({name}) does not say of which table {name} is; write ON"))),
        }
    }

    /// The side without a column that is now shared.
    fn without(mut self, name: &Ident) -> Self {
        if self.shared.iter().any(|(shared, _)| same(shared, name)) {
            self.columns.retain(|columns| !matches!(columns, Columns::Shared(shared) if same(shared, name)));
            self.shared.retain(|(shared, _)| !same(shared, name));
        } else if let [Columns::Of(_, except)] = self.columns.as_mut_slice() {
            except.push(name.clone());
        }
        self
    }

    /// A selected item with `*` and shared columns written out.
    fn write_out(&self, item: SelectItem) -> Result<Vec<SelectItem>, QueryError> {
        match item {
            SelectItem::Wildcard(options) if options == plain() => {
                self.columns.iter().map(|columns| self.item(columns)).collect()
            }
            SelectItem::Wildcard(_) => {
                Err(QueryError::Sql("beside USING, write out the columns instead of excluding some from *".to_owned()))
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Ok(vec![self.named(name)]),
            item => Ok(vec![item]),
        }
    }

    fn named(&self, name: Ident) -> SelectItem {
        match self.shared.iter().find(|(shared, _)| same(shared, &name)) {
            Some((_, expr)) => SelectItem::ExprWithAlias { expr: expr.clone(), alias: name },
            None => SelectItem::UnnamedExpr(Expr::Identifier(name)),
        }
    }

    fn item(&self, columns: &Columns) -> Result<SelectItem, QueryError> {
        match columns {
            Columns::Shared(name) => Ok(self.named(name.clone())),
            Columns::Of(None, _) => {
                Err(QueryError::Sql("beside USING, * needs every subquery named with AS".to_owned()))
            }
            Columns::Of(Some(table), except) => {
                let except = except.split_first().map(|(first, others)| ExceptSelectItem {
                    first_element: first.clone(),
                    additional_elements: others.to_vec(),
                });
                let table = SelectItemQualifiedWildcardKind::ObjectName(table.clone());
                Ok(SelectItem::QualifiedWildcard(table, WildcardAdditionalOptions { opt_except: except, ..plain() }))
            }
        }
    }
}

fn plain() -> WildcardAdditionalOptions {
    WildcardAdditionalOptions { wildcard_token: AttachedToken::empty(), ..Default::default() }
}

/// Writes out the joins of one table expression.
fn tables(table: &mut TableWithJoins) -> Result<Side, QueryError> {
    let mut left = Side::of(&mut table.relation)?;
    for join in &mut table.joins {
        let mut right = Side::of(&mut join.relation)?;
        let Some((constraint, keeps)) = constraint(&mut join.join_operator) else {
            left = left.beside(right);
            continue;
        };
        let mut shared = Vec::new();
        match constraint {
            JoinConstraint::Natural => {
                let message = "a NATURAL JOIN changes with its tables; write USING with the columns that they share";
                return Err(QueryError::Sql(message.to_owned()));
            }
            JoinConstraint::Using(names) => {
                let names = names.iter().map(|name| match name.0.as_slice() {
                    [ObjectNamePart::Identifier(name)] => Ok(name.clone()),
                    _ => Err(QueryError::Sql(format!("USING takes columns without a table: {name}"))),
                });
                let mut on: Option<Expr> = None;
                for name in names.collect::<Result<Vec<_>, _>>()? {
                    let (a, b) = (left.column(&name)?, right.column(&name)?);
                    let equal = binary(a.clone(), BinaryOperator::Eq, b.clone());
                    on = Some(match on.take() {
                        Some(on) => binary(on, BinaryOperator::And, equal),
                        None => equal,
                    });
                    shared.push(match keeps {
                        Keeps::BothAsLeft | Keeps::Left => (name, a),
                        Keeps::BothAsRight | Keeps::Right => (name, b),
                        Keeps::Both => (name, coalesce(a, b)),
                    });
                }
                *constraint = on.map_or(JoinConstraint::None, JoinConstraint::On);
            }
            JoinConstraint::On(on) => {
                let known = left.shared.iter().chain(&right.shared).cloned().collect();
                let _ = VisitMut::visit(on, &mut Names { shared: known, depth: 0 });
            }
            JoinConstraint::None => {}
        }
        left = match keeps {
            Keeps::Left => left,
            Keeps::Right => right,
            _ => {
                for (name, _) in &shared {
                    left = left.without(name);
                    right = right.without(name);
                }
                let columns = shared.iter().map(|(name, _)| Columns::Shared(name.clone())).collect();
                Side { columns, shared }.beside(left).beside(right)
            }
        };
    }
    Ok(left)
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new("coalesce"))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument(left), argument(right)],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Puts what shared columns are in the place of their bare names, but not within subqueries.
struct Names {
    shared: Vec<(Ident, Expr)>,
    depth: usize,
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some((_, shared)) = self.shared.iter().find(|(shared, _)| same(shared, name))
        {
            *expr = shared.clone();
        }
        ControlFlow::Continue(())
    }
}

/// The name that a selected item has in the answer, if it says one.
fn output(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(normal(name)),
        _ => None,
    }
}

/// A name as it counts: in lower case unless it is quoted.
pub(crate) fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn same(a: &Ident, b: &Ident) -> bool {
    normal(a) == normal(b)
}
