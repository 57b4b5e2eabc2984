//! The salt of an entry: without it the hash of a small or erased release could be guessed.

use std::fmt;

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Separates salts from every other use of the domain's secret.
const LABEL: &[u8] = b"civicmesh salt v1\0";

/// The domain's secret from which salts are drawn. It never leaves the node.
pub struct SaltKey([u8; 32]);

impl SaltKey {
    /// A key of 32 random bytes, drawn once in the life of a domain.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// HMAC-SHA256 over product, window and revision: the same entry has the same salt, however often it is made.
    pub(crate) fn salt(&self, product: &ProductId, start: UtcMicros, end: UtcMicros, revision: u32) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(LABEL);
        // A product's name holds no zero byte, so the parts cannot run into each other.
        mac.update(product.to_string().as_bytes());
        mac.update(&[0]);
        mac.update(&start.0.to_be_bytes());
        mac.update(&end.0.to_be_bytes());
        mac.update(&revision.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SaltKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_salt() {
        let key = SaltKey::new([7; 32]);
        let product: ProductId = "traffic.taxi".parse().expect("a product");
        let salt = key.salt(&product, UtcMicros(0), UtcMicros(60), 0);
        assert_eq!(salt, key.salt(&product, UtcMicros(0), UtcMicros(60), 0));
        let others = [
            SaltKey::new([8; 32]).salt(&product, UtcMicros(0), UtcMicros(60), 0),
            key.salt(&"traffic.taxis".parse().expect("a product"), UtcMicros(0), UtcMicros(60), 0),
            key.salt(&product, UtcMicros(60), UtcMicros(60), 0),
            key.salt(&product, UtcMicros(0), UtcMicros(120), 0),
            key.salt(&product, UtcMicros(0), UtcMicros(60), 1),
        ];
        assert!(others.iter().all(|other| *other != salt));
        assert_eq!(format!("{key:?}"), "SaltKey(redacted)");
    }
}
