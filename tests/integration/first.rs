//! A newcomer's first city, as README walks through it: two departments with keys of their own, two small files, one
//! joined question, and what is refused.

use crate::city::{City, Node, civicmesh, eventually, must, root, text};
use civicmesh_node::free_addresses;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn first(name: &str) -> PathBuf {
    root().join("deploy/first").join(name)
}

/// A node that made its own keys: request, answer, accept.
fn join(city: &City, domain: &str, seeds: &[&str], contract: &Path) -> (Node, String) {
    let dir = city.folder.path().join(domain);
    let [listen, department] = free_addresses().expect("free ports").map(|address| address.to_string());
    let mut arguments =
        vec!["node", "request", text(&dir), "--domain", domain, "--listen", &listen, "--department", &department];
    for seed in seeds {
        arguments.extend(["--seed", seed]);
    }
    must(&arguments);
    renew(city, &dir);
    std::fs::copy(contract, dir.join("contracts").join(contract.file_name().expect("a name"))).expect("copied");
    must(&["node", "check", text(&dir)]);
    (Node::at(domain, dir), listen)
}

/// The office answers the request that stands in the node's folder, and the node accepts the answer.
fn renew(city: &City, dir: &Path) {
    let (request, answer) = (dir.join("request.json"), dir.join("answer.json"));
    must(&["city", "enroll", text(&city.office()), "--request", text(&request)]);
    must(&["node", "accept", text(dir), text(&answer)]);
}

fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

const JOINED: &str = "SELECT district, bikes, no2 \
    FROM (SELECT district, sum(bikes) AS bikes FROM bikes.counts GROUP BY district) AS b \
    JOIN (SELECT district, avg(no2) AS no2 FROM air.readings GROUP BY district) AS a USING (district) \
    ORDER BY bikes DESC";

