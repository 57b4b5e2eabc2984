//! Grain: how time is cut into windows. Windows tile time in every zone, without gap or overlap.
//!
//! - Up to an hour, windows follow the zone's clock while its offset from UTC stands still, and every change of
//!   the offset is an edge: a day of 25 hours has 25 windows of an hour, and no window has times on both sides of a
//!   change. (Lord Howe Island moves its clocks by half an hour and so has two windows of half an hour a year.)
//! - Beyond an hour, windows are civil: each begins at the first instant at which the zone's clocks show its
//!   beginning or later. A day may last 23 or 25 hours, a window of 3 hours 2 or 4; one that the clocks went over
//!   altogether (30 December 2011 in Samoa) does not exist.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Months, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use serde::{Deserialize, Serialize};

use crate::time::{DAY, SECOND, UtcMicros, Zone};

const HOUR: i64 = 3_600 * SECOND;
/// No zone changes its offset twice within this time: the closest two changes in the database are a week apart.
const OFFSET_STEP: i64 = DAY;

/// The lengths of windows in minutes that divide an hour.
const MINUTES: [u32; 10] = [1, 2, 3, 5, 6, 10, 12, 15, 20, 30];
/// The lengths in hours that divide a day.
const HOURS: [u32; 7] = [1, 2, 3, 4, 6, 8, 12];

/// How long a product's windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grain {
    /// Minutes that divide an hour: 1, 2, 3, 5, 6, 10, 12, 15, 20 or 30.
    Minutes(u32),
    /// Hours that divide a day: 1, 2, 3, 4, 6, 8 or 12.
    Hours(u32),
    /// A civil day.
    Day,
    /// A civil week, from Monday.
    Week,
    /// A civil month.
    Month,
}

/// A text that is not a grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a grain is 1, 2, 3, 5, 6, 10, 12, 15, 20 or 30 minutes, 1, 2, 3, 4, 6, 8 or 12 hours, 1 day, 1 week or 1 month"
)]
pub struct GrainError;

impl Grain {
    fn is_valid(self) -> bool {
        match self {
            Self::Minutes(n) => MINUTES.contains(&n),
            Self::Hours(n) => HOURS.contains(&n),
            Self::Day | Self::Week | Self::Month => true,
        }
    }

    /// The length in microseconds of a grain that follows the clock.
    fn clock_micros(self) -> Option<i64> {
        match self {
            Self::Minutes(n) => Some(i64::from(n) * 60 * SECOND),
            Self::Hours(1) => Some(HOUR),
            Self::Hours(_) | Self::Day | Self::Week | Self::Month => None,
        }
    }

    /// The local time at which the civil window begins that `local` lies in. (Minutes follow the clock and never
    /// come here.)
    fn civil_start(self, local: NaiveDateTime) -> NaiveDateTime {
        let date = local.date();
        let (date, hour) = match self {
            Self::Minutes(_) => (date, local.hour()),
            Self::Hours(n) => (date, local.hour() / n * n),
            Self::Day => (date, 0),
            Self::Week => {
                let days = i64::from(date.weekday().num_days_from_monday());
                (date - TimeDelta::days(days), 0)
            }
            Self::Month => (date.with_day(1).expect("every month has a first day"), 0),
        };
        date.and_time(NaiveTime::MIN) + TimeDelta::hours(i64::from(hour))
    }

    /// The local time at which the next civil window begins.
    fn civil_next(self, start: NaiveDateTime) -> NaiveDateTime {
        match self {
            Self::Minutes(_) => start + TimeDelta::hours(1),
            Self::Hours(n) => start + TimeDelta::hours(i64::from(n)),
            Self::Day => start + TimeDelta::days(1),
            Self::Week => start + TimeDelta::days(7),
            Self::Month => start + Months::new(1),
        }
    }
}

impl FromStr for Grain {
    type Err = GrainError;

    fn from_str(text: &str) -> Result<Self, GrainError> {
        let (number, unit) = text.trim().split_once(' ').ok_or(GrainError)?;
        let number: u32 = number.parse().map_err(|_| GrainError)?;
        let grain = match (number, unit.trim_start()) {
            (n, "minute" | "minutes") => Self::Minutes(n),
            (n, "hour" | "hours") => Self::Hours(n),
            (1, "day") => Self::Day,
            (1, "week") => Self::Week,
            (1, "month") => Self::Month,
            _ => return Err(GrainError),
        };
        grain.is_valid().then_some(grain).ok_or(GrainError)
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(1) => f.write_str("1 minute"),
            Self::Minutes(n) => write!(f, "{n} minutes"),
            Self::Hours(1) => f.write_str("1 hour"),
            Self::Hours(n) => write!(f, "{n} hours"),
            Self::Day => f.write_str("1 day"),
            Self::Week => f.write_str("1 week"),
            Self::Month => f.write_str("1 month"),
        }
    }
}

impl TryFrom<String> for Grain {
    type Error = GrainError;

    fn try_from(text: String) -> Result<Self, GrainError> {
        text.parse()
    }
}

impl From<Grain> for String {
    fn from(grain: Grain) -> String {
        grain.to_string()
    }
}

