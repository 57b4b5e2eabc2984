//! Growth as a report: what was measured, what theory says, and what follows for a city that is not run.

use civicmesh_exchange::serve::KEEPALIVE_S;
use civicmesh_exchange::tls::INCOMING_LINKS_MAX;

use super::{Grown, Growth, HOUR_S, Point, Sizes, TOGETHER_HOURS, exponent};
use crate::report::words::{bytes, count, plain, seconds};
use crate::report::{Axis, Chart, CheckFigures, Figures, Headline, Line, Section, Table, Unit};

/// Something that was measured, of one point.
type Figure = fn(&Point) -> f64;

/// A figure that grows, and how it should.
struct Law {
    what: &'static str,
    /// What it is held against.
    x: Figure,
    y: Figure,
    against: &'static str,
    power: f64,
    why: &'static str,
}

fn peers(point: &Point) -> f64 {
    f64::from(point.departments) - 1.0
}

fn nodes(point: &Point) -> f64 {
    point.departments.into()
}

fn law(what: &'static str, x: Figure, y: Figure, against: &'static str, power: f64, why: &'static str) -> Law {
    Law { what, x, y, against, power, why }
}

fn laws() -> [Law; 8] {
    let pairs: Figure = |point| nodes(point) * peers(point);
    [
        law("Links of the city", pairs, |point| point.links as f64, "n(n \u{2212} 1)", 1.0, "everyone asks everyone"),
        law(
            "Messages a node sends, busy",
            peers,
            |point| point.busy.messages,
            "n \u{2212} 1",
            1.0,
            "one asking a peer",
        ),
        law(
            "Messages a node sends, quiet",
            peers,
            |point| point.quiet.messages,
            "n \u{2212} 1",
            1.0,
            "one asking a peer",
        ),
        law(
            "Bytes a node sends, busy",
            peers,
            |point| point.busy.bytes,
            "n \u{2212} 1",
            1.0,
            "its releases, to each peer",
        ),
        law(
            "Bytes a node sends, quiet",
            peers,
            |point| point.quiet.bytes,
            "n \u{2212} 1",
            1.0,
            "a list of its own products",
        ),
        law(
            "News at half of the nodes",
            nodes,
            |point| point.arrival_median_s,
            "n",
            0.0,
            "each owner is asked in turn, at its own time",
        ),
        law("News at every node", nodes, |point| point.arrival_max_s, "n", 0.0, "one interval, however many ask"),
        law(
            "Bytes a node writes to its ledger",
            nodes,
            |point| point.ledger_bytes,
            "n",
            1.0,
            "every product of the city",
        ),
    ]
}

impl Law {
    fn fitted(&self, points: &[Point]) -> Option<f64> {
        exponent(&points.iter().map(|point| ((self.x)(point), (self.y)(point))).collect::<Vec<_>>())
    }

    /// The curve of theory, laid through what was measured: its factor is the mean one.
    fn theory(&self, points: &[Point]) -> Vec<(f64, f64)> {
        let factors = points.iter().map(|point| ((self.y)(point) / (self.x)(point).powf(self.power)).ln());
        let measured: Vec<f64> = factors.filter(|factor| factor.is_finite()).collect();
        let factor = (measured.iter().sum::<f64>() / measured.len().max(1) as f64).exp();
        points.iter().map(|point| (nodes(point), factor * (self.x)(point).powf(self.power))).collect()
    }
}

/// How news goes round in a city that is not run.
struct Way {
    /// Peers that a node asks.
    asks: f64,
    /// Peers that ask the node that most ask.
    asked_most: f64,
    /// Products that a node takes from others.
    products: f64,
    /// Askings until all have news.
    askings: f64,
}

/// What a city costs that was not run.
struct Reckoned {
    what: String,
    /// Peers that a node asks.
    asks: f64,
    /// Peers that ask the node that most ask.
    asked_most: f64,
    /// Messages that a node sends in a second.
    messages_s: f64,
    /// Bytes that it sends in a second.
    bytes_s: f64,
    /// Bytes between all nodes in a day.
    city_bytes_day: f64,
    /// How long news takes at the most, in askings.
    askings: f64,
}

/// What was measured of one peer: the largest city tells it best.
struct OfPeer {
    /// Messages and bytes that an asking, its answer and the link's signs of life take.
    asking: (f64, f64),
    /// Bytes that one release takes on top.
    release_bytes: f64,
    /// Seconds of the network between two askings, and between two releases of a product.
    pull_s: f64,
    release_s: f64,
}

