//! What a run came to: everything that a report or a comparison reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::faults::{Operation, Seconds};

/// What a run came to. All but what it says of real time follows from scenario and seed alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's title.
    pub title: String,
    /// The seed.
    pub seed: u64,
    /// Simulated time that was run.
    pub seconds: Seconds,
    /// Whether the run was ended by Ctrl-C before its time.
    pub interrupted: bool,
    /// Every node, in the order in which the city has them.
    pub nodes: Vec<NodeOutcome>,
    /// Bytes between nodes, by sender and receiver; signatures differ in length, so a few of them do from run to run.
    pub links: Vec<LinkOutcome>,
    /// What had passed between nodes at each full hour.
    pub hours: Vec<HourPassed>,
    /// How long after an owner had closed the city's last windows each other node had them, in seconds of the city, the
    /// shortest first. One that never had them is not among them.
    pub arrivals: Vec<Seconds>,
    /// The operations, as they were carried out.
    pub faults: Vec<FaultOutcome>,
    /// Every question that was asked.
    pub questions: Vec<QuestionOutcome>,
    /// How old what each node knew of each product was, sampled every hour.
    pub freshness: Vec<Freshness>,
    /// How many things each checker looked at: nothing found must not be nothing looked at.
    pub looks: BTreeMap<String, u64>,
    /// What the checkers found. None: all was well.
    pub findings: Vec<Finding>,
    /// What happened, line by line: the same for the same scenario and seed, byte for byte.
    pub trace: Vec<String>,
    /// What it cost the machine that ran it.
    pub cost: Cost,
}

/// What the run cost the machine that ran it: differs from run to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds on the wall.
    pub wall_s: f64,
    /// Seconds of processor time, of all threads.
    pub cpu_s: f64,
    /// The most memory that the process held, in bytes.
    pub memory_bytes_max: u64,
}

/// One node at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeOutcome {
    /// Its domain.
    pub domain: String,
    /// Rows that its department sent.
    pub rows_sent: u64,
    /// Rows that it took.
    pub rows_accepted: u64,
    /// Rows that it had already.
    pub rows_duplicate: u64,
    /// Rows that it did not take.
    pub rows_rejected: u64,
    /// Rows that it dropped since, because the time was over for which their contract keeps them.
    pub rows_dropped: u64,
    /// Bytes of files that its department sent.
    pub bytes_ingested: u64,
    /// Bytes that were written to its vault's log, before compaction.
    pub vault_bytes: u64,
    /// Bytes that were written to its ledger's log, before compaction.
    pub ledger_bytes: u64,
    /// How often it was started.
    pub starts: u64,
    /// Seconds during which it was down.
    pub down_s: Seconds,
    /// Processor seconds spent in its part of the simulation: differs from run to run.
    pub cpu_s: f64,
}

/// What passed from one node to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOutcome {
    /// Who sent.
    pub sender: String,
    /// Who received.
    pub receiver: String,
    /// Bytes, as they would be within TLS.
    pub bytes: u64,
    /// Writes.
    pub writes: u64,
}

/// What had passed between all nodes at a full hour, from the start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourPassed {
    /// When.
    pub at: Seconds,
    /// Bytes, as they would be within TLS.
    pub bytes: u64,
    /// Writes.
    pub writes: u64,
}

/// An operation as it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultOutcome {
    /// The operation.
    pub operation: Operation,
    /// In words.
    pub said: String,
    /// When it took effect; none if it never did.
    pub from: Option<Seconds>,
    /// When it was over; none if it is not.
    pub until: Option<Seconds>,
}

/// A question that a department asked of its own node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuestionOutcome {
    /// When.
    pub at: Seconds,
    /// Whose node.
    pub domain: String,
    /// The product that it was about, `domain.product`.
    pub product: String,
    /// The question.
    pub sql: String,
    /// Why there was no answer.
    pub error: Option<String>,
    /// Rows of the answer.
    pub rows: u64,
    /// Whether the answer said that it lacked nothing.
    pub complete: bool,
    /// Windows that it said were missing.
    pub windows_missing: u64,
    /// How long it took, in microseconds of real time: differs from run to run.
    pub latency_us: u64,
}

/// How old what a node knew of a product was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// When.
    pub at: Seconds,
    /// Whose node.
    pub domain: String,
    /// The product, `domain.product`.
    pub product: String,
    /// From the end of the newest window there until now, in seconds; none if there is none.
    pub age: Option<i64>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which checker found it.
    pub checker: String,
    /// When.
    pub at: Seconds,
    /// What was found, and where.
    pub said: String,
}
