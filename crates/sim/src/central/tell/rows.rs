//! Every figure of both ways, and who is better.

use crate::central::arm::TURN_MEAN;
use crate::central::{Compared, Costs, Point, Total, Way};
use crate::report::of_run::quantile;
use crate::report::words::{bytes, count, plain, seconds, share};

/// Part of the time between two turns at a peer that what was closed meanwhile has waited on average: waits lie between
/// half of what the configuration says and all of it.
const WAITED_MEAN: f64 = 7.0 / 24.0 / TURN_MEAN;
/// A difference of less is none.
const ALIKE: f64 = 0.05;

/// One figure of both ways.
pub(super) struct Row {
    /// What it is.
    pub name: &'static str,
    /// The central brain's.
    pub central: f64,
    /// The cluster's.
    pub cluster: f64,
    /// How it is written.
    pub write: fn(f64) -> String,
    /// Follows from what a central brain and a cluster are, and is not measured.
    pub defined: bool,
    /// Says once more, in another way, what the row above says.
    pub again: bool,
}

impl Row {
    fn cost(name: &'static str, central: f64, cluster: f64, write: fn(f64) -> String) -> Row {
        Row { name, central, cluster, write, defined: false, again: false }
    }

    fn defined(self) -> Row {
        Row { defined: true, ..self }
    }

    fn again(self) -> Row {
        Row { again: true, ..self }
    }

    /// Who is better; none where both are alike.
    pub(super) fn winner(&self) -> Option<Way> {
        let (least, most) = (self.central.min(self.cluster), self.central.max(self.cluster));
        (most - least > ALIKE * most).then_some(if self.central < self.cluster { Way::Central } else { Way::Cluster })
    }

    /// Who is better, and by how much.
    pub(super) fn better(&self) -> String {
        let Some(way) = self.winner() else { return "alike".to_owned() };
        let who = if way == Way::Central { "central" } else { "cluster" };
        let factor = self.central.max(self.cluster) / self.central.min(self.cluster);
        if factor.is_finite() { format!("{who}, {}", times(factor)) } else { who.to_owned() }
    }
}

/// A factor with two digits that count: `3.1×`.
pub(super) fn times(factor: f64) -> String {
    let digits = if factor < 10.0 { (factor * 10.0).round() / 10.0 } else { factor.round() };
    format!("{}\u{d7}", if digits < 10.0 { format!("{digits:.1}") } else { plain(digits) })
}

/// All of them, in the order in which they are told.
pub(super) fn rows(compared: &Compared, c: &Total, k: &Total) -> Vec<Row> {
    let Point { central, cluster, .. } = &compared.whole;
    let terms = &compared.scenario.central;
    let latency = |costs: &Costs, whole: bool, part: f64| {
        let took = if whole { &costs.asked.whole_us } else { &costs.asked.own_us };
        let network = if costs.way == Way::Central { terms.round_trip_ms / 1e3 } else { 0.0 };
        quantile(took, part).map_or(f64::NAN, |us| us as f64 / 1e6 + network)
    };
    let took =
        |name, whole, part| Row::cost(name, latency(central, whole, part), latency(cluster, whole, part), seconds);
    let mut rows = vec![
        Row::cost("Bytes across the network", c.crossing_bytes, k.crossing_bytes, bytes),
        Row::cost("… with raw files packed by zstd", c.crossing_packed_bytes, k.crossing_packed_bytes, bytes).again(),
        Row::cost("Bytes stored, replicas counted", central.stored_bytes(), cluster.stored_bytes(), bytes),
        Row::cost(
            "… with raw rows dropped after rollup",
            central.ledger_bytes as f64,
            cluster.ledger_bytes as f64,
            bytes,
        )
        .again(),
        Row::cost("Raw bytes stored outside their owner", central.vault_bytes as f64, 0.0, bytes).defined(),
        Row::cost(
            "Share of stored bytes that no answer used",
            central.unused(&central.asked),
            cluster.unused(&cluster.asked),
            share,
        )
        .defined(),
        Row::cost("Processor time", c.cpu_s, k.cpu_s, seconds),
        Row::cost("Energy of the work, estimated", c.work_joules, k.work_joules, joules),
        Row::cost("… and of machines kept on", c.all_joules, k.all_joules, joules).again(),
        took("Answer about one's own product, median", false, 0.5),
        took("… 99th of 100", false, 0.99).again(),
        took("Answer over two products, median", true, 0.5),
        took("… 99th of 100", true, 0.99).again(),
        Row::cost("Age that exchanging releases adds, mean", 0.0, terms.pull_s * WAITED_MEAN, seconds).defined(),
        Row::cost(
            "Rows about people outside their owner",
            central.personal_rows_outside as f64,
            cluster.personal_rows_outside as f64,
            |number| count(number as u64),
        )
        .defined(),
    ];
    if let (Some(central), Some(cluster)) = (central.feeding.joules, cluster.feeding.joules) {
        rows.push(Row::cost("Energy while feeding, as the processor tells", central, cluster, joules));
    }
    rows.retain(|row| !row.central.is_nan() && !row.cluster.is_nan());
    rows
}

/// Joules as a page shows them.
pub(super) fn joules(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{} MJ", plain(number / 1e6)),
        _ if number >= 1e3 => format!("{} kJ", plain(number / 1e3)),
        _ => format!("{} J", plain(number)),
    }
}
