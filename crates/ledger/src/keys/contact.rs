//! How the last attempts to reach a peer went.
//!
//! ```text
//! key    domain in ASCII
//! value  postcard of PeerContact (see [`super::to_bytes`])
//! ```

use civicmesh_model::names::DomainName;
use civicmesh_store::Keyspace;

use crate::error::LedgerError;
use crate::said::PeerContact;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("contact");

pub(crate) fn key(domain: &DomainName) -> &[u8] {
    domain.as_str().as_bytes()
}

pub(crate) fn parse(key: &[u8]) -> Result<DomainName, LedgerError> {
    let name = std::str::from_utf8(key).ok().and_then(|name| name.parse().ok());
    name.ok_or(LedgerError::Damaged("a contact without its domain"))
}

pub(crate) fn to_bytes(contact: &PeerContact) -> Vec<u8> {
    super::to_bytes(contact)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<PeerContact, LedgerError> {
    super::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use civicmesh_model::time::UtcMicros;

    use super::*;

    #[test]
    fn keys_and_values_round_trip() {
        let domain: DomainName = "traffic".parse().unwrap();
        assert_eq!(parse(key(&domain)).unwrap(), domain);
        assert!(parse(b"No Domain").is_err());
        let contact = PeerContact {
            at: UtcMicros(3),
            reached_at: Some(UtcMicros(1)),
            unreachable_since: Some(UtcMicros(2)),
            reason: Some("connection refused".into()),
        };
        assert_eq!(from_bytes(&to_bytes(&contact)).unwrap(), contact);
    }
}
