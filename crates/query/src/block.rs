//! Cells of some windows as columns, whether they come out of a segment or out of releases one by one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use civicmesh_ledger::{LedgerError, Numbers, RowKind, Segment, Sketches, States, Wanted};
use civicmesh_model::contract::{Measure, Statistic};
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{Release, ShareBand, SketchKind};
use datafusion::common::Result;

use crate::error::QueryError;
use crate::product::{Need, Product};
use crate::sketched::sketches_array;
use crate::state::{measure_fields, state_columns};

/// A released window in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockWindow {
    pub start: i64,
    /// The first of its cells; the next window's is the first after them.
    pub first_cell: usize,
    pub first_suppressed: usize,
    pub share: ShareBand,
}

/// Cells of some windows.
pub(crate) struct Block {
    pub windows: Vec<BlockWindow>,
    /// Which of the cells below are of these windows.
    pub cells: Range<usize>,
    pub suppressed: Range<usize>,
    /// The coordinates that occur, in the order of the product's dimensions.
    pub coordinates: Arc<Vec<Vec<String>>>,
    /// Of each cell, which coordinate.
    pub codes: Arc<Vec<u32>>,
    pub suppressed_codes: Arc<Vec<u32>>,
    /// Of each cell, how many observations; none where nobody asks.
    pub observations: Arc<Vec<i64>>,
    /// Of each measure of the product that is asked for.
    pub states: Vec<Option<Arc<States>>>,
    /// Of each measure whose quantiles are asked for.
    pub quantiles: Vec<Option<Sketches>>,
    /// Of each column of distinct values that is asked for.
    pub distinct: Vec<Option<Sketches>>,
}

/// What of cells a question needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Needed {
    weight: bool,
    /// Of each measure of the product.
    pub measures: Vec<Option<Wanted>>,
    /// Of which measures quantiles.
    pub quantiles: Vec<bool>,
    /// Which columns of distinct values.
    pub distinct: Vec<bool>,
}

impl Needed {
    /// For these columns of the product's cells and the statistics that it noted.
    pub(crate) fn of(product: &Product, columns: impl IntoIterator<Item = usize>) -> Self {
        let last = product.cells_schema().fields().len() - 1;
        let measures = product.contract.measures.len();
        let distinct = vec![false; product.contract.distinct.len()];
        let mut needed =
            Self { weight: false, measures: vec![None; measures], quantiles: vec![false; measures], distinct };
        for column in columns {
            needed.weight |= column == last;
            if let Some(measure) = product.measure_at(column) {
                needed.measures[measure] = Some(Wanted::default());
            }
            if let Some(distinct) = product.distinct_at(column) {
                needed.distinct[distinct] = true;
            }
        }
        for need in product.needs() {
            let Need::Statistic(measure, statistic) = need else { continue };
            if let Some(wanted) = &mut needed.measures[measure] {
                match statistic {
                    Statistic::Count => {}
                    Statistic::Sum => wanted.sums = true,
                    Statistic::SumSquares => wanted.squares = true,
                    Statistic::Min => wanted.min = true,
                    Statistic::Max => wanted.max = true,
                    Statistic::Quantiles => needed.quantiles[measure] = true,
                }
            }
        }
        needed
    }

