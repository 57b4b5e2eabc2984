//! Merging in the background: runs of entries become segments, small segments larger ones, and segments whose windows
//! were revised, or that an earlier version made, are made anew.
//!
//! Each step replaces some segments, bodies and leaves by segments that hold the same, in one batch, after what was made
//! was read back and found to give every release's leaf again. So a crash loses nothing, and a reader, who holds a
//! snapshot, sees either what was before or what is after. Superseded releases get their bodies and leaves back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Batch, Direction, Read, Snapshot, Store};

use crate::bodies::{open, segments_between};
use crate::error::LedgerError;
use crate::keys::leaf::{self, Leaf};
use crate::keys::product::ProductRecord;
use crate::keys::window::{self, Covered};
use crate::keys::{entry, product, segment};
use crate::ledger::{Ledger, locked, record, records};
use crate::pieces::{Pieces, Unmerged};
use crate::segment::{Builder, Header, Placed, SEGMENT_CELLS_MAX, SEGMENT_ROWS_MAX, SEGMENT_SKETCH_BYTES_MAX, Segment};

/// When something is merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Fewest stretches at the end of a log that are merged at once.
    pub(crate) tail_rows_min: usize,
    /// So many small segments in a row become one.
    pub(crate) small_segments: usize,
    /// A segment with so many revised windows is made anew.
    pub(crate) revised_min: usize,
    /// After so many steps, and when there is nothing left to merge, what they left behind is cleared away.
    pub(crate) clearing_steps: u32,
    /// The same after they left so many bytes of columns behind, or a share of all that is stored.
    pub(crate) clearing_bytes_min: u64,
}

/// The share of what is stored that steps may leave behind, as a divisor.
const CLEARING_SHARE: u64 = 32;

/// What steps of merging left behind since it was last cleared away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftBehind {
    steps: u32,
    /// Bytes of columns.
    bytes: u64,
}

impl Pace {
    const DEFAULT: Self =
        Self { tail_rows_min: 64, small_segments: 8, revised_min: 32, clearing_steps: 64, clearing_bytes_min: 1 << 20 };
}

/// What one step replaces.
struct Work {
    stretch: Range<UtcMicros>,
    /// Segments that go.
    replaced: Vec<(UtcMicros, Header)>,
}

impl Ledger {
    /// Takes one step of merging, which makes at most a few segments, of whichever product has something to merge.
    /// False if none has.
    pub fn merge_some(&self) -> Result<bool, LedgerError> {
        self.merge_at(&Pace::DEFAULT)
    }

