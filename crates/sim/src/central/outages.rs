//! What can be asked while links and machines are down: the same outages for both ways, hour by hour, on real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::city::{City, Department, Draw, LATENESS_HOURS};

use super::arm::{Arm, CENTRAL, Way};
use super::files::Files;
use super::measure::{answered, question};

/// Microseconds in an hour.
const HOUR_US: f64 = 3_600_000_000.0;

/// What could be asked of one department's product under one share of outages.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    /// The department.
    pub domain: String,
    /// Questions of it about its own product, one an hour.
    pub asked: u64,
    /// Those that were answered.
    pub own: u64,
    /// Those that were answered from everything that could be closed by then.
    pub own_fresh: u64,
    /// Questions, as many, about another's product too, that were answered.
    pub city: u64,
    /// Hours in which it could ask nobody.
    pub blind: u64,
}

/// What could be asked under one share of outages.
#[derive(Clone, Debug, Serialize)]
pub struct Outages {
    /// Which way.
    pub way: Way,
    /// Only links fail: what is the best that a central brain can be.
    pub links_only: bool,
    /// Share of hours in which a department's link, or a machine, was down.
    pub share: f64,
    /// By department.
    pub by_department: Vec<Answered>,
    /// Age of what each department knew of each hourly product at the end of each hour, in hours, sorted: the end of the
    /// hour less the end of the newest window. Without those who could ask nobody.
    pub ages_hours: Vec<f64>,
}

impl Outages {
    /// Lives through the hours of `files`.
    pub(super) async fn measure(
        (way, links_only, share): (Way, bool, f64),
        city: &City,
        files: &Files,
        folder: &Path,
    ) -> anyhow::Result<Outages> {
        let mut arm = Arm::start(way, city, folder).await?;
        let nothing =
            |of: &Department| Answered { domain: of.domain.clone(), asked: 0, own: 0, own_fresh: 0, city: 0, blind: 0 };
        let by_department = city.departments.iter().map(nothing).collect();
        let mut seen = Outages { way, links_only, share, by_department, ages_hours: Vec::new() };
        let mut queues: Vec<Vec<&PathBuf>> = vec![Vec::new(); city.departments.len()];
        let hours = files.of.iter().map(Vec::len).max().unwrap_or(0);
        for hour in 0..hours {
            let down = Down::draw(city, (way, links_only, share), hour as u64);
            down.apply(&arm, city);
            for ((of, own), queue) in city.departments.iter().zip(&files.of).zip(&mut queues) {
                queue.extend(own.get(hour));
                while down.can_send(way, &of.domain) && !queue.is_empty() {
                    if !arm.send(of, queue[0], false).await? {
                        break;
                    }
                    queue.remove(0);
                }
            }
            down.settle(&mut arm, city).await?;
            seen.look(&mut arm, city, &down, hour as u32).await?;
        }
        seen.ages_hours.sort_by(f64::total_cmp);
        arm.end().await?;
        Ok(seen)
    }

    /// Questions of all departments, and the part of them that is counted.
    pub fn part(&self, counted: impl Fn(&Answered) -> u64) -> f64 {
        let sum = |counted: &dyn Fn(&Answered) -> u64| self.by_department.iter().map(counted).sum::<u64>() as f64;
        sum(&counted) / sum(&|of| of.asked).max(1.0)
    }

