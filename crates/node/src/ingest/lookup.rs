//! Lookups: from a code in the file to a value, through a file of codes beside the contract.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use civicmesh_model::contract::{InputKind, Lookup as Terms, UnknownCode};

use super::cell::{Cell, integer};
use super::delimited::{Next, Records};
use super::error::IngestError;
use super::reject::Reason;
use super::spool::{Format, Spool};
use super::table::Chunk;

/// Most rows of a lookup's file.
const LOOKUP_ROWS_MAX: u64 = 1_000_000;
/// Largest lookup file, in bytes as it lies on disk.
const LOOKUP_BYTES_MAX: u64 = 64 << 20;

/// A lookup that is loaded.
pub(super) struct Lookup {
    name: Arc<str>,
    /// The place of the column that holds the code.
    column: usize,
    codes: Codes,
    unknown: UnknownCode,
}

/// The value of each code. Codes of an integer column are compared as numbers: `07` is 7.
enum Codes {
    Integer(HashMap<i64, Arc<str>>),
    Text(HashMap<String, Arc<str>>),
}

impl Lookup {
    /// Loads the file of `terms` from the contract's `folder`. The code stands in the `column`-th column, of `kind`.
    pub fn load(terms: &Terms, folder: &Path, column: usize, kind: InputKind) -> Result<Self, IngestError> {
        let wrong = |message: String| IngestError::Lookup { lookup: terms.name.clone(), message };
        let entries = read(terms, folder).map_err(|fault| match fault {
            Fault::Ingest(error) => wrong(format!("{}: {error}", terms.file)),
            Fault::Message(message) => wrong(format!("{}: {message}", terms.file)),
        })?;
        let codes = match kind {
            InputKind::Integer => {
                let number = |code: &str| integer(Cell::Text(code.as_bytes())).ok();
                Codes::Integer(entries.into_iter().filter_map(|(code, value)| Some((number(&code)?, value))).collect())
            }
            _ => Codes::Text(entries),
        };
        Ok(Lookup { name: terms.name.as_str().into(), column, codes, unknown: terms.unknown.clone() })
    }

    /// Adds the lookup's column to `chunk`. Rows with a code that it does not have are rejected, or get the value
    /// that the contract states.
    pub fn apply(&self, chunk: &mut Chunk) -> Result<(), IngestError> {
        let codes = chunk.columns[self.column].clone();
        let mut values = StringBuilder::with_capacity(codes.len(), codes.len() * 8);
        let mut unknown = Vec::new();
        let mut add = |row: usize, value: Option<&Arc<str>>| match (value, &self.unknown) {
            (Some(value), _) => values.append_value(value),
            (None, UnknownCode::Value(stated)) => values.append_value(stated),
            (None, UnknownCode::Reject) => {
                unknown.push((row, Reason::UnknownCode));
                values.append_null();
            }
        };
        match &self.codes {
            Codes::Integer(map) => {
                let codes = codes.as_primitive::<Int64Type>();
                (0..codes.len()).for_each(|row| {
                    add(row, codes.is_valid(row).then(|| map.get(&codes.value(row))).flatten());
                });
            }
            Codes::Text(map) => {
                let codes = text(&codes, &self.name)?;
                (0..codes.len()).for_each(|row| {
                    add(row, codes.is_valid(row).then(|| map.get(codes.value(row).trim_ascii())).flatten());
                });
            }
        }
        chunk.columns.push(Arc::new(values.finish()));
        chunk.exact.push(None);
        chunk.reject(&unknown, &self.name, Some(codes.as_ref()));
        Ok(())
    }
}

/// A column as text.
pub(super) fn text(array: &ArrayRef, column: &str) -> Result<StringArray, IngestError> {
    let text = cast(array, &DataType::Utf8)
        .map_err(|_| IngestError::Contract(format!("column `{column}` cannot be written as text")))?;
    Ok(text.as_string::<i32>().clone())
}

/// Why a lookup's file cannot be read: the file's own fault, or ours with a message.
enum Fault {
    Ingest(IngestError),
    Message(String),
}

impl From<IngestError> for Fault {
    fn from(error: IngestError) -> Self {
        Self::Ingest(error)
    }
}

