//! Reading a segment: its rows at once, each column when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{
    Cell, Entry, MethodTag, Release, ReleaseCoverage, SketchKind, Suppressed, SuppressionReason,
};
use civicmesh_model::sketch::SKETCH_BYTES_MAX;
use civicmesh_model::time::UtcMicros;

use super::columns::Columns;
use super::writing::{Made, leaves_hash, middle, odd, square};
use super::*;
use crate::keys::leaf::Leaf;

const DAMAGED: LedgerError = LedgerError::Damaged("a segment that cannot be read");

/// A segment as of a snapshot.
pub struct Segment<'s> {
    product: ProductId,
    pub(super) header: Header,
    pub(super) source: Source<'s>,
    rows: Arc<Vec<SegmentRow>>,
    columns: Arc<Columns>,
    bytes_read: AtomicU64,
}

/// Which statistics of a measure are asked for; its counts always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Sums.
    pub sums: bool,
    /// Sums of squares.
    pub squares: bool,
    /// The least.
    pub min: bool,
    /// The greatest.
    pub max: bool,
}

impl Wanted {
    /// All of them.
    pub const ALL: Self = Self { sums: true, squares: true, min: true, max: true };
}

/// The states of one measure in all cells of a segment, as far as they were asked for. What no cell has is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct States {
    /// How many values.
    pub count: Arc<Vec<i64>>,
    /// Their sums.
    pub sums: Option<Numbers>,
    /// Their sums of squares.
    pub squares: Option<Numbers>,
    /// The least of each cell that has values and says it.
    pub min: Option<Vec<Option<i64>>>,
    /// The greatest, likewise.
    pub max: Option<Vec<Option<i64>>>,
}

impl States {
    /// The state of one cell.
    pub fn get(&self, cell: usize) -> MeasureState {
        let number = |numbers: &Option<Numbers>| numbers.as_ref().map_or(0, |numbers| numbers.get(cell));
        let extreme = |of: &Option<Vec<Option<i64>>>| of.as_ref().and_then(|of| of[cell]);
        MeasureState {
            count: self.count[cell] as u64,
            sum: number(&self.sums),
            sum_squares: number(&self.squares),
            min: extreme(&self.min),
            max: extreme(&self.max),
        }
    }
}

/// The sketches of one column in all cells of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketches {
    bytes: Vec<u8>,
    /// Where the sketch of each cell ends.
    ends: Vec<usize>,
}

impl Sketches {
    /// Appends the sketch of the next cell, empty where there is no value.
    pub fn push(&mut self, sketch: &[u8]) {
        self.bytes.extend_from_slice(sketch);
        self.ends.push(self.bytes.len());
    }

    /// The bytes of one cell's sketch, empty where there is no value.
    pub fn get(&self, cell: usize) -> &[u8] {
        let start = cell.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[cell]]
    }
}

impl Segment<'static> {
    /// A segment that is not stored.
    pub(crate) fn of_made(product: ProductId, made: Made) -> Result<Self, LedgerError> {
        let Made { start, header, columns } = made;
        Self::open(product, start, header, Source::Held(columns), Arc::default())
    }

    /// The segments that merging would make of these entries, in the order of time, with their indexes: for tests of
    /// what reads segments.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where what is read back is not what was written.
    pub fn of_entries(entries: &[(u64, Entry)]) -> Result<Vec<Self>, LedgerError> {
        let mut segments = Vec::new();
        let mut builder = Builder::default();
        let close = |builder: &mut Builder, segments: &mut Vec<Self>| -> Result<(), LedgerError> {
            let built = std::mem::take(builder);
            if let (Some(first), Some(made)) = (built.rows().first(), built.make()) {
                segments.push(Self::of_made(first.entry.product().clone(), made)?);
            }
            Ok(())
        };
        for (index, entry) in entries {
            let placed = Placed { index: *index, entry: entry.clone() };
            if !builder.push(placed.clone()) {
                close(&mut builder, &mut segments)?;
                builder.push(placed);
            }
        }
        close(&mut builder, &mut segments)?;
        Ok(segments)
    }
}

