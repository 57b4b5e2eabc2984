//! Carries operations out: begins them, ends them, and notes when that was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use turmoil::Sim;

use super::{Database, EVERY, Operation, Seconds};
use crate::outcome::FaultOutcome;
use crate::run::host::Host;
use crate::run::journal::Journal;
use crate::world::disk::{Snare, Trap};
use crate::world::tap::Wires;

/// How long a node is down that ended by itself: its supervisor starts it again.
pub const SUPERVISOR_S: Seconds = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Active,
    Over,
}

/// Two ends of a link, in one direction.
type Direction = (String, String);

/// The operations of a run, and what is broken now.
pub struct Carrying {
    operations: Vec<(Operation, State, FaultOutcome)>,
    cut: BTreeSet<Direction>,
    slow: BTreeMap<Direction, u64>,
    corrupt: BTreeMap<Direction, u64>,
    down_until: Vec<Option<Seconds>>,
    down_since: Vec<Seconds>,
}

impl Carrying {
    /// Operations that have not begun, in a city of `hosts` nodes.
    pub fn new(operations: &[Operation], hosts: usize) -> Carrying {
        let operations = operations.iter().map(|operation| {
            let outcome =
                FaultOutcome { operation: operation.clone(), said: operation.to_string(), from: None, until: None };
            (operation.clone(), State::Waiting, outcome)
        });
        Carrying {
            operations: operations.collect(),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            corrupt: BTreeMap::new(),
            down_until: vec![None; hosts],
            down_since: vec![0; hosts],
        }
    }

    /// Does what is due at `now`.
    pub fn carry(&mut self, now: Seconds, sim: &mut Sim<'_>, hosts: &[Arc<Host>], wires: &Wires, journal: &Journal) {
        for at in 0..self.operations.len() {
            let (operation, state, _) = &self.operations[at];
            match state {
                State::Waiting if operation.begins() <= now => self.begin(at, now, sim, hosts, journal),
                State::Active if operation.ends().is_some_and(|ends| ends <= now) => {
                    self.end(at, now, hosts, journal);
                }
                State::Active if operation.ends().is_none() && self.is_spent(at, hosts) => {
                    self.end(at, now, hosts, journal);
                }
                State::Waiting | State::Active | State::Over => {}
            }
        }
        self.wire(now, sim, hosts, wires);
        self.bury_and_raise(now, sim, hosts, journal);
    }

    /// Ends everything that is not over: the city is whole again.
    pub fn heal(&mut self, now: Seconds, sim: &mut Sim<'_>, hosts: &[Arc<Host>], wires: &Wires, journal: &Journal) {
        for at in 0..self.operations.len() {
            match self.operations[at].1 {
                State::Waiting => self.operations[at].1 = State::Over,
                State::Active => self.end(at, now, hosts, journal),
                State::Over => {}
            }
        }
        for host in hosts {
            host.machine.vault.clear();
            host.machine.ledger.clear();
        }
        self.wire(now, sim, hosts, wires);
    }

    /// Whether any node is down.
    pub fn any_down(&self) -> bool {
        self.down_until.iter().any(Option::is_some)
    }

    /// The operations, as they were carried out.
    pub fn outcomes(self) -> Vec<FaultOutcome> {
        self.operations.into_iter().map(|(_, _, outcome)| outcome).collect()
    }

    fn begin(&mut self, at: usize, now: Seconds, sim: &mut Sim<'_>, hosts: &[Arc<Host>], journal: &Journal) {
        let operation = self.operations[at].0.clone();
        journal.note(now, "fault", &operation.to_string());
        self.operations[at].1 = State::Active;
        self.operations[at].2.from = Some(now);
        match &operation {
            Operation::Crash { node, database, batch, kept, .. } => {
                let snare = Snare::Crash { batch: *batch, kept: *kept };
                each(hosts, node, |_, host| trap(host, *database).set(snare));
            }
            Operation::DiskFull { node, database, batch, batches, .. } => {
                let snare = Snare::Full { batch: *batch, batches: *batches };
                each(hosts, node, |_, host| trap(host, *database).set(snare));
            }
            Operation::Away { node, until, .. } => {
                each(hosts, node, |place, host| self.kill(place, now, *until, sim, host));
            }
            Operation::Skew { node, by, .. } => each(hosts, node, |_, host| host.shift_clock(*by, now)),
            Operation::Jump { node, by, .. } => {
                each(hosts, node, |_, host| host.shift_clock(*by, now));
                self.operations[at].1 = State::Over;
                self.operations[at].2.until = Some(now);
            }
            Operation::Partition { .. }
            | Operation::Lose { .. }
            | Operation::Slow { .. }
            | Operation::Flap { .. }
            | Operation::Corrupt { .. } => {}
        }
    }

    fn end(&mut self, at: usize, now: Seconds, hosts: &[Arc<Host>], journal: &Journal) {
        let (operation, state, outcome) = &mut self.operations[at];
        *state = State::Over;
        outcome.until = Some(now);
        journal.note(now, "mended", &operation.to_string());
        if let Operation::Skew { node, by, .. } = operation {
            each(hosts, node, |_, host| host.shift_clock(-*by, now));
        }
    }

    /// Whether a crash happened and its node is up again, or a disk has room again.
    fn is_spent(&self, at: usize, hosts: &[Arc<Host>]) -> bool {
        let (node, database) = match &self.operations[at].0 {
            Operation::Crash { node, database, .. } | Operation::DiskFull { node, database, .. } => (node, *database),
            _ => return false,
        };
        let mut spent = true;
        each(hosts, node, |place, host| {
            spent &= trap(host, database).pending() == 0 && self.down_until[place].is_none();
        });
        spent
    }

