//! The city as a graph: a dot for each node, a line for each pair of nodes that told each other something.

use std::collections::BTreeMap;

use super::figures::{Graph, LinkFigures};
use super::words::{bytes, count, escaped};

/// Width and height, in the drawing's own units.
const SIZE: f64 = 420.0;
/// Distance of the dots from the middle.
const RADIUS: f64 = 138.0;
/// Nodes that are drawn with their names; more would lie over each other.
const NAMES_MAX: usize = 24;
/// Lines that are drawn: those that most passed over.
const LINES_MAX: usize = 400;

/// The drawing; none of a city without nodes.
pub(super) fn svg(graph: &Graph) -> Option<String> {
    if graph.nodes.is_empty() {
        return None;
    }
    let places = places(graph);
    let pairs = pairs(&graph.links);
    let most = graph.bytes_most.or(pairs.first().map(|pair| pair.1)).unwrap_or(1).max(1) as f64;
    let mut out = format!(
        "<svg class=\"map\" viewBox=\"0 36 {SIZE} 350\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title><desc>Each dot is a node, larger where it took in more rows. Each line is a \
         link, thicker where more bytes passed.</desc>",
        title = escaped(&graph.title),
    );
    for ((one, other), passed) in pairs.iter().take(LINES_MAX) {
        let (Some(a), Some(b)) = (places.get(one.as_str()), places.get(other.as_str())) else { continue };
        let width = 0.6 + 5.4 * (*passed as f64 / most).sqrt();
        out += &format!(
            "<line class=\"link\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke-width=\"{width:.1}\"><title>{} and {}: \
             {}</title></line>",
            a.0,
            a.1,
            b.0,
            b.1,
            escaped(one),
            escaped(other),
            bytes(*passed as f64)
        );
    }
    let rows_most = graph.nodes.iter().map(|node| node.rows).max().unwrap_or(1).max(1) as f64;
    let crowd = if graph.nodes.len() > NAMES_MAX { 0.45 } else { 1.0 };
    for node in &graph.nodes {
        let Some((x, y)) = places.get(node.domain.as_str()) else { continue };
        let radius = crowd * (5.0 + 11.0 * (node.rows as f64 / rows_most).sqrt());
        out += &format!(
            "<circle class=\"node\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}: {} rows</title></circle>",
            escaped(&node.domain),
            count(node.rows)
        );
        if graph.nodes.len() <= NAMES_MAX {
            out += &label(&node.domain, (*x, *y), radius);
        }
    }
    out += "</svg>";
    Some(out)
}

/// The name of a node, outside of the ring.
fn label(name: &str, (x, y): (f64, f64), radius: f64) -> String {
    let (middle, away) = (SIZE / 2.0, radius + 7.0);
    let (dx, dy) = match ((x - middle) / RADIUS, (y - middle) / RADIUS) {
        // the hub's name stands below it: no line leads straight down from the middle of five
        (0.0, 0.0) => (0.0, 1.1),
        aside => aside,
    };
    let anchor = match dx {
        _ if dx > 0.3 => "start",
        _ if dx < -0.3 => "end",
        _ => "middle",
    };
    let (x, y) = (x + dx * away, y + dy * away * 1.15 + 5.0);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(name))
}

fn places(graph: &Graph) -> BTreeMap<&str, (f64, f64)> {
    let hub = graph.hub.as_deref();
    let around = || graph.nodes.iter().filter(|node| Some(node.domain.as_str()) != hub);
    let whole = around().count() as f64;
    let at = |index: usize| {
        let angle = std::f64::consts::TAU * index as f64 / whole - std::f64::consts::FRAC_PI_2;
        (SIZE / 2.0 + RADIUS * angle.cos(), SIZE / 2.0 + RADIUS * angle.sin())
    };
    let middle = hub.map(|hub| (hub, (SIZE / 2.0, SIZE / 2.0)));
    around().enumerate().map(|(index, node)| (node.domain.as_str(), at(index))).chain(middle).collect()
}

/// Bytes between each two nodes, both ways together, the most first.
fn pairs(links: &[LinkFigures]) -> Vec<((String, String), u64)> {
    let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
    for LinkFigures { from, to, bytes } in links {
        let pair = if from <= to { (from.clone(), to.clone()) } else { (to.clone(), from.clone()) };
        *pairs.entry(pair).or_default() += bytes;
    }
    let mut pairs: Vec<_> = pairs.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    pairs.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    pairs
}
