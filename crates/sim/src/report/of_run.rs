//! The figures of a run on the simulated network: what a report shows of an [`Outcome`].

use std::collections::{BTreeMap, BTreeSet};

use crate::city::City;
use crate::faults::EVERY;
use crate::outcome::{Freshness, Outcome, QuestionOutcome};

use super::figures::{
    Axis, Chart, CheckFigures, FaultSpan, Figures, Headline, Line, LinkFigures, NodeFigures, Section, Table, Unit,
};
use super::words::{bytes, count, seconds, share};

/// Seconds in an hour.
const HOUR: f64 = 3_600.0;
/// Findings that a checker's entry tells.
const FINDINGS_TOLD: usize = 3;

/// What one checker was given to look at: the run tells, so that "nothing found" is not "nothing looked at".
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The checker, as findings name it.
    pub checker: String,
    /// What it means that it found nothing.
    pub promise: String,
    /// How many things it looked at.
    pub things: u64,
    /// What they were.
    pub of: String,
}

/// The figures of a run. `looked` names every checker that ran.
///
/// # Errors
/// Never, unless a field of the outcome has no form in JSON.
pub fn figures(outcome: &Outcome, city: &City, looked: &[Looked]) -> Result<Figures, serde_json::Error> {
    let checks: Vec<CheckFigures> = looked.iter().map(|looked| check(looked, outcome)).collect();
    let holds = outcome.findings.is_empty();
    let whole = outcome.seconds as f64;
    let mut sections = vec![rates(city, whole), freshness(outcome)];
    sections.extend(questions(outcome));
    // the trace is a file of its own, and long
    let measured = serde_json::to_value(Outcome { trace: Vec::new(), ..outcome.clone() })?;
    Ok(Figures {
        measured,
        title: outcome.title.clone(),
        verdict: verdict(outcome),
        holds: Some(holds),
        purpose: format!(
            "{} departments live {} of simulated time on the real node code, over a simulated network.",
            outcome.nodes.len(),
            seconds(whole)
        ),
        seed: outcome.seed,
        headlines: headlines(outcome),
        nodes: outcome.nodes.iter().map(|node| node_figures(node, city)).collect(),
        links: outcome
            .links
            .iter()
            .map(|link| LinkFigures { from: link.sender.clone(), to: link.receiver.clone(), bytes: link.bytes })
            .collect(),
        faults: faults(outcome),
        hours: whole / HOUR,
        checks,
        sections,
        notes: vec![
            "The same scenario and seed give the same run, byte for byte; only what the machine needed for it differs."
                .to_owned(),
            "Bytes on links are counted within TLS, whose place a plain link with the same identity check takes here."
                .to_owned(),
            "Stored bytes are those written to the databases' logs, before RocksDB packs them.".to_owned(),
        ],
    })
}

fn verdict(outcome: &Outcome) -> String {
    let rows: u64 = outcome.nodes.iter().map(|node| node.rows_accepted).sum();
    let of = format!("{} rows in {} departments", count(rows), outcome.nodes.len());
    let ended = if outcome.interrupted { ", up to the moment at which the run was stopped" } else { "" };
    match outcome.findings.first() {
        None => format!("Over {of} with {} faults every checker found what was promised{ended}.", outcome.faults.len()),
        Some(first) => {
            format!(
                "{} findings over {of}{ended}; the first, of {}: {}",
                outcome.findings.len(),
                first.checker,
                first.said
            )
        }
    }
}

fn headlines(outcome: &Outcome) -> Vec<Headline> {
    let rows: u64 = outcome.nodes.iter().map(|node| node.rows_accepted).sum();
    let passed: u64 = outcome.links.iter().map(|link| link.bytes).sum();
    let sent: u64 = outcome.nodes.iter().map(|node| node.bytes_ingested).sum();
    let answered = outcome.questions.iter().filter(|question| question.error.is_none()).count();
    let mut all = vec![
        (count(rows), "rows taken in"),
        (bytes(sent as f64), "of raw files, which stayed at home"),
        (bytes(passed as f64), "passed between nodes"),
    ];
    if !outcome.questions.is_empty() {
        all.push((share(answered as f64 / outcome.questions.len() as f64), "of questions were answered"));
    }
    all.push((seconds(outcome.cost.wall_s), "on the clock for the whole run"));
    all.push((bytes(outcome.cost.memory_bytes_max as f64), "of memory at the most"));
    all.into_iter().map(|(figure, what)| Headline { figure, what: what.to_owned() }).collect()
}

