//! What a department and the checkers see of a node that runs.

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use civicmesh_exchange::link::Clock;
use civicmesh_model::names::{DatasetName, ProductId};
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_node::door::Door;
use civicmesh_query::QueryOptions;

use super::host::Host;
use crate::check::conservation::{self, Late};
use crate::check::retention::{self, Keeper};
use crate::check::{Held, bounds, honesty};
use crate::city::WEIGHT;
use crate::outcome::{Freshness, QuestionOutcome};

/// Bytes of entries that are looked at in one go.
const LOOK_BYTES: usize = 4 << 20;
const MICROS_PER_SECOND: i64 = 1_000_000;
/// Rows that an hour must have for some of them to come in it: others come late.
const ROWS_SURE: u64 = 10;

/// Asks about the product of one department, and looks whether the answer is honest.
#[allow(clippy::disallowed_methods)] // how long an answer takes is real time
pub async fn ask(host: &Host, door: &Door, place: usize) {
    let department = &host.city.departments[place];
    let table = department.table();
    let weighed = department.real.is_none();
    let measure = if weighed { WEIGHT } else { department.measure.as_str() };
    let sql = format!("SELECT count(*) AS n, sum({measure}) AS w FROM {table}");
    let product: ProductId = table.parse().expect("a department's product has a name");
    let before = Held::of(door.ledger(), &product);
    let begun = Instant::now();
    let answered = door.query(&sql, &QueryOptions::default()).await;
    let latency_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let after = Held::of(door.ledger(), &product);
    let mut outcome = QuestionOutcome {
        at: host.at(),
        domain: host.domain().to_owned(),
        product: table,
        sql,
        latency_us,
        ..Default::default()
    };
    match answered {
        Err(refused) => outcome.error = Some(refused.code),
        Ok(answer) => {
            let claimed = answer.completeness.iter().find(|found| found.product == product);
            outcome.rows = answer.batches.iter().map(|batch| batch.num_rows() as u64).sum();
            outcome.windows_missing =
                claimed.map_or(0, |claimed| claimed.windows_missing + claimed.windows_open + claimed.windows_refused);
            outcome.complete = claimed.is_some_and(|claimed| claimed.exact && outcome.windows_missing == 0);
            let rows = figure(&answer.batches, 0).map_or(0, |rows| u64::try_from(rows).unwrap_or(0));
            let weight = if weighed { figure(&answer.batches, 1).unwrap_or(0) } else { 0 };
            match (claimed, before, after) {
                (Some(claimed), Ok(before), Ok(after)) if before == after => {
                    let owner = &department.domain;
                    let heard = host.wires.last(owner, host.domain()).map(|second| {
                        let truth = host.city.start.0 + second as i64 * MICROS_PER_SECOND;
                        truth + host.machine.clock.skew_us_most()
                    });
                    let heard = heard.map(|at| at + host.slack_us);
                    host.journal.looked("honesty", 1);
                    if let Some(wrong) = honesty::check(claimed, (rows, weight), &after, heard) {
                        host.journal.find("honesty", host.at(), format!("{}: {wrong}", host.domain()));
                    }
                }
                // it went on meanwhile: nothing to compare
                (Some(_), Ok(_), Ok(_)) => {}
                (None, _, _) => {
                    let said = format!("{}: an answer about {product} says nothing of it", host.domain());
                    host.journal.find("honesty", host.at(), said);
                }
                (_, Err(error), _) | (_, _, Err(error)) => {
                    host.journal.find("running", host.at(), format!("{}: {error}", host.domain()));
                }
            }
        }
    }
    let said = match &outcome.error {
        Some(code) => format!("asked about {product}: {code}"),
        None => format!("asked about {product}: {}", told(outcome.complete, outcome.windows_missing)),
    };
    host.journal.note(host.at(), host.domain(), &said);
    host.journal.open().questions.push(outcome);
}

fn told(complete: bool, missing: u64) -> String {
    if complete { "complete".to_owned() } else { format!("incomplete, {missing} windows lacking") }
}

/// The number in the first row of a column; none for NULL.
fn figure(batches: &[RecordBatch], column: usize) -> Option<i128> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
    array_value_to_string(batch.column(column), 0).ok()?.parse().ok()
}

/// How fresh everything is at a node, and whether it keeps its bounds.
pub fn sample(host: &Host, door: &Door) {
    host.journal.looked("bounds", 1);
    if let Some(wrong) = bounds::check(door.places()) {
        host.journal.find("bounds", host.at(), format!("{}: {wrong}", host.domain()));
    }
    let (at, now) = (host.at(), host.machine.clock.now());
    for department in &host.city.departments {
        let table = department.table();
        let Ok(product) = table.parse::<ProductId>() else { continue };
        let log = door.ledger().log(&product).ok().flatten();
        let age = log.map(|log| (now.0 - log.closed_through.0) / MICROS_PER_SECOND);
        host.journal.open().freshness.push(Freshness { at, domain: host.domain().to_owned(), product: table, age });
    }
}

