//! The city as a graph: a dot for each node, a line for each pair of nodes that told each other something.

use std::collections::BTreeMap;

use super::figures::{Figures, LinkFigures};
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
pub(super) fn svg(figures: &Figures) -> Option<String> {
    if figures.nodes.is_empty() {
        return None;
    }
    let places = places(figures);
    let pairs = pairs(&figures.links);
    let most = pairs.first().map_or(1, |pair| pair.1).max(1) as f64;
    let mut out = format!(
        "<svg class=\"map\" viewBox=\"0 36 {SIZE} 350\" role=\"img\" aria-label=\"The city's nodes and links\">\
         <title>The city's nodes and links</title><desc>Each dot is a node, larger where it took in more rows. Each line is a \
         link, thicker where more bytes passed.</desc>"
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
    let rows_most = figures.nodes.iter().map(|node| node.rows).max().unwrap_or(1).max(1) as f64;
    let crowd = if figures.nodes.len() > NAMES_MAX { 0.45 } else { 1.0 };
    for node in &figures.nodes {
        let Some((x, y)) = places.get(node.domain.as_str()) else { continue };
        let radius = crowd * (5.0 + 11.0 * (node.rows as f64 / rows_most).sqrt());
        out += &format!(
            "<circle class=\"node\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}: {} rows</title></circle>",
            escaped(&node.domain),
            count(node.rows)
        );
        if figures.nodes.len() <= NAMES_MAX {
            out += &label(&node.domain, (*x, *y), radius);
        }
    }
    out += "</svg>";
    Some(out)
}

/// The name of a node, outside of the ring.
fn label(name: &str, (x, y): (f64, f64), radius: f64) -> String {
    let (middle, away) = (SIZE / 2.0, radius + 7.0);
    let (dx, dy) = ((x - middle) / RADIUS, (y - middle) / RADIUS);
    let anchor = match dx {
        _ if dx > 0.3 => "start",
        _ if dx < -0.3 => "end",
        _ => "middle",
    };
    let (x, y) = (x + dx * away, y + dy * away * 1.15 + 5.0);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(name))
}

fn places(figures: &Figures) -> BTreeMap<&str, (f64, f64)> {
    let whole = figures.nodes.len() as f64;
    let at = |(index, node): (usize, &'_ super::figures::NodeFigures)| {
        let angle = std::f64::consts::TAU * index as f64 / whole - std::f64::consts::FRAC_PI_2;
        let _ = node;
        (SIZE / 2.0 + RADIUS * angle.cos(), SIZE / 2.0 + RADIUS * angle.sin())
    };
    figures.nodes.iter().enumerate().map(|(index, node)| (node.domain.as_str(), at((index, node)))).collect()
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