    /// Brings the network to what the active operations say.
    fn wire(&mut self, now: Seconds, sim: &mut Sim<'_>, hosts: &[Arc<Host>], wires: &Wires) {
        let (mut cut, mut slow, mut corrupt) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        for (operation, state, _) in &self.operations {
            if *state != State::Active {
                continue;
            }
            match operation {
                Operation::Partition { one, other, .. } => cut.extend(both_ways(hosts, one, other)),
                Operation::Lose { sender, receiver, .. } => cut.extend(one_way(hosts, sender, receiver)),
                Operation::Flap { one, other, period, from, .. } => {
                    if ((now - from) / (*period).max(1)).is_multiple_of(2) {
                        cut.extend(both_ways(hosts, one, other));
                    }
                }
                Operation::Slow { one, other, latency_ms, .. } => {
                    for direction in one_way(hosts, one, other) {
                        let slowest = slow.entry(direction).or_insert(0);
                        *slowest = (*latency_ms).max(*slowest);
                    }
                }
                Operation::Corrupt { sender, receiver, every, .. } => {
                    corrupt.extend(one_way(hosts, sender, receiver).into_iter().map(|way| (way, (*every).max(1))));
                }
                Operation::Crash { .. }
                | Operation::DiskFull { .. }
                | Operation::Away { .. }
                | Operation::Skew { .. }
                | Operation::Jump { .. } => {}
            }
        }
        for (sender, receiver) in self.cut.difference(&cut) {
            sim.repair_oneway(sender.as_str(), receiver.as_str());
        }
        for (sender, receiver) in cut.difference(&self.cut) {
            sim.partition_oneway(sender.as_str(), receiver.as_str());
        }
        for (one, other) in self.slow.keys().filter(|link| !slow.contains_key(*link)) {
            sim.set_link_latency(one.as_str(), other.as_str(), Duration::ZERO);
        }
        for ((one, other), latency) in slow.iter().filter(|(link, latency)| self.slow.get(*link) != Some(*latency)) {
            sim.set_link_latency(one.as_str(), other.as_str(), Duration::from_millis(*latency));
        }
        for (sender, receiver) in self.corrupt.keys().filter(|way| !corrupt.contains_key(*way)) {
            wires.corrupt(sender, receiver, 0);
        }
        for ((sender, receiver), every) in &corrupt {
            wires.corrupt(sender, receiver, *every);
        }
        (self.cut, self.slow, self.corrupt) = (cut, slow, corrupt);
    }

    /// Ends the processes that died, and starts those whose time has come.
    fn bury_and_raise(&mut self, now: Seconds, sim: &mut Sim<'_>, hosts: &[Arc<Host>], journal: &Journal) {
        use std::sync::atomic::Ordering::SeqCst;
        for (place, host) in hosts.iter().enumerate() {
            let (dead, ended) = (host.machine.dead.load(SeqCst), host.ended.swap(false, SeqCst));
            if self.down_until[place].is_none() && (dead || ended) {
                let down = if dead { self.down_of(host.domain()) } else { SUPERVISOR_S };
                if dead {
                    journal.note(now, host.domain(), "crashed");
                }
                self.kill(place, now, now + down, sim, host);
            }
            if self.down_until[place].is_some_and(|until| until <= now) {
                self.down_until[place] = None;
                journal.node(host.domain(), |node| node.down_s += now - self.down_since[place]);
                host.machine.revive();
                sim.bounce(host.domain());
            }
        }
    }

    fn kill(&mut self, place: usize, now: Seconds, until: Seconds, sim: &mut Sim<'_>, host: &Host) {
        host.machine.dead.store(true, std::sync::atomic::Ordering::SeqCst);
        host.forget();
        sim.crash(host.domain());
        if self.down_until[place].is_none() {
            self.down_since[place] = now;
        }
        let later = self.down_until[place].unwrap_or(0).max(until);
        self.down_until[place] = Some(later);
    }

    /// How long a node is down that a crash took.
    fn down_of(&self, domain: &str) -> Seconds {
        let crashes = self.operations.iter().filter_map(|(operation, state, _)| match operation {
            Operation::Crash { node, down, .. } if node == domain && *state == State::Active => Some(*down),
            _ => None,
        });
        crashes.max().unwrap_or(SUPERVISOR_S)
    }
}

fn trap(host: &Host, database: Database) -> &Trap {
    match database {
        Database::Vault => &host.machine.vault,
        Database::Ledger => &host.machine.ledger,
    }
}

/// The hosts that a name stands for.
fn each(hosts: &[Arc<Host>], name: &str, mut work: impl FnMut(usize, &Host)) {
    for (place, host) in hosts.iter().enumerate().filter(|(_, host)| name == EVERY || host.domain() == name) {
        work(place, host);
    }
}

fn one_way(hosts: &[Arc<Host>], sender: &str, receiver: &str) -> Vec<Direction> {
    let named = |name: &str| -> Vec<String> {
        let named = hosts.iter().map(|host| host.domain()).filter(|domain| name == EVERY || *domain == name);
        named.map(str::to_owned).collect()
    };
    let (senders, receivers) = (named(sender), named(receiver));
    let pairs = senders.iter().flat_map(|sender| receivers.iter().map(move |receiver| (sender, receiver)));
    pairs.filter(|(sender, receiver)| sender != receiver).map(|(one, other)| (one.clone(), other.clone())).collect()
}

fn both_ways(hosts: &[Arc<Host>], one: &str, other: &str) -> Vec<Direction> {
    let mut ways = one_way(hosts, one, other);
    ways.extend(one_way(hosts, other, one));
    ways
}
