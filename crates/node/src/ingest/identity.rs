//! What makes a row, a contributor, the same one: hashes of values in one canonical form.

use std::fmt;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use civicmesh_model::names::DatasetName;
use civicmesh_observation::{CONTENT_BYTES, HASH_BYTES};
use ring::hmac;
use sha2::{Digest, Sha256};

use super::error::IngestError;

/// The domain's secret under which contributors, and values that are counted distinct, are hashed: without it nobody can try out identities.
#[derive(Clone)]
pub struct ContributorSecret(hmac::Key);

impl ContributorSecret {
    /// Takes the secret's bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        ContributorSecret(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl fmt::Debug for ContributorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContributorSecret")
    }
}

/// A column whose values are written in canonical form: a tag, then bytes that end by themselves.
enum Canonical<'a> {
    Text(&'a StringArray),
    Integer(&'a Int64Array),
    Number(&'a Float64Array),
    Time(&'a TimestampMicrosecondArray),
    Boolean(&'a BooleanArray),
    Bytes(&'a FixedSizeBinaryArray),
}

impl<'a> Canonical<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, IngestError> {
        if let Some(text) = array.as_string_opt::<i32>() {
            return Ok(Self::Text(text));
        }
        if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            return Ok(Self::Integer(numbers));
        }
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            return Ok(Self::Number(numbers));
        }
        if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            return Ok(Self::Time(times));
        }
        if let Some(flags) = array.as_boolean_opt() {
            return Ok(Self::Boolean(flags));
        }
        let bytes = array.as_fixed_size_binary_opt().map(Self::Bytes);
        bytes.ok_or_else(|| IngestError::Contract("a key column of a type that has no canonical form".to_owned()))
    }

    /// Appends the value of `row`.
    fn write(&self, row: usize, to: &mut Vec<u8>) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            to.push(tag);
            to.extend_from_slice(bytes);
        };
        match self {
            Self::Text(array) if array.is_valid(row) => {
                let text = array.value(row).as_bytes();
                tagged(1, &(text.len() as u64).to_le_bytes());
                to.extend_from_slice(text);
            }
            Self::Integer(array) if array.is_valid(row) => tagged(2, &array.value(row).to_le_bytes()),
            // zero has two signs, and they are equal
            Self::Number(array) if array.is_valid(row) => tagged(3, &(array.value(row) + 0.0).to_bits().to_le_bytes()),
            Self::Time(array) if array.is_valid(row) => tagged(4, &array.value(row).to_le_bytes()),
            Self::Boolean(array) if array.is_valid(row) => tagged(5, &[array.value(row).into()]),
            Self::Bytes(array) if array.is_valid(row) => tagged(6, array.value(row)),
            _ => tagged(0, &[]),
        }
    }
}

/// For each of `rows` rows, the first bytes of SHA-256 over its values in `columns`.
fn hashes(columns: &[ArrayRef], rows: usize, width: usize) -> Result<FixedSizeBinaryArray, IngestError> {
    let columns = columns.iter().map(Canonical::of).collect::<Result<Vec<_>, _>>()?;
    let mut hashes = FixedSizeBinaryBuilder::with_capacity(rows, width as i32);
    let mut bytes = Vec::new();
    for row in 0..rows {
        bytes.clear();
        columns.iter().for_each(|column| column.write(row, &mut bytes));
        hashes.append_value(&Sha256::digest(&bytes)[..width]).expect("each hash has the same width");
    }
    Ok(hashes.finish())
}

/// Names each row by its values in the key columns.
pub(super) fn keys(columns: &[ArrayRef], rows: usize) -> Result<FixedSizeBinaryArray, IngestError> {
    hashes(columns, rows, HASH_BYTES)
}

/// Tells an unchanged row from a corrected one by all that is stored of it.
pub(super) fn contents(columns: &[ArrayRef], rows: usize) -> Result<FixedSizeBinaryArray, IngestError> {
    hashes(columns, rows, CONTENT_BYTES)
}

