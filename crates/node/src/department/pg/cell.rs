//! Values that `arrow-pg` does not write as PostgreSQL does: decimals of 38 digits, and times in the session's zone.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::types::ToSqlText;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, to_sql_checked};

type Written = Result<IsNull, Box<dyn Error + Sync + Send>>;

/// Midnight of 2000-01-01 UTC, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH_US: i64 = 946_684_800_000_000;
/// PostgreSQL's digits of a decimal are of this base.
const BASE: u128 = 10_000;
/// Decimal digits in one of them.
const BASE_DIGITS: u32 = 4;

/// A decimal: its value is `unscaled` / 10^`scale`.
#[derive(Debug)]
pub(super) struct Numeric {
    pub unscaled: i128,
    pub scale: u32,
}

impl ToSql for Numeric {
    /// Digits of base 10,000, the greatest first, with the weight of the first one.
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Written {
        let places = self.scale.div_ceil(BASE_DIGITS);
        // digits are counted from the point: the part after it is filled up to whole ones
        let (whole, part) = self.split();
        let mut digits = Vec::new();
        let (mut rest, last) = (part, self.scale % BASE_DIGITS);
        if last > 0 {
            let unit = 10_u128.pow(last);
            digits.push(u16::try_from(rest % unit * (BASE / unit))?);
            rest /= unit;
        }
        for _ in 0..self.scale / BASE_DIGITS {
            digits.push(u16::try_from(rest % BASE)?);
            rest /= BASE;
        }
        let mut rest = whole;
        while rest > 0 {
            digits.push(u16::try_from(rest % BASE)?);
            rest /= BASE;
        }
        let weight = i16::try_from(digits.len())? - i16::try_from(places)? - 1;
        let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
        digits.truncate(digits.len() - zeros);
        let weight = if digits.is_empty() { 0 } else { weight - i16::try_from(zeros)? };
        let trailing = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..trailing);
        out.put_u16(u16::try_from(digits.len())?);
        out.put_i16(weight);
        out.put_u16(if self.unscaled < 0 { 0x4000 } else { 0 });
        out.put_u16(u16::try_from(self.scale)?);
        digits.iter().rev().for_each(|digit| out.put_u16(*digit));
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    to_sql_checked!();
}

impl Numeric {
    /// The parts before and after the point, without the sign.
    fn split(&self) -> (u128, u128) {
        let unit = 10_u128.pow(self.scale);
        (self.unscaled.unsigned_abs() / unit, self.unscaled.unsigned_abs() % unit)
    }
}

impl ToSqlText for Numeric {
    fn to_sql_text(&self, _kind: &Type, out: &mut BytesMut, _options: &FormatOptions) -> Written {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let (whole, part) = self.split();
        let text = match self.scale as usize {
            0 => format!("{sign}{whole}"),
            scale => format!("{sign}{whole}.{part:0scale$}"),
        };
        out.put_slice(text.as_bytes());
        Ok(IsNull::No)
    }
}

/// An instant, told by the clocks of a zone.
#[derive(Debug)]
pub(super) struct Instant {
    /// Microseconds since 1970 UTC.
    pub micros: i64,
    pub zone: Zone,
}

