//! A column of whole numbers as bytes.
//!
//! ```text
//! column  base (zigzag LEB128 of up to 128 bits: the least number), width:u8 (bytes a number takes above the base),
//!         then `width` planes: the lowest bytes of all numbers, the next ones, …
//! plane   length:u32, packed:u8 (0 as it is, 1 zstd), bytes
//! ```
//! The high planes of numbers that are near each other say little and shrink to little; the low ones, which compression
//! cannot shorten, stand as they are. Most planes repeat nothing longer than chance does, and are shortest where only the
//! frequency of their bytes is used; so both ways are tried.

use std::borrow::Cow;
use std::cell::RefCell;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::CParameter;

use crate::error::LedgerError;
use crate::keys::take;

/// Least share of its bytes that compression must save, as a divisor: reading it back costs time.
const SAVES_MIN: usize = 32;
const LEVEL: i32 = 3;
/// Repetitions that are shorter are no repetitions.
const REPEATS_BYTES_MIN: u32 = 7;
const WIDTH_MAX: u8 = 16;

const DAMAGED: LedgerError = LedgerError::Damaged("a column that cannot be read");

/// Numbers of a column, read back: as narrow as they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// All of them fit 64 bits.
    Narrow(Vec<i64>),
    /// Some of them do not.
    Wide(Vec<i128>),
}

impl Numbers {
    /// One of them.
    #[inline]
    pub fn get(&self, row: usize) -> i128 {
        match self {
            Self::Narrow(numbers) => numbers[row].into(),
            Self::Wide(numbers) => numbers[row],
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(numbers) => numbers.len(),
            Self::Wide(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, where 64 bits suffice.
    pub(crate) fn narrow(self) -> Result<Vec<i64>, LedgerError> {
        match self {
            Self::Narrow(numbers) => Ok(numbers),
            Self::Wide(numbers) => numbers.into_iter().map(|n| i64::try_from(n).map_err(|_| DAMAGED)).collect(),
        }
    }
}

/// Appends a column.
pub(crate) fn write(out: &mut Vec<u8>, numbers: &[i128]) {
    let least = numbers.iter().copied().min().unwrap_or(0);
    let range = numbers.iter().map(|number| number.wrapping_sub(least) as u128).max().unwrap_or(0);
    let width = (u128::BITS - range.leading_zeros()).div_ceil(8);
    leb128(out, (least << 1 ^ least >> 127) as u128);
    out.push(width as u8);
    for plane in 0..width {
        let bytes: Vec<u8> =
            numbers.iter().map(|number| (number.wrapping_sub(least) as u128 >> (8 * plane)) as u8).collect();
        write_plane(out, &bytes);
    }
}

/// What a column begins with.
struct Start {
    base: i128,
    /// Bytes of each number above it.
    width: u8,
    /// The greatest that these bytes can make of it; none beyond 128 bits.
    top: Option<i128>,
}

fn start(bytes: &mut &[u8]) -> Result<Start, LedgerError> {
    let zigzag = read_leb128(bytes)?;
    let base = (zigzag >> 1) as i128 ^ -((zigzag & 1) as i128);
    let [width] = take(bytes)?;
    if width > WIDTH_MAX {
        return Err(DAMAGED);
    }
    let most = if width == WIDTH_MAX { u128::MAX } else { (1_u128 << (8 * width)) - 1 };
    Ok(Start { base, width, top: i128::try_from(most).ok().and_then(|most| base.checked_add(most)) })
}

/// Takes the planes of `rows` numbers off; `with` adds a byte of a plane, shifted, to what the lower ones made of `base`.
fn planes<T: Copy>(
    bytes: &mut &[u8],
    (width, rows): (u8, usize),
    base: T,
    with: impl Fn(T, u8, u32) -> T,
) -> Result<Vec<T>, LedgerError> {
    if width == 0 {
        return Ok(vec![base; rows]);
    }
    let mut numbers: Vec<T> = read_plane(bytes, rows)?.iter().map(|byte| with(base, *byte, 0)).collect();
    for plane in 1..width {
        let shift = 8 * u32::from(plane);
        let plane = read_plane(bytes, rows)?;
        numbers.iter_mut().zip(&*plane).for_each(|(number, byte)| *number = with(*number, *byte, shift));
    }
    Ok(numbers)
}

/// Takes a column of `rows` numbers off.
pub(crate) fn read(bytes: &mut &[u8], rows: usize) -> Result<Numbers, LedgerError> {
    let Start { base, width, top } = start(bytes)?;
    Ok(match (i64::try_from(base), top.and_then(|top| i64::try_from(top).ok())) {
        (Ok(base), Some(_)) => {
            let with = |number, byte, shift| number + (i64::from(byte) << shift);
            Numbers::Narrow(planes(bytes, (width, rows), base, with)?)
        }
        _ => {
            let with = |number: i128, byte, shift| number.wrapping_add((u128::from(byte) << shift) as i128);
            Numbers::Wide(planes(bytes, (width, rows), base, with)?)
        }
    })
}

/// Takes a column of `rows` numbers off, each of which is one of the first `count`.
pub(crate) fn read_places(bytes: &mut &[u8], rows: usize, count: usize) -> Result<Vec<u32>, LedgerError> {
    let Start { base, width, top } = start(bytes)?;
    let fits = top.is_some_and(|top| u32::try_from(top).is_ok());
    let base = u32::try_from(base).ok().filter(|_| fits).ok_or(DAMAGED)?;
    let places = planes(bytes, (width, rows), base, |number, byte, shift| number + (u32::from(byte) << shift))?;
    match places.iter().max() {
        Some(last) if *last as usize >= count => Err(DAMAGED),
        _ => Ok(places),
    }
}

/// The number that every row of a column has, if it has no other.
pub(crate) fn constant(mut bytes: &[u8]) -> Result<Option<i128>, LedgerError> {
    let Start { base, width, .. } = start(&mut bytes)?;
    Ok((width == 0).then_some(base))
}

/// Appends bytes, compressed if that saves enough.
pub(crate) fn write_plane(out: &mut Vec<u8>, bytes: &[u8]) {
    let packed = [pack(bytes, LEVEL, &[]), pack(bytes, 1, &[CParameter::MinMatch(REPEATS_BYTES_MIN)])];
    let packed = packed.into_iter().min_by_key(Vec::len).expect("there are two");
    let (packs, bytes) =
        if packed.len() + bytes.len() / SAVES_MIN < bytes.len() { (1, &packed[..]) } else { (0, bytes) };
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("a plane of a bounded segment").to_be_bytes());
    out.push(packs);
    out.extend_from_slice(bytes);
}

fn pack(bytes: &[u8], level: i32, parameters: &[CParameter]) -> Vec<u8> {
    let pack = || {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        parameters.iter().try_for_each(|parameter| compressor.set_parameter(*parameter))?;
        compressor.compress(bytes)
    };
    pack().expect("zstd takes bytes in memory")
}

/// Takes the bytes of a plane off, of which there are `length`.
pub(crate) fn read_plane<'a>(bytes: &mut &'a [u8], length: usize) -> Result<Cow<'a, [u8]>, LedgerError> {
    let stored = u32::from_be_bytes(take(bytes)?) as usize;
    let [packs] = take(bytes)?;
    let (plane, rest) = bytes.split_at_checked(stored).ok_or(DAMAGED)?;
    *bytes = rest;
    let plane: Cow<'a, [u8]> = match packs {
        0 => plane.into(),
        1 => unpack(plane, length)?.into(),
        _ => return Err(DAMAGED),
    };
    if plane.len() == length { Ok(plane) } else { Err(DAMAGED) }
}

