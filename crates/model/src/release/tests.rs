use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::number::{COUNT_MAX, DECIMALS_MAX, VALUE_MAX};
use crate::sketch::{Distinct, Quantiles, SKETCH_BYTES_MAX, SketchError};

fn text(value: &str) -> String {
    value.to_owned()
}

fn release() -> Release {
    let state = |count, sum, sum_squares| MeasureState { count, sum, sum_squares, min: None, max: None };
    Release {
        product: "traffic.taxi".parse().unwrap(),
        window: Window { start: UtcMicros(1_000), end: UtcMicros(2_000) },
        revision: 0,
        contract: Hash32([0xc0; 32]),
        method: MethodTag::Threshold { k: 10 },
        closed_through: UtcMicros(2_000),
        dimensions: vec![text("borough")],
        measures: vec![text("speed"), text("fare")],
        decimals: vec![2, 0],
        sketches: vec![],
        cells: vec![
            Cell {
                coordinate: vec![text("Bronx")],
                observations: 10,
                measures: vec![state(10, -100, 1_000), state(0, 0, 0)],
                sketches: vec![],
            },
            Cell {
                coordinate: vec![text("Queens")],
                observations: 300,
                measures: vec![state(299, 64, 0), state(1, 0, 0)],
                sketches: vec![],
            },
        ],
        suppressed: vec![Suppressed { coordinate: vec![text("Harbour")], reason: SuppressionReason::BelowThreshold }],
        suppressed_share: ShareBand::Under5,
        coverage: ReleaseCoverage { observations: 310, sources: 1 },
        salt: [0x5a; 32],
    }
}

fn front(kind: u8) -> Vec<u8> {
    let mut bytes = vec![1, kind];
    bytes.extend(b"\x07traffic\x04taxi");
    bytes.extend([0xd0, 0x0f, 0xa0, 0x1f, 0xa0, 0x1f]);
    bytes.extend([0xc0; 32]);
    bytes.extend([0x5a; 32]);
    bytes
}

#[test]
fn golden_bytes_of_a_release() {
    let mut golden = front(1);
    golden.extend([0, 2, 10]); // revision, threshold, k
    golden.extend([0xb6, 2, 1, 2]); // observations, sources, share
    golden.extend(b"\x01\x07borough");
    golden.extend(b"\x02\x05speed\x02\x04fare\x00");
    golden.extend([2, 1]); // cells, suppressed
    golden.extend(b"\x05Bronx\x06Queens\x07Harbour");
    golden.push(1); // reason
    golden.extend([10, 0xac, 2]); // observations
    golden.extend([3, 10, 0xab, 2, 0xc7, 1, 0x80, 1, 0xd0, 0x0f, 0]); // speed: counts, sums, sums of squares
    golden.extend([0, 0, 1]); // fare: counts alone
    let entry = Entry::Release(release());
    assert_eq!(entry.encode(), golden);
    assert_eq!(Entry::decode(&golden), Ok(entry));
}

#[test]
fn golden_bytes_of_an_open_release_with_extremes() {
    let state = |v: i64| MeasureState { count: 1, sum: 0, sum_squares: 0, min: Some(v), max: Some(v) };
    let entry = Entry::Release(Release {
        method: MethodTag::Open,
        revision: 3,
        measures: vec![text("speed")],
        decimals: vec![2],
        cells: vec![
            Cell { coordinate: vec![text("A")], observations: 1, measures: vec![state(-1)], sketches: vec![] },
            Cell {
                coordinate: vec![text("B")],
                observations: 1,
                measures: vec![MeasureState::default()],
                sketches: vec![],
            },
        ],
        suppressed: vec![],
        suppressed_share: ShareBand::None,
        coverage: ReleaseCoverage { observations: 2, sources: 0 },
        ..release()
    });
    let mut golden = front(1);
    golden.extend([3, 1, 2, 0, 0]);
    golden.extend(b"\x01\x07borough\x01\x05speed\x02\x02\x00\x01A\x01B");
    golden.extend([1, 1, 12, 1, 0, 1, 1]);
    assert_eq!(entry.encode(), golden);
    assert_eq!(Entry::decode(&golden), Ok(entry));
}

