//! Figures and texts as a page shows them.

use super::figures::Unit;

/// Text that is safe between tags and in attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A whole number with its thousands apart: `10,000,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes with three digits that count: `1.25 MB`.
pub fn bytes(number: f64) -> String {
    let mut value = number;
    for unit in ["B", "kB", "MB", "GB"] {
        if value.abs() < 999.5 {
            return format!("{} {unit}", plain(value));
        }
        value /= 1_000.0;
    }
    format!("{} TB", plain(value))
}

/// A number with about three digits that count.
pub fn plain(number: f64) -> String {
    let size = number.abs();
    match size {
        _ if !number.is_finite() => "none".to_owned(),
        _ if size >= 1e6 => bare(number),
        _ if size >= 999.5 || (number == number.trunc() && size >= 1e3) => {
            format!("{}{}", if number < 0.0 { "-" } else { "" }, count(size.round() as u64))
        }
        _ if number == number.trunc() => format!("{number}"),
        _ if size >= 100.0 => format!("{number:.0}"),
        _ if size >= 10.0 => format!("{number:.1}"),
        _ if size >= 1.0 => format!("{number:.2}"),
        _ if size >= 0.001 => format!("{number:.3}"),
        _ => format!("{number:.1e}"),
    }
}

fn bare(number: f64) -> String {
    let (scaled, word) = if number.abs() >= 1e9 { (number / 1e9, "bn") } else { (number / 1e6, "M") };
    format!("{} {word}", plain(scaled))
}

/// A share of one as per cent.
pub fn share(part: f64) -> String {
    match part {
        _ if !part.is_finite() => "none".to_owned(),
        _ if part == 0.0 || part == 1.0 => format!("{:.0} %", part * 100.0),
        _ if part > 0.999 => format!("{:.2} %", (part * 10_000.0).floor() / 100.0),
        _ if part < 0.001 => format!("{:.1e} %", part * 100.0),
        _ => format!("{} %", format!("{:.1}", part * 100.0).trim_end_matches(".0")),
    }
}

/// A span of seconds: `850 ms`, `12.5 s`, `3 min 20 s`, `3.2 h`.
pub fn seconds(span: f64) -> String {
    match span.abs() {
        size if size < 1e-3 && size > 0.0 => format!("{} \u{b5}s", plain((span * 1e7).round() / 10.0)),
        size if size < 1.0 => format!("{} ms", plain((span * 1_000.0 * 100.0).round() / 100.0)),
        size if size < 120.0 => format!("{} s", plain(span)),
        size if size < 7_200.0 => {
            let (minutes, rest) = ((size / 60.0).floor(), (size % 60.0).floor());
            let rest = if rest > 0.0 { format!(" {rest} s") } else { String::new() };
            format!("{}{minutes} min{rest}", if span < 0.0 { "-" } else { "" })
        }
        size if size < 172_800.0 => format!("{} h", plain(span / 3_600.0)),
        _ => format!("{} days", plain(span / 86_400.0)),
    }
}

/// A number of an axis.
pub fn on_axis(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Plain => plain(number),
        Unit::Bytes => bytes(number),
        Unit::Share => format!("{} %", plain((number * 10_000.0).round() / 100.0)),
        Unit::Hours if number > 0.0 && number % 24.0 == 0.0 => format!("day {}", plain(number / 24.0)),
        Unit::Hours => format!("{} h", plain(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!(count(10_000_000), "10,000,000");
        assert_eq!(count(999), "999");
        assert_eq!(bytes(1_254_000.0), "1.25 MB");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(share(0.9999), "99.99 %");
        assert_eq!((share(1.0), share(0.3), share(0.053)), ("100 %".to_owned(), "30 %".to_owned(), "5.3 %".to_owned()));
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!((seconds(7_200.0), seconds(179.4)), ("2 h".to_owned(), "2 min 59 s".to_owned()));
        assert_eq!((seconds(0.000_25), seconds(0.0)), ("250 \u{b5}s".to_owned(), "0 ms".to_owned()));
        assert_eq!((on_axis(36.0, Unit::Hours), on_axis(48.0, Unit::Hours)), ("36 h".to_owned(), "day 2".to_owned()));
        assert_eq!(plain(f64::NAN), "none");
        assert_eq!((plain(-40_000.0), plain(1_999.0)), ("-40,000".to_owned(), "1,999".to_owned()));
        assert_eq!((plain(1_234.56), plain(999.0), plain(0.0)), ("1,235".to_owned(), "999".to_owned(), "0".to_owned()));
        assert_eq!(escaped("<a b='c'>&"), "&lt;a b=&#39;c&#39;&gt;&amp;");
    }
}
