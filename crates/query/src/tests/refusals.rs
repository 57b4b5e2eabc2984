//! What is refused, and that each refusal names its reason.

use super::fixture::{Table, World, contract, row};
use crate::error::{QueryError, RefusalCode};

fn world() -> World {
    let taxi = contract(
        "traffic.taxi",
        &["borough"],
        "grain: 1 day, start: 2020-03-01, end: 2020-04-01",
        &[("speed", "unit: mi/h, decimals: 2, min: 1, max: 80")],
        Some(10),
    );
    let garage = contract(
        "parking.garage",
        &["garage"],
        "grain: 15 minutes, start: 2020-03-01",
        &[("cars", "unit: \"1\", gauge: true, publish: [count, sum]"), ("fee", "unit: \"1\", publish: [count]")],
        None,
    );
    let weekly = contract("city.weekly", &[], "grain: 1 week, start: 2020-03-02", &[("visits", "unit: \"1\"")], None);
    let trips = (0..20).map(|trip| row("2020-03-02T15:00:00Z", &["Queens"], &[Some(1_000 + trip)])).collect();
    World::new(
        "America/New_York",
        vec![
            Table { contract: taxi, rows: trips },
            Table { contract: garage, rows: vec![row("2020-03-02T15:01:00Z", &["A"], &[Some(7), Some(1)])] },
            Table { contract: weekly, rows: vec![row("2020-03-02T15:01:00Z", &[], &[Some(7)])] },
        ],
    )
}

