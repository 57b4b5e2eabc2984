//! Which questions have their cells merged while they are read: where it is missed, a year of minutes takes seconds.

use std::sync::Arc;

use super::fixture::{Table, World, contract, now, row};
use crate::asking::Asker;
use crate::engine::QueryOptions;
use crate::limits::Limits;
use crate::shelf::Shelf;

/// A product of 40 hours and two streets, asked with room for what is read of so many cells.
async fn is_merged(sql: &str) -> bool {
    let hours = contract(
        "traffic.flow",
        &["street", "kind"],
        "grain: 1 hour, start: 2020-03-01",
        &[("cars", "unit: \"1\"")],
        None,
    );
    let streets = |hour: i64| {
        let at = format!("2020-03-0{}T{:02}:30:00Z", 1 + hour / 24, hour % 24);
        (0..50).map(move |street| row(&at, &[&format!("street {street}"), "all"], &[Some(hour + street)]))
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
    ] {
        assert!(is_merged(sql).await, "{sql}");
    }
    // what is asked for by the hour and street is not fewer
    let sql = "SELECT date_trunc('hour', time), street, avg(cars) FROM flow GROUP BY 1, 2";
    assert!(!is_merged(sql).await, "{sql}");
}
