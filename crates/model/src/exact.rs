//! Mean, variance and standard deviation of exact sums: each the Float64 nearest to the exact value, ties to even,
//! so that the same cells give the same bits in whatever order and at whatever node they are added up.

use num_bigint::{BigInt, BigUint, Sign};

/// Up to here every whole number is a Float64.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// Whether a deviation is of all there is, or estimated from a sample (divided by n − 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deviation {
    /// Of the population: divided by n.
    Population,
    /// Of a sample: divided by n − 1.
    Sample,
}

/// The mean of `count` values whose sum, scaled by 10^`decimals`, is `sum`; none of no values.
pub fn mean(sum: i128, count: u64, decimals: u8) -> Option<f64> {
    // the quotient of two numbers that are Float64s themselves is rounded as it must be (IEEE 754-2019, section 4.3)
    let divisor = 10_u64.checked_pow(decimals.into()).and_then(|ten| ten.checked_mul(count));
    if let Some(divisor) = divisor.filter(|divisor| (1..=EXACT_MAX).contains(divisor))
        && sum.unsigned_abs() <= u128::from(EXACT_MAX)
    {
        return Some(sum as f64 / divisor as f64);
    }
    let divisor = BigUint::from(count) * ten_to(decimals.into());
    let size = nearest(&sum.unsigned_abs().into(), &divisor)?;
    Some(if sum < 0 { -size } else { size })
}

/// The variance of `count` values with that sum and sum of squares; none of no values, of one as a sample, and of
/// sums that no values have.
pub fn variance(count: u64, sum: i128, sum_squares: i128, decimals: u8, deviation: Deviation) -> Option<f64> {
    let (spread, divisor) = variance_ratio(count, sum, sum_squares, decimals, deviation)?;
    nearest(&spread, &divisor)
}

/// The square root of the exact [`variance`].
pub fn stddev(count: u64, sum: i128, sum_squares: i128, decimals: u8, deviation: Deviation) -> Option<f64> {
    let (spread, divisor) = variance_ratio(count, sum, sum_squares, decimals, deviation)?;
    nearest_root(&spread, &divisor)
}

/// (n Σx² − (Σx)²) over n · n, or n · (n − 1), with the scale taken out.
fn variance_ratio(
    count: u64,
    sum: i128,
    sum_squares: i128,
    decimals: u8,
    deviation: Deviation,
) -> Option<(BigUint, BigUint)> {
    let degrees = match deviation {
        Deviation::Population => count,
        Deviation::Sample => count.checked_sub(1)?,
    };
    let spread = BigInt::from(count) * sum_squares - BigInt::from(sum) * sum;
    let divisor = BigUint::from(count) * degrees * ten_to(2 * u32::from(decimals));
    (spread.sign() != Sign::Minus).then(|| (spread.into_parts().1, divisor))
}

fn ten_to(power: u32) -> BigUint {
    BigUint::from(10_u32).pow(power)
}

/// `n` × 2^`shift`, or `d` × 2^-`shift`, so that their quotient is n/d × 2^`shift`.
fn shifted(n: &BigUint, d: &BigUint, shift: i64) -> (BigUint, BigUint) {
    let bits = shift.unsigned_abs();
    if shift < 0 { (n.clone(), d << bits) } else { (n << bits, d.clone()) }
}

/// How far to shift so that the quotient has `bits` or one more.
fn shift_for(n: &BigUint, d: &BigUint, bits: i64) -> i64 {
    bits + d.bits() as i64 - n.bits() as i64
}

/// The Float64 nearest to n/d; none if d is zero.
fn nearest(n: &BigUint, d: &BigUint) -> Option<f64> {
    if *d == BigUint::ZERO {
        return None;
    }
    if *n == BigUint::ZERO {
        return Some(0.0);
    }
    let shift = shift_for(n, d, 63);
    let (n, d) = shifted(n, d, shift);
    let quotient = &n / &d;
    let exact = &quotient * &d == n;
    let quotient = u64::try_from(quotient).expect("a quotient of 63 or 64 bits");
    Some(round(quotient, exact, -shift))
}