impl ToSql for Instant {
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Written {
        out.put_i64(self.micros.checked_sub(EPOCH_US).ok_or("an instant out of PostgreSQL's range")?);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl ToSqlText for Instant {
    /// As in `2020-03-01 00:00:00-05` or `2020-03-01 00:00:00.25+05:30`.
    fn to_sql_text(&self, _kind: &Type, out: &mut BytesMut, _options: &FormatOptions) -> Written {
        let at = UtcMicros(self.micros);
        if !at.is_in_range() {
            return Err("an instant out of range".into());
        }
        let local = self.zone.to_local(at);
        let mut text = local.format("%Y-%m-%d %H:%M:%S").to_string();
        let micros = self.micros.rem_euclid(1_000_000);
        if micros != 0 {
            text.push_str(format!(".{micros:06}").trim_end_matches('0'));
        }
        let offset = local.and_utc().timestamp() - self.micros.div_euclid(1_000_000);
        let (sign, seconds) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        text.push_str(&format!("{sign}{:02}", seconds / 3_600));
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        if minutes != 0 || rest != 0 {
            text.push_str(&format!(":{minutes:02}"));
        }
        if rest != 0 {
            text.push_str(&format!(":{rest:02}"));
        }
        out.put_slice(text.as_bytes());
        Ok(IsNull::No)
    }
}

/// No value, of whatever type.
#[derive(Debug)]
pub(super) struct Null;

impl ToSql for Null {
    fn to_sql(&self, _kind: &Type, _out: &mut BytesMut) -> Written {
        Ok(IsNull::Yes)
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSqlText for Null {
    fn to_sql_text(&self, _kind: &Type, _out: &mut BytesMut, _options: &FormatOptions) -> Written {
        Ok(IsNull::Yes)
    }
}

/// An infinite number, which PostgreSQL has a word for.
#[derive(Debug)]
pub(super) struct Infinite(pub f64);

impl ToSql for Infinite {
    fn to_sql(&self, _kind: &Type, out: &mut BytesMut) -> Written {
        out.put_f64(self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::FLOAT8
    }

    to_sql_checked!();
}

impl ToSqlText for Infinite {
    fn to_sql_text(&self, _kind: &Type, out: &mut BytesMut, _options: &FormatOptions) -> Written {
        out.put_slice(if self.0 < 0.0 { b"-Infinity" } else { b"Infinity" });
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl ToSqlText, kind: &Type) -> String {
        let mut out = BytesMut::new();
        value.to_sql_text(kind, &mut out, &FormatOptions::default()).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn decimals_are_written_as_postgresql_reads_them() {
        // number of digits, weight, sign, scale, digits: taken from PostgreSQL's numeric_send
        for (unscaled, scale, written, digits) in [
            (0, 0, "0", vec![0, 0, 0, 0]),
            (0, 2, "0.00", vec![0, 0, 0, 2]),
            (1, 0, "1", vec![1, 0, 0, 0, 1]),
            (-1_250, 2, "-12.50", vec![2, 0, 0x4000, 2, 12, 5_000]),
            (100_000_000, 0, "100000000", vec![1, 2, 0, 0, 1]),
            (5, 4, "0.0005", vec![1, -1, 0, 4, 5]),
            (5, 8, "0.00000005", vec![1, -2, 0, 8, 5]),
            (123_456_789, 5, "1234.56789", vec![3, 0, 0, 5, 1_234, 5_678, 9_000]),
        ] {
            let mut out = BytesMut::new();
            Numeric { unscaled, scale }.to_sql(&Type::NUMERIC, &mut out).unwrap();
            let expected: Vec<u8> = digits.iter().flat_map(|digit: &i32| (*digit as i16).to_be_bytes()).collect();
            assert_eq!(out.to_vec(), expected, "{written}");
            assert_eq!(text(Numeric { unscaled, scale }, &Type::NUMERIC), written);
        }
        let nines = 10_i128.pow(38) - 1;
        for scale in 0..=38 {
            let mut out = BytesMut::new();
            Numeric { unscaled: -nines, scale }.to_sql(&Type::NUMERIC, &mut out).unwrap();
            assert_eq!(out.len(), 8 + 2 * usize::from(u16::from_be_bytes([out[0], out[1]])));
        }
        assert_eq!(text(Numeric { unscaled: -nines, scale: 37 }, &Type::NUMERIC), format!("-9.{}", "9".repeat(37)));
    }

    #[test]
    fn instants_are_told_by_the_clocks_of_the_zone() {
        for (at, zone, told) in [
            ("2020-03-01T05:00:00Z", "America/New_York", "2020-03-01 00:00:00-05"),
            ("2020-03-01T05:00:00Z", "Asia/Kolkata", "2020-03-01 10:30:00+05:30"),
            ("2020-03-01T05:00:00.250Z", "UTC", "2020-03-01 05:00:00.25+00"),
        ] {
            let UtcMicros(micros) = at.parse().unwrap();
            assert_eq!(text(Instant { micros, zone: zone.parse().unwrap() }, &Type::TIMESTAMPTZ), told);
        }
        let mut out = BytesMut::new();
        Instant { micros: EPOCH_US + 1, zone: "UTC".parse().unwrap() }.to_sql(&Type::TIMESTAMPTZ, &mut out).unwrap();
        assert_eq!(out.to_vec(), 1_i64.to_be_bytes());
    }
}
