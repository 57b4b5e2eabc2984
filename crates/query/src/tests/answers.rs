//! What small questions give, written down.

use super::fixture::{Node, Table, World, contract, row};

/// New York: trips by borough (threshold), visits, riders, weather (open), all by day.
pub(super) fn new_york() -> World {
    let day = "grain: 1 day, start: 2020-03-01, end: 2020-04-01";
    let taxi =
        contract("traffic.taxi", &["borough"], day, &[("speed", "unit: mi/h, decimals: 2, min: 1, max: 80")], Some(10));
    let mut trips = Vec::new();
    // Manhattan has 12 trips a day, Queens 10 on even days and 3 on odd ones
    for day in 1..=31_i64 {
        for trip in 0..12_i64 {
            trips.push(row(
                &format!("2020-03-{day:02}T{:02}:15:00Z", 12 + trip / 2),
                &["Manhattan"],
                &[Some(1_000 + day * 10 + trip)],
            ));
        }
        for trip in 0..(if day % 2 == 0 { 10 } else { 3 }) {
            trips.push(row(&format!("2020-03-{day:02}T{:02}:45:00Z", 12 + trip), &["Queens"], &[Some(2_000 + day)]));
        }
    }
    let riders = contract("transit.ridership", &[], day, &[("subway_riders", "unit: \"1\"")], None);
    let visits = contract("health.emergency", &["borough"], day, &[("visits", "unit: \"1\"")], None);
    let weather = contract(
        "weather.daily",
        &[],
        day,
        &[("temp", "unit: Cel, decimals: 1, gauge: true, publish: [count, sum, min, max]")],
        None,
    );
    let days = || (1..=31_i64).map(|day| (day, format!("2020-03-{day:02}T17:00:00Z")));
    World::new(
        "America/New_York",
        vec![
            Table { contract: taxi, rows: trips },
            Table {
                contract: riders,
                rows: days().map(|(day, at)| row(&at, &[], &[Some(5_000_000 - day * 100_000)])).collect(),
            },
            Table {
                contract: visits,
                rows: days()
                    .flat_map(|(day, at)| {
                        [
                            row(&at, &["Bronx"], &[Some(day)]),
                            row(&at, &["Queens"], &[(day % 7 != 0).then_some(2 * day)]),
                        ]
                    })
                    .collect(),
            },
            Table { contract: weather, rows: days().map(|(day, at)| row(&at, &[], &[Some(day * 5 - 70)])).collect() },
        ],
    )
}

