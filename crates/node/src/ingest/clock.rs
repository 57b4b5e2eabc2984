//! Times as files write them, to instants.

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use civicmesh_model::time::{LocalTimeError, UtcMicros, Zone};

use super::cell::Cell;
use super::reject::Reason;

/// How RFC 3339 and ISO 8601 write a time, and what people make of it: the separator may be a blank, seconds,
/// fraction and offset may be missing, and the clock as a whole.
const ISO: [&str; 9] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
];

/// Reads times of one column.
pub(super) struct TimeReader {
    formats: Vec<Vec<Item<'static>>>,
    /// The format that read the last time: the next one is likely written alike.
    likely: usize,
    zone: Zone,
    /// The last text and what it meant: rows that follow each other often share their time.
    last: (Vec<u8>, Result<i64, Reason>),
}

impl TimeReader {
    /// Reads times written as `format`, in chrono's `strftime` letters, or as ISO 8601 where it is None. A time
    /// without an offset is meant in `zone`. None for a format that is none.
    pub fn new(format: Option<&str>, zone: Zone) -> Option<Self> {
        let formats = match format {
            Some(format) => vec![StrftimeItems::new(format).parse_to_owned().ok()?],
            None => {
                ISO.iter().map(|format| StrftimeItems::new(format).parse_to_owned()).collect::<Result<_, _>>().ok()?
            }
        };
        Some(TimeReader { formats, likely: 0, zone, last: (Vec::new(), Err(Reason::NotTime)) })
    }

    /// The instant, in microseconds since 1970 UTC. A date alone is its first instant; of a local time that came
    /// twice, the earlier.
    pub fn read(&mut self, cell: Cell<'_>) -> Result<i64, Reason> {
        let bytes = match cell {
            Cell::Instant(micros) => return in_range(micros),
            Cell::Local(micros) => {
                let local = chrono::DateTime::from_timestamp_micros(micros).ok_or(Reason::NotTime)?;
                return self.resolve(local.naive_utc());
            }
            Cell::Text(bytes) => bytes,
            Cell::Nested => return Err(Reason::Nested),
            _ => &cell.text()?.unwrap_or_default().into_owned().into_bytes(),
        };
        if self.last.0 != bytes {
            let read =
                std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8).and_then(|text| self.parse(text.trim_ascii()));
            self.last.0.clear();
            self.last.0.extend_from_slice(bytes);
            self.last.1 = read;
        }
        self.last.1
    }

    fn parse(&mut self, text: &str) -> Result<i64, Reason> {
        let count = self.formats.len();
        for format in (0..count).map(|turn| (self.likely + turn) % count) {
            let mut parsed = Parsed::new();
            if parse(&mut parsed, text, self.formats[format].iter()).is_ok() {
                self.likely = format;
                return self.instant(&parsed);
            }
        }
        Err(Reason::NotTime)
    }

    fn instant(&self, parsed: &Parsed) -> Result<i64, Reason> {
        if parsed.offset().is_some() {
            let time = parsed.to_datetime().map_err(|_| Reason::NotTime)?;
            return in_range(time.timestamp_micros());
        }
        if parsed.timestamp().is_some() {
            let time = parsed.to_naive_datetime_with_offset(0).map_err(|_| Reason::NotTime)?;
            return in_range(time.and_utc().timestamp_micros());
        }
        let date = parsed.to_naive_date().map_err(|_| Reason::NotTime)?;
        match parsed.to_naive_time() {
            Ok(time) => self.resolve(date.and_time(time)),
            Err(_) if parsed.hour_div_12().is_none() && parsed.hour_mod_12().is_none() => {
                match self.resolve(date.and_time(chrono::NaiveTime::MIN)) {
                    Err(Reason::SkippedTime) => in_range(self.zone.start_of_day(date).0),
                    midnight => midnight,
                }
            }
            Err(_) => Err(Reason::NotTime),
        }
    }

    fn resolve(&self, local: chrono::NaiveDateTime) -> Result<i64, Reason> {
        match self.zone.resolve(local) {
            Ok(at) => Ok(at.0),
            Err(LocalTimeError::Skipped(_)) => Err(Reason::SkippedTime),
            Err(LocalTimeError::OutOfRange) => Err(Reason::NotTime),
        }
    }
}

