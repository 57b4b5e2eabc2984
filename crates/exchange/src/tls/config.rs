//! What rustls is told: TLS 1.3, certificates on both sides, the city's authority and no other, the node's own clock.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::link::Clock;

/// Both ends must speak HTTP/2, which gRPC is carried by.
const ALPN: &[u8] = b"h2";
/// What is spoken on the department's side: gRPC, plain HTTP for metrics, and PostgreSQL's protocol at its own listener.
const DEPARTMENT_ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"postgresql"];

pub(super) fn client_config(
    roots: &Arc<RootCertStore>,
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
    city_time: &Arc<CityTime>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::clone(city_time) as _)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CityVerifier::new(roots)?))
        .with_client_auth_cert(vec![certificate.clone()], key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

pub(super) fn server_config(
    roots: &Arc<RootCertStore>,
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
    city_time: &Arc<CityTime>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::clone(city_time) as _)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(client_verifier(roots)?)
        .with_single_cert(vec![certificate.clone()], key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Believes whoever calls with a certificate of the city's office that is in force.
pub(super) fn client_verifier(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// For someone of a department, who shows no certificate.
pub(super) fn guest_config(
    roots: &Arc<RootCertStore>,
    city_time: &Arc<CityTime>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::clone(city_time) as _)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CityVerifier::new(roots)?))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// For a node towards its own department: no certificate is asked for.
pub(super) fn department_config(
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
    city_time: &Arc<CityTime>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::clone(city_time) as _)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.clone_key())?;
    config.alpn_protocols = DEPARTMENT_ALPN.map(<[u8]>::to_vec).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The node's clock, for rustls.
pub(super) struct CityTime(pub(super) Arc<dyn Clock>);

impl fmt::Debug for CityTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CityTime")
    }
}

impl TimeProvider for CityTime {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Believes every certificate of the city's office that is in force. Which domain it must name is compared by
/// `TlsDial` before a byte of ours is sent: a seed's address is known before its domain is.
#[derive(Debug)]
pub(super) struct CityVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    signatures: Arc<WebPkiServerVerifier>,
}

impl CityVerifier {
    pub(super) fn new(roots: &Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let provider = provider();
        let signatures = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { roots: Arc::clone(roots), provider, signatures })
    }
}

impl ServerCertVerifier for CityVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
