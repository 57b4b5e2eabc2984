//! Questions: how every wire asks the engine, and its answer as one Arrow IPC stream in pieces, then its completeness.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use civicmesh_exchange::link::run_driven;
use civicmesh_proto::department::v1 as proto;
use civicmesh_query::{Answer, Prepared, QueryError, QueryOptions, Question};
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::{Responses, question, wire};
use crate::compose::{Parts, Tasks};

/// Bytes of an answer in one message.
const PIECE_BYTES: usize = 256 << 10;

/// How long past its limit a question is waited for: the engine keeps the limit itself, unless it plans without a pause.
const GRACE: Duration = Duration::from_secs(2);

/// Answers one question in pieces, which keep their room until they are read.
pub(super) async fn answer(
    parts: &Arc<Parts>,
    request: proto::QueryRequest,
) -> Result<Responses<proto::QueryResponse>, Failure> {
    let (sql, options) = question::asked(request)?;
    let answer = ask(parts, Question { sql, ..Question::default() }, options).await?;
    // rows are counted before they are written, since both are in memory then
    let room = parts.outgoing.take(answer.batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
    let Tasks { others, abort, .. } = &parts.tasks;
    Ok(Box::pin(parts.outgoing.send(pieces(answer)?, room, others, abort)))
}

/// Asks the engine one question. It is planned and run where it holds up nothing else, and is given up when the caller
/// is gone.
pub(crate) async fn ask(parts: &Arc<Parts>, question: Question, options: QueryOptions) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let now = parts.environment.clock.now();
    let asked = Arc::clone(parts);
    let answered = driven(parts, async move { asked.engine.ask(question, now, &options).await }).await;
    let outcome = match &answered {
        Ok(_) => "ok",
        Err(failure) => failure.code().as_str_name(),
    };
    let seconds = begun.elapsed().as_secs_f64();
    parts.metrics.query(outcome, seconds);
    tracing::info!(outcome, seconds, "a question was answered");
    answered
}

/// Plans one question as it would be asked; reads nothing. `types` are those of its parameters that the caller knows.
pub(super) async fn prepare(
    parts: &Arc<Parts>,
    question: Question,
    types: Vec<Option<DataType>>,
    options: QueryOptions,
) -> Result<Prepared, Failure> {
    let (asked, now) = (Arc::clone(parts), parts.environment.clock.now());
    driven(parts, async move { asked.engine.prepare(&question, &types, now, &options).await }).await
}

/// Runs work of the engine's off the runtime when its turn comes, until it ends, its time is up, the node stops or the
/// caller is gone.
pub(super) async fn driven<T: Send + 'static>(
    parts: &Arc<Parts>,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, Failure> {
    let given_up = parts.tasks.abort.child_token();
    let _given_up_when_dropped = given_up.clone().drop_guard();
    let working = async {
        let working = run_driven(&*parts.environment.blocking, async move {
            tokio::select! {
                () = given_up.cancelled() => Err(Failure::new(proto::ErrorCode::Stopping, "the node is stopping")),
                worked = work => worked.map_err(Failure::from),
            }
        });
        let time_ms_max = parts.config.limits.query_ms_max;
        match timeout(Duration::from_millis(time_ms_max) + GRACE, working).await {
            Ok(worked) => worked.map_err(Failure::from).flatten(),
            Err(_) => Err(QueryError::TimedOut { time_ms_max }.into()),
        }
    };
    parts.turns.run(working).await?
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
