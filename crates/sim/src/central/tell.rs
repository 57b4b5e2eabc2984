//! The comparison as a report: both ways beside each other, and where each wins.

use super::plan::{Energy, Terms};
use super::{Compared, Costs, Outages, Point, Total, Way};
use crate::report::of_run::quantile;
use crate::report::words::{bytes, count, plain, seconds, share};
use crate::report::{Axis, Chart, Figures, Headline, Line, Section, Table, Unit};

/// Times in a day at which the cost of questions is reckoned.
const QUESTION_RATES: [f64; 7] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];
/// Seconds between two askings of a peer for which the cluster is reckoned.
const PULLS_S: [f64; 6] = [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0];

/// The figures of a comparison.
///
/// # Errors
/// Never, unless a field of the comparison has no form in JSON.
pub fn figures(compared: &Compared) -> Result<Figures, serde_json::Error> {
    let terms = &compared.scenario.central;
    let Point { central, cluster, .. } = &compared.whole;
    let (c, k) = (central.total(terms), cluster.total(terms));
    let wins = wins(compared, &c, &k);
    Ok(Figures {
        measured: serde_json::to_value(compared)?,
        title: compared.scenario.title.clone(),
        verdict: verdict(&wins),
        holds: None,
        purpose: format!(
            "The same {} rows of {} departments over {} days, on the same code: once all sent to one central node, once kept by a \
             cluster of nodes that exchange releases.",
            count(central.rows),
            central.departments,
            plain(central.days)
        ),
        seed: compared.seed,
        headlines: headlines(central, cluster, &c, &k),
        hours: central.days * 24.0,
        sections: [
            Some(side_by_side(compared, &c, &k, &wins)),
            outages(&compared.by_faults),
            sweep(compared, &compared.by_departments, "How many departments", "Departments", false),
            sweep(compared, &compared.by_rate, "How many events", "Events, as a factor of the city's own", true),
            Some(questions(compared)),
            Some(pulls(compared)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        notes: notes(terms, central),
        ..Figures::default()
    })
}

/// One figure of both ways.
struct Row {
    name: &'static str,
    central: f64,
    cluster: f64,
    write: fn(f64) -> String,
    /// Follows from what a central brain and a cluster are, and is not measured.
    defined: bool,
    /// More is better.
    more: bool,
}

impl Row {
    fn cost(name: &'static str, central: f64, cluster: f64, write: fn(f64) -> String) -> Row {
        Row { name, central, cluster, write, defined: false, more: false }
    }

    fn defined(self) -> Row {
        Row { defined: true, ..self }
    }

    /// Who is better, and by how much.
    fn better(&self) -> String {
        let (least, most) = (self.central.min(self.cluster), self.central.max(self.cluster));
        if most - least <= 0.02 * most {
            return "alike".to_owned();
        }
        let central = (self.central < self.cluster) != self.more;
        let who = if central { "central" } else { "cluster" };
        match most / least {
            factor if factor.is_finite() && !self.more => {
                format!("{who}, {}\u{d7}", plain((factor * 10.0).round() / 10.0))
            }
            _ => who.to_owned(),
        }
    }
}

fn rows(compared: &Compared, c: &Total, k: &Total) -> Vec<Row> {
    let Point { central, cluster, .. } = &compared.whole;
    let stored = |costs: &Costs| (costs.vault_bytes + costs.ledger_bytes) as f64;
    let latency = |costs: &Costs, whole: bool, part: f64| {
        let asked = if whole { &costs.city } else { &costs.own };
        let network = if costs.way == Way::Central { compared.scenario.central.round_trip_ms / 1e3 } else { 0.0 };
        quantile(&asked.latencies_us, part).map_or(f64::NAN, |us| us as f64 / 1e6 + network)
    };
    let mut rows = vec![
        Row::cost("Bytes across the network", c.crossing_bytes, k.crossing_bytes, bytes),
        Row::cost("The same, raw files packed by zstd", c.crossing_packed_bytes, k.crossing_packed_bytes, bytes),
        Row::cost("Bytes stored, replicas counted", stored(central), stored(cluster), bytes),
        Row::cost(
            "The same, raw rows dropped after rollup",
            central.ledger_bytes as f64,
            cluster.ledger_bytes as f64,
            bytes,
        ),
        Row::cost("Raw bytes stored outside their owner", central.vault_bytes as f64, 0.0, bytes).defined(),
        Row::cost("Share of stored bytes that no answer used", junk(central), junk(cluster), share).defined(),
        Row::cost("Processor time", c.cpu_s, k.cpu_s, seconds),
        Row::cost("Energy of the work, estimated", c.work_joules, k.work_joules, joules),
        Row::cost("Energy with machines kept on, estimated", c.all_joules, k.all_joules, joules),
        Row::cost(
            "Answer about one's own product, median",
            latency(central, false, 0.5),
            latency(cluster, false, 0.5),
            seconds,
        ),
        Row::cost("The same, 99th of 100", latency(central, false, 0.99), latency(cluster, false, 0.99), seconds),
        Row::cost(
            "Answer over two products, median",
            latency(central, true, 0.5),
            latency(cluster, true, 0.5),
            seconds,
        ),
        Row::cost("The same, 99th of 100", latency(central, true, 0.99), latency(cluster, true, 0.99), seconds),
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
    rows
}

/// Raw rows answer nothing, and releases that nobody asked for at a node answered nothing there; releases are taken to
/// be alike in size.
fn junk(costs: &Costs) -> f64 {
    let used = costs.ledger_bytes as f64 * costs.held_used as f64 / costs.held as f64;
    1.0 - used / (costs.vault_bytes + costs.ledger_bytes).max(1) as f64
}

fn joules(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{} MJ", plain(number / 1e6)),
        _ if number >= 1e3 => format!("{} kJ", plain(number / 1e3)),
        _ => format!("{} J", plain(number)),
    }
}

/// Where each is better, of what was measured.
struct Wins {
    central: Vec<&'static str>,
    cluster: Vec<&'static str>,
}

fn wins(compared: &Compared, c: &Total, k: &Total) -> Wins {
    let mut wins = Wins { central: Vec::new(), cluster: Vec::new() };
    for row in rows(compared, c, k).iter().filter(|row| !row.defined && !row.name.starts_with("The same")) {
        match row.better() {
            better if better.starts_with("central") => wins.central.push(row.name),
            better if better.starts_with("cluster") => wins.cluster.push(row.name),
            _ => {}
        }
    }
    wins
}

fn verdict(wins: &Wins) -> String {
    let list = |names: &[&str]| match names {
        [] => "nothing that was measured".to_owned(),
        names => names.join("; ").to_lowercase(),
    };
    format!(
        "The cluster is better in: {}. The central brain is better in: {}.",
        list(&wins.cluster),
        list(&wins.central)
    )
}

fn headlines(central: &Costs, cluster: &Costs, c: &Total, k: &Total) -> Vec<Headline> {
    let stored = |costs: &Costs| bytes((costs.vault_bytes + costs.ledger_bytes) as f64);
    [
        (bytes(c.crossing_bytes), "cross the network to a central brain"),
        (bytes(k.crossing_bytes), "cross the network in a cluster"),
        (stored(central), "stored by a central brain"),
        (stored(cluster), "stored by a cluster, replicas counted"),
        (count(central.personal_rows_outside), "rows about people leave their owner for a central brain"),
        (count(cluster.personal_rows_outside), "do so in a cluster"),
    ]
    .into_iter()
    .map(|(figure, what)| Headline { figure, what: what.to_owned() })
    .collect()
}

fn side_by_side(compared: &Compared, c: &Total, k: &Total, wins: &Wins) -> Section {
    let written = rows(compared, c, k).into_iter().map(|row| {
        let name = if row.defined { format!("{} *", row.name) } else { row.name.to_owned() };
        vec![name, (row.write)(row.central), (row.write)(row.cluster), row.better()]
    });
    Section {
        heading: "Side by side".to_owned(),
        paragraphs: vec![format!(
            "Measured, the cluster is better in {} of these and the central brain in {}; figures marked * follow from what the two \
             are, and prove nothing.",
            wins.cluster.len(),
            wins.central.len()
        )],
        tables: vec![Table {
            caption: "One central brain against a cluster, same rows, same code".to_owned(),
            columns: ["", "Central", "Cluster", "Better"].map(str::to_owned).to_vec(),
            rows: written.collect(),
            notes: vec![
                "* Follows from the definition: a central brain is where all raw rows are. Releases are taken to be alike in size \
                 to tell which of them answered anything."
                    .to_owned(),
            ],
        }],
        ..Section::default()
    }
}

fn outages(seen: &[Outages]) -> Option<Section> {
    if seen.is_empty() {
        return None;
    }
    let of = |part: u64, seen: &Outages| part as f64 / seen.asked.max(1) as f64;
    let line = |way: Way, name: &str, figure: &dyn Fn(&Outages) -> f64| Line {
        name: name.to_owned(),
        points: seen.iter().filter(|seen| seen.way == way).map(|seen| (seen.share, figure(seen))).collect(),
    };
    let chart = |title: &str, caption: &str, figure: &dyn Fn(&Outages) -> f64| Chart {
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: Axis { label: "Share of hours with a link or machine down".to_owned(), log: false, unit: Unit::Share },
        y: Axis { label: "Share of questions".to_owned(), log: false, unit: Unit::Share },
        lines: vec![line(Way::Central, "central", figure), line(Way::Cluster, "cluster", figure)],
    };
    let row = |seen: &Outages| {
        let at = |part: f64| {
            let last = seen.ages_hours.len().checked_sub(1);
            let place =
                last.map(|last| ((part * seen.ages_hours.len() as f64).ceil() as usize).saturating_sub(1).min(last));
            place.map_or("none".to_owned(), |place| format!("{} h", plain(seen.ages_hours[place])))
        };
        let way = if seen.way == Way::Central { "Central" } else { "Cluster" };
        vec![
            format!("{way}, {}", share(seen.share)),
            share(of(seen.own, seen)),
            share(of(seen.own_fresh, seen)),
            share(of(seen.city, seen)),
            share(of(seen.blind, seen)),
            at(0.5),
            at(0.95),
        ]
    };
    let columns = [
        "Way, outages",
        "Own: answered",
        "Own: up to date",
        "City: answered",
        "Nobody to ask",
        "Age, median",
        "Age, 95th",
    ];
    Some(Section {
        heading: "When links and machines fail".to_owned(),
        paragraphs: vec![
            "In each hour each department's link, and each machine, is down with the same probability; both ways live through the \
             same hours. A department whose link is down cannot ask a central brain at all; its own node answers, and says how old \
             what it holds of others is."
                .to_owned(),
        ],
        charts: vec![
            chart("Own question answered", "What a department asks about its own product.", &|seen| of(seen.own, seen)),
            chart("Own question answered up to date", "From everything that could be closed by then.", &|seen| of(seen.own_fresh, seen)),
        ],
        tables: vec![Table {
            caption: "What could be asked, and how old it was".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: seen.iter().map(row).collect(),
            notes: vec![
                "Age: from the end of the newest closed window until now, of products by the hour, where somebody could be asked. A \
                 window waits two hours for late rows, so no age is below two hours or so."
                    .to_owned(),
                "Machines that are down are cut off rather than stopped: what a restart costs is not in these figures.".to_owned(),
            ],
        }],
    })
}

/// Network, store, energy along one axis.
fn sweep(compared: &Compared, points: &[Point], heading: &str, label: &str, log: bool) -> Option<Section> {
    if points.len() < 2 {
        return None;
    }
    let terms = &compared.scenario.central;
    let line = |name: &str, figure: &dyn Fn(&Point) -> f64| Line {
        name: name.to_owned(),
        points: points.iter().map(|point| (point.at, figure(point))).collect(),
    };
    let chart = |title: &str, unit: &str, lines| Chart {
        title: title.to_owned(),
        caption: String::new(),
        x: Axis { label: label.to_owned(), log, unit: Unit::Plain },
        y: Axis { label: unit.to_owned(), log: true, unit: if unit == "Bytes" { Unit::Bytes } else { Unit::Plain } },
        lines,
    };
    let stored = |costs: &Costs| (costs.vault_bytes + costs.ledger_bytes) as f64;
    Some(Section {
        heading: heading.to_owned(),
        paragraphs: vec!["Each point is a day that was run both ways.".to_owned()],
        charts: vec![
            chart(
                "Across the network in a day",
                "Bytes",
                vec![
                    line("central", &|point| point.central.total(terms).crossing_bytes),
                    line("cluster", &|point| point.cluster.total(terms).crossing_bytes),
                    line("central, files packed", &|point| point.central.total(terms).crossing_packed_bytes),
                ],
            ),
            chart(
                "Stored after a day",
                "Bytes",
                vec![
                    line("central", &|point| stored(&point.central)),
                    line("cluster", &|point| stored(&point.cluster)),
                    line("central, raw rows dropped", &|point| point.central.ledger_bytes as f64),
                    line("cluster, raw rows dropped", &|point| point.cluster.ledger_bytes as f64),
                ],
            ),
            chart(
                "Energy of the work in a day",
                "Joules, estimated",
                vec![
                    line("central", &|point| point.central.total(terms).work_joules),
                    line("cluster", &|point| point.cluster.total(terms).work_joules),
                ],
            ),
            chart(
                "Energy with machines kept on",
                "Joules, estimated",
                vec![
                    line("central", &|point| point.central.total(terms).all_joules),
                    line("cluster", &|point| point.cluster.total(terms).all_joules),
                ],
            ),
        ],
        ..Section::default()
    })
}

/// Questions by how many and which: reckoned from what one costs.
fn questions(compared: &Compared) -> Section {
    let line = |name: &str, costs: &Costs, whole_city: f64, figure: fn(Total) -> f64| Line {
        name: name.to_owned(),
        points: QUESTION_RATES
            .iter()
            .map(|rate| {
                let terms = Terms { questions_per_day: *rate as u32, whole_city, ..compared.scenario.central.clone() };
                (*rate, figure(costs.total(&terms)) / costs.days)
            })
            .collect(),
    };
    let Point { central, cluster, .. } = &compared.whole;
    let lines = |figure: fn(Total) -> f64| {
        vec![
            line("central, own", central, 0.0, figure),
            line("cluster, own", cluster, 0.0, figure),
            line("central, two products", central, 1.0, figure),
            line("cluster, two products", cluster, 1.0, figure),
        ]
    };
    let chart = |title: &str, label: &str, unit, figure| Chart {
        title: title.to_owned(),
        caption: String::new(),
        x: Axis { label: "Questions of each department in a day".to_owned(), log: true, unit: Unit::Plain },
        y: Axis { label: label.to_owned(), log: true, unit },
        lines: lines(figure),
    };
    Section {
        heading: "How many questions, and which".to_owned(),
        paragraphs: vec![
            "Reckoned from what one question costs, measured. In a cluster no question crosses the network.".to_owned(),
        ],
        charts: vec![
            chart("Across the network in a day", "Bytes", Unit::Bytes, |total| total.crossing_bytes),
            chart("Energy of the work in a day", "Joules, estimated", Unit::Plain, |total| total.work_joules),
        ],
        ..Section::default()
    }
}

/// What asking peers for what is new costs a cluster: reckoned from what one asking costs.
fn pulls(compared: &Compared) -> Section {
    let Point { central, cluster, .. } = &compared.whole;
    let at = |costs: &Costs, pull_s: f64| costs.total(&Terms { pull_s, ..compared.scenario.central.clone() });
    let line = |name: &str, costs: &Costs, figure: fn(Total) -> f64| Line {
        name: name.to_owned(),
        points: PULLS_S.iter().map(|pull_s| (*pull_s, figure(at(costs, *pull_s)) / costs.days)).collect(),
    };
    let chart = |title: &str, label: &str, unit, figure: fn(Total) -> f64| Chart {
        title: title.to_owned(),
        caption: String::new(),
        x: Axis { label: "Seconds between two askings of each peer".to_owned(), log: true, unit: Unit::Plain },
        y: Axis { label: label.to_owned(), log: true, unit },
        lines: vec![line("central", central, figure), line("cluster", cluster, figure)],
    };
    Section {
        heading: "How often a cluster asks for what is new".to_owned(),
        paragraphs: vec![format!(
            "Each node asks each peer, also while there is nothing: one asking is {} and {} of processor time. It grows with the \
             square of the departments, and is what a central brain does without.",
            bytes(cluster.round.bytes),
            seconds(cluster.round.cpu_s)
        )],
        charts: vec![
            chart("Across the network in a day", "Bytes", Unit::Bytes, |total| total.crossing_bytes),
            chart("Energy of the work in a day", "Joules, estimated", Unit::Plain, |total| total.work_joules),
        ],
        ..Section::default()
    }
}

fn notes(terms: &Terms, central: &Costs) -> Vec<String> {
    let Energy { watts_busy_core, joules_byte, watts_idle_machine } = terms.energy;
    let mut notes = vec![
        "Both ways run the same program on this machine, over loopback with real TLS; clients are counted with the nodes.".to_owned(),
        format!(
            "Energy is estimated: {watts_busy_core} W for a busy core and {watts_idle_machine} W for a machine that does nothing \
             (Cloud Carbon Footprint, means of AWS), {joules_byte:e} J for a byte on the network (the same source: 0.001 kWh a \
             gigabyte).",
        ),
        format!(
            "Latencies are measured on this machine; {} ms for the way to the central brain and back are added to its own.",
            plain(terms.round_trip_ms)
        ),
        format!(
            "Days are replayed in seconds. Asking peers every {} s is reckoned from what one asking costs, and what the replay \
             itself spent on it is taken out.",
            plain(terms.pull_s)
        ),
        "While questions are asked here, peers ask each other far oftener than in life: that is taken out of bytes and processor \
         time, and a cluster's latencies are the worse for it."
            .to_owned(),
        "Bytes stored are tables and blobs after the nodes were stopped, packed as RocksDB packs them.".to_owned(),
        format!(
            "Raw files were {} as written and {} under zstd.",
            bytes(central.raw_bytes as f64),
            bytes(central.raw_packed_bytes as f64)
        ),
    ];
    if central.feeding.joules.is_none() {
        notes.push("This machine does not tell its processor's energy (RAPL), so none of it is measured.".to_owned());
    }
    notes
}
