//! Segments: runs of the newest entries, merged into columns.
//!
//! ```text
//! keyspace segment
//! key    product 00 start:time8, of the first window
//! value  JSON of Header
//!
//! keyspace column
//! key    product 00 start:time8 part:u16
//! value  a part of the segment that starts there (see the segment's layout)
//!
//! keyspace revised
//! key    product 00 start:time8
//! value  nothing: the window that starts there was revised after whatever segment covers it was made
//! ```

use civicmesh_model::names::ProductId;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{KeyRange, Keyspace};

use super::{time_bytes, within};

pub(crate) use super::window::{before, between, key, start};

pub(crate) const SEGMENTS: Keyspace = Keyspace::new("segment");
/// In tables, not in blob files: small segments soon give way to larger ones, and what gave way goes with compaction.
pub(crate) const COLUMNS: Keyspace = Keyspace::new("column");
pub(crate) const REVISED: Keyspace = Keyspace::new("revised");

pub(crate) fn column_key(product: &ProductId, start: UtcMicros, part: u16) -> Vec<u8> {
    within(product, &[&time_bytes(start)[..], &part.to_be_bytes()].concat())
}

/// Every column of the segment that starts at `start`.
pub(crate) fn columns_of(product: &ProductId, start: UtcMicros) -> KeyRange {
    KeyRange::prefix(key(product, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_segment_stand_together() {
        let product: ProductId = "traffic.taxi".parse().unwrap();
        let [first, second] = [UtcMicros(-1), UtcMicros(0)];
        let keys = [(first, 0), (first, 255), (first, 256), (second, 0)];
        let keys = keys.map(|(start, part)| column_key(&product, start, part));
        assert!(keys.is_sorted());
        assert!(keys[..3].iter().all(|column| column.starts_with(&key(&product, first))));
        assert!(keys[3] < column_key(&product, second, u16::MAX) && keys[3].starts_with(&key(&product, second)));
        assert_eq!(keys[0].len(), key(&product, first).len() + 2);
    }
}
