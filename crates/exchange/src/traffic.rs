//! Counts the bytes on the wire, by peer: below TLS, so that what is counted is what a network would bill.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use civicmesh_model::names::DomainName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::BoxedIo;

/// Bytes to and from one peer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PeerTraffic {
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    fn read(&self) -> PeerTraffic {
        PeerTraffic { sent_bytes: self.sent.load(Relaxed), received_bytes: self.received.load(Relaxed) }
    }
}

/// The bytes to and from every peer since the node started, over all links in both directions.
#[derive(Debug, Default)]
pub struct Traffic {
    peers: Mutex<BTreeMap<DomainName, Arc<Counters>>>,
}

impl Traffic {
    /// The counts so far.
    pub fn by_peer(&self) -> BTreeMap<DomainName, PeerTraffic> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.iter().map(|(domain, counters)| (domain.clone(), counters.read())).collect()
    }

    fn counters(&self, domain: &DomainName) -> Arc<Counters> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(peers.entry(domain.clone()).or_default())
    }
}

/// Counts one link; whose it is becomes known after the handshake.
#[derive(Debug, Default, Clone)]
pub struct Meter(Arc<LinkCounters>);

#[derive(Debug, Default)]
struct LinkCounters {
    handshake: Counters,
    peer: OnceLock<Arc<Counters>>,
}

impl Meter {
    /// Counts this link, its handshake included, for `domain` from now on.
    pub fn assign(&self, traffic: &Traffic, domain: &DomainName) {
        let counters = traffic.counters(domain);
        let PeerTraffic { sent_bytes, received_bytes } = self.0.handshake.read();
        counters.sent.fetch_add(sent_bytes, Relaxed);
        counters.received.fetch_add(received_bytes, Relaxed);
        // A second assignment changes nothing: a link has one peer.
        let _ = self.0.peer.set(counters);
    }

    /// Bytes received before it was known whose link it is.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.0.handshake.received.load(Relaxed)
    }

    fn counters(&self) -> &Counters {
        self.0.peer.get().map_or(&self.0.handshake, |peer| peer)
    }
}

/// A byte stream that counts.
pub struct Metered {
    io: BoxedIo,
    meter: Meter,
}

impl Metered {
    /// Counts what passes through `io`.
    pub fn new(io: BoxedIo, meter: Meter) -> Self {
        Self { io, meter }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, into);
        let read = into.filled().len() - before;
        self.meter.counters().received.fetch_add(read as u64, Relaxed);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, from);
        if let Poll::Ready(Ok(written)) = &polled {
            self.meter.counters().sent.fetch_add(*written as u64, Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_handshake_counts_for_the_peer_too() {
        let (near, mut far) = tokio::io::duplex(64);
        let (traffic, meter) = (Traffic::default(), Meter::default());
        let mut near = Metered::new(Box::new(near), meter.clone());
        near.write_all(b"hello").await.unwrap();
        far.write_all(b"hi").await.unwrap();
        near.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(traffic.by_peer(), BTreeMap::new());

        let domain: DomainName = "traffic".parse().unwrap();
        meter.assign(&traffic, &domain);
        near.write_all(b"!").await.unwrap();
        let counted = PeerTraffic { sent_bytes: 6, received_bytes: 2 };
        assert_eq!(traffic.by_peer(), BTreeMap::from([(domain, counted)]));
    }
}