impl OfPeer {
    fn of(growth: &Growth, point: &Point) -> OfPeer {
        let run = &growth.run;
        let network = |seconds: u64| seconds as f64 / run.warp as f64;
        // what a node sends in an hour to one peer, as asker and as asked
        let askings = HOUR_S as f64 / run.pull_s as f64;
        OfPeer {
            asking: (point.quiet.messages / peers(point) / askings, point.quiet.bytes / peers(point) / askings),
            release_bytes: (point.busy.bytes - point.quiet.bytes).max(0.0) / peers(point),
            pull_s: network(run.pull_s),
            release_s: network(HOUR_S),
        }
    }

    fn reckon(&self, what: String, nodes: f64, way: Way) -> Reckoned {
        let (messages, bytes) = self.asking;
        let Way { asks, asked_most, products, askings } = way;
        let bytes_s = asks * bytes / self.pull_s + products * self.release_bytes / 3_600.0;
        let (messages_s, city_bytes_day) = (asks * messages / self.pull_s, nodes * bytes_s * 86_400.0);
        Reckoned { what, asks, asked_most, messages_s, bytes_s, city_bytes_day, askings }
    }
}

fn reckoned(sizes: &Sizes, of: &OfPeer) -> Vec<Reckoned> {
    let (nodes, region) = (f64::from(sizes.reckoned_nodes), f64::from(sizes.region_nodes));
    let regions = (nodes / region).ceil();
    let products = region - 1.0 + (regions - 1.0) * f64::from(sizes.products_from_a_region);
    let whole = count(sizes.reckoned_nodes.into());
    vec![
        of.reckon(
            format!("{whole} nodes, each asks each"),
            nodes,
            Way { asks: nodes - 1.0, asked_most: nodes - 1.0, products: nodes - 1.0, askings: 1.0 },
        ),
        of.reckon(
            format!(
                "{} regions of {}, and {} products of each other one",
                plain(regions),
                plain(region),
                sizes.products_from_a_region
            ),
            nodes,
            Way { asks: products, asked_most: nodes - 1.0, products, askings: 1.0 },
        ),
        of.reckon(
            "the same, by a relay in each region, which there is none of".to_owned(),
            nodes,
            Way { asks: region, asked_most: region + regions - 2.0, products, askings: 3.0 },
        ),
    ]
}

/// The figures of growth.
///
/// # Errors
/// Never, unless a field of what was measured has no form in JSON.
pub fn figures(growth: &Growth, grown: &Grown) -> Result<Figures, serde_json::Error> {
    let points = &grown.points;
    let findings: usize = points.iter().map(|point| point.findings.len()).sum();
    let mut sections = vec![measured(points), against_theory(growth, points)];
    sections.extend(points.last().map(|point| beyond(growth, point)));
    Ok(Figures {
        measured: serde_json::to_value(grown)?,
        title: growth.title.clone(),
        verdict: verdict(growth, grown),
        holds: Some(findings == 0),
        purpose: "The same city with more and more departments, on the real node code: every node pulls every product from its owner."
            .to_owned(),
        seed: grown.seed,
        headlines: headlines(growth, points),
        hours: f64::from(growth.city.hours()),
        checks: points.iter().map(check).collect(),
        sections,
        notes: vec![
            "A message is one write to a link; bytes are counted within TLS, whose place a plain link with the same identity check takes."
                .to_owned(),
            format!(
                "Busy is the mean hour from the {TOGETHER_HOURS}. on, in which every product by the hour is released once; quiet is an hour \
                 after the last release. The first hours, in which everyone meets and fetches contracts, are left out."
            ),
            format!(
                "A second of the network is {} s of the city: askings are {} s apart on the network, and a link that is silent shows a sign \
                 of life after {KEEPALIVE_S} s of it, which counts.",
                growth.run.warp,
                plain(growth.run.pull_s as f64 / growth.run.warp as f64)
            ),
            "Memory is the most that the process held up to there: the runs follow each other in one process.".to_owned(),
        ],
        ..Figures::default()
    })
}

