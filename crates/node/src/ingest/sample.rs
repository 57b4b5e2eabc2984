//! A look at a file's first rows, from which a contract is drafted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, NaiveDateTime};
use civicmesh_model::contract::InputKind;
use civicmesh_model::contract::draft::{DIMENSION_VALUES_MAX, Sample, SampleColumn};
use civicmesh_model::time::Zone;

use super::cell::{Cell, integer, number};
use super::clock::TimeReader;
use super::delimited::{Next, Records};
use super::error::IngestError;
use super::json;
use super::parquet::{self, ParquetRows};
use super::rows::{Line, Lines, not_too_wide};
use super::spool::{Format, Spool};
use super::window::RECORD_BYTES_MAX;

/// Rows that are looked at.
const SAMPLE_ROWS: usize = 20_000;
/// Columns that are looked at.
const SAMPLE_COLUMNS_MAX: usize = 512;
/// Bytes that may stand between fields; the first wins where several fit.
const DELIMITERS: [u8; 4] = *b",;\t|";
/// Ways in which times are written, most telling first.
const TIME_FORMATS: [Option<&str>; 17] = [
    Some("%Y-%m-%d"),
    None,
    Some("%m/%d/%Y %I:%M:%S %p"),
    Some("%m/%d/%Y %H:%M:%S"),
    Some("%m/%d/%Y %H:%M"),
    Some("%m/%d/%Y"),
    Some("%d/%m/%Y %H:%M:%S"),
    Some("%d/%m/%Y %H:%M"),
    Some("%d/%m/%Y"),
    Some("%d.%m.%Y %H:%M:%S"),
    Some("%d.%m.%Y %H:%M"),
    Some("%d.%m.%Y"),
    Some("%d-%m-%Y %H:%M:%S"),
    Some("%d-%m-%Y %H:%M"),
    Some("%d-%m-%Y"),
    Some("%Y/%m/%d %H:%M:%S"),
    Some("%Y/%m/%d"),
];

/// Looks at the first rows of the file at `path`.
pub fn sample(path: &Path) -> Result<Sample, IngestError> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let spool = Spool::open(path, &file)?;
    let mut sample = Sample { file, rows: 0, header: true, delimiter: b',', columns: Vec::new() };
    let looks = match spool.format {
        Format::Delimited => look_delimited(&spool, &mut sample)?,
        Format::Json => look_json(&spool, &mut sample)?,
        Format::Parquet => look_parquet(&spool, &mut sample)?,
    };
    sample.columns = looks.into_iter().map(Look::finish).collect();
    Ok(sample)
}

fn look_delimited(spool: &Spool, sample: &mut Sample) -> Result<Vec<Look>, IngestError> {
    let mut first = Vec::new();
    for delimiter in DELIMITERS {
        let mut records = Records::new(spool.content()?, delimiter)?;
        if let Next::Record { .. } = records.next()?
            && records.width() > first.len()
        {
            not_too_wide(records.width())?;
            let field = |index| String::from_utf8_lossy(records.field(index)).trim().to_owned();
            first = (0..records.width()).map(field).collect::<Vec<_>>();
            sample.delimiter = delimiter;
        }
    }
    let mut looks: Vec<Look> = first.iter().map(|header| Look::new(header.clone())).collect();
    let mut records = Records::new(spool.content()?, sample.delimiter)?;
    records.next()?;
    for _ in 0..SAMPLE_ROWS {
        match records.next()? {
            Next::Record { .. } if records.width() == first.len() => {
                looks.iter_mut().enumerate().for_each(|(index, look)| look.add(Cell::Text(records.field(index))));
                sample.rows += 1;
            }
            Next::Record { .. } | Next::Broken { .. } => {}
            Next::End => break,
        }
    }
    sample.header = is_header(&looks);
    if !sample.header {
        for look in &mut looks {
            let value = std::mem::take(&mut look.header);
            look.add(Cell::Text(value.as_bytes()));
        }
        sample.rows += 1;
    }
    looks.truncate(SAMPLE_COLUMNS_MAX);
    Ok(looks)
}

