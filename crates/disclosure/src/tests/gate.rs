//! What the gate lets out, and what it does not.

use std::collections::{BTreeMap, BTreeSet};

use civicmesh_model::contract::Statistic;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{MethodTag, RefusalReason, ShareBand};

use super::*;
use crate::gate::{empty, preview};

const K: usize = 10;

/// How many contributors stand behind these rows, the plain way.
fn contributors(which: usize, rows: &[&Row]) -> usize {
    match which {
        1 => rows.len(),
        2 => rows.iter().map(|row| row.rider).collect::<BTreeSet<_>>().len(),
        3 => rows.iter().map(|row| usize::from(row.riders)).sum(),
        _ => unreachable!("an open product counts nobody"),
    }
}

proptest! {
    #[test]
    fn nothing_below_k_leaves_a_threshold_product(rows in rows(250), which in 1_usize..4) {
        let contract = &contracts()[which];
        for rollup in rollups(contract, &rows) {
            let window = rollup.window();
            let mut plain = BTreeMap::<Vec<String>, Vec<&Row>>::new();
            for row in rows.iter().filter(|row| window.contains(UtcMicros(row.at))) {
                let colour = ["green", "yellow"][usize::from(row.colour)];
                plain.entry(vec![format!("borough {}", row.borough), colour.to_owned()]).or_default().push(row);
            }
            let disclosed = disclose_one(rollup, contract).unwrap();
            let Entry::Release(release) = disclosed.entry() else { continue };

            let behind = |rows: &[&Row], of: fn(&Row) -> Option<i64>| {
                let (rows, without): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| of(row).is_some());
                let few = |rows: &[&Row]| !rows.is_empty() && rows.len() < K;
                rows.is_empty() || (contributors(which, &rows) >= K && !few(&without))
            };
            let leaves = |rows: &[&Row]| {
                contributors(which, rows) >= K && behind(rows, |row| row.speed) && behind(rows, |row| row.fare)
            };
            let (published, held): (Vec<_>, Vec<_>) = plain.iter().partition(|(_, rows)| leaves(rows));
            let coordinates = |cells: &[(&Vec<String>, &Vec<&Row>)]| -> Vec<Vec<String>> {
                cells.iter().map(|(coordinate, _)| (*coordinate).clone()).collect()
            };
            let released: Vec<_> = release.cells.iter().map(|cell| cell.coordinate.clone()).collect();
            let suppressed: Vec<_> = release.suppressed.iter().map(|cell| cell.coordinate.clone()).collect();
            prop_assert_eq!(released, coordinates(&published));
            prop_assert_eq!(suppressed, coordinates(&held));

            let number = |cells: &[(&Vec<String>, &Vec<&Row>)]| cells.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
            prop_assert_eq!(release.coverage.observations, number(&published));
            let truth = ShareBand::of(number(&held), number(&held) + number(&published));
            prop_assert!(release.suppressed_share >= truth, "a band that is too narrow");
            let extremes = release.cells.iter().flat_map(|cell| &cell.measures).any(|m| m.min.is_some() || m.max.is_some());
            prop_assert!(!extremes);
            prop_assert_eq!(release.method, MethodTag::Threshold { k: 10 });
        }
    }

    #[test]
    fn a_preview_is_what_leaves(rows in rows(200), which in 0_usize..4) {
        let contract = &contracts()[which];
        for rollup in rollups(contract, &rows) {
            let shown = preview(&rollup, contract).unwrap();
            let disclosed = disclose_one(rollup, contract).unwrap();
            if let Entry::Release(release) = disclosed.entry() {
                prop_assert_eq!(&shown.cells, &release.cells);
                prop_assert_eq!(&shown.suppressed, &release.suppressed);
                prop_assert_eq!(shown.share, release.suppressed_share);
                prop_assert_eq!(shown.observations, release.coverage.observations);
            } else {
                prop_assert!(shown.cells.is_empty() && shown.suppressed.is_empty());
            }
        }
    }

    #[test]
    fn one_suppressed_row_looks_like_nine(published in 0_u8..250, suppressed in 2_u8..10) {
        let contract = &contracts()[1];
        let band = |held: u8| {
            let held = cell(held).into_iter().map(|row| Row { borough: 1, ..row });
            let rows: Vec<Row> = cell(published).into_iter().chain(held).collect();
            first_release(contract, &rows).suppressed_share
        };
        prop_assume!(published == 0 || published >= 10);
        prop_assert_eq!(band(1), band(suppressed));
    }

    #[test]
    fn many_cells_of_one_row_look_like_many_of_nine(
        published in 10_u8..250, cells in 1_u8..6, held in prop::collection::vec(1_u8..10, 6),
    ) {
        let contract = &contracts()[1];
        let band = |held: &[u8]| {
            let cells = held.iter().zip(1_u8..).take(cells.into());
            let held = cells.flat_map(|(rows, borough)| cell(*rows).into_iter().map(move |row| Row { borough, ..row }));
            let rows: Vec<Row> = cell(published).into_iter().chain(held).collect();
            first_release(contract, &rows).suppressed_share
        };
        prop_assert_eq!(band(&[1; 6]), band(&held));
        prop_assert_eq!(band(&[9; 6]), band(&held));
    }
}

