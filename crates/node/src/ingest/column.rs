//! An input column under construction: cells in, an Arrow array out, each cell held against the contract.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use civicmesh_model::contract::{Dataset, InputColumn, InputKind, OnInvalid};
use civicmesh_model::number::{NumberError, parse_half_even};
use civicmesh_model::time::{Span, UtcMicros};

use super::cell::{Cell, boolean, integer, number};
use super::clock::TimeReader;
use super::error::IngestError;
use super::reject::Reason;

/// How far an event time may lie ahead of the node's clock: nobody observes what comes in a year. What is ahead by less
/// is taken, for it may be the clock that is behind, and a file counts once.
const AHEAD_OF_CLOCK_MAX: Span = Span::days(366);

/// Builds one input column.
pub(super) struct ColumnBuilder {
    pub name: Arc<str>,
    values: Values,
    missing: Vec<Vec<u8>>,
    missing_numbers: Vec<f64>,
    min: f64,
    max: f64,
    on_invalid: OnInvalid,
    required: bool,
    /// For the event time: what it may be.
    time: Option<TimeRange>,
    /// For a column that is a measure as it stands.
    exact: Option<Exact>,
    /// Values that the contract turned into nulls.
    pub nulled: u64,
}

enum Values {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Timestamp(TimestampMicrosecondBuilder, TimeReader),
    Boolean(BooleanBuilder),
}

/// What an event time may be, in microseconds since 1970 UTC.
#[derive(Clone, Copy)]
struct TimeRange {
    from: i64,
    until: i64,
    clock: i64,
}

/// The same values once more, as the exact decimals that a measure keeps.
struct Exact {
    decimals: u8,
    values: Int64Builder,
}

/// A value that the contract takes.
enum Taken<'a> {
    Null,
    Text(std::borrow::Cow<'a, str>),
    Integer(i64),
    /// The number, and what it is as an exact decimal where the column is a measure.
    Number(f64, i64),
    Timestamp(i64),
    Boolean(bool),
}

