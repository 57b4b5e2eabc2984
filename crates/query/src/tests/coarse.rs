//! Which questions have their cells merged while they are read: where it is missed, a year of minutes takes seconds.

use std::sync::Arc;

use super::answers::new_york;
use super::fixture::{Row, Table, World, contract, counting, lines, now, row};
use crate::asking::Asker;
use crate::engine::{Answer, QueryOptions};
use crate::limits::Limits;
use crate::shelf::{Listed, Shelf};

/// A product of 40 hours and two streets, asked with room for what is read of so many cells.
async fn is_merged(sql: &str) -> bool {
    let hours = counting(
        "traffic.flow",
        &["street", "kind"],
        "grain: 1 hour, start: 2020-03-01",
        &[("cars", "unit: \"1\", publish: [count, sum, sum_squares, min, max, quantiles]")],
        &["driver"],
        None,
    );
    let streets = |hour: i64| {
        let at = format!("2020-03-0{}T{:02}:30:00Z", 1 + hour / 24, hour % 24);
        (0..50).map(move |street| Row {
            distinct: vec![Some(format!("driver {}", hour * street))],
            ..row(&at, &[&format!("street {street}"), "all"], &[Some(hour + street)])
        })
    };
    let rows = (6..46).flat_map(streets).collect();
    let world = World::new("America/New_York", vec![Table { contract: hours, rows }]);
    let limits = Limits { memory_bytes_max: 200_000, ..Limits::default() };
    let asker = Asker::new(world.city(), limits).unwrap();
    let shelf = Shelf::Listed(Arc::new(world.listed));
    let answer = asker.ask(&shelf, sql, now(), &QueryOptions::default()).await;
    match answer {
        Ok(_) => true,
        Err(crate::error::QueryError::TooLarge { .. }) => false,
        Err(error) => panic!("{sql}\n{error:?}"),
    }
}

/// A function may fail of a window that the question leaves out.
#[tokio::test]
async fn what_is_filtered_out_is_not_computed() {
    for sql in [
        "SELECT 60 / extract(hour FROM time) AS share, count(*) FROM flow WHERE extract(hour FROM time) > 0 GROUP BY 1",
        "SELECT 60 / extract(hour FROM time) AS share, count(*) FROM flow \
         WHERE time >= '2020-03-01 01:00:00' AND time < '2020-03-02' GROUP BY 1",
        "SELECT 60 / extract(hour FROM time) AS share, count(*) FROM flow WHERE kind = 'none' GROUP BY 1",
    ] {
        assert!(is_merged(sql).await, "{sql}");
    }
}

#[tokio::test]
async fn what_no_function_tells_apart_is_merged() {
    for sql in [
        "SELECT date_trunc('day', time), kind, avg(cars), count(*) FROM flow GROUP BY 1, 2 ORDER BY 1",
        "SELECT kind, stddev(cars) FROM flow WHERE time >= '2020-03-02' AND street <> 'street 7' GROUP BY 1",
        "SELECT sum(CASE WHEN extract(hour FROM time) < 8 AND kind = 'all' THEN 1 ELSE 0 END) FROM flow",
        "WITH days AS (SELECT date_trunc('day', time) AS day, kind, max(cars) AS most FROM flow GROUP BY 1, 2) \
         SELECT day, sum(most) FROM days WHERE day >= '2020-03-01' GROUP BY 1",
        "SELECT a.kind, a.n, b.n FROM (SELECT kind, count(*) AS n FROM flow GROUP BY 1) AS a \
         JOIN (SELECT kind, count(cars) AS n FROM flow GROUP BY 1) AS b ON a.kind = b.kind",
        "SELECT (SELECT avg(cars) FROM flow WHERE street = 'street 1') AS a, \
                (SELECT avg(cars) FROM flow WHERE time < '2020-03-02') AS b",
        "SELECT date_trunc('day', time), median(cars), approx_distinct(driver), sum(cars) FROM flow GROUP BY 1",
        "SELECT kind, approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY cars), error_bound(approx_distinct(driver)) \
         FROM flow WHERE street <> 'street 3' GROUP BY 1",
    ] {
        assert!(is_merged(sql).await, "{sql}");
    }
    // what is asked for by the hour and street is not fewer
    let sql = "SELECT date_trunc('hour', time), street, avg(cars) FROM flow GROUP BY 1, 2";
    assert!(!is_merged(sql).await, "{sql}");
}

