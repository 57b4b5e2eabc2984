//! Questions: the engine's answer as one Arrow IPC stream in pieces, then its completeness.

use std::sync::Arc;
use std::time::Duration;

use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use civicmesh_exchange::link::run_driven;
use civicmesh_proto::department::v1 as proto;
use civicmesh_query::{Answer, QueryError};
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::{question, wire};
use crate::compose::Parts;

/// Bytes of an answer in one message.
const PIECE_BYTES: usize = 256 << 10;

/// How long past its limit a question is waited for: the engine keeps the limit itself, unless it plans without a pause.
const GRACE: Duration = Duration::from_secs(2);

/// Answers one question. It is planned and run where it holds up nothing else, and is given up when the client is gone.
pub(super) async fn answer(
    parts: &Arc<Parts>,
    request: proto::QueryRequest,
) -> Result<Vec<proto::QueryResponse>, Failure> {
    let (sql, options) = question::asked(request)?;
    let begun = Instant::now();
    let now = parts.environment.clock.now();
    let given_up = parts.tasks.abort.child_token();
    let _given_up_when_dropped = given_up.clone().drop_guard();
    let asked = Arc::clone(parts);
    let answering = run_driven(&*parts.environment.blocking, async move {
        tokio::select! {
            () = given_up.cancelled() => Err(Failure::new(proto::ErrorCode::Stopping, "the node is stopping")),
            answered = asked.engine.query(&sql, now, &options) => answered.map_err(Failure::from).and_then(pieces),
        }
    });
    let time_ms_max = parts.config.limits.query_ms_max;
    let answered = match timeout(Duration::from_millis(time_ms_max) + GRACE, answering).await {
        Ok(answered) => answered.map_err(Failure::from).flatten(),
        Err(_) => Err(QueryError::TimedOut { time_ms_max }.into()),
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
    let Answer { schema, batches, completeness, notices } = answer;
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
    responses.push(proto::query_response::Part::Completeness(proto::Completeness { products, notices }));
    Ok(responses.into_iter().map(|part| proto::QueryResponse { part: Some(part) }).collect())
}
