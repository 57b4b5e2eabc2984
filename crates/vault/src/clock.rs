//! Whether the clock can be trusted with what cannot be undone.
//!
//! Retention removes rows for good. A clock that is set wrong, or jumps, would have it remove what is not due; so
//! nothing is removed by a clock that has not been steady for [`CLOCK_STEADY`] of running, as far as the vault has seen.

use crate::keys::meta;
use crate::{Vault, VaultError};
use civicmesh_model::time::{Span, UtcMicros};
use serde::{Deserialize, Serialize};

/// How long a clock must have been steady: time for somebody to see that it is wrong.
pub const CLOCK_STEADY: Span = Span::DAY;
/// The most that a steady clock gains, or loses, on the time that the node itself measured between two looks.
const CLOCK_GAIN_MAX: Span = Span::seconds(300);
/// The longest that a node may have been off with its clock still taken for steady.
const CLOCK_OFF_MAX: Span = Span::days(7);

/// How the clock stood when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockLook {
    /// What it showed.
    pub at: UtcMicros,
    /// What it showed when it was first looked at, or when it last jumped.
    pub steady_since: UtcMicros,
}

impl ClockLook {
    /// A look at a clock that shows `now`. `measured` is the time since the last look as the node measured it without
    /// that clock; none for the first look since it started.
    fn after(last: Option<Self>, now: UtcMicros, measured: Option<Span>) -> Self {
        let steady = last.is_some_and(|last| {
            let (least, most) = match measured {
                Some(measured) => (last.at.after(measured).before(CLOCK_GAIN_MAX), last.at.after(measured)),
                None => (last.at.before(CLOCK_GAIN_MAX), last.at.after(CLOCK_OFF_MAX)),
            };
            least <= now && now <= most.after(CLOCK_GAIN_MAX)
        });
        let steady_since = last.filter(|_| steady).map_or(now, |last| last.steady_since);
        Self { at: now, steady_since }
    }

    /// Whether the clock has been steady for long enough.
    pub fn is_trusted(&self) -> bool {
        self.steady_since.after(CLOCK_STEADY) <= self.at
    }
}

impl Vault {
    /// Looks at the clock, which shows `now`, and remembers it. `measured` is the time since the last look as the node
    /// measured it by other means; none for the first look since it started.
    pub fn look_at_clock(&self, now: UtcMicros, measured: Option<Span>) -> Result<ClockLook, VaultError> {
        let _writing = self.write();
        let look = ClockLook::after(meta::clock(&self.store)?, now, measured);
        let mut batch = self.store.batch();
        meta::put_clock(&mut batch, look);
        self.store.commit(batch)?;
        Ok(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{DAY, HOUR, MINUTE, Place};

    #[test]
    fn a_clock_is_trusted_once_it_was_steady_for_a_day() {
        let (place, hour) = (Place::new(), Some(Span::from_micros(HOUR)));
        let vault = place.open().unwrap();
        let mut now = 1_000 * DAY;
        let look = |now, measured| vault.look_at_clock(UtcMicros(now), measured).unwrap().is_trusted();
        assert!(!look(now, None), "nothing is known of it");
        let steady_hours = |now: &mut i64| {
            let looks = std::iter::from_fn(|| {
                *now += HOUR + MINUTE;
                Some(look(*now, hour))
            });
            looks.take_while(|trusted| !trusted).count()
        };
        assert_eq!(steady_hours(&mut now), 23);
        for jump in [HOUR + 6 * MINUTE, 365 * DAY, HOUR - 6 * MINUTE, -DAY] {
            now += jump;
            assert!(!look(now, hour), "a jump to {jump}");
            assert_eq!(steady_hours(&mut now), 23);
        }
    }

    #[test]
    fn what_the_vault_saw_of_the_clock_outlives_the_node() {
        let place = Place::new();
        let trusted = |now, measured| {
            let look = place.open().unwrap().look_at_clock(UtcMicros(now), measured);
            look.unwrap().is_trusted()
        };
        let now = 1_000 * DAY;
        assert!(!trusted(now, None));
        assert!(trusted(now + 7 * DAY, None), "it was off for a week");
        assert!(!trusted(now + 15 * DAY, None), "it was off for longer, or its clock jumped");
        assert!(!trusted(now, None), "the clock went back");
    }
}
