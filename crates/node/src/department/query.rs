//! Questions: the engine's answer as one Arrow IPC stream in pieces, then its completeness.

use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use civicmesh_proto::department::v1 as proto;
use civicmesh_query::{Answer, QueryOptions};
use tokio::time::Instant;

use super::failure::Failure;
use super::wire;
use crate::compose::Parts;

/// Bytes of an answer in one message.
const PIECE_BYTES: usize = 256 << 10;

/// Answers one question.
pub(super) async fn answer(parts: &Parts, request: proto::QueryRequest) -> Result<Vec<proto::QueryResponse>, Failure> {
    let proto::QueryRequest { sql, require_complete } = request;
    let begun = Instant::now();
    let now = parts.environment.clock.now();
    let options = QueryOptions { require_complete };
    let answered = tokio::select! {
        () = parts.tasks.abort.cancelled() => Err(Failure::new(proto::ErrorCode::Stopping, "the node is stopping")),
        answered = parts.engine.query(&sql, now, &options) => answered.map_err(Failure::from).and_then(pieces),
    };
    let outcome = match &answered {
        Ok(_) => "ok",
        Err(failure) => failure.code().as_str_name(),
    };
    let seconds = begun.elapsed().as_secs_f64();
    parts.metrics.query(outcome, seconds);
    tracing::info!(outcome, seconds, "a question was answered");
    answered
}

fn pieces(answer: Answer) -> Result<Vec<proto::QueryResponse>, Failure> {
    let Answer { schema, batches, completeness } = answer;
    let defect = |_| Failure::new(proto::ErrorCode::Internal, "the answer's rows cannot be written");
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(defect)?;
    for batch in &batches {
        writer.write(batch).map_err(defect)?;
    }
    let mut ipc = Bytes::from(writer.into_inner().map_err(defect)?);
    let mut responses = Vec::new();
    while !ipc.is_empty() {
        let piece = ipc.split_to(ipc.len().min(PIECE_BYTES));
        responses.push(proto::query_response::Part::Ipc(piece));
    }
    let products = completeness.into_iter().map(wire::completeness).collect();
    responses.push(proto::query_response::Part::Completeness(proto::Completeness { products }));
    Ok(responses.into_iter().map(|part| proto::QueryResponse { part: Some(part) }).collect())
}
