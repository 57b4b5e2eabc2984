//! Contributors are counted here, inside the accumulator: no caller can claim a count.
//!
//! A threshold asks one question: are there at least `k`? So a set of identities need not grow beyond `k`, and a sum
//! may stop at its type's greatest value. Both stay independent of order and batching: a set below `k` is exact,
//! and one that reached `k` stays there.

use civicmesh_model::contract::{Contract, Contributor, Method};

use crate::error::DisclosureError;

/// An identity as the vault stores it: a keyed hash, never the value itself.
pub(crate) type Identity = [u8; 16];

/// Whom the method counts, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Nobody: an open product.
    Nobody,
    /// Every row is another contributor.
    Rows,
    /// The rows' `contributors` column says how many stand behind each.
    Counts,
    /// The rows' `contributor` column says who; at most this many are remembered for each cell.
    Identities(usize),
}

impl Counting {
    /// What this contract has counted.
    pub(crate) fn of(contract: &Contract) -> Result<Self, DisclosureError> {
        let product = &contract.product;
        let dataset = contract.dataset.as_ref();
        let dataset = dataset.ok_or_else(|| DisclosureError::NoDataset { product: product.clone() })?;
        let Method::Threshold { k, .. } = contract.method else {
            return Ok(Self::Nobody);
        };
        match dataset.contributor {
            Contributor::None => Err(DisclosureError::NoContributor { product: product.clone() }),
            Contributor::Row => Ok(Self::Rows),
            Contributor::Count(_) => Ok(Self::Counts),
            Contributor::Column(_) => Ok(Self::Identities(usize::try_from(k).unwrap_or(usize::MAX))),
        }
    }

    /// A tally without anybody in it.
    pub(crate) fn tally(self) -> Tally {
        match self {
            Self::Nobody | Self::Rows | Self::Counts => Tally::Number(0),
            Self::Identities(enough) => Tally::Identities { seen: Vec::new(), enough },
        }
    }
}

/// A tally of the distinct values of a column up to the threshold; none where the method has no threshold.
pub(crate) fn values_tally(contract: &Contract) -> Option<Tally> {
    match contract.method {
        Method::Open { .. } => None,
        Method::Threshold { k, .. } => Some(Counting::Identities(usize::try_from(k).unwrap_or(usize::MAX)).tally()),
    }
}

/// Who stands behind one row.
#[derive(Clone, Copy)]
pub(crate) enum Contribution {
    /// This many contributors, others than those of any other row.
    Number(u64),
    /// The contributor of this identity.
    Identity(Identity),
}

/// The contributors of one cell, or of one measure in it.
#[derive(Clone)]
pub(crate) enum Tally {
    /// A sum that stops at its greatest value.
    Number(u64),
    /// Distinct identities, sorted, at most `enough` of them.
    Identities { seen: Vec<Identity>, enough: usize },
}

impl Tally {
    /// Counts the contributors of one more row.
    pub(crate) fn add(&mut self, contribution: Contribution) {
        match (self, contribution) {
            (Self::Number(number), Contribution::Number(more)) => *number = number.saturating_add(more),
            (Self::Identities { seen, enough }, Contribution::Identity(identity)) => {
                if seen.len() < *enough
                    && let Err(place) = seen.binary_search(&identity)
                {
                    seen.insert(place, identity);
                }
            }
            _ => unreachable!("an accumulator counts either numbers or identities"),
        }
    }

    /// Counts the contributors of another tally over the same cell.
    pub(crate) fn merge(&mut self, other: Self) {
        match other {
            Self::Number(more) => self.add(Contribution::Number(more)),
            Self::Identities { seen, .. } => {
                for identity in seen {
                    self.add(Contribution::Identity(identity));
                }
            }
        }
    }

    /// Contributors counted; a number at or above the threshold is a lower bound.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Identities { seen, .. } => seen.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_capped_set_answers_as_the_full_set_does(
            rows in prop::collection::vec(0u8..30, 0..80), split in 0usize..80, enough in 1usize..15,
        ) {
            let full: BTreeSet<u8> = rows.iter().copied().collect();
            let split = split.min(rows.len());
            let mut parts = [&rows[..split], &rows[split..]].map(|part| {
                let mut tally = Counting::Identities(enough).tally();
                part.iter().for_each(|row| tally.add(Contribution::Identity([*row; 16])));
                tally
            });
            let right = std::mem::replace(&mut parts[1], Tally::Number(0));
            parts[0].merge(right);
            prop_assert_eq!(parts[0].number(), full.len().min(enough) as u64);
        }
    }

    #[test]
    fn a_sum_stops_at_the_greatest_value() {
        let mut tally = Counting::Counts.tally();
        tally.add(Contribution::Number(u64::MAX - 1));
        tally.add(Contribution::Number(5));
        assert_eq!(tally.number(), u64::MAX);
    }
}