/// A stretch of event time, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first instant in it.
    pub start: UtcMicros,
    /// The first instant after it.
    pub end: UtcMicros,
}

impl Window {
    /// Whether `t` lies in the window.
    pub fn contains(&self, t: UtcMicros) -> bool {
        self.start <= t && t < self.end
    }
}

/// A zone and a grain: which windows there are.
///
/// An instant outside [`UtcMicros::MIN`] and [`UtcMicros::MAX`] is taken as the nearest of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Calendar {
    zone: Zone,
    grain: Grain,
}

impl Calendar {
    /// The calendar of a grain in a zone.
    ///
    /// # Panics
    /// If the grain is of a length that it may not have; one that was read from text never is.
    pub fn new(zone: Zone, grain: Grain) -> Self {
        assert!(grain.is_valid(), "{grain} does not divide an hour or a day");
        Self { zone, grain }
    }

    /// Its zone.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// Its grain.
    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// The window that `t` lies in.
    pub fn window_of(&self, t: UtcMicros) -> Window {
        let t = t.clamp(UtcMicros::MIN, UtcMicros::MAX);
        match self.grain.clock_micros() {
            Some(length) => self.clock_window(t, length),
            None => self.civil_window(t),
        }
    }

    /// The window after `window`.
    pub fn next(&self, window: &Window) -> Window {
        self.window_of(window.end)
    }

    /// Whether a window begins at `t`.
    pub fn is_edge(&self, t: UtcMicros) -> bool {
        self.window_of(t).start == t
    }

    /// The last edge at or before `t`.
    pub fn align_down(&self, t: UtcMicros) -> UtcMicros {
        self.window_of(t).start
    }

    /// The first edge at or after `t`.
    pub fn align_up(&self, t: UtcMicros) -> UtcMicros {
        let window = self.window_of(t);
        if window.start == t { t } else { window.end }
    }

    /// The windows that lie wholly between `from` and `until`, in order.
    pub fn windows(&self, from: UtcMicros, until: UtcMicros) -> impl Iterator<Item = Window> + use<> {
        let calendar = *self;
        let until = until.min(UtcMicros::MAX);
        let mut start = calendar.align_up(from);
        std::iter::from_fn(move || {
            let window = (start < until).then(|| calendar.window_of(start))?;
            start = window.end;
            (window.end <= until).then_some(window)
        })
    }

    /// How many windows lie wholly between `from` and `until`.
    pub fn count(&self, from: UtcMicros, until: UtcMicros) -> u64 {
        let Some(length) = self.grain.clock_micros() else {
            return self.windows(from, until).count() as u64;
        };
        let until = self.align_down(until.min(UtcMicros::MAX));
        let mut start = self.align_up(from);
        let mut windows = 0;
        while start < until {
            let stop = self.stretch_end(start, UtcMicros(start.0 + OFFSET_STEP).min(until));
            // the first window of a stretch may be short, and the last one too
            let first = self.window_of(start);
            let rest = stop.0.abs_diff(first.end.0);
            windows += 1 + rest.div_ceil(length.unsigned_abs());
            start = self.align_up(stop);
        }
        windows
    }

    fn civil_window(&self, t: UtcMicros) -> Window {
        let mut start = self.grain.civil_start(self.zone.to_local(t));
        loop {
            let next = self.grain.civil_next(start);
            let end = self.zone.edge_micros(next);
            // where clocks are set back over an edge, the window before it shows on them a second time
            if end > t.0 {
                let start = self.zone.edge_micros(start);
                return Window { start: UtcMicros(start), end: UtcMicros(end) };
            }
            start = next;
        }
    }

    fn clock_window(&self, t: UtcMicros, length: i64) -> Window {
        let start = t.0 - (t.0 + self.zone.offset_micros(t)).rem_euclid(length);
        Window { start: self.stretch_start(UtcMicros(start), t), end: self.stretch_end(t, UtcMicros(start + length)) }
    }

    /// The first instant from `from` on from which the offset is that of `t`, a later instant at most a step away.
    fn stretch_start(&self, from: UtcMicros, t: UtcMicros) -> UtcMicros {
        let offset = self.zone.offset_micros(t);
        if self.zone.offset_micros(from) == offset {
            return from;
        }
        self.change(from, t, |at| self.zone.offset_micros(at) == offset)
    }

    /// The first instant after `t` at which the offset is another one, at most `until`, at most a step away.
    fn stretch_end(&self, t: UtcMicros, until: UtcMicros) -> UtcMicros {
        let offset = self.zone.offset_micros(t);
        if self.zone.offset_micros(until) == offset {
            return until;
        }
        self.change(t, until, |at| self.zone.offset_micros(at) != offset)
    }

    /// The first instant at which `after` holds; it does not at `low`, it does at `high`. Offsets change on whole
    /// seconds.
    fn change(&self, low: UtcMicros, high: UtcMicros, after: impl Fn(UtcMicros) -> bool) -> UtcMicros {
        let mut low = low.0.div_euclid(SECOND);
        let mut high = high.0.div_euclid(SECOND);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if after(UtcMicros(middle * SECOND)) {
                high = middle;
            } else {
                low = middle;
            }
        }
        UtcMicros(high * SECOND)
    }
}

#[cfg(test)]
mod tests;
