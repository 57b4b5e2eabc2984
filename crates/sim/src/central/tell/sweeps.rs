//! The comparison along its axes: what is cheaper where, and where that changes.

use super::rows::times;
use crate::central::measure::QUESTIONS_MAX;
use crate::central::{Asked, Compared, Costs, Outages, Point, Terms, Total, Way};
use crate::report::of_run::quantile;
use crate::report::words::{bytes, plain, seconds, share};
use crate::report::{Axis, Chart, Line, Section, Table, Unit};

/// Seconds between two askings of a peer for which the cluster is reckoned.
const PULLS_S: [f64; 7] = [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0];
/// A difference of less is none.
const ALIKE: f64 = 1.05;

/// The points of one way along an axis.
type Points = Vec<(f64, f64)>;

/// Where a chart stands on its horizontal axis.
#[derive(Clone, Copy)]
struct Across {
    label: &'static str,
    log: bool,
    unit: Unit,
    /// How a place on it is named in a sentence, as in "up to 3 departments".
    place: fn(f64) -> String,
}

/// A chart of both ways; its caption says who is lower where. `more` are lines beside the two.
fn chart(across: Across, title: &str, (label, unit): (&str, Unit), both: [Points; 2], more: Vec<Line>) -> Chart {
    let caption = reading(across, &both);
    let [central, cluster] = both;
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    let mut lines = vec![line("Central brain", central), line("Cluster", cluster)];
    lines.extend(more);
    Chart {
        title: title.to_owned(),
        caption,
        x: Axis { label: across.label.to_owned(), log: across.log, unit: across.unit },
        y: Axis { label: label.to_owned(), log: unit != Unit::Share, unit },
        lines,
    }
}

/// One sentence: who is lower where.
fn reading(across: Across, [central, cluster]: &[Points; 2]) -> String {
    let factor = |((at, central), (_, cluster)): (&(f64, f64), &(f64, f64))| (*at, cluster / central);
    let factors: Vec<(f64, f64)> =
        central.iter().zip(cluster).map(factor).filter(|(_, factor)| factor.is_finite() && *factor > 0.0).collect();
    let (Some(first), Some(last)) = (factors.first(), factors.last()) else { return String::new() };
    let side = |factor: f64| match factor {
        _ if factor > ALIKE => Some("central brain"),
        _ if factor < 1.0 / ALIKE => Some("cluster"),
        _ => None,
    };
    let size = |factor: f64| if factor >= 1.0 { factor } else { 1.0 / factor };
    let sides: Vec<Option<&str>> = factors.iter().map(|(_, factor)| side(*factor)).collect();
    let sizes = || factors.iter().map(|(_, factor)| size(*factor));
    let (least, most) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    if sides.iter().all(Option::is_none) {
        return "Both are alike.".to_owned();
    }
    if sides.iter().all(|side| *side == sides[0]) {
        let span =
            if times(least) == times(most) { times(least) } else { format!("{} to {}", times(least), times(most)) };
        return format!("The {} is lower throughout, by {span}.", sides[0].unwrap_or_default());
    }
    let turns = factors.windows(2).find(|two| (two[0].1 > 1.0) != (two[1].1 > 1.0));
    let (Some(from), Some(to), Some(turn)) = (side(first.1), side(last.1), turns) else {
        let lower = sides.iter().flatten().next().copied().unwrap_or_default();
        return format!("The {lower} is lower by up to {}, or both are alike.", times(most));
    };
    if from == to {
        return "Who is lower changes to and fro: the difference is within what such a run can tell.".to_owned();
    }
    format!(
        "The {from} is lower up to {}, the {to} from {} on: {} at the end.",
        (across.place)(turn[0].0),
        (across.place)(turn[1].0),
        times(size(last.1))
    )
}

