//! A sliding view of a stream of bytes: as much of it as one record needs, and no more than a record may have.

use std::io::{self, Read};

use super::error::IngestError;
use super::spool::{Content, read_error};

/// Longest record, in bytes: a longer one is rejected by itself.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;
/// Bytes held at first; the view grows only for a longer record.
const VIEW_BYTES: usize = 1 << 18;

/// Bytes read and not yet passed by.
pub(super) struct Window {
    content: Content,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Window {
    /// The stream from its start, past a byte order mark.
    pub fn new(content: Content) -> Result<Self, IngestError> {
        let mut window = Window { content, bytes: vec![0; VIEW_BYTES], start: 0, end: 0, ended: false };
        while window.end < 3 && !window.ended {
            window.fill()?;
        }
        if window.rest().starts_with(b"\xef\xbb\xbf") {
            window.pass(3);
        }
        Ok(window)
    }

    /// What is in view.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// What is in view, to be changed in place.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Whether nothing comes after what is in view.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether no record that starts here may need more than is in view.
    pub fn is_full(&self) -> bool {
        self.end - self.start >= RECORD_BYTES_MAX
    }

    /// Bytes of the file on disk consumed so far.
    pub fn consumed(&self) -> u64 {
        self.content.consumed.get()
    }

    /// Passes by the first `count` bytes in view.
    pub fn pass(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Reads on, so that more comes into view, or the end is known.
    pub fn fill(&mut self) -> Result<(), IngestError> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        loop {
            match self.content.bytes.read(&mut self.bytes[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    self.ended = count == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
    }

    /// Passes by everything up to and with the next line end, however far it is. `\r`, `\n` and `\r\n` each end a
    /// line.
    pub fn pass_line(&mut self) -> Result<(), IngestError> {
        loop {
            if let Some(at) = memchr::memchr2(b'\n', b'\r', self.rest()) {
                if self.rest()[at] == b'\r' && at + 1 == self.rest().len() && !self.ended {
                    self.pass(at);
                    self.fill()?;
                    continue;
                }
                let pair = self.rest()[at..].starts_with(b"\r\n");
                self.pass(at + 1 + usize::from(pair));
                return Ok(());
            }
            self.pass(self.rest().len());
            if self.ended {
                return Ok(());
            }
            self.fill()?;
        }
    }
}
