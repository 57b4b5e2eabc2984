//! Logs: every line is JSON, a request is followed from node to node by its id, and no observation's value is in them.

use crate::city::{City, Node, eventually, text};
use crate::sample::{self, THRESHOLD, TOTAL, arrives, total};
use civicmesh_proto::department::v1::QueryRequest;
use civicmesh_proto::department::v1::department_service_client::DepartmentServiceClient;
use serde_json::Value;
use std::collections::BTreeSet;
use tonic::transport::Endpoint;

/// Every line of the node's log.
fn lines(node: &Node) -> Vec<Value> {
    let log = node.log();
    // The last line may be on its way.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(read).collect()
}

/// The span of this name that a line stands in.
fn span<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line["spans"].as_array()?.iter().find(|span| span["name"] == name)
}

/// Ids of requests by their span, of the lines that say this.
fn ids(node: &Node, name: &str, key: &str, said: &str) -> BTreeSet<String> {
    let lines = lines(node);
    let spans = lines.iter().filter(|line| line["message"] == said).filter_map(|line| span(line, name));
    spans.map(|span| span[key].as_str().expect("an id").to_owned()).collect()
}

/// Asks with a request id of one's own; the id that comes back.
async fn ask_as(node: &Node, id: &str) -> String {
    let url = format!("http://{}", node.address("department_listen"));
    let channel = Endpoint::from_shared(url).expect("a URL").connect().await.expect("connected");
    let mut request = tonic::Request::new(QueryRequest { sql: TOTAL.to_owned(), ..QueryRequest::default() });
    let bearer = format!("Bearer {}", node.token("query"));
    request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
    request.metadata_mut().insert("x-request-id", id.parse().expect("ASCII"));
    let answer = DepartmentServiceClient::new(channel).query(request).await.expect("answered");
    answer.metadata().get("x-request-id").expect("an id").to_str().expect("ASCII").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_by_its_id_through_the_logs_of_both_nodes() {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract(city.folder.path());
    let mut owner = city.enroll("counts", &[&contract]);
    let mut peer = city.enroll("reader", &[]);
    // Calls that go well are told of in detail only: there is one every few seconds.
    owner.start_with(&[("CIVICMESH_LOG", "info,civicmesh_exchange=debug")]);
    peer.start();
    let file = sample::rows(city.folder.path(), "rows.csv", 0, 60);
    owner.take_in("event_rows", &file, &["--complete=2024-01-01T01:00"]);
    arrives(&peer, (60, total(60)));

    let pulled = ids(&peer, "pull", "request", "pulled");
    assert!(!pulled.is_empty(), "{}", peer.log());
    let served = ids(&owner, "serve", "request", "called");
    assert!(pulled.is_subset(&served), "pulled in {pulled:?}, served in {served:?}");
    let adopted = ids(&peer, "pull", "request", "contract adopted");
    assert_eq!(adopted.len(), 1, "{}", peer.log());
    assert!(adopted.is_subset(&served), "adopted in {adopted:?}, served in {served:?}");

    assert_eq!(ask_as(&peer, "a-question_1.0").await, "a-question_1.0");
    eventually("the question is in the log under its id", || {
        ids(&peer, "request", "id", "a question was answered").contains("a-question_1.0").then_some(())
    });
    let made = ask_as(&peer, "not fit for a log").await;
    assert!(ids(&peer, "request", "id", "a question was answered").contains(&made), "{made}");
    let taken = ids(&owner, "request", "id", "a file was taken in");
    assert_eq!(taken.len(), 1);
    for node in [&mut owner, &mut peer] {
        assert_eq!(node.stop(), Some(0));
        assert!(lines(node).iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    }
}

/// Values that no line of a log may hold: texts, a number as it stands and as it is kept, a moment in both ways.
const CANARIES: [&str; 10] = [
    "quokka_id",
    "quokka_zone",
    "quokka_text",
    "739218.46",
    "73921846",
    "271828.18",
    "27182818",
    "2024-01-01T00:41:37",
    "1704069697",
    "quokka_sql",
];

/// Rows of planted values, ten to a cell, with everything wrong that can be: each line is rejected for another reason.
fn planted() -> String {
    let mut rows = String::from("id,at,zone,weight\n");
    for row in 0..40 {
        rows.push_str(&format!("quokka_id{row},2024-01-01T00:41:37Z,quokka_zone,739218.46\n"));
    }
    for wrong in [
        "quokka_id,quokka_text,quokka_zone,739218.46",
        "quokka_id,2024-01-01T00:41:37Z,quokka_zone,quokka_text",
        "quokka_id,2024-01-01T00:41:37Z,quokka_zone,7392184627182828",
        "quokka_id,2024-01-01T00:41:37Z,quokka_zone,739218.46,quokka_text",
        "quokka_id,2924-01-01T00:41:37Z,quokka_zone,739218.46",
        "quokka_id,2024-01-01T00:41:37Z,,739218.46",
        "quokka_id,2024-01-01T00:41:37Z,\"quokka_zone,739218.46",
    ] {
        rows.push_str(wrong);
        rows.push('\n');
    }
    rows
}

#[test]
fn no_value_of_an_observation_is_in_a_log() {
    let mut city = City::found("Springfield", "UTC");
    let decimal =
        [THRESHOLD, &[("decimals: 0", "decimals: 2"), ("key: [id]", "key: [id]\n    rejects_max: 50%")]].concat();
    let contract = sample::contract_with(city.folder.path(), &decimal);
    let mut owner = city.enroll("counts", &[&contract]);
    let mut peer = city.enroll("reader", &[]);
    for node in [&mut owner, &mut peer] {
        node.start_with(&[("CIVICMESH_LOG", "trace")]);
    }
    let file = city.folder.path().join("planted.csv");
    std::fs::write(&file, planted()).expect("written");
    let taken = owner.take_in("event_rows", &file, &["--complete=2024-01-01T01:00"]);
    assert_eq!((&taken["accepted"], &taken["rejected"]), (&40.into(), &7.into()), "{taken}");
    // A row that is changed once its window is released, and a file that does not fit at all.
    std::fs::write(&file, "id,at,zone,weight\nquokka_id0,2024-01-01T00:41:37Z,quokka_zone,271828.18\n")
        .expect("written");
    owner.take_in("event_rows", &file, &[]);
    std::fs::write(&file, "quokka_text,739218.46\nquokka_id,271828.18\n").expect("written");
    assert_eq!(owner.ingest("event_rows", &[&file], &[]).status.code(), Some(1));
    eventually("the release is at the peer", || {
        let answer = peer.product("counts.events")?;
        (answer["entries"] == 1).then_some(())
    });
    for node in [&owner, &peer] {
        let zones = node.ask("SELECT zone, count(*) AS events FROM counts.events GROUP BY zone");
        assert_eq!(zones["rows"][0]["zone"], "quokka_zone", "they are what the node works with");
        bad_questions(node);
    }
    let rejects = owner.dir.join(taken["reject_file"].as_str().expect("a reject file"));
    let rejects = std::fs::read_to_string(rejects).expect("rejects");
    assert!(
        rejects.contains("quokka_text") && rejects.contains("2024-01-01T00:41:37"),
        "the owner's own file has them"
    );
    for mut node in [owner, peer] {
        assert_eq!(node.stop(), Some(0));
        let log = node.log();
        assert!(log.contains("a question was answered"), "{log}");
        for canary in CANARIES {
            let said: Vec<&str> = log.lines().filter(|line| line.contains(canary)).collect();
            assert!(said.is_empty(), "{}: {canary} in {said:#?}", node.domain);
        }
    }
}

/// Questions that fail, with planted values in them or in what they compute over.
fn bad_questions(node: &Node) {
    for sql in [
        "SELECT avg(weight) FROM counts.events WHERE zone = 'quokka_sql",
        "SELECT quokka_sql FROM counts.events",
        "SELECT count(*) FROM counts.events WHERE weight = 739218.46",
        "SELECT CAST('quokka_sql' AS INT)",
        "SELECT DATE 'quokka_sql'",
        "SELECT count(*) FROM quokka_sql.events",
    ] {
        node.refusal(sql);
    }
    // Over cells: what cannot be cast is an observation's value that was released.
    for sql in [
        "SELECT CAST(zone AS INT) AS n, count(*) FROM counts.events GROUP BY 1",
        "SELECT to_timestamp(zone) AS n, count(*) FROM counts.events GROUP BY 1",
        "SELECT 1 / (count(*) - 40) FROM counts.events",
    ] {
        let said = node.refusal(sql);
        assert!(CANARIES.iter().all(|canary| !said.contains(canary)), "{}: {said}", text(&node.dir));
    }
}
