//! TCP of the simulation, with a tap on every link between nodes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use async_trait::async_trait;
use civicmesh_exchange::link::{BoxedIo, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::CITY_PORT;
use super::tap::{Tap, Wires};

/// A host's way to the others.
pub struct SimNetwork {
    domain: String,
    dead: Arc<AtomicBool>,
    wires: Arc<Wires>,
}

impl SimNetwork {
    /// The network as the host of `domain` has it. Once `dead`, it neither reads nor writes.
    pub fn new(domain: &str, dead: Arc<AtomicBool>, wires: Arc<Wires>) -> SimNetwork {
        SimNetwork { domain: domain.to_owned(), dead, wires }
    }
}

#[async_trait]
impl Network for SimNetwork {
    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        let stream = TcpStream::connect(address).await?;
        let receiver = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let tap = Some(Tap::new(&self.domain, receiver));
        Ok(Box::new(Wire { stream, tap, dead: Arc::clone(&self.dead), wires: Arc::clone(&self.wires) }))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Box::new(Listening {
            listener,
            local,
            domain: self.domain.clone(),
            dead: Arc::clone(&self.dead),
            wires: Arc::clone(&self.wires),
        }))
    }
}

struct Listening {
    listener: TcpListener,
    local: SocketAddr,
    domain: String,
    dead: Arc<AtomicBool>,
    wires: Arc<Wires>,
}

#[async_trait]
impl Listener for Listening {
    async fn accept(&mut self) -> io::Result<(BoxedIo, SocketAddr)> {
        let (stream, remote) = self.listener.accept().await?;
        let of_peer = self.local.port() == CITY_PORT;
        let peer = turmoil::reverse_lookup(remote.ip()).unwrap_or_else(|| remote.ip().to_string());
        let tap = of_peer.then(|| Tap::new(&self.domain, &peer));
        let wire = Wire { stream, tap, dead: Arc::clone(&self.dead), wires: Arc::clone(&self.wires) };
        Ok((Box::new(wire), remote))
    }

    fn local_address(&self) -> String {
        self.local.to_string()
    }
}

/// One end of a connection.
struct Wire {
    stream: TcpStream,
    /// On what this end writes to another node.
    tap: Option<Tap>,
    dead: Arc<AtomicBool>,
    wires: Arc<Wires>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.dead.load(SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        if wire.dead.load(SeqCst) {
            return Poll::Pending;
        }
        let Some(tap) = &mut wire.tap else {
            return Pin::new(&mut wire.stream).poll_write(context, from);
        };
        // a segment is taken whole or not at all: what is passed on has the length of what was written
        std::task::ready!(writable(&mut wire.stream, context))?;
        let changed = tap.pass(&wire.wires, from);
        let passed = changed.as_deref().unwrap_or(from);
        match Pin::new(&mut wire.stream).poll_write(context, passed) {
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(from.len())),
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead.load(SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Whether a write would be taken now.
fn writable(stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let waiting = stream.writable();
    let mut waiting = std::pin::pin!(waiting);
    waiting.as_mut().poll(context)
}
