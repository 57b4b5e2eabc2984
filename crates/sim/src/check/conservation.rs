//! Conservation: each row that a department's node acknowledged is in the product once, and no other is.
//!
//! Every row has a weight of its own, so that counts and sums of weights tell which row was lost or counted twice. What
//! must be there is reckoned from the drawn rows themselves ([`City::truth`]), by none of the code under test.

use std::collections::BTreeMap;

use civicmesh_ledger::{Ledger, LedgerError};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::{Entry, MethodTag, Release};

use crate::city::{City, Coordinate, Department, WEIGHT, WindowTruth};

/// Most deviations that are told of one product.
const TOLD_MAX: usize = 3;
const HOUR_US: i64 = 3_600_000_000;

/// How a product may differ from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Every row came in its time, but for those that the city draws as late.
    AsDrawn,
    /// A fault made rows late: a threshold product holds them back, and so has less.
    Held,
}

/// What is wrong with an owner's product, whose department sent all its files; nothing, if all is well.
///
/// # Errors
/// Where the ledger cannot be read.
pub fn check(city: &City, of: &Department, ledger: &Ledger, late: Late) -> Result<Vec<String>, LedgerError> {
    let product: ProductId = of.table().parse().expect("a drawn name is a name");
    let mut wrong = Vec::new();
    let mut covered = city.start;
    for entry in ledger.snapshot().current(&product, None)? {
        let (start, end, release) = match entry? {
            Entry::Release(release) => (release.window.start, release.window.end, Some(release)),
            Entry::Empty(run) => (run.start, run.end, None),
            Entry::Refusal(refused) => {
                wrong.push(format!(
                    "{product}: the window from {} was refused: {:?}",
                    refused.window.start, refused.reason
                ));
                covered = refused.window.end;
                continue;
            }
        };
        if start != covered {
            wrong.push(format!("{product}: nothing says what became of {covered} to {start}"));
        }
        covered = end;
        let open = release.as_ref().is_none_or(|release| release.method == MethodTag::Open);
        let hour = |at: i64| ((at - city.start.0) / HOUR_US) as u32;
        let through = city.plan.hours() - 1;
        let truth = city.truth(of, hour(start.0), hour(end.0), through, open && of.kind.threshold().is_none());
        let found = release.as_ref().map(weights).unwrap_or_default();
        wrong.extend(
            compare(&truth, &found, of.kind.threshold(), late).map(|said| format!("{product}, from {start}: {said}")),
        );
        if wrong.len() >= TOLD_MAX {
            break;
        }
    }
    let end = city.hour_start(of.last_hour(city));
    if covered < end && wrong.is_empty() {
        wrong.push(format!("{product}: closed through {covered} only, though every file until {end} was taken in"));
    }
    wrong.truncate(TOLD_MAX);
    Ok(wrong)
}

/// Rows and their weights, by cell.
type Weights = BTreeMap<Coordinate, (u64, i128)>;

fn weights(release: &Release) -> Weights {
    let weight = release.measures.iter().position(|name| name == WEIGHT);
    let cells = release
        .cells
        .iter()
        .map(|cell| (cell.coordinate.clone(), (cell.observations, weight.map_or(0, |at| cell.measures[at].sum))));
    cells.collect()
}

/// The first difference between what must be and what is.
fn compare(truth: &WindowTruth, found: &Weights, k: Option<u64>, late: Late) -> Option<String> {
    let published: BTreeMap<_, _> = truth.published(k).collect();
    for (at, (rows, weight)) in found {
        let Some(true_cell) = truth.cells.get(at) else {
            return Some(format!("a cell {at:?} of {rows} rows, where no row is"));
        };
        let (true_rows, true_weight) = (true_cell.rows, true_cell.weight);
        let less = late == Late::Held && k.is_some() && *rows < true_rows;
        if (*rows, *weight) != (true_rows, true_weight) && !less {
            let (rows_off, off) = (i128::from(*rows) - i128::from(true_rows), weight - true_weight);
            let which = match rows_off {
                1 => format!("the row of weight {off} counts twice"),
                -1 => format!("the row of weight {} is lost", -off),
                _ => format!("{rows_off} rows too many, of weight {off}"),
            };
            return Some(format!("cell {at:?}: {which}"));
        }
        if !published.contains_key(at) {
            return Some(format!("cell {at:?} is published, though fewer than {} are behind it", k.unwrap_or(0)));
        }
    }
    // a threshold product may hold back more than the plain threshold does
    if k.is_none() {
        let lost = published.into_iter().find(|(at, _)| !found.contains_key(*at));
        return lost.map(|(at, cell)| format!("cell {at:?} with its {} rows is lost", cell.rows));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::city::CellTruth;

    fn truth() -> WindowTruth {
        let cell = |rows, weight, contributors| CellTruth { rows, weight, contributors, ..CellTruth::default() };
        let cells = [("north", cell(20, 2_000, 12)), ("south", cell(3, 77, 2))];
        WindowTruth { cells: cells.map(|(at, cell)| (vec![at.to_owned()], cell)).into() }
    }

    fn found(cells: &[(&str, u64, i128)]) -> Weights {
        cells.iter().map(|(at, rows, weight)| (vec![(*at).to_owned()], (*rows, *weight))).collect()
    }

    #[test]
    fn a_lost_row_a_row_that_counts_twice_and_a_lost_cell_are_told_by_their_weights() {
        let said = |cells: &[(&str, u64, i128)], k| compare(&truth(), &found(cells), k, Late::AsDrawn);
        assert_eq!(said(&[("north", 20, 2_000), ("south", 3, 77)], None), None);
        assert!(said(&[("north", 19, 1_900), ("south", 3, 77)], None).unwrap().contains("weight 100 is lost"));
        assert!(said(&[("north", 21, 2_123), ("south", 3, 77)], None).unwrap().contains("weight 123 counts twice"));
        assert!(said(&[("north", 20, 2_000)], None).unwrap().contains("is lost"));
        assert!(said(&[("north", 20, 2_001), ("south", 3, 77)], None).is_some(), "as many, but others");
        assert!(said(&[("west", 1, 1)], None).is_some());
    }

    #[test]
    fn a_threshold_product_may_have_less_and_never_a_small_cell() {
        let said = |cells: &[(&str, u64, i128)], late| compare(&truth(), &found(cells), Some(10), late);
        assert_eq!(said(&[("north", 20, 2_000)], Late::AsDrawn), None);
        assert!(said(&[("north", 20, 2_000), ("south", 3, 77)], Late::AsDrawn).unwrap().contains("published"));
        assert!(said(&[("north", 18, 1_800)], Late::AsDrawn).is_some());
        assert_eq!(said(&[("north", 18, 1_800)], Late::Held), None);
        assert!(said(&[("north", 21, 2_100)], Late::Held).is_some(), "never more");
    }
}