impl<'s> Segment<'s> {
    pub(crate) fn open(
        product: ProductId,
        start: UtcMicros,
        header: Header,
        source: Source<'s>,
        columns: Arc<Columns>,
    ) -> Result<Self, LedgerError> {
        let mut segment =
            Self { product, header, source, rows: Arc::default(), columns, bytes_read: AtomicU64::new(0) };
        let rows = || segment.part(ROWS, |bytes| read_rows(bytes, start, &segment.header));
        segment.rows = segment.columns.column(|columns| &columns.rows, rows)?;
        Ok(segment)
    }

    fn part<T>(&self, part: u16, read: impl FnOnce(&[u8]) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.source.part(part, |bytes| {
            self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            read(bytes)
        })
    }

    /// Stored bytes of the columns that were read so far, those left out that another question had decoded before.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Its product.
    pub fn product(&self) -> &ProductId {
        &self.product
    }

    /// Its rows, in the order of time and without a gap.
    pub fn rows(&self) -> &[SegmentRow] {
        &self.rows
    }

    /// Where its first window begins.
    pub(crate) fn start(&self) -> UtcMicros {
        self.rows.first().map_or(self.header.end, |row| row.start)
    }

    /// How many published cells it has.
    pub fn cells(&self) -> usize {
        self.header.cells
    }

    /// A hash of all that it holds: the same segment at another time has the same, another one in its place has not.
    /// None of one that an earlier version made.
    pub fn content(&self) -> Option<Hash32> {
        self.header.content
    }

    /// The contract that its releases were made under; none if it has none.
    pub fn contract(&self) -> Option<Hash32> {
        self.header.releases.as_ref().map(|layout| layout.contract)
    }

