//! What is said when a question is refused: why, in plain words, and a question that can be asked instead.

use civicmesh_model::contract::{Measure, Method, Statistic};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{LogicalPlan, Operator};

use super::Rows;
use crate::civil::Unit;
use crate::error::{QueryError, RefusalCode};
use crate::product::Product;

fn refused(code: RefusalCode, message: String, instead: String) -> QueryError {
    QueryError::Refused { code, message, instead }
}

/// A node above rows that would need the rows themselves.
pub(super) fn node(plan: &LogicalPlan, rows: &Rows) -> QueryError {
    let what = match plan {
        LogicalPlan::Sort(_) => "ORDER BY of what nothing aggregates",
        LogicalPlan::Limit(_) => "LIMIT of what nothing aggregates",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Distinct(_) => "DISTINCT ON",
        LogicalPlan::Union(_) => {
            let instead = "aggregate each product in a WITH query of its own, and put the results together".to_owned();
            return refused(RefusalCode::Join, "UNION would need raw rows".to_owned(), instead);
        }
        _ => "this part of the question",
    };
    raw_rows(rows, &format!("{what} would need raw rows"))
}

/// A question for the rows themselves.
pub(super) fn raw_rows(rows: &Rows, why: &str) -> QueryError {
    let product = &rows.product;
    let message = format!("{why}, and {} releases aggregates only", product.id());
    refused(RefusalCode::RawRows, message, product.some_question())
}

/// A join of two products before either is aggregated.
pub(super) fn join_of_rows(left: &Product, right: &Product) -> QueryError {
    let message = format!(
        "a join of {} and {} before they are aggregated would match raw row with raw row",
        left.id(),
        right.id()
    );
    let instead = format!(
        "WITH a AS ({}), b AS ({}) SELECT * FROM a JOIN b USING (…)",
        left.some_question(),
        right.some_question()
    );
    refused(RefusalCode::Join, message, instead)
}

/// A join that would keep more than the product's rows and their matches.
pub(super) fn outer_join(product: &Product) -> QueryError {
    let message =
        format!("this kind of join with {} before it is aggregated would make rows that nobody observed", product.id());
    let instead =
        format!("aggregate first, join then: WITH a AS ({}) SELECT * FROM a FULL JOIN …", product.some_question());
    refused(RefusalCode::Join, message, instead)
}

/// A subquery that would be asked again for every row.
pub(super) fn correlated(product: &Product) -> QueryError {
    let message = format!("a subquery that refers to the rows of {} would be asked for every raw row", product.id());
    let instead = format!("aggregate first, in a WITH query: {}", product.some_question());
    refused(RefusalCode::RawRows, message, instead)
}

/// Something in an expression that is in no list of ours.
pub(super) fn expression(product: &Product) -> QueryError {
    let message = format!("this expression over the rows of {} cannot be computed from aggregates", product.id());
    refused(RefusalCode::Function, message, product.some_question())
}

/// A function whose value may differ from row to row.
pub(super) fn function(product: &Product, name: &str) -> QueryError {
    let message = format!("{name} would have another value for every raw row of {}", product.id());
    refused(RefusalCode::Function, message, product.some_question())
}

/// A measure where only what a cell shares may stand.
pub(super) fn measure(product: &Product, measure: usize) -> QueryError {
    let Measure { name, .. } = &product.contract.measures[measure];
    let message = format!(
        "{name} differs from row to row within a cell of {}, so that only an aggregate of it can be asked for: no filter, group or expression over it",
        product.id()
    );
    let instead = format!("{}, or compute with the aggregates: 2 * avg({name})", product.some_question());
    refused(RefusalCode::MeasureFilter, message, instead)
}

/// A measure that an aggregate takes in an expression.
pub(super) fn measure_expression(product: &Product, measure: usize, function: &str) -> QueryError {
    let Measure { name, .. } = &product.contract.measures[measure];
    let message = format!(
        "{function} of an expression over {name} needs raw rows; {} releases aggregates of the bare column",
        product.id()
    );
    let instead = format!(
        "{function}({name}), computing with its result, or {function}({name}) FILTER (WHERE …) over dimensions and time"
    );
    refused(RefusalCode::MeasureExpression, message, instead)
}

/// A measure in GROUP BY or DISTINCT.
pub(super) fn group_by_measure(product: &Product, measure: usize) -> QueryError {
    let Measure { name, .. } = &product.contract.measures[measure];
    let message = format!("{} does not release which values {name} has", product.id());
    refused(RefusalCode::MeasureFilter, message, product.some_question())
}

/// A statistic that the contract does not publish.
pub(super) fn statistic(product: &Product, measure: &Measure, function: &str) -> QueryError {
    let published: Vec<&str> = measure.publish.iter().map(|statistic| statistic.as_str()).collect();
    let message = format!(
        "{function}({}) is not released: the contract of {} publishes {} of it",
        measure.name,
        product.id(),
        published.join(", ")
    );
    let instead = format!("{}({})", best_function(measure), measure.name);
    refused(RefusalCode::Statistic, message, instead)
}

