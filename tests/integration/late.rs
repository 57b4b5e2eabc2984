//! What comes late, twice, changed or too early: a revision where the method allows one, held rows where it does not,
//! and contracts that change under a product.

use crate::city::{City, Node, eventually, must, number, text};
use crate::sample::{self, THRESHOLD, TOTAL, arrives, told, total};
use serde_json::Value;
use std::path::Path;

/// An owner of `counts.events` and a peer that reads it, both running.
fn pair(changes: &[(&str, &str)]) -> (City, Node, Node) {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract_with(city.folder.path(), changes);
    let mut owner = city.enroll("counts", &[&contract]);
    let mut peer = city.enroll("reader", &[]);
    owner.start();
    peer.start();
    (city, owner, peer)
}

/// Stops the node and starts it with the sample's contract changed so.
fn restart_with(node: &mut Node, changes: &[(&str, &str)]) {
    assert_eq!(node.stop(), Some(0), "{}", node.log());
    sample::contract_with(&node.dir.join("contracts"), changes);
    node.start();
}

/// The sums of the sample's rows `from..until`.
fn sums(from: u64, until: u64) -> (u64, u64) {
    (until - from, total(until) - total(from))
}

fn plus(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}

fn product(node: &Node) -> Value {
    node.product("counts.events").expect("the product is known")
}

/// How complete the node says its answer is.
fn completeness(node: &Node) -> Value {
    node.ask(TOTAL)["completeness"][0].clone()
}

#[test]
fn late_rows_of_an_open_product_make_revisions_that_travel() {
    let (city, owner, peer) = pair(&[]);
    let rows = |name, from, until| sample::rows(city.folder.path(), name, from, until);
    owner.take_in("event_rows", &rows("early.csv", 0, 1_800), &["--complete=2024-01-01T02:00"]);
    arrives(&peer, sums(0, 1_800));
    assert_eq!(product(&peer)["entries"], 2, "the first hour, and one that is empty");
    // The rest of the first hour, and half of the one that was empty.
    let late = owner.take_in("event_rows", &rows("late.csv", 1_800, 5_400), &[]);
    assert_eq!((&late["accepted"], &late["late"]), (&3_600.into(), &0.into()), "nothing is held");
    assert_eq!(told(&owner), Some(sums(0, 5_400)));
    arrives(&peer, sums(0, 5_400));
    for node in [&owner, &peer] {
        assert_eq!(product(node)["entries"], 4, "{}: what was said once stays in the log", node.domain);
        let part = completeness(node);
        assert_eq!((&part["revision_max"], &part["exact"]), (&1.into(), &true.into()), "{part}");
        assert_eq!((&part["windows_present"], &part["windows_empty"]), (&2.into(), &0.into()), "{part}");
    }
    assert_eq!(product(&owner)["late_rows_held"], 0);
}

#[test]
fn late_rows_of_a_threshold_product_are_counted_held_and_told_to_nobody() {
    let (city, mut owner, peer) = pair(THRESHOLD);
    let rows = |name, from, until| sample::rows(city.folder.path(), name, from, until);
    owner.take_in("event_rows", &rows("early.csv", 0, 1_800), &["--complete=2024-01-01T01:00"]);
    arrives(&peer, sums(0, 1_800));
    // Enough of them to hide in, and held all the same: the difference of two revisions would be they.
    let late = owner.take_in("event_rows", &rows("late.csv", 1_800, 1_860), &[]);
    assert_eq!((&late["accepted"], &late["late"]), (&60.into(), &60.into()));
    assert_eq!(told(&owner), Some(sums(0, 1_800)));
    // What is released after them has arrived, and they have not.
    owner.take_in("event_rows", &rows("next.csv", 3_600, 4_000), &["--complete=2024-01-01T02:00"]);
    let whole = plus(sums(0, 1_800), sums(3_600, 4_000));
    arrives(&peer, whole);
    assert_eq!(told(&owner), Some(whole));
    for node in [&owner, &peer] {
        assert_eq!(completeness(node)["revision_max"], 0);
    }
    assert_eq!(product(&owner)["late_rows_held"], 60);
    assert_eq!(product(&peer)["late_rows_held"], Value::Null);
    let asked = std::process::Command::new(crate::city::binary())
        .args(["status", "--node", text(&owner.dir), "--format", "json"])
        .env("CIVICMESH_TOKEN", owner.token("query"))
        .output()
        .expect("civicmesh runs");
    let shown: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    assert_eq!(shown["products"][0]["late_rows_held"], Value::Null, "who only asks does not see it");
    assert_eq!(owner.stop(), Some(0));
    owner.start();
    eventually("they are counted again after a restart", || (product(&owner)["late_rows_held"] == 60).then_some(()));
    assert_eq!(told(&owner), Some(whole));
}

