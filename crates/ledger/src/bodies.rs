//! The canonical bytes of entries: stored as they are, or rebuilt from the segment that holds all they say.

use std::collections::{BTreeMap, VecDeque};

use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Iter, KeyRange, Read, Snapshot};

use crate::decoded::Decoded;
use crate::error::LedgerError;
use crate::keys::{self, entry, segment};
use crate::leaves::Leaves;
use crate::segment::{Header, Segment, Source};

/// Most segments that stand rebuilt at a time.
const REBUILT_MAX: usize = 3;

/// Reads bodies, mostly in the order of the log.
pub(crate) struct Bodies<'s> {
    moment: &'s Snapshot<'s>,
    product: ProductId,
    /// What is stored from an index on.
    stored: Option<(u64, Iter<'s>)>,
    /// Of the segments that were rebuilt last, what was not yet asked for. A log that is revised as it goes on changes
    /// between two of them with every entry.
    rebuilt: VecDeque<(UtcMicros, BTreeMap<u64, Entry>)>,
    leaves: Leaves<'s>,
}

impl<'s> Bodies<'s> {
    pub(crate) fn new(moment: &'s Snapshot<'s>, product: &ProductId) -> Self {
        let leaves = Leaves::new(moment, product);
        Self { moment, product: product.clone(), stored: None, rebuilt: VecDeque::new(), leaves }
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
        if let Some(entry) = self.rebuilt(index) {
            return Ok(Some(entry.encode()));
        }
        if let Some(body) = self.stored(index)? {
            return Ok(Some(body));
        }
        self.rebuild(index)?;
        Ok(self.rebuilt(index).map(|entry| entry.encode()))
    }

    fn rebuilt(&mut self, index: u64) -> Option<Entry> {
        self.rebuilt.iter_mut().find_map(|(_, releases)| releases.remove(&index))
    }

    fn rebuild(&mut self, index: u64) -> Result<(), LedgerError> {
        let holding = match self.leaves.stored(index)? {
            // of an earlier version
            Some(leaf) if leaf.body_kept => segment_before(self.moment, &self.product, leaf.end)?
                .map(|(start, header)| open(self.moment, None, &self.product, start, header))
                .transpose()?,
            Some(_) => None,
            None => self.leaves.holding(index)?,
        };
        if let Some(segment) = holding {
            let start = segment.start();
            self.rebuilt.retain(|(of, _)| *of != start);
            if self.rebuilt.len() == REBUILT_MAX {
                self.rebuilt.pop_front();
            }
            self.rebuilt.push_back((start, segment.releases()?));
        }
        Ok(())
    }
}

/// A stored segment; what is decoded of it is kept there, if anywhere.
pub(crate) fn open<'s>(
    moment: &'s Snapshot<'s>,
    decoded: Option<&Decoded>,
    product: &ProductId,
    start: UtcMicros,
    header: Header,
) -> Result<Segment<'s>, LedgerError> {
    let columns = decoded.map(|decoded| decoded.columns(product, start, &header)).unwrap_or_default();
    Segment::open(product.clone(), start, header, Source::Stored { moment, product: product.clone(), start }, columns)
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

/// Where segments of a product start from `from` on, before `until`.
pub(crate) fn segment_starts(
    read: &impl Read,
    product: &ProductId,
    from: UtcMicros,
    until: UtcMicros,
) -> Result<Vec<UtcMicros>, LedgerError> {
    let segments = read.iterate(segment::SEGMENTS, segment::between(product, from, until), Direction::Forward);
    segments.map(|stored| segment::start(&stored?.0)).collect()
}
