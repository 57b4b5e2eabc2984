//! Keys in order.

use crate::StoreError;

/// Keys from `start`, up to and without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let start = prefix.as_ref().to_vec();
        let end = successor(&start);
        Self { start, end }
    }

    /// Keys from `start`, up to and without `end`.
    pub fn between(start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self { start: start.as_ref().to_vec(), end: Some(end.as_ref().to_vec()) }
    }

    /// Keys that begin with `prefix` and are not below `start`.
    pub fn prefix_from(prefix: impl AsRef<[u8]>, start: impl AsRef<[u8]>) -> Self {
        let whole = Self::prefix(prefix);
        Self { start: whole.start.max(start.as_ref().to_vec()), end: whole.end }
    }
}

/// The least key above all that begin with `prefix`; none where it is all `0xff`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// In which order keys come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Least first.
    Forward,
    /// Greatest first.
    Backward,
}

/// Keys of a range with their values, in order, read as they are asked for.
pub struct Iter<'r> {
    pub(crate) entries: rocksdb::DBIterator<'r>,
}

impl Iterator for Iter<'_> {
    type Item = Result<(Box<[u8]>, Box<[u8]>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.entries.next()?.map_err(StoreError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_range_holds_exactly_the_keys_that_begin_so(
            prefix in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 254, 255]), 0..4),
            key in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 254, 255]), 0..6),
        ) {
            let range = KeyRange::prefix(&prefix);
            let inside = key >= range.start && range.end.as_ref().is_none_or(|end| &key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }
}
