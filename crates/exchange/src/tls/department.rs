//! TLS between a department's own people and their node: the node shows its city certificate, they show tokens.

use std::{fs, path::Path, sync::Arc};

use civicmesh_model::names::DomainName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::{
    CITY_FILE, HANDSHAKE_S_MAX, NO_SERVER_NAME, TlsError,
    config::{CityTime, guest_config},
    handshake_error, shown_identity, within,
};
use crate::link::{BoxedIo, Clock, LinkError};

/// Someone of a department, who believes the node that shows a certificate of the city's office: for their domain, where
/// they say which.
#[derive(Clone)]
pub struct Guest {
    domain: Option<DomainName>,
    config: Arc<ClientConfig>,
}

impl Guest {
    /// Reads `city.pem` in `folder`.
    pub fn load(folder: &Path, domain: Option<DomainName>, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let path = folder.join(CITY_FILE);
        let city = match fs::read(&path) {
            Ok(city) => CertificateDer::from_pem_slice(&city),
            Err(error) => return Err(TlsError::File { path, error }),
        };
        let what = "certificate";
        let city = city.map_err(|_| TlsError::Pem { path, what })?;
        let mut roots = RootCertStore::empty();
        roots.add(city).map_err(TlsError::Unusable)?;
        let city_time = Arc::new(CityTime(clock));
        let config = guest_config(&Arc::new(roots), &city_time).map_err(TlsError::Unusable)?;
        Ok(Self { domain, config })
    }

    /// Goes through the handshake on a fresh connection.
    pub async fn connect(&self, io: BoxedIo) -> Result<BoxedIo, LinkError> {
        let name = ServerName::try_from(NO_SERVER_NAME).expect("a constant that is a valid name");
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, io);
        let stream = within(HANDSHAKE_S_MAX, connecting).await?.map_err(handshake_error)?;
        let shown = shown_identity(stream.get_ref().1.peer_certificates())?;
        if let Some(expected) = self.domain.clone().filter(|expected| *expected != shown.domain) {
            return Err(LinkError::WrongDomain { expected, found: shown.domain });
        }
        Ok(Box::new(stream))
    }
}