fn node_figures(node: &crate::outcome::NodeOutcome, city: &City) -> NodeFigures {
    let department = city.department(&node.domain);
    let kind = department.map_or_else(String::new, |of| {
        let link = if of.bad_link { ", bad link" } else { "" };
        format!("{}, {} sensors{link}", of.product, count(of.sensors() as u64))
    });
    NodeFigures {
        domain: node.domain.clone(),
        kind,
        rows: node.rows_accepted,
        rejected: node.rows_rejected,
        duplicates: node.rows_duplicate,
        starts: node.starts,
        stored_bytes: Some(node.vault_bytes + node.ledger_bytes),
    }
}

fn faults(outcome: &Outcome) -> Vec<FaultSpan> {
    let whole = outcome.seconds as f64 / HOUR;
    let span = |fault: &crate::outcome::FaultOutcome| {
        let from_hours = fault.from? as f64 / HOUR;
        let until_hours = fault.until.map_or(whole, |until| until as f64 / HOUR).max(from_hours);
        Some(FaultSpan { from_hours, until_hours, what: fault.said.replace(EVERY, "all others") })
    };
    let mut spans: Vec<FaultSpan> = outcome.faults.iter().filter_map(span).collect();
    spans.sort_by(|one, other| one.from_hours.total_cmp(&other.from_hours));
    spans
}

fn check(looked: &Looked, outcome: &Outcome) -> CheckFigures {
    let found: Vec<&str> = outcome
        .findings
        .iter()
        .filter(|found| found.checker == looked.checker)
        .map(|found| found.said.as_str())
        .collect();
    let finding = match found.len() {
        0 => looked.promise.clone(),
        many => format!("{many} findings: {}", found[..many.min(FINDINGS_TOLD)].join("; ")),
    };
    CheckFigures {
        name: looked.checker.clone(),
        held: found.is_empty(),
        looked_at: looked.things,
        of: looked.of.clone(),
        finding,
    }
}

/// Rows by hour, as the departments send them.
fn rates(city: &City, whole: f64) -> Section {
    let hours = city.plan.hours().min((whole / HOUR).ceil() as u32);
    let line = |of: &crate::city::Department| Line {
        name: of.domain.clone(),
        points: (0..hours).map(|hour| (f64::from(hour), city.rows_of_hour(of, hour) as f64)).collect(),
    };
    let lines: Vec<Line> = city.departments.iter().filter(|of| of.real.is_none()).map(line).collect();
    let sum = |line: &Line| line.points.iter().map(|point| point.1).sum::<f64>();
    let all: f64 = lines.iter().map(sum).sum();
    let most = lines.iter().max_by(|one, other| sum(one).total_cmp(&sum(other)));
    let least = lines.iter().min_by(|one, other| sum(one).total_cmp(&sum(other)));
    let caption = most.zip(least).map_or_else(String::new, |(most, least)| {
        let part = |line: &Line| share(sum(line) / all.max(1.0));
        format!("{} sends most, {} of all rows, and {} least, {}.", most.name, part(most), least.name, part(least))
    });
    let chart = |title: &str, caption: String, log| Chart {
        title: title.to_owned(),
        caption,
        x: hours_axis(),
        y: Axis { label: "Rows an hour".to_owned(), log, unit: Unit::Plain },
        lines: lines.clone(),
    };
    let steady =
        "Each step up is ten times as many: the small beside the large. Air measures at a fixed beat.".to_owned();
    Section {
        heading: "What the departments sent".to_owned(),
        paragraphs: vec!["Departments share their days, their weather and what happens in town.".to_owned()],
        charts: vec![chart("Who sent how much", caption, false), chart("The same by factors of ten", steady, true)],
        ..Section::default()
    }
}

