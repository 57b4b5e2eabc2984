//! One central brain against a cluster of brains: the same events, the same code, on real nodes with real TLS, real disks
//! and real time.
//!
//! Central: one node holds every department's contract, all raw files cross the network to it, and so does every question.
//! Cluster: each department's node keeps its raw rows and pulls all others' releases; no question crosses the network.

mod arm;
mod costs;
mod meter;
mod outages;
mod plan;
mod tell;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

pub use arm::Way;
pub use costs::{Asked, Costs, Total, Used};
pub use outages::Outages;
pub use plan::{Comparison, Energy, Terms};
pub use tell::figures;

use crate::city::{City, CityPlan};
use crate::report;
use costs::Files;

/// Events a day of the city that lives through outages: what can be asked does not depend on how many there are.
const OUTAGE_EVENTS_PER_DAY: u64 = 20_000;

/// Both ways at one point of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Where on the axis.
    pub at: f64,
    /// The central brain.
    pub central: Costs,
    /// The cluster.
    pub cluster: Costs,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// What was compared, and how.
    pub scenario: Comparison,
    /// The seed.
    pub seed: u64,
    /// The city as it is.
    pub whole: Point,
    /// A day of it, by how many departments it has.
    pub by_departments: Vec<Point>,
    /// A day of it, by the factor of its events.
    pub by_rate: Vec<Point>,
    /// By the share of hours in which things are down; central and cluster in turn.
    pub by_faults: Vec<Outages>,
}

/// Measures everything that the scenario says, in a folder that is empty or not there; `news` hears how it goes.
///
/// # Errors
/// What no comparison can go on with: a node that does not start, a file that is not taken, a disk that is full.
pub async fn run(
    scenario: &Comparison,
    seed: u64,
    folder: &Path,
    news: &mut dyn FnMut(&str),
) -> anyhow::Result<Compared> {
    let terms = &scenario.central;
    let drawn = scenario.city.real.is_empty();
    let city = City::draw(seed, &scenario.city)?;
    news(&format!("{} departments, {} days, both ways", city.departments.len(), city.plan.days));
    let whole = point(&city, terms, city.plan.days.into(), folder).await?;
    let (mut by_departments, mut by_rate, mut by_faults) = (Vec::new(), Vec::new(), Vec::new());
    let day = CityPlan { days: 1, ..scenario.city.clone() };
    for many in terms.departments.iter().filter(|_| drawn) {
        news(&format!("a day of {many} departments, both ways"));
        let city = City::draw(seed, &CityPlan { departments: *many, ..day.clone() })?;
        by_departments.push(point(&city, terms, f64::from(*many), folder).await?);
    }
    for rate in terms.rates.iter().filter(|_| drawn) {
        news(&format!("a day of {rate} times the events, both ways"));
        let events_per_day = (scenario.city.events_per_day as f64 * rate) as u64;
        let city = City::draw(seed, &CityPlan { events_per_day, ..day.clone() })?;
        by_rate.push(point(&city, terms, *rate, folder).await?);
    }
    if drawn && !terms.faults.is_empty() {
        let days = terms.fault_hours.div_ceil(24);
        let plan = CityPlan { days, events_per_day: OUTAGE_EVENTS_PER_DAY, ..scenario.city.clone() };
        let city = City::draw(seed, &plan)?;
        let files = Files::write(&city, terms.fault_hours, &folder.join("feeds"))?;
        for share in &terms.faults {
            for way in [Way::Central, Way::Cluster] {
                news(&format!("{} hours with {:.0} % outages, {way:?}", terms.fault_hours, share * 100.0));
                by_faults.push(Outages::measure(way, &city, &files, *share, &folder.join("city")).await?);
            }
        }
        files.remove()?;
    }
    Ok(Compared { scenario: scenario.clone(), seed, whole, by_departments, by_rate, by_faults })
}

/// Runs a comparison in a temporary folder and writes its report. Returns where the page is, and what it says first.
///
/// # Errors
/// As [`run`], and what keeps a report from being written.
pub async fn report(
    scenario: &Comparison,
    seed: u64,
    folder: &Path,
    news: &mut dyn FnMut(&str),
) -> anyhow::Result<(PathBuf, String)> {
    let cities = tempfile::Builder::new().prefix("civicmesh-sim-").tempdir()?;
    let figures = figures(&run(scenario, seed, cities.path(), news).await?)?;
    Ok((report::write(&figures, folder)?, figures.verdict))
}

/// Both ways over the same files.
async fn point(city: &City, terms: &Terms, at: f64, folder: &Path) -> anyhow::Result<Point> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let files = Files::write(city, city.plan.hours(), &folder.join("feeds"))?;
    let central = Costs::measure(Way::Central, city, &files, terms, &folder.join("city")).await?;
    let cluster = Costs::measure(Way::Cluster, city, &files, terms, &folder.join("city")).await?;
    files.remove()?;
    Ok(Point { at, central, cluster })
}