fn best_function(measure: &Measure) -> &'static str {
    match (measure.publishes(Statistic::Sum), measure.publishes(Statistic::SumSquares)) {
        (true, true) => "avg or stddev",
        (true, false) => "avg",
        _ => "count",
    }
}

/// A statistic that takes a sketch of a measure's values.
pub(super) fn sketch(product: &Product, measure: usize, function: &str) -> QueryError {
    let measure = &product.contract.measures[measure];
    let mut message =
        format!("{function} of {} takes a sketch of its values, and {} releases none", measure.name, product.id());
    match (function.contains("distinct") || function.contains("DISTINCT"), &product.contract.method) {
        (true, _) => message += ": distinct values are counted of texts that a contract names under `distinct`",
        (false, Method::Open { .. }) => {
            message += &format!(": `{}: {{publish: [sum, quantiles]}}` in its contract would", measure.name);
        }
        (false, Method::Threshold { .. }) => message += ", as that of a few values holds the values themselves",
    }
    refused(RefusalCode::Statistic, message, format!("{}({})", best_function(measure), measure.name))
}

/// A column whose distinct values are counted, asked for anything else.
pub(super) fn distinct(product: &Product, column: usize) -> QueryError {
    let name = &product.contract.distinct[column].name;
    let message =
        format!("of {name} {} releases nothing but a sketch of how many distinct values it has", product.id());
    refused(
        RefusalCode::Statistic,
        message,
        format!("approx_distinct({name}), and error_bound(approx_distinct({name}))"),
    )
}

/// A rank of a quantile that is no constant, or none.
pub(super) fn rank(product: &Product, function: &str) -> QueryError {
    let message = format!("{function} over {} takes a constant between 0 and 1", product.id());
    refused(RefusalCode::Function, message, format!("{function}(…, 0.9)"))
}

/// A bound of something that rests on no sketch.
pub(super) fn no_error_bound(product: &Product, function: &str) -> QueryError {
    let message = format!("{function} over what it names of {} rests on no sketch of its owner's", product.id());
    refused(RefusalCode::Function, message, format!("error_bound({function}(…)) of a column that is sketched"))
}

/// A sum over a level.
pub(super) fn gauge(product: &Product, measure: &Measure) -> QueryError {
    let name = &measure.name;
    let message = format!("{name} of {} is a level, whose sum over time means nothing", product.id());
    refused(RefusalCode::Gauge, message, format!("avg({name})"))
}

/// An aggregate function that cannot be computed from cells.
pub(super) fn aggregate_function(product: &Product, name: &str) -> QueryError {
    let message = format!("{name} over {} cannot be computed from aggregates", product.id());
    let instead = format!(
        "count, sum, avg, min, max, stddev or var of a measure, as far as its contract publishes them; {}",
        product.some_question()
    );
    refused(RefusalCode::Function, message, instead)
}

/// A sum or mean of something that is no whole number.
pub(super) fn weighted(product: &Product, name: &str) -> QueryError {
    let message = format!("{name} over the rows of {} is exact for measures and whole numbers only", product.id());
    let instead = "count whole numbers and compute with the result: 0.5 * count(*)".to_owned();
    refused(RefusalCode::Function, message, instead)
}

/// The instant of an observation.
pub(super) fn instant(product: &Product) -> QueryError {
    let (time, grain) = (product.time(), product.grain());
    let message = format!("the {time} of {} is known by windows of {grain} only", product.id());
    let instead = format!("{}, or bounds {time} >= … AND {time} < … on window edges", product.by_grain());
    refused(RefusalCode::Grain, message, instead)
}

/// A unit of time that windows do not lie within.
pub(super) fn finer_than_grain(product: &Product, unit: &str) -> QueryError {
    let message = format!(
        "{unit} of {} cannot be told from windows of {}: they do not lie within one",
        product.time(),
        product.grain()
    );
    refused(RefusalCode::Grain, message, product.by_grain())
}

/// A function of time in no list of ours.
pub(super) fn function_of_time(product: &Product, name: &str) -> QueryError {
    let time = product.time();
    let message = format!(
        "{name} of {time} cannot be told from windows of {}; date_trunc, extract, CAST({time} AS DATE) and date_bin can",
        product.grain()
    );
    let instead = format!("{name}({}), or a question by {}", product.by_grain(), product.by_grain());
    refused(RefusalCode::Grain, message, instead)
}

/// A bin of a day or more.
pub(super) fn bin_of_days(product: &Product) -> QueryError {
    let time = product.time();
    let message = "date_bin counts days in UTC, not the city's; it takes a constant interval under a day".to_owned();
    let instead = match Unit::finest(product.grain()) {
        Unit::Week | Unit::Month => product.by_grain(),
        _ => format!("date_trunc('day', {time}), or 'week', 'month'"),
    };
    refused(RefusalCode::Grain, message, instead)
}

