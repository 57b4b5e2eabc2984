//! A length of time as a contract states it: "15 minutes", "90 days".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest span: ten thousand years of 365 days, in microseconds.
const SPAN_MICROS_MAX: i64 = 10_000 * YEAR;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const YEAR: i64 = 365 * DAY;

/// The units, longest first; those marked `true` are written, all are read.
const UNITS: [(&str, i64, bool); 9] = [
    ("year", YEAR, true),
    ("month", 30 * DAY, false),
    ("week", 7 * DAY, false),
    ("day", DAY, true),
    ("hour", 3_600 * SECOND, true),
    ("minute", 60 * SECOND, true),
    ("second", SECOND, true),
    ("millisecond", 1_000, false),
    ("microsecond", 1, true),
];

/// A length of time, never negative: for lateness, retention and the like, never for windows. A day is 24 hours, a
/// month 30 days, a year 365 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(i64);

/// A text that is not a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a span is a whole number and a unit, such as 15 minutes, 2 days or 5 years")]
pub struct SpanError;

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// 24 hours.
    pub const DAY: Self = Self(DAY);

    /// A span of that many microseconds; none for a negative number, and at most ten thousand years.
    pub const fn from_micros(micros: i64) -> Self {
        match micros {
            ..=0 => Self::ZERO,
            SPAN_MICROS_MAX.. => Self(SPAN_MICROS_MAX),
            _ => Self(micros),
        }
    }

    /// A span of whole seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self::from_micros(seconds as i64 * SECOND)
    }

    /// A span of whole days of 24 hours.
    pub const fn days(days: u32) -> Self {
        Self::from_micros(days as i64 * DAY)
    }

    /// Its length in microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let (number, unit) = text.trim().split_once(' ').ok_or(SpanError)?;
        let unit = unit.trim_start();
        let (_, micros, _) = UNITS
            .into_iter()
            .find(|(name, ..)| unit.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "s")))
            .ok_or(SpanError)?;
        let number: u64 = number.parse().map_err(|_| SpanError)?;
        let micros = number.checked_mul(micros.unsigned_abs()).ok_or(SpanError)?;
        match i64::try_from(micros) {
            Ok(micros @ ..=SPAN_MICROS_MAX) => Ok(Self(micros)),
            _ => Err(SpanError),
        }
    }
}

impl fmt::Display for Span {
    /// In the longest unit that leaves no remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0 seconds");
        }
        let (unit, micros, _) = UNITS
            .into_iter()
            .find(|(_, micros, written)| *written && self.0 % micros == 0)
            .expect("microseconds leave no remainder");
        let number = self.0 / micros;
        let plural = if number == 1 { "" } else { "s" };
        write!(f, "{number} {unit}{plural}")
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, written) in [
            ("15 minutes", "15 minutes"),
            ("1 hour", "1 hour"),
            ("60 minutes", "1 hour"),
            ("2 days", "2 days"),
            ("2 weeks", "14 days"),
            ("3 months", "90 days"),
            ("5 years", "5 years"),
            ("0 days", "0 seconds"),
            (" 1  day ", "1 day"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), written, "{text}");
        }
        for bad in [
            "",
            "15",
            "minutes",
            "-1 days",
            "1.5 days",
            "1 fortnight",
            "1 days ago",
            "20000 years",
            "1 dayss",
            "99999999999999999999 days",
        ] {
            assert_eq!(bad.parse::<Span>(), Err(SpanError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_written_span_reads_as_itself(micros in 0..=SPAN_MICROS_MAX) {
            let span = Span::from_micros(micros);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
