//! One value as a file holds it, and what the contract's kinds read from it.

use std::borrow::Cow;

use civicmesh_model::contract::InputKind;

use super::reject::Reason;

/// A value as it stands in a file: text in CSV, one of several types in NDJSON and Parquet.
#[derive(Clone, Copy)]
pub(super) enum Cell<'a> {
    /// No value.
    Null,
    Text(&'a [u8]),
    Integer(i64),
    Single(f32),
    Double(f64),
    Boolean(bool),
    /// Microseconds since 1970 of an instant.
    Instant(i64),
    /// Microseconds since 1970 on a clock of unknown zone.
    Local(i64),
    /// A list or an object.
    Nested,
}

impl<'a> Cell<'a> {
    /// The value as text, as a CSV file would hold it. None for what has no value, or no text.
    ///
    /// A number of JSON or Parquet gives the shortest decimal that reads back as itself, so that the same figures
    /// are the same measures in every format.
    pub fn text(self) -> Result<Option<Cow<'a, str>>, Reason> {
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::Text(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Single(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(number.to_string()),
            Self::Boolean(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Instant(micros) | Self::Local(micros) => Cow::Owned(written(micros)),
            Self::Nested => return Err(Reason::Nested),
        }))
    }

    /// What a report shows of the value.
    pub fn shown(self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            cell => cell.text().ok().flatten().unwrap_or_default().into_owned(),
        }
    }
}

/// ISO 8601; midnight is written as the date alone, which is how a date comes out of a typed file.
fn written(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let format = if micros % DAY == 0 { "%Y-%m-%d" } else { "%Y-%m-%dT%H:%M:%S%.f" };
    let time = chrono::DateTime::from_timestamp_micros(micros);
    time.map(|time| time.format(format).to_string()).unwrap_or_default()
}

/// The word for a kind, with its article.
pub(super) fn kind_word(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Text => "text",
        InputKind::Integer => "an integer",
        InputKind::Number => "a number",
        InputKind::Timestamp => "a timestamp",
        InputKind::Boolean => "a boolean",
    }
}

/// Reads a whole number; `12.0` and `1.2e1` are whole.
pub(super) fn integer(cell: Cell<'_>) -> Result<i64, Reason> {
    let whole = |number: f64| match number {
        // beyond 2^53 a Float64 skips whole numbers
        _ if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => Ok(number as i64),
        _ => Err(Reason::NotInteger),
    };
    match cell {
        Cell::Integer(number) => Ok(number),
        Cell::Single(number) => whole(number.into()),
        Cell::Double(number) => whole(number),
        Cell::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?.trim_ascii();
            text.parse().or_else(|_| number(cell).map_err(|_| Reason::NotInteger).and_then(whole))
        }
        Cell::Nested => Err(Reason::Nested),
        Cell::Null | Cell::Boolean(_) | Cell::Instant(_) | Cell::Local(_) => Err(Reason::NotInteger),
    }
}

/// Reads a finite number.
pub(super) fn number(cell: Cell<'_>) -> Result<f64, Reason> {
    let number = match cell {
        Cell::Integer(number) => number as f64,
        Cell::Single(number) => number.to_string().parse().map_err(|_| Reason::NotNumber)?,
        Cell::Double(number) => number,
        Cell::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?;
            text.trim_ascii().parse().map_err(|_| Reason::NotNumber)?
        }
        Cell::Nested => return Err(Reason::Nested),
        Cell::Null | Cell::Boolean(_) | Cell::Instant(_) | Cell::Local(_) => {
            return Err(Reason::NotNumber);
        }
    };
    if f64::is_finite(number) { Ok(number) } else { Err(Reason::NotNumber) }
}

/// Reads true or false, as people and programs write them.
pub(super) fn boolean(cell: Cell<'_>) -> Result<bool, Reason> {
    match cell {
        Cell::Boolean(value) => Ok(value),
        Cell::Integer(number @ 0..=1) => Ok(number == 1),
        Cell::Text(bytes) => match bytes.trim_ascii().to_ascii_lowercase().as_slice() {
            b"true" | b"t" | b"yes" | b"y" | b"1" => Ok(true),
            b"false" | b"f" | b"no" | b"n" | b"0" => Ok(false),
            _ => Err(Reason::NotBoolean),
        },
        Cell::Nested => Err(Reason::Nested),
        _ => Err(Reason::NotBoolean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell<'_> {
        Cell::Text(text.as_bytes())
    }

    #[test]
    fn whole_numbers_may_be_written_as_decimals() {
        for (cell, value) in [
            (text("7"), 7),
            (text(" -7 "), -7),
            (text("+7"), 7),
            (text("7.0"), 7),
            (text("7e2"), 700),
            (Cell::Double(7.0), 7),
            (text("9223372036854775807"), i64::MAX),
        ] {
            assert_eq!(integer(cell), Ok(value));
        }
        for cell in
            [text("7.5"), text(""), text("x"), text("1e300"), text("inf"), Cell::Double(0.5), Cell::Boolean(true)]
        {
            assert_eq!(integer(cell), Err(Reason::NotInteger));
        }
        assert_eq!(integer(Cell::Text(b"\xff")), Err(Reason::NotUtf8));
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(number(text(" 1.5e1 ")), Ok(15.0));
        assert_eq!(number(Cell::Single(0.1)), Ok(0.1), "the figure that was meant, not its binary neighbour");
        for cell in [text("NaN"), text("inf"), text("1e999"), text("1,5"), Cell::Double(f64::NAN), Cell::Null] {
            assert_eq!(number(cell), Err(Reason::NotNumber));
        }
        assert_eq!(number(Cell::Nested), Err(Reason::Nested));
    }

    #[test]
    fn yes_is_true() {
        assert_eq!(boolean(text(" Yes")), Ok(true));
        assert_eq!(boolean(text("0")), Ok(false));
        assert_eq!(boolean(Cell::Integer(1)), Ok(true));
        assert_eq!(boolean(text("2")), Err(Reason::NotBoolean));
    }

    #[test]
    fn every_format_gives_the_same_text() {
        for (cell, expected) in [
            (text("2.675"), "2.675"),
            (Cell::Double(2.675), "2.675"),
            (Cell::Single(2.675), "2.675"),
            (Cell::Integer(-3), "-3"),
            (Cell::Boolean(true), "true"),
            (Cell::Instant(1_500_000), "1970-01-01T00:00:01.500"),
            (Cell::Local(86_400_000_000), "1970-01-02"),
        ] {
            assert_eq!(cell.text().unwrap().unwrap(), expected);
        }
        assert_eq!(Cell::Null.text(), Ok(None));
        assert_eq!(Cell::Text(b"\xff").shown(), "\u{fffd}");
    }
}
