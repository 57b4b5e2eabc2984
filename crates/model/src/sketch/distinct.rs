//! Sketches of distinct values: HLL over keyed hashes.

use std::fmt;

use datasketches::common::NumStdDev;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{HllSketch, HllType, HllUnion};

use super::SketchError;

/// The logarithm of HLL's registers: 4096 of them, and a relative standard error of 1.6 %.
pub const DISTINCT_LG_K: u8 = 12;

const REGISTERS: usize = 1 << DISTINCT_LG_K;
/// The greatest register.
const REGISTER_MAX: u8 = 63;
/// Bits of a coupon below its register's value.
const SLOT_BITS: u32 = 26;

/// Bytes before the coupons of a list, before those of a set, before registers.
const LIST_FRONT: usize = 8;
const SET_FRONT: usize = 12;
const REGISTERS_FRONT: usize = 40;
/// Where the bytes say which of the three it is, beside the kind of registers.
const MODE_AT: usize = 7;
const MODE_BITS: u8 = 3;
const LIST: u8 = 0;
const SET: u8 = 1;
/// Coupons of a list at most, and of a set, before they become a set, and registers.
const LIST_MAX: usize = 7;
const SET_MAX: usize = 384;
/// Where the bytes of a set say the logarithm of its places, and the least that it is.
const LG_PLACES_AT: usize = 4;
const LG_PLACES_MIN: u8 = 5;

/// How many distinct values there are, within a bound. It depends on nothing but which values there are.
#[derive(Clone)]
pub struct Distinct(HllUnion);

impl Default for Distinct {
    fn default() -> Self {
        Self(HllUnion::new(DISTINCT_LG_K).expect("the number of registers is within the library's bounds"))
    }
}

impl Distinct {
    /// Adds a value by its hash, which must be keyed: hashes of guesses can be looked for in a sketch.
    pub fn observe(&mut self, hash: &[u8]) {
        self.0.update_value(raw_bytes::from_slice(hash));
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Self) {
        self.0.update(&other.0.to_sketch(HllType::Hll8));
    }

    /// Whether no value was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes it takes; no less for more values, whatever their order.
    pub fn memory_bytes(&self) -> usize {
        self.0.estimated_size()
    }

    /// About how many distinct values there are.
    pub fn estimate(&self) -> f64 {
        self.canonical().estimate()
    }

    /// How far the true number is from [`Self::estimate`] at most, with 95 % confidence.
    pub fn error(&self) -> f64 {
        let sketch = self.canonical();
        let estimate = sketch.estimate();
        let (low, high) = (sketch.lower_bound(NumStdDev::Two), sketch.upper_bound(NumStdDev::Two));
        (high - estimate).max(estimate - low)
    }

    /// The sketch without any trace of the order in which values came.
    fn canonical(&self) -> HllSketch {
        let sketch = self.0.to_sketch(HllType::Hll8);
        if is_registers(&sketch.serialize()) {
            let mut twice = self.0.clone();
            twice.update(&sketch);
            return twice.to_sketch(HllType::Hll8);
        }
        sketch
    }

    /// The bytes, in DataSketches' compact form, coupons in order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.canonical().serialize();
        if !is_registers(&bytes) {
            let front = if bytes[MODE_AT] & MODE_BITS == LIST { LIST_FRONT } else { SET_FRONT };
            let mut coupons = coupons(&bytes[front..]);
            coupons.sort_unstable();
            bytes.truncate(front);
            coupons.iter().for_each(|coupon| bytes.extend(coupon.to_le_bytes()));
        }
        bytes
    }

    /// The sketch of these bytes, of one value or more.
    ///
    /// # Errors
    /// [`SketchError`] for bytes that [`Self::to_bytes`] would not have written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let sketch = Self::stored(bytes)?;
        if sketch.to_bytes() == bytes { Ok(sketch) } else { Err(SketchError::Malformed) }
    }

    /// The sketch of bytes that a release holds, which [`Self::from_bytes`] took once: as safe, and faster.
    ///
    /// # Errors
    /// [`SketchError`] for bytes that are no sketch of one value or more.
    pub fn stored(bytes: &[u8]) -> Result<Self, SketchError> {
        if !is_safe(bytes) {
            return Err(SketchError::Malformed);
        }
        let sketch = HllSketch::deserialize(bytes).map_err(|_| SketchError::Malformed)?;
        let mut distinct = Self::default();
        if (sketch.lg_config_k(), sketch.target_type()) == (DISTINCT_LG_K, HllType::Hll8) {
            distinct.0.update(&sketch);
        }
        if distinct.is_empty() { Err(SketchError::Malformed) } else { Ok(distinct) }
    }
}

impl fmt::Debug for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Distinct(redacted)")
    }
}

fn is_registers(bytes: &[u8]) -> bool {
    bytes.get(MODE_AT).is_some_and(|mode| mode & MODE_BITS > SET)
}

fn coupons(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(size_of::<u32>())
        .map(|coupon| u32::from_le_bytes([coupon[0], coupon[1], coupon[2], coupon[3]]))
        .collect()
}