/// Filters that every merged cell was read under, and groups of one merged cell each, are not computed again.
#[tokio::test]
async fn what_reading_has_settled_is_not_computed_again() {
    let node = new_york().node();
    let keys = "date_trunc('day', time), borough";
    for (sql, filters, aggregates) in [
        (format!("SELECT {keys}, avg(speed), count(*), stddev(speed) FROM taxi GROUP BY 1, 2"), false, false),
        (format!("SELECT {keys}, sum(speed) FROM taxi WHERE time >= '2020-03-05' GROUP BY 1, 2"), false, false),
        // one value of what tells cells apart is as good as a group
        (
            "SELECT date_trunc('week', time), count(*) FROM taxi WHERE borough = 'Bronx' GROUP BY 1".to_owned(),
            false,
            false,
        ),
        (
            "SELECT count(*) AS n, borough AS b FROM taxi WHERE borough <> 'Bronx' GROUP BY borough".to_owned(),
            false,
            false,
        ),
        // another function of time may tell several cells apart within a group
        (
            "SELECT borough, sum(CASE WHEN extract(dow FROM time) = 1 THEN 1 END) FROM taxi GROUP BY 1".to_owned(),
            false,
            true,
        ),
        (format!("SELECT {keys}, avg(speed) FILTER (WHERE borough = 'Bronx') FROM taxi GROUP BY 1, 2"), false, true),
        ("SELECT borough, count(*) FROM taxi GROUP BY ROLLUP (borough)".to_owned(), false, true),
        ("SELECT count(*) FROM taxi WHERE borough = 'Bronx'".to_owned(), false, true),
        (
            "SELECT date_trunc('day', time), count(*) FROM taxi WHERE borough IN ('Bronx', 'Queens') GROUP BY 1"
                .to_owned(),
            false,
            true,
        ),
        // filters of what is grouped, and of what no cell says alone, stay
        (format!("SELECT {keys}, count(*) AS n FROM taxi GROUP BY 1, 2 HAVING count(*) > 1"), true, false),
    ] {
        let plan = node.rows(&format!("EXPLAIN {sql}")).await.join("\n");
        let has = |operator: &str| plan.contains(operator);
        assert_eq!((has("FilterExec"), has("AggregateExec")), (filters, aggregates), "{sql}\n{plan}");
    }
}

/// Zeros of both signs are one group.
#[tokio::test]
async fn zeros_of_both_signs_are_not_told_apart() {
    let node = new_york().node();
    let zero = "round((extract(dow FROM time) - 3) / 10.0)";
    for (sql, expected) in [
        (format!("SELECT count(*) FROM (SELECT {zero} AS z FROM taxi GROUP BY 1) AS zeros"), vec!["1"]),
        (format!("SELECT count(*) FROM (SELECT DISTINCT {zero} AS z FROM taxi) AS zeros"), vec!["1"]),
        (
            format!(
                "SELECT max(rows) FROM (SELECT borough, count(*) OVER (PARTITION BY borough) AS rows FROM taxi \
                 WHERE {zero} = 0 GROUP BY borough, {zero}) AS groups"
            ),
            vec!["1"],
        ),
    ] {
        assert_eq!(node.rows(&sql).await, expected, "{sql}");
    }
}

/// What was merged for one question is taken for another one of its kind alone, and gives what reading anew would.
#[tokio::test]
async fn segments_that_were_merged_for_a_question_are_merged_for_the_next() {
    let world = || {
        let hours = contract(
            "traffic.flow",
            &["street", "kind"],
            "grain: 1 hour, start: 2020-03-01",
            &[("cars", "unit: \"1\"")],
            None,
        );
        let streets = |hour: i64| {
            let at = format!("2020-03-0{}T{:02}:30:00Z", 1 + hour / 24, hour % 24);
            let of = move |row: i64| {
                let street = format!("street {}", row % 3);
                self::row(&at, &[&street, "all"], &[(row != 4).then_some(hour * row - 20)])
            };
            (0..(4 + hour % 5)).map(of)
        };
        let rows = (6..46).flat_map(streets).collect();
        World::new("America/New_York", vec![Table { contract: hours, rows }])
    };
    let merged = |mut listed: Listed| {
        listed.merged = true;
        Shelf::Listed(Arc::new(listed))
    };
    let node = Asker::new(world().city(), Limits::default()).unwrap();
    let shelf = merged(world().listed);
    let mut kinds = 0;
    for (sql, is_kind) in [
        (
            "SELECT date_trunc('day', time), avg(cars), count(*), min(cars), max(cars), stddev(cars) FROM flow GROUP BY 1 ORDER BY 1",
            true,
        ),
        ("SELECT date_trunc('day', time), street, avg(cars), count(*) FROM flow GROUP BY 1, 2 ORDER BY 1, 2", true),
        ("SELECT count(*), count(DISTINCT street) FROM flow WHERE street <> 'street 1'", true),
        ("SELECT count(*), count(DISTINCT street) FROM flow WHERE street <> 'street 2'", true),
        ("SELECT sum(cars) FROM flow WHERE time >= '2020-03-01'", true),
        // whatever the bounds are that the whole segment lies within
        ("SELECT sum(cars) FROM flow WHERE time < '2021-01-01'", false),
        ("SELECT sum(cars) FROM flow WHERE time >= '2020-03-01 12:00:00'", false),
        ("SELECT sum(cars) FROM flow WHERE extract(hour FROM time) < 7", false),
    ] {
        let fresh = Asker::new(world().city(), Limits::default()).unwrap();
        let told = |answer: Answer| (lines(&answer.batches), answer.completeness);
        let expected = told(fresh.ask(&shelf, sql, now(), &QueryOptions::default()).await.unwrap());
        let entries = Shelf::Listed(Arc::new(world().listed));
        let one_by_one = told(fresh.ask(&entries, sql, now(), &QueryOptions::default()).await.unwrap());
        assert_eq!(one_by_one, expected, "{sql}");
        for _ in 0..2 {
            let answer = node.ask(&shelf, sql, now(), &QueryOptions::default()).await.unwrap();
            assert_eq!(told(answer), expected, "{sql}");
        }
        kinds += usize::from(is_kind);
        assert_eq!(node.merged().count().0, kinds, "{sql}");
    }
    assert!(node.merged().count().1 > 0);
}
