//! The bytes of numbers and texts in whatever is hashed or signed. One value has one encoding and the reader takes
//! no other: integers are LEB128 of the fewest bytes (signed ones zigzag first), texts are UTF-8 after their length.

/// The longest encoding of an u64.
const LONG_BYTES_MAX: usize = 10;
/// The longest encoding of an u128.
const WIDE_BYTES_MAX: usize = 19;

/// Bytes that are not the encoding of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("the bytes end too early")]
    Truncated,
    /// They go on after the end.
    #[error("the bytes go on after the end")]
    Trailing,
    /// An integer has more bytes than it needs or more bits than it may have.
    #[error("an integer is not in its shortest form, or too large")]
    Integer,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A length goes beyond its bound.
    #[error("more than {0} in a list or text")]
    TooMany(usize),
}

/// Appends encodings.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Bytes as they are, without their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn unsigned(&mut self, number: u64) {
        self.leb128(number.into());
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.unsigned((number << 1 ^ number >> 63) as u64);
    }

    pub(crate) fn wide(&mut self, number: i128) {
        self.leb128((number << 1 ^ number >> 127) as u128);
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.unsigned(length as u64);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn leb128(&mut self, mut number: u128) {
        while number > 0x7f {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }
}

/// Reads encodings, and nothing that a [`Writer`] would not have written.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), CodecError> {
        self.0.is_empty().then_some(()).ok_or(CodecError::Trailing)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, CodecError> {
        let number = self.leb128(LONG_BYTES_MAX)?;
        u64::try_from(number).map_err(|_| CodecError::Integer)
    }

    pub(crate) fn small(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.unsigned()?).map_err(|_| CodecError::Integer)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, CodecError> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(crate) fn wide(&mut self) -> Result<i128, CodecError> {
        let number = self.leb128(WIDE_BYTES_MAX)?;
        Ok((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    /// How many follow, at most `max`; each takes a byte at least, so that no more is ever allocated than was sent.
    pub(crate) fn length(&mut self, max: usize) -> Result<usize, CodecError> {
        let length = self.unsigned()?;
        match usize::try_from(length) {
            Ok(length) if length <= max && length <= self.0.len() => Ok(length),
            Ok(length) if length <= max => Err(CodecError::Truncated),
            _ => Err(CodecError::TooMany(max)),
        }
    }

    /// So many bytes as they are.
    pub(crate) fn slice(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CodecError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<&'a str, CodecError> {
        let length = self.length(bytes_max)?;
        std::str::from_utf8(self.slice(length)?).map_err(|_| CodecError::Text)
    }

    fn leb128(&mut self, bytes_max: usize) -> Result<u128, CodecError> {
        let mut number = 0;
        for position in 0..bytes_max {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let shift = 7 * position;
            if bits << shift >> shift != bits {
                return Err(CodecError::Integer);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || position == 0;
                return shortest.then_some(number).ok_or(CodecError::Integer);
            }
        }
        Err(CodecError::Integer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(written(|w| w.unsigned(0)), [0]);
        assert_eq!(written(|w| w.unsigned(300)), [0xac, 2]);
        assert_eq!(written(|w| w.signed(-1)), [1]);
        assert_eq!(written(|w| w.signed(64)), [0x80, 1]);
        assert_eq!(written(|w| w.unsigned(u64::MAX)).len(), LONG_BYTES_MAX);
        assert_eq!(written(|w| w.wide(i128::MIN)).len(), WIDE_BYTES_MAX);
        assert_eq!(written(|w| w.text("é")), [2, 0xc3, 0xa9]);
    }

    #[test]
    fn other_encodings_of_the_same_are_refused() {
        for bytes in
            [&[0x80, 0][..], &[0xff, 0x80, 0], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Reader::new(bytes).unsigned(), Err(CodecError::Integer), "{bytes:?}");
        }
        let mut beyond = [0xff; 19];
        beyond[18] = 4;
        assert_eq!(Reader::new(&beyond).wide(), Err(CodecError::Integer));
        assert_eq!(Reader::new(&[0x80]).unsigned(), Err(CodecError::Truncated));
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).small(), Err(CodecError::Integer));
        assert_eq!(Reader::new(&[1, 0xff]).text(9), Err(CodecError::Text));
        assert_eq!(Reader::new(&[2, b'a']).text(9), Err(CodecError::Truncated));
        assert_eq!(Reader::new(&[2, b'a', b'b']).text(1), Err(CodecError::TooMany(1)));
        assert_eq!(Reader::new(&[2]).finish(), Err(CodecError::Trailing));
    }

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(long: u64, signed: i64, wide: i128, text in "\\PC{0,40}") {
            let bytes = written(|w| {
                w.unsigned(long);
                w.signed(signed);
                w.wide(wide);
                w.text(&text);
            });
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.unsigned(), Ok(long));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.wide(), Ok(wide));
            prop_assert_eq!(reader.text(1_000), Ok(&text[..]));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn what_reads_was_written_so(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.wide() {
                let used = bytes.len() - reader.0.len();
                prop_assert_eq!(written(|w| w.wide(number)), &bytes[..used]);
            }
        }
    }
}
