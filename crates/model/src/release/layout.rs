//! The canonical bytes of an entry, versions 1 and 2. An encoder that ever wrote an entry is kept: its bytes are in a
//! log. Version 2 is that of releases with sketches, and of nothing else: one entry has one encoding.
//!
//! ```text
//! entry      version, kind (1 release, 2 refusal, 3 empty run), domain, product, start, end, closed-through,
//!            contract 32 B, salt 32 B, body
//! refusal    revision, reason
//! empty run  windows, zero (0, 1)
//! release    revision, method (1 open; 2 threshold, k), observations, sources, share band,
//!            dimensions: number, names; measures: number, (name, decimals) each;
//!            in version 2 sketches: number, (kind (1 quantiles, 2 distinct), name) each;
//!            numbers of cells and of suppressed cells; for each dimension its values in all cells, then in all
//!            suppressed cells; reasons; observations of all cells; for each measure its columns;
//!            in version 2 for each column of sketches their lengths in all cells, then their bytes
//! columns    which (bits: 1 sum, 2 sum of squares, 4 min, 8 max), counts of all cells, then each of those;
//!            extremes only of cells that have values. A column that says nothing is left out.
//! ```
//! Instants, sums and extremes are zigzag integers, all else of more than a byte unsigned ones (see codec).

use super::check::rule;
use super::*;
use crate::codec::{Reader, Writer};
use crate::sketch::SKETCH_BYTES_MAX;

/// All that has no sketches.
const VERSION_PLAIN: u8 = 1;
/// A release with sketches.
const VERSION_SKETCHES: u8 = 2;
const RELEASE: u8 = 1;
const REFUSAL: u8 = 2;
const EMPTY_RUN: u8 = 3;

const OPEN: u8 = 1;
const THRESHOLD: u8 = 2;

const SUM: u8 = 1;
const SUM_SQUARES: u8 = 2;
const MIN: u8 = 4;
const MAX: u8 = 8;

/// The longest encoding of the length of a dimension's value.
pub(super) const COORDINATE_LENGTH_BYTES_MAX: usize = 2;
/// The longest encoding of a state, but for the byte of each column of states: count, sum, sum of squares, extremes.
pub(super) const STATE_BYTES_MAX: usize = 7 + 13 + 19 + 6 + 6;
/// The longest encoding of the length of a sketch.
pub(super) const SKETCH_LENGTH_BYTES_MAX: usize = 2;
/// Longest domain or product.
const NAME_BYTES_MAX: usize = crate::names::NAME_BYTES_MAX;

/// What is wrong with version 2 for anything that version 1 says.
const NO_SKETCHES: &str = "an encoding for sketches, of which there are none";

/// A closed set of meanings, each with its byte. A byte once given stays.
trait Tagged: Copy + PartialEq + 'static {
    const WHAT: &'static str;
    const TAGS: &'static [(Self, u8)];

    fn tag(self) -> u8 {
        let tag = Self::TAGS.iter().find(|(meaning, _)| *meaning == self);
        tag.expect("every meaning has a tag").1
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        let byte = reader.byte()?;
        let meaning = Self::TAGS.iter().find(|(_, tag)| *tag == byte);
        meaning.map(|(meaning, _)| *meaning).ok_or(EntryError::Tag(Self::WHAT))
    }
}

impl Tagged for SuppressionReason {
    const WHAT: &'static str = "suppression reason";
    const TAGS: &'static [(Self, u8)] = &[(Self::BelowThreshold, 1)];
}

impl Tagged for RefusalReason {
    const WHAT: &'static str = "refusal reason";
    const TAGS: &'static [(Self, u8)] =
        &[(Self::Overflow, 1), (Self::TooManyCells, 2), (Self::TooLong, 3), (Self::Expired, 4)];
}

impl Tagged for ShareBand {
    const WHAT: &'static str = "suppressed share";
    const TAGS: &'static [(Self, u8)] =
        &[(Self::None, 0), (Self::Under1, 1), (Self::Under5, 2), (Self::Under20, 3), (Self::More, 4)];
}

impl Tagged for SketchKind {
    const WHAT: &'static str = "kind of sketch";
    const TAGS: &'static [(Self, u8)] = &[(Self::Quantiles, 1), (Self::Distinct, 2)];
}