/// What could be asked while things are down.
pub(super) fn outages(all: &[Outages]) -> Option<Section> {
    if all.is_empty() {
        return None;
    }
    let name = |seen: &Outages| match (seen.way, seen.links_only) {
        (Way::Cluster, _) => "Cluster",
        (Way::Central, false) => "Central brain",
        (Way::Central, true) => "Central brain that never fails",
    };
    let line = |of: &str, figure: &dyn Fn(&Outages) -> f64| Line {
        name: of.to_owned(),
        points: all.iter().filter(|seen| name(seen) == of).map(|seen| (seen.share, figure(seen))).collect(),
    };
    let chart = |title: &str, caption: &str, figure: &dyn Fn(&Outages) -> f64| Chart {
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: Axis {
            label: "Share of hours in which a link or machine is down".to_owned(),
            log: false,
            unit: Unit::Share,
        },
        y: Axis { label: "Share of questions".to_owned(), log: false, unit: Unit::Share },
        lines: ["Central brain", "Cluster", "Central brain that never fails"].map(|of| line(of, figure)).to_vec(),
    };
    let row = |seen: &Outages| {
        let at = |part: f64| {
            let minutes: Vec<u64> = seen.ages_hours.iter().map(|age| (age * 60.0).round() as u64).collect();
            quantile(&minutes, part).map_or("none".to_owned(), |minutes| seconds(minutes as f64 * 60.0))
        };
        let parts =
            [seen.part(|of| of.own), seen.part(|of| of.own_fresh), seen.part(|of| of.city), seen.part(|of| of.blind)];
        std::iter::once(format!("{}, {}", name(seen), share(seen.share)))
            .chain(parts.map(share))
            .chain([at(0.5), at(0.95)])
            .collect()
    };
    let columns = [
        "Way, outages",
        "Own: answered",
        "Own: up to date",
        "Two products: answered",
        "Nobody to ask",
        "Age, median",
        "Age, 95th",
    ];
    Some(Section {
        heading: "When links and machines fail".to_owned(),
        paragraphs: vec![
            "In each hour each department's link, and each machine, is down with the same probability; all ways live through the \
             same hours. A department whose link is down cannot ask a central brain at all; its own node answers, and says how old \
             what it holds of others is. The third line is a central brain at its best: its own machine never fails, and only links do."
                .to_owned(),
        ],
        charts: vec![
            chart("A department's question about its own product is answered", "Who asks a central brain needs the network for it.", &|seen| {
                seen.part(|of| of.own)
            }),
            chart("… and from everything that could be closed by then", "Late where rows, or a node, could not be reached.", &|seen| {
                seen.part(|of| of.own_fresh)
            }),
        ],
        tables: [
            Some(Table {
                caption: "What could be asked, and how old it was".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows: all.iter().map(row).collect(),
                notes: vec![
                    "Age: from the end of the newest closed window until now, of products by the hour, where somebody could be asked. \
                     A window waits two hours for late rows, so no age is below two hours or so."
                        .to_owned(),
                    "Machines that are down are cut off rather than stopped: what a restart costs is not in these figures.".to_owned(),
                ],
            }),
            by_department(all, name),
        ]
        .into_iter()
        .flatten()
        .collect(),
        ..Section::default()
    })
}

/// Each department by itself, where most is down.
fn by_department(all: &[Outages], name: impl Fn(&Outages) -> &'static str) -> Option<Table> {
    let most = all.iter().map(|seen| seen.share).fold(0.0, f64::max);
    let worst: Vec<&Outages> = all.iter().filter(|seen| seen.share == most).collect();
    let domains = worst.first()?.by_department.iter().enumerate();
    let row = |(at, of): (usize, &crate::central::Answered)| {
        let parts = worst.iter().filter_map(|seen| seen.by_department.get(at));
        std::iter::once(of.domain.clone())
            .chain(parts.map(|of| share(of.own as f64 / of.asked.max(1) as f64)))
            .collect()
    };
    Some(Table {
        caption: format!("Own question answered, by department, {} outages", share(most)),
        columns: std::iter::once("Department").chain(worst.iter().map(|seen| name(seen))).map(str::to_owned).collect(),
        rows: domains.map(row).collect(),
        notes: vec!["Departments have the same luck on average; what differs here is chance.".to_owned()],
    })
}

