//! Drives a scenario: founds the city, runs every node in a host of its own, sends what departments send, breaks what
//! operations say, and lets the checkers look.

pub mod founding;
pub mod host;
pub mod journal;
mod logs;
mod looking;
pub(crate) mod machine;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use civicmesh_model::time::Span;
use turmoil::Sim;

use self::host::{Host, Order, Sending, Shared};
use crate::check::egress::{self, Needles};
use crate::check::{bounds, convergence};
use crate::city::{Canary, City, Department, Feed};
use crate::faults::{Carrying, Operation, Seconds};
use crate::outcome::{Cost, FaultOutcome, HourPassed, LinkOutcome, Outcome};
use crate::scenario::Scenario;
use crate::world::Machine;
use crate::world::clock::Secret;
use crate::world::tap::{Passed, Tamper, Wires};

const HOUR_S: Seconds = 3_600;
/// Simulated time between two looks at the network: no message is faster.
const TICK: Duration = Duration::from_secs(1);
/// Files of one department that lie in memory at a time; further ones are drawn when there is room.
const OUTBOX_MAX: usize = 3;
/// Segments that wait in one direction of a connection, and connections that wait to be taken.
const TCP_SEGMENTS_MAX: usize = 4_096;
/// How long files may still wait once the city is whole again.
const DRAIN_S_MAX: Seconds = 10 * 86_400;
/// Ticks within which orders are carried out at the end.
const ORDER_TICKS_MAX: u32 = 1_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Seconds of the city that went by.
    pub at: Seconds,
    /// How many there will be, as far as is known.
    pub whole: Seconds,
    /// Findings so far.
    pub findings: usize,
}