/// Code and value of each row of the file. The same pair twice is one; a code with two values is refused. A row
/// without code or value says nothing.
fn read(terms: &Terms, folder: &Path) -> Result<HashMap<String, Arc<str>>, Fault> {
    let spool = Spool::open(&folder.join(&terms.file), &terms.file)?;
    if spool.bytes > LOOKUP_BYTES_MAX {
        return Err(Fault::Message(format!("larger than {} MiB", LOOKUP_BYTES_MAX >> 20)));
    }
    if spool.format != Format::Delimited {
        return Err(Fault::Message("is not CSV".to_owned()));
    }
    let delimiter = if terms.file.contains(".tsv") { b'\t' } else { b',' };
    let mut records = Records::new(spool.content()?, delimiter)?;
    let (mut key, mut value, mut width) = (None, None, 0);
    if let Next::Record { .. } = records.next()? {
        width = records.width();
        let place = |name: &str| (0..width).find(|&index| records.field(index).trim_ascii() == name.as_bytes());
        (key, value) = (place(&terms.key), place(&terms.value));
    }
    let lacks = |name: &str| Fault::Message(format!("it has no column `{name}`"));
    let (key, value) = (key.ok_or_else(|| lacks(&terms.key))?, value.ok_or_else(|| lacks(&terms.value))?);
    let mut entries: HashMap<String, (Arc<str>, u64)> = HashMap::new();
    loop {
        let line = match records.next()? {
            Next::Record { line } if records.width() == width => line,
            Next::Record { line } => {
                return Err(Fault::Message(format!("line {line}: {}", Reason::Ragged)));
            }
            Next::Broken { line, reason, .. } => {
                return Err(Fault::Message(format!("line {line}: {reason}")));
            }
            Next::End => break,
        };
        if line > LOOKUP_ROWS_MAX {
            return Err(Fault::Message(format!("more than {LOOKUP_ROWS_MAX} lines")));
        }
        let field = |index| std::str::from_utf8(records.field(index)).map(str::trim_ascii);
        let (Ok(code), Ok(value)) = (field(key), field(value)) else {
            return Err(Fault::Message(format!("line {line}: {}", Reason::NotUtf8)));
        };
        if code.is_empty() || value.is_empty() {
            continue;
        }
        match entries.get(code) {
            None => drop(entries.insert(code.to_owned(), (value.into(), line))),
            Some((first, _)) if **first == *value => {}
            Some((_, first)) => {
                let message = format!("lines {first} and {line} give one code two values; keep one of them");
                return Err(Fault::Message(message));
            }
        }
    }
    Ok(entries.into_iter().map(|(code, (value, _))| (code, value)).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow::array::Int64Array;

    use super::*;

    const ZONES: &str = "LocationID,zone,borough\r\n1,Newark,EWR\r\n56,Corona,Queens\r\n56,Corona,Queens\r\n103,\"Ellis, Liberty\",Manhattan\r\n103,Governor's,Manhattan\r\n264,Unknown,\r\n";

    fn terms(unknown: UnknownCode) -> Terms {
        let text = str::to_owned;
        let (key, value) = (text("LocationID"), text("borough"));
        Terms { name: text("borough"), column: text("zone"), file: text("zones.csv"), key, value, unknown }
    }

    fn load(content: &[u8], unknown: UnknownCode, kind: InputKind) -> Result<Lookup, IngestError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("zones.csv"), content).unwrap();
        Lookup::load(&terms(unknown), folder.path(), 0, kind)
    }

    fn chunk(codes: ArrayRef) -> Chunk {
        let lines = (2..codes.len() as u64 + 2).collect();
        let rows = 0..codes.len() as u64;
        Chunk {
            rows,
            lines,
            columns: vec![codes],
            exact: vec![None],
            rejects: Vec::new(),
            filtered: 0,
            nulled: Default::default(),
        }
    }

    fn boroughs(chunk: &Chunk) -> Vec<&str> {
        chunk.columns[1].as_string::<i32>().iter().flatten().collect()
    }

    #[test]
    fn equal_duplicates_collapse_and_unknown_codes_get_the_stated_value() {
        let lookup = load(ZONES.as_bytes(), UnknownCode::Value("Unknown".into()), InputKind::Integer).unwrap();
        let mut chunk = chunk(Arc::new(Int64Array::from(vec![Some(56), Some(103), Some(264), None, Some(999)])));
        lookup.apply(&mut chunk).unwrap();
        assert_eq!(boroughs(&chunk), ["Queens", "Manhattan", "Unknown", "Unknown", "Unknown"]);
        assert!(chunk.rejects.is_empty());
    }

    #[test]
    fn an_unknown_code_may_reject_its_row() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(ZONES.as_bytes()).unwrap();
        let lookup = load(&gzip.finish().unwrap(), UnknownCode::Reject, InputKind::Text).unwrap();
        let mut chunk = chunk(Arc::new(StringArray::from(vec![" 1 ", "nowhere", "56"])));
        lookup.apply(&mut chunk).unwrap();
        assert_eq!(boroughs(&chunk), ["EWR", "Queens"]);
        let reject = &chunk.rejects[0];
        assert_eq!((reject.line, reject.value.as_str(), reject.reason), (3, "nowhere", Reason::UnknownCode));
    }

    #[test]
    fn two_values_for_one_code_are_refused_with_both_lines() {
        let content = ZONES.replace("56,Corona,Queens\r\n103", "56,Corona,Bronx\r\n103");
        let error = load(content.as_bytes(), UnknownCode::Reject, InputKind::Integer).err().unwrap();
        assert_eq!(
            error.to_string(),
            "lookup `borough`: zones.csv: lines 3 and 4 give one code two values; keep one of them"
        );
    }

    #[test]
    fn a_file_that_does_not_fit_says_why() {
        let message = |content: &str| {
            load(content.as_bytes(), UnknownCode::Reject, InputKind::Integer).err().unwrap().to_string()
        };
        assert!(message("id,borough\n1,x\n").ends_with("it has no column `LocationID`"));
        assert!(message("LocationID,borough\n1\n").contains("line 2: more or fewer fields"));
        assert!(message("").ends_with("the file is empty"));
        let missing = Lookup::load(&terms(UnknownCode::Reject), Path::new("/nonexistent"), 0, InputKind::Text);
        assert!(missing.err().unwrap().to_string().starts_with("lookup `borough`: zones.csv: "));
    }
}