/// Notes which owners' last windows have come.
pub fn arrived(host: &Host, door: &Door) {
    let at = host.at();
    host.lacking().retain(|place| {
        let owner = &host.city.departments[*place];
        let product: ProductId = owner.table().parse().expect("a department's product has a name");
        let log = door.ledger().log(&product).ok().flatten();
        let has = log.is_some_and(|log| log.closed_through >= host.city.hour_start(owner.last_hour(&host.city)));
        if has {
            host.journal.open().arrived.insert((*place, host.place), at);
        }
        !has
    });
}

/// Looks at every entry of every log that a node has.
pub fn look(host: &Host, door: &Door) {
    for department in &host.city.departments {
        let table = department.table();
        let Ok(product) = table.parse::<ProductId>() else { continue };
        if let Err(wrong) = look_at(host, door, &product) {
            host.journal.find(wrong.0, host.at(), wrong.1);
        }
    }
    look_at_days(host, door);
}

/// Looks at the days of which a drawn department's node has raw rows.
fn look_at_days(host: &Host, door: &Door) {
    let department = &host.city.departments[host.place];
    // a full disk takes no deletion either
    if department.real.is_some() || host.machine.vault.pending() > 0 {
        return;
    }
    let dataset: DatasetName = department.dataset.parse().expect("a drawn name is a name");
    let (kept, dropped) = match door.kept(&dataset) {
        Ok(kept) => kept,
        Err(error) => return host.journal.find("retention", host.at(), format!("{}: {error}", host.domain())),
    };
    let clock = &host.machine.clock;
    let node = Keeper {
        raw: Span::days(host.city.plan.raw_days),
        grace: host.retention_grace,
        now: clock.now(),
        now_most: UtcMicros(clock.truth().0.saturating_add(clock.skew_us_most())),
        steady: clock.truth().since(host.steady_since()),
    };
    let has_rows = |day: &u32| (0..24).any(|hour| host.city.rows_of_hour(department, day * 24 + hour) >= ROWS_SURE);
    let fed: Vec<UtcMicros> =
        (0..host.taken() as u32 / 24).filter(has_rows).map(|day| host.city.hour_start(day * 24 + 12)).collect();
    host.journal.looked("retention", kept.len() as u64);
    host.journal.node(host.domain(), |node| node.rows_dropped = dropped);
    if let Some(wrong) = retention::check(&kept, &fed, node) {
        host.journal.find("retention", host.at(), format!("{}: {wrong}", host.domain()));
    }
}

/// Weighs the own product against the truth.
pub fn weigh(host: &Host, door: &Door) {
    let department = &host.city.departments[host.place];
    if department.real.is_some() {
        return;
    }
    let late = match host.journal.open().late_by_fault.contains_key(host.domain()) {
        true => Late::Held,
        false => Late::AsDrawn,
    };
    let held = Held::of(door.ledger(), &department.table().parse().expect("a department's product has a name"));
    host.journal.looked("conservation", held.map_or(0, |held| held.released + held.empty + held.refused));
    let wrong = conservation::check(&host.city, department, door.ledger(), late);
    for said in wrong.unwrap_or_else(|error| vec![error.to_string()]) {
        host.journal.find("conservation", host.at(), said);
    }
}

fn look_at(host: &Host, door: &Door, product: &ProductId) -> Result<(), (&'static str, String)> {
    let unreadable = |error| ("immutability", format!("{product} at {}: {error}", host.domain()));
    let ledger = door.ledger();
    let Some(log) = ledger.log(product).map_err(unreadable)? else { return Ok(()) };
    let mut from = 0;
    while from < log.head.head.size {
        let entries = ledger.entries(product, from, LOOK_BYTES).map_err(unreadable)?;
        let bytes: Vec<Vec<u8>> = entries.into_iter().map(|(_, bytes)| bytes).collect();
        host.journal.looked("immutability", bytes.len() as u64);
        let mut written = host.journal.open();
        if let Some(wrong) = written.seen.look(&product.to_string(), host.domain(), from, &bytes) {
            return Err(("immutability", wrong));
        }
        from += bytes.len() as u64;
    }
    let key = (product.to_string(), host.domain().to_owned());
    let now = (log.head.head.size, log.head.head.root.0, log.closed_through.0);
    let mut written = host.journal.open();
    let before = written.logs.insert(key, now);
    match before.filter(|before| before.0 > now.0) {
        Some((size, ..)) => {
            Err(("immutability", format!("{} had {size} entries of {product}, and has {}", host.domain(), now.0)))
        }
        None => Ok(()),
    }
}
