//! Delimited text (CSV) as records of fields.
//!
//! The rules are those of RFC 4180, read so that a broken record costs itself alone. Three things that general
//! readers do not do are why this is not one of them: each of `\n`, `\r\n` and `\r` ends a line, also mixed in one
//! file, and lines are counted as an editor counts them; a quote that is never closed, or closed in the middle of a
//! field, rejects the line that it stands on and reading goes on at the next line (a general reader swallows the
//! file up to the next quote); and a record has a greatest length. On well-formed text it gives what the `csv` crate
//! gives: a property test holds the two together.

use memchr::{memchr, memchr3};

use super::error::IngestError;
use super::reject::Reason;
use super::spool::Content;
use super::window::Window;

/// Records of a delimited text.
pub(super) struct Records {
    window: Window,
    delimiter: u8,
    /// Where the fields of the record in view are.
    fields: Vec<Field>,
    /// Bytes of the record in view and of its line end; they are passed by when the next one is asked for.
    length: usize,
    /// The physical line on which the next record starts, counted from 1.
    line: u64,
}

/// Where a field stands, counted from the first byte of its record, without its quotes.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    /// Whether a quote is written twice in it.
    escaped: bool,
}

/// What comes next in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A record, whose fields are in view.
    Record {
        /// The line on which it starts.
        line: u64,
    },
    /// A line that is no record; its start is shown.
    Broken { line: u64, reason: Reason, start: Vec<u8> },
    /// The end.
    End,
}

/// What a look at the bytes in view found.
enum Scan {
    /// A record of `length` bytes, its line end included, that spans `lines` lines.
    Record { length: usize, lines: u64 },
    /// A line with nothing on it.
    Blank { length: usize },
    /// More bytes are needed to tell.
    More,
    /// No record.
    Broken(Reason),
    /// Nothing is left.
    End,
}

/// Bytes of a broken line that are kept for the report.
const BROKEN_BYTES_MAX: usize = 200;

impl Records {
    pub fn new(content: Content, delimiter: u8) -> Result<Self, IngestError> {
        Ok(Records { window: Window::new(content)?, delimiter, fields: Vec::new(), length: 0, line: 1 })
    }

    /// Bytes of the file on disk consumed so far.
    pub fn consumed(&self) -> u64 {
        self.window.consumed()
    }

    /// How many fields the record in view has.
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// A field of the record in view, without its quotes.
    pub fn field(&self, index: usize) -> &[u8] {
        let Field { start, end, .. } = self.fields[index];
        &self.window.rest()[start..end]
    }

    /// The start of the record in view, as it stands in the file.
    pub fn start(&self) -> &[u8] {
        line_start(&self.window.rest()[..self.length])
    }

    /// Goes on to what comes next. Blank lines are passed over.
    pub fn next(&mut self) -> Result<Next, IngestError> {
        self.window.pass(self.length);
        self.length = 0;
        loop {
            match scan(self.window.rest(), self.window.ended(), self.delimiter, &mut self.fields) {
                Scan::Record { length, lines } => {
                    let line = self.line;
                    self.length = length;
                    self.line += lines;
                    for field in self.fields.iter_mut().filter(|field| field.escaped) {
                        unescape(self.window.rest_mut(), field);
                    }
                    return Ok(Next::Record { line });
                }
                Scan::Blank { length } => {
                    self.window.pass(length);
                    self.line += 1;
                }
                Scan::More if self.window.is_full() => return self.broken(Reason::TooLong),
                Scan::More => self.window.fill()?,
                Scan::Broken(reason) => return self.broken(reason),
                Scan::End => return Ok(Next::End),
            }
        }
    }

    /// Passes by the line in view as one that is no record.
    fn broken(&mut self, reason: Reason) -> Result<Next, IngestError> {
        let start = line_start(self.window.rest()).to_vec();
        let line = self.line;
        self.window.pass_line()?;
        self.line += 1;
        Ok(Next::Broken { line, reason, start })
    }
}

fn line_start(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().take(BROKEN_BYTES_MAX).position(|byte| matches!(byte, b'\r' | b'\n'));
    &bytes[..end.unwrap_or(bytes.len().min(BROKEN_BYTES_MAX))]
}

/// Finds the record at the start of `bytes`; `ended` says that nothing comes after them.
fn scan(bytes: &[u8], ended: bool, delimiter: u8, fields: &mut Vec<Field>) -> Scan {
    fields.clear();
    let blank = match bytes.first() {
        None => return if ended { Scan::End } else { Scan::More },
        Some(first) => matches!(first, b'\n' | b'\r'),
    };
    let (mut at, mut lines) = (0, 0);
    loop {
        if bytes.get(at) == Some(&b'"') {
            match quoted(bytes, at + 1, ended, delimiter) {
                Ok(field) => {
                    lines += line_ends(&bytes[field.start..field.end]);
                    at = field.end + 1;
                    fields.push(field);
                }
                Err(scan) => return scan,
            }
        } else {
            let end = match memchr3(delimiter, b'\n', b'\r', &bytes[at..]) {
                Some(length) => at + length,
                None if ended => bytes.len(),
                None => return Scan::More,
            };
            fields.push(Field { start: at, end, escaped: false });
            at = end;
        }
        match bytes.get(at) {
            Some(&byte) if byte == delimiter => at += 1,
            Some(b'\r') if at + 1 == bytes.len() && !ended => return Scan::More,
            separator => {
                let length = match separator {
                    None => at,
                    Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => at + 2,
                    Some(_) => at + 1,
                };
                return if blank { Scan::Blank { length } } else { Scan::Record { length, lines: lines + 1 } };
            }
        }
    }
}

