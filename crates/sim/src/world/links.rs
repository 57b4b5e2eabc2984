//! Links without encryption: each side shows its certificate in the clear, and is judged as TLS would judge it.

use async_trait::async_trait;
use civicmesh_exchange::link::{BoxedIo, LinkError, PeerIdentity};
use civicmesh_exchange::tls::{Handshake, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest certificate that is read, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// The handshake of the simulation.
pub struct Plain;

#[async_trait]
impl Handshake for Plain {
    async fn dial(&self, tls: &Tls, mut io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let shown = exchange(tls, &mut io).await.map_err(LinkError::Handshake)?;
        let peer = tls.judge_answering(&shown)?;
        Ok((io, peer))
    }

    async fn accept(&self, tls: &Tls, mut io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let shown = exchange(tls, &mut io).await.map_err(LinkError::Handshake)?;
        let peer = tls.judge_calling(&shown)?;
        Ok((io, peer))
    }
}

/// Shows the own certificate and reads the other's.
async fn exchange(tls: &Tls, io: &mut BoxedIo) -> std::io::Result<Vec<u8>> {
    let own = tls.certificate();
    let mut shown = u32::try_from(own.len()).map_err(std::io::Error::other)?.to_be_bytes().to_vec();
    shown.extend_from_slice(&own);
    io.write_all(&shown).await?;
    io.flush().await?;
    let length = io.read_u32().await? as usize;
    if length > CERTIFICATE_BYTES_MAX {
        return Err(std::io::Error::other("the certificate is too long"));
    }
    let mut certificate = vec![0; length];
    io.read_exact(&mut certificate).await?;
    Ok(certificate)
}
