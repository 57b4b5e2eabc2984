//! The roster: who is in the city, signed by the city's office. Nodes hand each other the newest one when they greet.

use std::{
    collections::BTreeMap,
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use civicmesh_ledger::VerifyingKey;
use civicmesh_model::{hash::Hash32, names::DomainName, time::Zone};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    document::{Document, DocumentError},
    identity::{IdentityError, public_key_of},
    link::PeerIdentity,
};

/// How many domains a city has at most.
pub const MEMBERS_MAX: usize = 1000;
/// How many removed domains a roster remembers at most.
pub const REMOVED_MAX: usize = 1000;
/// The longest name of a city, in characters.
pub const CITY_NAME_CHARACTERS_MAX: usize = 60;
/// The longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 260;

const KIND: &str = "roster";
const SIGNER: &str = "city";

/// A roster that is not to be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Not a roster.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Not signed by this city's office.
    #[error("the roster is not signed by this city's office")]
    BadSignature,
    /// It says something that no roster can say.
    #[error("the roster is unsound: {0}")]
    Unsound(&'static str),
    /// It is for a city of another name or time zone.
    #[error("the roster is for {0}, another city")]
    OtherCity(String),
    /// Two different rosters bear one serial: the office's folder was put back to an earlier state.
    #[error("there are two different rosters with serial {0}; the city's office has to issue a newer one")]
    SerialReused(u64),
    /// The newer roster could not be kept.
    #[error("the newer roster could not be kept: {0}")]
    NotKept(String),
}

/// Who is in the city.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The city's name.
    pub city: String,
    /// The city's time zone: its days are the city's days.
    pub timezone: Zone,
    /// Counts up; the highest is in force.
    pub serial: u64,
    /// The domains.
    pub members: BTreeMap<DomainName, Member>,
    /// SHA-256 of the public keys that removed domains showed on links: their certificates are in force until they
    /// expire, and are refused. A domain that comes back with the same keys is no longer among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed: BTreeMap<DomainName, Hash32>,
}

/// One domain of the city.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where peers reach its node.
    pub address: Address,
    /// The public key that verifies its log heads.
    pub release_key: ReleaseKey,
    /// SHA-256 of the public key that its node shows on links.
    pub tls_key: Hash32,
}

impl Roster {
    /// Whether the roster admits this identity: the domain is a member and shows the key enrolled.
    pub fn admits(&self, peer: &PeerIdentity) -> bool {
        self.members.get(&peer.domain).is_some_and(|member| member.tls_key == peer.key)
    }

    /// Whether this identity was removed from the city.
    pub fn removed(&self, peer: &PeerIdentity) -> bool {
        self.removed.get(&peer.domain).is_some_and(|key| *key == peer.key)
    }

    fn check(&self) -> Result<(), RosterError> {
        check_city_name(&self.city).map_err(RosterError::Unsound)?;
        if self.members.len() > MEMBERS_MAX {
            return Err(RosterError::Unsound("too many members"));
        }
        if self.removed.len() > REMOVED_MAX {
            return Err(RosterError::Unsound("too many removed domains"));
        }
        Ok(())
    }
}

/// Whether a city can have this name; else, why not.
pub(crate) fn check_city_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        Err("a city has a name")
    } else if name.chars().count() > CITY_NAME_CHARACTERS_MAX {
        Err("the city's name is too long")
    } else if name.chars().any(char::is_control) {
        Err("the city's name holds a control character")
    } else {
        Ok(())
    }
}

/// A host and a port, `HOST:PORT`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT with a port from 1 to 65535")]
pub struct AddressError(String);

impl Address {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The port.
    pub fn port(&self) -> u16 {
        port_of(&self.0).expect("checked when made")
    }
}

