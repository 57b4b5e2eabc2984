//! Mean, variance and standard deviation of exact sums: each the Float64 nearest to the exact value, ties to even,
//! so that the same cells give the same bits in whatever order and at whatever node they are added up.

use num_bigint::{BigInt, BigUint, Sign};

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
