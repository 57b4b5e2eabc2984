//! The seams to the world outside: links to peers, and what carries them. Production puts TCP and TLS behind these
//! traits, the simulation its own network; neither changes anything above.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use civicmesh_model::{
    hash::Hash32,
    names::DomainName,
    time::{Span, UtcMicros},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tonic::transport::server::Connected;
use tracing::Instrument;

use crate::{identity::IdentityError, places::Place};

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A byte stream whose kind does not matter.
pub type BoxedIo = Box<dyn Io>;

/// Who is at the other end of a link, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The domain.
    pub domain: DomainName,
    /// SHA-256 of the certificate's public key (its SubjectPublicKeyInfo), to be compared with the roster's.
    pub key: Hash32,
    /// When the certificate expires.
    pub certificate_expires: UtcMicros,
}

/// A byte stream to a peer whose identity is known.
pub struct Link {
    io: BoxedIo,
    peer: PeerIdentity,
    _place: Option<Place>,
}

impl Link {
    /// A link over `io`; the caller vouches for `peer`.
    pub fn new(io: BoxedIo, peer: PeerIdentity) -> Self {
        Self { io, peer, _place: None }
    }

    /// The link, counted against a bound for as long as it lives.
    pub(crate) fn at_place(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl Connected for Link {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers at the address.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// The other side's certificate has expired.
    #[error("its certificate has expired")]
    PeerExpired,
    /// This node's own certificate has expired, so nobody would accept it.
    #[error("this node's own certificate has expired: ask the city's office to renew it")]
    OwnExpired,
    /// The other side's certificate was not issued by this city's office.
    #[error("its certificate is not from this city's office")]
    ForeignCity,
    /// The handshake failed otherwise.
    #[error("no secure link: {0}")]
    Handshake(io::Error),
    /// The certificate names no domain.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Someone else answers at the address.
    #[error("domain {found} answers there, not {expected}")]
    WrongDomain {
        /// Who was wanted.
        expected: DomainName,
        /// Who answers.
        found: DomainName,
    },
}

/// Makes links to peers.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects to `address` and makes sure that the domain `expect` answers, if one is expected.
    async fn dial(&self, address: &str, expect: Option<&DomainName>) -> Result<Link, LinkError>;
}

/// Takes links from peers.
#[async_trait]
pub trait Accept: Send {
    /// The next link. Must be safe to cancel. One that fails its handshake is logged and dropped; an error here means
    /// that no more will come.
    async fn accept(&mut self) -> Result<Link, LinkError>;
}

/// Carries bytes between addresses (`HOST:PORT`), unencrypted.
#[async_trait]
pub trait Network: Send + Sync {
    /// Connects to an address.
    async fn connect(&self, address: &str) -> io::Result<BoxedIo>;
    /// Listens at an address.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
}

/// Takes connections at an address.
#[async_trait]
pub trait Listener: Send {
    /// The next connection, and where it comes from. Must be safe to cancel.
    async fn accept(&mut self) -> io::Result<(BoxedIo, SocketAddr)>;
    /// The address that is listened at, its port filled in by the system where it was 0.
    fn local_address(&self) -> String;
}

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UtcMicros;

    /// Time since some moment before, as it is measured without the time of day: it goes on evenly and never back, whatever
    /// the clock is set to. What judges whether the clock jumped.
    fn measured(&self) -> Span;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);
}

/// A random number.
pub(crate) fn random(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Runs work that may block, such as a commit to disk.
pub trait Blocking: Send + Sync {
    /// Runs `work` soon; the simulation does it at once, in place. Work may be dropped unrun when the node stops.
    fn execute(&self, work: Box<dyn FnOnce() + Send>);

    /// Runs a future that may think for long between two waits, such as the planning of a question, where it keeps
    /// nothing else waiting; the simulation runs it as any other.
    fn drive(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// How many threads may help those that work is driven on; none where it is done in place.
    fn helpers(&self) -> usize {
        0
    }
}

/// Runs a future by [`Blocking::drive`] and gives its output. It goes on to its end where nobody waits any more.
pub fn run_driven<T, W>(executor: &dyn Blocking, work: W) -> impl Future<Output = Result<T, Stopped>> + Send + use<T, W>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let work = async move {
        // Nobody waits any more: the result is not wanted.
        let _ = sender.send(work.await);
    };
    executor.drive(Box::pin(work.instrument(tracing::Span::current())));
    async move { receiver.await.map_err(|_| Stopped) }
}

/// The node is stopping: the work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// Runs `work` on the executor, under the span of who asks, and waits for its result.
pub fn run_blocking<T, W>(
    executor: &dyn Blocking,
    work: W,
) -> impl Future<Output = Result<T, Stopped>> + Send + use<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let span = tracing::Span::current();
    executor.execute(Box::new(move || {
        // Nobody waits any more: the result is not wanted.
        let _ = sender.send(span.in_scope(work));
    }));
    async move { receiver.await.map_err(|_| Stopped) }
}