#[tokio::test]
async fn refusals_say_what_to_ask_instead() {
    use RefusalCode::{
        Function, Gauge, Grain, InstantCut, Join, MeasureExpression, MeasureFilter, RawRows, ReadOnly, Statistic,
        WindowCut,
    };
    let node = world().node();
    let questions: &[(&str, RefusalCode, &str)] = &[
        ("SELECT * FROM taxi", RawRows, "GROUP BY"),
        ("SELECT borough FROM taxi", RawRows, "GROUP BY"),
        ("SELECT speed FROM taxi LIMIT 5", RawRows, "GROUP BY"),
        ("SELECT borough FROM taxi ORDER BY borough", RawRows, "GROUP BY"),
        ("SELECT rank() OVER (ORDER BY speed) FROM taxi", RawRows, "GROUP BY"),
        ("SELECT row_number() OVER () FROM taxi", RawRows, "GROUP BY"),
        ("SELECT avg(x) FROM (SELECT speed AS x FROM taxi LIMIT 100)", RawRows, "GROUP BY"),
        ("SELECT avg(speed) FROM (SELECT speed FROM taxi UNION ALL SELECT cars FROM parking.garage)", Join, "WITH"),
        ("SELECT avg(t.speed) FROM taxi t JOIN parking.garage g ON t.borough = g.garage", Join, "WITH"),
        ("SELECT avg(speed * 2) FROM taxi", MeasureExpression, "avg(speed)"),
        ("SELECT avg(CAST(speed AS DOUBLE)) FROM taxi", MeasureExpression, "avg(speed)"),
        ("SELECT sum(CASE WHEN borough = 'Queens' THEN speed END) FROM taxi", MeasureExpression, "FILTER"),
        ("SELECT avg(x) FROM (SELECT speed + 1 AS x FROM taxi)", MeasureFilter, "avg(speed)"),
        ("SELECT count(*) FROM taxi WHERE speed > 10", MeasureFilter, "avg(speed)"),
        ("SELECT count(*) FROM taxi WHERE speed IS NOT NULL", MeasureFilter, "avg(speed)"),
        ("SELECT count(*) FILTER (WHERE speed > 10) FROM taxi", MeasureFilter, "avg(speed)"),
        ("SELECT speed, count(*) FROM taxi GROUP BY speed", MeasureFilter, "GROUP BY"),
        ("SELECT DISTINCT speed FROM taxi", MeasureFilter, "GROUP BY"),
        ("SELECT count(DISTINCT speed) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT max(speed) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT min(speed) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT sum(fee) FROM parking.garage", Statistic, "count(fee)"),
        ("SELECT stddev(cars) FROM parking.garage", Statistic, "avg(cars)"),
        ("SELECT sum(cars) FROM parking.garage", Gauge, "avg(cars)"),
        ("SELECT median(speed) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT approx_percentile_cont(speed, 0.5) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY speed) FROM taxi", Statistic, "stddev(speed)"),
        ("SELECT approx_distinct(speed) FROM taxi", Statistic, "avg or stddev(speed)"),
        ("SELECT corr(speed, speed) FROM taxi", Function, "GROUP BY"),
        ("SELECT array_agg(borough) FROM taxi", Function, "GROUP BY"),
        ("SELECT sum(0.5) FROM taxi", Function, "count(*)"),
        ("SELECT count(*) FROM taxi WHERE random() < 0.5", Function, "GROUP BY"),
        ("SELECT time, count(*) FROM taxi GROUP BY time", Grain, "date_trunc('day', time)"),
        ("SELECT max(time) FROM taxi", Grain, "date_trunc('day', time)"),
        ("SELECT date_trunc('hour', time), count(*) FROM taxi GROUP BY 1", Grain, "date_trunc('day', time)"),
        ("SELECT extract(hour FROM time), count(*) FROM taxi GROUP BY 1", Grain, "date_trunc('day', time)"),
        ("SELECT extract(epoch FROM time), count(*) FROM taxi GROUP BY 1", Grain, "date_trunc('day', time)"),
        ("SELECT to_char(time, '%Y'), count(*) FROM taxi GROUP BY 1", Grain, "date_trunc('day', time)"),
        (
            "SELECT date_trunc('minute', time), count(*) FROM parking.garage GROUP BY 1",
            Grain,
            "date_bin(INTERVAL '15 minutes', time)",
        ),
        ("SELECT date_bin(INTERVAL '10 minutes', time), count(*) FROM parking.garage GROUP BY 1", Grain, "date_bin"),
        (
            "SELECT date_bin(INTERVAL '15 minutes', time, TIMESTAMP '2020-01-01 00:05:00'), count(*) FROM parking.garage GROUP BY 1",
            Grain,
            "date_bin",
        ),
        (
            "SELECT date_bin(INTERVAL '1 day', time), count(*) FROM parking.garage GROUP BY 1",
            Grain,
            "date_trunc('day', time)",
        ),
        (
            "SELECT date_bin(INTERVAL '1 month', time), count(*) FROM parking.garage GROUP BY 1",
            Grain,
            "date_trunc('day', time)",
        ),
        ("SELECT date_trunc('month', time), count(*) FROM city.weekly GROUP BY 1", Grain, "date_trunc('week', time)"),
        ("SELECT CAST(time AS DATE), count(*) FROM city.weekly GROUP BY 1", Grain, "date_trunc('week', time)"),
        (
            "SELECT date_trunc('day', time AT TIME ZONE 'UTC'), count(*) FROM taxi GROUP BY 1",
            Grain,
            "date_trunc('day', time)",
        ),
        (
            "SELECT count(*) FROM taxi WHERE time >= '2020-03-02 06:00'",
            WindowCut,
            "time >= '2020-03-02' or time >= '2020-03-03'",
        ),
        ("SELECT count(*) FROM taxi WHERE time < now() - INTERVAL '7 days'", WindowCut, "or time <"),
        (
            "SELECT count(*) FROM taxi WHERE time >= TIMESTAMPTZ '2020-03-02T00:00:00Z'",
            WindowCut,
            "time >= '2020-03-01' or time >= '2020-03-02'",
        ),
        ("SELECT count(*) FROM taxi WHERE time >= borough", WindowCut, "time >= '2020-03-01'"),
        ("SELECT count(*) FROM taxi WHERE time >= 'soon'", WindowCut, "a date"),
        ("SELECT count(*) FROM parking.garage WHERE time >= '2020-03-08 02:30'", WindowCut, "offset"),
        ("SELECT count(*) FROM taxi WHERE time < date_trunc('day', time)", WindowCut, "time >= '2020-03-01'"),
        (
            "SELECT count(*) FROM taxi WHERE time <= '2020-03-10'",
            InstantCut,
            "time < '2020-03-10', or time < '2020-03-11'",
        ),
        ("SELECT count(*) FROM taxi WHERE '2020-03-10' < time", InstantCut, "time >= '2020-03-10'"),
        (
            "SELECT count(*) FROM taxi WHERE time = '2020-03-10'",
            InstantCut,
            "time >= '2020-03-10' AND time < '2020-03-11'",
        ),
        (
            "SELECT count(*) FROM taxi WHERE time <> '2020-03-10'",
            InstantCut,
            "time < '2020-03-10' OR time >= '2020-03-11'",
        ),
        (
            "SELECT count(*) FROM taxi WHERE time BETWEEN '2020-03-02' AND '2020-03-09'",
            InstantCut,
            "time >= '2020-03-02' AND time < '2020-03-10'",
        ),
        (
            "SELECT count(*) FROM taxi WHERE time BETWEEN '2020-03-02' AND '2020-03-08 23:59:59'",
            InstantCut,
            "time < '2020-03-09'",
        ),
        ("SELECT count(*) FROM taxi WHERE time IN ('2020-03-02')", Grain, "time >="),
        ("SELECT count(*) FROM taxi WHERE EXISTS (SELECT 1 FROM parking.garage)", RawRows, "GROUP BY"),
        (
            "SELECT count(*) FROM taxi t WHERE EXISTS (SELECT 1 FROM (VALUES ('a')) AS v(x) WHERE v.x = t.borough)",
            RawRows,
            "GROUP BY",
        ),
        (
            "SELECT count(*) FROM taxi t, LATERAL (SELECT 1 FROM (VALUES (1)) AS v(x) WHERE v.x < t.speed)",
            RawRows,
            "GROUP BY",
        ),
        ("SELECT count(*) FROM taxi FULL JOIN (VALUES ('Bronx')) AS v(b) ON b = borough", Join, "FULL JOIN"),
        (
            "WITH RECURSIVE r AS (SELECT borough FROM taxi UNION ALL SELECT borough FROM r) SELECT count(*) FROM r",
            RawRows,
            "GROUP BY",
        ),
        ("CREATE TABLE x AS SELECT count(*) FROM taxi", ReadOnly, "SELECT"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", ReadOnly, "SELECT"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", ReadOnly, "SELECT"),
        ("INSERT INTO taxi VALUES (now(), 'Bronx', 1)", ReadOnly, "SELECT"),
        ("DELETE FROM taxi", ReadOnly, "SELECT"),
        ("SET datafusion.execution.time_zone = 'UTC'", ReadOnly, "SELECT"),
        ("EXPLAIN ANALYZE SELECT count(*) FROM taxi", ReadOnly, "SELECT"),
        ("EXPLAIN INSERT INTO taxi VALUES (now(), 'Bronx', 1)", ReadOnly, "SELECT"),
        ("SELECT 1 INTO x", ReadOnly, "SELECT"),
        ("PREPARE p AS SELECT 1", ReadOnly, "SELECT"),
        ("EXPLAIN SELECT max(speed) FROM taxi", Statistic, "avg or stddev(speed)"),
    ];
    for (sql, expected, hint) in questions {
        match node.refusal(sql).await {
            QueryError::Refused { code, message, instead } => {
                assert_eq!(code, *expected, "{sql}\n{message}\n{instead}");
                assert!(instead.contains(hint), "{sql}\n{message}\n{instead}");
            }
            error => panic!("{sql}\n{error:?}"),
        }
    }
}

