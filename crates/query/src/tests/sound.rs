//! What would be answered with another number, and is refused.

use super::answers::{check, new_york};
use crate::error::QueryError;

/// A question and what its refusal says to write.
async fn refused(questions: &[(&str, &str)]) {
    let node = new_york().node();
    let mut wrong = Vec::new();
    for (sql, hint) in questions {
        match node.answer(sql).await {
            Err(QueryError::Sql(text)) if text.contains(hint) => {}
            other => wrong.push(format!("{sql}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn tests_of_one_row_that_refer_outwards() {
    let of = "(SELECT borough AS b, count(*) AS n FROM taxi GROUP BY 1) AS o";
    let one = "FROM health.emergency WHERE borough = 'x'";
    let one = format!("SELECT count(*) FROM (SELECT borough {one} GROUP BY 1) AS i WHERE i.borough = o.b");
    let questions = [
        (format!("SELECT b FROM {of} WHERE EXISTS ({one})"), "GROUP BY"),
        (format!("SELECT b FROM {of} WHERE NOT EXISTS ({one})"), "GROUP BY"),
        (format!("SELECT b FROM {of} WHERE 0 IN ({one})"), "GROUP BY"),
        (format!("SELECT b FROM {of} WHERE 0 = ANY ({one})"), "GROUP BY"),
        (format!("SELECT b FROM {of} WHERE 0 < ALL ({one})"), "GROUP BY"),
        (format!("SELECT b FROM {of}, LATERAL ({one} HAVING count(*) = 0) AS l"), "GROUP BY"),
        (format!("SELECT b FROM {of}, LATERAL (SELECT * FROM ({one}) AS p(m) WHERE m = 0) AS l"), "GROUP BY"),
    ];
    let questions: Vec<(&str, &str)> = questions.iter().map(|(sql, hint)| (sql.as_str(), *hint)).collect();
    refused(&questions).await;
    let compared = format!("SELECT b FROM {of} WHERE 0 = ({one}) ORDER BY b");
    let lateral = format!("SELECT b, m FROM {of}, LATERAL ({one}) AS l(m) ORDER BY b");
    let lateral_on = format!("SELECT b, m FROM {of} LEFT JOIN LATERAL ({one}) AS l(m) ON m = 0 ORDER BY b");
    let lateral_where = format!("SELECT b, m FROM {of}, LATERAL ({one}) AS l(m) WHERE m = 0 ORDER BY b");
    let having = format!("SELECT b, ({one} HAVING count(*) > 0) AS m FROM {of} ORDER BY b");
    let both: &[&str] = &["Manhattan|0", "Queens|0"];
    let node = new_york().node();
    check(
        &node,
        &[
            (&compared, &["Manhattan", "Queens"]),
            (&lateral, both),
            (&lateral_on, both),
            (&lateral_where, both),
            (&having, &["Manhattan|NULL", "Queens|NULL"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn forms_that_planners_leave_out() {
    let a = "SELECT borough FROM taxi GROUP BY 1";
    let b = "SELECT borough FROM health.emergency GROUP BY 1";
    let questions = [
        (format!("{a} EXCEPT ALL {b}"), "EXCEPT"),
        (format!("{a} INTERSECT ALL {b}"), "INTERSECT"),
        (format!("{a} UNION ({b} EXCEPT ALL {a})"), "EXCEPT"),
        (format!("SELECT count(*) FROM ({a} INTERSECT ALL {b}) AS x"), "INTERSECT"),
        ("SELECT count(*) FROM taxi TABLESAMPLE BERNOULLI (10)".to_owned(), "TABLESAMPLE"),
        ("SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS t(a, b)".to_owned(), "row_number()"),
        ("SELECT count(*) FROM taxi FOR UPDATE".to_owned(), "leave them out"),
        ("SELECT count(*) FROM taxi FOR SHARE".to_owned(), "leave them out"),
    ];
    let questions: Vec<(&str, &str)> = questions.iter().map(|(sql, hint)| (sql.as_str(), *hint)).collect();
    refused(&questions).await;
}

#[tokio::test]
async fn times_that_mean_something_else() {
    refused(&[
        ("SELECT to_timestamp(1583118000)", "to_timestamp_seconds"),
        ("SELECT to_timestamp(1583118000.5)", "to_timestamp_seconds"),
        ("SELECT from_unixtime(1583118000)", "to_timestamp_seconds"),
        ("SELECT count(*) FROM taxi WHERE time < to_timestamp(1583118000)", "to_timestamp_seconds"),
        ("SELECT now() AT TIME ZONE 'UTC'", "America/New_York"),
        ("SELECT w AT TIME ZONE 'UTC' FROM (SELECT date_trunc('day', time) AS w FROM taxi GROUP BY 1)", "New_York"),
        ("SELECT arrow_cast(now(), 'Timestamp(Nanosecond, None)')", "CAST"),
        ("SELECT arrow_cast('2020-03-02', 'Timestamp(Nanosecond, None)')", "CAST"),
    ])
    .await;
    let node = new_york().node();
    check(
        &node,
        &[
            ("SELECT to_timestamp_seconds(1583118000)", &["2020-03-01T22:00:00-05:00"]),
            ("SELECT TIMESTAMP '2020-03-02 03:00:00' AT TIME ZONE 'UTC'", &["2020-03-02T03:00:00Z"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn calls_within_calls() {
    let node = new_york().node();
    let nested = |open: &str, close: &str, depth: usize| {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        format!("SELECT {open}borough{close} AS x, count(*) FROM taxi GROUP BY 1 ORDER BY 1")
    };
    for (open, close) in [
        ("upper(", ")"),
        ("coalesce('a', ", ")"),
        ("substring(", " FROM 1)"),
        ("trim(", ")"),
        ("CASE WHEN true THEN ", " END"),
    ] {
        assert_eq!(node.rows(&nested(open, close, 10)).await.len(), if open.starts_with("coal") { 1 } else { 2 });
        let error = node.refusal(&nested(open, close, 11)).await;
        assert!(matches!(error, QueryError::TooLarge { limit: 10, .. }), "{error:?}");
    }
}

/// What a filter finds one value of is no constant where a cast or a quotient loses something.
#[tokio::test]
async fn what_is_filtered_is_sorted_all_the_same() {
    let of = "(SELECT borough AS k, count(*) AS n, avg(visits) AS v FROM health.emergency GROUP BY 1) AS x";
    let week = "SELECT date_trunc('week', time) AS w, count(*) AS n FROM transit.ridership";
    let node = new_york().node();
    check(
        &node,
        &[
            (&format!("SELECT k, n FROM {of} WHERE n / 1000 = 0 ORDER BY k DESC LIMIT 1"), &["Queens|31"]),
            (&format!("SELECT v FROM {of} WHERE CAST(v / 100 AS INT) = 0 ORDER BY v DESC"), &["31.555555555555557", "16.0"]),
            (
                &format!("SELECT w FROM ({week} GROUP BY 1) AS x WHERE CAST(w AS DATE) < DATE '2020-03-10' ORDER BY w DESC LIMIT 1"),
                &["2020-03-09T00:00:00-04:00"],
            ),
            (
                "SELECT date_trunc('hour', t) AS h FROM (VALUES (TIMESTAMP '2020-03-16 01:00:00'), (TIMESTAMP '2020-03-16 02:00:00')) AS v(t) WHERE CAST(t AS DATE) = DATE '2020-03-16' ORDER BY h DESC",
                &["2020-03-16T02:00:00", "2020-03-16T01:00:00"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn ranks_have_a_sign_and_subqueries_without_a_row_are_null() {
    let of = "(SELECT k, rank() OVER (ORDER BY k) AS r, row_number() OVER (ORDER BY k DESC) AS d FROM (SELECT borough AS k, count(*) AS n FROM health.emergency GROUP BY 1) AS x) AS y";
    let node = new_york().node();
    check(
        &node,
        &[
            (
                &format!("SELECT k, -r, r / 2, r - d, ntile(2) OVER (ORDER BY k) / 2 FROM {of} ORDER BY k"),
                &["Bronx|-1|0|-1|0", "Queens|-2|1|1|1"],
            ),
            ("SELECT (SELECT count(*) FROM health.emergency HAVING count(*) > 1000)", &["NULL"]),
            (
                "SELECT (SELECT 1 WHERE false), coalesce((SELECT 'x' FROM (VALUES (1)) AS v(n) WHERE n > 1), 'none')",
                &["NULL|none"],
            ),
            ("SELECT 1 + (SELECT count(*) FROM health.emergency)", &["63"]),
        ],
    )
    .await;
    refused(&[
        ("SELECT count(*) FROM taxi WHERE borough IS DISTINCT FROM 'Bronx' AND borough <> 'Queens'", "brackets"),
        ("SELECT count(*) FROM taxi WHERE (borough = 'Bronx') IS NOT DISTINCT FROM true OR false", "brackets"),
    ])
    .await;
    let bracketed = "SELECT count(*) FROM health.emergency WHERE borough <> 'Queens' AND borough IS DISTINCT FROM 'x'";
    check(&node, &[(bracketed, &["31"])]).await;
}

/// A join's own filter would land on the other column of the name, and lose the weeks that the middle one lacks.
#[tokio::test]
async fn a_join_keeps_the_rows_that_it_says() {
    let node = new_york().node();
    let by_week = |table: &str, filter: &str| {
        format!("(SELECT date_trunc('week', time) AS k, count(*) AS n FROM {table} {filter} GROUP BY 1)")
    };
    let (a, c) = (by_week("transit.ridership", ""), by_week("weather.daily", ""));
    let b = by_week("health.emergency", "WHERE extract(week FROM time) % 2 = 0");
    let sql = format!(
        "SELECT a.n, b.n, c.n FROM {a} AS a LEFT JOIN {b} AS b ON a.k = b.k JOIN {c} AS c ON a.k = c.k ORDER BY b.n, a.n"
    );
    check(&node, &[(&sql, &["2|4|2", "7|14|7", "7|14|7", "1|NULL|1", "7|NULL|7", "7|NULL|7"])]).await;
    let plan = node.rows(&format!("EXPLAIN {sql}")).await.join("\n");
    assert!(!plan.contains("DynamicFilter"), "{plan}");
}