/// The Float64 nearest to the square root of n/d; none if d is zero.
fn nearest_root(n: &BigUint, d: &BigUint) -> Option<f64> {
    if *d == BigUint::ZERO {
        return None;
    }
    if *n == BigUint::ZERO {
        return Some(0.0);
    }
    // an even shift, and a quotient of 126 to 128 bits: its root has 63 or 64
    let shift = shift_for(n, d, 126);
    let shift = shift + shift.rem_euclid(2);
    let (n, d) = shifted(n, d, shift);
    let quotient = &n / &d;
    let root = quotient.sqrt();
    let exact = &root * &root * &d == n;
    let root = u64::try_from(root).expect("a root of 63 or 64 bits");
    Some(round(root, exact, -shift / 2))
}

/// The Float64 nearest to a number of at least 55 bits, or one a little above it if it is not `exact`, times 2^`power`.
fn round(number: u64, exact: bool, power: i64) -> f64 {
    // the lowest bit lies below the half: set, it says "and more", which turns a tie into what it is
    let sticky = number | u64::from(!exact);
    let power = i32::try_from(power).expect("the power of a ratio of a few hundred bits");
    sticky as f64 * 2.0_f64.powi(power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::{MeasureState, VALUE_MAX};

    /// A Float64 ≥ 0 as mantissa and power of two.
    fn parts(value: f64) -> (BigUint, i64) {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        assert!(exponent > 0, "a normal number");
        ((fraction | 1 << 52).into(), exponent - 1075)
    }

    /// Halfway between two neighbours, as numerator and denominator.
    fn halfway(low: f64, high: f64) -> (BigUint, BigUint) {
        let (low, low_power) = parts(low);
        let (high, high_power) = parts(high);
        let high = high << u64::try_from(high_power - low_power).unwrap();
        let power = low_power - 1;
        let sum = low + high;
        let shift = BigUint::from(1_u8) << power.unsigned_abs();
        if power < 0 { (sum, shift) } else { (sum * shift, BigUint::from(1_u8)) }
    }

    /// Whether `value` is the Float64 nearest to n/d, or to its square root: compared with the halves to either side.
    fn is_nearest(value: f64, n: &BigUint, d: &BigUint, root: bool) -> bool {
        let compare = |(num, den): (BigUint, BigUint)| match root {
            true => (n * &den * &den).cmp(&(&num * &num * d)),
            false => (n * den).cmp(&(num * d)),
        };
        let above = compare(halfway(value.next_down(), value));
        let below = compare(halfway(value, value.next_up()));
        let even = value.to_bits().is_multiple_of(2);
        (above.is_gt() || above.is_eq() && even) && (below.is_lt() || below.is_eq() && even)
    }

    fn state(values: &[i64]) -> MeasureState {
        let mut state = MeasureState::default();
        values.iter().for_each(|value| state.observe(*value).unwrap());
        state
    }

    fn both(values: &[i64], decimals: u8, deviation: Deviation) -> Option<(f64, f64)> {
        let MeasureState { count, sum, sum_squares, .. } = state(values);
        let variance = variance(count, sum, sum_squares, decimals, deviation)?;
        Some((variance, stddev(count, sum, sum_squares, decimals, deviation)?))
    }

    #[test]
    fn means_are_the_nearest_where_adding_floats_is_not() {
        assert_ne!((0.1 + 0.2) / 2.0, 0.15);
        assert_eq!(mean(3, 2, 1), Some(0.15));
        assert_eq!(mean(-3, 2, 1), Some(-0.15));
        assert_eq!(mean(0, 5, 3), Some(0.0));
        assert_eq!(mean(7, 0, 0), None);
        // ties to even, and what lies just above one
        let odd = (1_i128 << 53) + 1;
        assert_eq!(mean(odd, 1, 0), Some(9_007_199_254_740_992.0));
        assert_eq!(mean(odd + 2, 1, 0), Some(9_007_199_254_740_996.0));
        assert_eq!(mean((odd << 40) + 1, 1 << 40, 0), Some(9_007_199_254_740_994.0));
        // rounding the sum first would round twice
        let sum = (1_i128 << 60) + 129;
        assert_ne!(mean(sum, 3, 0), Some(sum as f64 / 3.0));
        assert!(is_nearest(mean(sum, 3, 0).unwrap(), &(sum as u128).into(), &3_u8.into(), false));
    }

    #[test]
    fn variances_survive_where_floats_cancel() {
        let values = [100_000_000_000, 100_000_000_001, 100_000_000_002];
        let (n, sum) = (3.0, 300_000_000_003.0_f64);
        let squares: f64 = values.iter().map(|v| (*v as f64).powi(2)).sum();
        assert_ne!((squares - sum * sum / n) / n, 2.0 / 3.0);
        assert_eq!(both(&values, 0, Deviation::Population), Some((2.0 / 3.0, (2.0_f64 / 3.0).sqrt())));
        assert_eq!(both(&values, 0, Deviation::Sample), Some((1.0, 1.0)));
        assert_eq!(both(&values, 3, Deviation::Sample), Some((1e-6, 1e-3)));
        assert_eq!(both(&[VALUE_MAX, VALUE_MAX], 9, Deviation::Sample), Some((0.0, 0.0)));
    }

    #[test]
    fn what_has_no_variance_has_none() {
        assert_eq!(both(&[], 0, Deviation::Population), None);
        assert_eq!(both(&[], 0, Deviation::Sample), None);
        assert_eq!(both(&[5], 0, Deviation::Sample), None);
        assert_eq!(both(&[5], 0, Deviation::Population), Some((0.0, 0.0)));
        // sums that no two values have
        assert_eq!(variance(2, 10, 1, 0, Deviation::Population), None);
        assert_eq!(stddev(2, 10, 1, 0, Deviation::Sample), None);
    }

    #[test]
    fn the_largest_sums_stay_in_range() {
        let count = crate::number::COUNT_MAX;
        let squares = i128::from(VALUE_MAX) * i128::from(VALUE_MAX) * i128::from(count);
        let spread = stddev(count, 0, squares, 0, Deviation::Population);
        assert_eq!(spread, Some(VALUE_MAX as f64));
        assert!(stddev(u64::MAX, i128::MAX, i128::MAX, 9, Deviation::Population).is_none());
        assert!(mean(i128::MIN, u64::MAX, 9).unwrap().is_finite());
    }

    proptest! {
        #[test]
        fn means_are_nearest(
            sum in prop_oneof![any::<i128>(), -1000_i128..1000, -(1_i128 << 54)..1 << 54],
            count in prop_oneof![1_u64.., 1_u64..1_000_000],
            decimals in 0_u8..=9,
        ) {
            prop_assume!(sum != 0);
            let mean = mean(sum, count, decimals).unwrap();
            prop_assert_eq!(mean < 0.0, sum < 0);
            let d = BigUint::from(count) * ten_to(decimals.into());
            prop_assert!(is_nearest(mean.abs(), &sum.unsigned_abs().into(), &d, false));
        }

        #[test]
        fn variances_and_their_roots_are_nearest(
            values in proptest::collection::vec(prop_oneof![-VALUE_MAX..=VALUE_MAX, -20_i64..20], 1..12),
            decimals in 0_u8..=9,
            sample: bool,
        ) {
            let deviation = if sample { Deviation::Sample } else { Deviation::Population };
            let n = values.len() as i128;
            // Σ (n x − Σx)² = n² · n · variance, another way round than from the sum of squares
            let sum: i128 = values.iter().map(|v| i128::from(*v)).sum();
            let squares: BigInt = values.iter().map(|v| BigInt::from(n * i128::from(*v) - sum).pow(2)).sum();
            let degrees = if sample { n - 1 } else { n };
            let d = BigUint::from((n * n * degrees) as u128) * ten_to(2 * u32::from(decimals));
            match both(&values, decimals, deviation) {
                None => prop_assert!(degrees == 0),
                Some((variance, stddev)) if squares.sign() == Sign::NoSign => prop_assert_eq!((variance, stddev), (0.0, 0.0)),
                Some((variance, stddev)) => {
                    prop_assert!(is_nearest(variance, squares.magnitude(), &d, false));
                    prop_assert!(is_nearest(stddev, squares.magnitude(), &d, true));
                }
            }
        }
    }
}
