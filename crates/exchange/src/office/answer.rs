//! The office's answer to a request, and how a node installs it.

use civicmesh_model::{
    hash::Hash32,
    names::DomainName,
    time::{UtcMicros, Zone},
};
use rcgen::PublicKeyData;
use rustls::{RootCertStore, client::verify_server_cert_signed_by_trust_anchor, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    OfficeError,
    files::{self, Privacy},
    folder::NodeFolder,
};
use crate::{
    document::{DOCUMENT_BYTES_MAX, DocumentError},
    identity::identity_of,
    roster::{CityKey, SignedRoster},
};

const KIND: &str = "answer";

/// What the office hands back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The node's certificate, in PEM form.
    certificate: String,
    /// The city's certificate, in PEM form.
    city_certificate: String,
    /// The signed roster.
    roster: Value,
}

impl Answer {
    pub(super) fn new(
        certificate: String,
        city_certificate: String,
        roster: &SignedRoster,
    ) -> Result<Self, OfficeError> {
        let roster = serde_json::from_slice(roster.as_bytes()).map_err(|error| shape(&error))?;
        Ok(Self { certificate, city_certificate, roster })
    }

    fn parse(bytes: &[u8]) -> Result<Self, OfficeError> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLarge.into());
        }
        serde_json::from_slice(bytes).map_err(|error| shape(&error))
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, OfficeError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| shape(&error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn shape(error: &serde_json::Error) -> OfficeError {
    DocumentError::Shape { kind: KIND, reason: error.to_string() }.into()
}

/// An answer that was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The domain.
    pub domain: DomainName,
    /// The city that the node is in.
    pub city: String,
    /// Its time zone.
    pub timezone: Zone,
    /// Fingerprint of the city's key, for a person to compare with what the office tells them.
    pub fingerprint: Hash32,
    /// When the certificate expires.
    pub expires: UtcMicros,
}

/// Installs the office's answer into a node's folder, once everything in it holds together. A running node picks it up
/// (see [`NodeFolder::reload`]).
pub fn accept(folder: &NodeFolder, answer: &[u8], now: UtcMicros) -> Result<Accepted, OfficeError> {
    let answer = Answer::parse(answer)?;
    let certificate = certificate(&answer.certificate)?;
    let city_certificate = certificate_of_city(folder, &answer.city_certificate)?;
    let city = CityKey::of(&city_certificate)?;
    let own = identity_of(&certificate)?;
    let key = Hash32::of(&[&folder.tls_key_pair()?.subject_public_key_info()]);
    if own.key != key || own.domain != folder.domain()? {
        return Err(OfficeError::OtherNode);
    }
    check_issued(&certificate, city_certificate, now)?;
    let roster = SignedRoster::verify(answer.roster.to_string().as_bytes(), &city)?;
    if !roster.roster().admits(&own) {
        return Err(OfficeError::OtherNode);
    }
    files::write(&folder.city_file(), answer.city_certificate.as_bytes(), Privacy::Open)?;
    keep_newest(folder, &roster, &city)?;
    files::write(&folder.certificate_file(), answer.certificate.as_bytes(), Privacy::Open)?;
    let fingerprint = city.fingerprint();
    let (city, timezone) = (roster.roster().city.clone(), roster.roster().timezone);
    Ok(Accepted { domain: own.domain, city, timezone, fingerprint, expires: own.certificate_expires })
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, OfficeError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| DocumentError::Shape { kind: KIND, reason: "no certificate".into() }.into())
}

/// The city's certificate; a node that is in a city already stays in it.
fn certificate_of_city(folder: &NodeFolder, pem: &str) -> Result<CertificateDer<'static>, OfficeError> {
    let city_certificate = certificate(pem)?;
    if folder.city_file().exists() && folder.city_key()? != CityKey::of(&city_certificate)? {
        return Err(OfficeError::OtherCity);
    }
    Ok(city_certificate)
}

/// Whether the city's office issued the certificate, and it is in force.
pub(super) fn check_issued(
    certificate: &CertificateDer<'_>,
    city_certificate: CertificateDer<'static>,
    now: UtcMicros,
) -> Result<(), OfficeError> {
    let invalid = |error: rustls::Error| OfficeError::Invalid(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(city_certificate).map_err(invalid)?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_micros(now.0.max(0).unsigned_abs()));
    let parsed = ParsedCertificate::try_from(certificate).map_err(invalid)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms.all).map_err(invalid)
}

/// Writes the roster unless the node holds a newer one, which peers may have handed it.
fn keep_newest(folder: &NodeFolder, roster: &SignedRoster, city: &CityKey) -> Result<(), OfficeError> {
    let path = folder.roster_file();
    if path.exists() {
        let kept = SignedRoster::verify(&files::read(&path)?, city)?;
        if kept.roster().serial >= roster.roster().serial {
            return Ok(());
        }
    }
    files::write(&path, roster.as_bytes(), Privacy::Open)
}
