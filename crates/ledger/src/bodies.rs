//! The canonical bytes of entries: stored as they are, or rebuilt from the segment that holds all they say.

use std::collections::BTreeMap;

use civicmesh_model::names::ProductId;
use civicmesh_model::release::{Entry, Release};
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Iter, KeyRange, Read, Snapshot};

use crate::error::LedgerError;
use crate::keys::leaf::{self, Leaf};
use crate::keys::{self, entry, segment};
use crate::segment::{Header, Segment, Source};

/// Reads bodies, mostly in the order of the log.
pub(crate) struct Bodies<'s> {
    moment: &'s Snapshot<'s>,
    product: ProductId,
    /// What is stored from an index on.
    stored: Option<(u64, Iter<'s>)>,
    /// What was rebuilt and not yet asked for.
    rebuilt: BTreeMap<u64, Release>,
}

impl<'s> Bodies<'s> {
    pub(crate) fn new(moment: &'s Snapshot<'s>, product: &ProductId) -> Self {
        Self { moment, product: product.clone(), stored: None, rebuilt: BTreeMap::new() }
    }

    /// A body that is stored as it is.
    pub(crate) fn stored(&mut self, index: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let (_, mut bodies) = match self.stored.take() {
            Some(stored) if stored.0 == index => stored,
            _ => {
                let range = KeyRange::prefix_from(keys::prefix(&self.product), entry::key(&self.product, index));
                (index, self.moment.iterate(entry::KEYSPACE, range, Direction::Forward))
            }
        };
        let Some(stored) = bodies.next() else {
            return Ok(None);
        };
        let (key, body) = stored?;
        if entry::index(&key)? != index {
            return Ok(None);
        }
        self.stored = Some((index + 1, bodies));
        Ok(Some(body.into_vec()))
    }

    /// A body, wherever it stands; none if its retention is over.
    pub(crate) fn body(&mut self, index: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        if !self.rebuilt.contains_key(&index) {
            if let Some(body) = self.stored(index)? {
                return Ok(Some(body));
            }
            self.rebuild(index)?;
        }
        Ok(self.rebuilt.remove(&index).map(|release| Entry::Release(release).encode()))
    }

    fn rebuild(&mut self, index: u64) -> Result<(), LedgerError> {
        self.rebuilt.clear();
        let Some(leaf) = self.moment.get(leaf::KEYSPACE, &leaf::key(&self.product, index))? else {
            return Ok(());
        };
        let leaf = Leaf::from_bytes(&leaf)?;
        if leaf.body_kept
            && let Some((start, header)) = segment_before(self.moment, &self.product, leaf.end)?
        {
            self.rebuilt = open(self.moment, &self.product, start, header)?.releases()?.split_off(&index);
        }
        Ok(())
    }
}

/// A stored segment.
pub(crate) fn open<'s>(
    moment: &'s Snapshot<'s>,
    product: &ProductId,
    start: UtcMicros,
    header: Header,
) -> Result<Segment<'s>, LedgerError> {
    Segment::open(product.clone(), start, header, Source::Stored { moment, product: product.clone(), start })
}

/// The last segment that starts before `end`, as long as it does not end before that.
pub(crate) fn segment_before(
    read: &impl Read,
    product: &ProductId,
    end: UtcMicros,
) -> Result<Option<(UtcMicros, Header)>, LedgerError> {
    let mut segments = read.iterate(segment::SEGMENTS, segment::before(product, end), Direction::Backward);
    let last = segments.next().transpose()?;
    let last = last.map(|(key, value)| Ok::<_, LedgerError>((segment::start(&key)?, Header::from_bytes(&value)?)));
    Ok(last.transpose()?.filter(|(_, header)| header.end >= end))
}

/// The segments of a product that start from `from` on, before `until`.
pub(crate) fn segments_between(
    read: &impl Read,
    product: &ProductId,
    from: UtcMicros,
    until: UtcMicros,
) -> Result<Vec<(UtcMicros, Header)>, LedgerError> {
    let segments = read.iterate(segment::SEGMENTS, segment::between(product, from, until), Direction::Forward);
    segments
        .map(|stored| {
            let (key, value) = stored?;
            Ok((segment::start(&key)?, Header::from_bytes(&value)?))
        })
        .collect()
}
