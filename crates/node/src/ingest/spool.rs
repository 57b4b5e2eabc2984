//! The file as it came: how it is packed, what is in it, and the hash that names it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use civicmesh_model::hash::Hash32;
use sha2::{Digest, Sha256};

use super::error::IngestError;

/// Most bytes that a file may unpack to: a bomb ends here.
pub(super) const UNPACKED_BYTES_MAX: u64 = 1 << 40;
/// Bytes read from disk, and unpacked, at a time.
const BUFFER_BYTES: usize = 1 << 18;
/// Bytes of content looked at to tell the format.
const HEAD_BYTES: usize = 4_096;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    /// Also of several members, one after the other.
    Gzip,
    /// Also of several frames.
    Zstd,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Fields between delimiters, one record a line.
    Delimited,
    /// One JSON object a line.
    Json,
    Parquet,
}

/// A file on disk whose packing and format are known.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    path: PathBuf,
    packing: Packing,
    pub format: Format,
    /// Bytes on disk, packed as it is.
    pub bytes: u64,
}

/// A stream of content bytes that counts how much of the file on disk it has consumed.
pub(super) struct Content {
    pub bytes: Box<dyn Read + Send>,
    pub consumed: Consumed,
}

/// How many bytes of the file on disk were consumed.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed(Arc<AtomicU64>);

impl Consumed {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

struct Counting {
    file: File,
    consumed: Consumed,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.consumed.set(self.consumed.get() + count as u64);
        Ok(count)
    }
}

impl Spool {
    /// Looks at the file at `path`. `name` is what the user calls it: its ending breaks ties that content leaves.
    pub fn open(path: &Path, name: &str) -> Result<Spool, IngestError> {
        let mut file = File::open(path).map_err(IngestError::io("opening the upload"))?;
        let bytes = file.metadata().map_err(IngestError::io("opening the upload"))?.len();
        let head = read_head(&mut file).map_err(IngestError::io("reading the upload"))?;
        let packing = packing(&head)?;
        let mut spool = Spool { path: path.to_owned(), packing, format: Format::Delimited, bytes };
        let content = read_head(&mut spool.content()?.bytes).map_err(read_error)?;
        spool.format = format(&content, name)?;
        if packing != Packing::Plain && spool.format == Format::Parquet {
            return Err(IngestError::Foreign {
                what: "Parquet packed once more",
                mend: "unpack it first: Parquet is compressed inside",
            });
        }
        Ok(spool)
    }

    /// The unpacked bytes, from the start.
    pub fn content(&self) -> Result<Content, IngestError> {
        let consumed = Consumed::default();
        let file = Counting { file: self.file()?, consumed: consumed.clone() };
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        let bytes: Box<dyn Read + Send> = match self.packing {
            Packing::Plain => Box::new(file),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Packing::Zstd => {
                Box::new(zstd::Decoder::with_buffer(file).map_err(IngestError::io("unpacking the upload"))?)
            }
        };
        Ok(Content { bytes, consumed })
    }

    /// The file itself, for a format that jumps about in it.
    pub fn file(&self) -> Result<File, IngestError> {
        File::open(&self.path).map_err(IngestError::io("opening the upload"))
    }

    /// SHA-256 of the unpacked bytes: however a file is packed, it is the same file. Reads it to its end, so that a
    /// file cut short is found out before anything is stored. `progress` hears the bytes consumed and may stop it.
    pub fn hash(&self, mut progress: impl FnMut(u64) -> Result<(), IngestError>) -> Result<Hash32, IngestError> {
        let mut content = self.content()?;
        let mut sha = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut unpacked = 0_u64;
        loop {
            let count = match content.bytes.read(&mut buffer) {
                Ok(0) => return Ok(Hash32(sha.finalize().into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            unpacked += count as u64;
            if unpacked > UNPACKED_BYTES_MAX {
                return Err(IngestError::TooLarge);
            }
            sha.update(&buffer[..count]);
            progress(content.consumed.get())?;
        }
    }
}

/// An error while unpacking: the system's, or the file's own.
pub(super) fn read_error(error: io::Error) -> IngestError {
    if error.raw_os_error().is_some() {
        return IngestError::Io { what: "reading the upload", error };
    }
    IngestError::Damaged("it cannot be unpacked to its end; was it cut short?")
}

fn read_head(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    source.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Starts of files that people upload by mistake.
const FOREIGN: [(&[u8], &str, &str); 6] = [
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save it as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV in UTF-8"),
    (b"BZh", "packed with bzip2", "unpack it, or pack it with gzip or zstd"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it, or pack it with gzip or zstd"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
];

fn packing(head: &[u8]) -> Result<Packing, IngestError> {
    match head {
        [] => Err(IngestError::Empty),
        [0x1f, 0x8b, ..] => Ok(Packing::Gzip),
        // an ordinary frame, or one to be skipped, which some packers write first
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Packing::Zstd),
        _ => Ok(Packing::Plain),
    }
}

fn format(head: &[u8], name: &str) -> Result<Format, IngestError> {
    if let Some((_, what, mend)) = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(IngestError::Foreign { what, mend });
    }
    if head.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let Some(first) = text.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return if head.len() < HEAD_BYTES { Err(IngestError::Empty) } else { Ok(Format::Delimited) };
    };
    match ending(name).as_str() {
        "parquet" => Err(IngestError::Damaged("it is named Parquet and does not start as Parquet does")),
        "ndjson" | "jsonl" | "json" | "geojson" if *first == b'[' => {
            Err(IngestError::Foreign { what: "one JSON array", mend: "write one JSON object a line (NDJSON)" })
        }
        "ndjson" | "jsonl" | "json" | "geojson" => Ok(Format::Json),
        "csv" | "tsv" | "txt" => Ok(Format::Delimited),
        _ if *first == b'{' => Ok(Format::Json),
        _ => Ok(Format::Delimited),
    }
}

/// The ending of a name in lower case, under an ending of packing.
fn ending(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let bare = [".gz", ".zst", ".zstd"].iter().find_map(|packed| lower.strip_suffix(packed)).unwrap_or(&lower);
    Path::new(bare).extension().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}
