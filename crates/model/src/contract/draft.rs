//! A first contract from a look at a file: all but what only people can know, which stands as TODO.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use chrono::NaiveDateTime;

use super::dataset::InputKind;
use super::parse::{ODCS_VERSION, PRODUCT_COLUMNS_MAX};
use crate::names::{DomainName, ProductName};
use crate::number::{DECIMALS_MAX, DIGITS_MAX};

/// Most distinct texts of a column that is proposed as a dimension.
pub const DIMENSION_VALUES_MAX: u64 = 500;

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

/// Writes a contract for a file's columns. It is refused until every TODO is filled in.
pub fn draft(sample: &Sample, domain: &DomainName, product: &ProductName) -> String {
    let columns = drafts(sample);
    let mut text = String::new();
    write_top(&mut text, sample, domain, product).expect("a String takes all");
    write_schema(&mut text, &columns, product).expect("a String takes all");
    write_terms(&mut text, &columns).expect("a String takes all");
    write_dataset(&mut text, sample, &columns, product).expect("a String takes all");
    text
}

fn drafts(sample: &Sample) -> Vec<Draft<'_>> {
    let mut columns: Vec<Draft<'_>> = Vec::new();
    for (index, column) in sample.columns.iter().enumerate() {
        let name = column_name(&column.header, index + 1, &columns);
        let has_time = columns.iter().any(|earlier| earlier.part == Part::Time);
        let shown = columns
            .iter()
            .filter(|earlier| matches!(earlier.part, Part::Dimension | Part::Measure))
            .count();
        let part = match column.kind {
            InputKind::Timestamp if !has_time => Part::Time,
            _ if shown == PRODUCT_COLUMNS_MAX => Part::Read,
            InputKind::Text | InputKind::Boolean
                if (2..=DIMENSION_VALUES_MAX).contains(&column.distinct) =>
            {
                Part::Dimension
            }
            InputKind::Integer | InputKind::Number if !is_code(&name, column) => Part::Measure,
            _ => Part::Read,
        };
        columns.push(Draft {
            name,
            position: index + 1,
            part,
            column,
        });
    }
    columns
}

/// Whether a number looks like a code or a place rather than an amount.
fn is_code(name: &str, column: &SampleColumn) -> bool {
    let words = [
        "id",
        "code",
        "key",
        "lat",
        "latitude",
        "lon",
        "lng",
        "longitude",
        "zip",
        "year",
    ];
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
    let short: String = name
        .chars()
        .take(crate::names::NAME_BYTES_MAX - 8)
        .collect();
    let mut name = match short.chars().next() {
        None => format!("column_{position}"),
        Some(first) if first.is_ascii_digit() => format!("c_{short}"),
        Some(_) => short,
    };
    if super::parse::is_reserved(&name) {
        name.push('_');
    }
    if earlier.iter().any(|column| column.name == name) {
        name = format!("{name}_{position}");
    }
    name
}

fn write_top(
    text: &mut String,
    sample: &Sample,
    domain: &DomainName,
    product: &ProductName,
) -> std::fmt::Result {
    let Sample { file, rows, .. } = sample;
    let file = file.replace(char::is_control, " ");
    writeln!(
        text,
        "# Drafted from {rows} rows of {file}. Fill in every TODO, then: civicmesh contract check FILE"
    )?;
    writeln!(text, "apiVersion: {ODCS_VERSION}")?;
    writeln!(text, "kind: DataContract")?;
    writeln!(text, "id: {domain}.{product}")?;
    writeln!(text, "version: 1.0.0")?;
    writeln!(
        text,
        "status: draft                        # takes observations in, releases nothing; `active` releases"
    )?;
    writeln!(
        text,
        "description: {{purpose: TODO}}         # what the product may be used for, in one sentence"
    )
}

