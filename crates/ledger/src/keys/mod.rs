//! What the ledger stores, one file a keyspace: its keys, its values, their layout and a test of both.
//!
//! Keys begin with the product, `domain.product` in ASCII, and a zero byte, which no name holds; so the keys of one
//! product stand together, and products stand in the order of their names. Numbers are big-endian; a time has its
//! sign bit flipped, so that bytes sort as times do.

pub(crate) mod confirmed;
pub(crate) mod contact;
pub(crate) mod contract;
pub(crate) mod entry;
pub(crate) mod found;
pub(crate) mod frontier;
pub(crate) mod leaf;
pub(crate) mod product;
pub(crate) mod refused;
pub(crate) mod segment;
pub(crate) mod vault;
pub(crate) mod window;

use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::time::UtcMicros;
use civicmesh_store::Keyspace;

use crate::error::LedgerError;

/// Every keyspace of the ledger.
pub(crate) const KEYSPACES: &[Keyspace] = &[
    confirmed::KEYSPACE,
    contact::KEYSPACE,
    contract::KEYSPACE,
    entry::KEYSPACE,
    found::KEYSPACE,
    frontier::KEYSPACE,
    leaf::KEYSPACE,
    product::KEYSPACE,
    refused::KEYSPACE,
    segment::COLUMNS,
    segment::REVISED,
    segment::SEGMENTS,
    vault::KEYSPACE,
    window::KEYSPACE,
];

/// What all keys of a product begin with.
pub(crate) fn prefix(product: &ProductId) -> Vec<u8> {
    let mut key = product.to_string().into_bytes();
    key.push(0);
    key
}

/// What the keys of all products of a domain begin with: no name holds a dot.
pub(crate) fn prefix_of_domain(domain: &DomainName) -> Vec<u8> {
    format!("{domain}.").into_bytes()
}

/// A key of a product: the prefix, then `rest`.
pub(crate) fn within(product: &ProductId, rest: &[u8]) -> Vec<u8> {
    let mut key = prefix(product);
    key.extend_from_slice(rest);
    key
}

/// What follows the product in a key, of which `N` bytes are expected.
pub(crate) fn rest<const N: usize>(key: &[u8]) -> Result<[u8; N], LedgerError> {
    let zero = key.iter().position(|byte| *byte == 0);
    let mut rest = zero.map_or(&[][..], |zero| &key[zero + 1..]);
    let taken = take(&mut rest)?;
    done(rest)?;
    Ok(taken)
}

/// A time as bytes that sort as times do.
pub(crate) fn time_bytes(t: UtcMicros) -> [u8; 8] {
    (t.0 ^ i64::MIN).to_be_bytes()
}

/// The time that these bytes are.
pub(crate) fn time_of(bytes: [u8; 8]) -> UtcMicros {
    UtcMicros(i64::from_be_bytes(bytes) ^ i64::MIN)
}

/// Takes the first `N` bytes off.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], LedgerError> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or(LedgerError::Damaged("a value that is too short"))?;
    *bytes = rest;
    Ok(*first)
}

/// Checks that nothing is left.
pub(crate) fn done(bytes: &[u8]) -> Result<(), LedgerError> {
    if bytes.is_empty() { Ok(()) } else { Err(LedgerError::Damaged("a value that is too long")) }
}

/// What begins a value in [postcard](https://postcard.jamesmunns.com/wire-format); no JSON text begins so.
const POSTCARD: u8 = 1;

/// A value of the ledger's own; ledgers of older versions have it as JSON.
pub(crate) fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, LedgerError> {
    match bytes {
        [POSTCARD, value @ ..] => match postcard::take_from_bytes(value) {
            Ok((value, [])) => Ok(value),
            _ => Err(LedgerError::Damaged("a value that cannot be read")),
        },
        json => from_json(json),
    }
}

/// The bytes of a value of the ledger's own.
pub(crate) fn to_bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![POSTCARD]).expect("values of known length, and no failing serializer")
}

/// A value that is JSON.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(bytes).map_err(|_| LedgerError::Damaged("a value that is not the JSON expected"))
}

/// The JSON of a value.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the ledger's own values have text keys and no failing serializer")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_sort_as_their_bytes_do(a: i64, b: i64) {
            let (a, b) = (UtcMicros(a), UtcMicros(b));
            prop_assert_eq!(a.cmp(&b), time_bytes(a).cmp(&time_bytes(b)));
            prop_assert_eq!(time_of(time_bytes(a)), a);
        }
    }

    #[test]
    fn a_key_gives_back_what_follows_its_product() {
        let key = within(&"traffic.taxi".parse().unwrap(), &[0, 1, 2]);
        assert_eq!(rest(&key).unwrap(), [0, 1, 2]);
        assert!(rest::<2>(&key).is_err() && rest::<4>(&key).is_err() && rest::<1>(b"traffic.taxi").is_err());
    }

    #[test]
    fn the_keys_of_a_domain_are_its_products_alone() {
        let of = |domain: &str, product: &str| {
            let prefix = prefix_of_domain(&domain.parse().unwrap());
            super::prefix(&product.parse().unwrap()).starts_with(&prefix)
        };
        assert!(of("traffic", "traffic.taxi") && of("traffic", "traffic.bus"));
        assert!(!of("traffic", "traffic_police.taxi") && !of("traffic", "transit.taxi"));
    }

    #[test]
    fn every_keyspace_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = KEYSPACES.iter().map(Keyspace::name).collect();
        assert_eq!(names.len(), KEYSPACES.len());
    }
}