    /// Where its coordinates have the dimension of this name.
    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.header.releases.as_ref()?.dimensions.iter().position(|dimension| dimension == name)
    }

    /// The measure of this name.
    pub fn measure(&self, name: &str) -> Option<usize> {
        self.header.releases.as_ref()?.measures.iter().position(|measure| measure.name == name)
    }

    /// The column of sketches of this kind and name.
    pub fn sketch(&self, kind: SketchKind, name: &str) -> Option<usize> {
        let columns = &self.header.releases.as_ref()?.sketches;
        columns.iter().position(|column| column.kind == kind && column.name == name)
    }

    /// The published cells of some rows.
    pub fn cells_of(&self, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let first = |row: usize| self.rows.get(row).map_or(self.header.cells, |row| row.first_cell);
        first(rows.start)..first(rows.end)
    }

    /// The suppressed cells of some rows.
    pub fn suppressed_of(&self, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let first = |row: usize| self.rows.get(row).map_or(self.header.suppressed, |row| row.first_suppressed);
        first(rows.start)..first(rows.end)
    }

    /// The coordinates that occur.
    pub fn coordinates(&self) -> Result<Arc<Vec<Vec<String>>>, LedgerError> {
        self.columns.column(|columns| &columns.coordinates, || self.read_coordinates())
    }

    fn read_coordinates(&self) -> Result<Vec<Vec<String>>, LedgerError> {
        let dimensions = self.header.releases.as_ref().map_or(0, |layout| layout.dimensions.len());
        self.part(COORDINATES, |mut bytes| {
            let length = usize::try_from(column::read_leb128(&mut bytes)?).map_err(|_| DAMAGED)?;
            let texts = column::read_plane(&mut bytes, length)?;
            let mut texts = &texts[..];
            let mut text = || {
                let length = usize::try_from(column::read_leb128(&mut texts)?).map_err(|_| DAMAGED)?;
                let (text, rest) = texts.split_at_checked(length).ok_or(DAMAGED)?;
                texts = rest;
                std::str::from_utf8(text).map(str::to_owned).map_err(|_| DAMAGED)
            };
            (0..self.header.coordinates).map(|_| (0..dimensions).map(|_| text()).collect()).collect()
        })
    }

    /// Of each published cell, which coordinate it has.
    pub fn codes(&self) -> Result<Arc<Vec<u32>>, LedgerError> {
        let read = || self.part(CELLS, |bytes| self.places(bytes, self.header.cells));
        self.columns.column(|columns| &columns.codes, read)
    }

    /// Of each suppressed cell, which coordinate it has.
    pub fn suppressed_codes(&self) -> Result<Arc<Vec<u32>>, LedgerError> {
        let read = || self.part(SUPPRESSED, |bytes| self.places(bytes, self.header.suppressed));
        self.columns.column(|columns| &columns.suppressed_codes, read)
    }

    /// Of each published cell, how many observations it rests on.
    pub fn observations(&self) -> Result<Arc<Vec<i64>>, LedgerError> {
        let read = || self.part(OBSERVATIONS, |mut bytes| column::read(&mut bytes, self.header.cells)?.narrow());
        self.columns.column(|columns| &columns.observations, read)
    }

    /// The states of a measure.
    pub fn states(&self, measure: usize, wanted: Wanted) -> Result<Arc<States>, LedgerError> {
        self.columns.states(measure, wanted, || self.read_states(measure, wanted))
    }

    fn read_states(&self, measure: usize, wanted: Wanted) -> Result<States, LedgerError> {
        let observations = self.observations()?;
        let layout = self.header.releases.as_ref().and_then(|layout| layout.measures.get(measure)).ok_or(DAMAGED)?;
        let without = self.part(measure_part(measure, COUNT), |mut bytes| match column::constant(bytes)? {
            // every observation has a value
            Some(0) => Ok(None),
            _ => column::read(&mut bytes, self.header.cells)?.narrow().map(Some),
        })?;
        let count = match without {
            None => observations,
            Some(mut count) => {
                count.iter_mut().zip(&*observations).for_each(|(count, observations)| *count += observations);
                Arc::new(count)
            }
        };
        let Wanted { sums, squares, min, max } = wanted;
        let extremes = match min || max {
            true => self.extremes(measure)?,
            false => Vec::new(),
        };
        let [least, greatest] =
            [(min, HAS_MIN), (max, HAS_MAX)].map(|(wanted, bit)| wanted && extremes.iter().any(|has| has & bit != 0));
        let from_sums = sums || squares || least || greatest;
        let sums_read = match layout.sums && from_sums {
            true => Some(add_means(self.numbers(measure, SUM)?, &count, layout.mean)),
            false => None,
        };
        let sum = |cell: usize| sums_read.as_ref().map_or(0, |sums| sums.get(cell));
        let squares = match layout.squares && squares {
            true => Some(add_squares(self.numbers(measure, SUM_SQUARES)?, &count, sum, layout.halved)),
            false => None,
        };
        let extreme = |column: u16, bit: i64, sign: i128| -> Result<Vec<Option<i64>>, LedgerError> {
            let distances = self.numbers(measure, column)?;
            let mut values = vec![None; count.len()];
            let releases = (0..self.rows.len()).filter(|row| self.rows[*row].kind == RowKind::Release);
            for (row, has) in releases.zip(&extremes) {
                for cell in self.cells_of(row..row + 1).filter(|cell| has & bit != 0 && count[*cell] > 0) {
                    let value = middle(sum(cell), count[cell] as u64) + sign * distances.get(cell);
                    values[cell] = Some(i64::try_from(value).map_err(|_| DAMAGED)?);
                }
            }
            Ok(values)
        };
        let min = least.then(|| extreme(MIN, HAS_MIN, -1)).transpose()?;
        let max = greatest.then(|| extreme(MAX, HAS_MAX, 1)).transpose()?;
        Ok(States { sums: sums_read.filter(|_| sums), squares, min, max, count })
    }

    /// A column of sketches.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where it cannot be read.
    pub fn sketches(&self, column: usize) -> Result<Sketches, LedgerError> {
        self.part(sketch_part(column), |mut bytes| {
            let lengths = column::read(&mut bytes, self.header.cells)?.narrow()?;
            let mut end = 0_usize;
            let ends = lengths.into_iter().map(|length| {
                let length = usize::try_from(length).ok().filter(|length| *length <= SKETCH_BYTES_MAX);
                end += length.ok_or(DAMAGED)?;
                Ok::<_, LedgerError>(end)
            });
            let ends = ends.collect::<Result<Vec<_>, _>>()?;
            let bytes = column::read_plane(&mut bytes, end)?.into_owned();
            Ok(Sketches { bytes, ends })
        })
    }

    /// The releases again, as they were, each with its index.
    pub(crate) fn releases(&self) -> Result<BTreeMap<u64, Entry>, LedgerError> {
        let Some(layout) = &self.header.releases else {
            return Ok(BTreeMap::new());
        };
        let (coordinates, codes, held) = (self.coordinates()?, self.codes()?, self.suppressed_codes()?);
        let observations = self.observations()?;
        let measures = (0..layout.measures.len()).map(|measure| self.states(measure, Wanted::ALL));
        let measures = measures.collect::<Result<Vec<_>, _>>()?;
        let sketches = (0..layout.sketches.len()).map(|column| self.sketches(column));
        let sketches = sketches.collect::<Result<Vec<_>, _>>()?;
        let salts = self.part(SALTS, |salts| Ok(salts.to_vec()))?;
        let mut salts = salts.chunks_exact(32);
        let coordinate = |code: u32| coordinates.get(code as usize).cloned().ok_or(DAMAGED);
        let mut releases = BTreeMap::new();
        for (row, at) in self.rows.iter().enumerate().filter(|(_, row)| row.kind == RowKind::Release) {
            let cell = |cell: usize| {
                Ok(Cell {
                    coordinate: coordinate(codes[cell])?,
                    observations: observations[cell] as u64,
                    measures: measures.iter().map(|states| states.get(cell)).collect(),
                    sketches: sketches.iter().map(|sketches| sketches.get(cell).to_vec()).collect(),
                })
            };
            let suppressed = |cell: usize| {
                let reason = SuppressionReason::BelowThreshold;
                Ok(Suppressed { coordinate: coordinate(held[cell])?, reason })
            };
            let cells = self.cells_of(row..row + 1).map(cell).collect::<Result<Vec<_>, LedgerError>>()?;
            let suppressed = self.suppressed_of(row..row + 1).map(suppressed).collect::<Result<_, LedgerError>>()?;
            let salt = salts.next().and_then(|salt| salt.try_into().ok()).ok_or(DAMAGED)?;
            let release = self.release(layout, at, cells, suppressed, salt);
            releases.insert(at.index, Entry::Release(release));
        }
        Ok(releases)
    }

    /// The leaves that are reckoned from its `releases`, each with its index: none of one that an earlier version made,
    /// whose leaves are stored.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where they are not what they were when it was made.
    pub(crate) fn leaves(&self, releases: &BTreeMap<u64, Entry>) -> Result<BTreeMap<u64, Leaf>, LedgerError> {
        let Some(held) = &self.header.leaves else {
            return Ok(BTreeMap::new());
        };
        let of = |row: &SegmentRow| Some((row.index, Leaf::of(releases.get(&row.index)?)));
        let leaves: Vec<(u64, Leaf)> = self.released().filter_map(of).collect();
        if leaves_hash(leaves.iter().map(|(_, leaf)| leaf.hash)) != held.hash {
            return Err(LedgerError::Damaged("a segment whose releases are not those that were put into it"));
        }
        Ok(leaves.into_iter().collect())
    }

    /// Rows that are releases.
    pub(crate) fn released(&self) -> impl Iterator<Item = &SegmentRow> {
        self.rows.iter().filter(|row| row.kind == RowKind::Release)
    }

    fn release(
        &self,
        layout: &Layout,
        row: &SegmentRow,
        cells: Vec<Cell>,
        suppressed: Vec<Suppressed>,
        salt: [u8; 32],
    ) -> Release {
        let observations = cells.iter().map(|cell| cell.observations).sum();
        Release {
            product: self.product.clone(),
            window: Window { start: row.start, end: row.end },
            revision: row.revision,
            contract: layout.contract,
            method: layout.k.map_or(MethodTag::Open, |k| MethodTag::Threshold { k }),
            closed_through: row.closed_through,
            dimensions: layout.dimensions.clone(),
            measures: layout.measures.iter().map(|measure| measure.name.clone()).collect(),
            decimals: layout.measures.iter().map(|measure| measure.decimals).collect(),
            sketches: layout.sketches.clone(),
            cells,
            suppressed,
            suppressed_share: row.suppressed_share,
            coverage: ReleaseCoverage { observations, sources: row.sources },
            salt,
        }
    }

    fn numbers(&self, measure: usize, column: u16) -> Result<Numbers, LedgerError> {
        self.part(measure_part(measure, column), |mut bytes| column::read(&mut bytes, self.header.cells))
    }

    fn places(&self, mut bytes: &[u8], cells: usize) -> Result<Vec<u32>, LedgerError> {
        column::read_places(&mut bytes, cells, self.header.coordinates)
    }

    /// Of each release, which extremes of the measure it has.
    fn extremes(&self, measure: usize) -> Result<Vec<i64>, LedgerError> {
        let releases = self.released().count();
        self.part(measure_part(measure, EXTREMES), |mut bytes| column::read(&mut bytes, releases)?.narrow())
    }
}