/// Network, store, energy along one axis.
fn sweep(compared: &Compared, points: &[Point], across: Across, heading: &str, paragraph: &str) -> Option<Section> {
    if points.is_empty() {
        return None;
    }
    let terms = &compared.scenario.central;
    let along = |figure: &dyn Fn(&Costs) -> f64| -> [Points; 2] {
        [
            points.iter().map(|point| (point.at, figure(&point.central) / point.central.days)).collect(),
            points.iter().map(|point| (point.at, figure(&point.cluster) / point.cluster.days)).collect(),
        ]
    };
    let one = |name: &str, points: &Points| Line { name: name.to_owned(), points: points.clone() };
    let packed = along(&|costs| costs.total(terms).crossing_packed_bytes);
    let dropped = along(&|costs| costs.ledger_bytes as f64);
    Some(Section {
        heading: heading.to_owned(),
        paragraphs: vec![paragraph.to_owned()],
        charts: vec![
            chart(
                across,
                "Across the network in a day",
                ("Bytes", Unit::Bytes),
                along(&|costs| costs.total(terms).crossing_bytes),
                vec![one("Central brain, raw files packed", &packed[0])],
            ),
            chart(
                across,
                "Stored after a day",
                ("Bytes", Unit::Bytes),
                along(&Costs::stored_bytes),
                vec![
                    one("Central brain, raw rows dropped", &dropped[0]),
                    one("Cluster, raw rows dropped", &dropped[1]),
                ],
            ),
            chart(
                across,
                "Energy of the work in a day",
                ("Joules, estimated", Unit::Plain),
                along(&|costs| costs.total(terms).work_joules),
                Vec::new(),
            ),
            chart(
                across,
                "Energy with machines kept on",
                ("Joules, estimated", Unit::Plain),
                along(&|costs| costs.total(terms).all_joules),
                Vec::new(),
            ),
        ],
        ..Section::default()
    })
}

/// By how many departments the city has.
pub(super) fn departments(compared: &Compared) -> Option<Section> {
    let across = Across {
        label: "Departments",
        log: false,
        unit: Unit::Plain,
        place: |many| format!("{} departments", plain(many)),
    };
    let paragraph = "Each point is a day that was run both ways. The city has the same events however many departments share them, \
                     so that what grows is what departments tell each other: with the square of their number.";
    sweep(compared, &compared.by_departments, across, "How many departments", paragraph)
}

/// By how many rows come in.
pub(super) fn rates(compared: &Compared) -> Option<Section> {
    let across = Across {
        label: "Rows in a day",
        log: true,
        unit: Unit::Plain,
        place: |rows| format!("{} rows a day", plain(rows)),
    };
    let paragraph = "Each point is a day that was run both ways. Raw rows cross the network to a central brain; a cluster exchanges \
                     releases, which do not grow with them.";
    let rows = |point: &Point| Point { at: point.central.rows as f64 / point.central.days, ..point.clone() };
    let points: Vec<Point> = compared.by_rate.iter().map(rows).collect();
    sweep(compared, &points, across, "How many rows", paragraph)
}

/// What both ways send and use in a day, each figure along the points that `along` gives.
fn in_each_day(across: Across, along: impl Fn(fn(Total) -> f64) -> [Points; 2]) -> [Chart; 2] {
    let crossing = along(|total| total.crossing_bytes);
    let energy = along(|total| total.work_joules);
    [
        chart(across, "Across the network in a day", ("Bytes", Unit::Bytes), crossing, Vec::new()),
        chart(across, "Energy of the work in a day", ("Joules, estimated", Unit::Plain), energy, Vec::new()),
    ]
}

/// Both ways along points at which questions were asked.
fn along_asked(
    compared: &Compared,
    points: fn(&Costs) -> &[Asked],
    at: fn(&Asked) -> f64,
    figure: &dyn Fn(&Costs, &Asked) -> f64,
) -> [Points; 2] {
    let Point { central, cluster, .. } = &compared.whole;
    [central, cluster].map(|costs| points(costs).iter().map(|asked| (at(asked), figure(costs, asked))).collect())
}

