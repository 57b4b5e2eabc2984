//! The same rows give the same bytes, in any order and batching, and the numbers that a plain sum gives.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::BooleanArray;
use civicmesh_model::release::{Entry, RefusalReason};

use super::*;

proptest! {
    #[test]
    fn order_batches_and_merges_change_no_byte(
        rows in rows(120), order in any::<prop::sample::Index>(), cuts in prop::collection::vec(0_usize..120, 0..5),
        which in 0_usize..4,
    ) {
        let contract = &contracts()[which];
        let straight = bytes(contract, rollups(contract, &rows));

        let mut shuffled = rows.clone();
        let half = order.index(rows.len().max(1)).min(rows.len());
        shuffled.rotate_left(half);
        shuffled[half..].reverse();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (rows.len() + 1)).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let batches = || cuts.windows(2).map(|cut| observations(contract, &shuffled[cut[0]..cut[1]]));

        let mut batched = accumulator(contract);
        batches().for_each(|batch| batched.observe(&batch, None).unwrap());
        prop_assert_eq!(&bytes(contract, batched.finish()), &straight);

        let mut merged = accumulator(contract);
        for batch in batches() {
            let mut part = accumulator(contract);
            part.observe(&batch, None).unwrap();
            merged.merge(part).unwrap();
        }
        prop_assert_eq!(&bytes(contract, merged.finish()), &straight);
    }

    #[test]
    fn superseded_rows_are_as_if_they_were_not_there(rows in rows(60), marks in prop::collection::vec(any::<bool>(), 60)) {
        let contract = &contracts()[0];
        let marks = &marks[..rows.len()];
        let kept: Vec<Row> = rows.iter().zip(marks).filter(|(_, mark)| !**mark).map(|(row, _)| row.clone()).collect();
        let mut marked = accumulator(contract);
        marked.observe(&observations(contract, &rows), Some(&BooleanArray::from(marks.to_vec()))).unwrap();
        prop_assert_eq!(bytes(contract, marked.finish()), bytes(contract, rollups(contract, &kept)));
    }

    #[test]
    fn an_open_release_holds_what_a_plain_sum_gives(rows in rows(80)) {
        let contract = &contracts()[0];
        for rollup in rollups(contract, &rows) {
            let window = rollup.window();
            let mut plain = BTreeMap::<Vec<String>, Vec<&Row>>::new();
            for row in rows.iter().filter(|row| window.contains(UtcMicros(row.at))) {
                let colour = ["green", "yellow"][usize::from(row.colour)];
                plain.entry(vec![format!("borough {}", row.borough), colour.to_owned()]).or_default().push(row);
            }
            let empty = rollup.is_empty();
            let disclosed = disclose_one(rollup, contract).unwrap();
            prop_assert_eq!(empty, plain.is_empty());
            let Entry::Release(release) = disclosed.entry() else {
                prop_assert!(empty);
                continue;
            };
            prop_assert!(release.suppressed.is_empty());
            prop_assert_eq!(release.cells.len(), plain.len());
            for (cell, (coordinate, rows)) in release.cells.iter().zip(&plain) {
                prop_assert_eq!(&cell.coordinate, coordinate);
                prop_assert_eq!(cell.observations, rows.len() as u64);
                let speeds: Vec<i64> = rows.iter().filter_map(|row| row.speed).collect();
                let fares: Vec<i64> = rows.iter().filter_map(|row| row.fare).collect();
                let [speed, fare] = &cell.measures[..] else { panic!("two measures") };
                prop_assert_eq!(speed.count, speeds.len() as u64);
                prop_assert_eq!(speed.sum, speeds.iter().map(|v| i128::from(*v)).sum::<i128>());
                prop_assert_eq!(speed.sum_squares, speeds.iter().map(|v| i128::from(v * v)).sum::<i128>());
                prop_assert_eq!((speed.min, speed.max), (speeds.iter().min().copied(), speeds.iter().max().copied()));
                // `publish: [count, sum]`
                prop_assert_eq!(fare.sum, fares.iter().map(|v| i128::from(*v)).sum::<i128>());
                prop_assert_eq!((fare.sum_squares, fare.min, fare.max), (0, None, None));
            }
        }
    }
}

