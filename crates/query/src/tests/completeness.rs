//! How complete answers say they are.

use std::sync::Arc;

use civicmesh_model::release::{Entry, MethodTag, RefusalReason, RefusedWindow, ShareBand};
use civicmesh_model::time::UtcMicros;

use super::fixture::{Node, Row, Table, World, contract, now, row};
use crate::completeness::ProductCompleteness;
use crate::engine::QueryOptions;
use crate::error::{QueryError, RefusalCode};
use crate::shelf::Standing;

const MARCH: &str = "grain: 1 day, start: 2020-03-01, end: 2020-04-01";
const SPEED: &[(&str, &str)] = &[("speed", "unit: mi/h, decimals: 2, min: 1, max: 80")];

/// Trips on the first ten days of March: 20 a day in Queens, 3 in the Bronx.
fn trips() -> Vec<Row> {
    let day = |day: u32| {
        let trip = move |trip: u32| {
            let borough = if trip < 20 { "Queens" } else { "Bronx" };
            row(&format!("2020-03-{day:02}T15:00:{trip:02}Z"), &[borough], &[Some(1_000)])
        };
        (0..23).map(trip)
    };
    (1..=10).flat_map(day).collect()
}

fn world() -> World {
    let taxi = contract("traffic.taxi", &["borough"], MARCH, SPEED, Some(10));
    World::new("America/New_York", vec![Table { contract: taxi, rows: trips() }])
}

