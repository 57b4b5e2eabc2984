//! What one way costs while nothing is broken: what was measured, and what that comes to over the time that the city lives.
//!
//! Days are replayed in seconds, so what goes on whether anything happens or not is measured by itself and reckoned for
//! the days: a machine that rests, a node that asks a peer for what is new, a link that is made anew.

use serde::Serialize;

use super::arm::{TURN_MEAN, Way};
use super::plan::{Energy, Terms};
use crate::report::LinkFigures;

/// Seconds in a day.
const DAY_S: f64 = 86_400.0;
/// After so many seconds a node greets a peer again at its next turn, and makes its link anew: as the exchange has it.
const GREETING_S: f64 = 60.0;
/// See [`GREETING_S`].
const LINK_AGE_S: f64 = 600.0;

/// What a part of the run used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    /// Processor seconds of all nodes and clients.
    pub cpu_s: f64,
    /// Bytes that crossed the network, TLS included.
    pub bytes: f64,
    /// Seconds on the clock.
    pub wall_s: f64,
    /// Joules of the processor package as it tells them; none where it does not.
    pub joules: Option<f64>,
}

/// What goes on whether anything happens or not.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Still {
    /// One machine with its links to all others, for a second in which nothing happens.
    pub rest: Used,
    /// One node that asks one peer for what is new, once, while there is nothing.
    pub turn: Used,
    /// One node that makes its link to one peer, greets it and asks it once.
    pub link: Used,
}

/// Questions that were asked at one rate, and of one mix.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Asked {
    /// Questions of each department in a day.
    pub per_day: f64,
    /// Share of them over two products.
    pub whole_city: f64,
    /// How many were asked.
    pub questions: u64,
    /// What these used.
    pub used: Used,
    /// How long each about the department's own product took, in microseconds, sorted; without the time that the network
    /// would have taken.
    pub own_us: Vec<u64>,
    /// The same of those over two products.
    pub whole_us: Vec<u64>,
    /// Of the pairs of a node and a product that it holds, those that an answer used.
    pub held_used: u64,
}

/// What one way cost.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// Which way.
    pub way: Way,
    /// Departments.
    pub departments: u64,
    /// Machines: one for each node.
    pub machines: u64,
    /// Days that the city lived.
    pub days: f64,
    /// Rows that were sent.
    pub rows: u64,
    /// Rows about people that lay outside of their owner: by definition all of them, or none.
    pub personal_rows_outside: u64,
    /// Bytes of the raw files.
    pub raw_bytes: u64,
    /// The same under zstd.
    pub raw_packed_bytes: u64,
    /// Taking in all files and telling everyone, without what goes on anyway.
    pub feeding: Used,
    /// Bytes from one to another meanwhile, what goes on anyway included.
    pub links: Vec<LinkFigures>,
    /// What goes on anyway.
    pub still: Still,
    /// Questions as often, and mixed, as the scenario says.
    pub asked: Asked,
    /// Questions at other rates.
    pub by_questions: Vec<Asked>,
    /// Questions of other mixes.
    pub by_mix: Vec<Asked>,
    /// Bytes on disk of raw rows.
    pub vault_bytes: u64,
    /// Bytes on disk of releases, own and pulled.
    pub ledger_bytes: u64,
    /// Pairs of a node and a product that it holds.
    pub held: u64,
}

/// What one way comes to over the time that the city lives.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Total {
    /// Taking in all files and telling everyone.
    pub feeding: Used,
    /// Machines that rest.
    pub resting: Used,
    /// Nodes that ask each other for what is new.
    pub asking: Used,
    /// Questions.
    pub answering: Used,
    /// Bytes that crossed the network.
    pub crossing_bytes: f64,
    /// The same, had raw files been packed by zstd on their way.
    pub crossing_packed_bytes: f64,
    /// Processor seconds.
    pub cpu_s: f64,
    /// Joules: of busy cores and of bytes on their way.
    pub work_joules: f64,
    /// The same and what machines draw while nothing happens.
    pub all_joules: f64,
}

impl Costs {
    /// What it comes to, with questions as the scenario has them.
    pub fn total(&self, terms: &Terms) -> Total {
        self.total_asked(terms, &self.asked)
    }

    /// What it comes to with other questions.
    pub fn total_asked(&self, terms: &Terms, asked: &Asked) -> Total {
        let seconds = self.days * DAY_S;
        let questions = asked.per_day * self.days * self.departments as f64;
        let parts @ [feeding, resting, asking, answering] = [
            self.feeding,
            self.still.rest.times(self.machines as f64 * seconds),
            self.asking(terms.pull_s * TURN_MEAN, seconds),
            asked.used.times(questions / asked.questions.max(1) as f64),
        ];
        let crossing_bytes: f64 = parts.iter().map(|part| part.bytes).sum();
        let cpu_s: f64 = parts.iter().map(|part| part.cpu_s).sum();
        let saved = match self.way {
            Way::Central => self.raw_bytes.saturating_sub(self.raw_packed_bytes) as f64,
            Way::Cluster => 0.0,
        };
        let Energy { watts_busy_core, joules_byte, watts_idle_machine } = terms.energy;
        let work_joules = watts_busy_core * cpu_s + joules_byte * crossing_bytes;
        Total {
            feeding,
            resting,
            asking,
            answering,
            crossing_bytes,
            crossing_packed_bytes: crossing_bytes - saved,
            cpu_s,
            work_joules,
            all_joules: work_joules + watts_idle_machine * self.machines as f64 * seconds,
        }
    }

