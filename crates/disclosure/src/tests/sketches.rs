//! Sketches: what is in them, and when they leave.

use std::collections::{BTreeMap, BTreeSet};

use civicmesh_model::contract::Statistic;
use civicmesh_model::release::{SketchColumn, SketchKind};
use civicmesh_model::sketch::{Distinct, Quantiles};

use super::*;

/// A contract that counts riders, and publishes quantiles of speeds if it is open.
fn sketching(disclosure: &str, contributor: &str) -> Contract {
    let text = text("active", disclosure, contributor)
        .replace("customProperties:", "  - {name: rider, logicalType: string, description: Who}\ncustomProperties:")
        .replace("    measures:\n", "    distinct: [rider]\n    measures:\n");
    let text = match disclosure {
        OPEN => text.replace("max: 1000}\n      fare", "max: 1000, publish: [sum, quantiles]}\n      fare"),
        _ => text,
    };
    Contract::parse(&text, "trips.yaml").unwrap_or_else(|findings| panic!("{findings:?}")).0
}

fn distinct(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { Distinct::from_bytes(bytes).unwrap().estimate().round() as u64 }
}

proptest! {
    #[test]
    fn sketches_are_those_of_the_rows(rows in rows(300), cut in 0_usize..300) {
        let contract = sketching(OPEN, "none");
        let cut = cut.min(rows.len());
        let mut parts = [&rows[cut..], &rows[..cut]].map(|rows| {
            let mut part = accumulator(&contract);
            part.observe(&observations(&contract, rows), None).unwrap();
            part
        });
        let [first, second] = &mut parts;
        first.merge(std::mem::replace(second, accumulator(&contract))).unwrap();
        let [first, _] = parts;
        for (merged, whole) in first.finish().into_iter().zip(rollups(&contract, &rows)) {
            let window = merged.window();
            let mut plain = BTreeMap::<Vec<String>, Vec<&Row>>::new();
            for row in rows.iter().filter(|row| window.contains(UtcMicros(row.at))) {
                let colour = ["green", "yellow"][usize::from(row.colour)];
                plain.entry(vec![format!("borough {}", row.borough), colour.to_owned()]).or_default().push(row);
            }
            let [merged, whole] = [merged, whole].map(|rollup| disclose_one(rollup, &contract).unwrap());
            let (Entry::Release(merged), Entry::Release(whole)) = (merged.entry(), whole.entry()) else { continue };
            let columns = [(SketchKind::Quantiles, "speed"), (SketchKind::Distinct, "rider")];
            let columns = columns.map(|(kind, name)| SketchColumn { kind, name: name.to_owned() });
            prop_assert_eq!(&merged.sketches[..], &columns);
            for (cell, same) in merged.cells.iter().zip(&whole.cells) {
                let rows = &plain[&cell.coordinate];
                let riders: BTreeSet<u8> = rows.iter().map(|row| row.rider).filter(|rider| *rider < 20).collect();
                prop_assert_eq!(distinct(&cell.sketches[1]), riders.len() as u64);
                // distinct values are the same bytes in whatever order they come
                prop_assert_eq!(&cell.sketches[1], &same.sketches[1]);
                let mut speeds: Vec<i64> = rows.iter().filter_map(|row| row.speed).collect();
                speeds.sort_unstable();
                for bytes in [&cell.sketches[0], &same.sketches[0]] {
                    prop_assert_eq!(bytes.is_empty(), speeds.is_empty());
                    if let Ok(sketch) = Quantiles::from_bytes(bytes) {
                        let middle = speeds[speeds.len().div_ceil(2) - 1] as f64 / 10.0;
                        prop_assert_eq!((sketch.count(), sketch.at(0.5)), (speeds.len() as u64, Some(middle)));
                    }
                }
            }
        }
    }
}

/// Thirty trips, each of another contributor, of which `known` are by riders that are known: by `riders` of them.
fn trips(known: u8, riders: u8) -> Vec<Row> {
    let rider = |row: &Row| if row.rider < known { row.rider % riders } else { 24 };
    cell(30).into_iter().map(|row| Row { rider: rider(&row), ..row }).collect()
}

#[test]
fn a_sketch_of_few_distinct_values_holds_the_cell_back() {
    let contract = sketching(THRESHOLD, "row");
    for (known, riders) in [(30, 1), (30, 9), (9, 9), (25, 20), (29, 20)] {
        let release = first_release(&contract, &trips(known, riders));
        assert_eq!((release.cells.len(), release.suppressed.len()), (0, 1), "{riders} riders of {known} trips");
    }
    for (known, riders, counted) in [(30, 10, 10), (20, 20, 20), (30, 20, 20), (0, 1, 0)] {
        let release = first_release(&contract, &trips(known, riders));
        assert_eq!(distinct(&release.cells[0].sketches[0]), counted, "{riders} riders of {known} trips");
    }
}

#[test]
fn quantiles_of_a_threshold_product_stay_whatever_its_contract_says() {
    let mut contract = sketching(THRESHOLD, "{column: rider}");
    contract.measures[0].publish.insert(Statistic::Quantiles);
    let release = first_release(&contract, &trips(30, 12));
    let riders = SketchColumn { kind: SketchKind::Distinct, name: "rider".to_owned() };
    assert_eq!((release.sketches, release.cells[0].sketches.len()), (vec![riders], 1));
    let [quantiles, count] = ["quantiles", "sum"].map(|word| {
        let text = text("active", THRESHOLD, "row").replace("publish: [count, sum]", &format!("publish: [{word}]"));
        Contract::parse(&text, "trips.yaml").is_ok()
    });
    assert!(!quantiles && count);
}

#[test]
fn rows_that_were_stored_before_a_column_was_counted_have_no_value() {
    let before = contract("active", OPEN, "none");
    let after = sketching(OPEN, "none");
    let mut accumulator = accumulator(&after);
    accumulator.observe(&observations(&before, &cell(12)), None).unwrap();
    let disclosed = disclose_one(accumulator.finish().swap_remove(0), &after).unwrap();
    let Entry::Release(release) = disclosed.entry() else { panic!("a release") };
    assert!(release.cells[0].sketches[1].is_empty() && !release.cells[0].sketches[0].is_empty());
}