/// Whether coupons and registers are such that the library takes no harm of them.
fn is_safe(bytes: &[u8]) -> bool {
    let Some(mode) = bytes.get(MODE_AT) else {
        return false;
    };
    let of_coupons = |front: usize, number: std::ops::RangeInclusive<usize>| {
        let coupons = coupons(bytes.get(front..).unwrap_or_default());
        number.contains(&coupons.len())
            && bytes.len() == front + coupons.len() * size_of::<u32>()
            && coupons.is_sorted_by(|a, b| a < b)
            && coupons.iter().all(|coupon| coupon >> SLOT_BITS > 0)
    };
    match mode & MODE_BITS {
        LIST => of_coupons(LIST_FRONT, 1..=LIST_MAX),
        SET => of_coupons(SET_FRONT, LIST_MAX + 1..=SET_MAX) && has_few_places(bytes),
        _ => {
            let registers = bytes.get(REGISTERS_FRONT..).unwrap_or_default();
            registers.len() == REGISTERS && registers.iter().all(|register| *register <= REGISTER_MAX)
        }
    }
}

/// Whether a set has the places that it has after growing coupon by coupon: never more than three of four are taken.
fn has_few_places(bytes: &[u8]) -> bool {
    let number = (bytes.len() - SET_FRONT) / size_of::<u32>();
    let holds = |lg: u8| number * 4 <= 3 << lg;
    let lg = bytes[LG_PLACES_AT];
    (LG_PLACES_MIN..DISTINCT_LG_K).contains(&lg) && holds(lg) && (lg == LG_PLACES_MIN || !holds(lg - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SKETCH_BYTES_MAX;
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Distinct {
        let mut sketch = Distinct::default();
        values.into_iter().for_each(|value| sketch.observe(&value.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()));
        sketch
    }

    #[test]
    fn golden_bytes() {
        let bytes = of([1, 2]).to_bytes();
        assert_eq!(bytes[..8], [2, 1, 7, 12, 3, 8, 2, 8]);
        assert_eq!(bytes.len(), 16);
        let bytes = of(0..100).to_bytes();
        assert_eq!(bytes[..12], [3, 1, 7, 12, 8, 8, 0, 9, 100, 0, 0, 0]);
        assert_eq!(bytes.len(), 412);
        let bytes = of(0..5_000).to_bytes();
        assert_eq!(bytes[..8], [10, 1, 7, 12, 0, 16, 0, 10]);
        assert_eq!((bytes[8..16].to_vec(), bytes.len()), (vec![0; 8], REGISTERS_FRONT + REGISTERS));
        assert!(bytes.len() <= SKETCH_BYTES_MAX);
    }

    #[test]
    fn registers_that_would_end_the_process_are_refused() {
        let bytes = of(0..5_000).to_bytes();
        assert_eq!(Distinct::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for (at, byte) in [(40, 64), (40, 255), (5, 0), (8, 1), (20, 7), (32, 1), (36, 1), (3, 13), (7, 9)] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            assert!(Distinct::from_bytes(&changed).is_err(), "{at}");
        }
        let few = of([1, 2]).to_bytes();
        let swapped = [&few[..8], &few[12..], &few[8..12]].concat();
        let twice = [&few[..12], &few[8..12]].concat();
        let zero = [&few[..8], &[0; 4], &few[12..]].concat();
        for bytes in [swapped, twice, zero, few[..12].to_vec(), Distinct::default().to_bytes()] {
            assert!(Distinct::from_bytes(&bytes).is_err());
        }
        let mut wide = of(0..100).to_bytes();
        wide[LG_PLACES_AT] = 9;
        assert!(Distinct::from_bytes(&wide).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn order_and_parts_change_no_byte_and_the_estimate_is_within_the_bound(
            parts in prop::collection::vec((0_u64..20_000, 0_u64..3_000), 1..6), keep: u8,
        ) {
            let keep = u64::from(keep % 3) * 500 + 4;
            let parts: Vec<_> = parts.into_iter().map(|(from, number)| from..from + number % keep).collect();
            let all: std::collections::BTreeSet<u64> = parts.iter().cloned().flatten().collect();
            let mut merged = Distinct::default();
            for part in parts.iter().rev().filter(|part| !part.is_empty()) {
                merged.merge(&Distinct::from_bytes(&of(part.clone().rev()).to_bytes()).unwrap());
            }
            prop_assert_eq!(merged.to_bytes(), of(all.iter().copied()).to_bytes());
            prop_assert_eq!(merged.to_bytes(), of(parts.into_iter().flatten()).to_bytes());
            // the bound holds for 95 of 100: three times as much never comes
            prop_assert!((merged.estimate() - all.len() as f64).abs() <= (3.0 * merged.error()).max(0.1));
        }

        #[test]
        fn hostile_bytes_are_refused_or_harmless(
            values in 0_u64..1_000, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = of(0..=values).to_bytes();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(sketch) = Distinct::from_bytes(bytes) {
                    prop_assert_eq!(sketch.to_bytes(), bytes);
                    let mut merged = of(500..1_500);
                    merged.merge(&sketch);
                    prop_assert!(merged.estimate().is_finite());
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..60), mode in 0_u8..3) {
            let framed = [&[[2, 3, 10][usize::from(mode)], 1, 7, 12, 5, 8, 2, 8 | mode][..], &bytes].concat();
            for bytes in [framed, bytes] {
                if let Ok(sketch) = Distinct::from_bytes(&bytes) {
                    prop_assert_eq!(sketch.to_bytes(), bytes);
                }
            }
        }
    }
}