async fn completeness(node: &Node, sql: &str) -> ProductCompleteness {
    let answer = node.answer(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    assert_eq!(answer.completeness.len(), 1, "{sql}");
    answer.completeness[0].clone()
}

#[tokio::test]
async fn what_is_touched_is_counted() {
    let node = world().node();
    // (question, windows expected, present, empty, cells, suppressed)
    for (sql, expected) in [
        ("SELECT count(*) FROM taxi", (31, 10, 21, 10, 10)),
        ("SELECT count(*) FROM taxi WHERE time < '2020-03-06'", (5, 5, 0, 5, 5)),
        ("SELECT count(*) FROM taxi WHERE time >= '2020-03-06' AND time < '2020-03-12'", (6, 5, 1, 5, 5)),
        ("SELECT count(*) FROM taxi WHERE borough = 'Queens'", (31, 10, 21, 10, 0)),
        ("SELECT count(*) FROM taxi WHERE borough <> 'Bronx' AND time < '2020-03-03'", (2, 2, 0, 2, 0)),
        ("SELECT count(*) FROM taxi WHERE extract(dow FROM time) = 0", (5, 2, 3, 2, 2)),
        ("SELECT count(*) FROM taxi WHERE time < '2020-03-02' OR time >= '2020-03-31'", (2, 1, 1, 1, 1)),
        // after an aggregate, a filter on the group is one on the window
        (
            "SELECT n FROM (SELECT date_trunc('day', time) AS day, count(*) AS n FROM taxi GROUP BY 1) WHERE day = '2020-03-04'",
            (1, 1, 0, 1, 1),
        ),
        // two scans of one product: what either touches
        (
            "SELECT (SELECT count(*) FROM taxi WHERE time < '2020-03-04') AS a, (SELECT count(*) FROM taxi WHERE time >= '2020-03-03' AND time < '2020-03-06' AND borough = 'Queens') AS b",
            (5, 5, 0, 5, 3),
        ),
        ("SELECT count(*) FROM taxi WHERE time < '2020-02-01'", (0, 0, 0, 0, 0)),
    ] {
        let found = completeness(&node, sql).await;
        let counts =
            (found.windows_expected, found.windows_present, found.windows_empty, found.cells, found.cells_suppressed);
        assert_eq!(counts, expected, "{sql}");
        assert_eq!(found.windows_missing, found.windows_empty, "{sql}");
        assert_eq!(found.exact, found.cells_suppressed == 0 && found.windows_empty == 0, "{sql}");
        assert_eq!(found.note.is_empty(), found.exact, "{sql}");
    }
    let found = completeness(&node, "SELECT count(*) FROM taxi WHERE time < '2020-03-02'").await;
    assert_eq!((found.suppressed_share, found.revision_max), (ShareBand::Under20, Some(0)));
    assert_eq!((found.method, found.contract_version.as_str()), (MethodTag::Threshold { k: 10 }, "1.0.0"));
    assert_eq!(found.note, "traffic.taxi: 1 of 2 cells suppressed (under 20 % of a window's observations)");
}

#[tokio::test]
async fn a_question_of_suppressed_cells_alone_has_no_answer() {
    let node = world().node();
    let sql = "SELECT count(*) FROM taxi WHERE borough = 'Bronx' AND time >= '2020-03-03' AND time < '2020-03-04'";
    let error = node.refusal(sql).await;
    assert!(matches!(&error, QueryError::AllSuppressed { products } if products.len() == 1), "{error:?}");
    // what nobody ever observed is no secret
    assert_eq!(node.rows("SELECT count(*) FROM taxi WHERE borough = 'Atlantis'").await, ["0"]);
}

#[tokio::test]
async fn a_gap_is_an_error_where_completeness_is_required() {
    let node = world().node();
    let complete = QueryOptions { require_complete: true, ..QueryOptions::default() };
    let ask = async |sql| node.asker.ask(&node.shelf, sql, now(), &complete).await;
    assert!(ask("SELECT count(*) FROM taxi WHERE borough = 'Queens' AND time < '2020-03-11'").await.is_ok());
    let error = ask("SELECT count(*) FROM taxi").await.unwrap_err();
    let QueryError::Incomplete { gaps } = error else { panic!("{error:?}") };
    assert_eq!(
        gaps,
        [
            "traffic.taxi: 21 of 31 windows without any observation",
            "traffic.taxi: 10 of 20 cells suppressed (under 20 % of a window's observations)",
        ]
    );
}

#[tokio::test]
async fn age_and_coverage_are_errors_where_they_fall_short_of_what_is_demanded() {
    let mut world = world();
    let standing = &mut world.listed.standings[0];
    (standing.own, standing.head_confirmed_at) = (false, Some(UtcMicros(now().0 - 5_000_000)));
    let node = world.node();
    let ask = async |options| node.asker.ask(&node.shelf, "SELECT count(*) FROM taxi", now(), &options).await;
    let aged = |staleness_us_max| QueryOptions { staleness_us_max: Some(staleness_us_max), ..QueryOptions::default() };
    assert!(ask(aged(5_000_000)).await.is_ok());
    let error = ask(aged(4_999_999)).await.unwrap_err();
    let QueryError::Stale { stale } = error else { panic!("{error:?}") };
    assert!(stale[0].starts_with("traffic.taxi: traffic confirmed its newest release 5 s ago"), "{stale:?}");
    // 10 of March's 31 days are here
    let covered = |share| QueryOptions { coverage_min: Some(share), ..QueryOptions::default() };
    assert!(ask(covered(10.0 / 31.0)).await.is_ok());
    let error = ask(covered(0.33)).await.unwrap_err();
    let QueryError::Uncovered { uncovered } = error else { panic!("{error:?}") };
    assert!(uncovered[0].starts_with("traffic.taxi: 10 of 31 expected windows are here (32.3 %)"), "{uncovered:?}");
}

#[tokio::test]
async fn completeness_is_a_table_that_can_be_asked() {
    let mut world = world();
    world.listed.standings.push(Standing {
        product: "health.emergency".parse().unwrap(),
        contract: None,
        granted: false,
        own: false,
        ..world.listed.standings[0].clone()
    });
    let node = world.node();
    let sql = "SELECT product, granted, windows_expected, windows_missing, cells_suppressed, suppressed_share, exact \
        FROM civicmesh.completeness ORDER BY product";
    assert_eq!(
        node.rows(sql).await,
        ["health.emergency|false|NULL|NULL|NULL|NULL|NULL", "traffic.taxi|true|31|21|10|under 20 %|false"]
    );
    // beside a question about the product itself, and twice
    let sql = "SELECT (SELECT count(*) FROM taxi WHERE time < '2020-03-02') AS trips, count(*) AS gaps \
        FROM civicmesh.completeness AS a JOIN civicmesh.completeness AS b USING (product) WHERE NOT a.exact GROUP BY 1";
    assert_eq!(node.rows(sql).await, ["20|1"]);
    assert!(matches!(node.refusal("SELECT * FROM civicmesh.other").await, QueryError::UnknownTable { .. }));
}

#[tokio::test]
async fn windows_that_are_not_here_are_told_by_kind() {
    let mut world = world();
    // the log ends after the 12th; the 5th was refused; the 1st is past its retention
    let at = |text: &str| -> UtcMicros { text.parse().unwrap() };
    let end = at("2020-03-13T04:00:00Z");
    world.listed.entries.retain(|entry| entry.window().start >= at("2020-03-02T05:00:00Z"));
    for entry in &mut world.listed.entries {
        let window = entry.window();
        if window.contains(at("2020-03-05T12:00:00Z")) {
            *entry = Entry::Refusal(RefusedWindow {
                product: entry.product().clone(),
                window,
                revision: 0,
                contract: entry.contract(),
                closed_through: window.end,
                reason: RefusalReason::TooManyCells,
                salt: [0; 32],
            });
        }
        if let Entry::Empty(run) = entry {
            (run.end, run.windows, run.zero) = (end, 2, true);
        }
    }
    let standing = &mut world.listed.standings[0];
    standing.closed_through = Some(end);
    standing.expired_through = Some(at("2020-03-02T05:00:00Z"));
    standing.head_confirmed_at = Some(UtcMicros(now().0 - 5_000_000));
    let node = world.node();
    let found = completeness(&node, "SELECT count(*) FROM taxi WHERE borough = 'Queens'").await;
    assert_eq!((found.windows_expected, found.windows_present, found.windows_refused), (31, 8, 1));
    assert_eq!((found.windows_empty, found.windows_missing), (2, 0));
    assert_eq!((found.windows_open, found.windows_expired), (19, 1));
    assert_eq!(found.head_age_us, Some(5_000_000));
    assert!(!found.exact);
    // asked before its end, a product is expected until then
    let early = at("2020-03-20T12:00:00Z");
    let asked = node.asker.ask(&node.shelf, "SELECT count(*) FROM taxi", early, &QueryOptions::default()).await;
    assert_eq!(asked.unwrap().completeness[0].windows_expected, 19);
}

/// A product that goes on is expected until it is closed, or until the question's own bound.
#[tokio::test]
async fn products_that_go_on() {
    let taxi = contract("traffic.taxi", &["borough"], "grain: 1 day, start: 2020-03-01", SPEED, Some(10));
    let node = World::new("America/New_York", vec![Table { contract: taxi, rows: trips() }]).node();
    let found = completeness(&node, "SELECT count(*) FROM taxi").await;
    assert_eq!((found.windows_expected, found.windows_open), (10, 0));
    let found = completeness(&node, "SELECT count(*) FROM taxi WHERE time < '2020-03-15'").await;
    assert_eq!((found.windows_expected, found.windows_open), (14, 4));
    // nobody expects what is still to come
    let found =
        completeness(&node, "SELECT count(*) FROM taxi WHERE time >= '2026-11-20' AND time < '2027-01-01'").await;
    assert_eq!((found.windows_expected, found.windows_open), (4, 4));
}

/// Releases of an earlier contract are read by name; what it did not publish is no silent zero.
#[tokio::test]
async fn contracts_that_grew() {
    let measures: &[(&str, &str)] = &[("visits", "unit: \"1\", publish: [count, sum]")];
    let old = contract("health.emergency", &["borough"], MARCH, measures, None);
    let grown: &[(&str, &str)] =
        &[("staff", "unit: \"1\""), ("visits", "unit: \"1\", publish: [count, sum, sum_squares, max]")];
    let new = contract("health.emergency", &["borough"], MARCH, grown, None);
    let early = (1..=3).map(|day| row(&format!("2020-03-{day:02}T15:00:00Z"), &["Bronx"], &[Some(day)]));
    let late = (4..=6).map(|day| row(&format!("2020-03-{day:02}T15:00:00Z"), &["Bronx"], &[Some(9), Some(day)]));
    let mut world = World::new("America/New_York", vec![Table { contract: old.clone(), rows: early.collect() }]);
    let newer = World::new("America/New_York", vec![Table { contract: new.clone(), rows: late.collect() }]);
    let fourth: UtcMicros = "2020-03-04T05:00:00Z".parse().unwrap();
    world.listed.entries.retain(|entry| entry.window().start < fourth);
    world.listed.entries.extend(newer.listed.entries.into_iter().filter(|entry| entry.window().start >= fourth));
    world.listed.contracts.push(new.clone());
    world.listed.standings[0].contract = Some(Arc::clone(&new));
    let node = world.node();
    assert_eq!(node.rows("SELECT count(*), sum(visits) FROM health.emergency").await, ["6|21"]);
    let since = "SELECT sum(staff), max(visits) FROM health.emergency WHERE time >= '2020-03-04'";
    assert_eq!(node.rows(since).await, ["27|6"]);
    for sql in ["SELECT max(visits) FROM health.emergency", "SELECT count(staff) FROM health.emergency"] {
        let error = node.refusal(sql).await;
        assert!(matches!(error, QueryError::Refused { code: RefusalCode::Statistic, .. }), "{sql}\n{error:?}");
    }
}

#[tokio::test]
async fn an_owner_that_was_found_out_is_a_gap() {
    let mut world = world();
    world.listed.standings[0].found_out = true;
    let node = world.node();
    let found = completeness(&node, "SELECT count(*) FROM taxi WHERE time < '2020-03-02'").await;
    assert!(found.found_out && !found.exact);
    assert!(found.note.contains("traffic was found out"), "{}", found.note);
}

#[tokio::test]
async fn a_contract_that_cannot_be_read_costs_its_own_product() {
    let mut world = world();
    let newer = Standing {
        product: "health.emergency".parse().unwrap(),
        contract: None,
        own: false,
        ..world.listed.standings[0].clone()
    };
    world.listed.standings.push(newer);
    let node = world.node();
    assert!(!node.rows("SELECT count(*) FROM taxi").await.is_empty());
    let error = node.refusal("SELECT count(*) FROM health.emergency").await;
    assert!(error.to_string().contains("contract of health.emergency cannot be read"), "{error}");
}
