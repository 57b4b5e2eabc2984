//! The key that signs a domain's log heads, and the one that verifies them. It is not the key of its TLS certificate.

use std::fmt;

use civicmesh_model::hash::Hash32;
use civicmesh_model::log::{Head, SignedHead};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Bytes of an Ed25519 public key.
const PUBLIC_BYTES: usize = 32;

/// What stands before the 32 bytes of an Ed25519 private key in a PKCS#8 document (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key that cannot be read. Nothing of it is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A private key that is not an Ed25519 key in PKCS#8.
    #[error("the signing key is no Ed25519 key in PKCS#8")]
    Signing,
    /// A public key of another length.
    #[error("an Ed25519 public key has {PUBLIC_BYTES} bytes")]
    Verifying,
}

/// The private key of a domain's log heads.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The PKCS#8 document, to be kept in a file of mode 0600, of the key that these 32 random bytes are.
    pub fn document(seed: &[u8; 32]) -> Vec<u8> {
        [&PKCS8_PREFIX[..], seed].concat()
    }

    /// Reads a PKCS#8 document.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map(Self).map_err(|_| KeyError::Signing)
    }

    /// The public key.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.public_key().as_ref().to_vec())
    }

    /// Signs a head. The same head has the same signature.
    pub fn sign(&self, head: Head) -> SignedHead {
        let signature = self.0.sign(&head.signing_bytes()).as_ref().to_vec();
        SignedHead { head, key: self.verifying_key().id(), signature }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, redacted)", self.verifying_key().id())
    }
}

/// The public key of a domain's log heads, as the roster has it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(Vec<u8>);

impl VerifyingKey {
    /// A key of 32 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        if bytes.len() == PUBLIC_BYTES { Ok(Self(bytes)) } else { Err(KeyError::Verifying) }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of its bytes: how a signed head names its key.
    pub fn id(&self) -> Hash32 {
        Hash32::of(&[&self.0])
    }

    /// Whether this key signed the head.
    pub fn signed(&self, signed: &SignedHead) -> bool {
        signed.key == self.id()
            && UnparsedPublicKey::new(&ED25519, &self.0).verify(&signed.head.signing_bytes(), &signed.signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use civicmesh_model::time::UtcMicros;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::document(&[seed; 32])).unwrap()
    }

    fn head() -> Head {
        let root = Hash32([3; 32]);
        Head { product: "traffic.taxi".parse().unwrap(), size: 5, root, closed_through: UtcMicros(7), at: UtcMicros(9) }
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn a_seed_gives_the_key_that_the_standard_says() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let Hash32(seed) = seed.parse().unwrap();
        let Hash32(public) = public.parse().unwrap();
        let key = SigningKey::from_pkcs8(&SigningKey::document(&seed)).unwrap();
        assert_eq!(key.verifying_key().as_bytes(), public);
    }

    #[test]
    fn only_the_signer_of_the_unchanged_head_verifies() {
        let signed = key(1).sign(head());
        assert!(key(1).verifying_key().signed(&signed));
        assert!(!key(2).verifying_key().signed(&signed));
        let mut changed = signed.clone();
        changed.head.size += 1;
        assert!(!key(1).verifying_key().signed(&changed));
        let mut renamed = signed.clone();
        renamed.key = key(2).verifying_key().id();
        assert!(!key(1).verifying_key().signed(&renamed));
        let mut cut = signed;
        cut.signature.pop();
        assert!(!key(1).verifying_key().signed(&cut));
    }

    #[test]
    fn no_private_byte_is_printed_and_no_other_key_is_read() {
        let text = format!("{:?}", key(0xab));
        assert!(text.contains("redacted") && !text.contains("abab") && !text.contains("171"));
        assert_eq!(SigningKey::from_pkcs8(b"no key").unwrap_err(), KeyError::Signing);
        assert_eq!(VerifyingKey::new(vec![0; 31]).unwrap_err(), KeyError::Verifying);
    }
}