fn read_rows(mut bytes: &[u8], start: UtcMicros, header: &Header) -> Result<Vec<SegmentRow>, LedgerError> {
    let mut next = || column::read(&mut bytes, header.rows)?.narrow();
    let [kinds, lengths, indexes, revisions, windows] = [next()?, next()?, next()?, next()?, next()?];
    let [closed, cells, suppressed, shares, sources] = [next()?, next()?, next()?, next()?, next()?];
    let place = |number: i64| usize::try_from(number).map_err(|_| DAMAGED);
    let mut rows = Vec::with_capacity(header.rows);
    let (mut start, mut index, mut first_cell, mut first_suppressed) = (start, 0_i64, 0, 0);
    for row in 0..header.rows {
        let end = UtcMicros(start.0.checked_add(lengths[row]).filter(|end| *end > start.0).ok_or(DAMAGED)?);
        index = index.checked_add(indexes[row]).ok_or(DAMAGED)?;
        rows.push(SegmentRow {
            kind: *RowKind::KINDS.get(place(kinds[row])?).ok_or(DAMAGED)?,
            start,
            end,
            index: u64::try_from(index).map_err(|_| DAMAGED)?,
            revision: u32::try_from(revisions[row]).map_err(|_| DAMAGED)?,
            windows: u64::try_from(windows[row]).map_err(|_| DAMAGED)?,
            first_cell,
            first_suppressed,
            suppressed_share: *BANDS.get(place(shares[row])?).ok_or(DAMAGED)?,
            closed_through: UtcMicros(end.0.checked_add(closed[row]).ok_or(DAMAGED)?),
            sources: u32::try_from(sources[row]).map_err(|_| DAMAGED)?,
        });
        start = end;
        first_cell += place(cells[row])?;
        first_suppressed += place(suppressed[row])?;
    }
    let whole = start == header.end && first_cell == header.cells && first_suppressed == header.suppressed;
    if whole { Ok(rows) } else { Err(DAMAGED) }
}