/// The quoted field whose content starts at `start`.
fn quoted(bytes: &[u8], start: usize, ended: bool, delimiter: u8) -> Result<Field, Scan> {
    let (mut from, mut escaped) = (start, false);
    loop {
        let Some(length) = memchr(b'"', &bytes[from..]) else {
            return Err(if ended { Scan::Broken(Reason::OpenQuote) } else { Scan::More });
        };
        let end = from + length;
        match bytes.get(end + 1) {
            Some(b'"') => (from, escaped) = (end + 2, true),
            Some(&byte) if byte == delimiter || matches!(byte, b'\n' | b'\r') => {
                return Ok(Field { start, end, escaped });
            }
            None if ended => {
                return Ok(Field { start, end, escaped });
            }
            None => return Err(Scan::More),
            Some(_) => return Err(Scan::Broken(Reason::StrayQuote)),
        }
    }
}

/// Line ends within a field.
fn line_ends(bytes: &[u8]) -> u64 {
    memchr::memchr2_iter(b'\n', b'\r', bytes)
        .filter(|&at| bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'))
        .count() as u64
}

/// Writes each doubled quote of a field once, in place.
fn unescape(record: &mut [u8], field: &mut Field) {
    let (mut from, mut to) = (field.start, field.start);
    while from < field.end {
        record[to] = record[from];
        from += if record[from] == b'"' { 2 } else { 1 };
        to += 1;
    }
    field.end = to;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::spool::Consumed;

    /// Hands out a few bytes at a time, so that records straddle reads.
    struct Trickle(std::io::Cursor<Vec<u8>>, usize);

    impl std::io::Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    fn records(text: &[u8], step: usize) -> Records {
        let bytes = Box::new(Trickle(std::io::Cursor::new(text.to_vec()), step));
        Records::new(Content { bytes, consumed: Consumed::default() }, b',').unwrap()
    }

    /// Each record as (line, fields), each broken line as (line, reason).
    type Found = (Vec<(u64, Vec<String>)>, Vec<(u64, Reason)>);

    fn read(text: &[u8], step: usize) -> Found {
        let mut records = records(text, step);
        let mut found = Found::default();
        loop {
            match records.next().unwrap() {
                Next::Record { line } => {
                    let fields =
                        (0..records.width()).map(|index| String::from_utf8_lossy(records.field(index)).into_owned());
                    found.0.push((line, fields.collect()));
                }
                Next::Broken { line, reason, .. } => found.1.push((line, reason)),
                Next::End => return found,
            }
        }
    }

    fn fields(list: &[&str]) -> Vec<String> {
        list.iter().map(|&field| field.to_owned()).collect()
    }

    #[test]
    fn line_ends_may_be_mixed_and_lines_are_counted_as_an_editor_does() {
        let text = b"\xef\xbb\xbfa,b\r\n1,2\r3,4\n\n\r\n5,\"x\r\ny\nz\"\r\n6,7";
        for step in [1, 2, 3, 100] {
            let (rows, broken) = read(text, step);
            let expected = [
                (1, fields(&["a", "b"])),
                (2, fields(&["1", "2"])),
                (3, fields(&["3", "4"])),
                (6, fields(&["5", "x\r\ny\nz"])),
                (9, fields(&["6", "7"])),
            ];
            assert_eq!(rows, expected, "in steps of {step}");
            assert_eq!(broken, []);
        }
    }

    #[test]
    fn a_broken_quote_costs_its_own_line() {
        let text = b"a,b\n\"never closed,2\n3,\"fine, \"\"quoted\"\"\"\n\"closed\"early,5\n6,7\n";
        let (rows, broken) = read(text, 5);
        let lines: Vec<u64> = rows.iter().map(|row| row.0).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(rows[1].1, fields(&["3", "fine, \"quoted\""]));
        assert_eq!(broken, [(2, Reason::StrayQuote), (4, Reason::StrayQuote)]);
        let (rows, broken) = read(b"1,2\n\"open,4\n5,6\n", 100);
        assert_eq!(rows.len(), 2);
        assert_eq!(broken, [(2, Reason::OpenQuote)]);
    }

    #[test]
    fn an_endless_line_is_passed_by() {
        let mut text = vec![b'x'; super::super::window::RECORD_BYTES_MAX * 5 / 2];
        text.extend_from_slice(b"\r\n1,2\n");
        let (rows, broken) = read(&text, 1 << 16);
        assert_eq!(rows, [(2, fields(&["1", "2"]))]);
        assert_eq!(broken, [(1, Reason::TooLong)]);
    }

    #[test]
    fn empty_fields_at_the_end_count() {
        assert_eq!(read(b"a,", 9).0, [(1, fields(&["a", ""]))]);
        assert_eq!(read(b",\n\"\"\n", 9).0, [(1, fields(&["", ""])), (2, fields(&[""]))]);
        assert_eq!(read(b"", 9), Found::default());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(text in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..200),
            step in 1_usize..40,
        ) {
            let whole = read(&text, 1 << 20);
            prop_assert_eq!(&read(&text, step), &whole, "the split into reads changed what was read");
        }

        #[test]
        fn well_formed_text_reads_as_the_csv_crate_reads_it(
            rows in proptest::collection::vec(proptest::collection::vec("[a\",\n\r é]{0,6}", 2..5), 0..20),
            step in 1_usize..40,
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
            let theirs: Vec<Vec<String>> =
                reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
            let (ours, broken) = read(&text, step);
            prop_assert_eq!(broken, []);
            prop_assert_eq!(ours.into_iter().map(|row| row.1).collect::<Vec<_>>(), theirs);
        }
    }
}