/// Whether the first line names the columns: words above numbers and times. Where all columns are text, whether none
/// of its fields comes again below.
fn is_header(looks: &[Look]) -> bool {
    let vote = |look: &Look| {
        let mut first = Look::new(String::new());
        first.add(Cell::Text(look.header.as_bytes()));
        match (look.kind(), first.kind()) {
            (InputKind::Text, _) => 0,
            (_, InputKind::Text) => i32::from(!look.header.is_empty()),
            _ => -1,
        }
    };
    match looks.iter().map(vote).sum::<i32>() {
        0 => looks.iter().all(|look| !look.distinct.contains(&look.header)),
        votes => votes > 0,
    }
}

fn look_json(spool: &Spool, sample: &mut Sample) -> Result<Vec<Look>, IngestError> {
    use serde_json::Value;
    let mut lines = Lines::new(spool.content()?)?;
    let mut looks: BTreeMap<String, Look> = BTreeMap::new();
    for _ in 0..SAMPLE_ROWS {
        match lines.next()? {
            Line::Whole(_) => {}
            Line::TooLong(_) => continue,
            Line::End => break,
        }
        let Some(fields) = json::paths(lines.bytes()) else {
            continue;
        };
        for (path, value) in fields {
            let cell = match &value {
                Value::Null => Cell::Null,
                Value::Bool(value) => Cell::Boolean(*value),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => Cell::Integer(number),
                    None => Cell::Double(number.as_f64().unwrap_or(f64::NAN)),
                },
                Value::String(text) => Cell::Text(text.as_bytes()),
                // not one value, so no column
                Value::Array(_) | Value::Object(_) => continue,
            };
            if looks.len() < SAMPLE_COLUMNS_MAX || looks.contains_key(&path) {
                looks.entry(path.clone()).or_insert_with(|| Look::new(path)).add(cell);
            }
        }
        sample.rows += 1;
    }
    for look in looks.values_mut() {
        look.empty = sample.rows - look.values;
    }
    Ok(looks.into_values().collect())
}

fn look_parquet(spool: &Spool, sample: &mut Sample) -> Result<Vec<Look>, IngestError> {
    let schema = parquet::schema(spool)?;
    let readable = |field: &arrow::datatypes::FieldRef| {
        InputKind::ALL.iter().any(|&kind| parquet::can_be(field.data_type(), kind))
    };
    let fields = schema.fields().iter().enumerate().filter(|(_, field)| readable(field)).take(SAMPLE_COLUMNS_MAX);
    let (roots, mut looks): (Vec<usize>, Vec<Look>) =
        fields.map(|(root, field)| (root, Look::new(field.name().clone()))).unzip();
    let mut rows = ParquetRows::new(spool, &roots)?;
    while sample.rows < SAMPLE_ROWS as u64 && rows.advance()?.is_some() {
        if rows.text_bytes() > RECORD_BYTES_MAX {
            continue;
        }
        looks.iter_mut().enumerate().for_each(|(index, look)| look.add(rows.cell(index)));
        sample.rows += 1;
    }
    Ok(looks)
}

/// What a column may be, given all values so far.
struct Look {
    header: String,
    values: u64,
    empty: u64,
    is_integer: bool,
    is_number: bool,
    is_boolean: bool,
    /// Time formats that read every value so far.
    times: Vec<TimeGuess>,
    decimals: u8,
    range: Option<(f64, f64)>,
    distinct: BTreeSet<String>,
}

/// A time format that read every value so far, with the earliest and latest time, in microseconds since 1970.
struct TimeGuess {
    format: Option<&'static str>,
    reader: TimeReader,
    range: Option<(i64, i64)>,
}

impl TimeGuess {
    fn new(format: Option<&'static str>) -> Option<Self> {
        Some(TimeGuess { format, reader: TimeReader::new(format, Zone::UTC)?, range: None })
    }
}

