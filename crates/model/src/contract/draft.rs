//! A first contract from a look at a file: all but what only people can know, which stands as TODO.

#[cfg(test)]
mod tests;

use chrono::NaiveDateTime;

use super::dataset::InputKind;
use super::parse::{ODCS_VERSION, PRODUCT_COLUMNS_MAX, TODO};
use crate::names::{DomainName, ProductName};
use crate::number::{DECIMALS_MAX, DIGITS_MAX};
use crate::time::{Span, UtcMicros};

/// Most distinct texts of a column that is proposed as a dimension.
pub const DIMENSION_VALUES_MAX: u64 = 500;
/// How long peers keep releases beyond the age of what was seen.
const RELEASES_YEARS: i64 = 20;
/// The longest retention that is proposed.
const RELEASES_YEARS_MAX: i64 = 9_999;

/// What a look at a file's first rows shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The file's name, for the comment on top.
    pub file: String,
    /// Rows looked at.
    pub rows: u64,
    /// Whether the first line names the columns.
    pub header: bool,
    /// The byte between fields.
    pub delimiter: u8,
    /// The columns in the file's order.
    pub columns: Vec<SampleColumn>,
}

/// What a look at one column shows. It holds no value but the extremes of numbers and times.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleColumn {
    /// The text in the header, or the field's name; empty without a header.
    pub header: String,
    /// What every non-empty value can be read as.
    pub kind: InputKind,
    /// How a timestamp is written; `None`: RFC 3339 or ISO 8601.
    pub format: Option<String>,
    /// Whether a timestamp is written without a time of day.
    pub date_only: bool,
    /// Most decimals seen in a number.
    pub decimals: u8,
    /// Least number seen.
    pub min: Option<f64>,
    /// Greatest number seen.
    pub max: Option<f64>,
    /// Earliest time seen.
    pub first: Option<NaiveDateTime>,
    /// Latest time seen.
    pub last: Option<NaiveDateTime>,
    /// Distinct values seen, counted up to a bound beyond [`DIMENSION_VALUES_MAX`].
    pub distinct: u64,
    /// Empty values seen.
    pub empty: u64,
}

/// A column with the name and the part that the draft gives it.
struct Draft<'s> {
    name: String,
    position: usize,
    part: Part,
    column: &'s SampleColumn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Time,
    Dimension,
    Measure,
    /// Read, but no column of the product.
    Read,
}

/// Writes a contract for a file's columns. It is refused until every TODO is filled in. How old the file's times are
/// is counted from `now`.
pub fn draft(sample: &Sample, domain: &DomainName, product: &ProductName, now: UtcMicros) -> String {
    let columns = drafts(sample);
    let top = top(sample, domain, product);
    let (schema, terms) = (schema(&columns, product), terms(&columns, sample.rows, now));
    format!("{top}{schema}{terms}{}", dataset(sample, &columns, product))
}

fn drafts(sample: &Sample) -> Vec<Draft<'_>> {
    let mut columns: Vec<Draft<'_>> = Vec::new();
    for (index, column) in sample.columns.iter().enumerate() {
        let name = column_name(&column.header, index + 1, &columns);
        let has_time = columns.iter().any(|earlier| earlier.part == Part::Time);
        let shown = columns.iter().filter(|earlier| matches!(earlier.part, Part::Dimension | Part::Measure)).count();
        let part = match column.kind {
            InputKind::Timestamp if !has_time => Part::Time,
            _ if shown == PRODUCT_COLUMNS_MAX => Part::Read,
            InputKind::Text | InputKind::Boolean
                // a dimension is never null
                if column.empty == 0 && (2..=DIMENSION_VALUES_MAX).contains(&column.distinct) =>
            {
                Part::Dimension
            }
            InputKind::Integer | InputKind::Number if !is_code(&name, column) => Part::Measure,
            _ => Part::Read,
        };
        columns.push(Draft { name, position: index + 1, part, column });
    }
    columns
}

/// Whether a number looks like a code or a place rather than an amount.
fn is_code(name: &str, column: &SampleColumn) -> bool {
    let words = ["id", "code", "key", "lat", "latitude", "lon", "lng", "longitude", "zip", "year"];
    column.decimals > DECIMALS_MAX || name.split('_').any(|word| words.contains(&word))
}

