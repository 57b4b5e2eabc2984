//! Draws scenarios by seed, runs them, and shrinks those in which a checker finds something to the fewest operations
//! that still do it: printed as a test to paste, and as a scenario file.

use std::ops::ControlFlow;

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::city::{City, CityPlan};
use crate::faults::{Database, EVERY, Operation, Seconds};
use crate::outcome::Outcome;
use crate::run::run;
use crate::scenario::{Pace, Scenario};

const HOUR_S: Seconds = 3_600;
/// Most operations of a drawn scenario.
const OPERATIONS_MAX: usize = 6;
/// Most runs that shrinking one failure takes.
const SHRINK_RUNS_MAX: usize = 60;

/// The city that is fuzzed where no scenario says another: small, so that many lives go by.
pub fn base() -> Scenario {
    let city = CityPlan {
        days: 1,
        events_per_day: 600,
        sensors_rich: 24,
        sensors_poor: 1,
        districts: 3,
        late: 0.05,
        too_late: 0.0,
        ..CityPlan::default()
    };
    let mut base =
        Scenario { title: "A day of trouble".to_owned(), city, run: Default::default(), operations: Vec::new() };
    base.run = Pace {
        warp: 480,
        publisher_s: 2 * HOUR_S,
        pull_s: 2 * HOUR_S,
        backoff_s_max: 2 * HOUR_S,
        reload_s: 12 * HOUR_S,
        retention_s: 12 * HOUR_S,
        ask_s: 20 * HOUR_S,
        look_s: 10 * HOUR_S,
        settle_s: 8 * HOUR_S,
        ..Pace::default()
    };
    base
}

/// The scenario of a seed: `base` with operations drawn.
///
/// # Errors
/// Where the city of `base` cannot be drawn.
pub fn draw(base: &Scenario, seed: u64) -> Result<Scenario> {
    let city = City::draw(seed, &base.city)?;
    let domains: Vec<String> = city.departments.iter().map(|department| department.domain.clone()).collect();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut scenario = base.clone();
    let whole = Seconds::from(base.city.days) * 24 * HOUR_S;
    for _ in 0..dice.random_range(1..=OPERATIONS_MAX) {
        scenario.operations.push(operation(&mut dice, &domains, whole));
    }
    scenario.operations.sort_by_key(Operation::begins);
    scenario.title = format!("{}, seed {seed}", base.title);
    Ok(scenario)
}

fn operation(dice: &mut ChaCha8Rng, domains: &[String], whole: Seconds) -> Operation {
    let mut names = || domains[dice.random_range(0..domains.len())].clone();
    let (node, mut peer) = (names(), names());
    if peer == node || dice.random_ratio(1, 4) {
        peer = EVERY.to_owned();
    }
    let from = dice.random_range(0..whole);
    let until = from + dice.random_range(600..=whole / 2);
    let database = if dice.random() { Database::Vault } else { Database::Ledger };
    let batch = dice.random_range(1..=40);
    match dice.random_range(0..10) {
        0 => Operation::Partition { one: node, other: peer, from, until },
        1 => Operation::Lose { sender: node, receiver: peer, from, until },
        2 => Operation::Slow { one: node, other: peer, latency_ms: dice.random_range(500..30_000), from, until },
        3 => Operation::Flap { one: node, other: peer, period: dice.random_range(120..7_200), from, until },
        4 => Operation::Corrupt { sender: node, receiver: peer, every: dice.random_range(1..40), from, until },
        5 | 6 => {
            let (kept, down) = (dice.random(), dice.random_range(60..4 * HOUR_S));
            Operation::Crash { node, database, batch, kept, from, down }
        }
        7 => Operation::DiskFull { node, database, batch, batches: dice.random_range(1..30), from },
        8 => Operation::Away { node, from, until },
        _ => {
            let by = dice.random_range(-7_200..=7_200);
            if dice.random() {
                Operation::Skew { node, by, from, until }
            } else {
                Operation::Jump { node, by, at: from }
            }
        }
    }
}