    pub(crate) fn merge_at(&self, pace: &Pace) -> Result<bool, LedgerError> {
        for (product, known) in records(&self.store)? {
            if locked(&self.merged).get(&product) == Some(&known.size()) {
                continue;
            }
            match self.merge(&product, pace) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error @ LedgerError::Store(_)) => return Err(error),
                Err(error) => tracing::error!(%product, %error, "entries stay unmerged"),
            }
            locked(&self.merged).insert(product, known.size());
        }
        let left = *locked(&self.left_behind);
        let many =
            || Ok::<_, LedgerError>(left.bytes >= pace.clearing_bytes_min.max(self.size_bytes()? / CLEARING_SHARE));
        if left.steps >= pace.clearing_steps || many()? {
            *locked(&self.left_behind) = LeftBehind::default();
            for keyspace in [entry::KEYSPACE, leaf::KEYSPACE, segment::COLUMNS] {
                self.store.compact(keyspace);
            }
        }
        Ok(false)
    }

    /// Takes one step for a product; false if there is nothing to do, or something changed meanwhile.
    fn merge(&self, product: &ProductId, pace: &Pace) -> Result<bool, LedgerError> {
        let moment = self.store.snapshot();
        let Some(known) = record(&moment, product)? else {
            return Ok(false);
        };
        let Some(work) = work(&moment, product, &known, pace)? else {
            return Ok(false);
        };
        let Work { mut stretch, replaced } = work;
        let builders = self.build(&moment, product, &known, &stretch, replaced.is_empty())?;
        let Some(last) = builders.iter().flat_map(Builder::rows).last() else {
            return Ok(false);
        };
        stretch.end = last.entry.window().end;
        let newest = newest(&moment, product, &stretch)?;
        let from = replaced.first().map_or(stretch.start, |(start, _)| stretch.start.min(*start));
        let segments = segments_between(&moment, product, from, stretch.end)?;
        let _writing = locked(&self.writing);
        let now = self.known(product)?;
        // expiry cuts a segment and leaves the index of windows as it was
        if now.expired_through != known.expired_through
            || segments_between(&self.store, product, from, stretch.end)? != segments
            || self::newest(&self.store, product, &stretch)? != newest
        {
            return Ok(false);
        }
        let mut batch = self.store.batch();
        let replacing = Replacing {
            store: &self.store,
            moment: &moment,
            product,
            stretch: &stretch,
            replaced: &replaced,
            expired: None,
        };
        let bytes = replacing.write(&builders, &mut batch)?;
        self.store.commit(batch)?;
        let mut left = locked(&self.left_behind);
        *left = LeftBehind { steps: left.steps + 1, bytes: left.bytes + bytes };
        Ok(true)
    }

    /// What is newest in a stretch, as segments: all of it, or the first that is full.
    fn build(
        &self,
        moment: &Snapshot<'_>,
        product: &ProductId,
        known: &ProductRecord,
        stretch: &Range<UtcMicros>,
        first_only: bool,
    ) -> Result<Vec<Builder>, LedgerError> {
        let contract = self.contract_by_hash(&known.contract)?;
        let contract = contract.ok_or(LedgerError::Damaged("a contract that is named and missing"))?;
        let calendar = Some(contract.calendar(self.zone));
        let pieces = Pieces::new(moment, None, product, calendar, known.expired_through, stretch.clone())?;
        let mut builders = vec![Builder::default()];
        for placed in Unmerged::new(pieces) {
            let placed = placed?;
            let last = builders.last_mut().expect("there is always one");
            if !last.push(placed.clone()) {
                if first_only {
                    break;
                }
                let mut next = Builder::default();
                next.push(placed);
                builders.push(next);
            }
        }
        Ok(builders)
    }

    /// Drops what of a replica's segments is about windows that end by `expired`. Returns how many releases went.
    pub(crate) fn expire_segments(&self, product: &ProductId, expired: UtcMicros) -> Result<u64, LedgerError> {
        let mut dropped = 0;
        loop {
            let _writing = locked(&self.writing);
            let moment = self.store.snapshot();
            let mut known = self.known(product)?;
            let mut due = segments_between(&moment, product, UtcMicros(i64::MIN), expired)?.into_iter();
            let due = due.find_map(|(start, header)| {
                let segment = open(&moment, None, product, start, header.clone());
                segment
                    .map(|segment| {
                        segment.rows().first().is_some_and(|row| row.end <= expired).then_some((start, header, segment))
                    })
                    .transpose()
            });
            let Some((start, header, segment)) = due.transpose()? else {
                return Ok(dropped);
            };
            let kept = segment.rows().iter().find(|row| row.end > expired).map_or(header.end, |row| row.start);
            let builders = self.build(&moment, product, &known, &(kept..header.end), false)?;
            let over = segment.releases()?.into_values().filter(|release| release.window().end <= expired);
            let over: Vec<u64> = over.map(|release| release.encode().len() as u64).collect();
            known.body_bytes = known.body_bytes.saturating_sub(over.iter().sum());
            known.expired_through = known.expired_through.max(Some(expired));
            let (stretch, replaced) = (start..header.end, [(start, header)]);
            let mut batch = self.store.batch();
            let expired = Some(expired);
            let replacing = Replacing {
                store: &self.store,
                moment: &moment,
                product,
                stretch: &stretch,
                replaced: &replaced,
                expired,
            };
            replacing.write(&builders, &mut batch)?;
            batch.put(product::KEYSPACE, product::key(product), known.to_bytes());
            self.store.commit(batch)?;
            dropped += over.len() as u64;
        }
    }
}

/// Segments in the place of others and of bodies.
struct Replacing<'a> {
    /// As it is now: what is made must give back what the log says now.
    store: &'a Store,
    moment: &'a Snapshot<'a>,
    product: &'a ProductId,
    stretch: &'a Range<UtcMicros>,
    replaced: &'a [(UtcMicros, Header)],
    /// What ends by then goes for good.
    expired: Option<UtcMicros>,
}