impl ColumnBuilder {
    /// A builder of the dataset's `column`. `measure` holds the decimals of the measure that the column is, if it is
    /// one as it stands.
    pub fn new(column: &InputColumn, dataset: &Dataset, measure: Option<u8>) -> Result<Self, IngestError> {
        let zone = dataset.time.zone;
        let values = match column.kind {
            InputKind::Text => Values::Text(StringBuilder::new()),
            InputKind::Integer => Values::Integer(Int64Builder::new()),
            InputKind::Number => Values::Number(Float64Builder::new()),
            InputKind::Boolean => Values::Boolean(BooleanBuilder::new()),
            InputKind::Timestamp => {
                let reader = TimeReader::new(column.format.as_deref(), zone).ok_or_else(|| {
                    IngestError::Contract(format!("column `{}` has a time format that is none", column.name))
                })?;
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_timezone(zone.name()), reader)
            }
        };
        let is_time = column.name == dataset.time.column;
        let bound = |local: Option<chrono::NaiveDateTime>| local.map(|local| zone.start_of_local(local).0);
        Ok(ColumnBuilder {
            name: column.name.as_str().into(),
            values,
            missing: column.missing.iter().map(|code| code.trim_ascii().as_bytes().to_vec()).collect(),
            missing_numbers: match column.kind {
                InputKind::Integer | InputKind::Number => {
                    column.missing.iter().filter_map(|code| number(Cell::Text(code.as_bytes())).ok()).collect()
                }
                _ => Vec::new(),
            },
            min: column.min.unwrap_or(f64::NEG_INFINITY),
            max: column.max.unwrap_or(f64::INFINITY),
            on_invalid: column.on_invalid,
            required: column.required || is_time,
            time: is_time.then(|| TimeRange {
                from: bound(dataset.time.valid_from).unwrap_or(i64::MIN),
                until: bound(dataset.time.valid_until).unwrap_or(i64::MAX),
                clock: i64::MAX,
            }),
            exact: match (measure, column.kind) {
                (Some(decimals), InputKind::Number) => Some(Exact { decimals, values: Int64Builder::new() }),
                _ => None,
            },
            nulled: 0,
        })
    }

    /// Tells the event time column what the node's clock shows.
    pub fn set_clock(&mut self, now: UtcMicros) {
        if let Some(range) = &mut self.time {
            range.clock = now.after(AHEAD_OF_CLOCK_MAX).0;
        }
    }

    /// Takes the next row's cell. On an error the row is rejected, and the column holds a null in its place.
    pub fn push(&mut self, cell: Cell<'_>) -> Result<(), Reason> {
        let (taken, result) = match self.take(cell) {
            Ok(Taken::Null) if self.required => (Taken::Null, Err(Reason::Missing)),
            Ok(taken) => (taken, Ok(())),
            Err(_) if self.on_invalid == OnInvalid::Null && !self.required => {
                self.nulled += 1;
                (Taken::Null, Ok(()))
            }
            Err(reason) => (Taken::Null, Err(reason)),
        };
        self.append(taken);
        result
    }

    /// Puts a null for a row that is rejected on account of another column.
    pub fn push_null(&mut self) {
        self.append(Taken::Null);
    }

    /// What the contract makes of the cell.
    fn take<'a>(&mut self, cell: Cell<'a>) -> Result<Taken<'a>, Reason> {
        if self.is_missing(cell) {
            return Ok(Taken::Null);
        }
        match &mut self.values {
            Values::Text(_) => Ok(cell.text()?.map_or(Taken::Null, Taken::Text)),
            Values::Boolean(_) => boolean(cell).map(Taken::Boolean),
            Values::Timestamp(_, reader) => {
                let at = reader.read(cell)?;
                self.time.map_or(Ok(()), |range| range.check(at))?;
                Ok(Taken::Timestamp(at))
            }
            Values::Integer(_) => {
                let value = integer(cell)?;
                Ok(self.in_range(value as f64)?.map_or(Taken::Null, |_| Taken::Integer(value)))
            }
            Values::Number(_) => {
                let value = number(cell)?;
                let Some(value) = self.in_range(value)? else {
                    return Ok(Taken::Null);
                };
                let exact = match &self.exact {
                    Some(exact) => parse_half_even(&cell.text()?.unwrap_or_default(), exact.decimals).map_err(unfit)?,
                    None => 0,
                };
                Ok(Taken::Number(value, exact))
            }
        }
    }

    fn is_missing(&self, cell: Cell<'_>) -> bool {
        match cell {
            Cell::Null => true,
            Cell::Text(bytes) => {
                let text = bytes.trim_ascii();
                text.is_empty() || self.missing.iter().any(|code| code == text)
            }
            // numbers are held against `missing_numbers` once they are read
            _ if self.missing.len() == self.missing_numbers.len() => false,
            _ => {
                let text = cell.text().ok().flatten().unwrap_or_default();
                self.missing.iter().any(|code| code == text.as_bytes())
            }
        }
    }

    /// The number, None where it is a code for "no value".
    fn in_range(&self, value: f64) -> Result<Option<f64>, Reason> {
        if self.missing_numbers.contains(&value) {
            return Ok(None);
        }
        check_range(value, self.min, self.max).map(|()| Some(value))
    }

    fn append(&mut self, taken: Taken<'_>) {
        if let Some(exact) = &mut self.exact {
            exact.values.append_option(if let Taken::Number(_, exact) = taken { Some(exact) } else { None });
        }
        match (&mut self.values, taken) {
            (Values::Text(builder), Taken::Text(text)) => builder.append_value(text),
            (Values::Text(builder), _) => builder.append_null(),
            (Values::Integer(builder), Taken::Integer(value)) => builder.append_value(value),
            (Values::Integer(builder), _) => builder.append_null(),
            (Values::Number(builder), Taken::Number(value, _)) => builder.append_value(value),
            (Values::Number(builder), _) => builder.append_null(),
            (Values::Timestamp(builder, _), Taken::Timestamp(at)) => builder.append_value(at),
            (Values::Timestamp(builder, _), _) => builder.append_null(),
            (Values::Boolean(builder), Taken::Boolean(value)) => builder.append_value(value),
            (Values::Boolean(builder), _) => builder.append_null(),
        }
    }

    /// Bytes of text so far.
    pub fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text(builder) => builder.values_slice().len(),
            _ => 0,
        }
    }

    /// The column so far, and its exact decimals where it is a measure. The builder starts anew.
    pub fn finish(&mut self) -> (ArrayRef, Option<ArrayRef>) {
        let array: ArrayRef = match &mut self.values {
            Values::Text(builder) => Arc::new(builder.finish()),
            Values::Integer(builder) => Arc::new(builder.finish()),
            Values::Number(builder) => Arc::new(builder.finish()),
            Values::Timestamp(builder, _) => Arc::new(builder.finish()),
            Values::Boolean(builder) => Arc::new(builder.finish()),
        };
        (array, self.exact.as_mut().map(|exact| Arc::new(exact.values.finish()) as ArrayRef))
    }
}

impl TimeRange {
    fn check(self, at: i64) -> Result<(), Reason> {
        match at {
            _ if at < self.from || at >= self.until => Err(Reason::TimeOutOfRange),
            _ if at > self.clock => Err(Reason::AheadOfClock),
            _ => Ok(()),
        }
    }
}

/// Holds a number against its valid range.
pub(super) fn check_range(value: f64, min: f64, max: f64) -> Result<(), Reason> {
    match value {
        _ if value < min => Err(Reason::TooSmall),
        _ if value > max => Err(Reason::TooLarge),
        _ => Ok(()),
    }
}

/// What a number that is no measure's value is called in a report.
pub(super) fn unfit(error: NumberError) -> Reason {
    match error {
        NumberError::TooLarge | NumberError::Overflow | NumberError::TooManyDecimals => Reason::TooManyDigits,
        NumberError::NotANumber | NumberError::NotFinite => Reason::NotNumber,
    }
}
