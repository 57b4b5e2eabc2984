//! A segment gives back what was put in, whole and column by column.

use std::sync::Arc;

use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::number::{COUNT_MAX, MeasureState, VALUE_MAX};
use civicmesh_model::release::{
    Cell, MethodTag, RefusalReason, RefusedWindow, Release, ReleaseCoverage, SketchKind, Suppressed, SuppressionReason,
};
use civicmesh_model::sketch::Distinct;
use proptest::prelude::*;

use super::*;
use crate::keys::leaf::Leaf;

fn minute(minute: i64) -> UtcMicros {
    UtcMicros(minute * 60_000_000)
}

fn product() -> ProductId {
    "traffic.flow".parse().unwrap()
}

/// Cells by place, each with its observations and a state for each of two measures.
type Cells = BTreeMap<String, (u64, Vec<MeasureState>)>;

/// A sketch of some cars, or none.
fn cars(observations: u64) -> Vec<u8> {
    let mut cars = Distinct::default();
    (0..observations % 21).for_each(|car| cars.observe(&car.to_be_bytes()));
    if cars.is_empty() { Vec::new() } else { cars.to_bytes() }
}

fn release(start: i64, cells: &Cells, held: &[String], published: [bool; 4]) -> Release {
    let [sums, squares, min, max] = published;
    let publish = |state: &MeasureState| MeasureState {
        count: state.count,
        sum: if sums { state.sum } else { 0 },
        sum_squares: if squares { state.sum_squares } else { 0 },
        min: state.min.filter(|_| min),
        max: state.max.filter(|_| max),
    };
    let cell = |(place, (observations, states)): (&String, &(u64, Vec<MeasureState>))| Cell {
        coordinate: vec![place.clone(), "all".into()],
        observations: *observations,
        measures: states.iter().map(publish).collect(),
        sketches: vec![cars(*observations)],
    };
    let suppressed = held.iter().filter(|place| !cells.contains_key(*place));
    let suppressed: Vec<_> = suppressed
        .map(|place| Suppressed {
            coordinate: vec![place.clone(), "all".into()],
            reason: SuppressionReason::BelowThreshold,
        })
        .collect();
    Release {
        product: product(),
        window: Window { start: minute(start), end: minute(start + 1) },
        revision: start as u32 % 3,
        contract: Hash32([7; 32]),
        method: MethodTag::Threshold { k: 10 },
        closed_through: minute(start + 2),
        dimensions: vec!["place".into(), "kind".into()],
        measures: vec!["speed".into(), "flow".into()],
        decimals: vec![1, 0],
        sketches: vec![SketchColumn { kind: SketchKind::Distinct, name: "car".into() }],
        cells: cells.iter().map(cell).collect(),
        suppressed_share: if suppressed.is_empty() { ShareBand::None } else { ShareBand::Under5 },
        suppressed,
        coverage: ReleaseCoverage {
            observations: cells.values().map(|(observations, _)| observations).sum(),
            sources: start as u32 % 4,
        },
        salt: [start as u8; 32],
    }
}

fn state() -> impl Strategy<Value = (u64, MeasureState)> {
    let value = prop_oneof![-50_i64..50, -VALUE_MAX..=VALUE_MAX];
    (prop::collection::vec(value, 0..6), 1_u64..4).prop_map(|(values, missing)| {
        let mut state = MeasureState::default();
        values.iter().for_each(|value| state.observe(*value).unwrap());
        (state.count + missing, state)
    })
}

