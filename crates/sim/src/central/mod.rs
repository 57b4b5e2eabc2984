//! One central brain against a cluster of brains: the same events, the same code, on real nodes with real TLS, real disks
//! and real time.
//!
//! Central: one node holds every department's contract, all raw files cross the network to it, and so does every question.
//! Cluster: each department's node keeps its raw rows and pulls all others' releases; no question crosses the network.

mod arm;
mod costs;
mod files;
mod measure;
mod meter;
mod outages;
mod plan;
mod tell;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;

pub use arm::Way;
pub use costs::{Asked, Costs, Still, Total, Used};
pub use outages::{Answered, Outages};
pub use plan::{Comparison, Energy, Terms};
pub use tell::figures;

use crate::city::{City, CityPlan};
use crate::report::words::seconds;
use files::Files;
use measure::Depth;

/// Events a day of the city that lives through outages: what can be asked does not depend on how many there are.
const OUTAGE_EVENTS_PER_DAY: u64 = 5_000;

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
    /// By the share of hours in which things are down.
    pub by_faults: Vec<Outages>,
    /// What of the scenario was not measured, because the run was ended before its time.
    pub left_out: Vec<String>,
}

/// A part of the run that takes a while and stands by itself.
#[derive(Clone, Copy, Debug)]
enum Step {
    Faults(Way, bool, f64),
    Departments(u32),
    Rate(f64),
}

impl Step {
    /// What a scenario asks for beside the city as it is. Of real files there is no other number, nor other hours.
    fn all(scenario: &Comparison) -> Vec<Step> {
        if !scenario.city.real.is_empty() {
            return Vec::new();
        }
        let Terms { departments, rates, faults, .. } = &scenario.central;
        let ways = [(Way::Central, false), (Way::Central, true), (Way::Cluster, false)];
        let faults =
            faults.iter().flat_map(|share| ways.map(|(way, links_only)| Step::Faults(way, links_only, *share)));
        faults
            .chain(rates.iter().map(|rate| Step::Rate(*rate)))
            .chain(departments.iter().map(|many| Step::Departments(*many)))
            .collect()
    }

    fn told(self, terms: &Terms) -> String {
        match self {
            Step::Faults(way, links_only, share) => {
                let what = if links_only { "links" } else { "links and machines" };
                format!("{} hours with {what} down in {:.0} % of them, {way:?}", terms.fault_hours, share * 100.0)
            }
            Step::Departments(many) => format!("a day of {many} departments, both ways"),
            Step::Rate(rate) => format!("a day of {rate} times the events, both ways"),
        }
    }

    async fn take(self, compared: &mut Compared, folder: &Path, news: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        let Compared { scenario, seed, whole, .. } = &*compared;
        let terms = &scenario.central;
        let day = CityPlan { days: 1, ..scenario.city.clone() };
        match self {
            Step::Faults(way, links_only, share) => {
                let days = terms.fault_hours.div_ceil(24);
                let plan = CityPlan { days, events_per_day: OUTAGE_EVENTS_PER_DAY, ..day };
                let city = City::draw(*seed, &plan)?;
                let files = Files::write(&city, terms.fault_hours, &folder.join("feeds"))?;
                let seen = Outages::measure((way, links_only, share), &city, &files, &folder.join("city")).await?;
                files.remove()?;
                compared.by_faults.push(seen);
            }
            Step::Departments(many) => {
                let city = City::draw(*seed, &CityPlan { departments: many, ..day })?;
                let depths = [Depth::Known(whole.central.still), Depth::Still];
                let point = point(&city, terms, many.into(), depths, folder, news).await?;
                compared.by_departments.push(point);
            }
            Step::Rate(rate) => {
                let events_per_day = (scenario.city.events_per_day as f64 * rate) as u64;
                let city = City::draw(*seed, &CityPlan { events_per_day, ..day })?;
                let depths = [Depth::Known(whole.central.still), Depth::Known(whole.cluster.still)];
                let point = point(&city, terms, rate, depths, folder, news).await?;
                compared.by_rate.push(point);
            }
        }
        Ok(())
    }
}

/// Measures everything that the scenario says, in a folder that is empty or not there. `news` hears how it goes, and
/// `kept` gets what is measured so far after each part. When `stop` comes, what is not measured yet is left out.
///
/// # Errors
/// What no comparison can go on with: a node that does not start, a file that is not taken, a disk that is full, and to be
/// stopped before the city as it is was measured.
pub async fn run(
    scenario: &Comparison,
    seed: u64,
    folder: &Path,
    stop: impl Future<Output = ()>,
    news: &mut dyn FnMut(&str),
    kept: &mut dyn FnMut(&Compared) -> anyhow::Result<()>,
) -> anyhow::Result<Compared> {
    let terms = &scenario.central;
    let begun = Instant::now();
    let mut stop = std::pin::pin!(stop);
    let steps = Step::all(scenario);
    let parts = steps.len() + 1;
    let city = City::draw(seed, &scenario.city)?;
    let (departments, days) = (city.departments.len(), city.plan.days);
    news(&format!("1 of {parts}: {departments} departments, {days} days, both ways"));
    let whole = tokio::select! {
        whole = point(&city, terms, days.into(), [Depth::Whole, Depth::Whole], folder, news) => whole?,
        () = &mut stop => anyhow::bail!("stopped before there was anything to compare"),
    };
    let nothing = (Vec::new(), Vec::new(), Vec::new());
    let (by_departments, by_rate, by_faults) = nothing;
    let mut compared =
        Compared { scenario: scenario.clone(), seed, whole, by_departments, by_rate, by_faults, left_out: Vec::new() };
    compared.left_out = steps.iter().map(|step| step.told(terms)).collect();
    kept(&compared)?;
    for (at, step) in steps.into_iter().enumerate() {
        let so_far = seconds(begun.elapsed().as_secs_f64().round());
        news(&format!("{} of {parts}: {} ({so_far} so far)", at + 2, step.told(terms)));
        // each in a folder of its own, so that what one left when it was stopped is in no other's way
        let part = folder.join(format!("part-{at}"));
        let taken = step.take(&mut compared, &part, news);
        tokio::select! {
            taken = taken => taken?,
            () = &mut stop => break,
        }
        compared.left_out.remove(0);
        kept(&compared)?;
    }
    Ok(compared)
}

/// Both ways over the same files.
async fn point(
    city: &City,
    terms: &Terms,
    at: f64,
    [of_central, of_cluster]: [Depth; 2],
    folder: &Path,
    news: &mut dyn FnMut(&str),
) -> anyhow::Result<Point> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let files = Files::write(city, city.plan.hours(), &folder.join("feeds"))?;
    let central = Costs::measure(Way::Central, city, &files, terms, of_central, &folder.join("city"), news).await?;
    let cluster = Costs::measure(Way::Cluster, city, &files, terms, of_cluster, &folder.join("city"), news).await?;
    files.remove()?;
    Ok(Point { at, central, cluster })
}
