//! `civicmesh.terms`: what peers may rely on.

use std::collections::BTreeSet;

use super::document::PUBLISH;
use super::reader::{Value, join};
use super::schema::{NumericColumn, Schema};
use super::time::civil;
use crate::contract::finding::Findings;
use crate::contract::terms::{Audience, Coverage, EmptyWindows, Measure, Method, OnInvalid, Retention, Statistic};
use crate::contract::{IDLE_AFTER_DEFAULT, K_MIN};
use crate::grain::Grain;
use crate::number::{DECIMALS_MAX, parse_half_even};
use crate::time::Span;

/// What an author may write for `quantiles`.
const LIKE_QUANTILES: &[&str] = &["quantile", "percentiles", "percentile", "median", "histogram", "sketch", "kll"];
/// What an author may write in `publish` for a count of distinct values.
const LIKE_DISTINCT: &[&str] = &["distinct", "distincts", "count_distinct", "approx_distinct", "hll"];
const WHY_NO_EXTREMES: &str = "a threshold product publishes count, sum and sum_squares only: with min, max or \
                               quantiles beside them all five fares of a five-trip cell could be rebuilt";

pub(super) const ON_INVALID: &[(&str, OnInvalid)] = &[("reject", OnInvalid::Reject), ("null", OnInvalid::Null)];

/// The entry as read.
#[derive(Debug)]
pub(super) struct Terms {
    pub windows: Windows,
    pub measures: Vec<Measure>,
    pub method: Method,
    pub audience: Audience,
    pub audience_line: u32,
    pub retention: Retention,
}

/// Which windows there are, and when they close.
#[derive(Debug)]
pub(super) struct Windows {
    pub grain: Grain,
    pub coverage: Coverage,
    pub lateness: Span,
    pub idle_after: Span,
}

/// Which method, known even when the rest of `disclosure` cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MethodKind {
    Open,
    Threshold,
}

pub(super) fn read(value: &Value<'_>, schema: &mut Schema, findings: &mut Findings) -> Option<Terms> {
    let mut fields = value.fields(findings)?;
    if let Some(value) = fields.take("distinct") {
        read_distinct(&value, schema, findings);
    }
    let schema = &*schema;
    let example = "{grain: 1 hour, start: 2024-01-01, lateness: 1 day}";
    let windows = fields.need("windows", findings, example).and_then(|value| read_windows(&value, findings));
    let example = "{method: threshold, k: 10, approver: ...}";
    let disclosure = fields.need("disclosure", findings, example);
    let (kind, method) = disclosure.map_or((None, None), |value| read_method(&value, findings));
    let example = "{speed: {unit: km/h, decimals: 1, min: 0, max: 200}}";
    let measures = match fields.take("measures") {
        None if schema.measures.is_empty() => Some(Vec::new()),
        None => {
            findings.error(
                value.node.line,
                "civicmesh.terms.measures",
                "is missing",
                format!("write `measures: {example}`"),
            );
            None
        }
        Some(value) => read_measures(&value, kind, schema, findings),
    };
    let audience = fields.need("audience", findings, "city");
    let audience_line = audience.as_ref().map_or(fields.line, |value| value.node.line);
    let audience = audience.and_then(|value| read_audience(&value, findings));
    let example = "{raw: 90 days, releases: 5 years}";
    let retention = fields.need("retention", findings, example).and_then(|value| read_retention(&value, findings));
    fields.finish(findings);
    let (windows, measures, method) = (windows?, measures?, method?);
    Some(Terms { windows, measures, method, audience: audience?, audience_line, retention: retention? })
}

/// The texts of the schema that are no dimensions: their distinct values are counted.
fn read_distinct(value: &Value<'_>, schema: &mut Schema, findings: &mut Findings) {
    let mut names = Vec::new();
    for item in value.list(findings).unwrap_or_default() {
        let Some(name) = item.text(findings) else { continue };
        if !schema.dimensions.iter().any(|column| column.name == name) {
            let mend = format!("add `- {{name: {name}, logicalType: string}}` to its properties");
            item.error(findings, format!("the schema has no text `{name}`"), mend);
        } else if names.contains(&name) {
            item.error(findings, format!("`{name}` stands twice"), "leave one out");
        }
        names.push(name);
    }
    schema.count_distinct(&names);
}