/// The same for a terminal.
pub fn lines(growth: &Growth, grown: &Grown) -> Vec<String> {
    let mut lines = vec![verdict(growth, grown)];
    let all = [Some(measured(&grown.points)), Some(against_theory(growth, &grown.points))];
    let all = all.into_iter().chain([grown.points.last().map(|point| beyond(growth, point))]).flatten();
    for table in all.flat_map(|section| section.tables) {
        lines.extend([String::new(), format!("{}:", table.caption), table.columns.join(" | ")]);
        lines.extend(table.rows.iter().map(|row| row.join(" | ")));
    }
    let findings =
        grown.points.iter().flat_map(|point| point.findings.iter().map(move |found| (point.departments, found)));
    lines.extend(
        findings.map(|(departments, found)| format!("FOUND  with {departments}: {}: {}", found.checker, found.said)),
    );
    lines
}

fn verdict(growth: &Growth, grown: &Grown) -> String {
    let (Some(first), Some(last)) = (grown.points.first(), grown.points.last()) else {
        return "It was ended before the first city had lived its time.".to_owned();
    };
    let laws = laws();
    let power = |at: usize| laws[at].fitted(&grown.points).map_or("none".to_owned(), |power| format!("{power:.2}"));
    let ended = if grown.interrupted { " It was ended before its time." } else { "" };
    format!(
        "From {} to {} departments messages of a node grow with the power {} of its peers (theory: 1), and news reaches every node \
         within {} askings (theory: 1, and no more with more nodes; power {}).{ended}",
        first.departments,
        last.departments,
        power(2),
        plain(last.arrival_max_s / growth.run.pull_s as f64),
        power(6),
    )
}

fn headlines(growth: &Growth, points: &[Point]) -> Vec<Headline> {
    let Some(last) = points.last() else { return Vec::new() };
    let all = [
        (count(last.departments.into()), "departments at the most".to_owned()),
        (count(last.links), "links between them".to_owned()),
        (plain(last.arrival_max_s / growth.run.pull_s as f64), "askings until the last node had news".to_owned()),
        (bytes(last.memory_bytes_max as f64), "of memory at the most".to_owned()),
        (seconds(last.wall_s), "on the clock for the largest city".to_owned()),
    ];
    all.into_iter().map(|(figure, what)| Headline { figure, what }).collect()
}

fn check(point: &Point) -> CheckFigures {
    CheckFigures {
        name: format!("{} departments", point.departments),
        held: point.findings.is_empty(),
        looked_at: point.entries,
        of: "entries".to_owned(),
        finding: match point.findings.first() {
            None => "Every node has what each owner has, row for row".to_owned(),
            Some(found) => format!("{}: {}", found.checker, found.said),
        },
    }
}

fn measured(points: &[Point]) -> Section {
    let row = |point: &Point| {
        vec![
            count(point.departments.into()),
            count(point.links),
            plain(point.busy.messages),
            plain(point.quiet.messages),
            bytes(point.busy.bytes),
            bytes(point.quiet.bytes),
            seconds(point.arrival_median_s),
            seconds(point.arrival_max_s),
            bytes(point.ledger_bytes),
            seconds(point.wall_s),
            seconds(point.cpu_s),
            bytes(point.memory_bytes_max as f64),
        ]
    };
    let columns = [
        "Departments",
        "Links",
        "Messages, busy",
        "Messages, quiet",
        "Bytes, busy",
        "Bytes, quiet",
        "News at half",
        "News at all",
        "Ledger written",
        "Wall",
        "Processor",
        "Memory",
    ];
    Section {
        heading: "What was measured".to_owned(),
        tables: vec![Table {
            caption: "Messages and bytes that one node sends in an hour of the city; how long news takes".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: points.iter().map(row).collect(),
            notes: Vec::new(),
        }],
        ..Section::default()
    }
}

