//! Which entry is the newest about a stretch of time: an index by time, made from the log.
//!
//! ```text
//! key    product 00 start:time8
//! value  end:time8  newest entry's index:u64  revision:u32  counted vault sequence:u64 (0 at peers)
//! ```
//!
//! Stretches do not overlap. A release or refusal covers one window; a run of empty windows covers many, until one of
//! them is revised: then what is left of the run covers what is before and after it.

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{KeyRange, Keyspace};

use super::{done, prefix, rest, take, time_bytes, time_of, within};
use crate::error::LedgerError;

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("window");

/// What is newest about a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) end: UtcMicros,
    pub(crate) index: u64,
    pub(crate) revision: u32,
    pub(crate) sequence: u64,
}

impl Covered {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { end, index, revision, sequence } = self;
        [&time_bytes(end)[..], &index.to_be_bytes(), &revision.to_be_bytes(), &sequence.to_be_bytes()].concat()
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self, LedgerError> {
        let end = time_of(take(&mut bytes)?);
        let index = u64::from_be_bytes(take(&mut bytes)?);
        let revision = u32::from_be_bytes(take(&mut bytes)?);
        let sequence = u64::from_be_bytes(take(&mut bytes)?);
        done(bytes)?;
        Ok(Self { end, index, revision, sequence })
    }
}

pub(crate) fn key(product: &ProductId, start: UtcMicros) -> Vec<u8> {
    within(product, &time_bytes(start))
}

/// The start that a key names.
pub(crate) fn start(key: &[u8]) -> Result<UtcMicros, LedgerError> {
    Ok(time_of(rest(key)?))
}

/// Stretches of a product that start before `end`.
pub(crate) fn before(product: &ProductId, end: UtcMicros) -> KeyRange {
    KeyRange::between(prefix(product), key(product, end))
}

/// Stretches of a product that start from `from` on, before `until`.
pub(crate) fn between(product: &ProductId, from: UtcMicros, until: UtcMicros) -> KeyRange {
    KeyRange::between(key(product, from), key(product, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_round_trip() {
        let product: ProductId = "traffic.taxi".parse().unwrap();
        for time in [i64::MIN, -1, 0, 1, i64::MAX].map(UtcMicros) {
            assert_eq!(start(&key(&product, time)).unwrap(), time);
        }
        assert!(key(&product, UtcMicros(-1)) < key(&product, UtcMicros(1)));
        let covered = Covered { end: UtcMicros(-3), index: 1 << 40, revision: 9, sequence: u64::MAX };
        assert_eq!(Covered::from_bytes(&covered.to_bytes()).unwrap(), covered);
        assert!(Covered::from_bytes(&covered.to_bytes()[1..]).is_err());
    }
}