/// Two cells of an open product: quantiles of the speed, and distinct cars of the first alone.
fn sketched() -> Release {
    let state = |sum: i64| MeasureState { count: 1, sum: sum.into(), sum_squares: 0, min: None, max: None };
    let mut quantiles = [Quantiles::default(), Quantiles::default()];
    quantiles.iter_mut().zip([150, -50]).for_each(|(sketch, value)| sketch.observe(value, 2));
    let mut cars = Distinct::default();
    cars.observe(b"a car");
    let cell = |name: &str, sum: i64, sketches: Vec<Vec<u8>>| Cell {
        coordinate: vec![text(name)],
        observations: 1,
        measures: vec![state(sum)],
        sketches,
    };
    let cells = vec![
        cell("A", 150, vec![quantiles[0].to_bytes(), cars.to_bytes()]),
        cell("B", -50, vec![quantiles[1].to_bytes(), vec![]]),
    ];
    Release {
        method: MethodTag::Open,
        measures: vec![text("speed")],
        decimals: vec![2],
        sketches: vec![
            SketchColumn { kind: SketchKind::Quantiles, name: text("speed") },
            SketchColumn { kind: SketchKind::Distinct, name: text("car") },
        ],
        cells,
        suppressed: vec![],
        suppressed_share: ShareBand::None,
        coverage: ReleaseCoverage { observations: 2, sources: 0 },
        ..release()
    }
}

#[test]
fn golden_bytes_of_a_release_with_sketches() {
    let entry = Entry::Release(sketched());
    let mut golden = front(1);
    golden[0] = 2;
    golden.extend([0, 1, 2, 0, 0]); // revision, open, observations, sources, share
    golden.extend(b"\x01\x07borough\x01\x05speed\x02");
    golden.extend(b"\x02\x01\x05speed\x02\x03car"); // the columns of sketches
    golden.extend(b"\x02\x00\x01A\x01B");
    golden.extend([1, 1]); // observations
    golden.extend([1, 1, 1, 0xac, 2, 99]); // speed: counts, sums
    golden.extend([16, 16]);
    golden.extend([2, 2, 15, 4, 200, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]); // KLL of 1.5
    golden.extend([2, 2, 15, 4, 200, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0xbf]); // KLL of -0.5
    golden.extend([12, 0]);
    golden.extend([2, 1, 7, 12, 3, 8, 1, 8]); // HLL: a list of one coupon
    golden.extend([0xea, 0x80, 0x2a, 0x07]);
    assert_eq!(entry.encode(), golden);
    assert_eq!(Entry::decode(&golden), Ok(entry));
}

#[test]
fn a_release_has_one_encoding_with_sketches_and_one_without() {
    // version 2 without a column of sketches, and of a refusal
    let mut none = Entry::Release(sketched()).encode();
    let at = none.windows(3).position(|bytes| bytes == [2, 1, 5]).unwrap();
    none.splice(at..at + 12, [0]);
    assert_eq!(Entry::decode(&none), Err(EntryError::Rule("an encoding for sketches, of which there are none")));
    let mut refusal = front(2);
    refusal[0] = 2;
    refusal.extend([1, 2]);
    assert_eq!(Entry::decode(&refusal), Err(EntryError::Rule("an encoding for sketches, of which there are none")));
}

