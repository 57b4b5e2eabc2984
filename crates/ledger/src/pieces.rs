//! The newest entries of a product in the order of time, each window once: segments where they hold what is newest,
//! entries one by one elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use civicmesh_model::grain::{Calendar, Window};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::{EmptyRun, Entry};
use civicmesh_model::time::UtcMicros;
use civicmesh_store::{Direction, Iter, Read, Snapshot};

use crate::bodies::{self, Bodies};
use crate::decoded::{Decoded, SEGMENTS_OF_A_SCAN_MAX};
use crate::error::LedgerError;
use crate::keys::segment;
use crate::keys::window::{self, Covered};
use crate::segment::{Header, Placed, RowKind, Segment, SegmentRow};
use crate::timeline::last_before;

/// A part of what is newest.
pub enum Piece<'s> {
    /// An entry, with its index in the log.
    Entry(u64, Box<Entry>),
    /// Some rows of a segment.
    Rows(Arc<Segment<'s>>, Range<usize>),
}

/// What comes.
enum Coming<'s> {
    /// Entries about what starts in this stretch.
    Entries(Range<UtcMicros>),
    Stored(UtcMicros, Box<Header>),
    Rows(Arc<Segment<'s>>, Range<usize>),
}

/// What is newest about a stretch of time, piece by piece.
pub(crate) struct Pieces<'s> {
    moment: &'s Snapshot<'s>,
    /// Where decoded columns are kept for the next question, if this is one.
    decoded: Option<&'s Decoded>,
    product: ProductId,
    calendar: Option<Calendar>,
    expired_through: Option<UtcMicros>,
    range: Range<UtcMicros>,
    coming: VecDeque<Coming<'s>>,
    /// Entries that come before all else.
    entries: Option<Iter<'s>>,
    bodies: Bodies<'s>,
    failed: bool,
}

/// An entry by its place in the log, or rows of a segment.
pub(crate) enum Found<'s> {
    Entry(Box<Placed>),
    Rows(Arc<Segment<'s>>, Range<usize>),
}

impl<'s> Pieces<'s> {
    pub(crate) fn new(
        moment: &'s Snapshot<'s>,
        decoded: Option<&'s Decoded>,
        product: &ProductId,
        calendar: Option<Calendar>,
        expired_through: Option<UtcMicros>,
        range: Range<UtcMicros>,
    ) -> Result<Self, LedgerError> {
        let Range { start, end } = range;
        let after = UtcMicros(start.0.saturating_add(1));
        let mut coming = VecDeque::new();
        let mut from = start;
        if start < end {
            match bodies::segment_before(moment, product, after)? {
                Some((at, header)) => {
                    from = header.end;
                    coming.push_back(Coming::Stored(at, Box::new(header)));
                }
                None => {
                    let covering = last_before(moment, product, after)?;
                    from = covering.filter(|(_, covered)| covered.end > start).map_or(start, |(covering, _)| covering);
                }
            }
            for (at, header) in bodies::segments_between(moment, product, from, end.max(from))? {
                if from < at {
                    coming.push_back(Coming::Entries(from..at));
                }
                from = header.end;
                coming.push_back(Coming::Stored(at, Box::new(header)));
            }
        }
        if from < end {
            coming.push_back(Coming::Entries(from..end));
        }
        let segments = coming.iter().filter(|coming| matches!(coming, Coming::Stored(..))).count();
        let decoded = decoded.filter(|_| segments <= SEGMENTS_OF_A_SCAN_MAX);
        let (product, bodies) = (product.clone(), Bodies::new(moment, product));
        let entries = None;
        Ok(Self { moment, decoded, product, calendar, expired_through, range, coming, entries, bodies, failed: false })
    }

