//! Bounds that cut a window, as dashboards ask them.

use super::answers::new_york;
use super::fixture::{Node, lines, now};
use crate::engine::{QueryOptions, WindowCut};
use crate::error::{QueryError, RefusalCode};

async fn ask(node: &Node, window_cut: WindowCut, condition: &str) -> (String, Vec<String>) {
    let sql = format!("SELECT count(*), sum(visits) FROM health.emergency WHERE borough = 'Bronx' AND {condition}");
    let options = QueryOptions { window_cut, ..QueryOptions::default() };
    match node.asker.ask(&node.shelf, sql.as_str(), now(), &options).await {
        Ok(answer) => (lines(&answer.batches).join(";"), answer.notices),
        Err(error) => panic!("{sql}\n{error:?}"),
    }
}

/// One visit row a day, whose number is the day's.
#[tokio::test]
async fn bounds_move_inwards_or_outwards_and_that_is_told() {
    let node = new_york().node();
    // (condition, inside, covering, how many bounds moved)
    for (condition, inside, covering, moves) in [
        ("time >= '2020-03-03 06:00' AND time < '2020-03-06 06:00'", "2|9", "4|18", 2),
        ("time > '2020-03-03' AND time <= '2020-03-06'", "2|9", "4|18", 2),
        ("time BETWEEN '2020-03-03' AND '2020-03-06'", "3|12", "4|18", 1),
        ("'2020-03-03 06:00' <= time AND '2020-03-06' > time", "2|9", "3|12", 1),
        // what is left out of NOT moves the other way
        ("NOT (time < '2020-03-28 06:00')", "3|90", "4|118", 1),
        ("time NOT BETWEEN '2020-03-03 06:00' AND '2020-03-29 06:00'", "4|64", "6|96", 2),
        ("(time < '2020-03-02 12:00' OR time >= '2020-03-31')", "2|32", "3|34", 1),
        ("time < TIMESTAMP '2020-03-03 00:00:00' + INTERVAL '6 hours'", "2|3", "3|6", 1),
        // nothing is cut
        ("time >= '2020-03-03' AND time < '2020-03-06'", "3|12", "3|12", 0),
    ] {
        let (found, notices) = ask(&node, WindowCut::Inside, condition).await;
        assert_eq!((found.as_str(), notices.len()), (inside, moves), "inside: {condition}\n{notices:?}");
        let (found, notices) = ask(&node, WindowCut::Covering, condition).await;
        assert_eq!((found.as_str(), notices.len()), (covering, moves), "covering: {condition}\n{notices:?}");
    }
    let (_, notices) = ask(&node, WindowCut::Inside, "time > '2020-03-03 06:00'").await;
    let told =
        "time > '2020-03-03 06:00:00' cuts a window of 1 day of health.emergency; answered for time >= '2020-03-04'";
    assert_eq!(notices, [told]);
}

/// In a FILTER and in a join as in WHERE; where it is not known which way is inwards, it is refused as ever.
#[tokio::test]
async fn bounds_move_in_filters_and_nowhere_else() {
    let node = new_york().node();
    let options = QueryOptions { window_cut: WindowCut::Covering, ..QueryOptions::default() };
    let ask = async |sql: &str| node.asker.ask(&node.shelf, sql, now(), &options).await;
    let sql = "SELECT count(*) FILTER (WHERE time < '2020-03-02 06:00') FROM health.emergency";
    assert_eq!(lines(&ask(sql).await.unwrap().batches), ["4"]);
    for condition in ["(time < '2020-03-02 06:00') IS TRUE", "CASE WHEN time < '2020-03-02 06:00' THEN true END"] {
        let error = ask(&format!("SELECT count(*) FROM health.emergency WHERE {condition}")).await.unwrap_err();
        assert!(matches!(error, QueryError::Refused { code: RefusalCode::WindowCut, .. }), "{condition}\n{error:?}");
    }
    let error = ask("SELECT count(*) FROM health.emergency WHERE time = '2020-03-02'").await.unwrap_err();
    assert!(matches!(error, QueryError::Refused { code: RefusalCode::InstantCut, .. }), "{error:?}");
}
