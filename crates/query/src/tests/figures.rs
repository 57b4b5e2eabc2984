//! Which columns of an answer are marked: those whose figures lack cells, by the products that lack them.

use super::answers::new_york;
use crate::LACKS;

/// The answer's columns with what each lacks.
async fn marks(sql: &str) -> Vec<String> {
    let answer = match new_york().node().answer(sql).await {
        Ok(answer) => answer,
        Err(error) => panic!("{sql}\n{error:?}"),
    };
    for batch in &answer.batches {
        assert_eq!(batch.schema(), answer.schema, "{sql}");
    }
    let mark = |field: &arrow::datatypes::FieldRef| match field.metadata().get(LACKS) {
        Some(products) => format!("{} lacks {products}", field.name()),
        None => field.name().clone(),
    };
    answer.schema.fields().iter().map(mark).collect()
}

/// Of the taxi trips some cells are suppressed; visits, riders and weather are whole.
#[tokio::test]
async fn figures_that_lack_cells_are_marked_beside_them() {
    let taxi = "lacks traffic.taxi";
    for (sql, expected) in [
        ("SELECT count(*) AS n FROM taxi", vec![format!("n {taxi}")]),
        ("SELECT borough, avg(speed) AS mph FROM taxi GROUP BY 1", vec!["borough".to_owned(), format!("mph {taxi}")]),
        // nothing of Manhattan is suppressed
        ("SELECT count(*) AS n FROM taxi WHERE borough = 'Manhattan'", vec!["n".to_owned()]),
        // a day on which nothing is suppressed
        ("SELECT count(*) AS n FROM taxi WHERE time >= '2020-03-02' AND time < '2020-03-03'", vec!["n".to_owned()]),
        ("SELECT count(*) AS n FROM health.emergency", vec!["n".to_owned()]),
        (
            "WITH t AS (SELECT date_trunc('week', time) AS week, avg(speed) AS mph, count(*) AS n FROM taxi GROUP BY 1),
                  e AS (SELECT date_trunc('week', time) AS week, sum(visits) AS v FROM health.emergency GROUP BY 1)
             SELECT week, round(mph) AS mph, v, v / n AS rate, sum(v) OVER (ORDER BY week) AS so_far
             FROM t JOIN e USING (week) ORDER BY week",
            vec![
                "week".to_owned(),
                format!("mph {taxi}"),
                "v".to_owned(),
                format!("rate {taxi}"),
                // which rows there are to sum up
                format!("so_far {taxi}"),
            ],
        ),
        // where rows of one side may be missing, so are its values
        (
            "SELECT e.borough, v, n, b FROM (SELECT borough, sum(visits) AS v FROM health.emergency GROUP BY 1) AS e
             LEFT JOIN (SELECT borough AS b, count(*) AS n FROM taxi GROUP BY 1) AS t ON b = e.borough",
            vec!["borough".to_owned(), "v".to_owned(), format!("n {taxi}"), format!("b {taxi}")],
        ),
        // a key that figures chose
        ("SELECT borough FROM taxi GROUP BY 1 ORDER BY count(*) DESC LIMIT 1", vec![format!("borough {taxi}")]),
        ("SELECT borough FROM taxi GROUP BY 1 HAVING count(*) > 1", vec![format!("borough {taxi}")]),
        (
            "SELECT sum(visits) AS v FROM health.emergency WHERE borough IN (SELECT borough FROM taxi GROUP BY 1)",
            vec![format!("v {taxi}")],
        ),
        // nothing but keys: which there are is what is not known
        ("SELECT DISTINCT borough AS b FROM taxi", vec![format!("b {taxi}")]),
        ("SELECT count(*) AS n FROM (SELECT DISTINCT borough FROM taxi) AS x", vec![format!("n {taxi}")]),
        (
            "SELECT (SELECT count(*) FROM taxi) AS a, (SELECT count(*) FROM health.emergency) AS b",
            vec![format!("a {taxi}"), "b".to_owned()],
        ),
        (
            "SELECT count(*) AS n FROM taxi UNION ALL SELECT count(*) FROM health.emergency",
            vec![format!("n {taxi}")],
        ),
        ("SELECT 1 AS one", vec!["one".to_owned()]),
    ] {
        assert_eq!(marks(sql).await, expected, "{sql}");
    }
}