fn in_range(micros: i64) -> Result<i64, Reason> {
    if UtcMicros(micros).is_in_range() { Ok(micros) } else { Err(Reason::NotTime) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader(format: Option<&str>, zone: &str) -> TimeReader {
        TimeReader::new(format, zone.parse().unwrap()).unwrap()
    }

    fn read(reader: &mut TimeReader, text: &str) -> Result<String, Reason> {
        reader.read(Cell::Text(text.as_bytes())).map(|micros| UtcMicros(micros).to_string())
    }

    fn good(text: &str) -> Result<String, Reason> {
        Ok(text.to_owned())
    }

    #[test]
    fn iso_times_come_in_many_shapes() {
        let mut iso = reader(None, "Europe/Copenhagen");
        for (text, instant) in [
            ("2014-08-01T07:50:00", "2014-08-01T05:50:00Z"),
            ("2014-08-01 07:50:00.145", "2014-08-01T05:50:00.145Z"),
            ("2014-08-01 07:50", "2014-08-01T05:50:00Z"),
            ("2014-08-01T07:50:00Z", "2014-08-01T07:50:00Z"),
            ("2014-08-01T07:50:00.5+02:00", "2014-08-01T05:50:00.500Z"),
            ("2014-08-01 07:50:00+02", "2014-08-01T05:50:00Z"),
            ("2014-08-01T07:50-0130", "2014-08-01T09:20:00Z"),
            ("2014-08-01", "2014-07-31T22:00:00Z"),
            (" 2014-08-01 ", "2014-07-31T22:00:00Z"),
        ] {
            assert_eq!(read(&mut iso, text), good(instant), "{text}");
        }
        for text in ["", "2014-13-01", "2014-08-01T25:00:00", "01/08/2014", "2014-08-01T07:50:00 CET", "0000-01-01"] {
            assert_eq!(read(&mut iso, text), Err(Reason::NotTime), "{text}");
        }
    }

    #[test]
    fn a_fraction_may_come_and_go() {
        let mut mixed = reader(Some("%Y-%m-%d %H:%M:%S%.f"), "UTC");
        assert_eq!(read(&mut mixed, "2014-05-22 09:09:04.145"), good("2014-05-22T09:09:04.145Z"));
        assert_eq!(read(&mut mixed, "2014-05-22 09:09:04"), good("2014-05-22T09:09:04Z"));
        assert_eq!(read(&mut mixed, "2014-05-22T09:09:04"), Err(Reason::NotTime));
    }

    #[test]
    fn formats_of_the_contract() {
        let mut american = reader(Some("%m/%d/%Y %I:%M:%S %p"), "America/New_York");
        assert_eq!(read(&mut american, "07/20/2020 01:05:09 PM"), good("2020-07-20T17:05:09Z"));
        assert_eq!(read(&mut american, "07/20/2020"), Err(Reason::NotTime));
        let mut day = reader(Some("%m/%d/%Y"), "America/New_York");
        assert_eq!(read(&mut day, "02/29/2020"), good("2020-02-29T05:00:00Z"));
        assert_eq!(read(&mut day, "02/30/2020"), Err(Reason::NotTime));
        let mut seconds = reader(Some("%s"), "America/New_York");
        assert_eq!(seconds.read(Cell::Integer(86_400)), Ok(86_400_000_000));
        assert!(TimeReader::new(Some("%Q"), Zone::UTC).is_none());
    }

    #[test]
    fn clock_changes() {
        let mut local = reader(None, "America/New_York");
        assert_eq!(read(&mut local, "2020-03-08 02:30:00"), Err(Reason::SkippedTime));
        assert_eq!(read(&mut local, "2020-11-01 01:30:00"), good("2020-11-01T05:30:00Z"));
        assert_eq!(read(&mut local, "2020-11-01 01:30:00-05:00"), good("2020-11-01T06:30:00Z"));
        // a day whose midnight is skipped still starts
        let mut day = reader(None, "America/Sao_Paulo");
        assert_eq!(read(&mut day, "2018-11-04"), good("2018-11-04T03:00:00Z"));
        let micros = 1_583_634_600_000_000; // 2020-03-08T02:30 on a clock
        assert_eq!(local.read(Cell::Local(micros)), Err(Reason::SkippedTime));
        assert_eq!(local.read(Cell::Instant(micros)), Ok(micros));
        assert_eq!(local.read(Cell::Instant(i64::MAX)), Err(Reason::NotTime));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,30}", local: i64) {
            let mut iso = reader(None, "Europe/Copenhagen");
            let first = iso.read(Cell::Text(text.as_bytes()));
            prop_assert_eq!(iso.read(Cell::Text(text.as_bytes())), first);
            let _ = iso.read(Cell::Local(local));
        }
    }
}