/// Bugs that a test plants, for the checkers to find. A run of a scenario plants none.
#[derive(Default)]
pub struct Planted {
    /// Changes what passes between nodes.
    pub tamper: Option<Box<Tamper>>,
    /// Changes what a department sends, unknown to the truth.
    pub feed: Option<fn(&str, &mut Feed)>,
    /// Faults go on to the end.
    pub unhealed: bool,
    /// A line that every node logs.
    pub logged: Option<String>,
    /// A node whose clock is wrong, unknown to the checkers.
    pub clock: Option<(&'static str, Secret)>,
    /// Changes a node's folder before it starts, the first time.
    pub folder: Option<fn(&Department, &Path)>,
    /// A node finds the disk under its ledger empty, from a moment at which it is away.
    pub lost_ledger: Option<(&'static str, Seconds)>,
}

/// Runs a scenario. `told` hears how far it is and may end it.
///
/// # Errors
/// Where the city cannot be drawn or founded. What goes wrong within the city is a finding.
pub fn run(scenario: &Scenario, seed: u64, told: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Outcome> {
    run_planted(scenario, seed, Planted::default(), told)
}

/// Runs a scenario with bugs planted.
///
/// # Errors
/// As [`run`].
#[allow(clippy::disallowed_methods)] // what a run costs is real time
pub fn run_planted(
    scenario: &Scenario,
    seed: u64,
    planted: Planted,
    told: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome> {
    let (begun, cpu) = (Instant::now(), machine::cpu_s());
    let city = Arc::new(City::draw(seed, &scenario.city)?);
    for name in scenario.operations.iter().flat_map(Operation::nodes) {
        city.department(name).with_context(|| format!("operation: the city has no node `{name}`"))?;
    }
    let canaries: Vec<&Canary> = city.departments.iter().flat_map(|department| &department.canaries).collect();
    let needles = || Needles::of(canaries.iter().copied());
    let Planted { tamper, feed, unhealed, logged, clock, folder: planted_folder, lost_ledger } = planted;
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let folders = founding::found(&city, &scenario.run, folder.path())?;
    if let Some(change) = planted_folder {
        city.departments.iter().zip(&folders).for_each(|(department, folder)| change(department, folder));
    }
    let slowest = scenario.operations.iter().map(|operation| match operation {
        Operation::Slow { latency_ms, .. } => *latency_ms,
        _ => 0,
    });
    let slack_ms = slowest.max().unwrap_or(0) + 3 * TICK.as_millis() as u64;
    let shared = Shared {
        city: Arc::clone(&city),
        journal: Arc::default(),
        wires: Arc::new(Wires::new(needles(), tamper)),
        // two looks, and the first one comes a minute of the network after a start
        retention_grace: Span::seconds((2 * scenario.run.retention_s + 60 * scenario.run.warp) as u32),
        slack_us: (slack_ms * 1_000 * scenario.run.warp) as i64,
    };
    let hosts = folders.into_iter().enumerate().map(|(place, folder)| {
        let domain = &city.departments[place].domain;
        let machine = Machine::new(domain, seed, scenario.run.warp, &shared.wires)?;
        Ok(Arc::new(Host::new(machine, folder, place, &shared)))
    });
    let hosts: Vec<Arc<Host>> = hosts.collect::<Result<_>>()?;
    if let Some((domain, secret)) = clock {
        hosts.iter().filter(|host| host.domain() == domain).for_each(|host| host.machine.clock.plant(secret));
    }
    let mut sim = network(seed, &city);
    for host in &hosts {
        let host = Arc::clone(host);
        sim.host(host.domain().to_owned(), move || host::process(Arc::clone(&host)));
    }
    let driver = Driver {
        scenario,
        carrying: Carrying::new(&scenario.operations, hosts.len()),
        feeds: city.departments.iter().map(|department| department.feeds(&city)).collect(),
        fed: vec![0; hosts.len()],
        hosts: &hosts,
        shared: &shared,
        now: 0,
        watching: false,
        hours: Vec::new(),
        unhealed,
        lost_ledger,
        change: feed,
        told,
    };
    let listening = logs::listening(needles(), Arc::clone(&shared.journal));
    let drove = tracing::subscriber::with_default(listening, || {
        catch_unwind(AssertUnwindSafe(|| {
            if let Some(line) = &logged {
                tracing::info!(target: "civicmesh_node", "{line}");
            }
            driver.drive(&mut sim)
        }))
    });
    let drove = match drove {
        Ok(drove) => drove?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            shared.journal.find("running", 0, format!("a panic: {}", text.unwrap_or_default()));
            // its hosts may be in the middle of anything: they are not taken apart
            std::mem::forget(sim);
            return Ok(outcome(scenario, seed, &shared, &hosts));
        }
    };
    drop(sim);
    let Drove { seconds, interrupted, faults, hours } = drove;
    let outcome = outcome(scenario, seed, &shared, &hosts);
    let mut outcome = Outcome { seconds, interrupted, faults, hours, ..outcome };
    outcome.cost = Cost {
        wall_s: begun.elapsed().as_secs_f64(),
        cpu_s: machine::cpu_s() - cpu,
        memory_bytes_max: machine::memory_bytes_max(),
    };
    let bound = scenario.run.memory_mb_max << 20;
    if let Some(said) = bounds::memory(outcome.cost.memory_bytes_max, bound) {
        outcome.findings.push(crate::outcome::Finding { checker: "bounds".to_owned(), at: seconds, said });
    }
    Ok(outcome)
}

fn network<'s>(seed: u64, city: &City) -> Sim<'s> {
    let epoch = UNIX_EPOCH + Duration::from_micros(city.start.0.max(0).unsigned_abs());
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .epoch(epoch)
        .simulation_duration(Duration::MAX)
        .tick_duration(TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .tcp_capacity(TCP_SEGMENTS_MAX)
        .enable_random_order();
    builder.build()
}

fn outcome(scenario: &Scenario, seed: u64, shared: &Shared, hosts: &[Arc<Host>]) -> Outcome {
    for leak in shared.wires.leaks().into_iter().filter(|leak| !is_published(&shared.city, &leak.canary)) {
        let said = format!("{} passed from {} to {}", leak.canary, leak.sender, leak.receiver);
        shared.journal.find("egress", 0, said);
    }
    let written = std::mem::take(&mut *shared.journal.open());
    let mut nodes = written.nodes;
    let starts = nodes.values().map(|node| node.starts).sum();
    let nodes = hosts.iter().map(|host| {
        let mut node = nodes.remove(host.domain()).unwrap_or_default();
        node.domain = host.domain().to_owned();
        node.vault_bytes = host.machine.vault.bytes();
        node.ledger_bytes = host.machine.ledger.bytes();
        node.cpu_s = host.machine.executor.worked().as_secs_f64();
        node
    });
    let passed = shared.wires.passed();
    let mut looks = written.looks;
    looks.insert("egress".to_owned(), passed.values().map(|passed| passed.bytes).sum());
    looks.insert("running".to_owned(), starts);
    let links = passed.into_iter().map(|((sender, receiver), passed)| LinkOutcome {
        sender,
        receiver,
        bytes: passed.bytes,
        writes: passed.writes,
    });
    Outcome {
        title: scenario.title.clone(),
        seed,
        nodes: nodes.collect(),
        links: links.collect(),
        arrivals: arrivals(&written.arrived),
        questions: written.questions,
        freshness: written.freshness,
        looks,
        findings: written.findings,
        trace: written.trace,
        ..Outcome::default()
    }
}

/// How long after its owner each other node had what was closed last, the shortest first.
fn arrivals(arrived: &BTreeMap<(usize, usize), Seconds>) -> Vec<Seconds> {
    let others = arrived.iter().filter(|((owner, node), _)| owner != node);
    let mut spans: Vec<Seconds> =
        others.filter_map(|((owner, _), at)| Some(at.saturating_sub(*arrived.get(&(*owner, *owner))?))).collect();
    spans.sort_unstable();
    spans
}

/// Whether a canary, as it is told, is something that its contract publishes.
fn is_published(city: &City, told: &str) -> bool {
    let canaries = city.departments.iter().flat_map(|of| of.canaries.iter().map(move |canary| (of, canary)));
    let mut told = canaries.filter(|(_, canary)| egress::said(canary) == told);
    told.any(|(of, canary)| egress::is_published(city, of, canary))
}

/// What became of a run, as its driver knows it.
struct Drove {
    /// Simulated time that was run.
    seconds: Seconds,
    /// Whether it was ended early.
    interrupted: bool,
    faults: Vec<FaultOutcome>,
    hours: Vec<HourPassed>,
}

struct Driver<'r> {
    scenario: &'r Scenario,
    hosts: &'r [Arc<Host>],
    shared: &'r Shared,
    carrying: Carrying,
    feeds: Vec<crate::city::Feeds<'r>>,
    /// Hours whose files were sent, by department.
    fed: Vec<u32>,
    now: Seconds,
    /// Every file was sent: what comes now is the last.
    watching: bool,
    /// What had passed at each full hour.
    hours: Vec<HourPassed>,
    unhealed: bool,
    lost_ledger: Option<(&'static str, Seconds)>,
    change: Option<fn(&str, &mut Feed)>,
    told: &'r mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl Driver<'_> {
    fn drive(mut self, sim: &mut Sim<'_>) -> Result<Drove> {
        let hours = self.shared.city.plan.hours();
        let last = self.scenario.operations.iter().filter_map(Operation::ends).max().unwrap_or(0);
        let troubled = last.max(Seconds::from(hours) * HOUR_S);
        let whole = troubled + self.scenario.run.settle_s;
        while self.now < troubled {
            if self.tick(sim, whole)?.is_break() {
                return self.end(sim, true);
            }
        }
        if !self.unhealed {
            self.carrying.heal(self.now, sim, self.hosts, &self.shared.wires, &self.shared.journal);
        }
        self.watching = true;
        let deadline = self.now + DRAIN_S_MAX;
        while !self.is_drained(hours) && self.now < deadline {
            if self.tick(sim, whole)?.is_break() {
                return self.end(sim, true);
            }
        }
        for host in self.hosts.iter().filter(|host| host.waiting() > 0) {
            let said = format!("{} has not taken {} files in all that time", host.domain(), host.waiting());
            self.shared.journal.find("conservation", self.now, said);
        }
        let settled = self.now + self.scenario.run.settle_s;
        while self.now < settled {
            if self.tick(sim, settled)?.is_break() {
                return self.end(sim, true);
            }
        }
        self.end(sim, false)
    }

    fn is_drained(&self, hours: u32) -> bool {
        !self.carrying.any_down()
            && self.fed.iter().all(|fed| *fed >= hours)
            && self.hosts.iter().all(|host| host.waiting() == 0)
    }

    /// One step of the whole city.
    fn tick(&mut self, sim: &mut Sim<'_>, whole: Seconds) -> Result<ControlFlow<()>> {
        let Shared { journal, wires, .. } = self.shared;
        wires.tell(self.now);
        if self.now % HOUR_S < self.scenario.run.warp {
            let passed = wires.passed();
            let sum = |of: fn(&Passed) -> u64| passed.values().map(of).sum::<u64>();
            let (bytes, writes) = (sum(|passed| passed.bytes), sum(|passed| passed.writes));
            self.hours.push(HourPassed { at: self.now, bytes, writes });
        }
        self.carrying.carry(self.now, sim, self.hosts, wires, journal);
        if let Some((domain, _)) = self.lost_ledger.take_if(|(_, at)| *at <= self.now) {
            let mut losing = self.hosts.iter().filter(|host| host.domain() == domain);
            losing.try_for_each(|host| host.machine.lose_ledger())?;
        }
        self.feed()?;
        self.order();
        sim.step().map_err(|error| anyhow::anyhow!("{error}"))?;
        self.now += self.scenario.run.warp;
        let findings = journal.open().findings.len();
        Ok((self.told)(Progress { at: self.now, whole, findings }))
    }

    /// Sends the files of every hour that is over.
    fn feed(&mut self) -> Result<()> {
        let city = &self.shared.city;
        let over = u32::try_from(self.now / HOUR_S).unwrap_or(u32::MAX).min(city.plan.hours());
        for (place, host) in self.hosts.iter().enumerate() {
            while self.fed[place] < over && host.waiting() < OUTBOX_MAX {
                self.fed[place] += 1;
                let Some(feed) = self.feeds[place].next() else { continue };
                let mut feed = feed?;
                if let Some(change) = self.change {
                    change(host.domain(), &mut feed);
                }
                let last = self.fed[place] == city.plan.hours();
                host.send(Sending {
                    times: if feed.resent { 2 } else { 1 },
                    feed: Arc::new(feed),
                    complete: last.then(|| city.hour_start(city.plan.hours())),
                });
            }
        }
        Ok(())
    }

    /// Gives the orders whose time has come.
    fn order(&self) {
        let run = &self.scenario.run;
        let due = |every: Seconds, place: usize| {
            // departments do not ask in the same moment
            let phase = self.now + place as Seconds * run.warp;
            every > 0 && self.now > 0 && phase % every < run.warp
        };
        for (place, host) in self.hosts.iter().enumerate() {
            if due(HOUR_S, 0) {
                host.order(Order::Sample);
            }
            if self.watching && !host.lacking().is_empty() {
                host.order(Order::Arrived);
            }
            if due(run.ask_s, place) {
                let about = (place + (self.now / run.ask_s) as usize) % self.hosts.len();
                if !host.order(Order::Ask(about)) {
                    self.unanswered(host, about);
                }
            }
            if due(run.look_s, place) {
                host.order(Order::Look);
            }
        }
    }

    /// A question to a node that is down.
    fn unanswered(&self, host: &Host, about: usize) {
        let product = self.shared.city.departments[about].table();
        self.shared.journal.open().questions.push(crate::outcome::QuestionOutcome {
            at: self.now,
            domain: host.domain().to_owned(),
            product,
            error: Some("DOWN".to_owned()),
            ..Default::default()
        });
    }

    /// The last look of the checkers, if the run came to its end.
    fn end(mut self, sim: &mut Sim<'_>, interrupted: bool) -> Result<Drove> {
        if !interrupted {
            for host in self.hosts {
                host.order(Order::Look);
                host.order(Order::Weigh);
            }
            for _ in 0..ORDER_TICKS_MAX {
                if self.hosts.iter().all(|host| host.ordered() == 0) {
                    break;
                }
                sim.step().map_err(|error| anyhow::anyhow!("{error}"))?;
                self.now += self.scenario.run.warp;
            }
            self.converged();
        }
        Ok(Drove { seconds: self.now, interrupted, faults: self.carrying.outcomes(), hours: self.hours })
    }

    fn converged(&self) {
        let departments = &self.shared.city.departments;
        let owners: BTreeMap<String, String> =
            departments.iter().map(|department| (department.table(), department.domain.clone())).collect();
        let nodes: Vec<String> = self.hosts.iter().map(|host| host.domain().to_owned()).collect();
        let logs = std::mem::take(&mut self.shared.journal.open().logs);
        for ((product, node), (entries, _, closed_through)) in &logs {
            let said = format!("has {entries} entries of {product}, closed through {closed_through}");
            self.shared.journal.note(self.now, node, &said);
        }
        self.shared.journal.looked("convergence", logs.len() as u64);
        for said in convergence::check(&owners, &nodes, &logs) {
            self.shared.journal.find("convergence", self.now, said);
        }
    }
}