    /// Each column of sketches of the product by kind and name, none where nobody asks for it: of measures, then of
    /// distinct values.
    fn sketches<'p>(&self, product: &'p Product) -> [Vec<Option<(SketchKind, &'p str)>>; 2] {
        let asked = |kind: SketchKind, (name, needed): (&'p str, &bool)| needed.then_some((kind, name));
        let measures = product.contract.measures.iter().map(|measure| measure.name.as_str());
        let distinct = product.contract.distinct.iter().map(|column| column.name.as_str());
        [
            measures.zip(&self.quantiles).map(|column| asked(SketchKind::Quantiles, column)).collect(),
            distinct.zip(&self.distinct).map(|column| asked(SketchKind::Distinct, column)).collect(),
        ]
    }

    fn has_counts(&self) -> bool {
        self.weight || self.measures.iter().any(Option::is_some)
    }
}

fn unreadable(error: &LedgerError) -> QueryError {
    tracing::error!(%error, "a segment could not be read for a question");
    QueryError::Ledger
}

impl Block {
    /// The released windows among some rows of a segment.
    pub(crate) fn of_segment(
        product: &Product,
        needed: &Needed,
        segment: &Segment<'_>,
        rows: Range<usize>,
    ) -> Result<Self, QueryError> {
        let unreadable = |error: LedgerError| unreadable(&error);
        let released = segment.rows()[rows.clone()].iter().filter(|row| row.kind == RowKind::Release);
        let window = |row: &civicmesh_ledger::SegmentRow| BlockWindow {
            start: row.start.0,
            first_cell: row.first_cell,
            first_suppressed: row.first_suppressed,
            share: row.suppressed_share,
        };
        let windows: Vec<_> = released.map(window).collect();
        let (cells, suppressed) = (segment.cells_of(rows.clone()), segment.suppressed_of(rows));
        let (mut coordinates, mut codes, mut suppressed_codes) = (Arc::default(), Arc::default(), Arc::default());
        let (mut observations, mut states) = (Arc::default(), vec![None; needed.measures.len()]);
        let mut sketches = [vec![None; needed.quantiles.len()], vec![None; needed.distinct.len()]];
        if !cells.is_empty() || !suppressed.is_empty() {
            let dimensions = product.contract.dimensions.iter().map(|dimension| segment.dimension(&dimension.name));
            let places = dimensions.collect::<Option<Vec<_>>>().ok_or(QueryError::Ledger)?;
            coordinates = segment.coordinates().map_err(unreadable)?;
            if !places.iter().copied().eq(0..places.len()) {
                let inorder =
                    |coordinate: &Vec<String>| places.iter().map(|place| coordinate[*place].clone()).collect();
                coordinates = Arc::new(coordinates.iter().map(inorder).collect());
            }
        }
        if !suppressed.is_empty() {
            suppressed_codes = segment.suppressed_codes().map_err(unreadable)?;
        }
        if !cells.is_empty() {
            codes = segment.codes().map_err(unreadable)?;
            if needed.has_counts() {
                observations = segment.observations().map_err(unreadable)?;
            }
            let measures = product.contract.measures.iter().zip(&needed.measures);
            for (states, (measure, wanted)) in states.iter_mut().zip(measures) {
                if let (Some(measure), Some(wanted)) = (segment.measure(&measure.name), wanted) {
                    *states = Some(segment.states(measure, *wanted).map_err(unreadable)?);
                }
            }
            let asked = needed.sketches(product).into_iter().flatten();
            for (sketches, asked) in sketches.iter_mut().flatten().zip(asked) {
                if let Some(column) = asked.and_then(|(kind, name)| segment.sketch(kind, name)) {
                    *sketches = Some(segment.sketches(column).map_err(unreadable)?);
                }
            }
        }
        let [quantiles, distinct] = sketches;
        Ok(Self {
            windows,
            cells,
            suppressed,
            coordinates,
            codes,
            suppressed_codes,
            observations,
            states,
            quantiles,
            distinct,
        })
    }

    /// Releases of one contract.
    pub(crate) fn of_releases(product: &Product, needed: &Needed, releases: &[Release]) -> Result<Self, QueryError> {
        let mut known: HashMap<Vec<String>, u32> = HashMap::new();
        let mut windows = Vec::with_capacity(releases.len());
        let (mut codes, mut suppressed_codes, mut observations) = (Vec::new(), Vec::new(), Vec::new());
        for release in releases {
            let places = places_of(product, release)?;
            let mut code = |coordinate: &[String]| {
                let coordinate: Vec<String> = places.iter().map(|place| coordinate[*place].clone()).collect();
                let next = known.len() as u32;
                *known.entry(coordinate).or_insert(next)
            };
            windows.push(BlockWindow {
                start: release.window.start.0,
                first_cell: codes.len(),
                first_suppressed: suppressed_codes.len(),
                share: release.suppressed_share,
            });
            codes.extend(release.cells.iter().map(|cell| code(&cell.coordinate)));
            suppressed_codes.extend(release.suppressed.iter().map(|cell| code(&cell.coordinate)));
            observations.extend(release.cells.iter().map(|cell| cell.observations as i64));
        }
        let mut coordinates = vec![Vec::new(); known.len()];
        known.into_iter().for_each(|(coordinate, code)| coordinates[code as usize] = coordinate);
        let states = product.contract.measures.iter().zip(&needed.measures);
        let states = states.map(|(measure, wanted)| wanted.map(|_| Arc::new(states_of(&measure.name, releases))));
        let states = states.collect();
        let (cells, suppressed) = (0..codes.len(), 0..suppressed_codes.len());
        let (coordinates, codes, suppressed_codes) =
            (Arc::new(coordinates), Arc::new(codes), Arc::new(suppressed_codes));
        let observations = Arc::new(observations);
        let [quantiles, distinct] = needed.sketches(product).map(|columns| {
            let columns = columns.into_iter();
            columns.map(|asked| asked.map(|(kind, name)| sketches_of(kind, name, releases))).collect()
        });
        Ok(Self {
            windows,
            cells,
            suppressed,
            coordinates,
            codes,
            suppressed_codes,
            observations,
            states,
            quantiles,
            distinct,
        })
    }

    /// The cells of a window.
    pub(crate) fn cells_of(&self, window: usize) -> Range<usize> {
        let end = self.windows.get(window + 1).map_or(self.cells.end, |next| next.first_cell);
        self.windows[window].first_cell..end
    }

    /// The coordinates of each window's cells, where all windows have the same ones in the same order.
    pub(crate) fn alike(&self) -> Option<&[u32]> {
        let cells = self.cells.len();
        let width = cells.checked_div(self.windows.len()).filter(|width| *width > 0)?;
        let firsts = self.windows.iter().map(|window| window.first_cell);
        let even = cells.is_multiple_of(width) && firsts.eq(self.cells.clone().step_by(width));
        let codes = &self.codes[self.cells.clone()];
        (even && codes[width..] == codes[..cells - width]).then_some(&codes[..width])
    }

    /// The suppressed cells of a window.
    pub(crate) fn suppressed_of(&self, window: usize) -> Range<usize> {
        let end = self.windows.get(window + 1).map_or(self.suppressed.end, |next| next.first_suppressed);
        self.windows[window].first_suppressed..end
    }

    /// A batch of these columns of the product's cells: of some of the cells, which `times` says the starts of.
    pub(crate) fn batch(
        &self,
        product: &Product,
        columns: &[usize],
        schema: &SchemaRef,
        cells: Range<usize>,
        times: Vec<i64>,
    ) -> Result<RecordBatch> {
        let zone = product.zone().name();
        let mut times = Some(times);
        let column = |column: &usize| -> Result<ArrayRef> {
            Ok(match (*column, product.measure_at(*column)) {
                (0, _) => {
                    let times = times.take().ok_or(QueryError::Internal("a column is read twice"))?;
                    Arc::new(TimestampMicrosecondArray::from(times).with_timezone(zone))
                }
                (_, Some(measure)) => {
                    let states: Vec<_> = cells.clone().map(|cell| self.state(measure, cell)).collect();
                    let sketches = array_of(self.quantiles[measure].as_ref(), &cells);
                    states_array(&product.contract.measures[measure], state_columns(&states), sketches)
                }
                (column, None) if column <= product.contract.dimensions.len() => {
                    self.dimension(column - 1, &self.codes[cells.clone()])
                }
                (column, None) if product.distinct_at(column).is_some() => {
                    let sketches = product.distinct_at(column).and_then(|distinct| self.distinct[distinct].as_ref());
                    Arc::new(array_of(sketches, &cells))
                }
                _ => Arc::new(UInt64Array::from_iter_values(
                    self.observations[cells.clone()].iter().map(|observations| *observations as u64),
                )),
            })
        };
        let arrays = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema.clone(), arrays)?)
    }

    /// The values of a dimension for these coordinates.
    pub(crate) fn dimension(&self, dimension: usize, codes: &[u32]) -> ArrayRef {
        let values = codes.iter().map(|code| &self.coordinates[*code as usize][dimension]);
        Arc::new(StringArray::from_iter_values(values))
    }

    /// A batch of the keys of suppressed cells: the time, then every dimension.
    pub(crate) fn suppressed_batch(&self, product: &Product) -> Result<RecordBatch> {
        let mut times = Vec::with_capacity(self.suppressed.len());
        for (window, at) in self.windows.iter().enumerate() {
            times.resize(times.len() + self.suppressed_of(window).len(), at.start);
        }
        let codes = &self.suppressed_codes[self.suppressed.clone()];
        let times = TimestampMicrosecondArray::from(times).with_timezone(product.zone().name());
        let dimensions = 0..product.contract.dimensions.len();
        let arrays = dimensions.clone().map(|dimension| self.dimension(dimension, codes));
        let arrays: Vec<ArrayRef> = std::iter::once(Arc::new(times) as ArrayRef).chain(arrays).collect();
        let schema: Schema = product.cells_schema().project(&(0..=dimensions.end).collect::<Vec<_>>())?;
        Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
    }

    fn state(&self, measure: usize, cell: usize) -> MeasureState {
        self.states[measure].as_ref().map_or_else(MeasureState::default, |states| states.get(cell))
    }
}

