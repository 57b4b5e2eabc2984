//! Windows as a city's clock has them: days of 23 and 25 hours, what `--complete` closes, empty windows, stray dates.

use crate::city::{City, Node, number};
use crate::sample::{self, TOTAL, told, total};
use civicmesh_model::time::UtcMicros;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Microseconds in half an hour.
const HALF_HOUR: i64 = 30 * 60 * 1_000_000;

/// A day on which a city's clock changes: its date, the next one, and where it starts and ends.
struct Change {
    day: [&'static str; 2],
    midnights: [&'static str; 2],
    hours: u64,
}

const NEW_YORK: [Change; 2] = [
    Change {
        day: ["2020-03-08", "2020-03-09"],
        midnights: ["2020-03-08T05:00:00Z", "2020-03-09T04:00:00Z"],
        hours: 23,
    },
    Change {
        day: ["2020-11-01", "2020-11-02"],
        midnights: ["2020-11-01T04:00:00Z", "2020-11-02T05:00:00Z"],
        hours: 25,
    },
];

const COPENHAGEN: [Change; 2] = [
    Change {
        day: ["2020-03-29", "2020-03-30"],
        midnights: ["2020-03-28T23:00:00Z", "2020-03-29T22:00:00Z"],
        hours: 23,
    },
    Change {
        day: ["2020-10-25", "2020-10-26"],
        midnights: ["2020-10-24T22:00:00Z", "2020-10-25T23:00:00Z"],
        hours: 25,
    },
];

fn micros(moment: &str) -> i64 {
    moment.parse::<UtcMicros>().expect("a moment").0
}

/// A row each half hour from a day before to a day after each change, row `n` weighing `n + 1`; and what the rows
/// within each changed day add up to.
fn rows(folder: &Path, changes: &[Change]) -> (PathBuf, Vec<u64>) {
    let (mut text, mut weight, mut within) = (String::from("id,at,zone,weight\n"), 0, Vec::new());
    for change in changes {
        let [start, end] = change.midnights.map(micros);
        let mut sum = 0;
        for at in (start - 48 * HALF_HOUR..end + 48 * HALF_HOUR).step_by(HALF_HOUR as usize) {
            weight += 1;
            sum += if (start..end).contains(&at) { weight } else { 0 };
            writeln!(text, "r{weight},{},north,{weight}", UtcMicros(at)).expect("text");
        }
        within.push(sum);
    }
    let file = folder.join("rows.csv");
    std::fs::write(&file, text).expect("written");
    (file, within)
}

/// An hourly and a daily product over the same rows, in a city of this zone.
fn city_of(timezone: &str, changes: &[Change]) -> (City, Node, Vec<u64>) {
    let mut city = City::found("Springfield", timezone);
    let start = ("start: 2024-01-01", "start: 2020-03-01");
    let hourly = sample::contract_with(city.folder.path(), &[start]);
    let mut node = city.enroll("counts", &[&hourly]);
    let daily = [
        start,
        ("id: counts.events", "id: counts.days"),
        ("- name: events", "- name: days"),
        ("name: event_rows", "name: day_rows"),
        ("grain: 1 hour", "grain: 1 day"),
    ];
    let daily = sample::contract_with(city.folder.path(), &daily);
    std::fs::copy(daily, node.dir.join("contracts/days.yaml")).expect("copied");
    node.start();
    let (file, within) = rows(city.folder.path(), changes);
    for dataset in ["event_rows", "day_rows"] {
        let taken = node.take_in(dataset, &file, &["--complete=2020-11-02"]);
        assert_eq!(taken["rejected"], 0, "{taken}");
    }
    (city, node, within)
}

fn within(product: &str, grain: &str, [from, until]: [&str; 2]) -> String {
    format!(
        "SELECT count(*) AS events, sum(weight) AS weight, count(DISTINCT date_trunc('{grain}', time)) AS windows FROM {product} WHERE time >= '{from}' AND time < '{until}'"
    )
}

fn numbers(row: &Value) -> [u64; 3] {
    ["events", "weight", "windows"].map(|name| number(&row[name]) as u64)
}

fn days_are_as_long_as_the_clock_makes_them(timezone: &str, changes: &[Change]) {
    let (_city, node, sums) = city_of(timezone, changes);
    for (change, sum) in changes.iter().zip(sums) {
        let answer = node.ask(&within("counts.events", "hour", change.day));
        assert_eq!(numbers(&answer["rows"][0]), [change.hours * 2, sum, change.hours], "{answer}");
        let part = &answer["completeness"][0];
        let windows = ["windows_expected", "windows_present"].map(|count| number(&part[count]) as u64);
        assert_eq!(windows, [change.hours; 2], "{part}");
        let answer = node.ask(&within("counts.days", "day", change.day));
        assert_eq!(numbers(&answer["rows"][0]), [change.hours * 2, sum, 1], "{answer}");
        // By the hour of the clock's face and in truth: an hour that comes twice is two.
        let [from, until] = change.day;
        let by_hour = node.ask(&format!(
            "SELECT date_trunc('hour', time) AS hour, count(*) AS events FROM counts.events WHERE time >= '{from}' AND time < '{until}' GROUP BY 1 ORDER BY 1"
        ));
        let by_hour: Vec<u64> =
            by_hour["rows"].as_array().expect("rows").iter().map(|row| number(&row["events"]) as u64).collect();
        assert_eq!(by_hour, vec![2; change.hours as usize]);
        // A coarser grouping of the hours is the day.
        let by_day = node.ask(&format!(
            "SELECT date_trunc('day', time) AS day, count(*) AS events, sum(weight) AS weight, 1 AS windows FROM counts.events WHERE time >= '{from}' AND time < '{until}' GROUP BY 1"
        ));
        assert_eq!(by_day["rows"].as_array().map(Vec::len), Some(1), "{by_day}");
        assert_eq!(numbers(&by_day["rows"][0]), [change.hours * 2, sum, 1], "{by_day}");
    }
}

#[test]
fn days_in_new_york_have_23_and_25_hours_when_the_clock_changes() {
    days_are_as_long_as_the_clock_makes_them("America/New_York", &NEW_YORK);
}

#[test]
fn days_in_copenhagen_have_23_and_25_hours_when_the_clock_changes() {
    days_are_as_long_as_the_clock_makes_them("Europe/Copenhagen", &COPENHAGEN);
}

/// A node of the sample's product with its contract changed so, running.
fn node_with(changes: &[(&str, &str)]) -> (City, Node) {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract_with(city.folder.path(), changes);
    let mut node = city.enroll("counts", &[&contract]);
    node.start();
    (city, node)
}

#[test]
fn complete_without_a_moment_closes_the_last_full_window_of_the_rows() {
    let (city, node) = node_with(&[]);
    let taken = |name, until| {
        let file = sample::rows(city.folder.path(), name, 0, until);
        node.take_in("event_rows", &file, &["--complete"])["closed_through"].clone()
    };
    assert_eq!(taken("half.csv", 5_400), micros("2024-01-01T01:00:00Z"), "the second hour goes on");
    assert_eq!(told(&node), Some((3_600, total(3_600))));
    assert_eq!(taken("two.csv", 7_201), micros("2024-01-01T02:00:00Z"), "a row in the third: the second is full");
    assert_eq!(told(&node), Some((7_200, total(7_200))));
}

#[test]
fn windows_before_the_first_row_are_expected_and_empty() {
    for (empty, missing, exact) in [("missing", 3, false), ("zero", 0, true)] {
        let lateness = format!("empty: {empty}, lateness: 1 hour");
        let (city, node) = node_with(&[("lateness: 1 hour", &lateness)]);
        let file = sample::rows(city.folder.path(), "rows.csv", 3 * 3_600, 5 * 3_600);
        node.take_in("event_rows", &file, &["--complete=2024-01-01T05:00"]);
        let part = node.ask(TOTAL)["completeness"][0].clone();
        let counts = ["windows_expected", "windows_present", "windows_empty", "windows_missing"];
        assert_eq!(counts.map(|count| number(&part[count]) as u64), [5, 2, 3, missing], "{part}");
        assert_eq!(part["exact"], exact, "{part}");
        assert_eq!(
            node.product("counts.events").expect("known")["entries"],
            3,
            "one run of empty windows, two releases"
        );
        let before = node.ask("SELECT count(*) AS events FROM counts.events WHERE time < '2024-01-01 03:00'");
        assert_eq!(before["rows"][0]["events"], 0);
    }
}

#[test]
fn a_stray_date_is_a_reject_and_makes_no_windows() {
    let (city, node) = node_with(&[("zone: UTC}", "zone: UTC, from: 2024-01-01}")]);
    let file = sample::rows(city.folder.path(), "rows.csv", 0, 7_200);
    let stray = "s1,2999-01-01T00:00:00Z,north,1\ns2,0204-01-01T00:00:00Z,north,1\ns3,2023-12-31T23:59:59Z,north,1\n";
    let rows = std::fs::read_to_string(&file).expect("rows") + stray;
    std::fs::write(&file, rows).expect("written");
    let output = node.ingest("event_rows", &[&file], &["--complete"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for said_of in [
        "2999-01-01T00:00:00Z`: more than a year later than the node's clock",
        "0204-01-01T00:00:00Z`: outside the range",
    ] {
        assert!(said.contains(said_of), "{said}");
    }
    let taken: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&taken[0]["accepted"], &taken[0]["rejected"]), (&7_200.into(), &3.into()), "{taken}");
    assert_eq!(taken[0]["closed_through"], micros("2024-01-01T01:00:00Z"), "the watermark stays with the others");
    let product = node.product("counts.events").expect("known");
    assert_eq!((&product["entries"], &product["rejects"]), (&1.into(), &3.into()), "{product}");
    assert_eq!(told(&node), Some((3_600, total(3_600))));
}
