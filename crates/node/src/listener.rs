//! The department's listener: accepts, does TLS if asked to, and bounds how many connections stand open: all together,
//! from one address, and each for as long as it says nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use civicmesh_exchange::link::{BoxedIo, Listener};
use civicmesh_exchange::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

/// Longest that a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are ready and not yet served.
const READY_MAX: usize = 16;

/// Longest that a connection may take to say what it wants.
const PREFACE_MAX: Duration = Duration::from_secs(10);
/// Bytes by which it has: the preface of HTTP/2. No shorter request is answered without bytes written.
const PREFACE_BYTES: u64 = 24;

/// What bounds the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Open connections.
    pub connections_max: usize,
    /// Open connections from one address.
    pub per_address_max: usize,
    /// Longest that no byte passes over a connection.
    pub idle_max: Duration,
}

/// An accepted connection. It holds its place among the listener's connections until it is dropped.
pub(crate) struct Connection {
    io: BoxedIo,
    deadline: Pin<Box<Sleep>>,
    idle_max: Duration,
    /// Bytes read while nothing was written yet.
    preface_bytes: u64,
    _place: Place,
}

/// A place among a listener's connections.
struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    addresses: Addresses,
}

/// How many connections there are from each address.
type Addresses = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

impl Place {
    /// A place for a connection from `address`; None where it has its share.
    fn take(
        permit: OwnedSemaphorePermit,
        address: IpAddr,
        addresses: &Addresses,
        per_address_max: usize,
    ) -> Option<Place> {
        let mut counts = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= per_address_max {
            return None;
        }
        *count += 1;
        Some(Place { _permit: permit, address, addresses: Arc::clone(addresses) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Connection {
    fn new(io: BoxedIo, place: Place, idle_max: Duration) -> Connection {
        let deadline = Box::pin(sleep(PREFACE_MAX.min(idle_max)));
        Connection { io, deadline, idle_max, preface_bytes: 0, _place: place }
    }

    /// Puts the deadline off: bytes passed.
    fn moved(&mut self, read: u64) {
        self.preface_bytes = self.preface_bytes.saturating_add(read);
        if self.preface_bytes >= PREFACE_BYTES {
            self.deadline.as_mut().reset(Instant::now() + self.idle_max);
        }
    }

    /// An error once the deadline is past.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "nothing passed over the connection for too long"))
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Pending => match self.check(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(read) => {
                self.moved((buffer.filled().len() - filled) as u64);
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(context, bytes) {
            Poll::Pending => match self.check(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(written) => {
                // whoever is answered has said what it wants
                self.moved(PREFACE_BYTES);
                Poll::Ready(written)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Accepts on `listen` until `stop`. A connection beyond the bound waits unaccepted in the system's queue; one beyond
/// its address's share is closed.
pub(crate) fn accept(
    listen: Box<dyn Listener>,
    tls: Option<Arc<Tls>>,
    bounds: Bounds,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, receiver) = mpsc::channel(READY_MAX);
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let accepting = Accepting { tls, bounds, places, addresses: Arc::default(), ready, tracker: tracker.clone() };
    let stop = stop.clone();
    tracker.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = accepting.run(listen) => {}
        }
    });
    ReceiverStream::new(receiver)
}

struct Accepting {
    tls: Option<Arc<Tls>>,
    bounds: Bounds,
    places: Arc<Semaphore>,
    addresses: Addresses,
    ready: mpsc::Sender<io::Result<Connection>>,
    tracker: TaskTracker,
}

impl Accepting {
    async fn run(self, mut listen: Box<dyn Listener>) {
        while let Ok(permit) = Arc::clone(&self.places).acquire_owned().await {
            match listen.accept().await {
                Ok((io, remote)) => {
                    match Place::take(permit, remote.ip(), &self.addresses, self.bounds.per_address_max) {
                        Some(place) => self.ready(io, place).await,
                        None => tracing::info!(%remote, "closed a connection: its address has as many as it may"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Hands a connection on; a handshake runs in a task of its own, so that a slow one holds up nobody.
    async fn ready(&self, io: BoxedIo, place: Place) {
        let (ready, idle_max) = (self.ready.clone(), self.bounds.idle_max);
        let Some(tls) = self.tls.clone() else {
            // the server is gone: so is the listener in a moment
            let _ = ready.send(Ok(Connection::new(io, place, idle_max))).await;
            return;
        };
        self.tracker.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, tls.department_acceptor().accept(io)).await {
                Ok(Ok(stream)) => {
                    let _ = ready.send(Ok(Connection::new(Box::new(stream), place, idle_max))).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ROOMY: Bounds = Bounds { connections_max: 8, per_address_max: 8, idle_max: Duration::from_secs(60) };

    struct Bench {
        accepted: ReceiverStream<io::Result<Connection>>,
        address: String,
        tracker: TaskTracker,
        stop: CancellationToken,
    }

    impl Bench {
        async fn new(bounds: Bounds) -> Bench {
            let listen = Environment::real().network.listen("127.0.0.1:0").await.unwrap();
            let address = listen.local_address();
            let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
            let accepted = accept(listen, None, bounds, &tracker, &stop);
            Bench { accepted, address, tracker, stop }
        }

        async fn connect(&self) -> BoxedIo {
            Environment::real().network.connect(&self.address).await.unwrap()
        }

        async fn next(&mut self) -> Connection {
            self.accepted.next().await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_a_place() {
        let mut bench = Bench::new(Bounds { connections_max: 1, ..ROOMY }).await;
        let mut first = bench.connect().await;
        first.write_all(b"1").await.unwrap();
        let mut second = bench.connect().await;
        second.write_all(b"2").await.unwrap();

        let mut one = bench.next().await;
        assert_eq!(one.read_u8().await.unwrap(), b'1');
        assert!(futures::poll!(bench.accepted.next()).is_pending(), "no place is free");
        drop(one);
        let mut two = bench.next().await;
        assert_eq!(two.read_u8().await.unwrap(), b'2');

        bench.stop.cancel();
        drop(two);
        bench.tracker.close();
        bench.tracker.wait().await;
        assert!(bench.accepted.next().await.is_none());
    }

    #[tokio::test]
    async fn an_address_gets_no_more_than_its_share() {
        let mut bench = Bench::new(Bounds { per_address_max: 1, ..ROOMY }).await;
        let mut first = bench.connect().await;
        let one = bench.next().await;
        let mut second = bench.connect().await;
        let closed = second.read(&mut [0]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "the second is closed: {closed:?}");
        drop(one);
        assert!(matches!(first.read(&mut [0]).await, Ok(0) | Err(_)));
        let mut third = bench.connect().await;
        third.write_all(b"3").await.unwrap();
        assert_eq!(bench.next().await.read_u8().await.unwrap(), b'3', "the place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_loses_the_connection() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let addresses = Addresses::default();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let place = Place::take(permit, [127, 0, 0, 1].into(), &addresses, 1).unwrap();
        let mut connection = Connection::new(Box::new(server), place, ROOMY.idle_max);
        let begun = Instant::now();
        // a byte now and then is no request
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'G');
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, PREFACE_MAX));

        client.write_all(&[b'x'; PREFACE_BYTES as usize]).await.unwrap();
        connection.read_exact(&mut [0; PREFACE_BYTES as usize]).await.unwrap();
        let begun = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, ROOMY.idle_max));

        // an answer that nobody reads
        let error = connection.write_all(&[0; 2 << 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        assert!(addresses.lock().unwrap().is_empty());
    }
}
