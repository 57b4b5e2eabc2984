//! A look over the Thrift structures of a Parquet file before the `parquet` crate decodes them.
//!
//! The crate reserves memory for as many items as a list or a schema element claims to have, nests as deep as a schema
//! does, and reads a field by its number whatever type it declares. Here each structure is walked once: every length
//! is held against the bytes that are left, and every field that the crate reads against the type in `parquet.thrift`,
//! so that what was walked is what the crate will read. Nothing is allocated but one number for each schema element.

/// Most columns (and groups of columns) in one file.
pub(super) const COLUMNS_MAX: usize = 10_000;
/// Most items in one list of a footer.
const ITEMS_MAX: u64 = 1 << 20;
/// Deepest nesting of structures and lists; what the format itself needs is 8.
const DEPTH_MAX: u8 = 16;
/// Deepest nesting of groups of columns.
const GROUPS_DEPTH_MAX: usize = 16;
/// Bytes of the longest number: 64 bits, seven in a byte.
const NUMBER_BYTES_MAX: u32 = 10;

/// Why a structure is not handed to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It goes on past the bytes that there are.
    Short,
    /// It is not what the format says.
    Malformed,
    /// More columns than [`COLUMNS_MAX`].
    Columns,
}

/// What is wanted of a page's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Bytes of the header itself.
    pub header_bytes: usize,
    /// Bytes of the page as it lies in the file.
    pub packed_bytes: i64,
    /// Bytes of the page unpacked.
    pub unpacked_bytes: i64,
    /// Encoding of its values, by the format's number.
    pub encoding: i64,
    /// Values in it, where it is a dictionary.
    pub dictionary_values: Option<i64>,
}

/// Walks a file's footer.
pub(super) fn check_footer(bytes: &[u8]) -> Result<(), Fault> {
    let mut children: Vec<i64> = Vec::new();
    let mut columns_fit = true;
    let mut walk = Walk { bytes, at: 0 };
    walk.record(FILE, DEPTH_MAX, &mut |mark, number| match mark {
        Mark::Element if children.len() < COLUMNS_MAX => children.push(0),
        Mark::Element => columns_fit = false,
        Mark::Children => {
            if let Some(last) = children.last_mut() {
                *last = number;
            }
        }
        _ => {}
    })?;
    if !columns_fit {
        return Err(Fault::Columns);
    }
    check_tree(&children)
}

/// Walks a page's header and says what is in it.
pub(super) fn read_page(bytes: &[u8]) -> Result<Page, Fault> {
    let mut page = Page::default();
    let mut walk = Walk { bytes, at: 0 };
    walk.record(PAGE, DEPTH_MAX, &mut |mark, number| match mark {
        Mark::Unpacked => page.unpacked_bytes = number,
        Mark::Packed => page.packed_bytes = number,
        Mark::Encoding => page.encoding = number,
        Mark::DictionaryValues => page.dictionary_values = Some(number),
        Mark::Element | Mark::Children => {}
    })?;
    Ok(Page { header_bytes: walk.at, ..page })
}

/// Whether a schema's elements, each followed by as many children as it says, make one tree of bounded depth.
fn check_tree(children: &[i64]) -> Result<(), Fault> {
    // for each group that is open, the children that are still to come
    let mut open: Vec<usize> = Vec::new();
    for (index, &count) in children.iter().enumerate() {
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if index == 0 => {}
            None => return Err(Fault::Malformed),
        }
        let count = usize::try_from(count).map_err(|_| Fault::Malformed)?;
        if count >= children.len() - index {
            return Err(Fault::Malformed);
        }
        open.push(count);
        if open.len() > GROUPS_DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    if open.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
}

/// A number that the caller wants to know, or the start of a structure.
#[derive(Clone, Copy)]
enum Mark {
    Element,
    Children,
    Unpacked,
    Packed,
    Encoding,
    DictionaryValues,
}

