//! `civicmesh.dataset`: how the department's own files are read.

use super::reader::{Fields, Value};
use super::schema::check_name;
use super::terms::ON_INVALID;
use super::time;
use crate::contract::REJECT_SHARE_MAX_DEFAULT;
use crate::contract::dataset::{
    ColumnRef, Contributor, Dataset, Derived, FileFormat, InputColumn, InputKind, Lookup, RejectLimit, UnknownCode,
};
use crate::contract::finding::Findings;
use crate::contract::terms::OnInvalid;
use crate::names::ProductId;

/// Most columns of each kind in a dataset.
const DATASET_COLUMNS_MAX: usize = 512;

const KINDS: [(&str, InputKind); 5] = {
    let [a, b, c, d, e] = InputKind::ALL;
    [(a.as_str(), a), (b.as_str(), b), (c.as_str(), c), (d.as_str(), d), (e.as_str(), e)]
};

/// Reads the entry; a dataset without a name has the product's.
pub(super) fn read(value: &Value<'_>, product: Option<&ProductId>, findings: &mut Findings) -> Option<Dataset> {
    let mut fields = value.fields(findings)?;
    let name = match fields.take("name") {
        Some(value) => value.parsed(findings, ""),
        None => product.map(|product| product.product.as_str().parse().expect("names have one rule")),
    };
    let format = read_format(&mut fields, findings);
    let example = "{column: pickup, zone: Europe/Copenhagen}";
    let time = fields.need("time", findings, example).and_then(|value| time::read(&value, findings));
    let header = format.is_none_or(|format| format.header);
    let example = "{pickup: timestamp, distance: number}";
    let columns = fields.need("columns", findings, example);
    let columns = columns.and_then(|value| each(&value, findings, |name, v, f| read_column(name, v, header, f)));
    let lookups = optional(&mut fields, "lookups", findings, read_lookup);
    let derived = optional(&mut fields, "derived", findings, read_derived);
    let filter = match fields.take("filter") {
        Some(value) => value.text(findings).map(|sql| Some(sql.to_owned())),
        None => Some(None),
    };
    let key = fields.take("key").map_or(Some(Vec::new()), |value| value.texts(findings));
    let contributor = fields.take("contributor");
    let contributor = contributor.map_or(Some(Contributor::None), |value| read_contributor(&value, findings));
    let rejects_max = match fields.take("rejects_max") {
        Some(value) => read_share(&value, findings),
        None => Some(REJECT_SHARE_MAX_DEFAULT),
    };
    fields.finish(findings);
    let (time, mut columns) = (time?, columns?);
    for column in columns.iter_mut().filter(|column| column.kind == InputKind::Timestamp) {
        column.format = column.format.take().or_else(|| time.format.clone());
    }
    Some(Dataset {
        name: name?,
        format: format?,
        time,
        columns,
        lookups: lookups?,
        derived: derived?,
        filter: filter?,
        key: key?,
        contributor: contributor?,
        rejects_max: RejectLimit { share: rejects_max? },
    })
}

