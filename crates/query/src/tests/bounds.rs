//! Limits on a question, and what USING gives.

use super::fixture::{Node, Table, World, contract, now, row};
use crate::asking::Asker;
use crate::engine::{Engine, QueryOptions, WindowCut};
use crate::error::QueryError;
use crate::limits::Limits;

fn node(limits: Limits) -> Node {
    let minutes =
        contract("traffic.flow", &["street"], "grain: 1 minute, start: 2020-03-01", &[("cars", "unit: \"1\"")], None);
    let rows = (0..60).map(|minute| row(&format!("2020-03-01T06:{minute:02}:30Z"), &["A"], &[Some(minute)])).collect();
    let world = World::new("America/New_York", vec![Table { contract: minutes, rows }]);
    let asker = Asker::new(world.city(), limits).unwrap();
    Node { asker, shelf: world.node().shelf }
}

#[tokio::test]
async fn limits_are_told_by_name() {
    let count = "SELECT count(*) FROM flow";
    let many =
        "SELECT a.value * b.value FROM generate_series(1, 3000) AS a(value), generate_series(1, 3000) AS b(value)";
    let sum = "SELECT sum(a.value % b.value) FROM generate_series(1, 1000000) AS a(value), generate_series(1, 1000000) AS b(value)";
    let too_large = |error: &QueryError, what: &str| matches!(error, QueryError::TooLarge { what: named, .. } if named.starts_with(what));
    let error = node(Limits { sql_bytes_max: 10, ..Limits::default() }).refusal(count).await;
    assert!(too_large(&error, "the question's text"), "{error:?}");
    let error = node(Limits { windows_max: 10, ..Limits::default() }).refusal(count).await;
    assert!(too_large(&error, "the number of windows"), "{error:?}");
    let error = node(Limits { memory_bytes_max: 100, ..Limits::default() }).refusal(count).await;
    assert!(too_large(&error, "working memory"), "{error:?}");
    let error = node(Limits { result_bytes_max: 1 << 20, ..Limits::default() }).refusal(many).await;
    assert!(too_large(&error, "the answer"), "{error:?}");
    for sql in [sum, "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r"] {
        let error = node(Limits { time_ms_max: 200, ..Limits::default() }).refusal(sql).await;
        assert_eq!(error, QueryError::TimedOut { time_ms_max: 200 });
    }
    let error = node(Limits { queries_max: 0, ..Limits::default() }).refusal(count).await;
    assert_eq!(error, QueryError::Busy { queries_max: 0 });
}

