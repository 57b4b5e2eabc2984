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