pub(super) async fn check(node: &Node, questions: &[(&str, &[&str])]) {
    let mut wrong = Vec::new();
    for (sql, expected) in questions {
        let rows = node.rows(sql).await;
        if rows != *expected {
            wrong.push(format!("{sql}\n  gave     {rows:?}\n  expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn aggregates_over_one_product() {
    let node = new_york().node();
    check(&node, &[
        ("SELECT count(*), count(speed), sum(speed), avg(speed) FROM taxi", &["522|522|7359.66|14.09896551724138"]),
        ("SELECT count(*) FROM traffic.taxi WHERE borough = 'Queens'", &["150"]),
        ("SELECT borough, count(*) AS trips FROM taxi GROUP BY borough ORDER BY trips DESC", &["Manhattan|372", "Queens|150"]),
        ("SELECT DISTINCT borough FROM taxi ORDER BY 1", &["Manhattan", "Queens"]),
        ("SELECT count(DISTINCT borough), min(borough), max(borough) FROM taxi", &["2|Manhattan|Queens"]),
        ("SELECT sum(1), sum(CASE WHEN borough = 'Queens' THEN 1 ELSE 0 END), avg(CASE WHEN borough = 'Queens' THEN 1 ELSE 0 END) FROM taxi", &["522|150|0.28735632183908044"]),
        ("SELECT count(speed) FILTER (WHERE borough = 'Queens'), count(*) FILTER (WHERE time < '2020-03-03') FROM taxi", &["150|34"]),
        ("SELECT count(visits), count(*), sum(visits) FROM health.emergency WHERE borough = 'Queens'", &["27|31|852"]),
        ("SELECT min(temp), max(temp), avg(temp) FROM weather.daily", &["-6.5|8.5|1.0"]),
        ("SELECT sum(visits), count(*) FROM health.emergency WHERE borough = 'nowhere'", &["NULL|0"]),
        ("SELECT time, avg FROM (SELECT date_trunc('day', time) AS time, avg(speed) AS avg FROM taxi GROUP BY 1) WHERE time = '2020-03-02'", &["2020-03-02T00:00:00-05:00|14.693636363636363"]),
    ]).await;
}

#[tokio::test]
async fn groups_of_time_follow_the_citys_calendar() {
    let node = new_york().node();
    check(&node, &[
        // clocks went forward on 8 March
        ("SELECT date_trunc('week', time) AS week, count(*) FROM health.emergency GROUP BY 1 ORDER BY 1",
         &["2020-02-24T00:00:00-05:00|2", "2020-03-02T00:00:00-05:00|14", "2020-03-09T00:00:00-04:00|14", "2020-03-16T00:00:00-04:00|14", "2020-03-23T00:00:00-04:00|14", "2020-03-30T00:00:00-04:00|4"]),
        ("SELECT CAST(time AS DATE) AS day, sum(visits) FROM health.emergency WHERE time >= DATE '2020-03-08' AND time < DATE '2020-03-10' GROUP BY 1 ORDER BY 1", &["2020-03-08|24", "2020-03-09|27"]),
        ("SELECT extract(dow FROM time) AS dow, count(*) FROM transit.ridership GROUP BY 1 ORDER BY 1", &["0|5", "1|5", "2|5", "3|4", "4|4", "5|4", "6|4"]),
        ("SELECT date_trunc('month', time), count(*) FROM transit.ridership WHERE date_trunc('week', time) = '2020-03-09' GROUP BY 1", &["2020-03-01T00:00:00-05:00|7"]),
        ("SELECT count(*) FROM transit.ridership WHERE time >= TIMESTAMP '2020-03-09 00:00:00' - INTERVAL '1 day' AND time < '2020-03-09T04:00:00Z'", &["1"]),
        ("SELECT count(*) FROM transit.ridership WHERE '2020-03-09' <= time AND NOT time >= '2020-03-11'", &["2"]),
        (
            "SELECT count(*) FROM transit.ridership WHERE time < DATE '2020-03-02' + INTERVAL '7 days'",
            &["8"],
        ),
        // a date compared with a time means the city's midnight, above the aggregate too
        ("SELECT n FROM (SELECT date_trunc('week', time) AS week, count(*) AS n FROM transit.ridership GROUP BY 1) WHERE week = DATE '2020-03-09'", &["7"]),
        ("SELECT CAST(date_trunc('week', time) AS TIMESTAMP), count(*) FROM transit.ridership WHERE time < '2020-03-03' GROUP BY 1 ORDER BY 1", &["2020-02-24T00:00:00|1", "2020-03-02T00:00:00|1"]),
    ]).await;
}

#[tokio::test]
async fn grouping_sets_having_and_what_stands_above() {
    let node = new_york().node();
    check(&node, &[
        ("SELECT borough, count(*), grouping(borough) FROM health.emergency GROUP BY ROLLUP (borough) ORDER BY 3, 1", &["Bronx|31|0", "Queens|31|0", "NULL|62|1"]),
        ("SELECT date_trunc('month', time) AS month, borough, sum(visits) FROM health.emergency GROUP BY CUBE (date_trunc('month', time), borough) ORDER BY 1, 2",
         &["2020-03-01T00:00:00-05:00|Bronx|496", "2020-03-01T00:00:00-05:00|Queens|852", "2020-03-01T00:00:00-05:00|NULL|1348", "NULL|Bronx|496", "NULL|Queens|852", "NULL|NULL|1348"]),
        ("SELECT borough FROM health.emergency GROUP BY borough HAVING sum(visits) > 500", &["Queens"]),
        ("SELECT borough, sum(visits) * 1.0 / count(*) FROM health.emergency GROUP BY GROUPING SETS ((borough), ()) HAVING count(*) < 40 ORDER BY 1", &["Bronx|16.0", "Queens|27.483870967741936"]),
        ("SELECT week, n, sum(n) OVER (ORDER BY week), rank() OVER (ORDER BY n DESC, week) FROM (SELECT date_trunc('week', time) AS week, count(*) AS n FROM transit.ridership GROUP BY 1) ORDER BY week LIMIT 2",
         &["2020-02-24T00:00:00-05:00|1|1|6", "2020-03-02T00:00:00-05:00|7|8|1"]),
        ("SELECT (SELECT sum(visits) FROM health.emergency) - (SELECT count(*) FROM transit.ridership)", &["1317"]),
        ("SELECT borough FROM health.emergency WHERE borough IN (SELECT borough FROM taxi GROUP BY borough) GROUP BY borough", &["Queens"]),
        ("SELECT sum(v) FROM (SELECT visits AS v, upper(borough) AS b FROM health.emergency) AS e WHERE b = 'BRONX'", &["496"]),
        ("WITH e AS (SELECT * FROM health.emergency WHERE time < '2020-03-08') SELECT e.borough, max(z.name), sum(e.visits) FROM e JOIN (VALUES ('Bronx', 'north'), ('Queens', 'east')) AS z(borough, name) ON e.borough = z.borough GROUP BY 1 ORDER BY 1", &["Bronx|north|28", "Queens|east|42"]),
        ("SELECT b, (SELECT count(*) FROM health.emergency e WHERE e.borough = x.b) FROM (VALUES ('Bronx'), ('Nowhere')) AS x(b) ORDER BY 1", &["Bronx|31", "Nowhere|0"]),
        ("SELECT sum(visits) FROM health.emergency UNION ALL SELECT count(*) FROM transit.ridership ORDER BY 1", &["31", "1348"]),
    ]).await;
}

#[tokio::test]
async fn the_first_question_of_the_city() {
    let node = new_york().node();
    let sql = "
        WITH t AS (SELECT date_trunc('week', time) AS week, avg(speed) AS mph, stddev(speed) AS spread FROM traffic.taxi WHERE time >= '2020-02-24' AND time < '2020-05-11' GROUP BY 1),
             s AS (SELECT date_trunc('week', time) AS week, avg(subway_riders) AS riders FROM transit.ridership GROUP BY 1),
             e AS (SELECT date_trunc('week', time) AS week, sum(visits) AS visits FROM health.emergency GROUP BY 1),
             w AS (SELECT date_trunc('week', time) AS week, avg(temp) AS celsius FROM weather.daily GROUP BY 1)
        SELECT * FROM t LEFT JOIN s USING (week) LEFT JOIN e USING (week) LEFT JOIN w USING (week) ORDER BY week";
    let answer = node.answer(sql).await.unwrap();
    let names: Vec<&str> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["week", "mph", "spread", "riders", "visits", "celsius"]);
    assert_eq!(
        super::fixture::lines(&answer.batches)[1],
        "2020-03-02T00:00:00-05:00|13.617903225806451|4.459748119722864|4500000.0|91|-4.5"
    );
    let products: Vec<String> = answer.completeness.iter().map(|product| product.product.to_string()).collect();
    assert_eq!(products, ["health.emergency", "traffic.taxi", "transit.ridership", "weather.daily"]);
    let taxi = &answer.completeness[1];
    assert_eq!((taxi.windows_expected, taxi.windows_present, taxi.cells, taxi.cells_suppressed), (31, 31, 46, 16));
    assert!(!taxi.exact && answer.completeness[0].exact);
}

#[tokio::test]
async fn the_catalogue_can_be_browsed() {
    let node = new_york().node();
    check(&node, &[
        ("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2",
         &["civicmesh|completeness", "health|emergency", "traffic|taxi", "transit|ridership", "weather|daily"]),
        ("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'taxi' ORDER BY ordinal_position",
         &["time|timestamp with time zone", "borough|text", "speed|numeric"]),
        ("DESCRIBE transit.ridership", &[
            "time|timestamp with time zone|NO|time|||open|start of the window; grain 1 day, in America/New_York",
            "subway_riders|numeric|YES|measure|1|count, sum, sum_squares, min, max|open|d",
        ]),
        ("SHOW timezone", &["datafusion.execution.time_zone|America/New_York"]),
        ("SELECT count(*) FROM generate_series(1, 3)", &["3"]),
    ]).await;
    assert!(node.rows("SHOW TABLES").await.len() > 4);
    let plan = node.rows("EXPLAIN SELECT avg(speed) FROM taxi").await.join("\n");
    assert!(plan.contains("civicmesh_avg"), "{plan}");
}