    async fn look(&mut self, arm: &mut Arm<'_>, city: &City, down: &Down, hour: u32) -> anyhow::Result<()> {
        let now = city.hour_start(hour + 1);
        for (at, of) in city.departments.iter().enumerate() {
            self.by_department[at].asked += 1;
            let known = match down.can_ask(self.way, &of.domain) {
                true => arm.knows(&of.domain).await,
                false => None,
            };
            let Some(known) = known else {
                self.by_department[at].blind += 1;
                continue;
            };
            let age =
                |domain: &str| known.get(domain).copied().flatten().map(|closed| (now.0 - closed.0) as f64 / HOUR_US);
            let other = &city.departments[(at + 1 + hour as usize) % city.departments.len()];
            let other =
                if other.domain == of.domain { &city.departments[(at + 1) % city.departments.len()] } else { other };
            let sql = question(arm, of, None);
            if answered(arm.ask(&of.domain, &sql).await).is_ok() {
                self.by_department[at].own += 1;
                // what came in this hour may close what is older than lateness and one window
                let bound = f64::from(of.grain_hours() + LATENESS_HOURS) + 1.0;
                self.by_department[at].own_fresh += u64::from(
                    hour < of.grain_hours() + LATENESS_HOURS || age(&of.domain).is_some_and(|age| age <= bound),
                );
            }
            let sql = question(arm, of, Some(other));
            self.by_department[at].city += u64::from(answered(arm.ask(&of.domain, &sql).await).is_ok());
            let hourly = city.departments.iter().filter(|of| of.grain_hours() == 1);
            self.ages_hours.extend(hourly.filter_map(|of| age(&of.domain)));
        }
        Ok(())
    }
}

/// What is down in one hour.
struct Down {
    /// Departments whose link to all others is cut.
    links: BTreeSet<String>,
    /// Nodes whose machine is down: cut off, and nobody asks them.
    machines: BTreeSet<String>,
}

impl Down {
    fn draw(city: &City, (way, links_only, share): (Way, bool, f64), hour: u64) -> Down {
        let domains = || city.departments.iter().map(|of| of.domain.as_str());
        let drawn =
            |what: &'static str, name: &str| Draw::of(city.seed, hour, &format!("{what} {name}")).happens(share);
        let machines: Vec<&str> = match way {
            _ if links_only => Vec::new(),
            Way::Cluster => domains().collect(),
            Way::Central => vec![CENTRAL],
        };
        let all =
            |names: Vec<&str>, what| names.into_iter().filter(|name| drawn(what, name)).map(str::to_owned).collect();
        Down { links: all(domains().collect(), "link"), machines: all(machines, "machine") }
    }

    fn apply(&self, arm: &Arm<'_>, city: &City) {
        arm.town.wires.mend();
        let others: Vec<&str> = city.departments.iter().map(|of| of.domain.as_str()).chain([CENTRAL]).collect();
        for cut in self.links.iter().chain(&self.machines) {
            others.iter().filter(|other| *other != cut).for_each(|other| arm.town.wires.cut(cut, other, true));
        }
    }

    fn can_send(&self, way: Way, domain: &str) -> bool {
        match way {
            Way::Cluster => !self.machines.contains(domain),
            Way::Central => self.can_ask(way, domain),
        }
    }

    fn can_ask(&self, way: Way, domain: &str) -> bool {
        match way {
            Way::Cluster => !self.machines.contains(domain),
            Way::Central => self.machines.is_empty() && !self.links.contains(domain),
        }
    }

    /// Waits until every two nodes that reach each other know of each other what there is.
    async fn settle(&self, arm: &mut Arm<'_>, city: &City) -> anyhow::Result<()> {
        let up: Vec<&String> =
            city.departments.iter().map(|of| &of.domain).filter(|domain| self.can_ask(arm.way, domain)).collect();
        let mut closed = BTreeMap::new();
        for domain in &up {
            let known = arm.knows(domain).await.unwrap_or_default();
            closed.insert((*domain).clone(), known.get(*domain).copied().flatten());
        }
        let reach = |one: &String, other: &String| {
            arm.way == Way::Central || one == other || !(self.links.contains(one) || self.links.contains(other))
        };
        let pairs: Vec<(String, String)> = up
            .iter()
            .flat_map(|one| up.iter().filter(|other| reach(one, other)).map(|other| ((*one).clone(), (*other).clone())))
            .collect();
        arm.converge(&pairs, &closed).await
    }
}