/// The age of what is known of each product: the oldest at any node, and at each node of any product.
fn freshness(outcome: &Outcome) -> Section {
    let oldest = |key: fn(&Freshness) -> &str| {
        let mut lines: BTreeMap<&str, BTreeMap<u64, i64>> = BTreeMap::new();
        for sample in &outcome.freshness {
            let Some(age) = sample.age else { continue };
            let worst = lines.entry(key(sample)).or_default().entry(sample.at).or_insert(age);
            *worst = age.max(*worst);
        }
        lines
            .into_iter()
            .map(|(name, points)| Line {
                name: name.to_owned(),
                points: points.into_iter().map(|(at, age)| (at as f64 / HOUR, age as f64 / HOUR)).collect(),
            })
            .collect::<Vec<Line>>()
    };
    let chart = |title: &str, lines: Vec<Line>| Chart {
        title: title.to_owned(),
        caption: at_worst(&lines),
        x: hours_axis(),
        y: Axis { label: "Hours since the end of the newest window".to_owned(), ..Axis::default() },
        lines,
    };
    Section {
        heading: "How fresh the city's knowledge was".to_owned(),
        paragraphs: vec![
            "A window closes once late rows have had their time, so a line is a saw whose tooth is one window; a product by the day \
             is up to a day older than one by the hour. What rises beyond that was cut off, or down."
                .to_owned(),
        ],
        charts: vec![
            chart("Each product, at the node that knew least of it", oldest(|sample| &sample.product)),
            chart("Each node, of the product that it knew least of", oldest(|sample| &sample.domain)),
        ],
        ..Section::default()
    }
}

/// Which line is highest, and where.
fn at_worst(lines: &[Line]) -> String {
    let points = lines.iter().flat_map(|line| line.points.iter().map(move |point| (&line.name, point)));
    let worst = points.max_by(|(_, one), (_, other)| one.1.total_cmp(&other.1));
    worst.map_or_else(String::new, |(name, (at, age))| {
        format!("The oldest that anything was known: {name}, {} old after {}.", seconds(age * HOUR), seconds(at * HOUR))
    })
}

fn hours_axis() -> Axis {
    Axis { label: "Time since the start".to_owned(), unit: Unit::Hours, ..Axis::default() }
}

fn questions(outcome: &Outcome) -> Option<Section> {
    if outcome.questions.is_empty() {
        return None;
    }
    let domains: BTreeSet<&str> = outcome.questions.iter().map(|question| question.domain.as_str()).collect();
    let row = |domain: &&str| {
        let of: Vec<&QuestionOutcome> =
            outcome.questions.iter().filter(|question| question.domain == **domain).collect();
        let answered: Vec<&&QuestionOutcome> = of.iter().filter(|question| question.error.is_none()).collect();
        let complete = answered.iter().filter(|question| question.complete).count();
        let mut latencies: Vec<u64> = answered.iter().map(|question| question.latency_us).collect();
        latencies.sort_unstable();
        let at = |part: f64| quantile(&latencies, part).map_or("none".to_owned(), |us| seconds(us as f64 / 1e6));
        vec![
            (*domain).to_owned(),
            count(of.len() as u64),
            share(answered.len() as f64 / of.len() as f64),
            count(complete as u64),
            at(0.5),
            at(0.99),
        ]
    };
    Some(Section {
        heading: "Questions over the whole city".to_owned(),
        tables: vec![Table {
            caption: "Asked by each department of its own node".to_owned(),
            columns: ["Department", "Asked", "Answered", "Lacking nothing", "Median", "99th of 100"]
                .map(str::to_owned)
                .to_vec(),
            rows: domains.iter().map(row).collect(),
            notes: vec!["An answer that lacks something says so, and what.".to_owned()],
        }],
        ..Section::default()
    })
}

/// The value that so large a part lies at or below; none of none.
pub fn quantile(sorted: &[u64], part: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(last)).copied()
}
