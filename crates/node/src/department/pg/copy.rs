//! `COPY (question) TO STDOUT`: answers as PostgreSQL's binary, text or CSV form of COPY.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::CopyResponse;
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::copy::CopyData;
use datafusion_postgres::pgwire::messages::data::DataRow;
use futures::stream;

use super::failure::refuse;
use super::pieces::bare;
use super::rows::Rows;

/// What a binary copy begins with: its signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
const BINARY_TRAILER: &[u8] = &[0xff, 0xff];

/// A question whose answer is copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub sql: String,
    pub form: Form,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Binary,
    Text,
    /// With the columns' names before the rows, or without.
    Csv {
        header: bool,
    },
}

impl Copy {
    /// The copy that this text asks for; none if it is no COPY.
    ///
    /// # Errors
    /// It copies in, or to somewhere else, or in a form that there is not.
    pub(super) fn read(sql: &str) -> PgWireResult<Option<Copy>> {
        let sql = bare(sql);
        let Some(rest) = after_word(sql, "COPY") else { return Ok(None) };
        let instead = "write COPY (SELECT …) TO STDOUT, with FORMAT binary, text or csv";
        let (question, rest) = match rest.strip_prefix('(') {
            Some(inner) => {
                let end = closing(inner).ok_or_else(|| refuse("42601", format!("an open bracket; {instead}")))?;
                (inner[..end].to_owned(), &inner[end + 1..])
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (format!("SELECT * FROM {}", &rest[..end]), &rest[end..])
            }
        };
        let Some(rest) = after_word(rest.trim_start(), "TO").and_then(|rest| after_word(rest, "STDOUT")) else {
            return Err(refuse("25006", format!("nothing is copied into a node or its files; {instead}")));
        };
        let form =
            form(rest).ok_or_else(|| refuse("0A000", format!("options of COPY that are not known; {instead}")))?;
        Ok(Some(Copy { sql: question, form }))
    }
}

/// What comes after this word, if the text begins with it.
fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let start = text.get(..word.len())?;
    let rest = &text[word.len()..];
    let ends = rest.is_empty() || rest.starts_with(|letter: char| letter.is_whitespace() || letter == '(');
    (start.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

/// Where the bracket that is open at the start is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => return Some(at),
            (None, ')') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The form that the options ask for, in brackets or in the older way without.
fn form(options: &str) -> Option<Form> {
    let options = after_word(options, "WITH").unwrap_or(options).to_ascii_lowercase();
    let words: Vec<&str> = options
        .split(|letter: char| letter.is_whitespace() || "(),\"'".contains(letter))
        .filter(|word| !word.is_empty())
        .collect();
    let (mut form, mut has_header) = (Form::Text, false);
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word {
            "format" => {}
            "binary" => form = Form::Binary,
            "text" => form = Form::Text,
            "csv" => form = Form::Csv { header: false },
            "header" => {
                has_header = !matches!(words.peek(), Some(&"false" | &"off" | &"0"));
                words.next_if(|word| ["true", "on", "1", "false", "off", "0"].contains(word));
            }
            "encoding" => drop(words.next_if(|word| ["utf8", "utf-8"].contains(word))?),
            _ => return None,
        }
    }
    match form {
        Form::Csv { .. } => Some(Form::Csv { header: has_header }),
        form => (!has_header).then_some(form),
    }
}

impl Form {
    /// The format of the values that rows are made of.
    pub(super) fn values(self) -> Format {
        match self {
            Form::Binary => Format::UnifiedBinary,
            Form::Text | Form::Csv { .. } => Format::UnifiedText,
        }
    }

    /// The rows, written so.
    pub(super) fn response(self, rows: Rows) -> CopyResponse {
        let names: Vec<String> = rows.fields().iter().map(|field| field.name().to_owned()).collect();
        let columns = names.len();
        let mut rows = rows.peekable();
        let is_empty = rows.peek().is_none();
        let mut before = match self {
            Form::Binary => BytesMut::from(BINARY_HEADER),
            Form::Csv { header: true } => csv(names.iter().map(|name| Some(name.as_bytes()))),
            _ => BytesMut::new(),
        };
        let mut after = (self == Form::Binary).then(|| BytesMut::from(BINARY_TRAILER));
        // the first row comes with what is before it, so that as many messages are counted as there are rows
        if is_empty {
            before.extend_from_slice(&after.take().unwrap_or_default());
            after = (!before.is_empty()).then(|| std::mem::take(&mut before));
        }
        let written = rows.map(move |row| -> PgWireResult<CopyData> {
            let mut written = std::mem::take(&mut before);
            written.extend_from_slice(&self.write(row?));
            Ok(CopyData::new(written.freeze()))
        });
        let after = after.map(|after| Ok(CopyData::new(after.freeze())));
        let mut response = CopyResponse::new(0, columns, stream::iter(written.chain(after)));
        response.format = i8::from(self == Form::Binary);
        response
    }