fn write_schema(
    text: &mut String,
    columns: &[Draft<'_>],
    product: &ProductName,
) -> std::fmt::Result {
    writeln!(
        text,
        "schema:                              # what peers see: the start of the window, dimensions, measures"
    )?;
    writeln!(text, "- name: {product}")?;
    writeln!(text, "  properties:")?;
    writeln!(
        text,
        "  - {{name: {}, logicalType: timestamp}}",
        time_name(columns)
    )?;
    for Draft { name, column, .. } in columns
        .iter()
        .filter(|column| column.part == Part::Dimension)
    {
        writeln!(
            text,
            "  - {{name: {name}, logicalType: string}}   # {} values seen",
            column.distinct
        )?;
    }
    for Draft { name, column, .. } in columns.iter().filter(|column| column.part == Part::Measure) {
        let kind = if column.decimals == 0 {
            "integer"
        } else {
            "number"
        };
        writeln!(text, "  - {{name: {name}, logicalType: {kind}}}")?;
    }
    Ok(())
}

/// The product's time column: `time`, unless another of its columns has that name.
fn time_name(columns: &[Draft<'_>]) -> &'static str {
    let shown = |column: &Draft<'_>| matches!(column.part, Part::Dimension | Part::Measure);
    let taken = columns
        .iter()
        .any(|column| column.name == "time" && shown(column));
    if taken { "window_start" } else { "time" }
}

fn write_terms(text: &mut String, columns: &[Draft<'_>]) -> std::fmt::Result {
    let time = columns
        .iter()
        .find(|column| column.part == Part::Time)
        .map(|draft| draft.column);
    let grain = if time.is_some_and(|time| time.date_only) {
        "1 day"
    } else {
        "1 hour"
    };
    let start = time
        .and_then(|time| time.first)
        .map_or("TODO".to_owned(), |first| first.date().to_string());
    writeln!(text, "customProperties:")?;
    writeln!(text, "- property: civicmesh.terms          # public")?;
    writeln!(text, "  value:")?;
    writeln!(
        text,
        "    windows:                         # in the city's zone"
    )?;
    writeln!(
        text,
        "      grain: {grain:<23} # 5 minutes, 1 hour, 1 day, 1 week, 1 month ..."
    )?;
    writeln!(text, "      start: {start:<23} # `end:` where it ends")?;
    writeln!(
        text,
        "      empty: missing                 # a window without rows is a gap; `zero` where it means that nothing happened"
    )?;
    writeln!(
        text,
        "      lateness: 1 day                # how late a row may come and still count"
    )?;
    let mut measures = columns
        .iter()
        .filter(|column| column.part == Part::Measure)
        .peekable();
    if measures.peek().is_some() {
        writeln!(
            text,
            "    measures:                        # write each unit; ranges are what was seen, rounded outward"
        )?;
    }
    for Draft { name, column, .. } in measures {
        let (min, max) = outward(column);
        let decimals = column.decimals;
        writeln!(
            text,
            "      {name}: {{unit: \"1\", decimals: {decimals}, min: {min}, max: {max}}}"
        )?;
    }
    writeln!(text, "    disclosure:")?;
    writeln!(
        text,
        "      method: TODO                   # threshold: rows are about people; open: they are about no person"
    )?;
    writeln!(
        text,
        "      approver: TODO                 # who decided so"
    )?;
    writeln!(
        text,
        "      # k: 10                        # with threshold: least contributors in a published cell"
    )?;
    writeln!(
        text,
        "      # reason: ...                  # with open: why no person can be concerned"
    )?;
    writeln!(
        text,
        "    audience: TODO                   # city, or a list of domains"
    )?;
    writeln!(text, "    retention: {{raw: 90 days, releases: 5 years}}")
}

/// The range seen, rounded outward to one digit, so that the extremes of the file stay at home.
fn outward(column: &SampleColumn) -> (String, String) {
    let limit = 10_f64.powi(DIGITS_MAX as i32 - 1 - i32::from(column.decimals));
    let beyond = |value: f64| {
        let step = 10_f64.powi(value.max(1.0).log10().floor() as i32);
        (((value / step).floor() + 1.0) * step).min(limit)
    };
    let min = column
        .min
        .filter(|min| *min < 0.0)
        .map_or(0.0, |min| -beyond(-min));
    let max = column.max.filter(|max| *max > 0.0).map_or(1.0, beyond);
    (min.to_string(), max.to_string())
}

fn write_dataset(
    text: &mut String,
    sample: &Sample,
    columns: &[Draft<'_>],
    product: &ProductName,
) -> std::fmt::Result {
    writeln!(
        text,
        "- property: civicmesh.dataset        # private: peers see its hash only"
    )?;
    writeln!(text, "  value:")?;
    writeln!(
        text,
        "    name: {product:<26} # for `civicmesh ingest --dataset`"
    )?;
    if !sample.header || sample.delimiter != b',' {
        let delimiter = match sample.delimiter {
            b'\t' => "tab".to_owned(),
            byte => format!("{:?}", char::from(byte)),
        };
        writeln!(
            text,
            "    format: {{header: {}, delimiter: {delimiter}}}",
            sample.header
        )?;
    }
    let time = columns.iter().find(|column| column.part == Part::Time);
    let column = time.map_or("TODO", |time| &time.name);
    let format = time.and_then(|time| time.column.format.as_ref());
    let format = format.map_or(String::new(), |format| {
        format!(", format: {}", yaml(format))
    });
    writeln!(
        text,
        "    time: {{column: {column}{format}, zone: TODO}}   # the zone in which the file's times are meant"
    )?;
    writeln!(
        text,
        "    columns:                         # leave out what is not used"
    )?;
    for Draft {
        name,
        position,
        column,
        ..
    } in columns
    {
        let mut fields = vec![format!("type: {}", column.kind.as_str())];
        let repeated = columns
            .iter()
            .filter(|other| other.column.header == column.header)
            .count()
            > 1;
        if !sample.header || column.header.trim().is_empty() || repeated {
            fields.push(format!("at: {position}"));
        } else if *name != column.header {
            fields.push(format!("from: {}", yaml(&column.header)));
        }
        if let Some(format) = column
            .format
            .as_ref()
            .filter(|_| time.is_some_and(|time| time.name != *name))
        {
            fields.push(format!("format: {}", yaml(format)));
        }
        match fields.as_slice() {
            [_] => writeln!(text, "      {name}: {}", column.kind.as_str())?,
            _ => writeln!(text, "      {name}: {{{}}}", fields.join(", "))?,
        }
    }
    writeln!(
        text,
        "    # contributor: row               # with threshold, who stands behind a row: row, {{column: NAME}} or {{count: NAME}}"
    )?;
    writeln!(
        text,
        "    # key: [...]                     # columns that name a row, if rows can come twice or be corrected"
    )?;
    writeln!(
        text,
        "    # filter: \"...\"                  # SQL; rows for which it is not true are left out"
    )
}

/// A text in YAML's double quotes, which JSON's are.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