fn read_windows(value: &Value<'_>, findings: &mut Findings) -> Option<Windows> {
    let mut fields = value.fields(findings)?;
    let grain = fields.need("grain", findings, "1 hour").and_then(|value| value.parsed(findings, ""));
    let start = fields.need("start", findings, "2024-01-01").and_then(|value| civil(&value, findings));
    let end = fields.take("end").map_or(Some(None), |value| civil(&value, findings).map(Some));
    let words = [("zero", EmptyWindows::Zero), ("missing", EmptyWindows::Missing)];
    let empty = fields.take("empty");
    let empty = empty.map_or(Some(EmptyWindows::Missing), |value| value.word(findings, &words));
    let lateness = fields.need("lateness", findings, "1 day").and_then(|value| value.parsed(findings, ""));
    let idle_after = fields.take("idle_after");
    let idle_after = idle_after.map_or(Some(IDLE_AFTER_DEFAULT), |value| value.parsed(findings, ""));
    fields.finish(findings);
    let coverage = Coverage { start: start?, end: end?, empty: empty? };
    if coverage.end.is_some_and(|end| end <= coverage.start) {
        value.error(findings, "ends before it starts", "`end` is the first day that is no longer covered");
        return None;
    }
    Some(Windows { grain: grain?, coverage, lateness: lateness?, idle_after: idle_after? })
}

fn read_method(value: &Value<'_>, findings: &mut Findings) -> (Option<MethodKind>, Option<Method>) {
    let Some(mut fields) = value.fields(findings) else {
        return (None, None);
    };
    let words = [("open", MethodKind::Open), ("threshold", MethodKind::Threshold)];
    let kind = fields.need("method", findings, "threshold").and_then(|value| value.word(findings, &words));
    let text = |value: Value<'_>, findings: &mut Findings| value.text(findings).map(str::to_owned);
    let approver = fields.need("approver", findings, "who decided so").and_then(|value| text(value, findings));
    let method = match kind {
        Some(MethodKind::Open) => {
            let example = "why no person can be concerned";
            let reason = fields.need("reason", findings, example).and_then(|value| text(value, findings));
            reason.zip(approver).map(|(reason, approver)| Method::Open { reason, approver })
        }
        Some(MethodKind::Threshold) => {
            let k = fields.need("k", findings, "10").and_then(|value| read_k(&value, findings));
            k.zip(approver).map(|(k, approver)| Method::Threshold { k, approver })
        }
        None => {
            fields.take("reason");
            fields.take("k");
            None
        }
    };
    fields.finish(findings);
    (kind, method)
}

fn read_k(value: &Value<'_>, findings: &mut Findings) -> Option<u64> {
    let text = value.text(findings)?;
    match text.parse() {
        Ok(k) if k >= K_MIN => Some(k),
        Ok(k) => {
            let message = format!("{k} contributors are too few to hide among");
            value.error(findings, message, format!("write {K_MIN} or more"));
            None
        }
        Err(_) => {
            value.error(
                findings,
                format!("`{text}` is not a number of contributors"),
                format!("write {K_MIN} or more"),
            );
            None
        }
    }
}

fn read_measures(
    value: &Value<'_>,
    method: Option<MethodKind>,
    schema: &Schema,
    findings: &mut Findings,
) -> Option<Vec<Measure>> {
    let entries = value.named(findings)?;
    for (entry, value) in &entries {
        if !schema.measures.iter().any(|column| column.name == entry.key) {
            let message = "the schema has no number of this name";
            let mend = format!("add `- {{name: {}, logicalType: number}}` to its properties", entry.key);
            findings.error(entry.line, &value.key, message, mend);
        }
    }
    let mut measures = Vec::new();
    for column in &schema.measures {
        match entries.iter().find(|(entry, _)| entry.key == column.name) {
            Some((_, value)) => measures.push(read_measure(value, method, column, findings)),
            None => {
                let mend = format!("write `{}: {{unit: ...}}`", column.name);
                findings.error(value.node.line, &join(&value.key, &column.name), "is missing", mend);
                measures.push(None);
            }
        }
    }
    measures.into_iter().collect()
}

fn read_measure(
    value: &Value<'_>,
    method: Option<MethodKind>,
    column: &NumericColumn,
    findings: &mut Findings,
) -> Option<Measure> {
    let mut fields = value.fields(findings)?;
    let unit = fields.need("unit", findings, "km/h").and_then(|value| value.text(findings));
    let decimals = fields.take("decimals").map_or(Some(0), |value| read_decimals(&value, column, findings));
    let mut bound = |key| match (fields.take(key), decimals) {
        (Some(value), Some(decimals)) => scaled(&value, decimals, findings).map(Some),
        (Some(_), None) => None,
        (None, _) => Some(None),
    };
    let (min, max) = (bound("min"), bound("max"));
    let outside = fields.take("invalid").map_or(Some(OnInvalid::Reject), |value| value.word(findings, ON_INVALID));
    let gauge = fields.take("gauge").map_or(Some(false), |value| value.flag(findings));
    let publish = match fields.take(PUBLISH) {
        Some(value) => read_publish(&value, method, findings),
        None => Some(published_by_default(method)),
    };
    fields.finish(findings);
    if method == Some(MethodKind::Threshold) && (min == Some(None) || max == Some(None)) {
        let message = "a measure of a threshold product needs a valid range, so that no single value shows in a sum";
        value.error(findings, message, "write `min` and `max`");
    }
    if let (Some(Some(min)), Some(Some(max))) = (min, max)
        && min > max
    {
        value.error(findings, "min is greater than max", "");
    }
    let (name, description) = (column.name.clone(), column.description.clone());
    let (unit, decimals, min, max) = (unit?.to_owned(), decimals?, min?, max?);
    let (outside, gauge, publish) = (outside?, gauge?, publish?);
    Some(Measure { name, description, unit, decimals, min, max, outside, gauge, publish })
}