fn cells() -> impl Strategy<Value = Cells> {
    prop::collection::btree_map("[a-e]{1,2}", (state(), state()), 0..5).prop_map(|cells| {
        let cells = cells.into_iter();
        cells.map(|(place, ((n, first), (m, second)))| (place, (n.max(m), vec![first, second]))).collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Release(Cells, Vec<String>),
    Refusal,
    Empty(i64),
}

fn entries(steps: &[Step], published: [bool; 4]) -> Vec<(u64, Entry)> {
    let mut at = -3;
    let mut entry = |(step, index): (&Step, u64)| {
        let (start, contract) = (at, Hash32([7; 32]));
        at += if let Step::Empty(windows) = step { *windows } else { 1 };
        let entry = match step {
            Step::Release(cells, held) => Entry::Release(release(start, cells, held, published)),
            Step::Refusal => Entry::Refusal(RefusedWindow {
                product: product(),
                window: Window { start: minute(start), end: minute(at) },
                revision: 1,
                contract,
                closed_through: minute(at),
                reason: RefusalReason::Overflow,
                salt: [1; 32],
            }),
            Step::Empty(windows) => Entry::Empty(EmptyRun {
                product: product(),
                start: minute(start),
                end: minute(at),
                windows: *windows as u64,
                contract,
                closed_through: minute(at),
                zero: windows % 2 == 0,
                salt: [2; 32],
            }),
        };
        (index * 3 % 64, entry)
    };
    steps.iter().zip(0..).map(&mut entry).collect()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (cells(), prop::collection::btree_set("[a-e]{1,2}", 0..3))
            .prop_map(|(cells, held)| Step::Release(cells, held.into_iter().collect())),
        1 => Just(Step::Refusal),
        1 => (1_i64..5).prop_map(Step::Empty),
    ]
}

proptest! {
    #[test]
    fn a_segment_gives_back_what_was_put_in(
        steps in prop::collection::vec(step(), 1..20), published: [bool; 4], wanted: [bool; 4],
    ) {
        let entries = entries(&steps, published);
        let segments = Segment::of_entries(&entries).unwrap();
        prop_assert_eq!(segments.len(), 1);
        let segment = &segments[0];
        prop_assert_eq!(segment.rows().len(), entries.len());
        let releases = segment.releases().unwrap();
        for (row, (index, entry)) in segment.rows().iter().zip(&entries) {
            prop_assert_eq!((row.start, row.end), (entry.window().start, entry.window().end));
            prop_assert_eq!((row.index, row.revision, row.windows), (*index, entry.revision(), entry.windows()));
            if let Entry::Release(release) = entry {
                prop_assert_eq!(&releases[index], &Entry::Release(release.clone()));
                prop_assert_eq!(releases[index].encode(), entry.encode());
            }
        }
        let leaves = releases.iter().map(|(index, entry)| (*index, Leaf::of(entry))).collect();
        prop_assert_eq!(segment.leaves(&releases).unwrap(), leaves);
        let held = segment.header.leaves.map(|held| (held.first, held.last));
        prop_assert_eq!(held, releases.keys().min().copied().zip(releases.keys().max().copied()));
        let cells = || entries.iter().filter_map(|(_, entry)| match entry {
            Entry::Release(release) => Some(&release.cells),
            _ => None,
        }).flatten();
        if let Some(column) = segment.sketch(SketchKind::Distinct, "car") {
            let sketches = segment.sketches(column).unwrap();
            prop_assert!(cells().enumerate().all(|(cell, of)| sketches.get(cell) == of.sketches[0]));
            prop_assert_eq!(segment.sketch(SketchKind::Quantiles, "car"), None);
        } else {
            prop_assert_eq!(cells().count(), 0);
        }
        // a column says the same whichever others are read with it
        let [sums, squares, min, max] = wanted;
        for measure in 0..segment.header.releases.as_ref().map_or(0, |layout| layout.measures.len()) {
            let all = segment.states(measure, Wanted::ALL).unwrap();
            let some = segment.states(measure, Wanted { sums, squares, min, max }).unwrap();
            for cell in 0..segment.cells() {
                let MeasureState { count, sum, sum_squares, min: least, max: greatest } = all.get(cell);
                prop_assert_eq!(some.get(cell), MeasureState {
                    count,
                    sum: if sums { sum } else { 0 },
                    sum_squares: if squares { sum_squares } else { 0 },
                    min: least.filter(|_| min),
                    max: greatest.filter(|_| max),
                });
            }
        }
    }
}

#[test]
fn the_largest_numbers_come_back() {
    let squares = i128::from(VALUE_MAX) * i128::from(VALUE_MAX) * i128::from(COUNT_MAX);
    let largest = |sign: i64| MeasureState {
        count: COUNT_MAX,
        sum: i128::from(sign * VALUE_MAX) * i128::from(COUNT_MAX),
        sum_squares: squares,
        min: Some(-VALUE_MAX),
        max: Some(VALUE_MAX),
    };
    let one = MeasureState { count: 1, sum: 1, sum_squares: 1, min: Some(1), max: Some(1) };
    let cells = Cells::from([
        ("a".into(), (COUNT_MAX - 1, vec![largest(1), one.clone()])),
        ("b".into(), (1, vec![one, MeasureState::default()])),
    ]);
    let entry = release(0, &cells, &[], [true; 4]);
    let segment = Segment::of_entries(&[(5, Entry::Release(entry.clone()))]).unwrap().remove(0);
    assert_eq!(segment.releases().unwrap()[&5], Entry::Release(entry));
    let negative = Cells::from([("a".into(), (COUNT_MAX, vec![largest(-1), largest(-1)]))]);
    let entry = release(0, &negative, &[], [true; 4]);
    let segment = Segment::of_entries(&[(5, Entry::Release(entry.clone()))]).unwrap().remove(0);
    assert_eq!(segment.releases().unwrap()[&5], Entry::Release(entry));
}

#[test]
fn another_contract_or_a_gap_begins_another_segment() {
    let cells = Cells::from([("a".into(), (1, vec![MeasureState::default(); 2]))]);
    let at = |start: i64| release(start, &cells, &[], [true; 4]);
    let other = Release { contract: Hash32([8; 32]), ..at(2) };
    let entries = [at(0), at(1), other, at(4)].map(Entry::Release);
    let entries: Vec<_> = (0..).zip(entries).collect();
    let rows: Vec<_> = Segment::of_entries(&entries).unwrap().iter().map(|segment| segment.rows().len()).collect();
    assert_eq!(rows, [2, 1, 1]);
}

#[test]
fn sketches_fill_a_segment_and_are_a_reason_for_another() {
    let of = |observations: u64| Cells::from([("a".into(), (observations, vec![MeasureState::default(); 2]))]);
    let plain = Release { sketches: vec![], ..release(1, &of(20), &[], [true; 4]) };
    let plain =
        Release { cells: plain.cells.iter().map(|cell| Cell { sketches: vec![], ..cell.clone() }).collect(), ..plain };
    let entries = [(0, Entry::Release(release(0, &of(20), &[], [true; 4]))), (1, Entry::Release(plain))];
    assert_eq!(Segment::of_entries(&entries).unwrap().len(), 2);

    let mut many = Distinct::default();
    (0..5_000_u64).for_each(|car| many.observe(&car.to_be_bytes()));
    let places: Cells = (0..200).map(|n| (format!("{n:03}"), (20, vec![MeasureState::default(); 2]))).collect();
    let full = |start: i64| {
        let mut release = release(start, &places, &[], [true; 4]);
        release.cells.iter_mut().for_each(|cell| cell.sketches = vec![many.to_bytes()]);
        (start as u64, Entry::Release(release))
    };
    let segments = Segment::of_entries(&(0..12).map(full).collect::<Vec<_>>()).unwrap();
    assert_eq!(segments.iter().map(|segment| segment.rows().len()).collect::<Vec<_>>(), [6, 6]);
    assert!(!segments[0].header.is_small());
}

#[test]
fn a_segment_is_small() {
    let places = || (0..16).map(|place| format!("district {place:02}"));
    let cells = |minute: u64| -> Cells {
        let state = |seed: u64| {
            let mut state = MeasureState::default();
            (0..20).for_each(|n| state.observe(400 + (seed * 7919 + n * 104_729) as i64 % 200).unwrap());
            state
        };
        places().zip(0_u64..).map(|(place, n)| (place, (20, vec![state(minute * 16 + n), state(n)]))).collect()
    };
    let entries: Vec<_> = (0..1000)
        .map(|minute| (minute, Entry::Release(release(minute as i64, &cells(minute), &[], [true; 4]))))
        .collect();
    let bodies: usize = entries.iter().map(|(_, entry)| entry.encode().len()).sum();
    let segment = Segment::of_entries(&entries).unwrap().remove(0);
    let Source::Held(columns) = &segment.source else { panic!("it is not stored") };
    let bytes: usize = columns.values().map(Vec::len).sum();
    assert!(bytes * 3 < bodies, "{bytes} bytes for {bodies}");
}

#[test]
fn damage_is_an_error() {
    let cells = Cells::from([("a".into(), (1, vec![MeasureState::default(); 2]))]);
    let entries: Vec<_> = (0..9).map(|n| (n, Entry::Release(release(n as i64, &cells, &[], [true; 4])))).collect();
    let segment = Segment::of_entries(&entries).unwrap().remove(0);
    let Segment { header, source: Source::Held(columns), .. } = segment else { panic!("it is not stored") };
    for part in columns.keys() {
        let mut columns = columns.clone();
        columns.remove(part);
        let source = Source::Held(columns);
        let opened = Segment::open(product(), minute(0), header.clone(), source, Arc::default());
        assert!(opened.and_then(|segment| segment.releases()).is_err(), "without part {part}");
    }
    let mut columns = columns;
    columns.get_mut(&SALTS).unwrap()[40] ^= 1;
    let source = Source::Held(columns);
    let other = Segment::open(product(), minute(0), header.clone(), source, Arc::default()).unwrap();
    assert!(other.leaves(&other.releases().unwrap()).is_err(), "another salt is another leaf");
    let newer = Header { version: VERSION + 1, ..header };
    assert!(Header::from_bytes(&newer.to_bytes()).is_err());
}

/// Header and columns as version 1 made them: no word of leaves, and what is known of squares as it is.
pub(crate) fn of_version_1(segment: &Segment<'_>) -> (Header, BTreeMap<u16, Vec<u8>>) {
    let mut header = Header { version: 1, leaves: None, ..segment.header.clone() };
    let mut columns = BTreeMap::new();
    let measures = header.releases.iter_mut().flat_map(|layout| &mut layout.measures);
    for (measure, kept) in measures.enumerate().filter(|(_, kept)| kept.halved) {
        let states = segment.states(measure, Wanted::ALL).unwrap();
        let known = (0..segment.cells()).map(|cell| {
            let MeasureState { count, sum, sum_squares, .. } = states.get(cell);
            sum_squares - writing::square(sum, count)
        });
        kept.halved = false;
        let mut bytes = Vec::new();
        column::write(&mut bytes, &known.collect::<Vec<_>>());
        columns.insert(measure_part(measure, SUM_SQUARES), bytes);
    }
    (header, columns)
}
