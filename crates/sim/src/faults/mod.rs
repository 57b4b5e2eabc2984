//! What breaks: a list of plain operations, which a scenario file holds and a failing run prints.
//!
//! Still to come, each as one more variant here and one arm where operations are carried out: an owner that lies (signs
//! two stories), a peer that is hostile (floods, replays), nodes of two versions in one city.

mod carrying;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use carrying::{Carrying, SUPERVISOR_S};

/// Seconds of simulated time since the start of the run.
pub type Seconds = u64;

/// Which of a node's two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    /// The raw observations.
    Vault,
    /// The releases.
    Ledger,
}

/// One thing that goes wrong. Nodes are named by their domain; `*` as the other end of a link is every other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Nothing passes between two nodes, in either direction.
    Partition {
        /// One end.
        one: String,
        /// The other.
        other: String,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// Nothing passes from one node to the other; the way back is open.
    Lose {
        /// Who is not heard.
        sender: String,
        /// Who does not hear.
        receiver: String,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// Every message between two nodes takes long.
    Slow {
        /// One end.
        one: String,
        /// The other.
        other: String,
        /// How long a message takes, in milliseconds.
        latency_ms: u64,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// A link is cut and mended in turn.
    Flap {
        /// One end.
        one: String,
        /// The other.
        other: String,
        /// How long it is cut, and then how long it is whole.
        period: Seconds,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// Bytes are changed on their way from one node to the other: one in each `every`-th write.
    Corrupt {
        /// Whose bytes.
        sender: String,
        /// Who reads them.
        receiver: String,
        /// Which writes: every so many.
        every: u64,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// A node dies at one commit of a database, and is started again later.
    Crash {
        /// The node.
        node: String,
        /// Which of its databases.
        database: Database,
        /// At which commit, counted from `from`, the first being 1.
        batch: u64,
        /// Whether that commit reached the disk.
        kept: bool,
        /// From when on commits are counted.
        from: Seconds,
        /// How long the node is down.
        down: Seconds,
    },
    /// A database's disk is full for some commits.
    DiskFull {
        /// The node.
        node: String,
        /// Which of its databases.
        database: Database,
        /// The first commit that fails, counted from `from`, the first being 1.
        batch: u64,
        /// How many fail.
        batches: u64,
        /// From when on commits are counted.
        from: Seconds,
    },
    /// A node is killed, whatever it does, and started again later. A month is 2592000 seconds.
    Away {
        /// The node.
        node: String,
        /// When it is killed.
        from: Seconds,
        /// When it is started again.
        until: Seconds,
    },
    /// A node's clock is wrong by so much for a while.
    Skew {
        /// The node.
        node: String,
        /// By how many seconds it is ahead; behind, if negative.
        by: i64,
        /// From when on.
        from: Seconds,
        /// Until when.
        until: Seconds,
    },
    /// A node's clock jumps, and stays so.
    Jump {
        /// The node.
        node: String,
        /// How many seconds it jumps ahead; back, if negative.
        by: i64,
        /// When.
        at: Seconds,
    },
}

impl Operation {
    /// When it begins.
    pub fn begins(&self) -> Seconds {
        match *self {
            Operation::Partition { from, .. }
            | Operation::Lose { from, .. }
            | Operation::Slow { from, .. }
            | Operation::Flap { from, .. }
            | Operation::Corrupt { from, .. }
            | Operation::Crash { from, .. }
            | Operation::DiskFull { from, .. }
            | Operation::Away { from, .. }
            | Operation::Skew { from, .. } => from,
            Operation::Jump { at, .. } => at,
        }
    }

    /// When it ends, where that is known beforehand.
    pub fn ends(&self) -> Option<Seconds> {
        match *self {
            Operation::Partition { until, .. }
            | Operation::Lose { until, .. }
            | Operation::Slow { until, .. }
            | Operation::Flap { until, .. }
            | Operation::Corrupt { until, .. }
            | Operation::Away { until, .. }
            | Operation::Skew { until, .. } => Some(until),
            Operation::Crash { .. } | Operation::DiskFull { .. } | Operation::Jump { .. } => None,
        }
    }

    /// The nodes that it names; `*` is one of none.
    pub fn nodes(&self) -> Vec<&str> {
        let named = match self {
            Operation::Partition { one, other, .. }
            | Operation::Slow { one, other, .. }
            | Operation::Flap { one, other, .. } => vec![one, other],
            Operation::Lose { sender, receiver, .. } | Operation::Corrupt { sender, receiver, .. } => {
                vec![sender, receiver]
            }
            Operation::Crash { node, .. }
            | Operation::DiskFull { node, .. }
            | Operation::Away { node, .. }
            | Operation::Skew { node, .. }
            | Operation::Jump { node, .. } => vec![node],
        };
        named.into_iter().map(String::as_str).filter(|name| *name != EVERY).collect()
    }
}

/// Stands for every other node.
pub const EVERY: &str = "*";

/// As people read it, in one line.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Partition { one, other, .. } => write!(f, "{one} and {other} are cut off from each other"),
            Operation::Lose { sender, receiver, .. } => write!(f, "{receiver} does not hear {sender}"),
            Operation::Slow { one, other, latency_ms, .. } => {
                write!(f, "messages between {one} and {other} take {latency_ms} ms")
            }
            Operation::Flap { one, other, period, .. } => {
                write!(f, "the link of {one} and {other} is cut and mended every {period} s")
            }
            Operation::Corrupt { sender, receiver, every, .. } => {
                write!(f, "every {every}. write from {sender} to {receiver} has a wrong byte")
            }
            Operation::Crash { node, database, batch, kept, .. } => {
                let kept = if *kept { "kept" } else { "lost" };
                write!(f, "{node} crashes at commit {batch} of its {database}, which is {kept}")
            }
            Operation::DiskFull { node, database, batch, batches, .. } => {
                write!(f, "the disk under the {database} of {node} is full for {batches} commits from the {batch}. on")
            }
            Operation::Away { node, .. } => write!(f, "{node} is away"),
            Operation::Skew { node, by, .. } => write!(f, "the clock of {node} is {by} s ahead"),
            Operation::Jump { node, by, .. } => write!(f, "the clock of {node} jumps by {by} s"),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Vault => "vault",
            Database::Ledger => "ledger",
        })
    }
}
