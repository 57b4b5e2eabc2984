//! The same city with more and more departments: what each node sends, what is stored and how long news takes, against what
//! theory says of an exchange in which every node pulls from each owner.

mod plan;
mod tell;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use serde::Serialize;

pub use plan::{Growth, Sizes};
pub use tell::{figures, lines};

use crate::faults::Seconds;
use crate::outcome::{Finding, Outcome};
use crate::run::{Progress, run};
use crate::scenario::Scenario;

const HOUR_S: Seconds = 3_600;
/// Hours after which everyone knows everyone and has every contract: what is counted begins here.
const TOGETHER_HOURS: Seconds = 3;
/// Hours after the city's last one in which what is late still comes: what is counted of silence begins then.
const QUIET_AFTER_HOURS: Seconds = 2;

/// What one node did in one hour, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PerNode {
    /// Messages that it sent: writes to a link.
    pub messages: f64,
    /// Bytes that it sent, within TLS.
    pub bytes: f64,
}

/// What was measured with one number of departments.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Point {
    /// How many.
    pub departments: u32,
    /// Directed links on which something passed.
    pub links: u64,
    /// An hour in which every owner releases.
    pub busy: PerNode,
    /// An hour in which nobody does: peers ask, and there is nothing.
    pub quiet: PerNode,
    /// How long after its owner half of the nodes had a product's last windows, in seconds of the city.
    pub arrival_median_s: f64,
    /// How long the last of them took.
    pub arrival_max_s: f64,
    /// How many of them there are: a product at a node that does not own it.
    pub arrivals: u64,
    /// Bytes that a node wrote to its ledger, on average.
    pub ledger_bytes: f64,
    /// Releases, refusals and empty runs that the checkers looked at, at all nodes.
    pub entries: u64,
    /// Seconds on the wall.
    pub wall_s: f64,
    /// Seconds of processor time.
    pub cpu_s: f64,
    /// The most memory that the process held up to here, in bytes.
    pub memory_bytes_max: u64,
    /// What the checkers found.
    pub findings: Vec<Finding>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Grown {
    /// The seed.
    pub seed: u64,
    /// By the number of departments, the fewest first.
    pub points: Vec<Point>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Runs the city with each number of departments; `told` hears with how many, and how far that is, and may end it.
///
/// # Errors
/// As [`run`].
pub fn run_all(
    growth: &Growth,
    seed: u64,
    told: &mut dyn FnMut(u32, Progress) -> ControlFlow<()>,
) -> anyhow::Result<Grown> {
    let mut grown = Grown { seed, ..Grown::default() };
    for departments in &growth.growth.departments {
        let scenario = growth.scenario(*departments);
        let outcome = run(&scenario, seed, &mut |progress| told(*departments, progress))?;
        if outcome.interrupted {
            grown.interrupted = true;
            break;
        }
        grown.points.push(Point::of(&scenario, &outcome));
    }
    Ok(grown)
}

impl Point {
    fn of(scenario: &Scenario, outcome: &Outcome) -> Point {
        let nodes = outcome.nodes.len().max(1) as f64;
        let hours = Seconds::from(scenario.city.hours());
        let per_node = |from: Seconds, until: Seconds| {
            let at = |hour: Seconds| outcome.hours.iter().find(|passed| passed.at >= hour * HOUR_S);
            let (Some(from), Some(until)) = (at(from), at(until)) else { return PerNode::default() };
            let whole = (until.at - from.at) as f64 / HOUR_S as f64 * nodes;
            PerNode {
                messages: (until.writes - from.writes) as f64 / whole,
                bytes: (until.bytes - from.bytes) as f64 / whole,
            }
        };
        let quiet = hours + QUIET_AFTER_HOURS;
        let arrivals = &outcome.arrivals;
        Point {
            departments: scenario.city.departments,
            links: outcome.links.len() as u64,
            busy: per_node(TOGETHER_HOURS, hours),
            quiet: per_node(quiet, quiet + 1),
            arrival_median_s: arrivals.get(arrivals.len() / 2).copied().unwrap_or(0) as f64,
            arrival_max_s: arrivals.last().copied().unwrap_or(0) as f64,
            arrivals: arrivals.len() as u64,
            ledger_bytes: outcome.nodes.iter().map(|node| node.ledger_bytes as f64).sum::<f64>() / nodes,
            entries: outcome.looks.get("immutability").copied().unwrap_or(0),
            wall_s: outcome.cost.wall_s,
            cpu_s: outcome.cost.cpu_s,
            memory_bytes_max: outcome.cost.memory_bytes_max,
            findings: outcome.findings.clone(),
        }
    }
}

/// The power of x that y grows with, by least squares over the logarithms; none where fewer than two points tell.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let many = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / many;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let together: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    (logs.len() > 1 && spread > 0.0).then(|| together / spread)
}
