//! Mutual TLS 1.3 between nodes. Both sides show a certificate of the city's office; which domain it names is the
//! peer's identity, and host names play no part. Certificates are read anew when their files change, so that a renewal
//! needs no restart; sessions are never resumed, so that every link meets the certificates of its day.

mod config;
mod department;
mod handshake;

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use civicmesh_model::{hash::Hash32, names::DomainName};
use rustls::{
    CertificateError, ClientConfig, RootCertStore, ServerConfig, client::danger::ServerCertVerifier,
    server::danger::ClientCertVerifier, time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::config::{CityTime, CityVerifier, client_config, client_verifier, department_config, server_config};
pub use self::department::Guest;
pub use self::handshake::{Encrypted, Handshake};
use crate::{
    identity::{IdentityError, identity_of},
    link::{Accept, BoxedIo, Clock, Dial, Link, LinkError, Listener, Network, PeerIdentity},
    places::Places,
    traffic::{Meter, Metered, Traffic},
};

/// How long a connection may take to come about, in seconds.
pub const CONNECT_S_MAX: u64 = 5;
/// How long a handshake may take, in seconds.
pub const HANDSHAKE_S_MAX: u64 = 5;
/// How many incoming handshakes are carried on at once. For one more, the oldest that has said nothing gives way.
pub const HANDSHAKES_MAX: usize = 64;
/// How many of them may come from one address. For one more, one of that address gives way.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;
/// How many incoming links there may be at once; further ones are closed.
pub const INCOMING_LINKS_MAX: usize = 1024;
/// How many of them may be one domain's; further ones are closed. A node keeps one, and two while it replaces it.
pub const INCOMING_LINKS_PER_DOMAIN_MAX: usize = 4;
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
    certificate: CertificateDer<'static>,
    city_time: Arc<CityTime>,
    /// Judges whoever answers a call of ours.
    answering: Arc<dyn ServerCertVerifier>,
    /// Judges whoever calls.
    calling: Arc<dyn ClientCertVerifier>,
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

    /// The certificate that this node shows, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.loaded().certificate.to_vec()
    }

    /// Whom a certificate (in DER) speaks for that was shown by whoever answers a call of ours, if the city's office issued it
    /// and it is in force by this node's clock: what TLS asks before it asks for the certificate's key.
    pub fn judge_answering(&self, certificate: &[u8]) -> Result<PeerIdentity, LinkError> {
        let loaded = self.loaded();
        let name = ServerName::try_from(NO_SERVER_NAME).expect("a constant that is a valid name");
        let now = loaded.city_time.current_time().ok_or(LinkError::PeerExpired)?;
        let certificate = CertificateDer::from(certificate);
        loaded.answering.verify_server_cert(&certificate, &[], &name, &[], now).map_err(refused)?;
        Ok(identity_of(&certificate)?)
    }

    /// As [`Tls::judge_answering`], of a certificate that was shown by whoever calls.
    pub fn judge_calling(&self, certificate: &[u8]) -> Result<PeerIdentity, LinkError> {
        let loaded = self.loaded();
        let now = loaded.city_time.current_time().ok_or(LinkError::PeerExpired)?;
        let certificate = CertificateDer::from(certificate);
        loaded.calling.verify_client_cert(&certificate, &[], now).map_err(refused)?;
        Ok(identity_of(&certificate)?)
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
            answering: Arc::new(CityVerifier::new(&roots).map_err(TlsError::Unusable)?),
            calling: client_verifier(&roots).map_err(TlsError::Unusable)?,
            client: client_config(&roots, &certificate, &key, &city_time).map_err(TlsError::Unusable)?,
            server: server_config(&roots, &certificate, &key, &city_time).map_err(TlsError::Unusable)?,
            department: department_config(&certificate, &key, &city_time).map_err(TlsError::Unusable)?,
            certificate,
            city_time,
        })
    }
}

/// Dials over a network, with TLS.
pub struct TlsDial {
    network: Arc<dyn Network>,
    handshake: Arc<dyn Handshake>,
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
}

impl TlsDial {
    /// Dials as `tls` says, and counts into `traffic`.
    pub fn new(network: Arc<dyn Network>, handshake: Arc<dyn Handshake>, tls: Arc<Tls>, traffic: Arc<Traffic>) -> Self {
        Self { network, handshake, tls, traffic }
    }
}

#[async_trait]
impl Dial for TlsDial {
    async fn dial(&self, address: &str, expect: Option<&DomainName>) -> Result<Link, LinkError> {
        if self.tls.own().certificate_expires <= self.tls.clock.now() {
            return Err(LinkError::OwnExpired);
        }
        let io = within(CONNECT_S_MAX, self.network.connect(address)).await?.map_err(LinkError::Connect)?;
        let meter = Meter::default();
        let metered = Box::new(Metered::new(io, meter.clone()));
        let (io, peer) = within(HANDSHAKE_S_MAX, self.handshake.dial(&self.tls, metered)).await??;
        if let Some(expected) = expect.filter(|expected| **expected != peer.domain) {
            return Err(LinkError::WrongDomain { expected: expected.clone(), found: peer.domain });
        }
        meter.assign(&self.traffic, &peer.domain);
        Ok(Link::new(io, peer))
    }
}