#[test]
fn a_cell_needs_k_contributors_not_k_rows() {
    let contract = &contracts()[2];
    let nine_riders: Vec<Row> = cell(30).into_iter().map(|row| Row { rider: row.rider % 9, ..row }).collect();
    let release = first_release(contract, &nine_riders);
    assert!(release.cells.is_empty() && release.suppressed.len() == 1);
    assert_eq!(release.suppressed_share, ShareBand::More);
    assert_eq!(release.coverage.observations, 0);
    let ten_riders: Vec<Row> = cell(30).into_iter().map(|row| Row { rider: row.rider % 10, ..row }).collect();
    assert_eq!(first_release(contract, &ten_riders).cells.len(), 1);
}

/// Two contributors with a fare among many: count, sum and sum of squares of the fare would be those two fares. And two
/// without one: the difference to a measure of the same column that has them would be those two.
#[test]
fn few_values_or_all_but_a_few_hold_the_cell_back() {
    for which in 1..4 {
        let contract = &contracts()[which];
        let sparse = |rows: u8, fares: u8| -> Vec<Row> {
            cell(rows).into_iter().map(|row| Row { fare: row.fare.filter(|_| row.rider < fares), ..row }).collect()
        };
        for (rows, fares) in [(30, 2), (30, 9), (12, 2), (30, 21), (30, 29), (12, 11)] {
            assert_eq!(first_release(contract, &sparse(rows, fares)).suppressed.len(), 1, "{fares} of {rows}");
        }
        for (rows, fares) in [(30, 10), (30, 20), (30, 30), (12, 12)] {
            assert_eq!(first_release(contract, &sparse(rows, fares)).cells.len(), 1, "{fares} of {rows}");
        }
        let none = first_release(contract, &sparse(12, 0));
        assert_eq!(none.cells[0].measures[1], MeasureState::default());
        assert_eq!((none.cells[0].observations, none.cells[0].measures[0].count), (12, 12));
    }
}

/// Two rows of eight contributors each pass k, and count, sum and sum of squares would solve both.
#[test]
fn two_rows_of_many_contributors_leave_without_a_sum_of_squares() {
    let mut contract = contracts()[3].clone();
    let two: Vec<Row> = cell(2).into_iter().map(|row| Row { riders: 8, ..row }).collect();
    // Whatever let it into the contract: the gate keeps it in.
    contract.measures[0].publish.insert(Statistic::SumSquares);
    let release = first_release(&contract, &two);
    assert_eq!((release.cells[0].observations, release.cells[0].measures[0].sum), (2, 201));
    assert!(release.cells.iter().flat_map(|cell| &cell.measures).all(|state| state.sum_squares == 0));
    assert_ne!(first_release(&contracts()[1], &cell(12)).cells[0].measures[0].sum_squares, 0);
}