#[test]
fn too_many_cells_refuse_the_window_alone_whatever_the_order() {
    let contract = &contracts()[0];
    let limits = Limits { cells_max: 3 };
    let spread = |borough: u8, at: i64| Row { borough, at, ..cell(1)[0].clone() };
    let mut rows: Vec<Row> = (0..4).map(|borough| spread(borough, 0)).collect();
    rows.extend((0..3).map(|borough| spread(borough, HOUR)));
    let mut reversed = rows.clone();
    reversed.reverse();
    for rows in [rows, reversed] {
        let mut accumulator = Accumulator::new(contract, windows(), limits).unwrap();
        let mut other = Accumulator::new(contract, windows(), limits).unwrap();
        accumulator.observe(&observations(contract, &rows[..4]), None).unwrap();
        other.observe(&observations(contract, &rows[4..]), None).unwrap();
        accumulator.merge(other).unwrap();
        let entries = accumulator.finish().into_iter().map(|rollup| disclose_one(rollup, contract).unwrap());
        let entries: Vec<Disclosed> = entries.collect();
        assert!(matches!(entries[0].entry(), Entry::Refusal(r) if r.reason == RefusalReason::TooManyCells));
        assert!(matches!(entries[1].entry(), Entry::Release(r) if r.cells.len() == 3));
        assert!(matches!(entries[2].entry(), Entry::Empty(run) if run.windows == 1 && run.zero));
    }
}

#[test]
fn more_cells_times_measures_than_a_release_holds_are_refused_not_encoded() {
    use civicmesh_model::release::{CELLS_MAX, STATES_MAX};
    let contract = &contracts()[0];
    let mut rollup = rollups(contract, &[]).swap_remove(0);
    let one = |index: usize| crate::rollup::CellRollup {
        coordinate: vec![format!("{index:06}"), String::new()],
        observations: 1,
        contributors: 0,
        measures: vec![Default::default(); 2],
        sketches: Default::default(),
    };
    let cells = |number: usize| (0..number).map(one).collect::<Vec<_>>();
    let most = CELLS_MAX.min(STATES_MAX / 2);
    rollup.content = Ok(cells(most));
    assert!(matches!(disclose_one(rollup, contract).unwrap().entry(), Entry::Release(r) if r.cells.len() == most));
    let mut rollup = rollups(contract, &[]).swap_remove(0);
    rollup.content = Ok(cells(most + 1));
    let refused = disclose_one(rollup, contract).unwrap();
    assert!(matches!(refused.entry(), Entry::Refusal(r) if r.reason == RefusalReason::TooManyCells));
}

#[test]
fn values_of_dimensions_beyond_what_a_release_holds_are_refused() {
    use civicmesh_model::release::COORDINATE_BYTES_MAX;
    let contract = &contracts()[0];
    for (value, fits) in [(COORDINATE_BYTES_MAX, true), (COORDINATE_BYTES_MAX + 1, false)] {
        let mut rollup = rollups(contract, &cell(1)).swap_remove(0);
        let Ok(cells) = &mut rollup.content else { panic!("one cell") };
        cells[0].coordinate[0] = "x".repeat(value);
        let disclosed = disclose_one(rollup, contract).unwrap();
        match disclosed.entry() {
            Entry::Release(_) => assert!(fits),
            Entry::Refusal(refusal) => assert!(!fits && refusal.reason == RefusalReason::TooLong),
            Entry::Empty(_) => panic!("not empty"),
        }
    }
}

