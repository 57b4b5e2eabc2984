//! What happened in a run, as all hosts and the driver write it down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::check::convergence::Log;
use crate::check::immutability::Seen;
use crate::faults::Seconds;
use crate::outcome::{Finding, Freshness, NodeOutcome, QuestionOutcome};

/// Most findings that are kept of one checker: the first ones tell.
const FINDINGS_MAX: usize = 10;

/// What was written down.
#[derive(Default)]
pub struct Written {
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// Every question.
    pub questions: Vec<QuestionOutcome>,
    /// Samples of freshness.
    pub freshness: Vec<Freshness>,
    /// How many things each checker looked at.
    pub looks: BTreeMap<String, u64>,
    /// What became of each department's rows, by domain.
    pub nodes: BTreeMap<String, NodeOutcome>,
    /// Rows that each node held back although the city did not draw them as late.
    pub late_by_fault: BTreeMap<String, u64>,
    /// Every log entry that was ever seen.
    pub seen: Seen,
    /// When each node had all that an owner closed, by the owner's place and the node's.
    pub arrived: BTreeMap<(usize, usize), Seconds>,
    /// The logs at the last look, by product and node.
    pub logs: BTreeMap<(String, String), Log>,
}

/// The journal of a run.
#[derive(Default)]
pub struct Journal {
    written: Mutex<Written>,
}

impl Journal {
    /// A line of the trace.
    pub fn note(&self, at: Seconds, who: &str, said: &str) {
        let (day, second) = (at / 86_400, at % 86_400);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        self.open().trace.push(format!("{day}d {hour:02}:{minute:02}:{second:02} {who}: {said}"));
    }

    /// Something that must not be.
    pub fn find(&self, checker: &str, at: Seconds, said: String) {
        self.note(at, checker, &said);
        let findings = &mut self.open().findings;
        if findings.iter().filter(|finding| finding.checker == checker).count() < FINDINGS_MAX {
            findings.push(Finding { checker: checker.to_owned(), at, said });
        }
    }

    /// A checker looked at so many things.
    pub fn looked(&self, checker: &str, things: u64) {
        *self.open().looks.entry(checker.to_owned()).or_default() += things;
    }

    /// What was written so far, to be read or added to.
    pub fn open(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures of one node.
    pub fn node(&self, domain: &str, change: impl FnOnce(&mut NodeOutcome)) {
        let mut written = self.open();
        let node = written.nodes.entry(domain.to_owned()).or_default();
        node.domain = domain.to_owned();
        change(node);
    }
}
