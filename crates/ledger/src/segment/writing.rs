//! Making a segment of entries.

use std::collections::BTreeMap;

use civicmesh_model::hash::Hash32;
use civicmesh_model::log::leaf_hash;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{Entry, MethodTag, Release, SuppressionReason};
use civicmesh_model::time::UtcMicros;

use super::*;

/// Rows on their way into a segment.
#[derive(Default)]
pub(crate) struct Builder {
    rows: Vec<Placed>,
    layout: Option<Layout>,
    cells: usize,
    sketch_bytes: usize,
}

/// A segment that is made and not yet stored.
pub(crate) struct Made {
    pub(crate) start: UtcMicros,
    pub(crate) header: Header,
    pub(crate) columns: BTreeMap<u16, Vec<u8>>,
}

impl Builder {
    /// Takes a row, unless the segment is full, the row does not follow the last one, or its release is of another
    /// contract. False if it did not take it.
    pub(crate) fn push(&mut self, placed: Placed) -> bool {
        let window = placed.entry.window();
        let follows = self.rows.last().is_none_or(|last| last.entry.window().end == window.start);
        let full = self.rows.len() == SEGMENT_ROWS_MAX
            || self.cells >= SEGMENT_CELLS_MAX
            || self.sketch_bytes >= SEGMENT_SKETCH_BYTES_MAX;
        if !follows || full {
            return false;
        }
        if let Entry::Release(release) = &placed.entry {
            let layout = layout(release);
            if self.layout.get_or_insert_with(|| layout.clone()).is_like(&layout) {
                self.cells += release.cells.len() + release.suppressed.len();
                self.sketch_bytes += release.cells.iter().flat_map(|cell| &cell.sketches).map(Vec::len).sum::<usize>();
            } else {
                return false;
            }
        }
        self.rows.push(placed);
        true
    }

    pub(crate) fn rows(&self) -> &[Placed] {
        &self.rows
    }

    /// The segment; none of no rows.
    pub(crate) fn make(&self) -> Option<Made> {
        let (first, last) = (self.rows.first()?, self.rows.last()?);
        let mut columns = BTreeMap::new();
        let releases: Vec<&Release> = self.rows.iter().filter_map(release_of).collect();
        columns.insert(ROWS, rows(&self.rows));
        columns.insert(SALTS, releases.iter().flat_map(|release| release.salt).collect());
        let coordinates = coordinates(&releases);
        columns.insert(COORDINATES, dictionary(&coordinates));
        let code = |coordinate: &Vec<String>| i128::from(coordinates[&coordinate[..]]);
        let cells = || releases.iter().flat_map(|release| &release.cells);
        let suppressed = || releases.iter().flat_map(|release| &release.suppressed);
        columns.insert(CELLS, one(cells().map(|cell| code(&cell.coordinate))));
        let mut held = one(suppressed().map(|cell| code(&cell.coordinate)));
        column::write(&mut held, &suppressed().map(|cell| reason(cell.reason)).collect::<Vec<_>>());
        columns.insert(SUPPRESSED, held);
        columns.insert(OBSERVATIONS, one(cells().map(|cell| cell.observations.into())));
        let mut layout = self.layout.clone();
        for (measure, kept) in layout.iter_mut().flat_map(|layout| layout.measures.iter_mut().enumerate()) {
            write_measure(&mut columns, measure, kept, &releases);
        }
        let sketches = layout.as_ref().map_or(0, |layout| layout.sketches.len());
        for column in 0..sketches {
            let sketches = || cells().map(|cell| &cell.sketches[column][..]);
            let mut lengths = one(sketches().map(|sketch| sketch.len() as i128));
            column::write_plane(&mut lengths, &sketches().flatten().copied().collect::<Vec<_>>());
            columns.insert(sketch_part(column), lengths);
        }
        let released = || self.rows.iter().filter(|row| release_of(row).is_some());
        let bodies = released().map(|row| row.entry.encode());
        let (lengths, leaves): (Vec<u64>, Vec<Hash32>) =
            bodies.map(|body| (body.len() as u64, leaf_hash(&body))).unzip();
        let indexes = || released().map(|row| row.index);
        let held = indexes().min().zip(indexes().max());
        let held = held.map(|(first, last)| HeldLeaves { first, last, hash: leaves_hash(leaves) });
        let header = Header {
            version: VERSION,
            end: last.entry.window().end,
            rows: self.rows.len(),
            cells: cells().count(),
            suppressed: suppressed().count(),
            coordinates: coordinates.len(),
            body_bytes: lengths.iter().sum(),
            sketch_bytes: self.sketch_bytes,
            content: Some(content(layout.as_ref(), &columns)),
            leaves: held,
            releases: layout,
        };
        Some(Made { start: first.entry.window().start, header, columns })
    }
}

