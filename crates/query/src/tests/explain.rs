//! EXPLAIN tells which releases a question rests on.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::answers::new_york;
use super::fixture::{lines, now};
use crate::engine::QueryOptions;
use crate::question::Question;
use crate::shelf::Shelf;

#[tokio::test]
async fn explain_tells_which_releases_are_read() {
    let sql = "EXPLAIN SELECT a.s, b.n FROM \
               (SELECT borough, count(*) AS n, avg(speed) AS s FROM traffic.taxi WHERE time >= '2020-03-05' GROUP BY 1) AS a \
               JOIN (SELECT borough, count(*) AS n FROM health.emergency GROUP BY 1) AS b ON a.borough = b.borough";
    let node = new_york().node();
    let Shelf::Listed(listed) = &node.shelf else { panic!("it is listed") };
    let merged = Shelf::Listed(Arc::new(listed.otherwise(true, 0)));
    for (shelf, segments, entries) in [(&node.shelf, 0, [31, 27]), (&merged, 1, [0, 0])] {
        let answer = node.asker.ask(shelf, sql, now(), &QueryOptions::default()).await.unwrap();
        let prepared = node.asker.prepare(shelf, &Question::from(sql), &[], now(), &QueryOptions::default()).await;
        assert_eq!(answer.schema, prepared.unwrap().schema);
        let [batch] = &answer.batches[..] else { panic!("one batch") };
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let number = |name: &str, row: usize| column(name).as_primitive::<Int64Type>().value(row);
        let told: Vec<&str> = column("plan_type").as_string::<i32>().iter().flatten().collect();
        let plans = told.len() - 2;
        assert!(told[..plans].contains(&"logical_plan") && told[plans..] == ["releases", "releases"], "{told:?}");
        assert!((0..plans).all(|row| column("product").is_null(row) && column("bytes").is_null(row)));
        let text = lines(&answer.batches).join("\n");
        assert!(text.contains("civicmesh_avg") && text.contains("traffic.taxi of traffic, contract 1.0.0"), "{text}");
        let products: Vec<&str> = column("product").as_string::<i32>().iter().flatten().collect();
        assert_eq!(products, ["health.emergency", "traffic.taxi"]);
        for (row, releases, of_product) in [(plans, 31, entries[0]), (plans + 1, 27, entries[1])] {
            assert_eq!((number("releases", row), number("releases_revised", row)), (releases, 0), "{text}");
            assert_eq!((number("segments", row), number("entries", row)), (segments, of_product), "{text}");
            assert_eq!(number("log_last", row) - number("log_first", row), releases - 1, "{text}");
            assert!(number("bytes", row) > 100 && number("cells", row) > 0, "{text}");
        }
    }
    // what reads nothing says so, and what would be refused is refused
    let nothing = node.rows("EXPLAIN SELECT count(*) FROM traffic.taxi WHERE time >= '2030-01-01'").await.join("\n");
    assert!(nothing.contains("traffic.taxi of traffic: nothing is read"), "{nothing}");
}