/// A header as a name in SQL, unlike all earlier ones.
fn column_name(header: &str, position: usize, earlier: &[Draft<'_>]) -> String {
    let mut name = String::new();
    let mut previous_lower = false;
    for c in header.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && previous_lower {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('_') {
            name.push('_');
        }
        previous_lower = c.is_ascii_lowercase();
    }
    let name = name.trim_matches('_');
    let short: String = name.chars().take(crate::names::NAME_BYTES_MAX - 8).collect();
    let mut name = match short.chars().next() {
        None => format!("column_{position}"),
        Some(first) if first.is_ascii_digit() => format!("c_{short}"),
        Some(_) => short,
    };
    if super::parse::is_reserved(&name) {
        name.push('_');
    }
    let is_free = |name: &String| earlier.iter().all(|column| column.name != *name);
    if is_free(&name) {
        return name;
    }
    (position..)
        .map(|number| format!("{name}_{number}"))
        .find(is_free)
        .expect("fewer names are taken than there are numbers")
}

fn top(sample: &Sample, domain: &DomainName, product: &ProductName) -> String {
    let Sample { file, rows, .. } = sample;
    let file = file.replace(char::is_control, " ");
    format!(
        "\
# Drafted from {rows} rows of {file}. Fill in every TODO, then: civicmesh contract check FILE
apiVersion: {ODCS_VERSION}
kind: DataContract
id: {domain}.{product}
version: 1.0.0
status: draft                        # takes observations in, releases nothing; `active` releases
description: {{purpose: TODO}}         # what the product may be used for, in one sentence
"
    )
}

fn schema(columns: &[Draft<'_>], product: &ProductName) -> String {
    let time = time_name(columns);
    let mut text = format!(
        "\
schema:                              # what peers see: the start of the window, dimensions, measures
- name: {product}
  properties:
  - {{name: {time}, logicalType: timestamp}}
"
    );
    for Draft { name, column, .. } in of(columns, Part::Dimension) {
        let seen = format!("# {} values seen", column.distinct);
        text += &format!("  - {{name: {name}, logicalType: string}}   {seen}\n");
    }
    for Draft { name, column, .. } in of(columns, Part::Measure) {
        let kind = if column.decimals == 0 { "integer" } else { "number" };
        text += &format!("  - {{name: {name}, logicalType: {kind}}}\n");
    }
    text
}

fn of<'d, 's>(columns: &'d [Draft<'s>], part: Part) -> impl Iterator<Item = &'d Draft<'s>> {
    columns.iter().filter(move |column| column.part == part)
}

/// The product's time column: `time`, unless another of its columns has that name.
fn time_name(columns: &[Draft<'_>]) -> &'static str {
    let mut shown = of(columns, Part::Dimension).chain(of(columns, Part::Measure));
    if shown.any(|column| column.name == "time") { "window_start" } else { "time" }
}

fn terms(columns: &[Draft<'_>], rows: u64, now: UtcMicros) -> String {
    let time = of(columns, Part::Time).next().map(|draft| draft.column);
    let grain = if time.is_some_and(|time| time.date_only) { "1 day" } else { "1 hour" };
    let start = time.and_then(|time| time.first);
    let start = start.map_or("TODO".to_owned(), |first| first.date().to_string());
    let releases = releases_years(time.and_then(|time| time.last), now);
    let measures = measures(columns, rows);
    format!(
        "\
customProperties:
- property: civicmesh.terms          # public
  value:
    windows:                         # in the city's zone
      grain: {grain:<23} # 5 minutes, 1 hour, 1 day, 1 week, 1 month ...
      start: {start:<23} # `end:` where it ends
      empty: missing                 # a window without rows is a gap; `zero` where it means that nothing happened
      lateness: 1 day                # how late a row may come and still count
{measures}    # distinct: [NAME]               # texts of the schema of which only the number of distinct values is told
    disclosure:
      method: TODO                   # threshold: rows are about people; open: they are about no person
      approver: TODO                 # who decided so
      # k: 10                        # with threshold: least contributors in a published cell
      # reason: ...                  # with open: why no person can be concerned
    audience: TODO                   # city, or a list of domains
    # raw: at home, from a row's arrival; releases: at peers, from the end of a window. Older ones are dropped at once
    retention: {{raw: 1 year, releases: {releases} years}}
"
    )
}

/// Whole years for which peers are to keep releases: enough for a file of long ago, too, whose newest time this is.
fn releases_years(newest: Option<NaiveDateTime>, now: UtcMicros) -> i64 {
    let age = newest.map_or(0, |newest| now.0.saturating_sub(newest.and_utc().timestamp_micros()).max(0));
    match age.div_euclid(Span::days(365).micros()) + 1 {
        ..=RELEASES_YEARS => RELEASES_YEARS,
        years => (years + RELEASES_YEARS).min(RELEASES_YEARS_MAX),
    }
}

fn measures(columns: &[Draft<'_>], rows: u64) -> String {
    let mut text = String::new();
    for Draft { name, column, .. } in of(columns, Part::Measure) {
        if text.is_empty() {
            text += &format!(
                "    measures:                        # write each unit
      # ranges are what the first {rows} rows showed, rounded outward: widen them to all that can be true. A row with a
      # value outside is rejected whole; with `invalid: null` beside the range the value alone is left out
"
            );
        }
        let (min, max) = outward(column);
        let decimals = column.decimals;
        text += &format!("      {name}: {{unit: \"1\", decimals: {decimals}, min: {min}, max: {max}}}\n");
    }
    text
}

/// The range seen, rounded outward to one digit, so that the extremes of the file stay at home.
fn outward(column: &SampleColumn) -> (String, String) {
    let limit = 10_f64.powi(DIGITS_MAX as i32 - 1 - i32::from(column.decimals));
    let beyond = |value: f64| {
        let step = 10_f64.powi(value.max(1.0).log10().floor() as i32);
        (((value / step).floor() + 1.0) * step).min(limit)
    };
    let min = column.min.filter(|min| *min < 0.0).map_or(0.0, |min| -beyond(-min));
    let max = column.max.filter(|max| *max > 0.0).map_or(1.0, beyond);
    (min.to_string(), max.to_string())
}

fn dataset(sample: &Sample, columns: &[Draft<'_>], product: &ProductName) -> String {
    let mut layout = String::new();
    if !sample.header || sample.delimiter != b',' {
        let delimiter = match sample.delimiter {
            b'\t' => "tab".to_owned(),
            byte => yaml(&char::from(byte).to_string()),
        };
        let header = sample.header;
        layout = format!("    format: {{header: {header}, delimiter: {delimiter}}}\n");
    }
    let time = of(columns, Part::Time).next();
    let mut place = format!("column: {}", time.map_or(TODO, |time| &time.name));
    if let Some(format) = time.and_then(|time| time.column.format.as_ref()) {
        place += &format!(", format: {}", yaml(format));
    }
    let inputs: String = columns.iter().map(|column| input(column, columns, sample.header)).collect();
    format!(
        "\
- property: civicmesh.dataset        # private: peers see its hash only
  value:
    name: {product:<26} # for `civicmesh ingest --dataset`
{layout}    time: {{{place}, zone: TODO}}   # the zone in which the file's times are meant
    columns:                         # leave out what is not used
{inputs}    # contributor: row               # with threshold, who stands behind a row: row, {{column: NAME}} or {{count: NAME}}
    # key: [...]                     # columns that name a row, if rows can come twice or be corrected; without a
                                     # key the same row in two files counts twice
    # filter: \"...\"                  # SQL; rows for which it is not true are left out
"
    )
}

/// The line of an input column.
fn input(draft: &Draft<'_>, columns: &[Draft<'_>], header: bool) -> String {
    let Draft { name, position, part, column } = draft;
    let kind = column.kind.as_str();
    let same = columns.iter().filter(|other| other.column.header == column.header).count();
    let mut fields = format!("type: {kind}");
    if !header || column.header.trim().is_empty() || same > 1 {
        fields += &format!(", at: {position}");
    } else if *name != column.header {
        fields += &format!(", from: {}", yaml(&column.header));
    }
    if let Some(format) = column.format.as_ref().filter(|_| *part != Part::Time) {
        fields += &format!(", format: {}", yaml(format));
    }
    if fields.contains(',') { format!("      {name}: {{{fields}}}\n") } else { format!("      {name}: {kind}\n") }
}

/// A text in YAML's double quotes, which JSON's are.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
