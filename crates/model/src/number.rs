//! Exact numbers. A measure's value is a decimal of at most [`DIGITS_MAX`] digits, held as an integer scaled by a
//! power of ten that its contract fixes; sums are integers too, every addition checked.

use serde::{Deserialize, Serialize};

pub use crate::exact::{Deviation, mean, stddev, variance};

/// Most digits a measure's value has, those after the point included.
pub const DIGITS_MAX: u32 = 12;
/// Most digits after the point.
pub const DECIMALS_MAX: u8 = 9;
/// The largest value of a measure, scaled; the least is its negative.
pub const VALUE_MAX: i64 = 10_i64.pow(DIGITS_MAX) - 1;
/// Most values in one state: the sum of their squares stays below 10^38, which an i128 holds.
pub const COUNT_MAX: u64 = 10_u64.pow(14);

/// An exponent beyond this, either way, says no more than this one.
const EXPONENT_MAX: i64 = 1_000_000_000;

/// Why a number cannot be a measure's value, or values no measure's state. The text never says the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text is no decimal number.
    #[error("not a decimal number")]
    NotANumber,
    /// Infinity, or not a number at all.
    #[error("not a finite number")]
    NotFinite,
    /// More than [`DIGITS_MAX`] digits with the decimals that the contract keeps.
    #[error("more than {DIGITS_MAX} digits, decimals included")]
    TooLarge,
    /// A measure keeps at most [`DECIMALS_MAX`] decimals.
    #[error("more than {DECIMALS_MAX} decimals")]
    TooManyDecimals,
    /// A sum left its bounds.
    #[error("a sum overflowed")]
    Overflow,
}

/// Reads a decimal number, `-12.5` or `1.25e3`, rounding to `decimals` half to even, exactly on the text. White
/// space around it is passed over.
///
/// # Errors
/// [`NumberError`] for any other text, for more digits than a measure has and for more decimals.
pub fn parse_half_even(text: &str, decimals: u8) -> Result<i64, NumberError> {
    if decimals > DECIMALS_MAX {
        return Err(NumberError::TooManyDecimals);
    }
    let text = text.trim_ascii();
    let (negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::NotANumber);
    }
    let leading_zeros = all().take_while(|b| *b == b'0').count();
    let mut significant = all().skip(leading_zeros).map(|b| b - b'0').peekable();
    if significant.peek().is_none() {
        return Ok(0);
    }
    // how many of the significant digits come before the point of the scaled number
    let kept = whole.len() as i64 - leading_zeros as i64 + exponent + i64::from(decimals);
    if kept > i64::from(DIGITS_MAX) {
        return Err(NumberError::TooLarge);
    }
    if kept < 0 {
        return Ok(0);
    }
    let scaled = (0..kept).fold(0, |n, _| n * 10 + i64::from(significant.next().unwrap_or(0)));
    let up = match significant.next() {
        None | Some(0..=4) => false,
        Some(5) => significant.any(|digit| digit != 0) || scaled % 2 == 1,
        Some(_) => true,
    };
    signed(scaled + i64::from(up), negative)
}

fn parse_exponent(text: &str) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::NotANumber);
    }
    let size = digits.bytes().fold(0, |n, b| (n * 10 + i64::from(b - b'0')).min(EXPONENT_MAX));
    Ok(if negative { -size } else { size })
}

fn signed(size: i64, negative: bool) -> Result<i64, NumberError> {
    match size {
        ..=VALUE_MAX if negative => Ok(-size),
        ..=VALUE_MAX => Ok(size),
        _ => Err(NumberError::TooLarge),
    }
}