fn read_decimals(value: &Value<'_>, column: &NumericColumn, findings: &mut Findings) -> Option<u8> {
    let text = value.text(findings)?;
    match text.parse() {
        Ok(decimals) if column.integer && decimals > 0 => {
            let mend = "write `logicalType: number` in the schema, or leave decimals out";
            value.error(findings, "an integer has no decimals", mend);
            None
        }
        Ok(decimals) if decimals <= DECIMALS_MAX => Some(decimals),
        _ => {
            value.error(
                findings,
                format!("`{text}` is not a number of decimals"),
                format!("write 0 to {DECIMALS_MAX}"),
            );
            None
        }
    }
}

/// A bound of a measure, exact in its decimals.
fn scaled(value: &Value<'_>, decimals: u8, findings: &mut Findings) -> Option<i64> {
    let text = value.text(findings)?;
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
    if fraction > usize::from(decimals) {
        let message = format!("`{text}` has more decimals than the measure, which keeps {decimals}");
        value.error(findings, message, "round it, or raise `decimals`");
        return None;
    }
    match parse_half_even(text, decimals) {
        Ok(scaled) => Some(scaled),
        Err(error) => {
            value.error(findings, error.to_string(), "");
            None
        }
    }
}

fn published_by_default(method: Option<MethodKind>) -> BTreeSet<Statistic> {
    let moments = [Statistic::Count, Statistic::Sum, Statistic::SumSquares];
    match method {
        Some(MethodKind::Open) => Statistic::EXACT.into(),
        _ => moments.into(),
    }
}

fn read_publish(value: &Value<'_>, method: Option<MethodKind>, findings: &mut Findings) -> Option<BTreeSet<Statistic>> {
    let words = Statistic::ALL.map(|statistic| (statistic.as_str(), statistic));
    let threshold = method == Some(MethodKind::Threshold);
    let mut publish = BTreeSet::from([Statistic::Count]);
    let mut complete = true;
    for item in value.list(findings)? {
        let Some(text) = item.text(findings) else {
            complete = false;
            continue;
        };
        let like_quantiles = LIKE_QUANTILES.contains(&text);
        if threshold && (like_quantiles || ["min", "max", "quantiles"].contains(&text)) {
            item.error(findings, WHY_NO_EXTREMES, format!("leave `{text}` out"));
            complete = false;
        } else if like_quantiles {
            item.error(findings, format!("`{text}` is not known"), "write `quantiles`");
            complete = false;
        } else if LIKE_DISTINCT.contains(&text) {
            let message = "distinct values are counted of a text, not of a measure";
            let mend = "name it in the schema as a string, and under `distinct: [NAME]` beside `measures`";
            item.error(findings, message, mend);
            complete = false;
        } else {
            let statistic = item.word(findings, &words);
            complete &= statistic.is_some();
            publish.extend(statistic);
        }
    }
    complete.then_some(publish)
}

fn read_audience(value: &Value<'_>, findings: &mut Findings) -> Option<Audience> {
    if value.node.text() == Some("city") {
        return Some(Audience::City);
    }
    if value.node.text().is_some() {
        value.text(findings).inspect(|text| {
            value.error(findings, format!("`{text}` is no audience"), "write `city` or a list of domains");
        });
        return None;
    }
    let domains = value.list(findings)?;
    let mut only = BTreeSet::new();
    for domain in &domains {
        only.extend(domain.parsed(findings, ""));
    }
    (only.len() == domains.len()).then_some(Audience::Only(only))
}

fn read_retention(value: &Value<'_>, findings: &mut Findings) -> Option<Retention> {
    let mut fields = value.fields(findings)?;
    let raw = fields.need("raw", findings, "90 days").and_then(|value| value.parsed(findings, ""));
    let releases = fields.need("releases", findings, "5 years").and_then(|value| value.parsed(findings, ""));
    fields.finish(findings);
    Some(Retention { raw: raw?, releases: releases? })
}