/// Takes links at a listener, with TLS. Handshakes go on side by side, and no connection waits for another one: who
/// says nothing gives way to who comes later.
pub struct TlsAccept {
    listener: Box<dyn Listener>,
    handshake: Arc<dyn Handshake>,
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
    handshakes: JoinSet<Result<Link, LinkError>>,
    /// Those that go on, the oldest first.
    ongoing: Vec<Greeting>,
    links: Arc<Places>,
}

/// An incoming handshake.
struct Greeting {
    task: AbortHandle,
    remote: SocketAddr,
    /// Counts what it said.
    meter: Meter,
}

impl TlsAccept {
    /// Takes links as `tls` says, and counts into `traffic`.
    pub fn new(
        listener: Box<dyn Listener>,
        handshake: Arc<dyn Handshake>,
        tls: Arc<Tls>,
        traffic: Arc<Traffic>,
    ) -> Self {
        let links = Places::new(INCOMING_LINKS_MAX, INCOMING_LINKS_PER_DOMAIN_MAX);
        Self { listener, handshake, tls, traffic, handshakes: JoinSet::new(), ongoing: Vec::new(), links }
    }

    fn begin(&mut self, io: BoxedIo, remote: SocketAddr) {
        if let Some(gives_way) = gives_way(&self.ongoing, remote.ip()) {
            let Greeting { task, remote, .. } = self.ongoing.remove(gives_way);
            task.abort();
            tracing::info!(%remote, "a connection that did not finish its handshake gave way to a later one");
        }
        let (handshake, tls, traffic) = (Arc::clone(&self.handshake), Arc::clone(&self.tls), Arc::clone(&self.traffic));
        let meter = Meter::default();
        let counted = meter.clone();
        let task = self.handshakes.spawn(async move {
            let metered = Box::new(Metered::new(io, counted.clone()));
            let (io, peer) = within(HANDSHAKE_S_MAX, handshake.accept(&tls, metered)).await??;
            counted.assign(&traffic, &peer.domain);
            Ok(Link::new(io, peer))
        });
        self.ongoing.push(Greeting { task, remote, meter });
    }

    /// The link that a handshake ended with, if it is taken. One that gave way is no longer ongoing.
    fn end(&mut self, ended: Result<(Id, Result<Link, LinkError>), JoinError>) -> Option<Link> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let at = self.ongoing.iter().position(|handshake| handshake.task.id() == id)?;
        let remote = self.ongoing.remove(at).remote;
        let link = match ended {
            Ok((_, Ok(link))) => link,
            Ok((_, Err(error))) => {
                tracing::info!(%remote, %error, "refused a link");
                return None;
            }
            Err(error) => {
                tracing::error!(%remote, %error, "a handshake ended early");
                return None;
            }
        };
        let peer = &link.peer().domain;
        match self.links.take(peer) {
            Ok(place) => {
                tracing::debug!(%peer, %remote, "took a link");
                Some(link.at_place(place))
            }
            Err(error) => {
                tracing::warn!(%peer, %remote, %error, "closed a link");
                None
            }
        }
    }
}

/// Which handshake gives way to a connection from `remote`, if one must: of those that compete with it for a place the
/// oldest that has said nothing, else the oldest.
fn gives_way(ongoing: &[Greeting], remote: IpAddr) -> Option<usize> {
    let of_address = |handshake: &Greeting| handshake.remote.ip() == remote;
    let crowded = ongoing.iter().filter(|handshake| of_address(handshake)).count() >= HANDSHAKES_PER_ADDRESS_MAX;
    if !crowded && ongoing.len() < HANDSHAKES_MAX {
        return None;
    }
    let competing = || ongoing.iter().enumerate().filter(|(_, handshake)| !crowded || of_address(handshake));
    let silent = competing().find(|(_, handshake)| handshake.meter.received_bytes() == 0);
    silent.or_else(|| competing().next()).map(|(at, _)| at)
}

#[async_trait]
impl Accept for TlsAccept {
    async fn accept(&mut self) -> Result<Link, LinkError> {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next_with_id() => {
                    if let Some(link) = self.end(ended) {
                        return Ok(link);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((io, remote)) => self.begin(io, remote),
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection");
                        sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
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
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(cause) => refused(cause.clone()),
        None => LinkError::Handshake(error),
    }
}

/// Why a certificate was not believed.
fn refused(cause: rustls::Error) -> LinkError {
    match cause {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            LinkError::PeerExpired
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            LinkError::ForeignCity
        }
        other => LinkError::Handshake(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests;
