//! What the `parquet` crate may read of a file: nothing that was not looked at first.
//!
//! The crate asks for the header of a page, then for the page, and reserves what the header claims. Here a header is
//! walked before it is handed over, no page is read past the file's end, and pages that are open at once are bounded:
//! a few packed bytes can unpack to as much as they like.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::error::IngestError;
use super::thrift::{self, Page};

/// Largest page, unpacked, in bytes.
const PAGE_BYTES_MAX: u64 = 128 << 20;
/// Most bytes of all pages that are open at once or were opened for one batch of rows.
const PAGES_BYTES_MAX: u64 = 512 << 20;
/// Longest header of a page, in bytes; it may hold the least and the greatest value.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// Bytes of a header that are read at first.
const HEADER_BYTES: usize = 1 << 10;
/// Encodings whose lengths stand inside the page, where they are not seen before the decoder reserves what they claim:
/// delta length byte array, delta byte array.
const UNCHECKED_ENCODINGS: [i64; 2] = [6, 7];

/// A Parquet file whose pages are looked at before they are decoded.
#[derive(Clone)]
pub(super) struct Pages {
    file: Arc<File>,
    bytes: u64,
    /// End and column of each column chunk, by its start.
    chunks: Arc<BTreeMap<u64, (u64, usize)>>,
    open: Arc<Mutex<Open>>,
}

/// Pages that are open.
#[derive(Default)]
struct Open {
    columns: BTreeMap<usize, OpenColumn>,
    /// Bytes opened for the batch that is read, with those open when it began.
    batch_bytes: u64,
    /// Why a page was refused.
    refused: Option<IngestError>,
}

/// What a column's decoder holds: bytes of the newest dictionary and of the newest page.
#[derive(Default)]
struct OpenColumn {
    chunk: u64,
    dictionary_bytes: u64,
    page_bytes: u64,
}

impl Open {
    /// Keeps the reason, which does not pass through the decoder.
    fn refuse(&mut self, reason: IngestError) -> io::Error {
        self.refused = Some(reason);
        io::ErrorKind::InvalidData.into()
    }
}

impl Pages {
    /// The pages of `file`, which has `bytes` bytes; None if its chunks lie in one another.
    pub fn new(file: File, bytes: u64, metadata: &ParquetMetaData) -> Option<Pages> {
        let mut chunks = BTreeMap::new();
        for group in metadata.row_groups() {
            for (column, chunk) in group.columns().iter().enumerate() {
                let (start, length) = chunk.byte_range();
                if length > 0 && chunks.insert(start, (start.checked_add(length)?, column)).is_some() {
                    return None;
                }
            }
        }
        let mut ends = 0;
        for (&start, &(end, _)) in &chunks {
            if start < ends {
                return None;
            }
            ends = end;
        }
        Some(Pages { file: Arc::new(file), bytes, chunks: Arc::new(chunks), open: Arc::default() })
    }

    /// Says that another batch of rows begins.
    pub fn begin_batch(&self) {
        let mut open = self.open();
        open.batch_bytes = open.columns.values().map(|column| column.dictionary_bytes + column.page_bytes).sum();
    }

    /// Why a page was refused, if one was.
    pub fn refused(&self) -> Option<IngestError> {
        self.open().refused.take()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header at `start`, if its page may be read.
    fn header(&self, start: u64) -> io::Result<Vec<u8>> {
        let mut length = HEADER_BYTES;
        loop {
            let mut bytes = self.read(start, length)?;
            match thrift::read_page(&bytes) {
                Ok(page) => {
                    self.admit(start, &page)?;
                    bytes.truncate(page.header_bytes);
                    return Ok(bytes);
                }
                Err(thrift::Fault::Short) if bytes.len() == length && length < HEADER_BYTES_MAX => length *= 8,
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// At most `length` bytes from `start`.
    fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = self.bytes.saturating_sub(start).min(length as u64) as usize;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    fn admit(&self, start: u64, page: &Page) -> io::Result<()> {
        let Page { unpacked_bytes, packed_bytes, encoding, dictionary_values, .. } = *page;
        let (Ok(unpacked), Ok(packed)) = (u64::try_from(unpacked_bytes), u64::try_from(packed_bytes)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut open = self.open();
        if UNCHECKED_ENCODINGS.contains(&encoding) {
            return Err(open.refuse(IngestError::Foreign {
                what: "Parquet whose texts are delta-encoded",
                mend: "write it with plain or dictionary encoding",
            }));
        }
        if unpacked.max(packed) > PAGE_BYTES_MAX {
            return Err(open.refuse(TOO_LARGE));
        }
        // each value of a dictionary takes a byte at least
        if dictionary_values.is_some_and(|values| u64::try_from(values).is_ok_and(|values| values > unpacked)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let found = self.chunks.range(..=start).next_back().filter(|(_, (end, _))| start < *end);
        let (&chunk, &(_, column)) = found.ok_or(io::ErrorKind::InvalidData)?;
        // what is read packed is held until it is unpacked
        let held = unpacked.max(packed);
        open.batch_bytes = open.batch_bytes.saturating_add(held);
        if open.batch_bytes > PAGES_BYTES_MAX {
            return Err(open.refuse(TOO_LARGE));
        }
        let column = open.columns.entry(column).or_default();
        if column.chunk != chunk {
            *column = OpenColumn { chunk, ..OpenColumn::default() };
        }
        match dictionary_values {
            Some(_) => column.dictionary_bytes = held,
            None => column.page_bytes = held,
        }
        Ok(())
    }
}

const TOO_LARGE: IngestError = IngestError::Foreign {
    what: "Parquet with pages that unpack to more than is read at once",
    mend: "write it with smaller pages and row groups",
};

impl Length for Pages {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Pages {
    type T = Header;

    fn get_read(&self, start: u64) -> Result<Header> {
        Ok(Header { pages: self.clone(), start, read: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length as u64 > PAGE_BYTES_MAX || start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF("a page goes on past the file".to_owned()));
        }
        Ok(self.read(start, length)?.into())
    }
}

/// The header of the page at `start`. It is looked at when it is first read: the decoder also asks for headers that it
/// then does not read.
pub(super) struct Header {
    pages: Pages,
    start: u64,
    read: Option<Cursor<Vec<u8>>>,
}

impl Read for Header {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.read {
            Some(read) => read,
            None => self.read.insert(Cursor::new(self.pages.header(self.start)?)),
        };
        read.read(buffer)
    }
}