#[test]
fn sketches_that_contradict_the_rest_are_refused() {
    type Change = fn(&mut Release);
    let broken: [(Change, &str); 8] = [
        (|r| r.method = MethodTag::Threshold { k: 10 }, "quantiles of a threshold product hold single values"),
        (|r| r.sketches[0].name = text("fare"), "quantiles of what is no measure"),
        (|r| r.sketches[1].name.clear(), "the name of a column is empty or too long"),
        (|r| r.sketches[1] = r.sketches[0].clone(), "a column is sketched twice"),
        (|r| r.cells[0].sketches.truncate(1), "a cell has not one sketch for each column of them"),
        (|r| r.cells[0].sketches[0].clear(), "quantiles of another number of values"),
        (|r| (r.cells[0].observations, r.cells[0].measures[0].count) = (1, 2), "quantiles of another number of values"),
        (|r| r.sketches.extend(vec![r.sketches[1].clone(); SKETCHES_MAX]), "too many columns of sketches"),
    ];
    for (change, message) in broken {
        let mut release = sketched();
        change(&mut release);
        assert_eq!(Entry::Release(release).check(), Err(EntryError::Rule(message)));
    }
    let mut garbage = sketched();
    garbage.cells[0].sketches[1] = vec![0; 12];
    assert_eq!(Entry::Release(garbage).check(), Err(EntryError::Sketch(SketchError::Malformed)));
    // a threshold product's distinct values leave
    let mut threshold = sketched();
    threshold.method = MethodTag::Threshold { k: 10 };
    threshold.sketches.remove(0);
    threshold.cells.iter_mut().for_each(|cell| drop(cell.sketches.remove(0)));
    assert_eq!(Entry::Release(threshold).check(), Ok(()));
}

#[test]
fn states_and_sketches_share_their_room() {
    let sketch = vec![0; SKETCH_BYTES_MAX];
    let fit = |states, sketches| sketches_fit(states, std::iter::repeat_n(&sketch[..], sketches));
    assert!(fit(STATES_MAX, 0) && !fit(STATES_MAX, 1) && fit(10_000, 1_000) && !fit(0, 2_000));
}

#[test]
fn golden_bytes_of_a_refusal() {
    let Release { product, window, contract, closed_through, salt, .. } = release();
    let entry = Entry::Refusal(RefusedWindow {
        product,
        window,
        revision: 1,
        contract,
        closed_through,
        reason: RefusalReason::TooManyCells,
        salt,
    });
    let mut golden = front(2);
    golden.extend([1, 2]);
    assert_eq!(entry.encode(), golden);
    assert_eq!(Entry::decode(&golden), Ok(entry));
}

#[test]
fn golden_bytes_of_an_empty_run() {
    let Release { product, window: Window { start, end }, contract, closed_through, salt, .. } = release();
    let entry =
        Entry::Empty(EmptyRun { product, start, end, windows: 200, contract, closed_through, zero: true, salt });
    let mut golden = front(3);
    golden.extend([0xc8, 1, 1]);
    assert_eq!(entry.encode(), golden);
    assert_eq!(Entry::decode(&golden), Ok(entry));
}

#[test]
fn a_prefix_and_a_longer_text_are_no_entry() {
    let bytes = Entry::Release(release()).encode();
    for length in 0..bytes.len() {
        assert_eq!(Entry::decode(&bytes[..length]), Err(CodecError::Truncated.into()), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Entry::decode(&longer), Err(CodecError::Trailing.into()));
    assert_eq!(Entry::decode(&vec![1; ENTRY_BYTES_MAX + 1]), Err(EntryError::TooLong));
    assert_eq!(Entry::decode(&[3]), Err(EntryError::Version(3)));
}

#[test]
fn one_bit_flipped_is_another_entry_or_none() {
    let entry = Entry::Release(release());
    let bytes = entry.encode();
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = Entry::decode(&other) {
            assert_ne!(decoded, entry, "bit {bit}");
            assert_eq!(decoded.encode(), other, "bit {bit}");
        }
    }
}

#[test]
fn a_length_is_believed_only_as_far_as_bytes_follow() {
    // a release that claims a hundred thousand cells in a few bytes
    let mut bytes = front(1);
    bytes.extend([0, 1, 0, 0, 0, 0, 0]);
    bytes.extend([0xa0, 0x8d, 0x06, 0]);
    assert_eq!(Entry::decode(&bytes), Err(CodecError::Truncated.into()));
    let claim = bytes.len() - 4;
    bytes[claim..claim + 3].copy_from_slice(&[0xa1, 0x8d, 0x06]);
    assert_eq!(Entry::decode(&bytes), Err(CodecError::TooMany(CELLS_MAX).into()));
}