/// Rounds a binary number to `decimals` half to even, exactly on the binary value: 0.1 is the Float64 next to a
/// tenth, and 2.675 lies below its tie.
///
/// # Errors
/// [`NumberError`] for infinities, for more digits than a measure has and for more decimals.
pub fn round_half_even(value: f64, decimals: u8) -> Result<i64, NumberError> {
    if decimals > DECIMALS_MAX {
        return Err(NumberError::TooManyDecimals);
    }
    if !value.is_finite() {
        return Err(NumberError::NotFinite);
    }
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    // value = mantissa × 2^-shift
    let (mantissa, shift) = match exponent {
        0 => (fraction, 1074),
        _ => (fraction | 1 << 52, 1075 - exponent),
    };
    let scaled = u128::from(mantissa) * 10_u128.pow(decimals.into());
    let size = match shift {
        ..=0 => return Err(NumberError::TooLarge), // 2^52 and beyond
        1..=127 => {
            let floor = scaled >> shift;
            let rest = scaled & ((1 << shift) - 1);
            let half = 1 << (shift - 1);
            floor + u128::from(rest > half || rest == half && floor % 2 == 1)
        }
        _ => 0, // scaled lies below 2^83
    };
    signed(i64::try_from(size).map_err(|_| NumberError::TooLarge)?, value < 0.0)
}

/// Writes a scaled number with its decimals, `-12.50`.
pub fn format_scaled(value: i128, decimals: u8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let decimals = usize::from(decimals);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = decimals + 1);
    match digits.split_at(digits.len() - decimals) {
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

/// What is known of a measure's values in one cell, exactly. Values that are missing are not in it.
///
/// A statistic that a contract does not publish is zero, or absent, in what leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureState {
    /// How many values.
    pub count: u64,
    /// Their sum, scaled.
    pub sum: i128,
    /// The sum of their squares, scaled twice.
    pub sum_squares: i128,
    /// The least, scaled; none where there are no values or it is not published.
    pub min: Option<i64>,
    /// The greatest, scaled; none where there are no values or it is not published.
    pub max: Option<i64>,
}

impl MeasureState {
    /// Adds one value.
    ///
    /// # Errors
    /// [`NumberError::TooLarge`] for a value that no measure has, [`NumberError::Overflow`] beyond
    /// [`COUNT_MAX`] values. The state is then what it was.
    pub fn observe(&mut self, value: i64) -> Result<(), NumberError> {
        if value.unsigned_abs() > VALUE_MAX.unsigned_abs() {
            return Err(NumberError::TooLarge);
        }
        self.merge(&Self {
            count: 1,
            sum: value.into(),
            sum_squares: i128::from(value) * i128::from(value),
            min: Some(value),
            max: Some(value),
        })
    }