/// What the format says a field is.
enum Kind {
    Byte,
    Number,
    /// A number that is told.
    Told(Mark),
    Boolean,
    Double,
    Binary,
    List(&'static Kind),
    Record(Fields),
    /// A structure whose start is told.
    ToldRecord(Mark, Fields),
}

/// Fields of a structure by their numbers; others are skipped.
type Fields = &'static [(i16, Kind)];

use Kind::{Binary, Boolean, Byte, Double, List, Number, Record, Told, ToldRecord};

// The structures of parquet.thrift that are decoded.
const FILE: Fields = &[
    (1, Number),
    (2, List(&ToldRecord(Mark::Element, SCHEMA_ELEMENT))),
    (3, Number),
    (4, List(&Record(ROW_GROUP))),
    (5, List(&Record(KEY_VALUE))),
    (6, Binary),
    (7, List(&Record(COLUMN_ORDER))),
];
const SCHEMA_ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Binary),
    (5, Told(Mark::Children)),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Record(LOGICAL_TYPE)),
];
const EMPTY: Fields = &[];
const TIME: Fields = &[(1, Boolean), (2, Record(&[(1, Record(EMPTY)), (2, Record(EMPTY)), (3, Record(EMPTY))]))];
const LOGICAL_TYPE: Fields = &[
    (1, Record(EMPTY)),
    (2, Record(EMPTY)),
    (3, Record(EMPTY)),
    (4, Record(EMPTY)),
    (5, Record(&[(1, Number), (2, Number)])),
    (6, Record(EMPTY)),
    (7, Record(TIME)),
    (8, Record(TIME)),
    (10, Record(&[(1, Byte), (2, Boolean)])),
    (11, Record(EMPTY)),
    (12, Record(EMPTY)),
    (13, Record(EMPTY)),
    (14, Record(EMPTY)),
    (15, Record(EMPTY)),
    (16, Record(&[(1, Byte)])),
    (17, Record(&[(1, Binary)])),
    (18, Record(&[(1, Binary), (2, Number)])),
];
const KEY_VALUE: Fields = &[(1, Binary), (2, Binary)];
const COLUMN_ORDER: Fields = &[(1, Record(EMPTY)), (2, Record(EMPTY))];
const ROW_GROUP: Fields = &[
    (1, List(&Record(COLUMN_CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Record(&[(1, Number), (2, Boolean), (3, Boolean)]))),
    (5, Number),
    (6, Number),
    (7, Number),
];
const COLUMN_CHUNK: Fields =
    &[(1, Binary), (2, Number), (3, Record(COLUMN)), (4, Number), (5, Number), (6, Number), (7, Number)];
const COLUMN: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Binary)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&Record(KEY_VALUE))),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Record(STATISTICS)),
    (13, List(&Record(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (16, Record(&[(1, Number), (2, List(&Number)), (3, List(&Number))])),
    (17, Record(&[(1, Record(BOX)), (2, List(&Number))])),
];
const STATISTICS: Fields =
    &[(1, Binary), (2, Binary), (3, Number), (4, Number), (5, Binary), (6, Binary), (7, Boolean), (8, Boolean)];
const BOX: Fields =
    &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];
const PAGE: Fields = &[
    (1, Number),
    (2, Told(Mark::Unpacked)),
    (3, Told(Mark::Packed)),
    (4, Number),
    (5, Record(&[(1, Number), (2, Told(Mark::Encoding)), (3, Number), (4, Number)])),
    (6, Record(EMPTY)),
    (7, Record(&[(1, Told(Mark::DictionaryValues)), (2, Number), (3, Boolean)])),
    (
        8,
        Record(&[
            (1, Number),
            (2, Number),
            (3, Number),
            (4, Told(Mark::Encoding)),
            (5, Number),
            (6, Number),
            (7, Boolean),
        ]),
    ),
];

/// Types as the compact protocol numbers them.
mod wire {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
    pub const UUID: u8 = 13;
}

type Tell<'t> = dyn FnMut(Mark, i64) + 't;

/// A place in the bytes of a structure in Thrift's compact protocol.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Fault> {
        if bytes > self.left() {
            return Err(Fault::Short);
        }
        self.at += bytes as usize;
        Ok(())
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn unsigned(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for place in 0..NUMBER_BYTES_MAX {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Fault::Malformed)
    }

    fn signed(&mut self) -> Result<i64, Fault> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Type and number of the next field after that of number `last`; None at the end. Numbers must rise, as all
    /// writers have them do, so that no field comes twice.
    fn field(&mut self, last: i16) -> Result<Option<(u8, i16)>, Fault> {
        let head = self.byte()?;
        let (step, of_type) = (head >> 4, head & 0x0f);
        if of_type == 0 {
            return Ok(None);
        }
        let number = match step {
            0 => i16::try_from(self.signed()?).map_err(|_| Fault::Malformed)?,
            step => last.checked_add(i16::from(step)).ok_or(Fault::Malformed)?,
        };
        if number > last { Ok(Some((of_type, number))) } else { Err(Fault::Malformed) }
    }

    /// Type and count of a list's items; each takes a byte at least.
    fn items(&mut self) -> Result<(u8, u64), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.unsigned()?,
            few => u64::from(few),
        };
        if count > self.left() {
            return Err(Fault::Short);
        }
        if count > ITEMS_MAX {
            return Err(Fault::Malformed);
        }
        Ok((head & 0x0f, count))
    }

    fn record(&mut self, fields: Fields, depth: u8, tell: &mut Tell<'_>) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Malformed)?;
        let mut last = 0;
        while let Some((of_type, number)) = self.field(last)? {
            last = number;
            match fields.iter().find(|(known, _)| *known == number) {
                Some((_, kind)) => self.known(of_type, kind, depth, tell)?,
                None => self.skip(of_type, depth)?,
            }
        }
        Ok(())
    }

    fn known(&mut self, of_type: u8, kind: &Kind, depth: u8, tell: &mut Tell<'_>) -> Result<(), Fault> {
        match (kind, of_type) {
            (Byte, wire::BYTE) => self.pass(1),
            (Number, wire::I16..=wire::I64) => self.signed().map(drop),
            (Told(mark), wire::I16..=wire::I64) => {
                let number = self.signed()?;
                tell(*mark, number);
                Ok(())
            }
            // a field's value stands in its type
            (Boolean, wire::TRUE | wire::FALSE) => Ok(()),
            (Double, wire::DOUBLE) => self.pass(8),
            (Binary, wire::BINARY) => {
                let bytes = self.unsigned()?;
                self.pass(bytes)
            }
            (List(kind), wire::LIST) => {
                let depth = depth.checked_sub(1).ok_or(Fault::Malformed)?;
                let (of_type, count) = self.items()?;
                (0..count).try_for_each(|_| self.known(of_type, kind, depth, tell))
            }
            (Record(fields), wire::STRUCT) => self.record(fields, depth, tell),
            (ToldRecord(mark, fields), wire::STRUCT) => {
                tell(*mark, 0);
                self.record(fields, depth, tell)
            }
            _ => Err(Fault::Malformed),
        }
    }

    /// Passes over what the decoder passes over too. Booleans in a list, which it counts as no bytes, are refused.
    fn skip(&mut self, of_type: u8, depth: u8) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Malformed)?;
        match of_type {
            wire::TRUE | wire::FALSE => Ok(()),
            wire::BYTE => self.pass(1),
            wire::I16..=wire::I64 => self.signed().map(drop),
            wire::DOUBLE => self.pass(8),
            wire::BINARY => {
                let bytes = self.unsigned()?;
                self.pass(bytes)
            }
            wire::LIST | wire::SET => {
                let (of_type, count) = self.items()?;
                if count > 0 && matches!(of_type, wire::TRUE | wire::FALSE) {
                    return Err(Fault::Malformed);
                }
                (0..count).try_for_each(|_| self.skip(of_type, depth))
            }
            wire::STRUCT => {
                while let Some((of_type, _)) = self.field(i16::MIN)? {
                    self.skip(of_type, depth)?;
                }
                Ok(())
            }
            wire::UUID => self.pass(16),
            // no Parquet structure has a map
            wire::MAP | 0 | 14.. => Err(Fault::Malformed),
        }
    }
}