#[test]
fn what_contradicts_itself_is_refused() {
    type Change = fn(&mut Release);
    let broken: [(Change, &str); 25] = [
        (|r| r.window.end = r.window.start, "the window is empty"),
        (|r| r.window.start = UtcMicros(i64::MIN), "the window lies outside the years 1 to 9999"),
        (|r| r.closed_through = UtcMicros(1_999), "closed-through comes before the window's end"),
        (|r| r.closed_through = UtcMicros(i64::MAX), "closed-through lies outside the years 1 to 9999"),
        (|r| r.method = MethodTag::Threshold { k: 0 }, "a threshold of nothing"),
        (|r| r.measures.truncate(1), "not one number of decimals for each measure"),
        (|r| r.decimals[0] = 10, "too many decimals"),
        (|r| r.dimensions[0].clear(), "the name of a column is empty or too long"),
        (|r| r.dimensions.push(text("hour")), "a coordinate has not one value for each dimension"),
        (|r| r.cells.swap(0, 1), "cells are not in order"),
        (|r| r.cells[1].coordinate = r.cells[0].coordinate.clone(), "cells are not in order"),
        (|r| r.suppressed.push(r.suppressed[0].clone()), "suppressed cells are not in order"),
        (|r| r.suppressed[0].coordinate = vec![text("Bronx")], "a cell is both published and suppressed"),
        (|r| r.suppressed.clear(), "suppressed cells contradict their share"),
        (|r| r.suppressed_share = ShareBand::None, "suppressed cells contradict their share"),
        (|r| r.coverage.observations += 1, "coverage is not the sum of the cells"),
        (|r| r.cells[0].coordinate[0] = "B".repeat(257), "a value of a dimension is too long"),
        (|r| r.cells[0].measures.truncate(1), "a cell has not one state for each measure"),
        (|r| r.cells[0].measures[1].sum = 1, "a sum of no values"),
        (|r| r.cells[1].measures[1].sum = i128::from(VALUE_MAX) + 1, "a sum that the values cannot have"),
        (|r| r.cells[1].measures[1].sum_squares = -1, "a sum of squares that the values cannot have"),
        (|r| r.cells[1].measures[1].max = Some(VALUE_MAX + 1), "an extreme is no value"),
        (|r| r.cells[1].measures[0].max = Some(1), "an extreme is published of some cells only"),
        (|r| r.cells[0].measures[0].count = COUNT_MAX + 1, "more values than can be summed"),
        (
            |r| {
                r.cells[1].measures[1].min = Some(2);
                r.cells[1].measures[1].max = Some(1);
            },
            "the least is more than the greatest",
        ),
    ];
    for (change, message) in broken {
        let mut release = release();
        change(&mut release);
        assert_eq!(Entry::Release(release).check(), Err(EntryError::Rule(message)));
    }
}

#[test]
fn bounds_on_numbers_are_kept() {
    let mut many = release();
    many.dimensions.clear();
    many.cells = vec![Cell { coordinate: vec![], observations: 1, measures: vec![], sketches: vec![] }; CELLS_MAX + 1];
    assert_eq!(Entry::Release(many).check(), Err(EntryError::Rule("too many cells")));
    let mut long = release();
    let cell = |n: usize| Cell { coordinate: vec![format!("{n:0>250}")], ..release().cells[0].clone() };
    long.cells = (0..20_000).map(cell).collect();
    let broken = EntryError::Rule("the values of dimensions are too long together");
    assert_eq!(Entry::Release(long).check(), Err(broken));
}

