//! Mutual TLS 1.3 between nodes. Both sides show a certificate of the city's office; which domain it names is the
//! peer's identity, and host names play no part. Certificates are read anew when their files change, so that a renewal
//! needs no restart; sessions are never resumed, so that every link meets the certificates of its day.

mod config;
mod department;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use civicmesh_model::{hash::Hash32, names::DomainName};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::config::{CityTime, client_config, department_config, server_config};
pub use self::department::Guest;
use crate::{
    identity::{IdentityError, identity_of},
    link::{Accept, BoxedIo, Clock, Dial, Link, LinkError, Listener, Network, PeerIdentity},
    traffic::{Meter, Metered, Traffic},
};

/// How long a connection may take to come about, in seconds.
pub const CONNECT_S_MAX: u64 = 5;
/// How long a handshake may take, in seconds.
pub const HANDSHAKE_S_MAX: u64 = 5;
/// How many incoming handshakes are carried on at once; further connections wait in the listener's queue.
pub const HANDSHAKES_MAX: usize = 32;
/// How many incoming links there may be at once; further connections wait in the listener's queue.
pub const INCOMING_LINKS_MAX: usize = 256;
/// How long to wait after the system could not hand over a connection (out of file descriptors, say), in milliseconds.
const ACCEPT_RETRY_MS: u64 = 100;

/// File names within a node's `tls` folder.
pub(crate) const CERTIFICATE_FILE: &str = "node.pem";
pub(crate) const KEY_FILE: &str = "node.key";
pub(crate) const CITY_FILE: &str = "city.pem";

/// Stands where TLS wants a host's name; never sent, never compared.
const NO_SERVER_NAME: &str = "civicmesh.invalid";
/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: holds no {what} in PEM form", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate names no domain.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
}

/// What a node shows on its links and whom it believes, read from its `tls` folder.
pub struct Tls {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    loaded: RwLock<Arc<Loaded>>,
}

struct Loaded {
    stamp: Hash32,
    own: PeerIdentity,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    department: Arc<ServerConfig>,
}

impl Tls {
    /// Reads `node.pem`, `node.key` and `city.pem` in `folder`.
    pub fn load(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let loaded = Files::read(folder)?.load(folder, &clock)?;
        Ok(Self { folder: folder.to_owned(), clock, loaded: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads the files again and, if they changed and can be used, shows the new certificate on all links made from
    /// now on. On an error everything stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.folder)?;
        if files.stamp() == self.loaded().stamp {
            return Ok(false);
        }
        let loaded = files.load(&self.folder, &self.clock)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(true)
    }

    /// This node as its peers see it.
    pub fn own(&self) -> PeerIdentity {
        self.loaded().own.clone()
    }

    /// Takes connections of the department's own people and programs: the node shows its certificate and asks for
    /// none, since they have tokens.
    pub fn department_acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.loaded().department))
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("own", &self.own()).finish_non_exhaustive()
    }
}

struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    city: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> Result<Self, TlsError> {
        let read = |name| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| TlsError::File { path, error })
        };
        Ok(Self { certificate: read(CERTIFICATE_FILE)?, key: read(KEY_FILE)?, city: read(CITY_FILE)? })
    }

    fn stamp(&self) -> Hash32 {
        let Self { certificate, key, city } = self;
        let [certificate, key, city] = [certificate, key, city].map(|file| Hash32::of(&[file]).0);
        Hash32::of(&[&certificate, &key, &city])
    }

    fn load(&self, folder: &Path, clock: &Arc<dyn Clock>) -> Result<Loaded, TlsError> {
        let unfit = |name, what| TlsError::Pem { path: folder.join(name), what };
        let certificate =
            CertificateDer::from_pem_slice(&self.certificate).map_err(|_| unfit(CERTIFICATE_FILE, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| unfit(KEY_FILE, "private key"))?;
        let city = CertificateDer::from_pem_slice(&self.city).map_err(|_| unfit(CITY_FILE, "certificate"))?;
        let own = identity_of(&certificate)?;
        let mut roots = RootCertStore::empty();
        roots.add(city).map_err(TlsError::Unusable)?;
        let roots = Arc::new(roots);
        let city_time = Arc::new(CityTime(Arc::clone(clock)));
        Ok(Loaded {
            stamp: self.stamp(),
            own,
            client: client_config(&roots, &certificate, &key, &city_time).map_err(TlsError::Unusable)?,
            server: server_config(&roots, &certificate, &key, &city_time).map_err(TlsError::Unusable)?,
            department: department_config(&certificate, &key, &city_time).map_err(TlsError::Unusable)?,
        })
    }
}