/// Bins whose edges are no window edges.
pub(super) fn bin_cuts(product: &Product) -> QueryError {
    let message = format!("these bins would cut the windows of {} of {}", product.grain(), product.id());
    refused(RefusalCode::Grain, message, product.by_grain())
}

/// A bound that is not the same for every row.
pub(super) fn bound_not_constant(product: &Product) -> QueryError {
    let time = product.time();
    let message = format!("{time} of {} can be compared with constants only", product.id());
    let start = said(product.zone(), product.zone().start_of_local(product.contract.coverage.start));
    refused(RefusalCode::WindowCut, message, format!("{time} >= '{start}', or compare {}", product.by_grain()))
}

/// A constant that names no instant.
pub(super) fn no_instant(product: &Product, value: &ScalarValue) -> QueryError {
    let zone = product.zone();
    let message = format!(
        "{value} names no instant in {zone}: it is no time, finer than a microsecond, or a time that came twice or never as the clocks changed"
    );
    refused(
        RefusalCode::WindowCut,
        message,
        "a date, '2020-02-24', or a time with its offset, '2020-10-25T02:00:00+01:00'".to_owned(),
    )
}

/// A bound within a window.
pub(super) fn window_cut(product: &Product, op: Operator, at: UtcMicros) -> QueryError {
    let (time, zone, calendar) = (product.time(), product.zone(), &product.calendar);
    let message =
        format!("the bound {time} {op} '{}' cuts a window of {} of {}", said(zone, at), product.grain(), product.id());
    let (down, up) = (said(zone, calendar.align_down(at)), said(zone, calendar.align_up(at)));
    refused(RefusalCode::WindowCut, message, format!("{time} {op} '{down}' or {time} {op} '{up}'"))
}

/// A comparison that takes one instant of a window or leaves one out.
pub(super) fn instant_cut(product: &Product, op: Operator, at: UtcMicros) -> QueryError {
    let (time, zone, calendar) = (product.time(), product.zone(), &product.calendar);
    let message = format!(
        "{time} {op} '{}' cuts a single instant off a window of {} of {}",
        said(zone, at),
        product.grain(),
        product.id()
    );
    let window = calendar.window_of(at);
    let (start, end) = (said(zone, window.start), said(zone, window.end));
    let instead = match op {
        Operator::Lt | Operator::LtEq => {
            format!("{time} < '{start}', or {time} < '{end}' to take in the window that starts at {start}")
        }
        Operator::Gt | Operator::GtEq => {
            format!("{time} >= '{start}', or {time} >= '{end}' to leave out the window that starts at {start}")
        }
        Operator::NotEq | Operator::IsDistinctFrom => {
            format!("({time} < '{start}' OR {time} >= '{end}')")
        }
        _ => format!("{time} >= '{start}' AND {time} < '{end}'"),
    };
    refused(RefusalCode::InstantCut, message, instead)
}

/// A bound that was moved to a window edge, which is told.
pub(super) fn moved(product: &Product, op: Operator, at: UtcMicros, half_open: Operator, edge: UtcMicros) -> String {
    let (time, zone) = (product.time(), product.zone());
    format!(
        "{time} {op} '{}' cuts a window of {} of {}; answered for {time} {half_open} '{}'",
        said(zone, at),
        product.grain(),
        product.id(),
        said(zone, edge)
    )
}

/// BETWEEN on a time.
pub(super) fn between(product: &Product, negated: bool, low: UtcMicros, high: UtcMicros) -> QueryError {
    let (time, zone, calendar) = (product.time(), product.zone(), &product.calendar);
    let not = if negated { "NOT " } else { "" };
    let message = format!(
        "{not}BETWEEN takes the single instant '{}' in, and so cuts a window of {} of {}",
        said(zone, high),
        product.grain(),
        product.id()
    );
    let low = said(zone, calendar.align_down(low));
    let window = calendar.window_of(high);
    let (start, end) = (said(zone, window.start), said(zone, window.end));
    let instead = format!(
        "{not}({time} >= '{low}' AND {time} < '{end}'), or < '{start}' to leave out the window that starts at {start}"
    );
    refused(RefusalCode::InstantCut, message, instead)
}

/// An instant as the city writes it, so that it reads back as the same one.
fn said(zone: Zone, at: UtcMicros) -> String {
    let local = zone.to_local(at);
    if zone.start_of_day(local.date()) == at {
        return local.format("%Y-%m-%d").to_string();
    }
    let reads_back = zone.resolve(local) == Ok(at) && is_said_once(zone, at);
    match reads_back {
        true => local.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
        false => at.to_string(),
    }
}

/// Whether the clocks show this time once. No zone goes back by more than three hours.
fn is_said_once(zone: Zone, at: UtcMicros) -> bool {
    const STEP_US: i64 = 900_000_000;
    let local = zone.to_local(at);
    (1..=12).all(|step| zone.to_local(UtcMicros(at.0 + step * STEP_US)) != local)
}
