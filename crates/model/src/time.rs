//! Time: an instant in UTC, a zone that gives it a civil date and clock, a span.
//!
//! The zones are chrono-tz's, the same database that DataFusion uses.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, SecondsFormat, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};

pub use crate::span::{Span, SpanError};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;

/// An instant: microseconds since 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UtcMicros(pub i64);

/// A text that is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instant is written as in 2020-02-24T05:00:00Z, in the years 1 to 9999")]
pub struct InstantError;

impl UtcMicros {
    /// The earliest instant civicmesh reckons with: 0001-01-01T00:00Z.
    pub const MIN: Self = Self(-719_162 * DAY);
    /// The latest: 9999-12-31T00:00Z.
    pub const MAX: Self = Self(2_932_896 * DAY);

    /// Whether the instant lies between [`UtcMicros::MIN`] and [`UtcMicros::MAX`].
    pub fn is_in_range(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }

    /// The instant `span` later, at most [`UtcMicros::MAX`].
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.micros())).clamp(Self::MIN, Self::MAX)
    }

    /// The instant `span` earlier, at least [`UtcMicros::MIN`].
    pub fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.micros())).clamp(Self::MIN, Self::MAX)
    }

    /// The span since `earlier`; nothing if that is not earlier.
    pub fn since(self, earlier: Self) -> Span {
        Span::from_micros(self.0.saturating_sub(earlier.0))
    }

    fn in_range(self) -> DateTime<Utc> {
        let Self(micros) = self.clamp(Self::MIN, Self::MAX);
        DateTime::from_timestamp_micros(micros).expect("years 1 to 9999 are chrono's too")
    }
}

impl fmt::Display for UtcMicros {
    /// RFC 3339 in UTC, with a fraction only where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.in_range().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl FromStr for UtcMicros {
    type Err = InstantError;

    fn from_str(text: &str) -> Result<Self, InstantError> {
        let instant = DateTime::parse_from_rfc3339(text).map_err(|_| InstantError)?;
        let instant = Self(instant.timestamp_micros());
        instant.is_in_range().then_some(instant).ok_or(InstantError)
    }
}

/// A local time that names no instant. Its text never says the time, which may be an observation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalTimeError {
    /// The clocks went forward over it.
    #[error("this local time never was: the clocks of {0} went forward over it")]
    Skipped(Zone),
    /// It lies outside the years 1 to 9999.
    #[error("this local time lies outside the years 1 to 9999")]
    OutOfRange,
}

/// A text that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone: write an IANA name, such as America/New_York")]
pub struct ZoneError(String);

/// An IANA time zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Zone(Tz);

impl Zone {
    /// UTC itself.
    pub const UTC: Self = Self(Tz::UTC);

    /// Its IANA name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Every zone of the database.
    pub fn all() -> impl Iterator<Item = Self> {
        chrono_tz::TZ_VARIANTS.iter().copied().map(Self)
    }

    /// What the zone's clocks and calendars show at `t` (at the nearest of [`UtcMicros::MIN`] and
    /// [`UtcMicros::MAX`] where `t` lies outside of them).
    pub fn to_local(self, t: UtcMicros) -> NaiveDateTime {
        t.in_range().with_timezone(&self.0).naive_local()
    }

    /// How far the zone's clocks are ahead of UTC at `t`, in microseconds.
    pub(crate) fn offset_micros(self, t: UtcMicros) -> i64 {
        let offset = self.0.offset_from_utc_datetime(&t.in_range().naive_utc()).fix();
        i64::from(offset.local_minus_utc()) * SECOND
    }

    /// The instant at which the zone's clocks showed `local`: the earlier of two where they were set back.
    ///
    /// # Errors
    /// [`LocalTimeError::Skipped`] where the clocks went forward over it.
    pub fn resolve(self, local: NaiveDateTime) -> Result<UtcMicros, LocalTimeError> {
        let t = UtcMicros(self.shown_micros(local).ok_or(LocalTimeError::Skipped(self))?);
        t.is_in_range().then_some(t).ok_or(LocalTimeError::OutOfRange)
    }

    /// The first instant of a civil day: not midnight where the clocks go forward over that.
    pub fn start_of_day(self, date: NaiveDate) -> UtcMicros {
        self.start_of_local(date.and_time(NaiveTime::MIN))
    }

    /// The first instant at which the zone's clocks show `local` or later, kept within [`UtcMicros::MIN`] and
    /// [`UtcMicros::MAX`].
    pub fn start_of_local(self, local: NaiveDateTime) -> UtcMicros {
        UtcMicros(self.edge_micros(local)).clamp(UtcMicros::MIN, UtcMicros::MAX)
    }

    /// The instant that a calendar means by `local` (RFC 5545, section 3.3.5): the earlier of two where the clocks were
    /// set back, and what it were without the change where they went forward over it. Kept within [`UtcMicros::MIN`] and
    /// [`UtcMicros::MAX`].
    pub fn of_calendar(self, local: NaiveDateTime) -> UtcMicros {
        let skipped = || local.and_utc().timestamp_micros() - self.before_gap(local).1;
        UtcMicros(self.shown_micros(local).unwrap_or_else(skipped)).clamp(UtcMicros::MIN, UtcMicros::MAX)
    }