/// Dials over a network, with TLS.
pub struct TlsDial {
    network: Arc<dyn Network>,
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
}

impl TlsDial {
    /// Dials as `tls` says, and counts into `traffic`.
    pub fn new(network: Arc<dyn Network>, tls: Arc<Tls>, traffic: Arc<Traffic>) -> Self {
        Self { network, tls, traffic }
    }
}

#[async_trait]
impl Dial for TlsDial {
    async fn dial(&self, address: &str, expect: Option<&DomainName>) -> Result<Link, LinkError> {
        let loaded = self.tls.loaded();
        if loaded.own.certificate_expires <= self.tls.clock.now() {
            return Err(LinkError::OwnExpired);
        }
        let io = within(CONNECT_S_MAX, self.network.connect(address)).await?.map_err(LinkError::Connect)?;
        let meter = Meter::default();
        let name = ServerName::try_from(NO_SERVER_NAME).expect("a constant that is a valid name");
        let connecting = TlsConnector::from(Arc::clone(&loaded.client)).connect(name, Metered::new(io, meter.clone()));
        let stream = within(HANDSHAKE_S_MAX, connecting).await?.map_err(handshake_error)?;
        let peer = shown_identity(stream.get_ref().1.peer_certificates())?;
        if let Some(expected) = expect.filter(|expected| **expected != peer.domain) {
            return Err(LinkError::WrongDomain { expected: expected.clone(), found: peer.domain });
        }
        meter.assign(&self.traffic, &peer.domain);
        Ok(Link::new(Box::new(stream), peer))
    }
}

/// Takes links at a listener, with TLS. Handshakes go on side by side, so that a slow one holds up nobody.
pub struct TlsAccept {
    listener: Box<dyn Listener>,
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
    handshakes: JoinSet<Result<Link, LinkError>>,
    links: Arc<Semaphore>,
}

impl TlsAccept {
    /// Takes links as `tls` says, and counts into `traffic`.
    pub fn new(listener: Box<dyn Listener>, tls: Arc<Tls>, traffic: Arc<Traffic>) -> Self {
        let links = Arc::new(Semaphore::new(INCOMING_LINKS_MAX));
        Self { listener, tls, traffic, handshakes: JoinSet::new(), links }
    }

    fn begin_handshake(&mut self, io: BoxedIo, permit: tokio::sync::OwnedSemaphorePermit) {
        let (server, traffic) = (Arc::clone(&self.tls.loaded().server), Arc::clone(&self.traffic));
        self.handshakes.spawn(async move {
            let meter = Meter::default();
            let accepting = TlsAcceptor::from(server).accept(Metered::new(io, meter.clone()));
            let stream = within(HANDSHAKE_S_MAX, accepting).await?.map_err(handshake_error)?;
            let peer = shown_identity(stream.get_ref().1.peer_certificates())?;
            meter.assign(&traffic, &peer.domain);
            Ok(Link::new(Box::new(stream), peer).with_permit(permit))
        });
    }
}

#[async_trait]
impl Accept for TlsAccept {
    async fn accept(&mut self) -> Result<Link, LinkError> {
        loop {
            let next = async {
                let permit = Arc::clone(&self.links).acquire_owned().await.expect("never closed");
                Ok::<_, io::Error>((self.listener.accept().await?, permit))
            };
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(error)) => tracing::info!(%error, "refused a link"),
                    Err(error) => tracing::error!(%error, "a handshake ended early"),
                },
                accepted = next, if self.handshakes.len() < HANDSHAKES_MAX => {
                    match accepted {
                        Ok((io, permit)) => self.begin_handshake(io, permit),
                        Err(error) => {
                            tracing::warn!(%error, "cannot take a connection");
                            sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                        }
                    }
                }
            }
        }
    }
}

async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> Result<T, LinkError> {
    timeout(Duration::from_secs(seconds), work).await.map_err(|_| LinkError::Timeout { seconds })
}

fn shown_identity(chain: Option<&[CertificateDer<'_>]>) -> Result<PeerIdentity, LinkError> {
    let certificate = chain.and_then(<[_]>::first).ok_or(IdentityError::Missing)?;
    Ok(identity_of(certificate)?)
}

fn handshake_error(error: io::Error) -> LinkError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => LinkError::PeerExpired,
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            LinkError::ForeignCity
        }
        _ => LinkError::Handshake(error),
    }
}

#[cfg(test)]
mod tests;
