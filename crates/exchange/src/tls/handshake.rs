//! The seam between a fresh connection and a link whose other end is known.

use std::sync::Arc;

use async_trait::async_trait;
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{NO_SERVER_NAME, Tls, handshake_error, shown_identity};
use crate::link::{BoxedIo, LinkError, PeerIdentity};

/// Makes of a fresh connection a byte stream to someone who is known. A node speaks TLS ([`Encrypted`]); no
/// configuration names another way. A simulation, which has no eavesdropper, passes one that shows the same
/// certificates in the clear and judges them by [`Tls::judge_answering`] and [`Tls::judge_calling`].
#[async_trait]
pub trait Handshake: Send + Sync {
    /// On a connection that this node made.
    async fn dial(&self, tls: &Tls, io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError>;

    /// On a connection that someone else made.
    async fn accept(&self, tls: &Tls, io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError>;
}

/// Mutual TLS 1.3.
pub struct Encrypted;

#[async_trait]
impl Handshake for Encrypted {
    async fn dial(&self, tls: &Tls, io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let name = ServerName::try_from(NO_SERVER_NAME).expect("a constant that is a valid name");
        let connecting = TlsConnector::from(Arc::clone(&tls.loaded().client)).connect(name, io);
        let stream = connecting.await.map_err(handshake_error)?;
        let peer = shown_identity(stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), peer))
    }

    async fn accept(&self, tls: &Tls, io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let accepting = TlsAcceptor::from(Arc::clone(&tls.loaded().server)).accept(io);
        let stream = accepting.await.map_err(handshake_error)?;
        let peer = shown_identity(stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), peer))
    }
}
