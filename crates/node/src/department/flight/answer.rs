//! Answers on the wire: their schema, their batches, and how complete they are.
//!
//! Completeness travels twice. `civicmesh.completeness` in the schema's metadata is JSON,
//! `{"products": [...], "notices": [...]}`, each product as `civicmesh query --format json` has it. The last message's
//! `app_metadata` is a `civicmesh.department.v1.Completeness`.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use civicmesh_proto::department::v1::{self as proto, ErrorCode};
use civicmesh_query::Answer;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use serde_json::json;
use std::sync::Arc;
use tonic::Status;

use crate::completeness;
use crate::compose::{Parts, Tasks};
use crate::department::failure::Failure;
use crate::department::outgoing::Room;
use crate::department::{Responses, wire};

/// The key of the schema's metadata that says how complete an answer is.
pub(super) const COMPLETENESS_KEY: &str = "civicmesh.completeness";

/// The answer, its schema saying how complete it is.
pub(super) fn told(answer: Answer) -> Result<Answer, Failure> {
    let Answer { schema, batches, completeness, notices } = answer;
    let mut metadata = schema.metadata().clone();
    let text = json!({ "products": completeness::json(&completeness), "notices": notices }).to_string();
    metadata.insert(COMPLETENESS_KEY.to_owned(), text);
    let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata));
    let batches = batches.into_iter().map(|batch| batch.with_schema(schema.clone())).collect::<Result<_, _>>();
    Ok(Answer { batches: batches.map_err(|_| defect())?, schema, completeness, notices })
}

/// What a client learns of an answer before it fetches it under `ticket`.
pub(super) fn info(
    schema: &Schema,
    rows: Option<usize>,
    ticket: Bytes,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Failure> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new().try_with_schema(schema).map_err(|_| defect())?;
    let rows = rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1);
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor).with_total_records(rows))
}

/// The answer's messages, encoded as fast as they are taken. Its room is given back when the last of them is, or when
/// they are not taken on for too long.
pub(super) fn messages(parts: &Parts, answer: Answer, room: Room) -> Responses<FlightData> {
    let Answer { schema, batches, completeness, notices } = answer;
    let products = completeness.into_iter().map(wire::completeness).collect();
    let last = proto::Completeness { products, notices }.encode_to_vec();
    let Tasks { others, abort, .. } = &parts.tasks;
    let batches = parts.outgoing.send(batches, room, others, abort);
    Box::pin(with_last(encode(schema, batches), last.into()))
}

/// Rows that are no answer to a question: a catalogue's.
pub(super) fn rows(batch: RecordBatch) -> Responses<FlightData> {
    Box::pin(encode(batch.schema(), stream::iter([Ok(batch)])))
}

fn encode<S>(schema: SchemaRef, batches: S) -> impl Stream<Item = Result<FlightData, Status>> + Send + use<S>
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let batches = batches.map_err(|status| FlightError::Tonic(Box::new(status)));
    FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        _ => defect().status(None),
    })
}

/// The messages, the last one with `metadata`.
fn with_last<S>(messages: S, metadata: Bytes) -> impl Stream<Item = Result<FlightData, Status>> + Send
where
    S: Stream<Item = Result<FlightData, Status>> + Send,
{
    let messages = Box::pin(messages.peekable());
    stream::unfold((messages, metadata), |(mut messages, metadata)| async move {
        let message = messages.next().await?;
        let message = match messages.as_mut().peek().await {
            Some(_) => message,
            None => message.map(|message| message.with_app_metadata(metadata.clone())),
        };
        Some((message, (messages, metadata)))
    })
}

/// A defect of ours.
pub(super) fn defect() -> Failure {
    Failure::new(ErrorCode::Internal, "the answer's rows cannot be written")
}