fn city() -> (City, Node, Node) {
    let city = City::found("Aarhus", "Europe/Copenhagen");
    let (mut bikes, listen) = join(&city, "bikes", &[], &first("bikes/counts.yaml"));
    let (mut air, _) = join(&city, "air", &[&listen], &first("air/readings.yaml"));
    bikes.start();
    air.start();
    for (node, dataset, file) in [(&bikes, "counts", "bikes/counts.csv"), (&air, "readings", "air/readings.csv")] {
        let output = node.ingest(dataset, &[&first(file)], &["--complete=2024-06-06"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    (city, bikes, air)
}

#[test]
fn two_departments_answer_one_question_and_own_up_to_what_it_lacks() {
    let (city, mut bikes, air) = city();
    for node in [&bikes, &air] {
        let rows = eventually("both products are at both nodes", || {
            let output = civicmesh(&["query", "--node", text(&node.dir), "--format", "json", JOINED]);
            let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
            (answer["rows"].as_array()?.len() == 3).then_some(answer)
        });
        let expected = [("old_town", 6773.0, 37.2208), ("harbour", 4257.0, 26.575), ("hill", 2055.0, 17.6)];
        for (row, (district, bikes, no2)) in rows["rows"].as_array().expect("rows").iter().zip(expected) {
            assert_eq!(row["district"], district);
            assert_eq!(number(&row["bikes"]), bikes);
            assert!((number(&row["no2"]) - no2).abs() < 5e-5, "{row}");
        }
        let completeness = rows["completeness"].as_array().expect("completeness");
        let counts = completeness.iter().find(|part| part["product"] == "bikes.counts").expect("bikes.counts");
        assert_eq!(counts["cells_suppressed"], 48);
        assert_eq!(counts["exact"], false, "suppressed cells are no random loss");
    }
    refusals(&air);
    explaining_names_what_is_read(&air);
    gaps_have_an_exit_code(&air);
    tokens_guard_the_department(&bikes);
    a_renewed_certificate_is_taken_up(&city, &mut bikes);
}

fn refusals(node: &Node) {
    for (sql, said) in [
        ("SELECT max(bikes) FROM bikes.counts", "max"),
        ("SELECT * FROM bikes.counts", "bikes.counts"),
        ("SELECT avg(bikes) FROM bikes.counts WHERE time > '2024-06-04'", ">="),
        ("SELECT sum(no2) FROM air.readings", "avg(no2)"),
        ("SELECT count(*) FROM bikes.trips", "bikes.counts"),
        ("DROP TABLE bikes.counts", ""),
        ("SELECT b.district FROM bikes.counts b JOIN air.readings a ON a.district = b.district", ""),
    ] {
        let refusal = node.refusal(sql);
        assert!(refusal.contains(said), "{sql}: {refusal}");
    }
}

fn explaining_names_what_is_read(node: &Node) {
    let output = civicmesh(&["query", "--node", text(&node.dir), "--format", "json", &format!("EXPLAIN {JOINED}")]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = answer["rows"].as_array().expect("rows");
    let read: Vec<&Value> = rows.iter().filter(|row| row["plan_type"] == "releases").collect();
    let told: Vec<[&Value; 3]> = read.iter().map(|row| [&row["product"], &row["owner"], &row["method"]]).collect();
    assert_eq!(told, [["air.readings", "air", "open"], ["bikes.counts", "bikes", "threshold, k = 10"]]);
    for row in read {
        assert!(
            number(&row["releases"]) > 0.0 && number(&row["bytes"]) > 100.0 && row["windows_from"].is_string(),
            "{row}"
        );
    }
}

fn gaps_have_an_exit_code(node: &Node) {
    let output = civicmesh(&["query", "--node", text(&node.dir), "--require-complete", JOINED]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = "SELECT avg(no2) AS no2 FROM air.readings";
    assert!(civicmesh(&["query", "--node", text(&node.dir), "--require-complete", whole]).status.success());
    assert_eq!(civicmesh(&["query"]).status.code(), Some(2));
    for format in ["csv", "parquet", "table"] {
        let output = civicmesh(&["query", "--node", text(&node.dir), "--format", format, JOINED]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{format}");
    }
}

fn tokens_guard_the_department(node: &Node) {
    let config = std::fs::read_to_string(node.dir.join("node.toml")).expect("node.toml");
    let config: toml::Table = config.parse().expect("TOML");
    let url = format!("http://{}", config["node"]["department_listen"].as_str().expect("an address"));
    let ask = |token: &str| {
        std::process::Command::new(crate::city::binary())
            .args(["query", "--node", &url, "SHOW TABLES"])
            .env("CIVICMESH_TOKEN", token)
            .output()
            .expect("civicmesh runs")
    };
    assert_eq!(ask("wrong").status.code(), Some(1));
    let token = std::fs::read_to_string(node.dir.join("tokens/query")).expect("a token");
    assert!(ask(token.trim()).status.success());
    let token = std::fs::read_to_string(node.dir.join("tokens/ingest")).expect("a token");
    assert_eq!(ask(token.trim()).status.code(), Some(1), "the ingest token asks no questions");
}

fn a_renewed_certificate_is_taken_up(city: &City, node: &mut Node) {
    let before = std::fs::read(node.dir.join("tls/node.pem")).expect("a certificate");
    must(&["node", "request", text(&node.dir)]);
    renew(city, &node.dir);
    assert_ne!(std::fs::read(node.dir.join("tls/node.pem")).expect("a certificate"), before);
    must(&["node", "check", text(&node.dir)]);
    // A stop and a start with the new one: peers still take it.
    assert_eq!(node.stop(), Some(0));
    node.start();
    eventually("the peer is reached with the new certificate", || {
        let status = node.status();
        let domains = status["domains"].as_array()?.clone();
        domains.iter().any(|domain| domain["domain"] == "air" && domain["link"] == "reached").then_some(())
    });
}

#[test]
fn a_wrong_file_is_taken_back_before_its_windows_are_released_and_not_after() {
    let city = City::found("Aarhus", "Europe/Copenhagen");
    let (mut air, _) = join(&city, "air", &[], &first("air/readings.yaml"));
    air.start();
    let file = first("air/readings.csv");
    let undo = || civicmesh(&["ingest", "undo", "--node", text(&air.dir), "--dataset", "readings", text(&file)]);
    let wrong = city.folder.path().join("wrong.csv");
    std::fs::write(&wrong, "time,station,district,no2,temperature\n2024-06-03T10:00:00Z,x,hill,400,10\n")
        .expect("written");
    assert!(air.ingest("readings", &[&wrong], &[]).status.success());
    assert!(
        civicmesh(&["ingest", "undo", "--node", text(&air.dir), "--dataset", "readings", text(&wrong)])
            .status
            .success()
    );
    let output = air.ingest("readings", &[&file], &["--complete=2024-06-06"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = air.ask("SELECT avg(no2) AS no2 FROM air.readings WHERE district = 'hill'");
    assert!((number(&answer["rows"][0]["no2"]) - 17.6).abs() < 5e-5, "the wrong row is gone: {answer}");
    let refused = undo();
    assert_eq!(refused.status.code(), Some(1), "released windows are not taken back");
}

#[test]
fn bad_rows_cost_themselves_and_a_wrong_file_is_refused_whole() {
    let city = City::found("Aarhus", "Europe/Copenhagen");
    let (mut air, _) = join(&city, "air", &[], &first("air/readings.yaml"));
    air.start();
    let bad = city.folder.path().join("bad.csv");
    std::fs::write(
        &bad,
        "time,station,district,no2,temperature\r\n2024-06-03T10:00:00Z,a,hill,20,10\nnot a time,a,hill,20,10\n2024-06-03T11:00:00Z,a,hill,many,10\r2024-06-03T12:00:00Z,a,hill,22,10\n",
    )
    .expect("written");
    let output = air.ingest("readings", &[&bad], &[]);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary[0]["accepted"], 2, "{summary}");
    assert_eq!(summary[0]["rejected"], 2, "{summary}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("bad.csv:3") && said.contains("many"), "{said}");
    let rejects = summary[0]["reject_file"].as_str().expect("a reject file");
    let rejects =
        [PathBuf::from(rejects), air.dir.join(rejects)].into_iter().find(|path| path.exists()).expect("it is there");
    let mode = std::os::unix::fs::PermissionsExt::mode(&rejects.metadata().expect("metadata").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!air.log().contains("many"), "a value stands in the log");
    let wrong = air.ingest("readings", &[&first("bikes/counts.csv")], &[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no2"), "{}", String::from_utf8_lossy(&wrong.stderr));
}