/// A hash of all that is stored: what releases have in common, then of each part its number, its length, its bytes.
fn content(layout: Option<&Layout>, columns: &BTreeMap<u16, Vec<u8>>) -> Hash32 {
    let layout = crate::keys::to_json(&layout);
    let heads: Vec<[u8; 10]> = columns
        .iter()
        .map(|(part, bytes)| {
            let mut head = [0; 10];
            head[..2].copy_from_slice(&part.to_be_bytes());
            head[2..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
            head
        })
        .collect();
    let parts = heads.iter().zip(columns.values()).flat_map(|(head, bytes)| [&head[..], &bytes[..]]);
    Hash32::of(&std::iter::once(&layout[..]).chain(parts).collect::<Vec<_>>())
}

fn layout(release: &Release) -> Layout {
    let measures = release.measures.iter().zip(&release.decimals);
    Layout {
        contract: release.contract,
        k: match release.method {
            MethodTag::Open => None,
            MethodTag::Threshold { k } => Some(k),
        },
        dimensions: release.dimensions.clone(),
        measures: measures
            .map(|(name, decimals)| MeasureLayout {
                name: name.clone(),
                decimals: *decimals,
                mean: 0,
                sums: false,
                squares: false,
                halved: false,
            })
            .collect(),
        sketches: release.sketches.clone(),
    }
}

fn release_of(row: &Placed) -> Option<&Release> {
    match &row.entry {
        Entry::Release(release) => Some(release),
        _ => None,
    }
}

fn one(numbers: impl Iterator<Item = i128>) -> Vec<u8> {
    let mut out = Vec::new();
    column::write(&mut out, &numbers.collect::<Vec<_>>());
    out
}

fn rows(rows: &[Placed]) -> Vec<u8> {
    let released = |row: &Placed, number: &dyn Fn(&Release) -> i128| release_of(row).map_or(0, number);
    let each = |number: &dyn Fn(&Placed) -> i128| one(rows.iter().map(number));
    let mut last = 0;
    let indexes = rows.iter().map(|row| i128::from(row.index) - std::mem::replace(&mut last, row.index.into()));
    [
        each(&|row| row.kind().tag()),
        each(&|row| i128::from(row.entry.window().end.0) - i128::from(row.entry.window().start.0)),
        one(indexes),
        each(&|row| row.entry.revision().into()),
        each(&|row| row.entry.windows().into()),
        each(&|row| i128::from(row.entry.closed_through().0) - i128::from(row.entry.window().end.0)),
        each(&|row| released(row, &|release| release.cells.len() as i128)),
        each(&|row| released(row, &|release| release.suppressed.len() as i128)),
        each(&|row| released(row, &|release| band(release.suppressed_share))),
        each(&|row| released(row, &|release| release.coverage.sources.into())),
    ]
    .concat()
}

fn band(share: ShareBand) -> i128 {
    BANDS.iter().position(|band| *band == share).expect("every band has a tag") as i128
}

fn reason(reason: SuppressionReason) -> i128 {
    match reason {
        SuppressionReason::BelowThreshold => 0,
    }
}

/// Every coordinate that occurs, in order, with its place.
fn coordinates<'r>(releases: &[&'r Release]) -> BTreeMap<&'r [String], u32> {
    let mut coordinates = BTreeMap::new();
    for release in releases {
        coordinates.extend(release.cells.iter().map(|cell| (&cell.coordinate[..], 0)));
        coordinates.extend(release.suppressed.iter().map(|cell| (&cell.coordinate[..], 0)));
    }
    (0..).zip(coordinates.values_mut()).for_each(|(place, code)| *code = place);
    coordinates
}