#[test]
fn a_grown_file_counts_each_row_once_and_a_changed_row_is_a_correction() {
    let (city, owner, peer) = pair(&[]);
    let file = sample::rows(city.folder.path(), "rows.csv", 0, 100);
    owner.take_in("event_rows", &file, &[]);
    sample::rows(city.folder.path(), "rows.csv", 0, 200);
    let grown = std::fs::read_to_string(&file).expect("rows");
    std::fs::write(&file, grown.replace("Z,east,6\n", "Z,east,506\n")).expect("written");
    let taken = owner.take_in("event_rows", &file, &["--complete=2024-01-01T01:00"]);
    let counts = ["accepted", "duplicate", "corrected", "rejected"].map(|what| number(&taken[what]));
    assert_eq!(counts, [100.0, 99.0, 1.0, 0.0], "{taken}");
    let whole = (200, total(200) + 500);
    assert_eq!(told(&owner), Some(whole));
    arrives(&peer, whole);
}

#[test]
fn a_changed_contract_applies_to_windows_not_yet_released() {
    let (city, mut owner, peer) = pair(THRESHOLD);
    let rows = |name, from, until| sample::rows(city.folder.path(), name, from, until);
    // In each hour 15 rows a zone: enough for k = 10 and too few for k = 20.
    owner.take_in("event_rows", &rows("first.csv", 0, 60), &["--complete=2024-01-01T01:00"]);
    arrives(&peer, sums(0, 60));
    let stricter = [THRESHOLD, &[("k: 10", "k: 20"), ("version: 1.0.0", "version: 2.0.0")]].concat();
    restart_with(&mut owner, &stricter);
    owner.take_in("event_rows", &rows("second.csv", 3_600, 3_660), &["--complete=2024-01-01T02:00"]);
    let suppressed = |node: &Node| (completeness(node)["cells_suppressed"] == 4).then_some(());
    eventually("the second hour is at the peer", || suppressed(&peer));
    for node in [&owner, &peer] {
        assert_eq!(told(node), Some(sums(0, 60)), "the first hour stands as it was released");
        let part = completeness(node);
        assert_eq!((&part["cells"], &part["cells_suppressed"]), (&4.into(), &4.into()), "{part}");
        assert_eq!((&part["contract_version"], &part["exact"]), (&"2.0.0".into(), &false.into()), "{part}");
        let refusal = node.refusal("SELECT count(*) FROM counts.events WHERE time >= '2024-01-01 01:00'");
        assert!(refusal.contains("suppressed"), "{refusal}");
    }
}

#[test]
fn a_second_product_over_released_rows_is_refused_at_start() {
    let (city, mut owner, _peer) = pair(sample::THRESHOLD);
    let rows = sample::rows(city.folder.path(), "rows.csv", 0, 60);
    owner.take_in("event_rows", &rows, &["--complete=2024-01-01T01:00"]);
    assert_eq!(owner.stop(), Some(0));
    // The same rows by place alone: the difference of the two would show a suppressed cell.
    let second = [("id: counts.events", "id: counts.again"), ("- name: events", "- name: again")];
    let changes: Vec<_> = sample::THRESHOLD.iter().copied().chain(second).collect();
    sample::contract_with(&owner.dir.join("contracts"), &changes);
    let said = owner.start_refused();
    assert!(said.contains("counts.events was released from dataset event_rows"), "{said}");
    // An open product tells of no person, but the one before it did.
    sample::contract_with(&owner.dir.join("contracts"), &second);
    assert!(owner.start_refused().contains("was released from dataset event_rows"));
    sample::contract_with(&owner.dir.join("contracts"), sample::THRESHOLD);
    owner.start();
    assert!(told(&owner).is_some());
}

