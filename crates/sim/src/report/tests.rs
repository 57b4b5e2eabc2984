//! The page stands by itself, says everything in words too, and takes any text.

use super::*;
use crate::city::{City, CityPlan};
use crate::faults::Operation;
use crate::outcome::{FaultOutcome, Finding, Freshness, NodeOutcome, Outcome, QuestionOutcome};

/// A report with something in each of its parts.
pub(crate) fn sample() -> Figures {
    let days = |height: f64| (0..168).map(|hour| (f64::from(hour), height * f64::from(1 + hour % 24))).collect();
    let line = |name: &str, height| Line { name: name.to_owned(), points: days(height) };
    let chart = |title: &str, unit, log| Chart {
        title: title.to_owned(),
        caption: "What came in the night waited until the morning.".to_owned(),
        x: Axis { label: "Time since the start".to_owned(), unit: Unit::Hours, ..Axis::default() },
        y: Axis { label: "Rows an hour".to_owned(), log, unit },
        lines: vec![line("traffic", 1_800.0), line("transit & co", 620.0), line("air", 24.0)],
    };
    let names = ["traffic", "transit", "energy", "services", "air"];
    let node = |(at, name): (usize, &&str)| NodeFigures {
        domain: (*name).to_owned(),
        kind: "open <b>".to_owned(),
        rows: 6_000_000 >> (2 * at),
        rejected: 31 << at,
        duplicates: 14 << at,
        starts: 1,
        stored_bytes: Some(300_000_000 >> at),
    };
    let links = names.iter().flat_map(|from| {
        names.iter().filter(move |to| to != &from).map(move |to| LinkFigures {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            bytes: 40_000 * (from.len() * to.len()) as u64,
        })
    });
    let fault = |from_hours, until_hours, what: &str| FaultSpan { from_hours, until_hours, what: what.to_owned() };
    let check = |name: &str, held, finding: &str| CheckFigures {
        name: name.to_owned(),
        held,
        looked_at: 12_345,
        of: "cells".to_owned(),
        finding: finding.to_owned(),
    };
    Figures {
        title: "First city".to_owned(),
        verdict: "Ten million rows in seven days; every row counted once.".to_owned(),
        holds: Some(true),
        purpose: "Five uneven departments for a week.".to_owned(),
        seed: 42,
        headlines: vec![
            Headline { figure: "10,012,345".to_owned(), what: "rows taken in".to_owned() },
            Headline { figure: "4.1 MB".to_owned(), what: "crossed the network".to_owned() },
            Headline { figure: "41 s".to_owned(), what: "on two cores".to_owned() },
            Headline { figure: "0".to_owned(), what: "personal rows left their owner".to_owned() },
        ],
        nodes: names.iter().enumerate().map(node).collect(),
        links: links.collect(),
        faults: vec![
            fault(20.0, 44.0, "air and energy are cut off from each other"),
            fault(60.0, 61.0, "traffic is away"),
            fault(90.0, 120.0, "messages between air and energy take 800 ms"),
            fault(130.0, 131.0, "traffic is away"),
        ],
        hours: 168.0,
        checks: vec![
            check("Conservation", true, "Each accepted row is in exactly one sum."),
            check("Egress", true, "No canary was seen on a link or in a log."),
            check("Bounds", false, "The queue of air held 17 things; 16 are allowed."),
        ],
        sections: vec![Section {
            heading: "Through the week".to_owned(),
            paragraphs: vec!["Rows came as people move.".to_owned()],
            graphs: vec![Graph {
                title: "All to air & none to others".to_owned(),
                nodes: names.iter().enumerate().map(node).collect(),
                hub: Some("air".to_owned()),
                ..Graph::default()
            }],
            charts: vec![chart("Rows taken in", Unit::Plain, false), chart("Bytes on the network", Unit::Bytes, true)],
            tables: vec![Table {
                caption: "Central against cluster".to_owned(),
                columns: ["Figure", "Central", "Cluster"].map(str::to_owned).to_vec(),
                rows: vec![vec!["Bytes crossing".to_owned(), "1.2 GB".to_owned(), "4.1 MB".to_owned()]],
                notes: vec!["Measured on two cores.".to_owned()],
            }],
        }],
        notes: vec!["Energy is estimated, not measured.".to_owned()],
        measured: serde_json::Value::Null,
    }
}