impl Tagged for bool {
    const WHAT: &'static str = "empty windows";
    const TAGS: &'static [(Self, u8)] = &[(false, 0), (true, 1)];
}

impl Entry {
    /// The canonical bytes.
    ///
    /// # Panics
    /// If the entry breaks a rule of [`Entry::check`]: other bytes would stand for it, or none.
    pub fn encode(&self) -> Vec<u8> {
        self.check().expect("an entry keeps the rules of its check");
        let mut out = Writer::default();
        out.byte(match self {
            Self::Release(release) if !release.sketches.is_empty() => VERSION_SKETCHES,
            _ => VERSION_PLAIN,
        });
        match self {
            Self::Release(release) => {
                self.write_front(&mut out, RELEASE, &release.salt);
                release.write_body(&mut out);
            }
            Self::Refusal(refusal) => {
                self.write_front(&mut out, REFUSAL, &refusal.salt);
                out.unsigned(refusal.revision.into());
                out.byte(refusal.reason.tag());
            }
            Self::Empty(run) => {
                self.write_front(&mut out, EMPTY_RUN, &run.salt);
                out.unsigned(run.windows);
                out.byte(run.zero.tag());
            }
        }
        out.into_bytes()
    }

    fn write_front(&self, out: &mut Writer, kind: u8, salt: &[u8; 32]) {
        let ProductId { domain, product } = self.product();
        let Window { start, end } = self.window();
        out.byte(kind);
        out.text(domain.as_str());
        out.text(product.as_str());
        out.signed(start.0);
        out.signed(end.0);
        out.signed(self.closed_through().0);
        out.bytes(&self.contract().0);
        out.bytes(salt);
    }

    /// The entry that these are the canonical bytes of.
    ///
    /// # Errors
    /// [`EntryError`] for all other bytes; nothing is allocated for a length that the bytes do not bear out.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let sketches = match reader.byte()? {
            VERSION_PLAIN => false,
            VERSION_SKETCHES => true,
            version => return Err(EntryError::Version(version)),
        };
        let kind = reader.byte()?;
        let front = Front::read(&mut reader)?;
        let entry = match kind {
            RELEASE => Self::Release(Release::read_body(front, sketches, &mut reader)?),
            _ if sketches => return Err(EntryError::Rule(NO_SKETCHES)),
            REFUSAL => Self::Refusal(front.refusal(&mut reader)?),
            EMPTY_RUN => Self::Empty(front.empty_run(&mut reader)?),
            _ => return Err(EntryError::Tag("entry")),
        };
        reader.finish()?;
        entry.check()?;
        Ok(entry)
    }
}

/// What all entries begin with.
struct Front {
    product: ProductId,
    window: Window,
    closed_through: UtcMicros,
    contract: Hash32,
    salt: [u8; 32],
}

impl Front {
    fn read(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        let domain = reader.text(NAME_BYTES_MAX)?;
        let product = reader.text(NAME_BYTES_MAX)?;
        Ok(Self {
            product: ProductId {
                domain: domain.parse().map_err(|_| EntryError::Name("domain"))?,
                product: product.parse().map_err(|_| EntryError::Name("product"))?,
            },
            window: Window { start: UtcMicros(reader.signed()?), end: UtcMicros(reader.signed()?) },
            closed_through: UtcMicros(reader.signed()?),
            contract: Hash32(reader.array()?),
            salt: reader.array()?,
        })
    }

    fn refusal(self, reader: &mut Reader<'_>) -> Result<RefusedWindow, EntryError> {
        let Self { product, window, closed_through, contract, salt } = self;
        let revision = reader.small()?;
        let reason = RefusalReason::read(reader)?;
        Ok(RefusedWindow { product, window, revision, contract, closed_through, reason, salt })
    }

    fn empty_run(self, reader: &mut Reader<'_>) -> Result<EmptyRun, EntryError> {
        let Self { product, window: Window { start, end }, closed_through, contract, salt } = self;
        let windows = reader.unsigned()?;
        let zero = bool::read(reader)?;
        Ok(EmptyRun { product, start, end, windows, contract, closed_through, zero, salt })
    }
}