/// By how many questions are asked.
pub(super) fn questions(compared: &Compared) -> Option<Section> {
    let terms = &compared.scenario.central;
    if compared.whole.central.by_questions.is_empty() {
        return None;
    }
    let across = Across {
        label: "Questions of each department in a day",
        log: true,
        unit: Unit::Plain,
        place: |many| format!("{} questions", plain(many)),
    };
    let along = |figure: &dyn Fn(&Costs, &Asked) -> f64| {
        along_asked(compared, |costs| &costs.by_questions, |asked| asked.per_day, figure)
    };
    let in_a_day =
        |figure: fn(Total) -> f64| along(&|costs, asked| figure(costs.total_asked(terms, asked)) / costs.days);
    let busy = along(&|costs, asked| {
        let total = costs.total_asked(terms, asked);
        total.cpu_s / (costs.machines as f64 * costs.days * 86_400.0)
    });
    let [crossing, energy] = in_each_day(across, in_a_day);
    let busy =
        chart(across, "Cores that are busy at each machine, on average", ("Cores", Unit::Plain), busy, Vec::new());
    Some(Section {
        heading: "How many questions".to_owned(),
        paragraphs: vec![format!(
            "Asked on the city as it is, {} of them over two products; {} at the most of each point, and more are reckoned from these. \
             In a cluster no question crosses the network.",
            share(terms.whole_city),
            QUESTIONS_MAX,
        )],
        charts: vec![crossing, energy, busy],
        ..Section::default()
    })
}

/// By which questions are asked.
pub(super) fn mixes(compared: &Compared) -> Option<Section> {
    let terms = &compared.scenario.central;
    if compared.whole.central.by_mix.len() < 2 {
        return None;
    }
    let across = Across {
        label: "Share of questions over two departments' products",
        log: false,
        unit: Unit::Share,
        place: |part| share(part),
    };
    let along = |figure: &dyn Fn(&Costs, &Asked) -> f64| {
        along_asked(compared, |costs| &costs.by_mix, |asked| asked.whole_city, figure)
    };
    let median = along(&|costs, asked| {
        let mut all: Vec<u64> = asked.own_us.iter().chain(&asked.whole_us).copied().collect();
        all.sort_unstable();
        let network = if costs.way == Way::Central { terms.round_trip_ms } else { 0.0 };
        quantile(&all, 0.5).map_or(f64::NAN, |us| us as f64 / 1e3 + network)
    });
    let each = along(&|_, asked| 1e3 * asked.used.cpu_s / asked.questions.max(1) as f64);
    let unused = along(&|costs, asked| 1.0 - asked.held_used as f64 / costs.held.max(1) as f64);
    let mut unused =
        chart(across, "Stored releases that no answer used", ("Share of their bytes", Unit::Share), unused, Vec::new());
    unused.caption =
        "A replica that nobody asks about was exchanged and stored for nothing: a cluster in which departments ask \
                      about themselves alone has most of them."
            .to_owned();
    let mut median =
        chart(across, "Half of all answers come within", ("Milliseconds", Unit::Plain), median, Vec::new());
    median.y.log = false;
    let mut each = chart(across, "Processor time of one question", ("Milliseconds", Unit::Plain), each, Vec::new());
    each.y.log = false;
    Some(Section {
        heading: "Which questions".to_owned(),
        paragraphs: vec![
            "A question is either about the department's own product or sets it beside another's. Asked on the city as it is.".to_owned(),
        ],
        charts: vec![median, each, unused],
        ..Section::default()
    })
}

/// What asking peers for what is new costs a cluster: reckoned from what one asking costs.
pub(super) fn pulls(compared: &Compared) -> Section {
    let Point { central, cluster, .. } = &compared.whole;
    let across = Across {
        label: "Seconds between two askings of each peer",
        log: true,
        unit: Unit::Plain,
        place: |span| seconds(span),
    };
    let along = |figure: fn(Total) -> f64| -> [Points; 2] {
        [central, cluster].map(|costs| {
            let at = |pull_s: f64| costs.total(&Terms { pull_s, ..compared.scenario.central.clone() });
            PULLS_S.iter().map(|pull_s| (*pull_s, figure(at(*pull_s)) / costs.days)).collect()
        })
    };
    let still = &cluster.still;
    Section {
        heading: "How often a cluster asks for what is new".to_owned(),
        paragraphs: vec![format!(
            "Each node asks each peer, also while there is nothing. One asking is {} and {} of processor time; a link that is made \
             anew, every ten minutes or so, {} and {}; and while nothing happens a machine and its links use {} and {} in a day. \
             It grows with the square of the departments, and is what a central brain does without. Reckoned from these.",
            bytes(still.turn.bytes),
            seconds(still.turn.cpu_s),
            bytes(still.link.bytes),
            seconds(still.link.cpu_s),
            bytes(still.rest.bytes * 86_400.0),
            seconds(still.rest.cpu_s * 86_400.0),
        )],
        charts: in_each_day(across, along).to_vec(),
        ..Section::default()
    }
}