    /// [`Zone::start_of_local`] without bounds.
    pub(crate) fn edge_micros(self, local: NaiveDateTime) -> i64 {
        self.shown_micros(local).unwrap_or_else(|| {
            let (before, offset) = self.before_gap(local);
            before.and_utc().timestamp_micros() - offset
        })
    }

    /// When the clocks showed `local`, at first; none if they went forward over it.
    fn shown_micros(self, local: NaiveDateTime) -> Option<i64> {
        self.0.from_local_datetime(&local).earliest().map(|at| at.timestamp_micros())
    }

    /// The local time at which the clocks went forward over this one, and how far they were ahead of UTC until then, in
    /// microseconds.
    fn before_gap(self, local: NaiveDateTime) -> (NaiveDateTime, i64) {
        let gap = GapInfo::new(&local, &self.0).and_then(|gap| gap.begin);
        let (before, offset) = gap.expect("a skipped local time has a time before it");
        (before, i64::from(offset.fix().local_minus_utc()) * SECOND)
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, ZoneError> {
        let quoted = || name.chars().filter(|c| !c.is_control()).take(60).collect();
        name.parse().map(Self).map_err(|_| ZoneError(quoted()))
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, ZoneError> {
        name.parse()
    }
}

impl From<Zone> for &'static str {
    fn from(zone: Zone) -> &'static str {
        zone.name()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn at(text: &str) -> UtcMicros {
        text.parse().unwrap()
    }

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(UtcMicros(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(UtcMicros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(UtcMicros::MIN.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(UtcMicros::MAX.to_string(), "9999-12-31T00:00:00Z");
        assert_eq!(at("2020-02-24T00:00:00-05:00").to_string(), "2020-02-24T05:00:00Z");
        assert!("2020-02-24".parse::<UtcMicros>().is_err());
        assert_eq!(serde_json::to_string(&UtcMicros(-5)).unwrap(), "-5");
    }

    #[test]
    fn arithmetic_stays_in_range() {
        assert_eq!(UtcMicros(i64::MAX).after(Span::DAY), UtcMicros::MAX);
        assert_eq!(UtcMicros(i64::MIN).before(Span::DAY), UtcMicros::MIN);
        assert_eq!(UtcMicros(5).since(UtcMicros(3)).micros(), 2);
        assert_eq!(UtcMicros(3).since(UtcMicros(5)), Span::ZERO);
        assert_eq!(Zone::UTC.to_local(UtcMicros(i64::MIN)), local("0001-01-01T00:00:00"));
    }

    #[test]
    fn clocks_that_change() {
        let zone: Zone = "America/New_York".parse().unwrap();
        assert_eq!(zone.resolve(local("2020-03-08T02:30:00")), Err(LocalTimeError::Skipped(zone)));
        assert_eq!(zone.start_of_local(local("2020-03-08T02:30:00")), at("2020-03-08T07:00:00Z"));
        assert_eq!(zone.of_calendar(local("2020-03-08T02:30:00")), at("2020-03-08T07:30:00Z"));
        assert_eq!(zone.of_calendar(local("2020-03-08T03:00:00")), at("2020-03-08T07:00:00Z"));
        // 01:30 came twice; the earlier one counts
        assert_eq!(zone.resolve(local("2020-11-01T01:30:00")), Ok(at("2020-11-01T05:30:00Z")));
        assert_eq!(zone.of_calendar(local("2020-11-01T01:30:00")), at("2020-11-01T05:30:00Z"));
        assert_eq!(zone.to_local(at("2020-11-01T06:30:00Z")), local("2020-11-01T01:30:00"));
    }

    #[test]
    fn a_day_need_not_begin_at_midnight() {
        let zone: Zone = "America/Sao_Paulo".parse().unwrap();
        let day = zone.start_of_day("2018-11-04".parse().unwrap());
        assert_eq!(day, at("2018-11-04T03:00:00Z"));
        assert_eq!(zone.to_local(day), local("2018-11-04T01:00:00"));
        // Samoa left out 30 December 2011
        let zone: Zone = "Pacific/Apia".parse().unwrap();
        let skipped = zone.start_of_day("2011-12-30".parse().unwrap());
        assert_eq!(skipped, zone.start_of_day("2011-12-31".parse().unwrap()));
    }

    #[test]
    fn zones_are_iana_names() {
        let zone: Zone = serde_json::from_str("\"Asia/Kathmandu\"").unwrap();
        assert_eq!(serde_json::to_string(&zone).unwrap(), "\"Asia/Kathmandu\"");
        let error = "Atlantis".parse::<Zone>().unwrap_err().to_string();
        assert!(error.contains("`Atlantis` is not a time zone"), "{error}");
    }
}
