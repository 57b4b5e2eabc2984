//! docs/simulation.md names every key that a scenario has, and none that it has not; its examples are scenarios.

use std::collections::BTreeSet;
use std::path::Path;

use civicmesh_sim::central::{Energy, Terms};
use civicmesh_sim::city::{CityPlan, RealDepartment};
use civicmesh_sim::scenario::{Pace, Scenario};
use serde::Serialize;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulation.md")).unwrap()
}

/// The rows of the table under a heading, their cells trimmed; without its head.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    let (_, after) = page.split_once(&format!("\n### `{heading}`\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let part = after.split("\n#").next().unwrap();
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn named(rows: &[Vec<&str>]) -> BTreeSet<String> {
    rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

fn keys(of: impl Serialize) -> BTreeSet<String> {
    toml::Table::try_from(of).unwrap().keys().cloned().collect()
}

#[test]
fn every_key_of_a_scenario_is_told_and_no_other() {
    let page = page();
    let real = RealDepartment { contract: "c".into(), lookups: Vec::new(), files: Vec::new(), rows_per_feed: 1 };
    for (heading, keys) in [
        ("[city]", keys(CityPlan::default())),
        ("[[city.real]]", keys(real)),
        ("[run]", keys(Pace::default())),
        ("[central]", keys(Terms::default())),
        ("[central.energy]", keys(Energy::default())),
    ] {
        assert_eq!(named(&rows(&page, heading)), keys, "{heading}");
    }
}

#[test]
fn the_defaults_that_are_told_are_those() {
    let page = page();
    let city = toml::Table::try_from(CityPlan::default()).unwrap();
    let run = toml::Table::try_from(Pace::default()).unwrap();
    for (heading, table) in [("[city]", city), ("[run]", run)] {
        for row in rows(&page, heading).iter().filter(|row| row[1] != "none") {
            let key = row[0].trim_matches('`');
            let told: toml::Table = format!("told = {}", row[1].trim_matches('`')).parse().unwrap();
            assert_eq!(told["told"], table[key], "{heading} {key}");
        }
    }
}

#[test]
fn every_operation_is_told_with_its_keys() {
    let page = page();
    let told = rows(&page, "[[operation]]");
    let operation = |text: &str| Scenario::parse(&format!("title = \"x\"\n[[operation]]\n{text}"), "x.toml");
    let unknown = operation("do = \"nothing\"\n").unwrap_err().to_string();
    let (_, all) = unknown.split_once("expected one of ").unwrap();
    let all: BTreeSet<String> =
        all.lines().next().unwrap().split(", ").map(|name| name.trim().trim_matches('`').to_owned()).collect();
    assert_eq!(named(&told), all);
    for row in told {
        let mut text = format!("do = \"{}\"\n", row[0].trim_matches('`'));
        for key in row[1].split(", ").map(|key| key.trim_matches('`')) {
            let value = match key {
                "one" | "other" | "sender" | "receiver" | "node" => "\"air\"",
                "database" => "\"vault\"",
                "kept" => "true",
                "until" => "20",
                _ => "10",
            };
            text += &format!("{key} = {value}\n");
        }
        assert!(operation(&text).is_ok(), "{:?}\n{text}", operation(&text));
    }
}

#[test]
fn the_examples_are_scenarios() {
    let page = page();
    let examples: Vec<&str> = page.split("```toml\n").skip(1).map(|after| after.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        Scenario::parse(example, "example.toml").unwrap();
    }
}