    /// Adds the values of another state. An extreme that is unknown of either is unknown of both.
    ///
    /// # Errors
    /// [`NumberError::Overflow`] beyond [`COUNT_MAX`] values. The state is then what it was.
    pub fn merge(&mut self, other: &Self) -> Result<(), NumberError> {
        let count = self.count.checked_add(other.count);
        let count = count.filter(|count| *count <= COUNT_MAX).ok_or(NumberError::Overflow)?;
        let sum = self.sum.checked_add(other.sum).ok_or(NumberError::Overflow)?;
        let sum_squares = self.sum_squares.checked_add(other.sum_squares);
        let sum_squares = sum_squares.ok_or(NumberError::Overflow)?;
        let extreme = |of: fn(&Self) -> Option<i64>, pick: fn(i64, i64) -> i64| match (self.count, other.count) {
            (_, 0) => of(self),
            (0, _) => of(other),
            _ => of(self).zip(of(other)).map(|(a, b)| pick(a, b)),
        };
        let min = extreme(|state| state.min, i64::min);
        let max = extreme(|state| state.max, i64::max);
        *self = Self { count, sum, sum_squares, min, max };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_round_half_to_even() {
        for (text, decimals, scaled) in [
            ("0", 0, 0),
            ("-0.0", 2, 0),
            ("12.345", 2, 1_234),
            ("12.355", 2, 1_236),
            ("12.3450000000000000000000000001", 2, 1_235),
            ("-12.345", 2, -1_234),
            ("2.675", 2, 268), // of the Float64 it would be 267
            ("0.5", 0, 0),
            ("1.5", 0, 2),
            ("0.05", 0, 0),
            ("0.51", 0, 1),
            (".5", 1, 5),
            ("5.", 1, 50),
            ("+7", 0, 7),
            (" 7\t", 0, 7),
            ("1.25e3", 0, 1_250),
            ("125E-1", 0, 12),
            ("1e-99999999999999999999", 9, 0),
            ("0e99999999999999999999", 9, 0),
            ("0.000000000000000000000001e24", 3, 1_000),
            ("000000000000000000000000001", 3, 1_000),
            ("999999999999", 0, VALUE_MAX),
            ("-999.999999999", 9, -VALUE_MAX),
        ] {
            assert_eq!(parse_half_even(text, decimals), Ok(scaled), "{text} {decimals}");
        }
    }

    #[test]
    fn texts_that_are_no_value_are_refused() {
        for bad in
            ["", " ", ".", "-", "e5", "1e", "1e+", "--1", "1,5", "0x10", "inf", "NaN", "1_0", "1 0", "1e1.5", "١"]
        {
            assert_eq!(parse_half_even(bad, 2), Err(NumberError::NotANumber), "{bad}");
        }
        for large in ["1000000000000", "999999999999.5", "1e12", "1e99999999999999999999"] {
            assert_eq!(parse_half_even(large, 0), Err(NumberError::TooLarge), "{large}");
        }
        assert_eq!(parse_half_even("1", 10), Err(NumberError::TooManyDecimals));
    }

    #[test]
    fn binary_numbers_round_half_to_even() {
        for (value, decimals, scaled) in [
            (0.0, 9, 0),
            (-0.0, 0, 0),
            (0.5, 0, 0),
            (1.5, 0, 2),
            (-2.5, 0, -2),
            (2.675, 2, 267),
            (0.125, 2, 12),
            (0.375, 2, 38),
            (f64::MIN_POSITIVE, 9, 0),
            (5e-324, 9, 0),
            (999_999_999_999.0, 0, VALUE_MAX),
            (-1.1, 9, -1_100_000_000),
        ] {
            assert_eq!(round_half_even(value, decimals), Ok(scaled), "{value} {decimals}");
        }
        for large in [1e12, -1e12, 999_999_999_999.5, f64::MAX, 4_503_599_627_370_496.0] {
            assert_eq!(round_half_even(large, 0), Err(NumberError::TooLarge), "{large}");
        }
        for no in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(round_half_even(no, 0), Err(NumberError::NotFinite));
        }
        assert_eq!(round_half_even(1.0, 10), Err(NumberError::TooManyDecimals));
    }

    #[test]
    fn scaled_numbers_are_written_with_their_decimals() {
        assert_eq!(format_scaled(0, 2), "0.00");
        assert_eq!(format_scaled(-5, 2), "-0.05");
        assert_eq!(format_scaled(1_234, 2), "12.34");
        assert_eq!(format_scaled(1_234, 0), "1234");
        assert_eq!(format_scaled(i128::MIN, 0), i128::MIN.to_string());
    }

    #[test]
    fn a_state_refuses_what_would_overflow_and_stays_as_it_was() {
        let mut state = MeasureState { count: COUNT_MAX - 1, ..MeasureState::default() };
        state.observe(VALUE_MAX).unwrap();
        let before = state.clone();
        assert_eq!(state.observe(1), Err(NumberError::Overflow));
        assert_eq!(MeasureState::default().observe(VALUE_MAX + 1), Err(NumberError::TooLarge));
        assert_eq!(MeasureState::default().observe(i64::MIN), Err(NumberError::TooLarge));
        assert_eq!(state, before);
        let mut full = MeasureState { count: 1, sum_squares: i128::MAX, ..MeasureState::default() };
        assert_eq!(full.observe(1), Err(NumberError::Overflow));
    }