#[test]
fn the_page_stands_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&sample(), folder.path()).unwrap();
    let page = fs::read_to_string(file).unwrap();
    for foreign in ["<script", "http://", "https://", "url(", "@import", "<img", "<link"] {
        let allowed = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!allowed.contains(foreign), "the page names {foreign}");
    }
    assert!(!page.contains("open <b>") && page.contains("open &lt;b&gt;"), "text is escaped");
    assert_eq!(page.matches("<svg").count(), 4, "a map, a graph, two plots; the timeline is none");
    assert_eq!(page.matches("role=\"img\"").count(), 5, "each is told to who cannot see it");
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
    assert!(!page.contains("\"#0000"), "no placeholder is left of the plots' colours");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join(FIGURES_FILE)).unwrap()).unwrap();
    assert_eq!(json["sections"][0]["charts"][0]["lines"][0]["points"].as_array().unwrap().len(), 168);
}

#[test]
fn a_report_of_nothing_is_a_page_too() {
    let folder = tempfile::tempdir().unwrap();
    let empty = Section { charts: vec![Chart::default()], ..Section::default() };
    let figures = Figures { title: "Stopped at once".to_owned(), sections: vec![empty], ..Figures::default() };
    assert!(write(&figures, folder.path()).is_ok());
    let one_point = Line { name: "one".to_owned(), points: vec![(1.0, 0.0)] };
    let chart = Chart { lines: vec![one_point], ..Chart::default() };
    let mut log = chart.clone();
    (log.x.log, log.y.log) = (true, true);
    let figures =
        Figures { sections: vec![Section { charts: vec![chart, log], ..Section::default() }], ..Figures::default() };
    let file = write(&figures, folder.path()).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap().matches("<svg").count(), 1, "zero has no place on a logarithmic axis");
}

#[test]
fn a_run_is_told_whole() {
    let city = City::draw(7, &CityPlan { days: 1, events_per_day: 2_000, ..CityPlan::default() }).unwrap();
    let nodes = city.departments.iter().map(|of| NodeOutcome {
        domain: of.domain.clone(),
        rows_accepted: 9,
        ..NodeOutcome::default()
    });
    let question = |latency_us, error: Option<&str>| QuestionOutcome {
        domain: "air".to_owned(),
        error: error.map(str::to_owned),
        latency_us,
        ..QuestionOutcome::default()
    };
    let age = |at, age| Freshness { at, domain: "air".to_owned(), product: "air.readings".to_owned(), age };
    let operation = Operation::Away { node: "air".to_owned(), from: 3_600, until: 7_200 };
    let outcome = Outcome {
        title: "A day".to_owned(),
        seconds: 86_400,
        nodes: nodes.collect(),
        faults: vec![FaultOutcome { said: operation.to_string(), operation, from: Some(3_600), until: None }],
        questions: vec![question(1_000, None), question(9_000, None), question(0, Some("no"))],
        freshness: vec![age(3_600, Some(60)), age(3_600, Some(90)), age(7_200, None)],
        findings: vec![Finding { checker: "bounds".to_owned(), at: 5, said: "17 of 16".to_owned() }],
        ..Outcome::default()
    };
    let looked = |name: &str| of_run::Looked { checker: name.to_owned(), things: 3, ..of_run::Looked::default() };
    let told = of_run::figures(&outcome, &city, &[looked("bounds"), looked("egress")]).unwrap();
    assert!(told.holds == Some(false) && told.verdict.contains("17 of 16"), "{}", told.verdict);
    assert_eq!(told.checks.iter().map(|check| check.held).collect::<Vec<_>>(), [false, true]);
    assert_eq!((told.faults[0].from_hours, told.faults[0].until_hours), (1.0, 24.0), "it goes on to the end");
    let asked = &told.sections[2].tables[0].rows[0];
    assert_eq!(asked[1..], ["3", "66.7 %", "0", "1 ms", "9 ms"]);
    assert_eq!(told.sections[1].charts[0].lines[0].points, [(1.0, 0.025)], "the oldest of two nodes");
    assert!(write(&told, tempfile::tempdir().unwrap().path()).is_ok());
}