/// Whatever a refusal proposes as a whole question can be asked.
#[tokio::test]
async fn proposed_questions_can_be_asked() {
    let node = world().node();
    for table in ["taxi", "parking.garage", "city.weekly"] {
        match node.refusal(&format!("SELECT * FROM {table}")).await {
            QueryError::Refused { instead, .. } => {
                assert!(!node.rows(&instead).await.is_empty(), "{instead}")
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn tables_that_cannot_be_asked() {
    let mut world = world();
    let mut secret = world.listed.standings[0].clone();
    secret.product = "health.admissions".parse().unwrap();
    secret.contract = None;
    secret.granted = false;
    world.listed.standings.push(secret);
    let node = world.node();
    let error = node.refusal("SELECT count(*) FROM health.admissions").await;
    assert!(matches!(&error, QueryError::NotGranted { owner, .. } if owner.as_str() == "health"), "{error:?}");
    assert!(error.to_string().contains("ask health to add it"), "{error}");
    for sql in
        ["SELECT count(*) FROM nothing", "SELECT count(*) FROM other.traffic.taxi", "SELECT * FROM '/etc/passwd'"]
    {
        let error = node.refusal(sql).await;
        assert!(matches!(&error, QueryError::UnknownTable { known, .. } if known.len() == 3), "{error:?}");
    }
    assert!(matches!(node.refusal("SELECT nothing FROM taxi GROUP BY 1").await, QueryError::Sql(_)));
    assert!(matches!(node.refusal("SELECT count(* FROM taxi").await, QueryError::Sql(_)));
    assert!(matches!(node.refusal("SELECT 1; SELECT 2").await, QueryError::Sql(_)));
    let dropped = "SELECT count(*) FROM taxi WHERE time < DATE '2020-03-02' + INTERVAL '12 hours'";
    assert!(matches!(node.refusal(dropped).await, QueryError::Sql(text) if text.contains("TIMESTAMP")));
}

/// Errors of execution never quote a value.
#[tokio::test]
async fn failures_are_told_by_kind() {
    let node = world().node();
    for (sql, kind) in [
        ("SELECT 1 / (count(*) - 20) FROM taxi", "division by zero"),
        ("SELECT CAST(max(borough) AS INT) FROM taxi", "cannot be cast"),
        ("SELECT sum(9223372036854775807) FROM taxi", "overflow"),
    ] {
        let error = node.refusal(sql).await.to_string();
        assert!(error.contains(kind) && !error.contains("Queens"), "{sql}\n{error}");
    }
}