/// Reads every entry of a map whose keys are column names.
fn each<T>(
    value: &Value<'_>,
    findings: &mut Findings,
    mut read: impl FnMut(&str, &Value<'_>, &mut Findings) -> Option<T>,
) -> Option<Vec<T>> {
    let entries = value.named(findings)?;
    if entries.len() > DATASET_COLUMNS_MAX {
        let message = format!("{} columns", entries.len());
        value.error(findings, message, format!("at most {DATASET_COLUMNS_MAX} are read; leave out what is not used"));
    }
    let mut made = Vec::new();
    for (entry, value) in &entries {
        check_name(&entry.key, entry.line, &value.key, findings);
        made.push(read(&entry.key, value, findings));
    }
    made.into_iter().collect()
}

fn optional<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    findings: &mut Findings,
    read: impl FnMut(&str, &Value<'_>, &mut Findings) -> Option<T>,
) -> Option<Vec<T>> {
    fields.take(key).map_or(Some(Vec::new()), |value| each(&value, findings, read))
}

fn read_format(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<FileFormat> {
    let Some(value) = fields.take("format") else {
        return Some(FileFormat { header: true, delimiter: b',' });
    };
    let mut fields = value.fields(findings)?;
    let header = fields.take("header").map_or(Some(true), |value| value.flag(findings));
    let delimiter = match fields.take("delimiter") {
        None => Some(b','),
        Some(value) if value.node.text() == Some("\t") => Some(b'\t'),
        Some(value) => match (value.text(findings)?, value) {
            ("tab", _) => Some(b'\t'),
            (text, _) if text.len() == 1 && text.is_ascii() && !"\"\r\n".contains(text) => Some(text.as_bytes()[0]),
            (text, value) => {
                value.error(
                    findings,
                    format!("`{text}` is not one plain character"),
                    "write \",\", \";\", \"|\" or tab",
                );
                None
            }
        },
    };
    fields.finish(findings);
    Some(FileFormat { header: header?, delimiter: delimiter? })
}

fn read_column(name: &str, value: &Value<'_>, header: bool, findings: &mut Findings) -> Option<InputColumn> {
    let short = value.node.text().is_some();
    if short && header {
        let kind = value.word(findings, &KINDS)?;
        let from = ColumnRef::Header(name.to_owned());
        return Some(InputColumn::new(name, from, kind));
    }
    if short {
        value.error(findings, "the file has no header", "write `{type: ..., at: 1}` with the column's position");
        return None;
    }
    let mut fields = value.fields(findings)?;
    let kind = fields.need("type", findings, "number").and_then(|value| value.word(findings, &KINDS));
    let from = read_from(name, &mut fields, header, findings);
    let format = match fields.take("format") {
        Some(value) if kind.is_some_and(|kind| kind != InputKind::Timestamp) => {
            value.error(findings, "only a timestamp has a format", "");
            None
        }
        Some(value) => time::read_format(&value, findings).map(|(format, _)| Some(format)),
        None => Some(None),
    };
    let missing = fields.take("missing").map_or(Some(Vec::new()), |value| value.texts(findings));
    let range = read_range(&mut fields, kind, findings);
    let required = fields.take("required").map_or(Some(false), |value| value.flag(findings));
    fields.finish(findings);
    let (min, max, on_invalid) = range?;
    let (from, kind, format, missing, required) = (from?, kind?, format?, missing?, required?);
    Some(InputColumn { name: name.to_owned(), from, kind, format, missing, min, max, on_invalid, required })
}

fn read_from(name: &str, fields: &mut Fields<'_>, header: bool, findings: &mut Findings) -> Option<ColumnRef> {
    match (fields.take("from"), fields.take("at")) {
        (None, None) if header => Some(ColumnRef::Header(name.to_owned())),
        (None, None) => {
            let key = fields.key.clone();
            findings.error(fields.line, &key, "the file has no header", "add `at: 1`, the column's position");
            None
        }
        (Some(value), None) if header => value.text(findings).map(|text| ColumnRef::Header(text.to_owned())),
        (Some(value), None) => {
            value.error(findings, "the file has no header", "write `at: 1`, the column's position, instead");
            None
        }
        (None, Some(value)) => match value.text(findings)?.parse() {
            Ok(position) if (1..=DATASET_COLUMNS_MAX).contains(&position) => Some(ColumnRef::Position(position)),
            _ => {
                value.error(findings, "is not a column's position", "the first column is 1");
                None
            }
        },
        (Some(_), Some(value)) => {
            value.error(findings, "stands beside `from`", "leave one out");
            None
        }
    }
}

type Range = (Option<f64>, Option<f64>, OnInvalid);

fn read_range(fields: &mut Fields<'_>, kind: Option<InputKind>, findings: &mut Findings) -> Option<Range> {
    let mut bound = |key| match fields.take(key) {
        Some(value) if kind.is_some_and(|kind| !kind.is_numeric()) => {
            value.error(findings, "only a number has a range", "");
            None
        }
        Some(value) => value.number(findings).map(|number| Some((number, value))),
        None => Some(None),
    };
    let (min, max) = (bound("min"), bound("max"));
    let invalid = fields.take("invalid").map_or(Some(OnInvalid::Reject), |value| value.word(findings, ON_INVALID));
    let (min, max) = (min?, max?);
    if let (Some((min, _)), Some((max, value))) = (&min, &max)
        && min > max
    {
        value.error(findings, "min is greater than max", "");
        return None;
    }
    Some((min.map(|(number, _)| number), max.map(|(number, _)| number), invalid?))
}

fn read_lookup(name: &str, value: &Value<'_>, findings: &mut Findings) -> Option<Lookup> {
    let mut fields = value.fields(findings)?;
    let mut need =
        |key, example| fields.need(key, findings, example).and_then(|value| value.text(findings)).map(str::to_owned);
    let column = need("column", "zone_code");
    let key = need("key", "the header of the file's codes");
    let made = fields.take("value").map_or(Some(name), |value| value.text(findings)).map(str::to_owned);
    let file = fields.need("file", findings, "zones.csv").and_then(|value| read_file_name(&value, findings));
    let unknown = match fields.take("unknown") {
        Some(value) => match value.text(findings) {
            Some("reject") => Some(UnknownCode::Reject),
            text => text.map(|text| UnknownCode::Value(text.to_owned())),
        },
        None => Some(UnknownCode::Reject),
    };
    fields.finish(findings);
    let (column, file, key, value, unknown) = (column?, file?, key?, made?, unknown?);
    Some(Lookup { name: name.to_owned(), column, file, key, value, unknown })
}

fn read_file_name(value: &Value<'_>, findings: &mut Findings) -> Option<String> {
    let text = value.text(findings)?;
    let outside = |part: &str| matches!(part, "" | "." | ".." | "~") || part.contains(['\\', ':']);
    if text.split('/').any(outside) {
        value.error(findings, format!("`{text}` is outside the contract's folder"), "put the file beside the contract");
        return None;
    }
    Some(text.to_owned())
}

fn read_derived(name: &str, value: &Value<'_>, findings: &mut Findings) -> Option<Derived> {
    if value.node.text().is_some() {
        let sql = value.text(findings)?.to_owned();
        let (kind, on_invalid) = (InputKind::Number, OnInvalid::Reject);
        return Some(Derived { name: name.to_owned(), sql, kind, min: None, max: None, on_invalid });
    }
    let mut fields = value.fields(findings)?;
    let sql = fields.need("sql", findings, "...").and_then(|value| value.text(findings)).map(str::to_owned);
    let kind = fields.take("type").map_or(Some(InputKind::Number), |value| value.word(findings, &KINDS));
    let range = read_range(&mut fields, kind, findings);
    fields.finish(findings);
    let (min, max, on_invalid) = range?;
    Some(Derived { name: name.to_owned(), sql: sql?, kind: kind?, min, max, on_invalid })
}

fn read_contributor(value: &Value<'_>, findings: &mut Findings) -> Option<Contributor> {
    if value.node.text().is_some() {
        return match value.text(findings)? {
            "row" => Some(Contributor::Row),
            "none" => Some(Contributor::None),
            text => {
                value.error(
                    findings,
                    format!("`{text}` is no contributor"),
                    "write row, {column: NAME} or {count: NAME}",
                );
                None
            }
        };
    }
    let mut fields = value.fields(findings)?;
    let column = fields.take("column").map(|value| value.text(findings).map(str::to_owned));
    let count = fields.take("count").map(|value| value.text(findings).map(str::to_owned));
    fields.finish(findings);
    match (column, count) {
        (Some(column), None) => column.map(Contributor::Column),
        (None, Some(count)) => count.map(Contributor::Count),
        _ => {
            value.error(findings, "names one column", "write row, {column: NAME} or {count: NAME}");
            None
        }
    }
}

/// A share written as a percentage.
fn read_share(value: &Value<'_>, findings: &mut Findings) -> Option<f64> {
    let text = value.text(findings)?;
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    if percent.is_none() {
        value.error(findings, format!("`{text}` is not a share"), "write it as in 5%");
    }
    percent.map(|percent| percent / 100.0)
}