impl Release {
    fn write_body(&self, out: &mut Writer) {
        out.unsigned(self.revision.into());
        match self.method {
            MethodTag::Open => out.byte(OPEN),
            MethodTag::Threshold { k } => {
                out.byte(THRESHOLD);
                out.unsigned(k);
            }
        }
        out.unsigned(self.coverage.observations);
        out.unsigned(self.coverage.sources.into());
        out.byte(self.suppressed_share.tag());
        out.length(self.dimensions.len());
        self.dimensions.iter().for_each(|name| out.text(name));
        out.length(self.measures.len());
        for (name, decimals) in self.measures.iter().zip(&self.decimals) {
            out.text(name);
            out.byte(*decimals);
        }
        if !self.sketches.is_empty() {
            out.length(self.sketches.len());
            for SketchColumn { kind, name } in &self.sketches {
                out.byte(kind.tag());
                out.text(name);
            }
        }
        out.length(self.cells.len());
        out.length(self.suppressed.len());
        for dimension in 0..self.dimensions.len() {
            self.cells.iter().for_each(|cell| out.text(&cell.coordinate[dimension]));
            self.suppressed.iter().for_each(|cell| out.text(&cell.coordinate[dimension]));
        }
        self.suppressed.iter().for_each(|cell| out.byte(cell.reason.tag()));
        self.cells.iter().for_each(|cell| out.unsigned(cell.observations));
        for measure in 0..self.measures.len() {
            write_columns(out, || self.cells.iter().map(move |cell| &cell.measures[measure]));
        }
        for sketch in 0..self.sketches.len() {
            self.cells.iter().for_each(|cell| out.length(cell.sketches[sketch].len()));
            self.cells.iter().for_each(|cell| out.bytes(&cell.sketches[sketch]));
        }
    }

    fn read_body(front: Front, has_sketches: bool, reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        let Front { product, window, closed_through, contract, salt } = front;
        let revision = reader.small()?;
        let method = match reader.byte()? {
            OPEN => MethodTag::Open,
            THRESHOLD => MethodTag::Threshold { k: reader.unsigned()? },
            _ => return Err(EntryError::Tag("method")),
        };
        let coverage = ReleaseCoverage { observations: reader.unsigned()?, sources: reader.small()? };
        let suppressed_share = ShareBand::read(reader)?;
        let dimensions =
            read_list(reader, DIMENSIONS_MAX, |reader| Ok(reader.text(COLUMN_NAME_BYTES_MAX)?.to_owned()))?;
        let (measures, decimals): (Vec<_>, Vec<_>) = read_list(reader, MEASURES_MAX, |reader| {
            Ok((reader.text(COLUMN_NAME_BYTES_MAX)?.to_owned(), reader.byte()?))
        })?
        .into_iter()
        .unzip();
        let sketches = match has_sketches {
            true => read_list(reader, SKETCHES_MAX, |reader| {
                let kind = SketchKind::read(reader)?;
                Ok(SketchColumn { kind, name: reader.text(COLUMN_NAME_BYTES_MAX)?.to_owned() })
            })?,
            false => Vec::new(),
        };
        rule(has_sketches != sketches.is_empty(), NO_SKETCHES)?;
        let cells = reader.length(CELLS_MAX)?;
        let held = reader.length(CELLS_MAX - cells)?;
        rule(cells * measures.len() <= STATES_MAX, "too many states")?;
        rule(cells * sketches.len() <= STATES_MAX, "too many sketches")?;
        let mut coordinates = read_coordinates(reader, cells + held, dimensions.len())?;
        let suppressed = coordinates
            .split_off(cells)
            .into_iter()
            .map(|coordinate| Ok(Suppressed { coordinate, reason: SuppressionReason::read(reader)? }))
            .collect::<Result<_, EntryError>>()?;
        let mut cells = coordinates
            .into_iter()
            .map(|coordinate| {
                let (measures, sketches) = (Vec::new(), Vec::new());
                Ok(Cell { coordinate, observations: reader.unsigned()?, measures, sketches })
            })
            .collect::<Result<Vec<_>, EntryError>>()?;
        for _ in 0..measures.len() {
            let states = read_columns(reader, cells.len())?;
            cells.iter_mut().zip(states).for_each(|(cell, state)| cell.measures.push(state));
        }
        for _ in 0..sketches.len() {
            let lengths = (0..cells.len()).map(|_| reader.length(SKETCH_BYTES_MAX)).collect::<Result<Vec<_>, _>>()?;
            for (cell, length) in cells.iter_mut().zip(lengths) {
                cell.sketches.push(reader.slice(length)?.to_vec());
            }
        }
        Ok(Self {
            product,
            window,
            revision,
            contract,
            method,
            closed_through,
            dimensions,
            measures,
            decimals,
            sketches,
            cells,
            suppressed,
            suppressed_share,
            coverage,
            salt,
        })
    }
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    max: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, EntryError>,
) -> Result<Vec<T>, EntryError> {
    let length = reader.length(max)?;
    (0..length).map(|_| read(reader)).collect()
}

