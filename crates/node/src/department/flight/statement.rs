//! Prepared statements. The node keeps none: the handle that a client shows holds the text and what was bound to it.

use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::Question;
use datafusion::common::ScalarValue;
use futures::{Stream, TryStreamExt};
use prost::Message;
use tonic::Status;

use crate::department::failure::Failure;

/// Longest that what is bound to one statement may be, in bytes.
const BOUND_BYTES_MAX: usize = 1 << 20;

/// What each message of an Arrow IPC stream begins with ("Encapsulated message format").
const CONTINUES: [u8; 4] = [0xff; 4];

/// A prepared statement, as its handle holds it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Statement {
    /// The text.
    #[prost(string, tag = "1")]
    pub(super) sql: String,
    /// What was bound: an Arrow IPC stream of one row; empty while nothing is.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) bound: Vec<u8>,
}

impl Statement {
    /// The statement of this text, with nothing bound.
    pub(super) fn new(sql: String) -> Statement {
        Statement { sql, bound: Vec::new() }
    }

    /// The statement that a handle holds.
    pub(super) fn of_handle(handle: &Bytes) -> Result<Statement, Failure> {
        Statement::decode(handle.as_ref())
            .map_err(|_| invalid("this is no handle of a prepared statement of this node"))
    }

    /// The handle that holds this statement.
    pub(super) fn handle(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Binds the one row that comes in `messages`.
    pub(super) async fn bind<S>(&mut self, messages: S) -> Result<(), Failure>
    where
        S: Stream<Item = Result<FlightData, Status>> + Send + 'static,
    {
        let messages = messages.and_then(async |message| match is_plain(&message.data_header) {
            true => Ok(message),
            false => Err(Status::invalid_argument("compressed parameters are not read")),
        });
        let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let mut row: Option<RecordBatch> = None;
        while let Some(batch) = batches.try_next().await.map_err(|_| unreadable())? {
            if batch.num_rows() == 0 {
                continue;
            }
            if row.is_some() || batch.num_rows() > 1 {
                return Err(invalid("one row of parameters is bound at a time; execute the statement once for each"));
            }
            row = Some(batch);
        }
        let Some(row) = row else {
            self.bound.clear();
            return Ok(());
        };
        let mut writer = StreamWriter::try_new(Vec::new(), &row.schema()).map_err(|_| unreadable())?;
        writer.write(&row).map_err(|_| unreadable())?;
        self.bound = writer.into_inner().map_err(|_| unreadable())?;
        if self.bound.len() > BOUND_BYTES_MAX {
            let message = format!("the parameters have more than {BOUND_BYTES_MAX} bytes");
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    /// The question with what is bound to it.
    pub(super) fn question(self) -> Result<Question, Failure> {
        let Statement { sql, bound } = self;
        let parameters = if bound.is_empty() { Vec::new() } else { values(&bound)? };
        Ok(Question { sql, parameters, ..Question::default() })
    }
}

/// Whether the message of this header says of nothing that it unpacks to more than it is: the decoder makes room for as
/// much as a compressed buffer claims. A header without a message has none.
fn is_plain(header: &[u8]) -> bool {
    if header.is_empty() {
        return true;
    }
    let Ok(message) = root_as_message(header) else { return false };
    let rows = message.header_as_record_batch();
    let rows = rows.or_else(|| message.header_as_dictionary_batch().and_then(|batch| batch.data()));
    rows.is_none_or(|rows| rows.compression().is_none())
}

/// Whether every message of an Arrow IPC stream is plain, and as long as it says.
fn are_plain(mut stream: &[u8]) -> bool {
    while let Some((mark, rest)) = stream.split_first_chunk::<4>() {
        if *mark != CONTINUES {
            return false;
        }
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return false };
        let Some((header, rest)) =
            usize::try_from(i32::from_le_bytes(*length)).ok().and_then(|at| rest.split_at_checked(at))
        else {
            return false;
        };
        if header.is_empty() {
            return true;
        }
        if !is_plain(header) {
            return false;
        }
        let body = root_as_message(header).ok().and_then(|message| usize::try_from(message.bodyLength()).ok());
        let Some((_, rest)) = body.and_then(|body| rest.split_at_checked(body)) else { return false };
        stream = rest;
    }
    true
}

/// The values of the one row of a stream.
fn values(bound: &[u8]) -> Result<Vec<ScalarValue>, Failure> {
    if !are_plain(bound) {
        return Err(unreadable());
    }
    let mut reader = StreamReader::try_new(bound, None).map_err(|_| unreadable())?;
    let row = reader.next().and_then(Result::ok).filter(|row| row.num_rows() == 1).ok_or_else(unreadable)?;
    let values = row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
    values.collect::<Result<_, _>>().map_err(|_| unreadable())
}

/// The parameters' types as a client is told them: null where the question does not tell.
pub(super) fn parameters_schema(types: &[Option<DataType>]) -> Schema {
    let field = |(at, kind): (usize, &Option<DataType>)| {
        let kind = kind.clone().unwrap_or(DataType::Null);
        Field::new(format!("${}", at + 1), kind, true)
    };
    Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())
}

fn invalid(message: &str) -> Failure {
    Failure::new(ErrorCode::Invalid, message)
}

fn unreadable() -> Failure {
    invalid("the parameters cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::IpcWriteOptions;
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use futures::stream;
    use std::sync::Arc;

    #[test]
    fn what_claims_to_unpack_to_more_than_it_is_is_not_read() {
        let written = |compression| {
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch(1).schema(), options).unwrap();
            writer.write(&batch(1)).unwrap();
            writer.into_inner().unwrap()
        };
        let plain = written(None);
        assert!(are_plain(&plain));
        assert_eq!(values(&plain).unwrap().len(), 2);
        assert!(values(&written(Some(CompressionType::LZ4_FRAME))).is_err());
        for cut in 1..plain.len() {
            // an end that lacks is no harm, a body that lacks is
            let _ = values(&plain[..cut]);
        }
        assert!(!are_plain(&plain[..plain.len() - 16]));
    }

    fn batch(rows: usize) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("0", DataType::Int64, true), Field::new("1", DataType::Utf8, true)]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![7; rows])), Arc::new(StringArray::from(vec!["hill"; rows]))];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    async fn bind(statement: &mut Statement, batches: Vec<RecordBatch>) -> Result<(), Failure> {
        let messages = FlightDataEncoderBuilder::new().build(stream::iter(batches.into_iter().map(Ok)));
        statement.bind(messages.map_err(|error| Status::internal(error.to_string()))).await
    }

    #[tokio::test]
    async fn a_handle_holds_the_text_and_what_was_bound() {
        let mut statement = Statement::new("SELECT $1, $2".to_owned());
        bind(&mut statement, vec![batch(0), batch(1)]).await.unwrap();
        let read = Statement::of_handle(&statement.handle()).unwrap();
        assert_eq!(read, statement);
        let question = read.question().unwrap();
        assert_eq!(question.sql, "SELECT $1, $2");
        assert_eq!(question.parameters, [ScalarValue::from(7_i64), ScalarValue::from("hill")]);
        bind(&mut statement, Vec::new()).await.unwrap();
        assert_eq!(statement.question().unwrap().parameters, []);
    }

    #[tokio::test]
    async fn more_than_a_row_is_not_bound_and_what_is_no_handle_is_refused() {
        let mut statement = Statement::new("SELECT $1".to_owned());
        for batches in [vec![batch(2)], vec![batch(1), batch(1)]] {
            let failure = bind(&mut statement, batches).await.unwrap_err();
            assert_eq!(failure.code(), ErrorCode::Invalid);
        }
        assert!(Statement::of_handle(&Bytes::from_static(b"nonsense")).is_err());
        statement.bound = b"nonsense".to_vec();
        assert!(statement.question().is_err());
    }
}
