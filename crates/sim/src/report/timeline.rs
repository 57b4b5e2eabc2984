//! What was broken when, and whom it hit: a lane for each kind of fault, in widths of per cent so that letters stay readable
//! on a telephone.

use std::collections::BTreeMap;

use super::figures::{FaultSpan, Figures};
use super::words::{escaped, plain};

/// Height of a lane, and of the scale below, in pixels.
const LANE: usize = 40;
const SCALE: usize = 26;
/// Lanes that are drawn; further ones are in the table.
const LANES_MAX: usize = 24;
/// The least width of a bar, in per cent: an instant must be seen.
const BAR_MIN: f64 = 0.6;

/// The drawing; none where nothing was broken.
pub(super) fn svg(figures: &Figures) -> Option<String> {
    if figures.faults.is_empty() || figures.hours <= 0.0 {
        return None;
    }
    let mut lanes: BTreeMap<String, Vec<&FaultSpan>> = BTreeMap::new();
    for fault in &figures.faults {
        lanes.entry(fault.what.clone()).or_default().push(fault);
    }
    let mut lanes: Vec<_> = lanes.into_iter().collect();
    lanes.sort_by(|one, other| first(&one.1).total_cmp(&first(&other.1)));
    lanes.truncate(LANES_MAX);
    let height = lanes.len() * LANE + SCALE;
    let mut out = format!(
        "<svg class=\"timeline\" width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"What was broken when\">\
         <title>What was broken when</title><desc>Bars are stretches of time in which something was broken; the table below \
         tells them in words.</desc>"
    );
    let bottom = height - SCALE;
    for (at, text) in ticks(figures.hours) {
        let share = 100.0 * at / figures.hours;
        let anchor = if share > 90.0 {
            "end"
        } else if share < 5.0 {
            "start"
        } else {
            "middle"
        };
        out += &format!(
            "<line class=\"tick\" x1=\"{share:.2}%\" x2=\"{share:.2}%\" y1=\"0\" y2=\"{bottom}\"/><text class=\"scale\" \
             x=\"{share:.2}%\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
            bottom + 18
        );
    }
    for (lane, (name, spans)) in lanes.iter().enumerate() {
        let top = lane * LANE;
        out += &format!("<text x=\"0\" y=\"{}\">{}</text>", top + 15, escaped(name));
        for span in spans {
            let from = 100.0 * (span.from_hours / figures.hours).clamp(0.0, 1.0);
            let width = (100.0 * (span.until_hours - span.from_hours) / figures.hours).clamp(BAR_MIN, 100.0);
            let from = from.min(100.0 - width);
            out += &format!(
                "<rect class=\"fault\" x=\"{from:.2}%\" y=\"{}\" width=\"{width:.2}%\" height=\"12\" rx=\"2\"><title>{}, hour {} \
                 to {}</title></rect>",
                top + 21,
                escaped(name),
                plain(span.from_hours),
                plain(span.until_hours)
            );
        }
    }
    out += "</svg>";
    Some(out)
}

fn first(spans: &[&FaultSpan]) -> f64 {
    spans.iter().map(|span| span.from_hours).fold(f64::INFINITY, f64::min)
}

/// Marks of the scale: hours of a short run, days of a long one; eight at the most.
fn ticks(hours: f64) -> Vec<(f64, String)> {
    let step = [1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 168.0, 336.0, 720.0, 2_160.0, 8_760.0];
    let step = step.into_iter().find(|step| hours / step <= 7.0).unwrap_or(hours);
    let mark = |at: f64| if step >= 24.0 { format!("day {}", plain(at / 24.0)) } else { format!("{} h", plain(at)) };
    let mut ticks = Vec::new();
    let mut at = 0.0;
    while at <= hours {
        ticks.push((at, mark(at)));
        at += step;
    }
    ticks
}
