//! Everything that a node takes from the world: time, randomness, sockets, threads and the disk's kind.
//!
//! This is the only file that may ask the operating system for them (clippy's `disallowed-methods` keeps it so).
//! A simulation passes its own [`Environment`] to [`crate::Node::start`] and so runs the same node.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use civicmesh_exchange::link::{Blocking, BoxedIo, Clock, Entropy, Listener, Network};
use civicmesh_exchange::tls::{Encrypted, Handshake};
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_store::Hook;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::{TcpListener, TcpStream};

/// What a node takes from the world.
#[derive(Clone)]
pub struct Environment {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Secure randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Sockets.
    pub network: Arc<dyn Network>,
    /// How a connection to a peer becomes a link whose other end is known.
    pub handshake: Arc<dyn Handshake>,
    /// Where work that blocks (disk, parsing) runs.
    pub blocking: Arc<dyn Blocking>,
    /// What the vault stands on.
    pub vault: Storage,
    /// What the ledger stands on.
    pub ledger: Storage,
}

/// What a database stands on.
#[derive(Clone)]
pub struct Storage {
    /// The disk, or memory.
    pub environment: civicmesh_store::Environment,
    /// Fails batches on purpose.
    pub hook: Option<Arc<dyn Hook>>,
}

impl Environment {
    /// The real world: the system's clock and randomness, TCP, tokio's blocking threads, the disk.
    pub fn real() -> Environment {
        Environment {
            clock: Arc::new(SystemClock { begun: Instant::now() }),
            entropy: Arc::new(SystemEntropy(SystemRandom::new())),
            network: Arc::new(Tcp),
            handshake: Arc::new(Encrypted),
            blocking: Arc::new(TokioBlocking),
            vault: Storage::disk(),
            ledger: Storage::disk(),
        }
    }
}

impl Storage {
    /// The disk, without a hook.
    pub fn disk() -> Storage {
        Storage { environment: civicmesh_store::Environment::Disk, hook: None }
    }
}

/// The system's clocks: of day, and the one that only goes on.
struct SystemClock {
    begun: Instant,
}

impl Clock for SystemClock {
    fn now(&self) -> UtcMicros {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        UtcMicros(micros)
    }

    fn measured(&self) -> Span {
        Span::from_micros(i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// The system's secure randomness.
struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the system's randomness does not fail once it has started");
    }
}

/// TCP as tokio has it.
struct Tcp;

#[async_trait]
impl Network for Tcp {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        Ok(Box::new(Listening { listener, address }))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// A listening TCP socket.
struct Listening {
    listener: TcpListener,
    address: String,
}

#[async_trait]
impl Listener for Listening {
    async fn accept(&mut self) -> io::Result<(BoxedIo, SocketAddr)> {
        let (stream, remote) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), remote))
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

/// Tokio's blocking threads.
struct TokioBlocking;

impl Blocking for TokioBlocking {
    fn execute(&self, work: Box<dyn FnOnce() + Send>) {
        drop(tokio::task::spawn_blocking(work));
    }

    fn drive(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let runtime = tokio::runtime::Handle::current();
        drop(tokio::task::spawn_blocking(move || runtime.block_on(work)));
    }

    fn helpers(&self) -> usize {
        std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
    }
}

/// The ports of [`free_addresses`]: below those that the system gives to outgoing connections, since one of these could
/// take a port before its node listens there.
const FREE_PORTS: Range<u16> = 20_000..32_000;

/// Addresses on loopback whose ports were free a moment ago, none of which this process was given before: where nodes of
/// a demonstration, a town or a test may listen.
///
/// # Errors
/// If there are no more.
pub fn free_addresses<const MANY: usize>() -> io::Result<[SocketAddr; MANY]> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // processes begin at other places
    let (begin, ports) = (std::process::id(), FREE_PORTS.len() as u32);
    let next = || FREE_PORTS.start + (begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % ports) as u16;
    let addresses = FREE_PORTS.map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, next())));
    let free = addresses.filter(|address| std::net::TcpListener::bind(address).is_ok());
    let none = |_| io::Error::other(format!("no free port from {} to {}", FREE_PORTS.start, FREE_PORTS.end - 1));
    free.take(MANY).collect::<Vec<_>>().try_into().map_err(none)
}

/// What nodes run on. Its threads have the stack that a question needs, so that none is made for each.
///
/// # Errors
/// If the system has no threads.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.thread_stack_size(civicmesh_query::STACK_BYTES).enable_all().build()
}

/// Ends when the system asks the process to stop: SIGTERM or SIGINT.
pub async fn termination() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use civicmesh_exchange::link::{Stopped, run_blocking};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn blocking_work_returns_its_value_and_a_panic_is_stopped() {
        let blocking = Environment::real().blocking;
        assert_eq!(run_blocking(&*blocking, || 6 * 7).await, Ok(42));
        let stopped: Result<(), Stopped> = run_blocking(&*blocking, || panic!("on purpose")).await;
        assert_eq!(stopped, Err(Stopped));
    }

    #[tokio::test]
    async fn a_listener_hears_what_a_connection_says() {
        let network = Environment::real().network;
        let mut listener = network.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let (sent, accepted) = tokio::join!(network.connect(&address), listener.accept());
        sent.unwrap().write_all(b"hello").await.unwrap();
        let mut heard = String::new();
        let (mut accepted, remote) = accepted.unwrap();
        accepted.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "hello");
        assert!(remote.ip().is_loopback());
    }

    #[test]
    fn entropy_differs_from_draw_to_draw() {
        let environment = Environment::real();
        let (mut one, mut two) = ([0_u8; 32], [0_u8; 32]);
        environment.entropy.fill(&mut one);
        environment.entropy.fill(&mut two);
        assert_ne!(one, two);
    }
}