impl Look {
    fn new(header: String) -> Self {
        Look {
            header,
            values: 0,
            empty: 0,
            is_integer: true,
            is_number: true,
            is_boolean: true,
            times: TIME_FORMATS.into_iter().filter_map(TimeGuess::new).collect(),
            decimals: 0,
            range: None,
            distinct: BTreeSet::new(),
        }
    }

    fn add(&mut self, cell: Cell<'_>) {
        let text = cell.text().unwrap_or_else(|_| Some(cell.shown().into())).unwrap_or_default();
        let text = text.trim_ascii();
        if text.is_empty() {
            self.empty += 1;
            return;
        }
        self.values += 1;
        if self.distinct.len() as u64 <= DIMENSION_VALUES_MAX && !self.distinct.contains(text) {
            self.distinct.insert(text.to_owned());
        }
        let typed = match cell {
            // a time is looked at as it would be written, so that a date is told from an instant
            Cell::Text(_) | Cell::Instant(_) | Cell::Local(_) => Cell::Text(text.as_bytes()),
            cell => cell,
        };
        self.add_number(typed, text);
        self.is_boolean &= ["true", "false", "yes", "no"].contains(&text.to_ascii_lowercase().as_str());
        self.add_time(typed);
    }

    fn add_number(&mut self, cell: Cell<'_>, text: &str) {
        // a leading zero makes a code: a number would lose it
        let is_code = text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        self.is_integer &= !is_code && integer(cell).is_ok();
        match number(cell) {
            Ok(value) if !is_code && self.is_number => {
                self.decimals = self.decimals.max(decimals(text));
                let (min, max) = self.range.unwrap_or((value, value));
                self.range = Some((min.min(value), max.max(value)));
            }
            _ => self.is_number = false,
        }
    }

    fn add_time(&mut self, cell: Cell<'_>) {
        self.times.retain_mut(|guess| {
            let Ok(at) = guess.reader.read(cell) else {
                return false;
            };
            let (first, last) = guess.range.unwrap_or((at, at));
            guess.range = Some((first.min(at), last.max(at)));
            true
        });
    }

    fn kind(&self) -> InputKind {
        match self {
            _ if self.values == 0 => InputKind::Text,
            _ if !self.times.is_empty() => InputKind::Timestamp,
            _ if self.is_integer => InputKind::Integer,
            _ if self.is_number => InputKind::Number,
            _ if self.is_boolean => InputKind::Boolean,
            _ => InputKind::Text,
        }
    }

    fn finish(self) -> SampleColumn {
        let kind = self.kind();
        let is_number = matches!(kind, InputKind::Integer | InputKind::Number);
        let range = self.range.filter(|_| is_number);
        // where day and month cannot be told apart, rows lie closer together in the right reading
        let span = |guess: &&TimeGuess| guess.range.map_or(0, |(first, last)| last - first);
        let time = self.times.iter().min_by_key(span).filter(|_| kind == InputKind::Timestamp);
        let format = time.and_then(|guess| guess.format);
        let times = time.and_then(|guess| guess.range);
        SampleColumn {
            header: self.header,
            kind,
            format: format.map(str::to_owned),
            date_only: format.is_some_and(|format| !format.contains("%H") && !format.contains("%I")),
            decimals: if kind == InputKind::Number { self.decimals } else { 0 },
            min: range.map(|range| range.0),
            max: range.map(|range| range.1),
            first: times.and_then(|times| local(times.0)),
            last: times.and_then(|times| local(times.1)),
            distinct: self.distinct.len() as u64,
            empty: self.empty,
        }
    }
}

fn local(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

/// Decimals that a number is written with.
fn decimals(text: &str) -> u8 {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let fraction = digits.split_once('.').map_or("", |(_, fraction)| fraction).trim_end_matches('0');
    let decimals = fraction.len() as i64 - exponent.parse::<i64>().unwrap_or(0);
    u8::try_from(decimals.max(0)).unwrap_or(u8::MAX)
}
