//! What scripts and scrapers rely on: `/metrics`, `/healthz`, exit codes, completions.

use crate::city::{City, Node, civicmesh, must, text};
use crate::{openmetrics, sample};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// Status line, headers and body of what a plain HTTP client gets.
fn get(node: &Node, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(node.address("department_listen")).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("UTF-8");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let (status, headers) = head.split_once("\r\n").expect("headers");
    (status.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn metrics_are_sound_openmetrics_and_count_what_happened() {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract_with(city.folder.path(), sample::THRESHOLD);
    let mut node = city.enroll("counts", &[&contract]);
    let mut peer = city.enroll("reader", &[]);
    node.start();
    peer.start();
    let (status, _, body) = get(&node, "/healthz");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok\n"));
    let fresh = get(&node, "/metrics").2;
    openmetrics::read(&fresh).unwrap_or_else(|wrong| panic!("before anything happened: {wrong}\n{fresh}"));

    let file = sample::rows(city.folder.path(), "rows.csv", 0, 3_600);
    node.take_in("event_rows", &file, &["--complete=2024-01-01T01:00"]);
    node.take_in("event_rows", &sample::rows(city.folder.path(), "late.csv", 0, 3_610), &[]);
    let late = city.folder.path().join("later.csv");
    std::fs::write(&late, "id,at,zone,weight\nx1,2024-01-01T00:10:00Z,north,1\nx2,soon,north,1\n").expect("written");
    assert_eq!(node.ingest("event_rows", &[&late], &[]).status.code(), Some(1), "half of its rows are rejected");
    sample::arrives(&peer, (3_600, sample::total(3_600)));
    node.refusal("SELECT max(weight) FROM counts.events");

    let (status, headers, body) = get(&node, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{headers}");
    let scrape = openmetrics::read(&body).unwrap_or_else(|wrong| panic!("{wrong}\n{body}"));
    let families: Vec<&String> = scrape.families.keys().collect();
    assert!(families.iter().all(|name| name.starts_with("civicmesh_")), "{families:?}");
    let value = |sample: &str| *scrape.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in\n{body}"));
    for (fate, rows) in [("Accepted", 3_611.0), ("Duplicate", 3_600.0), ("Rejected", 1.0)] {
        assert_eq!(value(&format!("civicmesh_ingest_rows_total{{dataset=\"event_rows\",fate=\"{fate}\"}}")), rows);
    }
    assert_eq!(value("civicmesh_log_entries_appended_total{product=\"counts.events\",kind=\"Release\"}"), 1.0);
    assert_eq!(value("civicmesh_late_rows_held{product=\"counts.events\"}"), 1.0);
    assert_eq!(value("civicmesh_queries_total{outcome=\"ERROR_CODE_QUERY_REFUSED\"}"), 1.0);
    assert_eq!(value("civicmesh_query_seconds_count"), 1.0);
    assert_eq!(value("civicmesh_product_closed_through_timestamp_seconds{product=\"counts.events\"}"), 1_704_070_800.0);
    assert!(value("civicmesh_certificate_left_seconds") > 86_400.0);
    assert!(value("civicmesh_peer_sent_bytes{domain=\"reader\"}") > 0.0);
    let seen = openmetrics::read(&get(&peer, "/metrics").2).expect("sound");
    assert_eq!(seen.samples["civicmesh_peer_reached{domain=\"counts\"}"], 1.0);
    assert!(seen.samples["civicmesh_product_head_age_seconds{product=\"counts.events\"}"] < 90.0);
    assert!(
        !seen.samples.keys().any(|sample| sample.contains("late_rows_held{")),
        "counts of raw rows stay with the owner"
    );
}

#[test]
fn exit_codes_say_how_it_went() {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract(city.folder.path());
    let mut node = city.enroll("counts", &[&contract]);
    let code = |arguments: &[&str]| civicmesh(arguments).status.code();
    let dir = text(&node.dir).to_owned();
    assert_eq!(code(&["status", "--node", &dir]), Some(1), "nobody answers");
    node.start();
    let file = sample::rows(city.folder.path(), "rows.csv", 0, 3_601);
    node.take_in("event_rows", &file, &["--complete"]);
    let (question, gap) =
        ("SELECT count(*) FROM counts.events", "SELECT count(*) FROM counts.events WHERE time < '2024-01-02'");
    let nowhere = text(city.folder.path()).to_owned() + "/nowhere";
    let expected: [(i32, &[&str]); 17] = [
        (0, &["status", "--node", &dir]),
        (0, &["node", "check", &dir]),
        (0, &["contract", "check", text(&contract)]),
        (0, &["query", "--node", &dir, "--require-complete", question]),
        (0, &["query", "--node", &dir, gap]),
        (3, &["query", "--node", &dir, "--require-complete", gap]),
        (1, &["query", "--node", &dir, "SELECT * FROM counts.events"]),
        (1, &["query", "--node", &nowhere, question]),
        (1, &["node", "check", &nowhere]),
        (1, &["node", "run", &nowhere]),
        (1, &["contract", "check", text(&file)]),
        (1, &["ingest", "--node", &dir, "--dataset", "nothing", text(&file)]),
        (1, &["ingest", "--node", &dir, "--dataset", "event_rows", &nowhere]),
        (2, &[]),
        (2, &["query", "--node", &dir]),
        (2, &["status", "--node", &dir, "--format", "xml"]),
        (2, &["ingest", "--node", &dir, "--dataset", "event_rows"]),
    ];
    for (expected, arguments) in expected {
        let output = civicmesh(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {said}");
        // A report of checks is a result, also where it is a bad one.
        assert!(expected == 0 || !said.is_empty() || arguments[1] == "check", "{arguments:?} does not say why");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(must(&["completions", shell]).contains("civicmesh"), "{shell}");
    }
    let folder = tempfile::TempDir::new().expect("a folder");
    let script = folder.path().join("civicmesh.bash");
    std::fs::write(&script, must(&["completions", "bash"])).expect("written");
    assert_eq!(completed(&script, "civicmesh nod"), "node");
    assert_eq!(completed(&script, "civicmesh query --require"), "--require-complete");
}

/// What bash makes of a line that is begun.
fn completed(script: &Path, line: &str) -> String {
    let complete = "source \"$1\"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
        _civicmesh civicmesh \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[*]}\"";
    let output = std::process::Command::new("bash").args(["-c", complete, "bash", text(script), line]).output();
    let output = output.expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
