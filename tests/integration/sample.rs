//! A small dataset of our own making, with a weight that no two rows share in a sum that must come out exactly.

use crate::city::{City, Node, civicmesh, eventually, root, text};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Two departments with the files of a first city, every release at both: the city, the bikes' node, and air's, which
/// runs on this contract and is set up by `set_up` before it starts.
pub fn first_city(readings: &Path, set_up: impl FnOnce(&mut Node)) -> (City, Node, Node) {
    let mut city = City::found("Aarhus", "Europe/Copenhagen");
    let first = root().join("deploy/first");
    let mut bikes = city.enroll("bikes", &[&first.join("bikes/counts.yaml")]);
    let mut air = city.enroll("air", &[readings]);
    set_up(&mut air);
    for (node, dataset, file) in
        [(&mut bikes, "counts", "bikes/counts.csv"), (&mut air, "readings", "air/readings.csv")]
    {
        node.start();
        node.take_in(dataset, &first.join(file), &["--complete=2024-06-06"]);
    }
    eventually("both products are at air's node, whole", || {
        let sql = "SELECT sum(bikes) AS bikes FROM bikes.counts";
        let output = civicmesh(&["query", "--node", text(&air.dir), "--format", "json", sql]);
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        (answer["completeness"][0]["windows_open"] == 0).then_some(())
    });
    (city, bikes, air)
}

/// One product `counts.events`: open, hourly, in UTC, keyed by row, so that nothing is lost or doubled unseen.
pub fn contract(folder: &Path) -> PathBuf {
    contract_with(folder, &[])
}

/// The same with some of its words replaced, each of which must stand there.
pub fn contract_with(folder: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let mut contract = CONTRACT.to_owned();
    for (from, to) in changes {
        assert!(contract.contains(from), "no `{from}` in {contract}");
        contract = contract.replace(from, to);
    }
    let file = folder.join("events.yaml");
    std::fs::write(&file, contract).expect("written");
    file
}

/// Makes the product one about people: every row another contributor, ten of them to a cell.
pub const THRESHOLD: &[(&str, &str)] = &[
    ("method: open, reason: counters of things and of no person", "method: threshold, k: 10"),
    (", publish: [count, sum, sum_squares, min, max]", ""),
    ("key: [id]", "key: [id]\n    contributor: row"),
];

const CONTRACT: &str = r#"apiVersion: v3.1.0
kind: DataContract
id: counts.events
version: 1.0.0
status: active
name: Counted events
description: {purpose: Show that nothing is lost and nothing doubled}
schema:
- name: events
  properties:
  - {name: time, logicalType: timestamp, required: true, description: Start of the hour}
  - {name: zone, logicalType: string, required: true, description: Where}
  - {name: weight, logicalType: number, description: A weight of its own for each row}
customProperties:
- property: civicmesh.terms
  value:
    windows: {grain: 1 hour, start: 2024-01-01, lateness: 1 hour}
    measures: {weight: {unit: "1", decimals: 0, min: 0, max: 1000000, publish: [count, sum, sum_squares, min, max]}}
    disclosure: {method: open, reason: counters of things and of no person, approver: the test}
    audience: city
    retention: {raw: 20 years, releases: 20 years}
- property: civicmesh.dataset
  value:
    name: event_rows
    time: {column: at, zone: UTC}
    columns: {id: text, at: timestamp, zone: text, weight: number}
    key: [id]
"#;

/// Rows `from..until`, one a second from 1 January 2024, row `n` weighing `n + 1`.
pub fn rows(folder: &Path, name: &str, from: u64, until: u64) -> PathBuf {
    let mut text = String::from("id,at,zone,weight\n");
    for n in from..until {
        let (day, second) = (n / 86_400 + 1, n % 86_400);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let zone = ["north", "east", "south", "west"][usize::try_from(n % 4).expect("small")];
        writeln!(text, "r{n},2024-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z,{zone},{}", n + 1).expect("text");
    }
    let file = folder.join(name);
    std::fs::write(&file, text).expect("written");
    file
}

/// What the weights of rows `0..count` add up to.
pub fn total(count: u64) -> u64 {
    count * (count + 1) / 2
}

/// Counts and adds up every row of the product.
pub const TOTAL: &str = "SELECT count(*) AS events, sum(weight) AS weight FROM counts.events";

/// What a node answers to [`TOTAL`], once it has an answer.
pub fn told(node: &Node) -> Option<(u64, u64)> {
    let output = civicmesh(&["query", "--node", text(&node.dir), "--format", "json", TOTAL]);
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    Some((number(&answer["rows"][0]["events"])?, number(&answer["rows"][0]["weight"])?))
}

/// Waits until a node answers [`TOTAL`] so.
pub fn arrives(node: &Node, whole: (u64, u64)) {
    let what = format!("{} counts {whole:?}", node.domain);
    eventually(&what, || (told(node) == Some(whole)).then_some(()));
}