#[test]
fn the_bounds_leave_room_below_the_longest_entry() {
    let state_bytes = layout::STATE_BYTES_MAX; // of states, or of sketches instead
    let names = (DIMENSIONS_MAX + MEASURES_MAX + SKETCHES_MAX) * (COLUMN_NAME_BYTES_MAX + 2);
    let cells = CELLS_MAX * (7 + 1); // observations, reason
    let front = 1_000;
    assert!(front + names + cells + COORDINATES_BYTES_MAX + STATES_MAX * state_bytes <= ENTRY_BYTES_MAX);
}

#[test]
fn shares_fall_into_bands() {
    for (suppressed, total, band) in [
        (0, 0, ShareBand::None),
        (0, 100, ShareBand::None),
        (1, 101, ShareBand::Under1),
        (1, 100, ShareBand::Under5),
        (5, 100, ShareBand::Under20),
        (20, 100, ShareBand::More),
        (u64::MAX, u64::MAX, ShareBand::More),
    ] {
        assert_eq!(ShareBand::of(suppressed, total), band, "{suppressed} of {total}");
    }
    assert!(ShareBand::Under1 < ShareBand::More);
}

fn any_state(published: [bool; 4]) -> impl Strategy<Value = MeasureState> {
    vec(prop_oneof![-VALUE_MAX..=VALUE_MAX, -9_i64..9], 0..4).prop_map(move |values| {
        let mut state = MeasureState::default();
        values.iter().for_each(|value| state.observe(*value).unwrap());
        let [sum, sum_squares, min, max] = published;
        MeasureState {
            count: state.count,
            sum: if sum { state.sum } else { 0 },
            sum_squares: if sum_squares { state.sum_squares } else { 0 },
            min: state.min.filter(|_| min),
            max: state.max.filter(|_| max),
        }
    })
}

prop_compose! {
    fn any_front()(
        product in "[a-z][a-z0-9_]{0,5}\\.[a-z][a-z0-9_]{0,5}",
        start in UtcMicros::MIN.0..UtcMicros::MAX.0 - 100,
        length in 1_i64..100,
        revision: u32,
        contract: [u8; 32],
        salt: [u8; 32],
    ) -> Release {
        let window = Window { start: UtcMicros(start), end: UtcMicros(start + length) };
        Release {
            product: product.parse().unwrap(),
            window,
            revision,
            contract: Hash32(contract),
            closed_through: window.end,
            salt,
            ..release()
        }
    }
}

fn any_cells(coordinates: Vec<Vec<String>>, published: Vec<[bool; 4]>) -> impl Strategy<Value = Vec<Cell>> {
    let cells = coordinates.into_iter().map(move |coordinate| {
        let states: Vec<_> = published.iter().map(|published| any_state(*published)).collect();
        (1_u64..1_000_000, states).prop_map(move |(observations, measures)| Cell {
            coordinate: coordinate.clone(),
            observations,
            measures,
            sketches: vec![],
        })
    });
    cells.collect::<Vec<_>>()
}

/// How many dimensions, which statistics of each measure, the coordinates.
fn any_shape() -> impl Strategy<Value = (usize, Vec<[bool; 4]>, Vec<Vec<String>>)> {
    (0_usize..3, vec(any::<[bool; 4]>(), 0..3)).prop_flat_map(|(dimensions, published)| {
        let coordinates = btree_set(vec("\\PC{0,3}", dimensions), 0..8);
        coordinates.prop_map(move |coordinates| (dimensions, published.clone(), coordinates.into_iter().collect()))
    })
}

