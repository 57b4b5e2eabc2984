//! A connection's bytes: its messages are bounded before they are gathered, and a client that hangs up is noticed while
//! its question is answered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use civicmesh_exchange::link::BoxedIo;
use futures::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message that is taken from a client, in bytes.
const MESSAGE_BYTES_MAX: u32 = 4 << 20;
/// Most bytes that are read ahead while a question is answered.
const AHEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of one read ahead.
const READ_BYTES: usize = 8 << 10;

/// The reading and writing end.
pub(super) struct Line(Arc<Mutex<Wire>>);

/// Sees the client hang up. Both ends belong to one task.
pub(super) struct Watch(Arc<Mutex<Wire>>);

struct Wire {
    io: BoxedIo,
    /// Read and not yet taken.
    ahead: BytesMut,
    has_ended: bool,
    lengths: Lengths,
}

impl Line {
    /// A line over `io`, of which `begun` has been read.
    pub(super) fn new(io: BoxedIo, begun: &[u8]) -> io::Result<(Line, Watch)> {
        let mut lengths = Lengths::default();
        lengths.follow(begun)?;
        let wire = Wire { io, ahead: BytesMut::from(begun), has_ended: false, lengths };
        let wire = Arc::new(Mutex::new(wire));
        Ok((Line(wire.clone()), Watch(wire)))
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Ends when the client has hung up. Reads ahead meanwhile.
    pub(super) async fn gone(&self) {
        poll_fn(|context| self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_gone(context)).await;
    }
}

impl Wire {
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.has_ended {
            if self.ahead.len() >= AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            // an error is seen again by whoever reads next
            let read = ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer));
            let followed = read.and_then(|()| self.lengths.follow(buffer.filled()));
            self.has_ended = followed.is_err() || buffer.filled().is_empty();
            self.ahead.extend_from_slice(buffer.filled());
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let taken = self.ahead.split_to(self.ahead.len().min(into.remaining()));
            into.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, into))?;
        Poll::Ready(self.lengths.follow(&into.filled()[before..]))
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire().poll_read(context, into)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire().io).poll_write(context, from)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().io).poll_shutdown(context)
    }
}

/// Follows the lengths of messages. The first one has four bytes of length before it, all others a byte of type and
/// four of length.
struct Lengths {
    header: [u8; 5],
    /// How much of the header is known.
    known: usize,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Default for Lengths {
    fn default() -> Self {
        // as if the type of the first message were known
        Lengths { header: [0; 5], known: 1, left: 0 }
    }
}

impl Lengths {
    /// Follows these bytes.
    ///
    /// # Errors
    /// A message is longer than allowed.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.left as usize);
            self.left -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(self.header.len() - self.known);
            self.header[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known == self.header.len() {
                let [_, length @ ..] = self.header;
                let length = u32::from_be_bytes(length);
                if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
                    let text = format!("a message of more than {MESSAGE_BYTES_MAX} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                (self.left, self.known) = (length - 4, 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn message(kind: &[u8], body: usize) -> Vec<u8> {
        let length = u32::try_from(body + 4).unwrap();
        [kind, &length.to_be_bytes(), &vec![0; body]].concat()
    }

    #[test]
    fn a_message_too_long_is_refused_however_it_is_cut() {
        let stream = [message(b"", 20), message(b"Q", 0), message(b"P", 9)].concat();
        for piece in [1, 2, 3, 7, stream.len()] {
            let mut lengths = Lengths::default();
            for bytes in stream.chunks(piece) {
                lengths.follow(bytes).unwrap();
            }
            let long = [b"Q".as_slice(), &(MESSAGE_BYTES_MAX + 1).to_be_bytes()].concat();
            assert!(long.chunks(piece).any(|bytes| lengths.follow(bytes).is_err()), "{piece}");
        }
        assert!(Lengths::default().follow(&[0, 0, 0, 3]).is_err());
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_not_lost_and_a_client_that_hangs_up_is_seen() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let begun = message(b"", 4);
        let (mut line, watch) = Line::new(Box::new(near), &begun).unwrap();
        let sent = message(b"Q", 100);
        far.write_all(&sent).await.unwrap();
        assert!(futures::poll!(Box::pin(watch.gone())).is_pending());
        drop(far);
        watch.gone().await;
        let mut read = Vec::new();
        line.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [begun, sent].concat());
    }

    #[tokio::test]
    async fn reading_ahead_is_bounded() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (_line, watch) = Line::new(Box::new(near), &message(b"", 4)).unwrap();
        far.write_all(&message(b"Q", 10 * AHEAD_BYTES_MAX)).await.unwrap();
        assert!(futures::poll!(Box::pin(watch.gone())).is_pending());
        assert!(watch.0.lock().unwrap().ahead.len() < 2 * AHEAD_BYTES_MAX);
    }
}
