//! The comparison as a report: both ways beside each other, and where each wins.

mod rows;
mod sweeps;

use std::collections::BTreeSet;

use super::arm::CENTRAL;
use super::plan::{Energy, Terms};
use super::{Compared, Costs, Point, Total, Used, Way};
use crate::report::words::{bytes, count, plain, seconds};
use crate::report::{Figures, Graph, Headline, LinkFigures, NodeFigures, Section, Table};
use rows::{Row, joules, rows};

/// The figures of a comparison.
///
/// # Errors
/// Never, unless a field of the comparison has no form in JSON.
pub fn figures(compared: &Compared) -> Result<Figures, serde_json::Error> {
    let terms = &compared.scenario.central;
    let Point { central, cluster, .. } = &compared.whole;
    let (c, k) = (central.total(terms), cluster.total(terms));
    let rows = rows(compared, &c, &k);
    Ok(Figures {
        measured: serde_json::to_value(compared)?,
        title: compared.scenario.title.clone(),
        verdict: verdict(&rows),
        holds: None,
        purpose: format!(
            "The same {} rows of {} departments over {} {}, on the same code: once all sent to one central node, once kept by a \
             cluster of nodes that exchange releases.",
            count(central.rows),
            central.departments,
            plain(central.days),
            if central.days == 1.0 { "day" } else { "days" }
        ),
        seed: compared.seed,
        headlines: headlines(central, cluster, &c, &k),
        hours: central.days * 24.0,
        sections: [
            Some(who_tells_whom(compared)),
            Some(side_by_side(&rows)),
            Some(parts(&c, &k)),
            sweeps::outages(&compared.by_faults),
            sweeps::rates(compared),
            sweeps::departments(compared),
            sweeps::questions(compared),
            sweeps::mixes(compared),
            (central.departments > 1).then(|| sweeps::pulls(compared)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        notes: notes(compared),
        ..Figures::default()
    })
}

/// What each way is better in, of what was measured and is not said twice.
fn verdict(rows: &[Row]) -> String {
    let better = |way: Way| {
        let won = |row: &&Row| !row.defined && !row.again && row.winner() == Some(way);
        match rows.iter().filter(won).map(|row| format!("{} ({})", lower(row.name), factor(row))).collect::<Vec<_>>() {
            names if names.is_empty() => "nothing that was measured".to_owned(),
            names => names.join("; "),
        }
    };
    format!(
        "The cluster is better in {}. The central brain is better in {}.",
        better(Way::Cluster),
        better(Way::Central)
    )
}

fn factor(row: &Row) -> String {
    rows::times(row.central.max(row.cluster) / row.central.min(row.cluster))
}

/// A name as it stands within a sentence.
fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn headlines(central: &Costs, cluster: &Costs, c: &Total, k: &Total) -> Vec<Headline> {
    [
        (bytes(c.crossing_bytes), "cross the network to a central brain"),
        (bytes(k.crossing_bytes), "cross the network in a cluster"),
        (bytes(central.stored_bytes()), "stored by a central brain"),
        (bytes(cluster.stored_bytes()), "stored by a cluster, replicas counted"),
        (count(central.personal_rows_outside), "rows about people leave their owner for a central brain"),
        (count(cluster.personal_rows_outside), "do so in a cluster"),
    ]
    .into_iter()
    .map(|(figure, what)| Headline { figure, what: what.to_owned() })
    .collect()
}

/// Bytes of each link without what went over it anyway, as what is left of all links together.
fn told(costs: &Costs) -> Vec<LinkFigures> {
    let all = costs.links.iter().map(|link| link.bytes).sum::<u64>().max(1) as f64;
    let left = |link: &LinkFigures| (link.bytes as f64 * costs.feeding.bytes / all) as u64;
    costs.links.iter().map(|link| LinkFigures { bytes: left(link), ..link.clone() }).collect()
}

/// The city drawn both ways, on one scale.
fn who_tells_whom(compared: &Compared) -> Section {
    let Point { central, cluster, .. } = &compared.whole;
    let (one, other) = (told(central), told(cluster));
    let most = |links: &[LinkFigures]| {
        let both = |one: &LinkFigures| {
            let back = |other: &&LinkFigures| (&other.from, &other.to) == (&one.to, &one.from);
            one.bytes + links.iter().find(back).map_or(0, |other| other.bytes)
        };
        links.iter().map(both).max().unwrap_or(0)
    };
    let bytes_most = Some(most(&one).max(most(&other)));
    let domains: BTreeSet<&String> = cluster.links.iter().map(|link| &link.from).collect();
    let node = |domain: &str| NodeFigures { domain: domain.to_owned(), ..NodeFigures::default() };
    let around = || domains.iter().map(|domain| node(domain));
    let graph = |title: &str, caption: String, links: &[LinkFigures], hub: Option<&str>| Graph {
        title: title.to_owned(),
        caption,
        nodes: around().chain(hub.map(|hub| NodeFigures { rows: 1, ..node(hub) })).collect(),
        links: links.to_vec(),
        hub: hub.map(str::to_owned),
        bytes_most,
    };
    Section {
        heading: "Who tells whom".to_owned(),
        paragraphs: vec![
            "A line is as thick as the bytes that passed while all rows were taken in and everyone was told; both drawings have the \
             same scale."
                .to_owned(),
        ],
        graphs: vec![
            graph(
                "One central brain",
                format!("Every raw row goes to the middle: {}.", bytes(central.feeding.bytes)),
                &one,
                Some(CENTRAL),
            ),
            graph(
                "A cluster of brains",
                format!("Releases go from each to each: {}.", bytes(cluster.feeding.bytes)),
                &other,
                None,
            ),
        ],
        ..Section::default()
    }
}

fn side_by_side(rows: &[Row]) -> Section {
    let written = rows.iter().map(|row| {
        let name = if row.defined { format!("{} *", row.name) } else { row.name.to_owned() };
        vec![name, (row.write)(row.central), (row.write)(row.cluster), row.better()]
    });
    Section {
        heading: "Side by side".to_owned(),
        paragraphs: vec![
            "Less is better in every line. Lines marked * follow from what the two are, and prove nothing.".to_owned(),
        ],
        tables: vec![Table {
            caption: "One central brain against a cluster, same rows, same code".to_owned(),
            columns: ["", "Central", "Cluster", "Better"].map(str::to_owned).to_vec(),
            rows: written.collect(),
            notes: vec![
                "* Follows from the definition: a central brain is where all raw rows are. Raw rows answer nothing, in a cluster \
                 neither; releases are taken to be alike in size to tell which of them answered anything."
                    .to_owned(),
            ],
        }],
        ..Section::default()
    }
}

/// Where bytes and processor time go.
fn parts(c: &Total, k: &Total) -> Section {
    let row = |name: &str, part: fn(&Total) -> Used| {
        let (c, k) = (part(c), part(k));
        vec![name.to_owned(), bytes(c.bytes), bytes(k.bytes), seconds(c.cpu_s), seconds(k.cpu_s)]
    };
    Section {
        heading: "Where it goes".to_owned(),
        paragraphs: vec![
            "What grows with the rows, what grows with the questions, and what goes on whether anything happens or not.".to_owned(),
        ],
        tables: vec![Table {
            caption: "Bytes across the network and processor time, by what they are for".to_owned(),
            columns: ["", "Bytes, central", "Bytes, cluster", "Processor, central", "Processor, cluster"]
                .map(str::to_owned)
                .to_vec(),
            rows: vec![
                row("Taking rows in, closing windows, telling peers", |total| total.feeding),
                row("Answering questions", |total| total.answering),
                row("Asking peers what is new, making links", |total| total.asking),
                row("Machines and links while nothing happens", |total| total.resting),
            ],
            notes: vec![
                "The last two lines are measured for seconds and reckoned for days: an error of a thousandth of a core is a \
                 minute and a half of processor time in a day."
                    .to_owned(),
            ],
        }],
        ..Section::default()
    }
}

fn notes(compared: &Compared) -> Vec<String> {
    let Terms { pull_s, round_trip_ms, ref energy, .. } = compared.scenario.central;
    let Energy { watts_busy_core, joules_byte, watts_idle_machine } = *energy;
    let central = &compared.whole.central;
    let mut notes = vec![
        "Both ways run the same program on this machine, over loopback with real TLS; clients are counted with the nodes.".to_owned(),
        format!(
            "Energy is estimated: {watts_busy_core} W for a busy core and {watts_idle_machine} W for a machine that does nothing \
             (Cloud Carbon Footprint, means of AWS), {} microjoules for a byte on the network (the same source: 0.001 kWh a \
             gigabyte).",
            plain(joules_byte * 1e6)
        ),
        format!(
            "Latencies are measured on this machine, one question after the other while nothing else happens; {} ms for the way to \
             the central brain and back are added to its own.",
            plain(round_trip_ms)
        ),
        format!(
            "Days are replayed in seconds, an hour of all departments at a time. What goes on anyway, such as asking peers every {}, \
             is measured by itself and reckoned for the days; what the replay itself spent on it is taken out.",
            seconds(pull_s)
        ),
        "A department keeps its connection to a central brain; in life each file and question would make one.".to_owned(),
        "Bytes stored are tables and blobs after the nodes were stopped, packed as RocksDB packs them.".to_owned(),
        format!(
            "Raw files were {} as written and {} under zstd; the time to pack them is not counted.",
            bytes(central.raw_bytes as f64),
            bytes(central.raw_packed_bytes as f64)
        ),
    ];
    notes.push(match central.feeding.joules.zip(compared.whole.cluster.feeding.joules) {
        None => "This machine does not tell its processor's energy (RAPL), so none of it is measured.".to_owned(),
        Some((central, cluster)) => format!(
            "While rows were taken in, this machine's processor says that it used {} for the central brain and {} for the cluster, \
             all that else ran on it included.",
            joules(central),
            joules(cluster)
        ),
    });
    if !compared.left_out.is_empty() {
        notes.push(format!("Ended before its time; not measured: {}.", compared.left_out.join("; ")));
    }
    notes
}