    #[test]
    fn an_unpublished_extreme_stays_unknown() {
        let mut known = MeasureState::default();
        known.observe(5).unwrap();
        let unknown = MeasureState { min: None, max: None, ..known.clone() };
        let mut merged = MeasureState::default();
        merged.merge(&known).unwrap();
        assert_eq!(merged.min, Some(5));
        merged.merge(&unknown).unwrap();
        assert_eq!((merged.count, merged.min, merged.max), (2, None, None));
    }

    /// All the digits of `value`, a Float64, after the point: an integer and its power of ten.
    fn all_digits(value: f64) -> (BigInt, u32) {
        let text = format!("{value:.1074}");
        (text.replace('.', "").parse().unwrap(), 1074)
    }

    fn is_nearest_even(scaled: i64, exact: &BigInt, unit: &BigInt) -> bool {
        let twice: BigInt = (BigInt::from(scaled) * unit - exact) * 2;
        let twice = twice.magnitude().clone();
        &twice < unit.magnitude() || &twice == unit.magnitude() && scaled % 2 == 0
    }

    proptest! {
        #[test]
        fn rounding_a_text_is_exact(
            negative: bool, whole in "[0-9]{0,12}", fraction in "[0-9]{1,25}", exponent in -14_i32..14, decimals in 0..=DECIMALS_MAX,
        ) {
            let sign = if negative { "-" } else { "" };
            let digits: BigInt = format!("{sign}{whole}{fraction}").parse().unwrap();
            // value × 10^60 and 10^(60 - decimals)
            let exact = digits * BigInt::from(10).pow((60 - fraction.len() as i32 + exponent) as u32);
            let unit = BigInt::from(10).pow(60 - u32::from(decimals));
            let text = format!("{sign}{whole}.{fraction}e{exponent}");
            match parse_half_even(&text, decimals) {
                Ok(scaled) => prop_assert!(is_nearest_even(scaled, &exact, &unit)),
                Err(NumberError::TooLarge) => prop_assert!(exact.magnitude() * 2_u32 >= unit.magnitude() * (2 * VALUE_MAX as u64 + 1)),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }

        #[test]
        fn rounding_a_float_is_exact(
            value in prop_oneof![any::<f64>(), -1e12..1e12, -1e3..1e3, (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 32.0)],
            decimals in 0..=DECIMALS_MAX,
        ) {
            let (exact, power) = all_digits(value);
            let unit = BigInt::from(10).pow(power - u32::from(decimals));
            match round_half_even(value, decimals) {
                Ok(scaled) => prop_assert!(is_nearest_even(scaled, &exact, &unit)),
                Err(error) => {
                    prop_assert_eq!(error, NumberError::TooLarge);
                    prop_assert!(exact.magnitude() * 2_u32 >= unit.magnitude() * (2 * VALUE_MAX as u64 + 1));
                }
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*", decimals: u8) {
            let _ = parse_half_even(&text, decimals);
        }

        #[test]
        fn what_is_written_reads_as_itself(value in -VALUE_MAX..=VALUE_MAX, decimals in 0..=DECIMALS_MAX) {
            prop_assert_eq!(parse_half_even(&format_scaled(value.into(), decimals), decimals), Ok(value));
        }

        #[test]
        fn states_merge_in_any_split(values in proptest::collection::vec(-VALUE_MAX..=VALUE_MAX, 0..40), split in 0_usize..40) {
            let state = |values: &[i64]| {
                let mut state = MeasureState::default();
                values.iter().for_each(|value| state.observe(*value).unwrap());
                state
            };
            let (left, right) = values.split_at(split.min(values.len()));
            let (mut forth, mut back) = (state(left), state(right));
            back.merge(&forth).unwrap();
            forth.merge(&state(right)).unwrap();
            prop_assert_eq!(&forth, &state(&values));
            prop_assert_eq!(&back, &forth);
            prop_assert_eq!(forth.min, values.iter().copied().min());
            prop_assert_eq!(forth.sum, values.iter().map(|value| i128::from(*value)).sum::<i128>());
        }
    }
}
