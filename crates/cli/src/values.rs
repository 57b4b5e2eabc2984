//! Values on the command line that are neither text nor plain numbers.

/// An age such as `90s`, `15m`, `6h`, `2d`, in microseconds.
pub fn age(text: &str) -> Result<i64, String> {
    let mend = || format!("`{text}` is no age; write a whole number and s, m, h or d, e.g. 15m");
    let at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(mend)?;
    let (number, unit) = text.split_at(at);
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(mend()),
    };
    let number: i64 = number.parse().map_err(|_| mend())?;
    number.checked_mul(seconds * 1_000_000).ok_or_else(mend)
}

/// A share such as `0.95` or `95%`, from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let mend = || format!("`{text}` is no share; write a number from 0 to 1, or a percentage, e.g. 0.95 or 95%");
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().map_err(|_| mend())? / whole;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(mend()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_shares_are_read_or_refused_with_the_mend() {
        assert_eq!(age("90s"), Ok(90_000_000));
        assert_eq!(age("2d"), Ok(172_800_000_000));
        for wrong in ["", "15", "m", "-1h", "1w", "99999999999999999d"] {
            assert!(age(wrong).is_err_and(|mend| mend.contains("15m")), "{wrong}");
        }
        assert_eq!(share("0.95"), Ok(0.95));
        assert_eq!(share("95%"), Ok(0.95));
        for wrong in ["", "95", "-1%", "NaN", "inf", "101%"] {
            assert!(share(wrong).is_err_and(|mend| mend.contains("95%")), "{wrong}");
        }
    }
}