    fn write(self, row: DataRow) -> BytesMut {
        match self {
            Form::Binary => {
                let mut out = BytesMut::with_capacity(row.data.len() + 2);
                out.put_i16(row.field_count);
                out.extend_from_slice(&row.data);
                out
            }
            Form::Text => text(values(row.data.freeze()).iter().map(|value| value.as_deref())),
            Form::Csv { .. } => csv(values(row.data.freeze()).iter().map(|value| value.as_deref())),
        }
    }
}

/// The values of a row: each has its length before it, or less than zero for null.
fn values(mut row: Bytes) -> Vec<Option<Bytes>> {
    let mut values = Vec::new();
    while row.remaining() >= 4 {
        let length = usize::try_from(row.get_i32()).ok();
        values.push(length.map(|length| row.split_to(length.min(row.remaining()))));
    }
    values
}

fn text<'v>(values: impl Iterator<Item = Option<&'v [u8]>>) -> BytesMut {
    let mut out = BytesMut::new();
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.put_u8(b'\t');
        }
        for byte in value.unwrap_or(b"\\N") {
            match (byte, value) {
                (b'\t', _) => out.put_slice(b"\\t"),
                (b'\n', _) => out.put_slice(b"\\n"),
                (b'\r', _) => out.put_slice(b"\\r"),
                (b'\\', Some(_)) => out.put_slice(b"\\\\"),
                (byte, _) => out.put_u8(*byte),
            }
        }
    }
    out.put_u8(b'\n');
    out
}

/// What could be taken for something else is quoted; so is an empty text, since nothing at all is null.
fn csv<'v>(values: impl Iterator<Item = Option<&'v [u8]>>) -> BytesMut {
    let mut out = BytesMut::new();
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        let Some(value) = value else { continue };
        if value.is_empty() || value == b"\\." || value.iter().any(|byte| b",\"\r\n".contains(byte)) {
            out.put_u8(b'"');
            for byte in value {
                if *byte == b'"' {
                    out.put_u8(b'"');
                }
                out.put_u8(*byte);
            }
            out.put_u8(b'"');
        } else {
            out.put_slice(value);
        }
    }
    out.put_u8(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_with_its_question_and_form() {
        let copy = |sql: &str, form| Some(Copy { sql: sql.to_owned(), form });
        for (sql, read) in [
            ("COPY (SELECT 1) TO STDOUT (FORMAT binary)", copy("SELECT 1", Form::Binary)),
            (
                "copy (SELECT ')', (1)) to stdout with (format \"csv\", header true)",
                copy("SELECT ')', (1)", Form::Csv { header: true }),
            ),
            ("COPY (SELECT 1) TO STDOUT WITH CSV HEADER", copy("SELECT 1", Form::Csv { header: true })),
            ("COPY (SELECT 1) TO STDOUT BINARY", copy("SELECT 1", Form::Binary)),
            ("COPY(SELECT 1)TO STDOUT", copy("SELECT 1", Form::Text)),
            ("COPY traffic.taxi TO STDOUT", copy("SELECT * FROM traffic.taxi", Form::Text)),
            ("SELECT copy FROM a", None),
        ] {
            assert_eq!(Copy::read(sql).unwrap(), read, "{sql}");
        }
        for wrong in [
            "COPY taxi FROM STDIN",
            "COPY (SELECT 1) TO '/etc/passwd'",
            "COPY (SELECT 1) TO PROGRAM 'sh'",
            "COPY (SELECT 1",
            "COPY (SELECT 1) TO STDOUT (FORMAT parquet)",
            "COPY (SELECT 1) TO STDOUT (DELIMITER ';')",
        ] {
            assert!(Copy::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn null_and_what_needs_quotes_are_told_apart() {
        let values = [Some(b"a,\"b\"".as_slice()), None, Some(b""), Some(b"x\ty\\\n"), Some(b"plain")];
        assert_eq!(&csv(values.into_iter())[..], b"\"a,\"\"b\"\"\",,\"\",\"x\ty\\\n\",plain\n");
        assert_eq!(&text(values.into_iter())[..], b"a,\"b\"\t\\N\t\tx\\ty\\\\\\n\tplain\n");
    }
}
