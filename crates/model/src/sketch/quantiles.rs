//! Sketches of quantiles: KLL over doubles.

use std::fmt;

use datasketches::common::SearchCriteria;
use datasketches::kll::{KllFloat, KllSketch};

use super::{SKETCH_BYTES_MAX, SketchError};
use crate::number::{COUNT_MAX, VALUE_MAX};

/// KLL's `k`: with 99 % confidence a quantile's rank is within 1.33 % of the rank asked for.
pub const QUANTILES_K: u16 = 200;

/// Where the bytes of a KLL sketch of two values or more say how many levels it has.
const LEVELS_AT: usize = 18;

/// Most bytes that values take in a sketch, for bounds on memory: KLL keeps no more of them.
const VALUES_MAX: u64 = 900;

/// The quantiles of a measure's values, within a bound.
///
/// Values are doubles in the measure's unit, each the nearest to its exact decimal. Up to [`QUANTILES_K`] values it
/// keeps all of them, and is exact.
#[derive(Clone)]
pub struct Quantiles(KllSketch<KllFloat<f64>>);

impl Default for Quantiles {
    fn default() -> Self {
        Self(KllSketch::new(QUANTILES_K).expect("k is within the library's bounds"))
    }
}

impl Quantiles {
    /// Adds a value that is scaled by 10^`decimals`.
    pub fn observe(&mut self, value: i64, decimals: u8) {
        // both are exact, so that the quotient is the nearest double to the decimal
        let value = value as f64 / 10_f64.powi(decimals.into());
        self.0.update(KllFloat::<f64>::new(value).expect("a quotient of numbers other than zero is a number"));
    }

    /// Adds what another one holds.
    ///
    /// # Errors
    /// [`SketchError::TooMany`] where both together hold more than [`COUNT_MAX`] values.
    pub fn merge(&mut self, other: &Self) -> Result<(), SketchError> {
        let count = self.count().checked_add(other.count()).filter(|count| *count <= COUNT_MAX);
        count.ok_or(SketchError::TooMany)?;
        self.0.merge(&other.0).map_err(|_| SketchError::Malformed)
    }

    /// How many values it holds.
    pub fn count(&self) -> u64 {
        self.0.n()
    }

    /// At most how many bytes its values take; no less for more values, whatever their order.
    pub fn values_bytes(&self) -> usize {
        self.count().min(VALUES_MAX) as usize * size_of::<f64>()
    }

    /// A value of about this rank, 0 to 1; none of no values. Ranks 0 and 1 are the least and the greatest, exactly.
    pub fn at(&self, rank: f64) -> Option<f64> {
        self.search(rank, SearchCriteria::Inclusive)
    }

    /// The two values in the middle, which are one where their number is odd; none of no values.
    pub fn middle(&self) -> Option<(f64, f64)> {
        let [low, high] = [SearchCriteria::Inclusive, SearchCriteria::Exclusive].map(|side| self.search(0.5, side));
        low.zip(high)
    }

    /// How far the true value of this rank is from [`Self::at`] at most, with 99 % confidence: zero while all values
    /// are kept. None of no values.
    pub fn error_at(&self, rank: f64) -> Option<f64> {
        let at = self.at(rank)?;
        if !self.0.is_estimation_mode() {
            return Some(0.0);
        }
        let bound = self.0.normalized_rank_error();
        let (low, high) = (self.at((rank - bound).max(0.0))?, self.at((rank + bound).min(1.0))?);
        Some((high - at).max(at - low))
    }

    fn search(&self, rank: f64, side: SearchCriteria) -> Option<f64> {
        self.0.quantile(rank, side).ok().flatten().map(KllFloat::into_inner)
    }

    /// The bytes, in DataSketches' compact form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize()
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
        if bytes.len() > SKETCH_BYTES_MAX {
            return Err(SketchError::TooLong);
        }
        let sketch = KllSketch::<KllFloat<f64>>::deserialize(bytes).map_err(|_| SketchError::Malformed)?;
        let (count, greatest) = (sketch.n(), VALUE_MAX as f64);
        let in_range = |value: Option<&KllFloat<f64>>| value.is_some_and(|value| value.abs() <= greatest);
        // a level's values stand for twice as many as the one below it; without this an empty one could be added
        // forever
        let levels = if count < 2 { 1 } else { bytes.get(LEVELS_AT).copied().unwrap_or(u8::MAX) };
        let holds = (1..=COUNT_MAX).contains(&count)
            && (sketch.k(), sketch.min_k()) == (QUANTILES_K, QUANTILES_K)
            && u32::from(levels) <= u64::BITS - count.leading_zeros()
            && in_range(sketch.min_item())
            && in_range(sketch.max_item());
        if holds { Ok(Self(sketch)) } else { Err(SketchError::Malformed) }
    }
}

