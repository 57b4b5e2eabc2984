//! The columns of a batch that one product reads, looked up once so that the loop over rows allocates nothing.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, Int64Array, StringArray};
use civicmesh_model::contract::{DistinctColumn, Measure};
use civicmesh_model::time::UtcMicros;
use civicmesh_observation::Observations;

use crate::accumulator::Interned;
use crate::error::DisclosureError;
use crate::tally::{Contribution, Counting, Identity};

/// A dictionary's text that has no number yet.
const UNNUMBERED: u32 = u32::MAX;

pub(crate) struct Columns<'a> {
    times: &'a [i64],
    dimensions: Vec<Dimension<'a>>,
    /// `None` where the rows were stored before the contract had the measure: none of them has a value.
    measures: Vec<Option<&'a Int64Array>>,
    /// Likewise.
    distinct: Vec<Option<&'a FixedSizeBinaryArray>>,
    who: Who<'a>,
}

/// A dictionary-encoded dimension, with the accumulator's number of each text that was met.
struct Dimension<'a> {
    keys: &'a [u32],
    texts: &'a StringArray,
    ids: Vec<u32>,
}

/// Who stands behind each row.
enum Who<'a> {
    Rows,
    Counts(&'a Int64Array),
    Identities(&'a FixedSizeBinaryArray),
}

impl<'a> Columns<'a> {
    /// The columns of these dimensions, measures and distinct values, or the name of the one that is not as the contract
    /// has it. A
    /// measure that is not there at all is null in all rows: it was added to the contract after they were stored, and
    /// their windows must still close. A dimension cannot be added to a product, and without it there are no cells.
    pub(crate) fn of(
        observations: &'a Observations,
        dimensions: &[Interned],
        measures: &[Measure],
        distinct: &[DistinctColumn],
        counting: Counting,
    ) -> Result<Self, DisclosureError> {
        let missing = |column: &str| DisclosureError::MissingColumn { column: column.to_owned() };
        let dimension = |name: &str| {
            let column = observations.dimension(name)?;
            let texts = column.values().as_string_opt()?;
            Some(Dimension { keys: column.keys().values(), texts, ids: vec![UNNUMBERED; texts.len()] })
        };
        let measure = |wanted: &Measure| match observations.measure(&wanted.name) {
            Some(column) if observations.decimals(&wanted.name) == Some(wanted.decimals) => Ok(Some(column)),
            Some(_) => Err(missing(&wanted.name)),
            None => Ok(None),
        };
        let is_hash = |column: &FixedSizeBinaryArray| column.value_length() == size_of::<Identity>() as i32;
        let values = |wanted: &DistinctColumn| match observations.distinct(&wanted.name) {
            Some(column) if !is_hash(column) => Err(missing(&wanted.name)),
            column => Ok(column),
        };
        let who = match counting {
            Counting::Nobody | Counting::Rows => Who::Rows,
            Counting::Counts => Who::Counts(observations.counts().ok_or_else(|| missing("contributors"))?),
            Counting::Identities(_) => {
                let identities = observations.contributor();
                let identities = identities.filter(|column| is_hash(column));
                Who::Identities(identities.ok_or_else(|| missing("contributor"))?)
            }
        };
        Ok(Self {
            times: observations.times().values(),
            dimensions: dimensions
                .iter()
                .map(|wanted| dimension(&wanted.name).ok_or_else(|| missing(&wanted.name)))
                .collect::<Result<_, _>>()?,
            measures: measures.iter().map(measure).collect::<Result<_, _>>()?,
            distinct: distinct.iter().map(values).collect::<Result<_, _>>()?,
            who,
        })
    }

    pub(crate) fn time(&self, row: usize) -> UtcMicros {
        UtcMicros(self.times[row])
    }

    /// The accumulator's number of the row's text in a dimension.
    pub(crate) fn dimension(&mut self, index: usize, row: usize, interned: &mut Interned) -> u32 {
        let dimension = &mut self.dimensions[index];
        let key = dimension.keys[row] as usize;
        let id = &mut dimension.ids[key];
        if *id == UNNUMBERED {
            *id = interned.id(dimension.texts.value(key));
        }
        *id
    }

    /// The row's value of a measure, unless it is null.
    pub(crate) fn measure(&self, index: usize, row: usize) -> Option<i64> {
        let column = self.measures[index]?;
        column.is_valid(row).then(|| column.value(row))
    }

    /// The keyed hash of the row's value in a column whose distinct values are counted, unless it is null.
    pub(crate) fn distinct(&self, index: usize, row: usize) -> Option<Identity> {
        let column = self.distinct[index]?;
        column.is_valid(row).then(|| column.value(row).try_into().expect("`of` checked the length"))
    }

    /// Who stands behind the row. A negative count is nobody; observations do not hold one.
    pub(crate) fn contribution(&self, row: usize) -> Contribution {
        match &self.who {
            Who::Rows => Contribution::Number(1),
            Who::Counts(counts) => Contribution::Number(u64::try_from(counts.value(row)).unwrap_or(0)),
            Who::Identities(identities) => {
                let identity = identities.value(row).try_into().expect("`of` checked the length");
                Contribution::Identity(identity)
            }
        }
    }
}
