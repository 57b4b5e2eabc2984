//! What was broken when, and whom it hit: a lane for each kind of fault, its words above it, which may take more than one
//! line on a telephone.

use std::collections::BTreeMap;

use super::figures::{FaultSpan, Figures, Unit};
use super::words::{escaped, on_axis};

/// Lanes that are drawn; further ones are in the table.
const LANES_MAX: usize = 24;
/// The least width of a bar, in per cent: an instant must be seen.
const BAR_MIN: f64 = 0.6;

/// The drawing; none where nothing was broken.
pub(super) fn html(figures: &Figures) -> Option<String> {
    if figures.faults.is_empty() || figures.hours <= 0.0 {
        return None;
    }
    let mut lanes: BTreeMap<&str, Vec<&FaultSpan>> = BTreeMap::new();
    for fault in &figures.faults {
        lanes.entry(&fault.what).or_default().push(fault);
    }
    let mut lanes: Vec<_> = lanes.into_iter().collect();
    lanes.sort_by(|one, other| first(&one.1).total_cmp(&first(&other.1)));
    lanes.truncate(LANES_MAX);
    let marks = hour_marks(0.0, figures.hours);
    let share = |at: f64| 100.0 * (at / figures.hours).clamp(0.0, 1.0);
    let ticks: String = marks.iter().map(|at| format!("<i style=\"left:{:.2}%\"></i>", share(*at))).collect();
    let mut out = String::from(
        "<div class=\"timeline\" role=\"img\" aria-label=\"What was broken when; the table below says it in words\">",
    );
    for (name, spans) in lanes {
        out += &format!("<p>{}</p><div class=\"track\">{ticks}", escaped(name));
        for span in spans {
            let width = (share(span.until_hours) - share(span.from_hours)).max(BAR_MIN);
            out += &format!(
                "<b style=\"left:{:.2}%;width:{width:.2}%\" title=\"{} to {}\"></b>",
                share(span.from_hours).min(100.0 - width),
                on_axis(span.from_hours, Unit::Hours),
                on_axis(span.until_hours, Unit::Hours),
            );
        }
        out += "</div>";
    }
    let scale = |at: &f64| {
        let side = match share(*at) {
            share if share > 93.0 => "end",
            share if share < 4.0 => "start",
            _ => "middle",
        };
        format!("<span class=\"{side}\" style=\"left:{:.2}%\">{}</span>", share(*at), on_axis(*at, Unit::Hours))
    };
    Some(out + "<div class=\"scale\">" + &marks.iter().map(scale).collect::<String>() + "</div></div>")
}

fn first(spans: &[&FaultSpan]) -> f64 {
    spans.iter().map(|span| span.from_hours).fold(f64::INFINITY, f64::min)
}

/// Where a scale of hours is marked: at whole parts of a day, or at days; eight times at the most.
pub(super) fn hour_marks(from: f64, until: f64) -> Vec<f64> {
    let steps = [0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 168.0, 336.0, 720.0, 2_160.0, 8_760.0];
    let step = steps.into_iter().find(|step| (until - from) / step <= 7.0).unwrap_or(until - from).max(0.25);
    let begin = (from / step).ceil();
    (0..8).map(|at| (begin + f64::from(at)) * step).take_while(|at| *at <= until).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_marked_where_people_look_for_them() {
        assert_eq!(hour_marks(0.0, 24.0), [0.0, 6.0, 12.0, 18.0, 24.0]);
        assert_eq!(hour_marks(5.0, 78.0), [12.0, 24.0, 36.0, 48.0, 60.0, 72.0]);
        assert_eq!(hour_marks(0.0, 168.0).len(), 8);
        assert!(hour_marks(3.0, 3.0).len() <= 1);
    }
}
