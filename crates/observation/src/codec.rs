//! A block of observations as bytes: an Arrow IPC stream of one batch, compressed whole.
//!
//! ```text
//! length  4 bytes, little endian   bytes of the stream before compression
//! stream  the rest                 zstd over the Arrow IPC stream
//! ```
//! Compressed whole and not buffer by buffer, because most of a small block is its schema.

use crate::layout::Layout;
use crate::{ObservationError, Observations};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;

/// The most bytes that a block may take before compression.
pub const BLOCK_BYTES_MAX: usize = 256 << 20;
const LENGTH_BYTES: usize = 4;
const ZSTD_LEVEL: i32 = 3;

impl Observations {
    /// These observations as one compressed block.
    pub fn encode(&self) -> Result<Vec<u8>, ObservationError> {
        let stream = write_stream(self.batch()).ok_or(ObservationError::Block("its columns cannot be written"))?;
        let length = u32::try_from(stream.len()).ok().filter(|_| stream.len() <= BLOCK_BYTES_MAX);
        let length = length.ok_or(ObservationError::TooLarge { bytes: stream.len() })?;
        let packed = zstd::bulk::compress(&stream, ZSTD_LEVEL);
        let packed = packed.map_err(|_| ObservationError::Block("it cannot be compressed"))?;
        Ok([&length.to_le_bytes(), packed.as_slice()].concat())
    }

    /// The observations that [`Observations::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ObservationError> {
        let (length, packed) =
            bytes.split_first_chunk::<LENGTH_BYTES>().ok_or(ObservationError::Block("it ends too early"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(ObservationError::TooLarge { bytes: length });
        }
        let stream = zstd::bulk::decompress(packed, length);
        let stream = stream.map_err(|_| ObservationError::Block("it cannot be decompressed"))?;
        let batch = read_stream(stream).ok_or(ObservationError::Block("it is not one batch of columns"))?;
        let layout = Layout::from_schema(batch.schema_ref())?;
        Self::new(batch, &layout)
    }
}

fn write_stream(batch: &RecordBatch) -> Option<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).ok()?;
    writer.write(batch).ok()?;
    writer.into_inner().ok()
}

fn read_stream(stream: Vec<u8>) -> Option<RecordBatch> {
    let mut rest = Buffer::from_vec(stream);
    let mut decoder = StreamDecoder::new();
    let batch = decoder.decode(&mut rest).ok()??;
    let end = decoder.decode(&mut rest).ok()?;
    decoder.finish().ok()?;
    (end.is_none() && rest.is_empty()).then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observations::tests::{batch, layout};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_block_reads_back_as_written(rows in prop::collection::vec((any::<i64>(), 0..6u8, prop::option::of(-999_999_999_999..=999_999_999_999_i64), any::<u128>()), 0..200)) {
            let layout = layout();
            let observations = Observations::new(batch(&rows), &layout).expect("the columns fit");
            let bytes = observations.encode().expect("it encodes");
            let back = Observations::decode(&bytes).expect("it decodes");
            prop_assert_eq!(observations.batch(), back.batch());
            prop_assert_eq!(back.decimals("speed"), Some(2));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Observations::decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_block_is_refused(share in 0.0..1.0f64) {
            let bytes = Observations::new(batch(&[(1, 1, None, 7)]), &layout()).unwrap().encode().unwrap();
            let cut = (bytes.len() as f64 * share) as usize;
            prop_assert!(Observations::decode(&bytes[..cut]).is_err());
        }
    }
}