fn against_theory(growth: &Growth, points: &[Point]) -> Section {
    let laws = laws();
    let row = |law: &Law| {
        let power = law.fitted(points).map_or("none".to_owned(), |power| format!("{power:.3}"));
        vec![law.what.to_owned(), law.against.to_owned(), power, plain(law.power), law.why.to_owned()]
    };
    let line = |name: &str, y: &dyn Fn(&Point) -> f64| Line {
        name: name.to_owned(),
        points: points.iter().map(|point| (nodes(point), y(point))).collect(),
    };
    let theory =
        |at: usize| Line { name: "theory: in proportion to peers".to_owned(), points: laws[at].theory(points) };
    let chart = |title: &str, caption: &str, label: &str, unit, lines| Chart {
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: Axis { label: "Departments".to_owned(), log: true, unit: Unit::Plain },
        y: Axis { label: label.to_owned(), log: true, unit },
        lines,
    };
    let interval = growth.run.pull_s as f64;
    Section {
        heading: "Against theory".to_owned(),
        paragraphs: vec![
            "Every node asks every owner: links grow with n(n \u{2212} 1), what a node sends with its peers, and news is everywhere after one \
             asking, however many there are. Gossip would send as much from a node however many there are, and take about as many \
             rounds as n has binary digits; it needs nodes that hand on what others released, which there are none of here."
                .to_owned(),
        ],
        graphs: Vec::new(),
        charts: vec![
            chart(
                "Messages that a node sends in an hour",
                "Both axes by factors: a straight line is a power.",
                "Messages",
                Unit::Plain,
                vec![
                    line("busy", &|point| point.busy.messages),
                    line("quiet", &|point| point.quiet.messages),
                    theory(2),
                ],
            ),
            chart(
                "Bytes that a node sends in an hour",
                "What is busy carries each owner's releases to each peer.",
                "Bytes",
                Unit::Bytes,
                vec![line("busy", &|point| point.busy.bytes), line("quiet", &|point| point.quiet.bytes), theory(4)],
            ),
            chart(
                "Until news is everywhere",
                "One asking is the bound; gossip, which is reckoned, would need more of them the more nodes there are.",
                "Seconds of the city",
                Unit::Plain,
                vec![
                    line("at every node", &|point| point.arrival_max_s),
                    line("at half of them", &|point| point.arrival_median_s),
                    line("theory: one asking", &|_| interval),
                    line("gossip: log\u{2082} n rounds", &|point| interval * nodes(point).log2()),
                ],
            ),
        ],
        tables: vec![Table {
            caption: "The power with which it grows, by least squares over the logarithms".to_owned(),
            columns: ["What", "Against", "Measured", "Theory", "Because"].map(str::to_owned).to_vec(),
            rows: laws.iter().map(row).collect(),
            notes: Vec::new(),
        }],
    }
}

fn beyond(growth: &Growth, point: &Point) -> Section {
    let sizes = &growth.growth;
    let of = OfPeer::of(growth, point);
    let gossip_rounds = f64::from(sizes.reckoned_nodes).log2().ceil();
    let row = |reckoned: &Reckoned| {
        vec![
            reckoned.what.clone(),
            plain(reckoned.asks),
            plain(reckoned.asked_most),
            plain(reckoned.messages_s),
            bytes(reckoned.bytes_s),
            bytes(reckoned.city_bytes_day),
            format!("{} ({})", plain(reckoned.askings), seconds(reckoned.askings * of.pull_s)),
        ]
    };
    let columns = [
        "City",
        "Peers a node asks",
        "Peers that ask the busiest",
        "Messages a second",
        "Bytes a second",
        "City, bytes a day",
        "Askings until all have news",
    ];
    Section {
        heading: format!("Reckoned, not run: {} nodes", count(sizes.reckoned_nodes.into())),
        paragraphs: vec![format!(
            "From what one peer cost in the city of {}: {} messages and {} for an asking with its answer and the link's signs of life, {} \
             more for a release.",
            count(point.departments.into()),
            plain(of.asking.0),
            bytes(of.asking.1),
            bytes(of.release_bytes)
        )],
        tables: vec![Table {
            caption: "What one node sends".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: reckoned(sizes, &of).iter().map(row).collect(),
            notes: vec![
                format!(
                    "Assumed: each node has one product, releases one window an hour as large as here (every {} s of the network in the run), \
                     and asks each peer every {} s.",
                    plain(of.release_s),
                    plain(of.pull_s)
                ),
                format!(
                    "A node takes {} links at once ({INCOMING_LINKS_MAX} is a constant of the code): an owner whom every node of such a city \
                     asks would refuse most of them. Regions alone do not mend that; a relay would, and signatures already let it hand on what \
                     others released.",
                    count(INCOMING_LINKS_MAX as u64)
                ),
                format!(
                    "With a relay in each region a node asks its own region and the relay, the relay asks its region and all other relays: news \
                     takes an asking to the relay, one between relays and one from there. Gossip would take about {gossip_rounds} rounds.",
                ),
            ],
        }],
        ..Section::default()
    }
}
