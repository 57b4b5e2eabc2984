//! Plans that are kept give what planning anew would, or leave the question to it.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;

use super::answers::new_york;
use super::fixture::{lines, now};
use crate::engine::{QueryOptions, WindowCut};
use crate::error::{QueryError, RefusalCode};
use crate::question::Question;
use crate::shelf::Shelf;

fn told(answer: &Result<crate::engine::Answer, QueryError>) -> Result<(Vec<String>, String, Vec<String>), String> {
    match answer {
        Ok(answer) => {
            let mut rows = lines(&answer.batches);
            rows.sort();
            Ok((rows, format!("{:?} {:?}", answer.schema, answer.completeness), answer.notices.clone()))
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Asks in the place of `?` for one constant after the other, and once more, of one node; each answer must be a new
/// node's. Gives how many plans are kept then.
async fn kept(sql: &str, constants: &[&str], cut: WindowCut) -> usize {
    let node = new_york().node();
    let options = QueryOptions { window_cut: cut, ..QueryOptions::default() };
    for constant in constants.iter().chain(constants) {
        let sql = sql.replace('?', constant);
        let fresh = new_york().node();
        let expected = fresh.asker.ask(&fresh.shelf, sql.as_str(), now(), &options).await;
        let answer = node.asker.ask(&node.shelf, sql.as_str(), now(), &options).await;
        assert_eq!(told(&answer), told(&expected), "{sql}");
    }
    node.asker.plans().count().1
}

#[tokio::test]
async fn a_plan_that_is_kept_gives_what_planning_would() {
    let inside = WindowCut::Inside;
    for (sql, constants, cut, plans) in [
        (
            "SELECT date_trunc('week', time) AS w, avg(speed), count(*) FROM taxi WHERE borough = '?' GROUP BY 1",
            &["Queens", "Bronx", "nowhere", ""][..],
            WindowCut::Error,
            1,
        ),
        (
            "SELECT borough, sum(speed) FROM taxi WHERE time >= '?' AND time < '2020-03-20' GROUP BY 1",
            &[
                "2020-03-05",
                "2020-03-08 00:00:00",
                "2020-03-08T00:00:00-05:00",
                "2020-03-08 00:30:00",
                "never",
                "2020-03-31",
                "2020-03-05 24:00",
            ],
            WindowCut::Error,
            1,
        ),
        (
            "SELECT borough, sum(speed) FROM taxi WHERE time >= DATE '?' GROUP BY 1",
            &["2020-03-05", "2020-03-08", "2020-13-01"],
            WindowCut::Error,
            1,
        ),
        (
            "SELECT borough, sum(speed) FROM taxi WHERE time < TIMESTAMP '?' GROUP BY 1",
            &["2020-03-05 00:00:00", "2020-03-09 00:00:00", "2020-03-09 03:00:00"],
            WindowCut::Error,
            1,
        ),
        (
            "SELECT count(*) FROM taxi WHERE NOT (time >= '2020-03-05' AND borough = '?')",
            &["Queens", "Bronx"],
            WindowCut::Error,
            1,
        ),
        (
            "SELECT count(*) FROM taxi WHERE borough = '?' OR borough = 'Bronx'",
            &["Queens", "Bronx"],
            WindowCut::Error,
            1,
        ),
        (
            "WITH a AS (SELECT borough, count(*) AS n FROM taxi WHERE time >= '?' GROUP BY 1) SELECT a.n, b.n FROM a JOIN a AS b USING (borough) ORDER BY 1",
            &["2020-03-05", "2020-03-20"],
            WindowCut::Error,
            1,
        ),
        // moved bounds are told, so such a question is planned each time; what is on an edge needs no move
        (
            "SELECT count(*) FROM taxi WHERE time >= '?' AND borough = 'Queens'",
            &["2020-03-05 03:00:00", "2020-03-05", "2020-03-06 12:30:00"],
            inside,
            1,
        ),
        (
            "SELECT count(*) FROM taxi WHERE time > '2020-03-05 03:00:00' AND borough = '?'",
            &["Queens", "Bronx"],
            inside,
            0,
        ),
        // the name of a column says what was asked
        ("SELECT count(*) FILTER (WHERE borough = '?') FROM taxi", &["Queens", "Bronx"], WindowCut::Error, 0),
        ("SELECT count(*) FILTER (WHERE borough = '?') AS n FROM taxi", &["Queens", "Bronx"], WindowCut::Error, 0),
        // a constant above an aggregate, or compared with what is no text, is read by the planner
        (
            "SELECT * FROM (SELECT borough AS b, count(*) AS n FROM taxi GROUP BY 1) AS q WHERE b = '?'",
            &["Queens", "Bronx"],
            WindowCut::Error,
            0,
        ),
        (
            "SELECT count(*) FROM taxi WHERE date_trunc('month', time) = '?'",
            &["2020-03-01", "2020-04-01"],
            WindowCut::Error,
            0,
        ),
        (
            "SELECT count(*) FROM taxi WHERE CAST(time AS DATE) = '?'",
            &["2020-03-08", "2020-03-09"],
            WindowCut::Error,
            0,
        ),
        // what depends on the time of asking, or on one question's memory
        ("SELECT count(*) FROM taxi WHERE time < now() AND borough = '?'", &["Queens", "Bronx"], WindowCut::Error, 0),
        (
            "SELECT borough || 'x', count(*) FROM taxi WHERE borough = '?' GROUP BY 1",
            &["Queens", "Bronx"],
            WindowCut::Error,
            0,
        ),
        ("SELECT (SELECT count(*) FROM taxi WHERE borough = '?') AS n", &["Queens", "Bronx"], WindowCut::Error, 0),
        ("SELECT max(speed) FROM taxi WHERE borough = '?'", &["Queens", "Bronx"], WindowCut::Error, 0),
    ] {
        assert_eq!(kept(sql, constants, cut).await, plans, "{sql}");
    }
}

#[tokio::test]
async fn a_grant_that_ends_ends_the_plan() {
    let node = new_york().node();
    let sql = "SELECT count(*) FROM traffic.taxi WHERE borough = 'Queens'";
    for _ in 0..3 {
        node.asker.ask(&node.shelf, sql, now(), &QueryOptions::default()).await.unwrap();
    }
    assert_eq!(node.asker.plans().count().1, 1);
    let Shelf::Listed(listed) = &node.shelf else { panic!("it is listed") };
    let mut refused = listed.otherwise(false, 0);
    let standings = refused.standings.iter_mut();
    standings
        .filter(|standing| standing.product.domain.as_str() == "traffic")
        .for_each(|standing| standing.granted = false);
    let refused = Shelf::Listed(Arc::new(refused));
    for _ in 0..3 {
        let error = node.asker.ask(&refused, sql, now(), &QueryOptions::default()).await.unwrap_err();
        assert!(matches!(error, QueryError::NotGranted { .. }), "{error:?}");
    }
}

/// A parameter is as open as a text in its place: the same plan answers for both, where the value is what it stands for.
#[tokio::test]
async fn a_question_with_parameters_is_answered_by_a_plan_that_was_kept() {
    let at = |text: &str| ScalarValue::from(text).cast_to(&DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    let sql = "SELECT date_trunc('week', time) AS w, avg(speed), count(*) FROM taxi \
               WHERE borough = $2 AND time >= $1 GROUP BY 1";
    let node = new_york().node();
    let options = QueryOptions::default();
    for (from, borough) in [
        (at("2020-03-05"), "Queens".into()),
        (at("2020-03-06"), "Bronx".into()),
        (ScalarValue::Date32(Some(18_330)), "Queens".into()),
        ("2020-03-08".into(), "Queens".into()),
        (at("2020-03-05T00:30:00"), "Queens".into()),
        ("never".into(), "Queens".into()),
        (at("2020-03-05"), ScalarValue::Utf8(None)),
        (at("2020-03-05"), ScalarValue::Int64(Some(3))),
        (at("2020-03-05"), at("2020-03-05")),
        (ScalarValue::Utf8(None), "Queens".into()),
        (at("2020-03-06"), "Manhattan".into()),
    ] {
        let question = Question { sql: sql.to_owned(), parameters: vec![from, borough], domain: None };
        let fresh = new_york().node();
        let expected = fresh.asker.ask(&fresh.shelf, question.clone(), now(), &options).await;
        let answer = node.asker.ask(&node.shelf, question.clone(), now(), &options).await;
        assert_eq!(told(&answer), told(&expected), "{question:?}");
    }
    assert_eq!(node.asker.plans().count(), (1, 1));
    let written = sql.replace("$2", "'Queens'").replace("$1", "'2020-03-05'");
    node.asker.ask(&node.shelf, written.as_str(), now(), &options).await.unwrap();
    assert_eq!(node.asker.plans().count(), (1, 1));
    // a text's plan is not one for a time
    let timed = sql.replace("$2", "TIMESTAMP '2020-03-05 00:00:00'").replace("$1", "'2020-03-05'");
    let fresh = new_york().node();
    let expected = fresh.asker.ask(&fresh.shelf, timed.as_str(), now(), &options).await;
    assert_eq!(told(&node.asker.ask(&node.shelf, timed.as_str(), now(), &options).await), told(&expected));
}

#[tokio::test]
async fn templates_are_bounded() {
    let node = new_york().node();
    for number in 0..300 {
        let sql = format!("SELECT count(*), {number} FROM traffic.taxi WHERE time > '2020-03-01'");
        let error = node.asker.ask(&node.shelf, sql.as_str(), now(), &QueryOptions::default()).await.unwrap_err();
        assert!(matches!(error, QueryError::Refused { code: RefusalCode::InstantCut, .. }), "{error:?}");
    }
    assert_eq!(node.asker.plans().count(), (256, 0));
}