/// The fewest operations with which `fails` still says so, as far as it was tried.
pub fn shrink(operations: &[Operation], mut fails: impl FnMut(&[Operation]) -> bool) -> Vec<Operation> {
    let mut kept = operations.to_vec();
    let (mut parts, mut runs) = (2, 0);
    while !kept.is_empty() && runs < SHRINK_RUNS_MAX {
        let size = kept.len().div_ceil(parts);
        let mut smaller = None;
        for part in 0..kept.len().div_ceil(size) {
            let without: Vec<Operation> = kept
                .iter()
                .enumerate()
                .filter(|(at, _)| at / size != part)
                .map(|(_, operation)| operation.clone())
                .collect();
            runs += 1;
            if fails(&without) {
                smaller = Some(without);
                break;
            }
            if runs >= SHRINK_RUNS_MAX {
                break;
            }
        }
        match smaller {
            Some(without) => (kept, parts) = (without, parts.saturating_sub(1).max(2)),
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    kept
}

/// A scenario that failed, shrunk, with what was found.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The scenario with the fewest operations that fail.
    pub scenario: Scenario,
    /// What came of it.
    pub outcome: Outcome,
}

impl Failure {
    /// A test to paste: it fails until the defect is mended.
    pub fn as_test(&self) -> String {
        let checker = self.outcome.findings.first().map_or("something", |finding| finding.checker.as_str());
        let said = self.outcome.findings.first().map_or("", |finding| finding.said.as_str());
        format!(
            "/// {}\n#[test]\nfn seed_{}_{checker}() {{\n    civicmesh_sim::fuzz::replay({}, r##\"\n{}\"##);\n}}\n",
            said.lines().next().unwrap_or(""),
            self.seed,
            self.seed,
            self.scenario.to_toml()
        )
    }
}

/// Runs the scenario of a seed; where it fails, shrinks it. Ended early by `going`, it gives what failed as far as it is
/// shrunk.
///
/// # Errors
/// As [`run`].
pub fn try_seed(base: &Scenario, seed: u64, going: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Option<Failure>> {
    let scenario = draw(base, seed)?;
    let mut outcome = run(&scenario, seed, &mut |_| going())?;
    let Some(first) = outcome.findings.first().map(|finding| finding.checker.clone()) else { return Ok(None) };
    let with = |operations: &[Operation]| Scenario { operations: operations.to_vec(), ..scenario.clone() };
    let operations = shrink(&scenario.operations, |operations| {
        if going().is_break() {
            return false;
        }
        let smaller = run(&with(operations), seed, &mut |_| going()).ok();
        let failed = smaller.filter(|smaller| smaller.findings.iter().any(|finding| finding.checker == first));
        failed.map(|failed| outcome = failed).is_some()
    });
    Ok(Some(Failure { seed, scenario: with(&operations), outcome }))
}

/// Runs a scenario as a pasted test holds it.
///
/// # Panics
/// Where a checker finds something, or the scenario cannot be run.
pub fn replay(seed: u64, scenario: &str) {
    let scenario = Scenario::parse(scenario, "the pasted scenario").expect("a scenario");
    let outcome = run(&scenario, seed, &mut |_| ControlFlow::Continue(())).expect("a scenario that can be run");
    assert!(outcome.findings.is_empty(), "{}\n{:#?}", outcome.trace.join("\n"), outcome.findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_scenario_and_it_survives_its_file() {
        for seed in 0..200 {
            let scenario = draw(&base(), seed).unwrap();
            assert_eq!(draw(&base(), seed).unwrap(), scenario);
            assert_eq!(Scenario::parse(&scenario.to_toml(), "drawn").unwrap(), scenario);
        }
    }

    #[test]
    fn shrinking_keeps_what_is_needed_and_nothing_else() {
        let jump = |by| Operation::Jump { node: "traffic".to_owned(), by, at: 0 };
        let all: Vec<Operation> = (0..6).map(jump).collect();
        let fails = |operations: &[Operation]| operations.contains(&jump(1)) && operations.contains(&jump(4));
        assert_eq!(shrink(&all, fails), [jump(1), jump(4)]);
        assert_eq!(shrink(&all, |_| true), []);
    }

    #[test]
    fn a_failure_is_printed_as_a_test_that_says_everything() {
        let scenario = draw(&base(), 3).unwrap();
        let text = Failure { seed: 3, scenario: scenario.clone(), outcome: Outcome::default() }.as_test();
        let toml = text.split("r##\"\n").nth(1).unwrap().split("\"##").next().unwrap();
        assert_eq!(Scenario::parse(toml, "pasted").unwrap(), scenario);
        assert!(text.contains("fn seed_3_"));
    }
}