    fn read(&mut self) -> Result<Option<Found<'s>>, LedgerError> {
        loop {
            if let Some(entry) = self.entry()? {
                return Ok(Some(Found::Entry(Box::new(entry))));
            }
            match self.coming.pop_front() {
                None => return Ok(None),
                Some(Coming::Rows(segment, rows)) => return Ok(Some(Found::Rows(segment, rows))),
                Some(Coming::Stored(start, header)) => self.part(start, *header)?,
                Some(Coming::Entries(stretch)) => {
                    let stretches = window::between(&self.product, stretch.start, stretch.end);
                    self.entries = Some(self.moment.iterate(window::KEYSPACE, stretches, Direction::Forward));
                }
            }
        }
    }

    /// The next entry, or what is left of it, of those that come before all else.
    fn entry(&mut self) -> Result<Option<Placed>, LedgerError> {
        while let Some(stored) = self.entries.as_mut().and_then(Iter::next) {
            let (key, value) = stored?;
            let (start, covered) = (window::start(&key)?, Covered::from_bytes(&value)?);
            if covered.end <= self.range.start {
                continue;
            }
            match self.bodies.stored(covered.index)? {
                Some(body) => {
                    let entry = decode(&body)?;
                    if let Some(entry) = self.cut(entry, Window { start, end: covered.end }) {
                        return Ok(Some(Placed { index: covered.index, entry }));
                    }
                }
                None if self.expired_through < Some(covered.end) => {
                    return Err(LedgerError::Damaged("an entry without its body"));
                }
                None => {}
            }
        }
        self.entries = None;
        Ok(None)
    }

    /// What of the entry is about this stretch, within the range.
    fn cut(&self, entry: Entry, stretch: Window) -> Option<Entry> {
        let (Entry::Empty(run), Some(calendar)) = (&entry, &self.calendar) else {
            return Some(entry);
        };
        let start = stretch.start.max(calendar.align_down(self.range.start));
        let end = stretch.end.min(calendar.align_up(self.range.end));
        if (start, end) == (run.start, run.end) {
            return Some(entry);
        }
        let windows = calendar.count(start, end);
        (windows > 0).then(|| Entry::Empty(EmptyRun { start, end, windows, ..run.clone() }))
    }

    /// Parts a segment into the rows that hold what is newest and the stretches of those that do not.
    fn part(&mut self, start: UtcMicros, header: Header) -> Result<(), LedgerError> {
        let end = header.end;
        let segment = Arc::new(bodies::open(self.moment, self.decoded, &self.product, start, header)?);
        let revised = segment::between(&self.product, start, end);
        let revised = self.moment.iterate(segment::REVISED, revised, Direction::Forward);
        let revised = revised.map(|stored| segment::start(&stored?.0)).collect::<Result<Vec<_>, _>>()?;
        let rows = segment.rows();
        let first = rows.partition_point(|row| row.end <= self.range.start);
        let last = rows.partition_point(|row| row.start < self.range.end);
        let stale = |row: &SegmentRow| {
            let next = revised.partition_point(|revised| *revised < row.start);
            let cut =
                matches!(row.kind, RowKind::Empty { .. }) && (row.start < self.range.start || self.range.end < row.end);
            cut || revised.get(next).is_some_and(|revised| *revised < row.end)
        };
        let mut parts = Vec::new();
        let mut fresh = first;
        for (row, at) in rows.iter().enumerate().take(last).skip(first) {
            if stale(at) {
                parts.push(Coming::Rows(segment.clone(), fresh..row));
                parts.push(Coming::Entries(at.start..at.end.min(self.range.end)));
                fresh = row + 1;
            }
        }
        parts.push(Coming::Rows(segment.clone(), fresh..last.max(fresh)));
        parts.retain(|part| !matches!(part, Coming::Rows(_, rows) if rows.is_empty()));
        parts.into_iter().rev().for_each(|part| self.coming.push_front(part));
        Ok(())
    }
}

impl<'s> Iterator for Pieces<'s> {
    type Item = Result<Found<'s>, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        // Nothing comes after an error: what is missing would not be noticed.
        self.failed = read.is_err();
        read.transpose()
    }
}

/// The same, every row of a segment as the entry that it is.
pub(crate) struct Unmerged<'s> {
    pieces: Pieces<'s>,
    rows: Option<(Arc<Segment<'s>>, Range<usize>)>,
    /// The releases of the segment that was read last.
    releases: Option<(Arc<Segment<'s>>, BTreeMap<u64, Entry>)>,
    bodies: Bodies<'s>,
}

impl<'s> Unmerged<'s> {
    pub(crate) fn new(pieces: Pieces<'s>) -> Self {
        let bodies = Bodies::new(pieces.moment, &pieces.product);
        Self { pieces, rows: None, releases: None, bodies }
    }

    fn row(&mut self, segment: &Arc<Segment<'s>>, row: usize) -> Result<Placed, LedgerError> {
        const MISSING: LedgerError = LedgerError::Damaged("a row of a segment without its entry");
        let SegmentRow { kind, start, end, index, windows, .. } = segment.rows()[row];
        if kind == RowKind::Release {
            let releases = match self.releases.take() {
                Some((of, releases)) if Arc::ptr_eq(&of, segment) => releases,
                _ => segment.releases()?,
            };
            let (_, releases) = self.releases.insert((segment.clone(), releases));
            return Ok(Placed { index, entry: releases.remove(&index).ok_or(MISSING)? });
        }
        let entry = match decode(&self.bodies.stored(index)?.ok_or(MISSING)?)? {
            Entry::Empty(run) => Entry::Empty(EmptyRun { start, end, windows, ..run }),
            entry => entry,
        };
        Ok(Placed { index, entry })
    }
}

impl Iterator for Unmerged<'_> {
    type Item = Result<Placed, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((segment, rows)) = &mut self.rows {
                if let Some(row) = rows.next() {
                    let segment = segment.clone();
                    let placed = self.row(&segment, row);
                    self.pieces.failed |= placed.is_err();
                    return Some(placed);
                }
                self.rows = None;
            }
            match self.pieces.next()? {
                Ok(Found::Entry(placed)) => return Some(Ok(*placed)),
                Ok(Found::Rows(segment, rows)) => self.rows = Some((segment, rows)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn decode(body: &[u8]) -> Result<Entry, LedgerError> {
    Entry::decode(body).map_err(|_| LedgerError::Damaged("an entry that cannot be read"))
}
