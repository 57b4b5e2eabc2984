//! Retention: raw rows are gone once the time is over for which their contract keeps them, and not before. That every
//! answer stays is conservation's to say.

use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_vault::{CLOCK_STEADY, KeptDay};

/// A node, as far as it matters for what it must have dropped.
#[derive(Clone, Copy, Debug)]
pub struct Keeper {
    /// How long raw rows are kept.
    pub raw: Span,
    /// How much longer they may lie there, since a node looks for them every so often.
    pub grace: Span,
    /// What its clock shows.
    pub now: UtcMicros,
    /// The most that its clock ever showed.
    pub now_most: UtcMicros,
    /// How long it has been running with a steady clock: one that is not trusted drops nothing.
    pub steady: Span,
}

/// What is wrong with the days that a vault has rows of; nothing, if all is well. `fed` are the days, by an instant within
/// each, whose rows were all taken in.
pub fn check(kept: &[KeptDay], fed: &[UtcMicros], node: Keeper) -> Option<String> {
    let late = |day: &&KeptDay| {
        let due = day.day.end.max(day.arrived).after(node.raw);
        let trusted = node.now.before(node.steady).after(CLOCK_STEADY);
        due.max(trusted).after(node.grace) < node.now
    };
    if let Some(KeptDay { day, rows, .. }) = kept.iter().find(late) {
        return Some(format!(
            "{rows} rows of the day from {} are still there, though kept for {}",
            day.start, node.raw
        ));
    }
    let is_kept = |at: &UtcMicros| kept.iter().any(|kept| kept.day.contains(*at));
    let early = fed.iter().find(|at| at.after(node.raw) > node.now_most && !is_kept(at));
    early.map(|at| format!("no row of the day of {at} is there, though kept for {}", node.raw))
}

#[cfg(test)]
mod tests {
    use civicmesh_model::grain::Window;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn kept(days: std::ops::Range<i64>) -> Vec<KeptDay> {
        let day = |day| Window { start: UtcMicros(day * DAY), end: UtcMicros((day + 1) * DAY) };
        days.map(|at| KeptDay { day: day(at), rows: 7, arrived: UtcMicros(at * DAY + DAY / 2) }).collect()
    }

    #[test]
    fn what_lies_too_long_and_what_is_gone_too_early_is_found() {
        let now = UtcMicros(20 * DAY);
        let hour = Span::from_micros(DAY / 24);
        let node = Keeper { raw: Span::days(3), grace: hour, now, now_most: now, steady: Span::days(9) };
        let fed: Vec<UtcMicros> = (10..20).map(|day| UtcMicros(day * DAY + DAY / 2)).collect();
        // the day 16 ended three days ago, and its grace is not over
        assert_eq!(check(&kept(16..20), &fed, node), None);
        assert_eq!(check(&kept(17..20), &fed, node), None);
        assert!(check(&kept(15..20), &fed, node).unwrap().contains("still there"));
        assert!(check(&kept(18..20), &fed, node).unwrap().contains("is there"));
        let young = Keeper { steady: hour, ..node };
        assert_eq!(check(&kept(10..20), &fed, young), None, "its clock is not trusted yet");
        let ahead = Keeper { now_most: UtcMicros(21 * DAY), ..node };
        assert_eq!(check(&kept(18..20), &fed, ahead), None, "its clock was ahead once");
    }
}
