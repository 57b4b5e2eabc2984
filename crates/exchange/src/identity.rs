//! Which domain a certificate speaks for. The name stands in the certificate as a URI, `civicmesh:domain:NAME`, so
//! that it can never be mistaken for a host's name.

use civicmesh_model::{hash::Hash32, names::DomainName, time::UtcMicros};
use rustls_pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::*};

use crate::link::PeerIdentity;

const URI_PREFIX: &str = "civicmesh:domain:";
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A certificate that speaks for no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It does not name exactly one domain.
    #[error("the certificate names no domain")]
    NoDomain,
    /// The other side showed no certificate.
    #[error("no certificate was shown")]
    Missing,
}

/// The name of `domain` as a certificate holds it.
pub(crate) fn domain_uri(domain: &DomainName) -> String {
    format!("{URI_PREFIX}{domain}")
}

/// Whom a certificate speaks for. Says nothing about whether it should be believed: that is the handshake's part.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, IdentityError> {
    let certificate = parse(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| IdentityError::Unreadable)?
        .ok_or(IdentityError::NoDomain)?;
    let mut domains = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(URI_PREFIX),
        _ => None,
    });
    let (Some(domain), None) = (domains.next(), domains.next()) else {
        return Err(IdentityError::NoDomain);
    };
    Ok(PeerIdentity {
        domain: domain.parse().map_err(|_| IdentityError::NoDomain)?,
        key: Hash32::of(&[certificate.public_key().raw]),
        certificate_expires: UtcMicros(certificate.validity().not_after.timestamp().saturating_mul(MICROS_PER_SECOND)),
    })
}

/// The public key of a certificate: the bits themselves, without their algorithm.
pub(crate) fn public_key_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, IdentityError> {
    Ok(parse(certificate)?.public_key().subject_public_key.data.to_vec())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::Unreadable),
    }
}
