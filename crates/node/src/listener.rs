//! The department's listener: accepts, does TLS if asked to, and bounds how many connections stand open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use civicmesh_exchange::link::{BoxedIo, Listener};
use civicmesh_exchange::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
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

/// An accepted connection. It holds its place among the listener's connections until it is dropped.
pub(crate) struct Connection {
    io: BoxedIo,
    _place: OwnedSemaphorePermit,
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
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Accepts on `listen` until `stop`. A connection beyond `connections_max` waits unaccepted in the system's queue.
pub(crate) fn accept(
    listen: Box<dyn Listener>,
    tls: Option<Arc<Tls>>,
    connections_max: usize,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, receiver) = mpsc::channel(READY_MAX);
    let accepting =
        Accepting { tls, places: Arc::new(Semaphore::new(connections_max)), ready, tracker: tracker.clone() };
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
    places: Arc<Semaphore>,
    ready: mpsc::Sender<io::Result<Connection>>,
    tracker: TaskTracker,
}

impl Accepting {
    async fn run(self, mut listen: Box<dyn Listener>) {
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listen.accept().await {
                Ok((io, _)) => self.ready(io, place).await,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Hands a connection on; a handshake runs in a task of its own, so that a slow one holds up nobody.
    async fn ready(&self, io: BoxedIo, place: OwnedSemaphorePermit) {
        let ready = self.ready.clone();
        let Some(tls) = self.tls.clone() else {
            // the server is gone: so is the listener in a moment
            let _ = ready.send(Ok(Connection { io, _place: place })).await;
            return;
        };
        self.tracker.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, tls.department_acceptor().accept(io)).await {
                Ok(Ok(stream)) => {
                    let _ = ready.send(Ok(Connection { io: Box::new(stream), _place: place })).await;
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

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_a_place() {
        let network = Environment::real().network;
        let listen = network.listen("127.0.0.1:0").await.unwrap();
        let address = listen.local_address();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut accepted = accept(listen, None, 1, &tracker, &stop);

        let mut first = network.connect(&address).await.unwrap();
        first.write_all(b"1").await.unwrap();
        let mut second = network.connect(&address).await.unwrap();
        second.write_all(b"2").await.unwrap();

        let mut one = accepted.next().await.unwrap().unwrap();
        assert_eq!(one.read_u8().await.unwrap(), b'1');
        assert!(futures::poll!(accepted.next()).is_pending(), "no place is free");
        drop(one);
        let mut two = accepted.next().await.unwrap().unwrap();
        assert_eq!(two.read_u8().await.unwrap(), b'2');

        stop.cancel();
        drop(two);
        tracker.close();
        tracker.wait().await;
        assert!(accepted.next().await.is_none());
    }
}