/// A column of a measure's states, with sketches of its quantiles where its contract publishes them.
pub(crate) fn states_array(measure: &Measure, mut columns: Vec<ArrayRef>, quantiles: BinaryArray) -> ArrayRef {
    let fields = measure_fields(measure);
    columns.push(Arc::new(quantiles));
    columns.truncate(fields.len());
    Arc::new(StructArray::new(fields, columns, None))
}

/// The sketches of some cells, null where there is no value or nobody asks.
fn array_of(sketches: Option<&Sketches>, cells: &Range<usize>) -> BinaryArray {
    match sketches {
        Some(sketches) => sketches_array(cells.clone().map(|cell| sketches.get(cell))),
        None => BinaryArray::new_null(cells.len()),
    }
}

/// A column of sketches in all cells of the releases, one after the other.
fn sketches_of(kind: SketchKind, name: &str, releases: &[Release]) -> Sketches {
    let mut sketches = Sketches::default();
    for release in releases {
        let place = release.sketches.iter().position(|column| column.kind == kind && column.name == name);
        for cell in &release.cells {
            sketches.push(place.map_or(&[], |place| &cell.sketches[place]));
        }
    }
    sketches
}

/// Where a release's coordinates have the product's dimensions.
fn places_of(product: &Product, release: &Release) -> Result<Vec<usize>, QueryError> {
    let place = |name: &str| release.dimensions.iter().position(|dimension| dimension == name);
    let places = product.contract.dimensions.iter().map(|dimension| place(&dimension.name));
    places.collect::<Option<_>>().ok_or(QueryError::Ledger)
}

/// The states of one measure in all cells of the releases, one after the other.
fn states_of(measure: &str, releases: &[Release]) -> States {
    let mut states = Vec::new();
    for release in releases {
        let place = release.measures.iter().position(|name| name == measure);
        let state = |cell: &civicmesh_model::release::Cell| {
            place.map_or_else(MeasureState::default, |place| cell.measures[place].clone())
        };
        states.extend(release.cells.iter().map(state));
    }
    States {
        count: Arc::new(states.iter().map(|state| state.count as i64).collect()),
        sums: Some(Numbers::Wide(states.iter().map(|state| state.sum).collect())),
        squares: Some(Numbers::Wide(states.iter().map(|state| state.sum_squares).collect())),
        min: Some(states.iter().map(|state| state.min).collect()),
        max: Some(states.iter().map(|state| state.max).collect()),
    }
}
