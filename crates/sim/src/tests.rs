//! Whole runs: the same seed twice, faults of each kind, and planted bugs that the checkers must find.

use std::ops::ControlFlow;
use std::path::Path;

use crate::central::Comparison;
use crate::city::{CanaryThing, City, CityPlan, Department, Feed};
use crate::faults::{Database, EVERY, Operation};
use crate::fuzz;
use crate::growth::Growth;
use crate::outcome::Outcome;
use crate::run::{Planted, run, run_planted};
use crate::scenario::{Pace, Scenario};
use crate::world::clock::Secret;

const HOUR: u64 = 3_600;

fn small(operations: Vec<Operation>) -> Scenario {
    let city = CityPlan { days: 1, events_per_day: 1_000, sensors_rich: 40, sensors_poor: 2, ..CityPlan::default() };
    Scenario {
        title: "A day of a small city".to_owned(),
        city,
        run: Pace { ask_s: 6 * HOUR, ..fuzz::base().run },
        operations,
    }
}

fn outcome(operations: Vec<Operation>) -> Outcome {
    run(&small(operations), 7, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Which checkers find something in a city with a bug.
fn found(planted: Planted, operations: Vec<Operation>) -> Vec<String> {
    let outcome = run_planted(&small(operations), 7, planted, &mut |_| ControlFlow::Continue(())).unwrap();
    outcome.findings.into_iter().map(|finding| finding.checker).collect()
}

fn name(domain: &str) -> String {
    domain.to_owned()
}

#[test]
fn a_small_city_lives_a_day_and_the_same_seed_gives_the_same_trace() {
    let (one, other) = (outcome(Vec::new()), outcome(Vec::new()));
    assert_eq!(one.findings, [], "{}", one.trace.join("\n"));
    assert_eq!(one.trace, other.trace);
    assert!(one.nodes.iter().all(|node| node.rows_accepted > 0 && node.starts == 1), "{:?}", one.nodes);
    assert!(one.nodes.iter().all(|node| node.rows_accepted == node.rows_sent), "{:?}", one.nodes);
    assert_eq!(one.links.len(), 20, "everyone speaks to everyone");
    assert!(one.questions.iter().any(|question| question.error.is_none()));
    assert!(one.looks.values().all(|things| *things > 0), "{:?}", one.looks);
}

#[test]
fn a_city_in_which_everything_breaks_is_whole_again() {
    let (from, until) = (2 * HOUR, 9 * HOUR);
    let crash = |node: &str, database, batch, kept| Operation::Crash {
        node: name(node),
        database,
        batch,
        kept,
        from,
        down: HOUR,
    };
    let outcome = outcome(vec![
        Operation::Partition { one: name("traffic"), other: name("air"), from, until },
        Operation::Lose { sender: name("energy"), receiver: name(EVERY), from, until },
        Operation::Slow { one: name("transit"), other: name("air"), latency_ms: 4_000, from, until },
        Operation::Flap { one: name("services"), other: name(EVERY), period: 900, from, until },
        Operation::Corrupt { sender: name("transit"), receiver: name("traffic"), every: 3, from, until },
        crash("traffic", Database::Vault, 3, true),
        crash("energy", Database::Ledger, 2, false),
        Operation::DiskFull { node: name("services"), database: Database::Vault, batch: 1, batches: 5, from },
        Operation::Away { node: name("air"), from: 12 * HOUR, until: 18 * HOUR },
        Operation::Skew { node: name("transit"), by: -1_800, from, until },
        Operation::Jump { node: name("services"), by: 600, at: from },
    ]);
    assert_eq!(outcome.findings, [], "{}", outcome.trace.join("\n"));
    let faults = &outcome.faults;
    assert!(faults.iter().all(|fault| fault.from.is_some() && fault.until.is_some()), "{faults:#?}");
    let starts: u64 = outcome.nodes.iter().map(|node| node.starts).sum();
    assert_eq!(starts, 5 + 3, "two crashed, one was away");
}

/// An ingest that died after its rows were stored resumes with more rows done than were ever accepted: the city's own
/// count of rows once ran below zero there (seed 110).
#[test]
fn a_file_that_is_resumed_counts_once() {
    let crash = |batch, from| {
        let (node, database) = (name("traffic"), Database::Vault);
        Operation::Crash { node, database, batch, kept: true, from, down: HOUR / 2 }
    };
    let mut scenario = small((1..=4).map(|batch| crash(batch, batch * 4 * HOUR)).collect());
    scenario.city.rotten = 0.3;
    let outcome = run(&scenario, 110, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(outcome.findings, [], "{}", outcome.trace.join("\n"));
    let counts = |line: &String| {
        let before = |word: &str| line.split(word).next()?.rsplit(' ').next()?.parse::<u64>().ok();
        Some((before(" accepted")?, before(" resumed")?))
    };
    let resumed = outcome.trace.iter().filter_map(counts).filter(|(accepted, resumed)| resumed > accepted).count();
    assert!(resumed > 0, "{}", outcome.trace.join("\n"));
    for node in &outcome.nodes {
        assert_eq!(node.rows_accepted, node.rows_sent, "{}", node.domain);
    }
}

#[test]
fn a_row_that_is_lost_and_one_that_counts_twice_are_found() {
    fn lose(domain: &str, feed: &mut Feed) {
        if domain == "air" && feed.name.ends_with("00005.csv") {
            let end = feed.csv[..feed.csv.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            feed.csv.truncate(end + 1);
        }
    }
    fn double(domain: &str, feed: &mut Feed) {
        if domain == "traffic" {
            let header = feed.csv.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
            let row = feed.csv[header..].to_vec();
            feed.csv.extend(row);
        }
    }
    for change in [lose as fn(&str, &mut Feed), double] {
        let found = found(Planted { feed: Some(change), ..Planted::default() }, Vec::new());
        assert!(found.contains(&name("conservation")), "{found:?}");
    }
}

#[test]
fn a_canary_on_a_link_or_in_a_log_is_found() {
    let city = City::draw(7, &small(Vec::new()).city).unwrap();
    let canary = city.departments[0].canaries.iter().find_map(|canary| match &canary.thing {
        CanaryThing::Text(text) => Some(text.clone()),
        CanaryThing::Number { .. } => None,
    });
    let canary = canary.unwrap();
    let planted = canary.clone().into_bytes();
    let tamper = move |sender: &str, _: &str, bytes: &mut Vec<u8>| {
        if sender == "traffic" && bytes.len() > 4 * planted.len() {
            let at = bytes.len() - planted.len();
            bytes[at..].copy_from_slice(&planted);
        }
    };
    let on_link = found(Planted { tamper: Some(Box::new(tamper)), ..Planted::default() }, Vec::new());
    assert!(on_link.contains(&name("egress")), "{on_link:?}");
    let in_log = found(Planted { logged: Some(format!("took {canary}")), ..Planted::default() }, Vec::new());
    assert_eq!(in_log, ["egress"]);
}

#[test]
fn an_owner_that_forgot_what_it_released_and_tells_it_anew_is_found() {
    // it revised what rows came too late for; anew, it counts them at once
    let away = Operation::Away { node: name("air"), from: 40 * HOUR, until: 42 * HOUR };
    let mut scenario = small(vec![away]);
    (scenario.city.days, scenario.city.too_late) = (2, 0.3);
    let planted = Planted { lost_ledger: Some(("air", 41 * HOUR)), ..Planted::default() };
    let outcome = run_planted(&scenario, 7, planted, &mut |_| ControlFlow::Continue(())).unwrap();
    let said = outcome.findings.iter().find(|finding| finding.checker == "immutability");
    assert!(said.is_some_and(|finding| finding.said.contains("air.readings at air")), "{:?}", outcome.findings);
}

#[test]
fn a_node_that_says_an_owner_confirmed_what_it_cannot_have_is_found() {
    let found = found(Planted { clock: Some(("air", Secret::Ahead(86_400))), ..Planted::default() }, Vec::new());
    assert!(found.contains(&name("honesty")), "{found:?}");
}

/// A week in which raw rows are kept for three days.
fn forgetful(planted: Planted) -> Outcome {
    let mut scenario = small(Vec::new());
    (scenario.city.days, scenario.city.raw_days) = (7, 3);
    run_planted(&scenario, 7, planted, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn raw_rows_go_when_their_time_is_over_and_what_was_told_of_them_stays() {
    let outcome = forgetful(Planted::default());
    assert_eq!(outcome.findings, [], "{}", outcome.trace.join("\n"));
    assert!(outcome.looks["retention"] > 0);
    for node in &outcome.nodes {
        assert!((1..node.rows_accepted).contains(&node.rows_dropped), "{node:?}");
    }
}

#[test]
fn rows_that_lie_too_long_and_rows_that_go_too_early_are_found() {
    for secret in [Secret::Crawls, Secret::Races(3)] {
        let findings = forgetful(Planted { clock: Some(("air", secret)), ..Planted::default() }).findings;
        let found = findings.iter().find(|finding| finding.checker == "retention");
        assert!(found.is_some_and(|finding| finding.said.starts_with("air: ")), "{secret:?}: {findings:?}");
    }
}

#[test]
fn a_node_that_takes_more_than_its_bound_is_found() {
    fn many(of: &Department, folder: &Path) {
        for number in 0..70 {
            let product = format!("{}_{number}", of.product);
            let contract = of.contract.replacen(&format!(".{}\n", of.product), &format!(".{product}\n"), 1);
            let contract = contract.replacen(&format!("- name: {}\n", of.product), &format!("- name: {product}\n"), 1);
            std::fs::write(folder.join("contracts").join(format!("{product}.yaml")), contract).unwrap();
        }
    }
    let tasks = found(Planted { folder: Some(many), ..Planted::default() }, Vec::new());
    assert!(tasks.contains(&name("bounds")), "{tasks:?}");
    let mut scenario = small(Vec::new());
    scenario.run.memory_mb_max = 1;
    let memory = run(&scenario, 7, &mut |_| ControlFlow::Continue(())).unwrap().findings;
    assert!(memory.iter().all(|finding| finding.checker == "bounds") && memory.len() == 1, "{memory:?}");
}

#[test]
fn a_city_that_does_not_come_together_is_found() {
    let cut = Operation::Partition { one: name("traffic"), other: name(EVERY), from: HOUR, until: 24 * HOUR + 1 };
    let mut scenario = small(vec![cut]);
    scenario.run.settle_s = HOUR;
    let planted = Planted { unhealed: true, ..Planted::default() };
    let outcome = run_planted(&scenario, 7, planted, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(outcome.findings.iter().any(|finding| finding.checker == "convergence"), "{:?}", outcome.findings);
}

#[test]
fn a_run_that_is_ended_early_says_so() {
    let stop = &mut |progress: crate::run::Progress| match progress.at {
        at if at >= 3 * HOUR => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let scenario = small(Vec::new());
    let outcome = run(&scenario, 7, stop).unwrap();
    let seconds = outcome.seconds;
    assert!(outcome.interrupted && (3 * HOUR..3 * HOUR + scenario.run.warp).contains(&seconds), "{seconds}");
    assert!(outcome.nodes.iter().any(|node| node.rows_accepted > 0));
}

#[test]
fn a_scenario_names_nodes_that_there_are() {
    let away = Operation::Away { node: name("police"), from: 0, until: 1 };
    let error = run(&small(vec![away]), 7, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("police"), "{error}");
}

/// `make test` runs fifty seeds, in two tests for two processors; `civicmesh sim fuzz` as many as there is time for.
fn nothing_is_found_in(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Some(failure) = fuzz::try_seed(&fuzz::base(), seed, &mut || ControlFlow::Continue(())).unwrap() {
            panic!("{:#?}\n{}", failure.outcome.findings, failure.as_test());
        }
    }
}

#[test]
fn fifty_seeds_find_nothing_in_the_first_half() {
    nothing_is_found_in(0..25);
}

#[test]
fn fifty_seeds_find_nothing_in_the_second_half() {
    nothing_is_found_in(25..50);
}

#[test]
fn every_scenario_file_is_one_and_opens_with_what_it_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sim");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "toml")
            || Comparison::read(&file).unwrap().is_some()
            || Growth::read(&file).unwrap().is_some()
        {
            continue; // contracts of real departments, comparisons, and what grows
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# Shows "), "{}", file.display());
        let scenario = Scenario::parse(&text, &file.display().to_string()).unwrap();
        let city = City::draw(1, &scenario.city).unwrap();
        for node in scenario.operations.iter().flat_map(Operation::nodes) {
            assert!(city.department(node).is_some(), "{}: {node}", file.display());
        }
        files += 1;
    }
    assert!(files >= 5, "{files} in {}", folder.display());
}