impl Replacing<'_> {
    /// Returns how many bytes of columns are replaced.
    fn write(&self, builders: &[Builder], batch: &mut Batch<'_>) -> Result<u64, LedgerError> {
        let Self { store: _, moment, product, stretch, replaced, expired } = *self;
        let (mut before, mut leaves, mut bytes) = (BTreeMap::new(), BTreeMap::new(), 0);
        for (start, header) in replaced {
            let segment = open(moment, None, product, *start, header.clone())?;
            let mut releases = segment.releases()?;
            leaves.append(&mut segment.leaves(&releases)?);
            before.append(&mut releases);
            batch.delete(segment::SEGMENTS, segment::key(product, *start));
            for stored in moment.iterate(segment::COLUMNS, segment::columns_of(product, *start), Direction::Forward) {
                let (key, value) = stored?;
                bytes += value.len() as u64;
                batch.delete(segment::COLUMNS, key);
            }
        }
        for stored in
            moment.iterate(segment::REVISED, segment::between(product, stretch.start, stretch.end), Direction::Forward)
        {
            batch.delete(segment::REVISED, stored?.0);
        }
        for builder in builders {
            self.write_one(builder, &before, &leaves, batch)?;
        }
        let merged = builders.iter().flat_map(Builder::rows).map(|row| row.index).collect::<BTreeSet<_>>();
        for (index, release) in before.into_iter().filter(|(index, _)| !merged.contains(index)) {
            if expired.is_none_or(|expired| release.window().end > expired) {
                batch.put(entry::KEYSPACE, entry::key(product, index), release.encode());
            }
            if let Some(leaf) = leaves.get(&index) {
                batch.put(leaf::KEYSPACE, leaf::key(product, index), leaf.to_bytes());
            }
        }
        Ok(bytes)
    }

    /// Writes one segment, if it gives its releases and their leaves back. `before` is what was replaced, `leaves` those
    /// of its leaves that are not stored.
    fn write_one(
        &self,
        builder: &Builder,
        before: &BTreeMap<u64, Entry>,
        leaves: &BTreeMap<u64, Leaf>,
        batch: &mut Batch<'_>,
    ) -> Result<(), LedgerError> {
        const LOSES: LedgerError = LedgerError::Damaged("a segment that does not give its entries back");
        let (store, product) = (self.store, self.product);
        let Some(made) = builder.make() else {
            return Ok(());
        };
        let start = made.start;
        batch.put(segment::SEGMENTS, segment::key(product, start), made.header.to_bytes());
        for (part, bytes) in &made.columns {
            batch.put(segment::COLUMNS, segment::column_key(product, start, *part), bytes);
        }
        let made = Segment::of_made(product.clone(), made)?;
        let releases = builder.rows().iter().filter(|row| matches!(row.entry, Entry::Release(_)));
        let back = made.leaves(&made.releases()?)?;
        for Placed { index, .. } in releases {
            let key = leaf::key(product, *index);
            let leaf = match leaves.get(index) {
                Some(leaf) => *leaf,
                None => {
                    let stored = store.get(leaf::KEYSPACE, &key)?;
                    batch.delete(leaf::KEYSPACE, key);
                    Leaf::from_bytes(&stored.ok_or(LedgerError::Damaged("a leaf is missing"))?)?
                }
            };
            if back.get(index) != Some(&leaf) {
                return Err(LOSES);
            }
            if !before.contains_key(index) {
                batch.delete(entry::KEYSPACE, entry::key(product, *index));
            }
        }
        Ok(())
    }
}

/// What the index by time says about a stretch.
fn newest(
    read: &impl Read,
    product: &ProductId,
    stretch: &Range<UtcMicros>,
) -> Result<Vec<(UtcMicros, Covered)>, LedgerError> {
    let stretches = window::between(product, stretch.start, stretch.end);
    let stretches = read.iterate(window::KEYSPACE, stretches, Direction::Forward);
    stretches
        .map(|stored| {
            let (key, value) = stored?;
            Ok((window::start(&key)?, Covered::from_bytes(&value)?))
        })
        .collect()
}