/// The coordinates of `cells` cells, their number already bounded.
fn read_coordinates(reader: &mut Reader<'_>, cells: usize, dimensions: usize) -> Result<Vec<Vec<String>>, EntryError> {
    let mut coordinates = vec![Vec::new(); cells];
    for _ in 0..dimensions {
        for coordinate in &mut coordinates {
            coordinate.push(reader.text(COORDINATE_BYTES_MAX)?.to_owned());
        }
    }
    Ok(coordinates)
}

/// The columns of one measure's states.
fn write_columns<'a, I: Iterator<Item = &'a MeasureState>>(out: &mut Writer, states: impl Fn() -> I) {
    let present = |bit: u8, says: fn(&MeasureState) -> bool| if states().any(says) { bit } else { 0 };
    let columns = present(SUM, |state| state.sum != 0)
        | present(SUM_SQUARES, |state| state.sum_squares != 0)
        | present(MIN, |state| state.min.is_some())
        | present(MAX, |state| state.max.is_some());
    out.byte(columns);
    states().for_each(|state| out.unsigned(state.count));
    if columns & SUM != 0 {
        states().for_each(|state| out.wide(state.sum));
    }
    if columns & SUM_SQUARES != 0 {
        states().for_each(|state| out.wide(state.sum_squares));
    }
    // a column of extremes has one of each cell that has values (check), and of no other
    states().filter_map(|state| state.min).for_each(|min| out.signed(min));
    states().filter_map(|state| state.max).for_each(|max| out.signed(max));
}

fn read_columns(reader: &mut Reader<'_>, cells: usize) -> Result<Vec<MeasureState>, EntryError> {
    let columns = reader.byte()?;
    if columns & !(SUM | SUM_SQUARES | MIN | MAX) != 0 {
        return Err(EntryError::Tag("columns"));
    }
    let mut states = vec![MeasureState::default(); cells];
    for state in &mut states {
        state.count = reader.unsigned()?;
    }
    read_column(&mut states, columns & SUM != 0, |state| {
        state.sum = reader.wide()?;
        Ok(state.sum != 0)
    })?;
    read_column(&mut states, columns & SUM_SQUARES != 0, |state| {
        state.sum_squares = reader.wide()?;
        Ok(state.sum_squares != 0)
    })?;
    read_column(&mut states, columns & MIN != 0, |state| {
        state.min = read_extreme(reader, state.count)?;
        Ok(state.min.is_some())
    })?;
    read_column(&mut states, columns & MAX != 0, |state| {
        state.max = read_extreme(reader, state.count)?;
        Ok(state.max.is_some())
    })?;
    Ok(states)
}

/// Reads a column, if it is there, with `read`, which tells whether a state has something to say in it; a column
/// that says nothing would have been left out.
fn read_column(
    states: &mut [MeasureState],
    is_there: bool,
    mut read: impl FnMut(&mut MeasureState) -> Result<bool, CodecError>,
) -> Result<(), EntryError> {
    let mut says = !is_there;
    for state in states.iter_mut().filter(|_| is_there) {
        says |= read(state)?;
    }
    rule(says, "a column says nothing")
}

fn read_extreme(reader: &mut Reader<'_>, count: u64) -> Result<Option<i64>, CodecError> {
    if count == 0 {
        return Ok(None);
    }
    reader.signed().map(Some)
}