/// A planner recurses over what it plans: neither a stack that runs out nor a plan that grows without end may take the
/// node with it. Tests run on stacks of two megabytes, without optimisation: the tightest there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_questions_are_answered_or_refused() {
    let repeat =
        |n: usize, each: &dyn Fn(usize) -> String, between: &str| (0..n).map(each).collect::<Vec<_>>().join(between);
    let or = |n| repeat(n, &|i| format!("street LIKE 'x{i}%z'"), " OR ");
    let filtered = |n| format!("SELECT street, count(*) FROM flow WHERE {} GROUP BY street", or(n));
    let joins = |n| {
        let joins = repeat(
            n,
            &|i| format!("JOIN (SELECT street, count(*) AS n FROM flow GROUP BY 1) AS t{i} USING (street)"),
            " ",
        );
        format!(
            "SELECT street FROM (SELECT street, 1 AS one FROM flow GROUP BY street) AS t {joins} UNION ALL SELECT 'x'"
        )
    };
    let with = |n, from: &str| {
        let with =
            repeat(n, &|i| format!("c{} AS (SELECT 1 AS n FROM {})", i + 1, from.replace('?', &i.to_string())), ", ");
        format!("WITH c0 AS (SELECT 1 AS n), {with} SELECT * FROM c{n}")
    };
    let calls = |n| format!("SELECT {}street{}, count(*) FROM flow GROUP BY 1", "upper(".repeat(n), ")".repeat(n));
    let subqueries = |n| format!("{}SELECT count(*) FROM flow{}", "SELECT * FROM (".repeat(n), ") AS q".repeat(n));
    let within = |n| format!("SELECT {}SELECT count(*) FROM flow{}", "(SELECT ".repeat(n - 1) + "(", ")".repeat(n));
    let exists = |n| {
        format!(
            "SELECT 1 WHERE {}SELECT street FROM flow{}",
            "EXISTS(SELECT 1 WHERE ".repeat(n - 1) + "EXISTS(",
            " GROUP BY 1".to_owned() + &")".repeat(n)
        )
    };
    let casts = |n: usize, inner: &str| format!("SELECT {}{inner}{}", "CAST(".repeat(n), " AS INT)".repeat(n));
    let cube =
        |n| format!("SELECT count(*) FROM flow GROUP BY CUBE ({})", repeat(n, &|i| format!("street || '{i}'"), ", "));
    let cases = |n| {
        format!(
            "SELECT CASE {} END, count(*) FROM flow GROUP BY 1",
            repeat(n, &|i| format!("WHEN street = '{i}' THEN {i}"), " ")
        )
    };
    for partitions in [1, 2] {
        for (sql, is_answered) in [
            (filtered(90), true),
            (filtered(5_000), false),
            (joins(30), true),
            (joins(500), false),
            (repeat(49, &|_| "SELECT count(*) FROM flow".to_owned(), " UNION ALL "), true),
            (repeat(5_000, &|_| "SELECT 1".to_owned(), " UNION ALL "), false),
            (with(45, "c?"), true),
            (with(40, "c? AS a, c? AS b"), false),
            (calls(10), true),
            (calls(11), false),
            (calls(1_000), false),
            (format!("SELECT {}", repeat(500, &|i| format!("{i} AS c{i}"), ", ")), true),
            (format!("SELECT {}", repeat(501, &|i| format!("{i} AS c{i}"), ", ")), false),
            (cases(500), true),
            (cases(501), false),
            (cases(5_000), false),
            (casts(10, "1"), true),
            (casts(40, "1"), false),
            (casts(40, "1 1"), false),
            (casts(1_000, "1"), false),
            (within(6), true),
            (within(7), false),
            (within(1_000), false),
            (exists(7), false),
            (cube(8), true),
            (cube(9), false),
            (cube(60), false),
            (subqueries(20), true),
            (subqueries(1_000), false),
            (format!("SELECT {}", repeat(60_000, &|_| "1".to_owned(), "+")), false),
        ] {
            let node = node(Limits { partitions, ..Limits::default() });
            let (asked, start) = (sql.clone(), sql.chars().take(80).collect::<String>());
            let answer = tokio::spawn(async move { node.answer(&asked).await }).await.unwrap();
            match answer {
                Ok(_) => assert!(is_answered, "{start}"),
                Err(QueryError::TooLarge { .. } | QueryError::Sql(_)) => assert!(!is_answered, "{start}"),
                Err(error) => panic!("{start}\n{error:?}"),
            }
        }
    }
}

/// One call could ask for gigabytes, which no pool would see.
#[tokio::test]
async fn functions_that_multiply_are_left_out() {
    let node = node(Limits::default());
    for call in ["repeat('a', 2000000000)", "lpad('a', 2000000000)", "array_repeat(1, 2000000000)", "range(2000000000)"]
    {
        let error = node.refusal(&format!("SELECT {call}")).await;
        assert!(matches!(&error, QueryError::Sql(text) if text.contains("Invalid function")), "{call}\n{error:?}");
    }
}

/// What doubles with every line of a WITH query stays within the memory of all questions.
#[tokio::test]
async fn texts_and_lists_do_not_grow_without_end() {
    let node = node(Limits { memory_bytes_max: 16 << 20, ..Limits::default() });
    for (first, next) in [
        ("street", "s || s"),
        ("street", "concat(s, s)"),
        ("street", "replace(s, 'A', 'AAAAAAAA')"),
        ("street", "regexp_replace(s, '^(.*)$', '\\1\\1\\1', 'g')"),
        ("[street]", "array_concat(s, s)"),
        ("[1]", "[s, s]"),
    ] {
        let lines = |n: usize, next: &str| {
            (1..=n).map(|i| format!(", c{i} AS (SELECT {next} AS s FROM c{})", i - 1)).collect::<String>()
        };
        let with = format!("WITH c0 AS (SELECT {first} AS s FROM flow GROUP BY street)");
        let error = node.refusal(&format!("{with}{} SELECT s FROM c40", lines(40, next))).await;
        assert!(matches!(error, QueryError::TooLarge { what: "working memory in bytes", .. }), "{next}\n{error:?}");
        assert_eq!(node.rows(&format!("{with}{} SELECT s IS NULL FROM c2", lines(2, next))).await, ["false"], "{next}");
    }
}