#[test]
fn a_contract_that_breaks_what_was_released_is_refused_at_start() {
    let (city, mut owner, _peer) = pair(&[]);
    let rows = sample::rows(city.folder.path(), "rows.csv", 0, 60);
    owner.take_in("event_rows", &rows, &["--complete=2024-01-01T01:00"]);
    assert_eq!(owner.stop(), Some(0));
    for (from, to, what) in [
        ("grain: 1 hour", "grain: 2 hours", "grain"),
        ("decimals: 0", "decimals: 1", "decimals of weight"),
        ("unit: \"1\"", "unit: kg", "unit of weight"),
    ] {
        let contracts = owner.dir.join("contracts");
        sample::contract_with(&contracts, &[(from, to), ("version: 1.0.0", "version: 2.0.0")]);
        must(&["contract", "check", text(&contracts.join("events.yaml"))]);
        let said = owner.start_refused();
        assert!(said.contains(what) && said.contains("needs a new product"), "{said}");
    }
    sample::contract(&owner.dir.join("contracts"));
    owner.start();
    assert_eq!(told(&owner), Some(sums(0, 60)));
}

#[test]
fn a_draft_takes_rows_in_shows_what_would_leave_and_releases_nothing() {
    let draft = [THRESHOLD, &[("status: active", "status: draft")]].concat();
    let (city, mut owner, peer) = pair(&draft);
    let taken = |name, from, until: u64, complete| {
        let file = sample::rows(city.folder.path(), name, from, until);
        owner.take_in("event_rows", &file, &[complete])
    };
    // Fifteen rows a zone in the first hour, five in the second.
    taken("first.csv", 0, 60, "--complete=2024-01-01T01:00");
    let second = taken("second.csv", 3_600, 3_620, "--complete=2024-01-01T02:00");
    assert!(second["notes"].to_string().contains("draft"), "{second}");
    assert_eq!((&second["accepted"], &second["closed_through"]), (&20.into(), &Value::Null), "{second}");
    let preview = ["contract", "preview", "--node", text(&owner.dir), "--product", "events", "--format", "json"];
    let preview: Value = serde_json::from_str(&must(&preview)).expect("JSON");
    let cells = |window: &Value| (number(&window["cells"]), number(&window["cells_suppressed"]));
    let windows: Vec<_> = preview["windows"].as_array().expect("windows").iter().map(cells).collect();
    assert_eq!(windows, [(4.0, 0.0), (0.0, 4.0)], "{preview}");
    // A peer that has listed the owner's products since then has heard of none.
    let now = owner.status()["now"].as_i64().expect("microseconds");
    eventually("the peer has asked the owner anew", || listed_since(&peer, now));
    assert_eq!(peer.product("counts.events"), None);
    let own = product(&owner);
    assert_eq!((&own["draft"], &own["entries"]), (&true.into(), &0.into()), "{own}");
    let part = completeness(&owner);
    assert_eq!(part["exact"], false, "{part}");
    assert!(part["note"].to_string().contains("nothing of it is released yet"), "{part}");

    restart_with(&mut owner, THRESHOLD);
    let file = Path::new(city.folder.path()).join("second.csv");
    owner.take_in("event_rows", &file, &["--complete=2024-01-01T02:00"]);
    arrives(&peer, sums(0, 60));
}

/// Whether the node has reached `counts` since a moment.
fn listed_since(node: &Node, now: i64) -> Option<()> {
    let status = node.status();
    let counts = status["domains"].as_array()?.iter().find(|domain| domain["domain"] == "counts")?.clone();
    (counts["last_contact"].as_i64()? > now).then_some(())
}
