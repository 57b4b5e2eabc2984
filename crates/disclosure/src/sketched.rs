//! The sketches of one cell while rows come in.

use civicmesh_model::contract::{Contract, Measure, Statistic};
use civicmesh_model::sketch::{Distinct, Quantiles};

use crate::columns::Columns;
use crate::tally::{Contribution, Counting, Tally, values_tally};

/// Which sketches the cells of a product have.
pub(crate) struct Sketching {
    /// Of each measure the decimals, if its quantiles leave.
    quantiles: Vec<Option<u8>>,
    distinct: usize,
    counting: Counting,
    /// What distinct values are tallied with.
    values: Option<Tally>,
}

/// The sketches of one cell.
#[derive(Default)]
pub(crate) struct Sketches {
    /// Of each measure whose quantiles leave.
    pub(crate) quantiles: Vec<Option<Quantiles>>,
    pub(crate) distinct: Vec<DistinctSketch>,
}

/// The distinct values of one column, with what a threshold asks of them.
pub(crate) struct DistinctSketch {
    pub(crate) sketch: Distinct,
    /// Observations with a value.
    pub(crate) observations: u64,
    /// Who stands behind these.
    pub(crate) contributors: Tally,
    /// Distinct values up to the threshold, if there is one.
    pub(crate) values: Option<Tally>,
}

impl Sketching {
    pub(crate) fn of(contract: &Contract, counting: Counting) -> Self {
        let decimals = |measure: &Measure| measure.publishes(Statistic::Quantiles).then_some(measure.decimals);
        Self {
            quantiles: contract.measures.iter().map(decimals).collect(),
            distinct: contract.distinct.len(),
            counting,
            values: values_tally(contract),
        }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.distinct > 0 || self.quantiles.iter().any(Option::is_some)
    }

    /// Sketches of no value.
    pub(crate) fn sketches(&self) -> Sketches {
        let column = || DistinctSketch {
            sketch: Distinct::default(),
            observations: 0,
            contributors: self.counting.tally(),
            values: self.values.clone(),
        };
        Sketches {
            quantiles: self.quantiles.iter().map(|decimals| decimals.map(|_| Quantiles::default())).collect(),
            distinct: std::iter::repeat_with(column).take(self.distinct).collect(),
        }
    }

    /// Adds a row's values.
    pub(crate) fn observe(&self, sketches: &mut Sketches, columns: &Columns<'_>, row: usize, who: Contribution) {
        for (index, (sketch, decimals)) in sketches.quantiles.iter_mut().zip(&self.quantiles).enumerate() {
            if let (Some(sketch), Some(decimals), Some(value)) = (sketch, decimals, columns.measure(index, row)) {
                sketch.observe(value, *decimals);
            }
        }
        for (index, column) in sketches.distinct.iter_mut().enumerate() {
            if let Some(value) = columns.distinct(index, row) {
                column.sketch.observe(&value);
                column.observations += 1;
                column.contributors.add(who);
                column.values.iter_mut().for_each(|values| values.add(Contribution::Identity(value)));
            }
        }
    }
}

impl Sketches {
    /// Adds the sketches of the same cell of other rows; false when there are too many values.
    pub(crate) fn merge(&mut self, other: Self) -> bool {
        let mut fits = true;
        for (mine, theirs) in self.quantiles.iter_mut().zip(other.quantiles) {
            if let (Some(mine), Some(theirs)) = (mine, theirs) {
                fits &= mine.merge(&theirs).is_ok();
            }
        }
        for (mine, theirs) in self.distinct.iter_mut().zip(other.distinct) {
            mine.sketch.merge(&theirs.sketch);
            mine.observations += theirs.observations;
            mine.contributors.merge(theirs.contributors);
            if let (Some(mine), Some(theirs)) = (&mut mine.values, theirs.values) {
                mine.merge(theirs);
            }
        }
        fits
    }

    /// About how many bytes their values take. It grows with the values alone, so that a bound on it is met in whatever
    /// order they come.
    pub(crate) fn bytes(&self) -> usize {
        let quantiles = self.quantiles.iter().flatten().map(Quantiles::values_bytes);
        quantiles.chain(self.distinct.iter().map(|column| column.sketch.memory_bytes())).sum()
    }
}