fn add_means(mut numbers: Numbers, counts: &[i64], mean: i64) -> Numbers {
    let greatest = counts.iter().copied().max().unwrap_or(0);
    let bounded = greatest.checked_mul(mean.saturating_abs()).is_some();
    if let (Numbers::Narrow(narrow), true) = (&mut numbers, bounded) {
        let mut too_wide = false;
        for (number, count) in narrow.iter_mut().zip(counts) {
            let over;
            (*number, over) = number.overflowing_add(count.wrapping_mul(mean));
            too_wide |= over;
        }
        if !too_wide {
            return numbers;
        }
        let added = narrow.iter_mut().zip(counts);
        added.for_each(|(number, count)| *number = number.wrapping_sub(count.wrapping_mul(mean)));
    }
    let wide = |cell: usize| numbers.get(cell).wrapping_add(i128::from(counts[cell]) * i128::from(mean));
    Numbers::Wide((0..numbers.len()).map(wide).collect())
}

fn add_squares(numbers: Numbers, counts: &[i64], sum: impl Fn(usize) -> i128, halved: bool) -> Numbers {
    let wide = |cell: usize| {
        let (number, sum) = (numbers.get(cell), sum(cell));
        let square = square(sum, counts[cell] as u64);
        let number = if halved { (number << 1).wrapping_add(odd(sum, square)) } else { number };
        number.wrapping_add(square)
    };
    Numbers::Wide((0..numbers.len()).map(wide).collect())
}
