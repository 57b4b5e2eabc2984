//! Numbers that DataFusion would cut short, above the aggregates.

use super::answers::{check, new_york};
use crate::error::QueryError;

#[tokio::test]
async fn quotients_have_all_their_digits() {
    let node = new_york().node();
    let sum = 5_000_000_i64 * 31 - 100_000 * 496;
    let rate = format!("{:?}", sum as f64 / 8_336_817.0 * 100_000.0);
    let share = format!("{:?}", sum as f64 / 7.0);
    check(&node, &[
        ("SELECT sum(subway_riders) FROM transit.ridership", &[&sum.to_string()]),
        ("SELECT sum(subway_riders) / 8336817 * 100000 FROM transit.ridership", &[&rate]),
        ("SELECT r / 7 FROM (SELECT sum(subway_riders) AS r FROM transit.ridership)", &[&share]),
        ("SELECT r / 7 AS x FROM (SELECT sum(subway_riders) AS r FROM transit.ridership) ORDER BY r / 7", &[&share]),
        ("SELECT coalesce(sum(subway_riders) / 7, 0) FROM transit.ridership", &[&share]),
        ("SELECT CASE WHEN count(*) = 0 THEN 0 ELSE sum(subway_riders) / 7 END FROM transit.ridership", &[&share]),
        ("SELECT sum(subway_riders) / count(*) > 3400000.1 FROM transit.ridership", &["false"]),
        ("SELECT (SELECT sum(subway_riders) FROM transit.ridership) / 7", &[&share]),
        ("WITH r AS (SELECT sum(subway_riders) / 7 AS x FROM transit.ridership) SELECT x FROM r UNION ALL SELECT x FROM r", &[&share, &share]),
        ("WITH r AS (SELECT borough, sum(visits) / 3 AS x FROM health.emergency GROUP BY 1) SELECT borough FROM r WHERE EXISTS (SELECT 1 FROM r AS s WHERE s.x = r.x AND s.x < 200)", &["Bronx"]),
        ("SELECT sum(visits) / 3 FROM health.emergency GROUP BY borough HAVING sum(visits) / 3 < 200 ORDER BY sum(visits) / 3", &["165.33333333333334"]),
        ("SELECT sum(subway_riders) / NULLIF(count(*) - 31, 0) FROM transit.ridership", &["NULL"]),
        // whole numbers by whole numbers are SQL's own
        ("SELECT count(*) / 7 FROM transit.ridership", &["4"]),
    ]).await;
    let error = node.refusal("SELECT sum(subway_riders) / (count(*) - 31) FROM transit.ridership").await;
    assert!(matches!(error, QueryError::Execution("division by zero")), "{error:?}");
}

#[tokio::test]
async fn averages_of_sums_have_all_their_digits() {
    let node = new_york().node();
    let from = "FROM (SELECT borough, sum(visits) AS v FROM health.emergency WHERE time < '2020-03-03' GROUP BY 1)";
    // 3 and 6
    let ask = |what: &str| format!("SELECT {what} {from}");
    let thirds =
        "FROM (VALUES (CAST(1 AS DECIMAL(20,0))), (CAST(0 AS DECIMAL(20,0))), (CAST(0 AS DECIMAL(20,0)))) AS t(v)";
    let third = |what: &str| format!("SELECT {what} {thirds}");
    check(
        &node,
        &[
            (&ask("avg(v)"), &["4.5"]),
            (&ask("median(v)"), &["4.5"]),
            (&ask("percentile_cont(0.25) WITHIN GROUP (ORDER BY v)"), &["3.75"]),
            (&third("avg(v)"), &["0.3333333333333333"]),
            (&third("avg(DISTINCT v / 3)"), &["0.16666666666666666"]),
            (&third("DISTINCT avg(v) OVER ()"), &["0.3333333333333333"]),
            (&third("max(v) / 3"), &["0.3333333333333333"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn casts_to_whole_numbers_round() {
    let node = new_york().node();
    check(&node, &[
        ("SELECT sum(speed), CAST(sum(speed) AS INTEGER) AS a, sum(speed)::BIGINT AS b, TRY_CAST(sum(speed) AS INT) AS c FROM taxi", &["7359.66|7360|7360|7360"]),
        ("SELECT arrow_cast(sum(speed), 'Int64'), CAST(-sum(speed) AS INT) AS a, CAST(3.7 AS INT) AS b, CAST('3' AS INT) AS c FROM taxi", &["7360|-7360|4|3"]),
        ("SELECT CAST(avg(speed) * 10 AS INT) FROM taxi", &["141"]),
    ]).await;
}