fn dictionary(coordinates: &BTreeMap<&[String], u32>) -> Vec<u8> {
    let mut texts = Vec::new();
    for value in coordinates.keys().copied().flatten() {
        column::leb128(&mut texts, value.len() as u128);
        texts.extend_from_slice(value.as_bytes());
    }
    let mut out = Vec::new();
    column::leb128(&mut out, texts.len() as u128);
    column::write_plane(&mut out, &texts);
    out
}

fn write_measure(
    columns: &mut BTreeMap<u16, Vec<u8>>,
    measure: usize,
    kept: &mut MeasureLayout,
    releases: &[&Release],
) {
    let cells = || releases.iter().flat_map(|release| &release.cells);
    let states = || cells().map(|cell| &cell.measures[measure]);
    let mut put = |column: u16, bytes: Vec<u8>| columns.insert(measure_part(measure, column), bytes);
    put(COUNT, one(cells().map(|cell| i128::from(cell.measures[measure].count) - i128::from(cell.observations))));
    kept.sums = states().any(|state| state.sum != 0);
    kept.squares = states().any(|state| state.sum_squares != 0);
    if kept.sums {
        kept.mean = mean(states());
        let mean = i128::from(kept.mean);
        put(SUM, one(states().map(|state| state.sum - mean * i128::from(state.count))));
    }
    if kept.squares {
        let known = |state: &MeasureState| state.sum_squares.wrapping_sub(square(state.sum, state.count));
        let even = |state: &MeasureState| known(state).wrapping_sub(odd(state.sum, square(state.sum, state.count)));
        kept.halved = states().all(|state| even(state) & 1 == 0);
        put(SUM_SQUARES, one(states().map(|state| if kept.halved { even(state) >> 1 } else { known(state) })));
    }
    let extremes = |release: &&Release| {
        let has = |of: fn(&MeasureState) -> Option<i64>| {
            release.cells.iter().any(|cell| of(&cell.measures[measure]).is_some())
        };
        let [least, greatest] = [has(|state| state.min), has(|state| state.max)];
        i128::from(if least { HAS_MIN } else { 0 } | if greatest { HAS_MAX } else { 0 })
    };
    let extremes: Vec<i128> = releases.iter().map(extremes).collect();
    let any = |bit: i64| extremes.iter().any(|has| has & i128::from(bit) != 0);
    let middle = |state: &MeasureState| middle(state.sum, state.count);
    if any(HAS_MIN) {
        put(MIN, one(states().map(|state| state.min.map_or(0, |min| middle(state) - i128::from(min)))));
    }
    if any(HAS_MAX) {
        put(MAX, one(states().map(|state| state.max.map_or(0, |max| i128::from(max) - middle(state)))));
    }
    put(EXTREMES, one(extremes.into_iter()));
}

/// About the mean of all values of the states.
fn mean<'a>(states: impl Iterator<Item = &'a MeasureState>) -> i64 {
    let (mut sum, mut count) = (0_i128, 0_i128);
    for state in states {
        sum = sum.saturating_add(state.sum);
        count += i128::from(state.count);
    }
    i64::try_from(middle(sum, u64::try_from(count).unwrap_or(0))).unwrap_or(0)
}

/// What a value of the state is about.
#[inline]
pub(super) fn middle(sum: i128, count: u64) -> i128 {
    match (i64::try_from(sum), i64::try_from(count)) {
        (_, Ok(0)) => 0,
        (Ok(sum), Ok(count)) => sum.div_euclid(count).into(),
        _ => sum.div_euclid(count.into()),
    }
}

/// A sum of squares of whole numbers is odd where their sum is: whether it is where `square`, which is taken off, is not,
/// or the other way round, as a number.
#[inline]
pub(super) fn odd(sum: i128, square: i128) -> i128 {
    (sum ^ square) & 1
}

/// A hash of leaves in the order of rows.
pub(super) fn leaves_hash(leaves: impl IntoIterator<Item = Hash32>) -> Hash32 {
    Hash32::of(&[&leaves.into_iter().flat_map(|leaf| leaf.0).collect::<Vec<_>>()])
}

/// What the sum of squares would be if all values were the same.
#[inline]
pub(super) fn square(sum: i128, count: u64) -> i128 {
    match (sum.checked_mul(sum), count) {
        (_, 0) | (None, _) => 0,
        (Some(square), count) => match u64::try_from(square) {
            Ok(square) => (square / count).into(),
            Err(_) => square / i128::from(count),
        },
    }
}