/// Hashes contributors, keyed with the domain's secret; one person is two contributors in two datasets.
pub(super) fn contributors(
    column: &ArrayRef,
    dataset: &DatasetName,
    secret: &ContributorSecret,
) -> Result<FixedSizeBinaryArray, IngestError> {
    keyed(column, &[dataset.as_str().as_bytes(), &[0]].concat(), secret)
}

/// Hashes the values of a column whose distinct values are counted, null where there is none: keyed with the domain's
/// secret, and others than a contributor's, so that neither tells the other.
pub(super) fn distinct(
    column: &ArrayRef,
    dataset: &DatasetName,
    name: &str,
    secret: &ContributorSecret,
) -> Result<FixedSizeBinaryArray, IngestError> {
    // no value's canonical form begins with this byte
    keyed(column, &[dataset.as_str().as_bytes(), &[0, u8::MAX], name.as_bytes(), &[0]].concat(), secret)
}

/// HMAC-SHA256 of each value after the label; null where there is no value.
fn keyed(column: &ArrayRef, label: &[u8], secret: &ContributorSecret) -> Result<FixedSizeBinaryArray, IngestError> {
    let canonical = Canonical::of(column)?;
    let mut hashes = FixedSizeBinaryBuilder::with_capacity(column.len(), HASH_BYTES as i32);
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            hashes.append_null();
            continue;
        }
        bytes.clear();
        bytes.extend_from_slice(label);
        canonical.write(row, &mut bytes);
        let tag = hmac::sign(&secret.0, &bytes);
        hashes.append_value(&tag.as_ref()[..HASH_BYTES]).expect("each hash has the same width");
    }
    Ok(hashes.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn equal_rows_have_equal_keys_and_others_do_not() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), None, Some(1)]));
        let keys = keys(&[texts(&[Some("a"), Some("a"), Some("a"), None]), numbers], 4).unwrap();
        assert_eq!(keys.value(0), keys.value(1));
        assert_ne!(keys.value(0), keys.value(2));
        assert_ne!(keys.value(0), keys.value(3));
        assert_eq!((keys.value_length(), contents(&[texts(&[None])], 1).unwrap().value_length()), (16, 8));
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let zeros = super::keys(&[zeros], 2).unwrap();
        assert_eq!(zeros.value(0), zeros.value(1));
    }

    #[test]
    fn contributors_need_the_secret() {
        let (dataset, other): (DatasetName, DatasetName) = ("trips".parse().unwrap(), "rides".parse().unwrap());
        let column = texts(&[Some("medallion"), Some("medallion")]);
        let hash = |dataset, secret: u8| {
            contributors(&column, dataset, &ContributorSecret::new(&[secret; 32])).unwrap().value(1).to_vec()
        };
        assert_eq!(hash(&dataset, 1), hash(&dataset, 1));
        assert_ne!(hash(&dataset, 1), hash(&dataset, 2));
        assert_ne!(hash(&dataset, 1), hash(&other, 1));
        let values = texts(&[None, Some("medallion")]);
        let value = |dataset, name, secret: u8| {
            let hashes = distinct(&values, dataset, name, &ContributorSecret::new(&[secret; 32])).unwrap();
            assert!(hashes.is_null(0));
            hashes.value(1).to_vec()
        };
        assert_eq!(value(&dataset, "car", 1), value(&dataset, "car", 1));
        let others = [value(&dataset, "car", 2), value(&other, "car", 1), value(&dataset, "bus", 1), hash(&dataset, 1)];
        assert!(others.iter().all(|other| *other != value(&dataset, "car", 1)));
        assert_eq!(format!("{:?}", ContributorSecret::new(&[7; 32])), "ContributorSecret");
    }

    proptest! {
        #[test]
        fn canonical_forms_never_run_into_each_other(one in "[ab]{0,3}", two in "[ab]{0,3}", three in "[ab]{0,3}", four in "[ab]{0,3}") {
            let columns = [texts(&[Some(one.as_str()), Some(three.as_str())]), texts(&[Some(two.as_str()), Some(four.as_str())])];
            let keys = keys(&columns, 2).unwrap();
            prop_assert_eq!(keys.value(0) == keys.value(1), (one, two) == (three, four));
        }
    }
}
