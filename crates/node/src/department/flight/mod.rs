//! Arrow Flight SQL: the department's questions for ADBC, JDBC and ODBC clients, on the port of the department's gRPC.
//!
//! One service of Flight's; the commands of Flight SQL are told apart in one place each (`get_flight_info`, `do_get`,
//! `do_put`, `do_action`). Nothing here lives as long as a client: settings come with every call (`login`), a prepared
//! statement is its own handle (`statement`), an answer waits to be fetched for a bounded time in bounded room (`held`).

mod actions;
mod answer;
mod catalogue;
mod facts;
mod held;
mod login;
mod placeholders;
mod statement;

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{
    Any, Command, DoPutPreparedStatementResult, DoPutUpdateResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use bytes::Bytes;
use civicmesh_exchange::link::run_blocking;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::{Answer, Question};
use futures::{StreamExt, stream};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use self::held::Held;
use self::statement::Statement;
use super::failure::Failure;
use super::session::{Session, SettingStatement};
use super::{Responses, query, request_id};
use crate::compose::Parts;

/// Longest message that is taken from a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The service of one node.
pub(super) fn service(parts: &Arc<Parts>) -> FlightServiceServer<Flight> {
    let held = Arc::<Held>::default();
    parts.tasks.others.spawn(Arc::clone(&held).keep_swept(parts.tasks.stop.clone()));
    let flight = Flight { parts: Arc::clone(parts), held };
    FlightServiceServer::new(flight).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Flight SQL of one node.
pub(super) struct Flight {
    parts: Arc<Parts>,
    held: Arc<Held>,
}

/// A call of a client that may ask questions: what it wants, and with which settings.
struct Call<T> {
    session: Session,
    wanted: T,
}

impl Flight {
    /// Does what an admitted call wants.
    async fn serve<T, R, W>(&self, request: Request<T>, work: impl FnOnce(Call<T>) -> W) -> Result<Response<R>, Status>
    where
        W: Future<Output = Result<R, Failure>>,
    {
        let id = request_id(&request);
        let served = async {
            let session = login::admit(&self.parts.tokens, request.metadata())?;
            work(Call { session, wanted: request.into_inner() }).await
        };
        super::answer(served.await.map_err(Failure::in_one_text), id.as_ref())
    }

    /// Answers a question, or a statement that shows a setting.
    async fn ask(&self, question: Question, session: &Session) -> Result<Answer, Failure> {
        match SettingStatement::read(&question.sql)? {
            Some(statement) => actions::obey(statement, session),
            None => query::ask(&self.parts, question, *session.options()).await,
        }
    }

    /// Answers a question and keeps the answer until it is fetched.
    async fn answered(
        &self,
        question: Question,
        session: &Session,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Failure> {
        let answer = answer::told(self.ask(question, session).await?)?;
        let rows = answer.batches.iter().map(RecordBatch::num_rows).sum();
        let schema = Arc::clone(&answer.schema);
        let room = self.parts.outgoing.take(answer.batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
        let name = self.held.keep((answer, room), Instant::now(), &*self.parts.environment.entropy)?;
        let ticket = TicketStatementQuery { statement_handle: name }.as_any().encode_to_vec();
        answer::info(&schema, Some(rows), ticket.into(), descriptor)
    }

    /// The rows that a command about the catalogue asks for.
    async fn listed(&self, command: Command) -> Result<RecordBatch, Failure> {
        let (parts, name) = (Arc::clone(&self.parts), command.type_url().to_owned());
        let listed = run_blocking(&*self.parts.environment.blocking, move || catalogue::listed(&parts, command));
        listed.await??.ok_or_else(|| not_offered(&name))
    }

    async fn flight_info(&self, call: Call<FlightDescriptor>) -> Result<FlightInfo, Failure> {
        let Call { session, wanted: descriptor } = call;
        match command(&descriptor.cmd)? {
            Command::CommandStatementQuery(command) => {
                let question = Question::from(placeholders::numbered(&command.query).as_ref());
                self.answered(question, &session, descriptor).await
            }
            Command::CommandPreparedStatementQuery(command) => {
                let statement = Statement::of_handle(&command.prepared_statement_handle)?;
                self.answered(statement.question()?, &session, descriptor).await
            }
            other => {
                let schema = self.listed(other).await?.schema();
                answer::info(&schema, None, descriptor.cmd.clone(), descriptor)
            }
        }
    }

    async fn schema(&self, call: Call<FlightDescriptor>) -> Result<SchemaResult, Failure> {
        let Call { session, wanted: descriptor } = call;
        let sql = match command(&descriptor.cmd)? {
            Command::CommandStatementQuery(command) => placeholders::numbered(&command.query).into_owned(),
            Command::CommandPreparedStatementQuery(command) => {
                Statement::of_handle(&command.prepared_statement_handle)?.sql
            }
            other => return schema_result(&self.listed(other).await?.schema()),
        };
        schema_result(
            &query::prepare(&self.parts, Question::from(sql.as_str()), Vec::new(), *session.options()).await?.schema,
        )
    }

    async fn fetched(&self, call: Call<Ticket>) -> Result<Responses<FlightData>, Failure> {
        match command(&call.wanted.ticket)? {
            Command::TicketStatementQuery(ticket) => {
                let fetched = self.held.fetch(&ticket.statement_handle, Instant::now());
                let (answer, room) = fetched.ok_or_else(held::gone)?;
                Ok(answer::messages(&self.parts, answer, room))
            }
            other => self.listed(other).await.map(answer::rows),
        }
    }

    async fn put(&self, call: Call<Streaming<FlightData>>) -> Result<Responses<PutResult>, Failure> {
        let Call { session, wanted: mut messages } = call;
        let first = messages.next().await.and_then(Result::ok);
        let first = first.ok_or_else(|| Failure::new(ErrorCode::Invalid, "nothing was put"))?;
        let descriptor = first.flight_descriptor.clone().unwrap_or_default();
        let put = match command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(command) => {
                let mut statement = Statement::of_handle(&command.prepared_statement_handle)?;
                statement.bind(stream::iter([Ok(first)]).chain(messages)).await?;
                let bound = DoPutPreparedStatementResult { prepared_statement_handle: Some(statement.handle()) };
                bound.encode_to_vec()
            }
            Command::CommandStatementUpdate(command) => {
                let question = Question::from(placeholders::numbered(&command.query).as_ref());
                self.changed(question, &session).await?.encode_to_vec()
            }
            Command::CommandPreparedStatementUpdate(command) => {
                let mut statement = Statement::of_handle(&command.prepared_statement_handle)?;
                statement.bind(stream::iter([Ok(first)]).chain(messages)).await?;
                self.changed(statement.question()?, &session).await?.encode_to_vec()
            }
            other => return Err(not_offered(other.type_url())),
        };
        Ok(Box::pin(stream::iter([Ok(PutResult { app_metadata: put.into() })])))
    }

    /// What a statement that should change something changed. None can: it is refused as any that does more than read,
    /// and one that only reads changes nothing.
    async fn changed(&self, question: Question, session: &Session) -> Result<DoPutUpdateResult, Failure> {
        self.ask(question, session).await.map(|_| DoPutUpdateResult { record_count: 0 })
    }
}

/// The command that bytes hold.
fn command(bytes: &Bytes) -> Result<Command, Failure> {
    let any = Any::decode(bytes.as_ref()).ok();
    let command = any.and_then(|any| Command::try_from(any).ok());
    command.ok_or_else(|| Failure::new(ErrorCode::Invalid, "this is no command of Flight SQL"))
}

/// The failure of what a node does not do.
fn not_offered(what: &str) -> Failure {
    let name = what.rsplit(['.', '/']).next().unwrap_or(what);
    let message = format!("{name} is not offered: a node answers SQL that reads, and lists what there is to ask");
    Failure::new(ErrorCode::NotOffered, message)
}

fn schema_result(schema: &Schema) -> Result<SchemaResult, Failure> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    SchemaAsIpc::new(schema, &options).try_into().map_err(|_| answer::defect())
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Responses<HandshakeResponse>;
    type ListFlightsStream = Responses<FlightInfo>;
    type DoGetStream = Responses<FlightData>;
    type DoPutStream = Responses<PutResult>;
    type DoExchangeStream = Responses<FlightData>;
    type DoActionStream = Responses<arrow_flight::Result>;
    type ListActionsStream = Responses<ActionType>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let id = request_id(&request);
        login::handshake(&self.parts.tokens, request.metadata()).map_err(|failure| failure.status(id.as_ref()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.serve(request, |call| self.flight_info(call)).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.serve(request, |call| self.schema(call)).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.serve(request, |call| self.fetched(call)).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.serve(request, |call| self.put(call)).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.serve(request, |call| self.act(call)).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.serve(request, |_| async { Ok(actions::listed()) }).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.serve(request, |_| async { Err(not_offered("ListFlights")) }).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.serve(request, |_| async { Err(not_offered("PollFlightInfo")) }).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.serve(request, |_| async { Err(not_offered("DoExchange")) }).await
    }
}