    /// All nodes that ask all peers every `turn_s` seconds. A greeting is reckoned as another turn.
    fn asking(&self, turn_s: f64, seconds: f64) -> Used {
        let Still { turn, link, .. } = self.still;
        let each = |least_s: f64| seconds / ((least_s / turn_s).ceil() * turn_s);
        let (turns, greetings, links) = (each(turn_s), each(GREETING_S), each(LINK_AGE_S));
        let pairs = (self.machines * (self.machines - 1)) as f64;
        link.times(pairs * links).and(turn.times(pairs * (turns + greetings - 2.0 * links)))
    }

    /// Share of stored bytes that no answer used: raw rows answer nothing, and releases that nobody asked for at a node
    /// answered nothing there. Releases are taken to be alike in size.
    pub fn unused(&self, asked: &Asked) -> f64 {
        let used = self.ledger_bytes as f64 * asked.held_used as f64 / self.held.max(1) as f64;
        1.0 - used / self.stored_bytes().max(1.0)
    }

    /// Bytes on disk, replicas counted.
    pub fn stored_bytes(&self) -> f64 {
        (self.vault_bytes + self.ledger_bytes) as f64
    }
}

impl Used {
    /// So many of it.
    pub(super) fn times(self, factor: f64) -> Used {
        Used {
            cpu_s: self.cpu_s * factor,
            bytes: self.bytes * factor,
            wall_s: self.wall_s * factor,
            joules: self.joules.map(|joules| joules * factor),
        }
    }

    /// Both together.
    fn and(self, other: Used) -> Used {
        Used {
            cpu_s: self.cpu_s + other.cpu_s,
            bytes: self.bytes + other.bytes,
            wall_s: self.wall_s + other.wall_s,
            joules: self.joules.zip(other.joules).map(|(one, other)| one + other),
        }
    }

    /// Less what is known to be something else; never below nothing.
    pub(super) fn without(self, other: Used) -> Used {
        Used {
            cpu_s: (self.cpu_s - other.cpu_s).max(0.0),
            bytes: (self.bytes - other.bytes).max(0.0),
            wall_s: self.wall_s,
            joules: self.joules,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Costs {
        let bytes = |bytes| Used { bytes, ..Used::default() };
        Costs {
            way: Way::Cluster,
            departments: 2,
            machines: 2,
            days: 1.0,
            rows: 0,
            personal_rows_outside: 0,
            raw_bytes: 500,
            raw_packed_bytes: 100,
            feeding: bytes(7.0),
            links: Vec::new(),
            still: Still { rest: bytes(0.5), turn: bytes(10.0), link: bytes(1_000.0) },
            asked: Asked { per_day: 3.0, questions: 2, used: bytes(1.0), held_used: 3, ..Asked::default() },
            by_questions: Vec::new(),
            by_mix: Vec::new(),
            vault_bytes: 600,
            ledger_bytes: 400,
            held: 4,
        }
    }

    #[test]
    fn what_goes_on_anyway_is_reckoned_for_the_days() {
        let total = cluster().total(&Terms { pull_s: 300.0 / TURN_MEAN, ..Terms::default() });
        // 288 turns in a day, each of which greets; every second one makes the link anew
        assert_eq!(total.asking.bytes, 2.0 * (144.0 * 1_000.0 + (288.0 + 288.0 - 288.0) * 10.0));
        assert_eq!((total.resting.bytes, total.answering.bytes), (86_400.0, 3.0));
        assert_eq!(total.crossing_bytes, 7.0 + total.asking.bytes + 86_400.0 + 3.0);
        assert_eq!(total.crossing_packed_bytes, total.crossing_bytes, "no raw file crosses the network");
        let often = cluster().total(&Terms { pull_s: 10.0 / TURN_MEAN, ..Terms::default() });
        assert_eq!(often.asking.bytes, 2.0 * (144.0 * 1_000.0 + (8_640.0 + 1_440.0 - 288.0) * 10.0));
    }

    #[test]
    fn raw_rows_are_packed_on_their_way_to_a_central_brain_and_answer_nothing() {
        let central = Costs { way: Way::Central, machines: 1, ..cluster() };
        let total = central.total(&Terms::default());
        assert_eq!((total.asking.bytes, total.crossing_bytes - total.crossing_packed_bytes), (0.0, 400.0));
        assert_eq!(central.unused(&central.asked), 1.0 - 300.0 / 1_000.0);
    }
}