/// What is to be done next for a product.
fn work(
    moment: &Snapshot<'_>,
    product: &ProductId,
    known: &ProductRecord,
    pace: &Pace,
) -> Result<Option<Work>, LedgerError> {
    let segments = segments_between(moment, product, UtcMicros(i64::MIN), UtcMicros(i64::MAX))?;
    let mut from = UtcMicros(i64::MIN);
    let gaps = segments.iter().map(|(start, header)| (*start, header.end));
    for (until, next) in gaps.chain([(UtcMicros(i64::MAX), UtcMicros(i64::MAX))]) {
        if let Some(stretch) = unmerged(moment, product, known, from..until, pace)? {
            return Ok(Some(Work { stretch, replaced: Vec::new() }));
        }
        from = next;
    }
    let replaced = match small(&segments, pace) {
        Some(small) => Some(small.to_vec()),
        None => {
            let outdated = || segments.iter().find(|(_, header)| header.is_outdated()).cloned();
            revised(moment, product, &segments, pace)?.or_else(outdated).map(|segment| vec![segment])
        }
    };
    Ok(replaced.and_then(|replaced| {
        let stretch = replaced.first()?.0..replaced.last()?.1.end;
        Some(Work { stretch, replaced })
    }))
}

/// The first run of stretches between two segments, or after the last, that is to be merged.
fn unmerged(
    moment: &Snapshot<'_>,
    product: &ProductId,
    known: &ProductRecord,
    between: Range<UtcMicros>,
    pace: &Pace,
) -> Result<Option<Range<UtcMicros>>, LedgerError> {
    if between.start >= between.end {
        return Ok(None);
    }
    let stretches = window::between(product, between.start, between.end);
    let mut run: Option<Range<UtcMicros>> = None;
    let mut rows = 0;
    for stored in moment.iterate(window::KEYSPACE, stretches, Direction::Forward) {
        let (key, value) = stored?;
        let (start, covered) = (window::start(&key)?, Covered::from_bytes(&value)?);
        // the body may be gone
        if Some(covered.end) <= known.expired_through {
            continue;
        }
        match &mut run {
            Some(run) if run.end == start && rows < SEGMENT_ROWS_MAX => run.end = covered.end,
            // something follows: the run is as long as it gets
            Some(_) => return Ok(run),
            None => run = Some(start..covered.end),
        }
        rows += 1;
    }
    let is_tail = between.end == UtcMicros(i64::MAX);
    Ok(run.filter(|_| !is_tail || rows >= pace.tail_rows_min))
}

/// Small segments in a row that fit into one.
fn small<'h>(segments: &'h [(UtcMicros, Header)], pace: &Pace) -> Option<&'h [(UtcMicros, Header)]> {
    let mut first = 0;
    for next in 0..segments.len() {
        let header = &segments[next].1;
        let joins = first < next && {
            let last = &segments[next - 1].1;
            last.end == segments[next].0 && last.is_like(header) && segments[first].1.is_like(header)
        };
        if !header.is_small() {
            first = next + 1;
        } else if !joins {
            first = next;
        }
        let run = segments.get(first..=next).unwrap_or_default();
        if run.len() == pace.small_segments {
            let (mut rows, mut cells, mut sketch_bytes) = (0, 0, 0);
            let fitting = run.iter().take_while(|(_, header)| {
                rows += header.rows;
                cells += header.cells + header.suppressed;
                sketch_bytes += header.sketch_bytes;
                rows <= SEGMENT_ROWS_MAX && cells <= SEGMENT_CELLS_MAX && sketch_bytes <= SEGMENT_SKETCH_BYTES_MAX
            });
            // two of them always do
            return Some(&run[..fitting.count()]);
        }
    }
    None
}

/// A segment with many revised windows.
fn revised(
    moment: &Snapshot<'_>,
    product: &ProductId,
    segments: &[(UtcMicros, Header)],
    pace: &Pace,
) -> Result<Option<(UtcMicros, Header)>, LedgerError> {
    for (start, header) in segments {
        let revised =
            moment.iterate(segment::REVISED, segment::between(product, *start, header.end), Direction::Forward);
        if revised.take(pace.revised_min).count() == pace.revised_min {
            return Ok(Some((*start, header.clone())));
        }
    }
    Ok(None)
}