#[test]
fn windows_must_be_sorted_and_columns_must_be_there() {
    let contract = &contracts()[2];
    let mut reversed = windows();
    reversed.reverse();
    let error = Accumulator::new(contract, reversed, Limits::default()).unwrap_err();
    assert!(matches!(error, DisclosureError::WindowsNotSorted { .. }));

    // Rows of the contract that counts rows have no `contributor` column.
    let rows = observations(&contracts()[1], &cell(2));
    let error = accumulator(contract).observe(&rows, None).unwrap_err();
    assert_eq!(error, DisclosureError::MissingColumn { column: "contributor".into() });
    let rows = observations(contract, &cell(2));
    let error = accumulator(contract).observe(&rows, Some(&BooleanArray::from(vec![true]))).unwrap_err();
    assert_eq!(error, DisclosureError::MarksMismatch { marks: 1, rows: 2 });

    // A measure stored with other decimals means another number; a dimension cannot be null.
    let other = |from: &str, to: &str| {
        Contract::parse(&text("active", OPEN, "none").replace(from, to), "trips.yaml").expect("a contract").0
    };
    let open = &contracts()[0];
    for (from, to, column) in [
        ("USD, decimals: 2", "USD, decimals: 1", "fare"),
        ("  - {name: colour, logicalType: string, required: true, description: Which}\n", "", "colour"),
    ] {
        let rows = observations(&other(from, to), &cell(2));
        let error = accumulator(open).observe(&rows, None).unwrap_err();
        assert_eq!(error, DisclosureError::MissingColumn { column: column.into() });
    }

    let peers = Contract::from_public(contract.public_document()).unwrap();
    let error = Accumulator::new(&peers, windows(), Limits::default()).unwrap_err();
    assert!(matches!(error, DisclosureError::NoDataset { .. }));
    let mut other = accumulator(&contracts()[1]);
    assert!(matches!(other.merge(accumulator(contract)), Err(DisclosureError::ContractMismatch { .. })));
}

/// Else no window with such a row would ever close.
#[test]
fn rows_stored_before_a_measure_was_added_have_no_value_of_it() {
    let older = text("active", OPEN, "none")
        .replace("  - {name: fare, logicalType: number, description: How much}\n", "")
        .replace("      fare: {unit: USD, decimals: 2, min: 0, max: 1000, publish: [count, sum]}\n", "");
    let older = Contract::parse(&older, "trips.yaml").expect("a contract").0;
    assert_eq!(older.measures.len(), 1);
    let contract = &contracts()[0];
    assert_eq!(contract.breaks(&older), None);
    let mut accumulator = accumulator(contract);
    accumulator.observe(&observations(&older, &cell(3)), None).unwrap();
    accumulator.observe(&observations(contract, &cell(2)), None).unwrap();
    let disclosed = disclose_one(accumulator.finish().swap_remove(0), contract).unwrap();
    let Entry::Release(release) = disclosed.entry() else { panic!("a release") };
    let [cell] = release.cells.as_slice() else { panic!("one cell") };
    assert_eq!((cell.observations, cell.measures[0].count), (5, 5));
    assert_eq!((cell.measures[1].count, cell.measures[1].sum), (2, 1000));
}

#[test]
fn nothing_secret_is_printed() {
    let contract = &contracts()[2];
    let mut accumulator = accumulator(contract);
    accumulator.observe(&observations(contract, &cell(12)), None).unwrap();
    assert_eq!(format!("{accumulator:?}"), "Accumulator(traffic.trips, 3 windows, redacted)");
    let rollups = accumulator.finish();
    let texts: BTreeSet<String> = rollups.iter().map(|rollup| format!("{rollup:?}")).collect();
    assert!(texts.iter().all(|text| text.ends_with("redacted)") && !text.contains("borough")));
    let preview = crate::gate::preview(&rollups[0], contract).unwrap();
    assert_eq!(format!("{preview:?}"), "Preview(1 cells, 0 suppressed, redacted)");
    let disclosed = disclose_one(rollups.into_iter().next().unwrap(), contract).unwrap();
    assert_eq!(format!("{disclosed:?}"), "Disclosed(release of traffic.trips)");
}