fn port_of(text: &str) -> Option<u16> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let ipv6 =
        bracketed && host[1..host.len() - 1].bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port > 0)?;
    ((plain || ipv6) && digits && text.len() <= ADDRESS_BYTES_MAX).then_some(port)
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match port_of(text) {
            Some(_) => Ok(Self(text.into())),
            None => Err(AddressError(text.chars().take(ADDRESS_BYTES_MAX).collect())),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// An Ed25519 public key that verifies a domain's log heads; hexadecimal as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseKey(Hash32);

impl ReleaseKey {
    /// From the key's 32 bytes.
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Hash32(bytes))
    }

    /// The key's 32 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key, ready for use.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::new(self.0.0.to_vec()).expect("32 bytes, which such a key has")
    }
}

/// The city's public key, which verifies rosters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CityKey(Vec<u8>);

impl CityKey {
    /// The key of the city's certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        public_key_of(certificate).map(Self)
    }

    /// What a person compares over the telephone before believing a city's certificate.
    pub fn fingerprint(&self) -> Hash32 {
        Hash32::of(&[&self.0])
    }
}

/// A roster whose signature was verified, and the bytes that prove it, always laid out alike.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedRoster {
    roster: Roster,
    bytes: Vec<u8>,
}

impl SignedRoster {
    /// Verifies a roster against the city's key.
    pub fn verify(bytes: &[u8], city: &CityKey) -> Result<Self, RosterError> {
        let document = Document::parse(KIND, bytes)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &city.0)
            .verify(&document.signing_bytes(), &document.signature(SIGNER)?)
            .map_err(|_| RosterError::BadSignature)?;
        let roster: Roster = document.content()?;
        roster.check()?;
        Ok(Self { roster, bytes: document.to_bytes() })
    }

    /// Signs a roster; for the city's office, which holds the key.
    pub(crate) fn sign(roster: Roster, key: &impl rcgen::SigningKey) -> Result<Self, RosterError> {
        roster.check()?;
        let mut document = Document::new(KIND, &roster)?;
        let signature = key.sign(&document.signing_bytes()).map_err(|_| RosterError::BadSignature)?;
        document.sign(SIGNER, &signature);
        Ok(Self { roster, bytes: document.to_bytes() })
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The bytes to hand on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What became of a roster that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is newer, kept, and in force.
    Adopted,
    /// It is the one in force, or older.
    NotNewer,
}

/// Keeps a roster's bytes where they survive a restart.
pub type KeepRoster = Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>;

/// The roster in force at a node.
pub struct RosterBook {
    city: CityKey,
    keep: KeepRoster,
    /// Held while an offer is weighed and kept: who reads the roster in force waits for no disk.
    offering: Mutex<()>,
    current: watch::Sender<Arc<SignedRoster>>,
}

impl RosterBook {
    /// Begins with the roster kept earlier; `keep` is called with every newer one before it comes into force.
    pub fn open(bytes: &[u8], city: CityKey, keep: KeepRoster) -> Result<Self, RosterError> {
        let current = watch::Sender::new(Arc::new(SignedRoster::verify(bytes, &city)?));
        Ok(Self { city, keep, offering: Mutex::default(), current })
    }

    /// The roster in force.
    pub fn current(&self) -> Arc<SignedRoster> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<SignedRoster>> {
        self.current.subscribe()
    }

    /// Takes a roster that somebody showed. Blocks while it is kept.
    pub fn offer(&self, bytes: &[u8]) -> Result<Offer, RosterError> {
        let offered = SignedRoster::verify(bytes, &self.city)?;
        let _offering = self.offering.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        let (old, new) = (&current.roster, &offered.roster);
        if (&new.city, new.timezone) != (&old.city, old.timezone) {
            return Err(RosterError::OtherCity(format!("{} ({})", new.city, new.timezone)));
        }
        if new.serial == old.serial && new != old {
            return Err(RosterError::SerialReused(new.serial));
        }
        if new.serial <= old.serial {
            return Ok(Offer::NotNewer);
        }
        (self.keep)(&offered.bytes).map_err(|error| RosterError::NotKept(error.to_string()))?;
        self.current.send_replace(Arc::new(offered));
        Ok(Offer::Adopted)
    }
}

impl fmt::Debug for RosterBook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RosterBook").field("current", &self.current).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