impl fmt::Debug for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quantiles(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Quantiles {
        let mut sketch = Quantiles::default();
        values.into_iter().for_each(|value| sketch.observe(value, 1));
        sketch
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(of([15]).to_bytes(), [2, 2, 15, 4, 200, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]);
        let mut golden = vec![5, 1, 15, 0, 200, 0, 8, 0];
        golden.extend(2_u64.to_le_bytes());
        golden.extend([200, 0, 1, 0, 198, 0, 0, 0]);
        for value in [-0.5_f64, 1.5, 1.5, -0.5] {
            golden.extend(value.to_le_bytes());
        }
        assert_eq!(of([-5, 15]).to_bytes(), golden);
        assert_eq!(Quantiles::from_bytes(&golden).unwrap().at(1.0), Some(1.5));
    }

    #[test]
    fn few_values_are_exact() {
        let sketch = of([40, 10, 30, 20]);
        assert_eq!((sketch.at(0.0), sketch.at(0.5), sketch.at(1.0)), (Some(1.0), Some(2.0), Some(4.0)));
        assert_eq!((sketch.middle(), sketch.error_at(0.5)), (Some((2.0, 3.0)), Some(0.0)));
        assert_eq!(of([40, 10, 30]).middle(), Some((3.0, 3.0)));
        let none = Quantiles::default();
        assert_eq!((none.at(0.5), none.middle(), none.error_at(0.5)), (None, None, None));
    }

    #[test]
    fn the_longest_is_within_the_bound() {
        // levels of a sketch of COUNT_MAX values, each of at most 200 × (2/3)^depth values and of eight at least
        let levels = (u64::BITS - COUNT_MAX.leading_zeros()) as i32;
        let values: f64 = (0..levels).map(|depth| (200.0 * (2.0_f64 / 3.0).powi(depth)).ceil().max(8.0)).sum();
        assert!(
            values <= VALUES_MAX as f64
                && 20.0 + f64::from(levels) * 4.0 + 16.0 + values * 8.0 <= SKETCH_BYTES_MAX as f64
        );
        assert!(of(0..1_000_000).to_bytes().len() < SKETCH_BYTES_MAX);
    }

    #[test]
    fn what_would_end_the_process_later_is_refused() {
        let bytes = of(0..1_000).to_bytes();
        let changed = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Quantiles::from_bytes(&bytes).map(|sketch| sketch.count())
        };
        assert_eq!(changed(0, 5), Ok(1_000));
        // flags that mean nothing, another k, another count, other bytes that nobody reads
        for (at, byte) in [(3, 0x80), (4, 199), (6, 9), (7, 1), (8, 0), (15, 0xff), (16, 8), (18, 61), (19, 1)] {
            assert_eq!(changed(at, byte), Err(SketchError::Malformed), "{at}");
        }
        // one more level, with nothing in it
        let mut tall = of([1, 2]).to_bytes();
        tall[LEVELS_AT] = 61;
        assert!(Quantiles::from_bytes(&tall).is_err());
        assert!(Quantiles::from_bytes(&Quantiles::default().to_bytes()).is_err());
        assert_eq!(Quantiles::from_bytes(&vec![0; SKETCH_BYTES_MAX + 1]).unwrap_err(), SketchError::TooLong);
        for bad in [f64::NAN, f64::INFINITY, 1e13] {
            let mut one = of([1]).to_bytes();
            one[8..].copy_from_slice(&bad.to_le_bytes());
            assert!(Quantiles::from_bytes(&one).is_err());
        }
    }

    /// How far the rank of `value` is from the rank asked for.
    fn off(sorted: &[i64], value: f64, rank: f64) -> f64 {
        let scaled = (value * 10.0).round() as i64;
        let total = sorted.len() as f64;
        let low = sorted.partition_point(|other| *other < scaled) as f64 / total;
        let high = sorted.partition_point(|other| *other <= scaled) as f64 / total;
        (low - rank).max(rank - high).max(0.0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn merged_sketches_stay_within_the_bound(
            parts in prop::collection::vec(prop::collection::vec(-100_000_i64..100_000, 0..2_000), 1..12),
            rank in 0.0_f64..=1.0,
        ) {
            let mut all: Vec<i64> = parts.iter().flatten().copied().collect();
            let mut merged = Quantiles::default();
            for part in parts.iter().filter(|part| !part.is_empty()) {
                merged.merge(&Quantiles::from_bytes(&of(part.iter().copied()).to_bytes()).unwrap()).unwrap();
            }
            all.sort_unstable();
            prop_assert_eq!(merged.count(), all.len() as u64);
            match merged.at(rank) {
                None => prop_assert!(all.is_empty()),
                // the bound of 1.33 % holds for 99 of 100: four times as much never comes
                Some(value) => prop_assert!(off(&all, value, rank) <= 0.054),
            }
            prop_assert!(all.len() > 200 || merged.error_at(rank).unwrap_or(0.0) == 0.0);
        }

        #[test]
        fn hostile_bytes_are_refused_or_harmless(
            values in 0_i64..2_000, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = of(0..=values).to_bytes();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(sketch) = Quantiles::from_bytes(bytes) {
                    let mut merged = of(0..500);
                    for _ in 0..20 {
                        merged.merge(&sketch).unwrap();
                    }
                    prop_assert!(merged.at(0.5).is_some_and(f64::is_finite));
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80), framed: bool) {
            let bytes = if framed { [&[5, 1, 15, 0, 200, 0, 8, 0][..], &bytes].concat() } else { bytes };
            if let Ok(sketch) = Quantiles::from_bytes(&bytes) {
                prop_assert_eq!(sketch.to_bytes(), bytes);
            }
        }
    }
}