fn any_release() -> impl Strategy<Value = Entry> {
    let method = prop_oneof![Just(MethodTag::Open), (1_u64..).prop_map(|k| MethodTag::Threshold { k })];
    (any_shape(), any_front(), method, any::<u32>()).prop_flat_map(|(shape, front, method, sources)| {
        let (dimensions, published, mut coordinates) = shape;
        let held = coordinates.split_off(coordinates.len().saturating_sub(2));
        let reason = SuppressionReason::BelowThreshold;
        let suppressed: Vec<_> = held.into_iter().map(|coordinate| Suppressed { coordinate, reason }).collect();
        let front = Release {
            method,
            dimensions: (0..dimensions).map(|n| format!("d{n}")).collect(),
            measures: (0..published.len()).map(|n| format!("m{n}")).collect(),
            suppressed_share: if suppressed.is_empty() { ShareBand::None } else { ShareBand::More },
            suppressed,
            ..front
        };
        let decimals = vec(0..=DECIMALS_MAX, published.len());
        (decimals, any_cells(coordinates, published)).prop_map(move |(decimals, cells)| {
            let observations = cells.iter().map(|cell| cell.observations).sum();
            let coverage = ReleaseCoverage { observations, sources };
            Entry::Release(Release { decimals, cells, coverage, ..front.clone() })
        })
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let reason = proptest::sample::select(vec![
        RefusalReason::Overflow,
        RefusalReason::TooManyCells,
        RefusalReason::TooLong,
        RefusalReason::Expired,
    ]);
    let refusal = (any_front(), reason).prop_map(|(front, reason)| {
        let Release { product, window, revision, contract, closed_through, salt, .. } = front;
        Entry::Refusal(RefusedWindow { product, window, revision, contract, closed_through, reason, salt })
    });
    let empty = (any_front(), 1_u64.., any::<bool>()).prop_map(|(front, windows, zero)| {
        let Release { product, window: Window { start, end }, contract, closed_through, salt, .. } = front;
        Entry::Empty(EmptyRun { product, start, end, windows, contract, closed_through, zero, salt })
    });
    prop_oneof![4 => any_release(), 1 => refusal, 1 => empty]
}

/// Open releases with sketches of a measure and of a column's distinct values.
fn any_sketched() -> impl Strategy<Value = Entry> {
    let cell = (vec(-VALUE_MAX..=VALUE_MAX, 0..300), vec(any::<u64>(), 0..500));
    (any_front(), btree_set("\\PC{0,3}", 0..4), vec(cell, 4)).prop_map(|(front, names, cells)| {
        let cell = |(name, (values, cars)): (String, (Vec<i64>, Vec<u64>))| {
            let (mut state, mut quantiles, mut distinct) = Default::default();
            values.iter().for_each(|value| MeasureState::observe(&mut state, *value).unwrap());
            values.iter().for_each(|value| Quantiles::observe(&mut quantiles, *value, 2));
            cars.iter().for_each(|car| Distinct::observe(&mut distinct, &car.to_be_bytes()));
            let quantiles = if values.is_empty() { vec![] } else { quantiles.to_bytes() };
            let distinct = if cars.is_empty() { vec![] } else { distinct.to_bytes() };
            Cell {
                coordinate: vec![name],
                observations: 1_000,
                measures: vec![state],
                sketches: vec![quantiles, distinct],
            }
        };
        let cells: Vec<Cell> = names.into_iter().zip(cells).map(cell).collect();
        let observations = cells.len() as u64 * 1_000;
        let coverage = ReleaseCoverage { observations, sources: 0 };
        let Release { product, window, revision, contract, closed_through, salt, .. } = front;
        Entry::Release(Release {
            product,
            window,
            revision,
            contract,
            closed_through,
            salt,
            cells,
            coverage,
            ..sketched()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_release_with_sketches_comes_back_from_its_bytes_and_takes_no_harm_of_changes(
        entry in any_sketched(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = entry.encode();
        prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_entry_comes_back_from_its_bytes(entry in any_entry()) {
        prop_assert_eq!(entry.check(), Ok(()));
        let bytes = entry.encode();
        prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
    }

    #[test]
    fn whatever_decodes_is_canonical(bytes in vec(any::<u8>(), 0..200), kind in 1_u8..=3, framed: bool) {
        let bytes = if framed { [front(kind), bytes].concat() } else { bytes };
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_entry_decodes_as_itself_or_not_at_all(
        entry in any_entry(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(), insert: bool,
    ) {
        let mut bytes = entry.encode();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            if insert { bytes.insert(index, byte) } else { bytes[index] = byte }
        }
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes.clone());
        }
        bytes.truncate(cut.index(bytes.len()));
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }
}