/// A listener may run a question on any thread, and drop it.
#[test]
fn questions_can_be_sent() {
    fn sent<T: Send>(_: impl Fn(&'static Engine) -> T) {}
    const OPTIONS: &QueryOptions = &QueryOptions {
        require_complete: false,
        staleness_us_max: None,
        coverage_min: None,
        window_cut: WindowCut::Error,
    };
    sent(|engine| engine.query("SELECT 1", now(), OPTIONS));
}

/// What SQL says of USING: the shared column comes first and once, and is the one of the side that the join keeps.
#[tokio::test]
async fn using_makes_columns_one() {
    let node = node(Limits::default());
    let tables = "WITH z AS (SELECT * FROM (VALUES (1, 'z1'), (2, 'z2')) AS v(k, z)), a AS (SELECT * FROM (VALUES (2, 'a2'), (3, 'a3')) AS v(k, a)), m AS (SELECT * FROM (VALUES (2, 'm2'), (3, 'm3')) AS v(k, m)) ";
    for (sql, expected) in [
        ("SELECT * FROM z LEFT JOIN a USING (k) ORDER BY k", "1|z1|NULL, 2|z2|a2"),
        ("SELECT * FROM z LEFT JOIN a USING (k) LEFT JOIN m USING (k) ORDER BY k", "1|z1|NULL|NULL, 2|z2|a2|m2"),
        ("SELECT * FROM z RIGHT JOIN a USING (k) ORDER BY k", "2|z2|a2, 3|NULL|a3"),
        (
            "SELECT * FROM z FULL JOIN a USING (k) FULL JOIN m USING (k) ORDER BY k",
            "1|z1|NULL|NULL, 2|z2|a2|m2, 3|NULL|a3|m3",
        ),
        ("SELECT k, z.k AS zk, a.k AS ak FROM z LEFT JOIN a USING (k) WHERE k < 2", "1|1|NULL"),
        ("SELECT k + 1 AS next, count(*) FROM z JOIN a USING (k) JOIN m USING (k) GROUP BY k HAVING k = 2", "3|1"),
        ("SELECT z FROM z LEFT JOIN a USING (k) ORDER BY k DESC", "z2, z1"),
        ("SELECT a.*, k FROM z JOIN a USING (k)", "2|a2|2"),
        ("SELECT * FROM (SELECT k FROM z) AS x JOIN (SELECT k FROM a) AS y USING (k)", "2"),
        ("SELECT * FROM (z JOIN a USING (k)) JOIN m ON m.k = k", "2|z2|a2|2|m2"),
        ("SELECT z FROM z WHERE EXISTS (SELECT 1 FROM a JOIN m USING (k) WHERE k = z.k)", "z2"),
        (
            "SELECT * FROM z JOIN a USING (k) UNION ALL SELECT * FROM z LEFT JOIN m USING (k) WHERE k = 1 ORDER BY k",
            "1|z1|NULL, 2|z2|a2",
        ),
    ] {
        assert_eq!(node.rows(&format!("{tables}{sql}")).await.join(", "), expected, "{sql}");
    }
    for sql in [
        "SELECT * FROM z NATURAL JOIN a",
        "SELECT * FROM z JOIN a ON z.k = a.k JOIN m USING (k)",
        "SELECT * FROM z JOIN (SELECT 2 AS k) USING (k)",
    ] {
        let error = node.refusal(&format!("{tables}{sql}")).await;
        assert!(matches!(error, QueryError::Sql(_)), "{sql}\n{error:?}");
    }
}
