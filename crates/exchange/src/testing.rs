//! What the tests stand on: a clock that is set by hand, the system's randomness, TCP on loopback, cities in temporary
//! folders.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use civicmesh_model::time::{Span, UtcMicros};
use ring::rand::{SecureRandom, SystemRandom};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    link::{Blocking, BoxedIo, Clock, Entropy, Listener, Network},
    office::{CityOffice, Departure, NodeFolder},
};

/// 2026-01-01T00:00Z.
pub(crate) const START: UtcMicros = UtcMicros(1_767_225_600_000_000);
pub(crate) const DAY: i64 = 86_400_000_000;

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START.0)))
    }

    pub(crate) fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UtcMicros {
        UtcMicros(self.0.load(SeqCst))
    }

    fn measured(&self) -> Span {
        self.now().since(START)
    }
}

pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom::new().fill(bytes).unwrap();
    }
}

/// Runs blocking work in place.
pub(crate) struct InPlace;

impl Blocking for InPlace {
    fn execute(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn drive(&self, work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::spawn(work));
    }
}

/// TCP, on loopback.
pub(crate) struct Loopback;

struct LoopbackListener(TcpListener);

#[async_trait]
#[allow(clippy::disallowed_methods)] // a test stands in for the environment
impl Network for Loopback {
    async fn connect(&self, address: &str) -> io::Result<BoxedIo> {
        Ok(Box::new(TcpStream::connect(address).await?))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(LoopbackListener(TcpListener::bind(address).await?)))
    }
}

#[async_trait]
impl Listener for LoopbackListener {
    async fn accept(&mut self) -> io::Result<(BoxedIo, SocketAddr)> {
        let (stream, remote) = self.0.accept().await?;
        Ok((Box::new(stream), remote))
    }

    fn local_address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// A city in a temporary folder.
pub(crate) struct TestCity {
    pub(crate) folder: TempDir,
    pub(crate) office: CityOffice,
}

impl TestCity {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let zone = "America/New_York".parse().unwrap();
        let office = CityOffice::init(&folder.path().join("city"), "New York", zone, START).unwrap();
        Self { folder, office }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn node(&self, domain: &str) -> NodeFolder {
        NodeFolder::new(self.path().join(domain))
    }

    /// Enrols a domain that is reached at `address`.
    pub(crate) fn enroll(&self, domain: &str, address: &str) -> NodeFolder {
        let node = self.node(domain);
        self.office.enroll_out(&node, &departure(domain, address), START).unwrap();
        node
    }
}

/// The first request of a domain that is reached at `address`.
pub(crate) fn departure(domain: &str, address: &str) -> Departure {
    Departure { domain: Some(domain.parse().unwrap()), listen: Some(address.parse().unwrap()), ..Departure::default() }
}
