//! Times in a contract: civil dates, and how the department's files write theirs.

use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::reader::Value;
use crate::contract::dataset::TimeSpec;
use crate::contract::finding::Findings;
use crate::time::Span;

/// Reads where a row's event time stands and how it is written.
pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<TimeSpec> {
    let mut fields = value.fields(findings)?;
    let column = fields.need("column", findings, "...").and_then(|value| value.text(findings));
    let format = match fields.take("format") {
        Some(value) => read_format(&value, findings).map(|(format, resolution)| (Some(format), resolution)),
        None => Some((None, Span::ZERO)),
    };
    let zone = fields.need("zone", findings, "Europe/Copenhagen").and_then(|value| value.parsed(findings, ""));
    let mut instant = |key| match fields.take(key) {
        Some(value) => civil(&value, findings).map(Some),
        None => Some(None),
    };
    let (valid_from, valid_until) = (instant("from"), instant("until"));
    let resolution = match fields.take("resolution") {
        Some(value) => value.parsed(findings, "").map(Some),
        None => Some(None),
    };
    fields.finish(findings);
    if let (Some(Some(from)), Some(Some(until))) = (valid_from, valid_until)
        && until <= from
    {
        value.error(findings, "`until` is not after `from`", "");
        return None;
    }
    let (format, written) = format?;
    Some(TimeSpec {
        column: column?.to_owned(),
        format,
        zone: zone?,
        valid_from: valid_from?,
        valid_until: valid_until?,
        resolution: resolution?.unwrap_or(written),
    })
}

/// A time format that reads back what it writes, with the stretch that a time so written stands for.
pub(super) fn read_format(value: &Value<'_>, findings: &mut Findings) -> Option<(String, Span)> {
    let format = value.text(findings)?;
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let sample = NaiveDate::from_ymd_opt(2021, 11, 25).and_then(|day| day.and_hms_micro_opt(14, 5, 9, 250_000));
    let sample = sample.expect("a day of the calendar").and_utc();
    if !items.contains(&Item::Error) {
        let written = sample.format_with_items(items.iter()).to_string();
        let has_clock = items.iter().any(is_clock);
        if !has_clock && NaiveDate::parse_from_str(&written, format).is_ok() {
            return Some((format.to_owned(), Span::DAY));
        }
        let read = NaiveDateTime::parse_from_str(&written, format).is_ok();
        if has_clock && (read || DateTime::parse_from_str(&written, format).is_ok()) {
            return Some((format.to_owned(), Span::ZERO));
        }
    }
    let mend = "write it as in \"%Y-%m-%d %H:%M:%S\", \"%d/%m/%Y %I:%M %p\" or \"%Y-%m-%d\"";
    value.error(findings, format!("no time can be read by `{format}`"), mend);
    None
}

fn is_clock(item: &Item<'_>) -> bool {
    match item {
        Item::Numeric(part, _) => {
            matches!(part, Numeric::Hour | Numeric::Hour12 | Numeric::Minute | Numeric::Second | Numeric::Timestamp)
        }
        Item::Fixed(part) => matches!(part, Fixed::RFC2822 | Fixed::RFC3339),
        _ => false,
    }
}

/// A civil date, or date and time.
pub(super) fn civil(value: &Value<'_>, findings: &mut Findings) -> Option<NaiveDateTime> {
    let text = value.text(findings)?;
    let time = || {
        let formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
        formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    };
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN));
    let civil = date.or_else(time);
    if civil.is_none() {
        value.error(findings, format!("`{text}` is not a date"), "write it as in 2024-03-31 or 2024-03-31T06:00");
    }
    civil
}