#[test]
fn what_may_not_leave_yet_does_not() {
    let key = salt_key();
    let rollup = |contract: &Contract| rollups(contract, &cell(12)).swap_remove(0);

    let draft = contract("draft", THRESHOLD, "row");
    let error = disclose_one(rollup(&draft), &draft).unwrap_err();
    assert!(matches!(error, DisclosureError::NotActive { .. }));
    assert_eq!(preview(&rollup(&draft), &draft).unwrap().cells.len(), 1);
    let error = empty(UtcMicros(0), UtcMicros(HOUR), &terms(&draft, &key)).unwrap_err();
    assert!(matches!(error, DisclosureError::NotActive { .. }));

    let [open, threshold, ..] = &contracts();
    let revised = Terms { revision: 1, ..terms(threshold, &key) };
    let error = disclose(rollup(threshold), &revised).unwrap_err();
    assert!(matches!(error, DisclosureError::RevisionOfThreshold { revision: 1, .. }));

    // Half an hour into the window the last edge is its start.
    let early = Terms { closed_through: UtcMicros(HOUR / 2), ..terms(open, &key) };
    let error = disclose(rollup(open), &early).unwrap_err();
    assert_eq!(error, DisclosureError::NotClosed { end: UtcMicros(HOUR), closed_through: UtcMicros(0) });

    let error = disclose(rollup(open), &terms(threshold, &key)).unwrap_err();
    assert!(matches!(error, DisclosureError::ContractMismatch { .. }));
    assert!(matches!(preview(&rollup(open), threshold), Err(DisclosureError::ContractMismatch { .. })));
}

#[test]
fn a_release_says_under_what_it_left() {
    let contract = &contracts()[1];
    let release = first_release(contract, &cell(12));
    assert_eq!(release.contract, contract.hash());
    assert_eq!(release.closed_through, UtcMicros(3 * HOUR), "aligned down to a window's edge");
    assert_eq!((release.dimensions, release.decimals), (vec!["borough".into(), "colour".into()], vec![1, 2]));
    // Two sources fed the window; the second may have rows in suppressed cells only.
    assert_eq!((release.revision, release.coverage.sources), (0, 0));
    assert_eq!(first_release(&contracts()[0], &cell(12)).coverage.sources, 2);
    assert_ne!(release.salt, [0; 32]);
}

#[test]
fn an_open_window_is_revised_even_to_nothing() {
    let open = &contracts()[0];
    let key = salt_key();
    let revised = Terms { revision: 3, ..terms(open, &key) };
    let disclosed = disclose(rollups(open, &[]).swap_remove(0), &revised).unwrap();
    let Entry::Release(release) = disclosed.entry() else { panic!("a run has no revision") };
    assert_eq!((release.revision, release.cells.len()), (3, 0));
    assert_eq!(Entry::decode(&disclosed.entry().encode()).as_ref(), Ok(disclosed.entry()));
    let first = disclose(rollups(open, &[]).swap_remove(0), &terms(open, &key)).unwrap();
    let Entry::Empty(run) = first.entry() else { panic!("nothing was observed") };
    assert_ne!(run.salt, release.salt);
}

#[test]
fn a_run_of_empty_windows_has_whole_windows() {
    let open = &contracts()[0];
    let key = salt_key();
    let run = empty(UtcMicros(0), UtcMicros(3 * HOUR), &terms(open, &key)).unwrap();
    let Entry::Empty(run) = run.entry() else { panic!("a run") };
    assert_eq!((run.windows, run.zero, run.contract), (3, true, open.hash()));
    for (start, end) in [(0, 0), (HOUR, 0), (1, HOUR), (0, HOUR + 1)] {
        let error = empty(UtcMicros(start), UtcMicros(end), &terms(open, &key)).unwrap_err();
        assert!(matches!(error, DisclosureError::NoWholeWindows { .. }), "{start} {end}");
    }
    let error = empty(UtcMicros(0), UtcMicros(4 * HOUR), &terms(open, &key)).unwrap_err();
    assert!(matches!(error, DisclosureError::NotClosed { .. }));
}

#[test]
fn a_sum_out_of_bounds_refuses_the_window() {
    let contract = &contracts()[1];
    let mut rollup = rollups(contract, &cell(12)).swap_remove(0);
    rollup.content = Err(RefusalReason::Overflow);
    assert_eq!(preview(&rollup, contract).unwrap().refusal, Some(RefusalReason::Overflow));
    let disclosed = disclose_one(rollup, contract).unwrap();
    let Entry::Refusal(refusal) = disclosed.entry() else { panic!("a refusal") };
    assert_eq!(refusal.reason, RefusalReason::Overflow);
    assert_eq!(Entry::decode(&disclosed.entry().encode()).as_ref(), Ok(disclosed.entry()));
}