fn unpack(plane: &[u8], length: usize) -> Result<Vec<u8>, LedgerError> {
    thread_local! {
        // to make one takes longer than to read a plane
        static UNPACKING: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    UNPACKING.with_borrow_mut(|unpacking| {
        let unpacking = match unpacking {
            Some(unpacking) => unpacking,
            none => none.insert(Decompressor::new().expect("memory")),
        };
        unpacking.decompress(plane, length).map_err(|_| DAMAGED)
    })
}

pub(crate) fn leb128(out: &mut Vec<u8>, mut number: u128) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn read_leb128(bytes: &mut &[u8]) -> Result<u128, LedgerError> {
    let mut number = 0_u128;
    for shift in (0..128).step_by(7) {
        let [byte] = take(bytes)?;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DAMAGED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(numbers: &[i128]) -> Numbers {
        let mut bytes = Vec::new();
        write(&mut bytes, numbers);
        let mut rest = &bytes[..];
        let read = read(&mut rest, numbers.len()).unwrap();
        assert!(rest.is_empty());
        read
    }

    #[test]
    fn what_says_nothing_takes_nothing() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[7; 10_000]);
        assert_eq!(bytes, [14, 0]);
        assert_eq!(round(&[]), Numbers::Narrow(Vec::new()));
        assert_eq!(round(&[i64::MIN.into(), i64::MIN.into()]), Numbers::Narrow(vec![i64::MIN; 2]));
    }

    #[test]
    fn damage_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &(0..1000).collect::<Vec<_>>());
        for length in 0..bytes.len() {
            assert!(read(&mut &bytes[..length], 1000).is_err());
        }
        assert!(read(&mut &bytes[..], 999).is_err() && read(&mut &bytes[..], 1001).is_err());
        assert!(read(&mut &[0, 17][..], 1).is_err());
        // a number that is no place, and a base that is none
        assert!(read_places(&mut &bytes[..], 1000, 999).is_err());
        for base in [-1, 1 << 32] {
            let mut bytes = Vec::new();
            write(&mut bytes, &[base; 3]);
            assert!(read_places(&mut &bytes[..], 3, usize::MAX).is_err());
        }
    }

    #[test]
    fn places_and_constants_are_known_again() {
        for places in [vec![], vec![3; 5], (0..70_000_u32).rev().collect()] {
            let mut bytes = Vec::new();
            write(&mut bytes, &places.iter().map(|place| i128::from(*place)).collect::<Vec<_>>());
            assert_eq!(read_places(&mut &bytes[..], places.len(), 70_000).unwrap(), places);
            let known = places.first().filter(|_| places.len() == 5).map(|place| i128::from(*place));
            assert_eq!(constant(&bytes).unwrap(), known.or(places.is_empty().then_some(0)));
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in proptest::collection::vec(
                prop_oneof![any::<i128>(), -300_i128..300, any::<i64>().prop_map(i128::from)], 0..200,
            ),
        ) {
            let back = round(&numbers);
            prop_assert_eq!(back.len(), numbers.len());
            prop_assert!((0..numbers.len()).all(|row| back.get(row) == numbers[row]));
        }
    }
}
