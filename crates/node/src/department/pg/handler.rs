//! Answers what clients send: statements about the connection here, questions through the engine.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use civicmesh_model::time::Zone;
use civicmesh_query::{Answer, Question};
use datafusion::common::ScalarValue;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse, Response};
use datafusion_postgres::pgwire::api::stmt::{QueryParser, StoredStatement};
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Execute, Parse, ParseComplete, Sync as PgSync, TARGET_TYPE_BYTE_PORTAL,
    TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::{NoticeResponse, ReadyForQuery, TransactionStatus};
use futures::{Sink, SinkExt, stream};

use super::client::Client;
use super::command::{self, Command};
use super::copy::Copy;
use super::cursor::no_cursor;
use super::failure::{notices, refuse};
use super::names::named;
use super::pieces::statements;
use super::rows::{Rows, fields, on_the_wire};
use super::shelved::Shelved;
use super::statement::{self, Planned, Statement};
use crate::compose::Parts;
use crate::department::outgoing::Room;
use crate::department::query::{ask, driven};

/// Most statements in one text.
const STATEMENTS_MAX: usize = 64;
/// Most rows that a client may have at a time, where it does not want all.
const ROWS_AT_A_TIME_MAX: i32 = 1 << 20;

/// Answers the clients of one node.
pub(super) struct Questions {
    parts: Arc<Parts>,
}

/// An answer, the zone that its times are told in, and its room among those that are on their way.
pub(super) struct Held {
    pub answer: Answer,
    pub zone: Zone,
    pub room: Room,
}

impl Questions {
    pub(super) fn new(parts: Arc<Parts>) -> Questions {
        Questions { parts }
    }

    /// The node's parts.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Asks a question with the client's settings, and tells it what the answer lacks.
    pub(super) async fn ask<C>(&self, client: &mut C, sql: &str, parameters: Vec<ScalarValue>) -> PgWireResult<Held>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let settings = Client::of(client)?.kept().settings.clone();
        let question = Question { sql: sql.to_owned(), parameters, domain: settings.domain() };
        let asking = ask(&self.parts, question, *settings.options());
        let answer = match settings.timeout() {
            None => asking.await?,
            Some(time) => match tokio::time::timeout(time, asking).await {
                Ok(answer) => answer?,
                Err(_) => return Err(refuse("57014", "the question took longer than the client's statement_timeout")),
            },
        };
        if settings.wants_notices() {
            for notice in notices(&answer) {
                client.feed(PgWireBackendMessage::NoticeResponse(NoticeResponse::from(notice))).await?;
            }
        }
        let room = self.parts.outgoing.take(answer.batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
        Ok(Held { answer, zone: settings.zone(), room })
    }

    /// Plans a question with the client's settings.
    pub(super) async fn plan<C: ClientInfo>(
        &self,
        client: &C,
        sql: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Arc<Planned>> {
        let settings = Client::of(client)?.kept().settings.clone();
        let zone = self.parts.city.zone;
        let kinds: Vec<_> =
            types.iter().map(|given| given.as_ref().and_then(|given| statement::kind(given, zone))).collect();
        let question = Question { sql: sql.to_owned(), parameters: Vec::new(), domain: settings.domain() };
        let (now, asked) = (self.parts.environment.clock.now(), self.parts.clone());
        let options = *settings.options();
        let planning = async move { asked.engine.prepare(&question, &kinds, now, &options).await };
        let prepared = driven(&self.parts, planning).await?;
        Ok(Arc::new(Planned::new(sql.to_owned(), prepared)?))
    }

    /// Answers one statement of a text.
    async fn answer<C>(&self, client: &mut C, sql: &str) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Some(command) = command::read(sql) {
            return self.run(client, &command, &[], &Format::UnifiedText).await;
        }
        may_go_on(client)?;
        if let Some(copy) = Copy::read(sql)? {
            let held = self.ask(client, &copy.sql, Vec::new()).await?;
            let schema = named(&copy.sql, on_the_wire(&held.answer.schema));
            let rows = Rows::new(&held.answer, &schema, &copy.form.values(), held.zone, held.room)?;
            return Ok(Response::CopyOut(copy.form.response(rows)));
        }
        let held = self.ask(client, sql, Vec::new()).await?;
        let schema = named(sql, on_the_wire(&held.answer.schema));
        let rows = Rows::new(&held.answer, &schema, &Format::UnifiedText, held.zone, held.room)?;
        Ok(Response::Query(QueryResponse::new(rows.fields(), stream::iter(rows))))
    }
}

/// Nothing is answered in a transaction that failed, until it ends.
pub(super) fn may_go_on(client: &impl ClientInfo) -> PgWireResult<()> {
    match client.transaction_status() {
        TransactionStatus::Error => {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            Err(refuse("25P02", text))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl SimpleQueryHandler for Questions {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = statements(query);
        if statements.len() > STATEMENTS_MAX {
            return Err(refuse("54000", format!("more than {STATEMENTS_MAX} statements at once")));
        }
        let mut responses = Vec::new();
        for statement in &statements {
            match self.answer(client, statement).await {
                Ok(response) => responses.push(response),
                // what was answered before it is sent
                Err(PgWireError::UserError(error)) if !responses.is_empty() => {
                    responses.push(Response::Error(error));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for Questions {
    type Statement = Statement;

    async fn parse_sql<C>(&self, client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let statements = statements(sql);
        let [sql] = statements.as_slice() else {
            return match statements.len() {
                0 => Ok(None),
                _ => Err(refuse("42601", "cannot insert multiple commands into a prepared statement")),
            };
        };
        if let Some(command) = command::read(sql) {
            if let Command::Fetch { name, moves: false, .. } = &command {
                let kept = Client::of(client)?;
                let planned = kept.kept().cursors.get(name).map(|cursor| cursor.planned.clone());
                let planned = planned.ok_or_else(|| no_cursor(name))?;
                return Ok(Some(Statement::Fetch(command, planned)));
            }
            return Ok(Some(Statement::Command(command)));
        }
        Ok(Some(match Copy::read(sql)? {
            Some(copy) => Statement::Copy(self.plan(client, &copy.sql, types).await?, copy.form),
            None => Statement::Question(self.plan(client, sql, types).await?),
        }))
    }

    fn get_parameter_types(&self, statement: &Statement) -> PgWireResult<Vec<Type>> {
        Ok(match statement {
            Statement::Command(command) => vec![Type::TEXT; statement::parameters(command)],
            Statement::Fetch(..) => Vec::new(),
            Statement::Question(planned) | Statement::Copy(planned, _) => planned.types.clone(),
        })
    }

    fn get_result_schema(&self, statement: &Statement, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        match statement {
            Statement::Command(command) => {
                let field = |name| FieldInfo::new(name, None, None, Type::TEXT, FieldFormat::Text);
                Ok(statement::columns(command).into_iter().map(field).collect())
            }
            Statement::Question(planned) | Statement::Fetch(_, planned) => {
                fields(&planned.schema, format.unwrap_or(&Format::UnifiedText))
            }
            Statement::Copy(..) => Ok(Vec::new()),
        }
    }
}

/// As many rows at a time as a client wants: all for zero and, as PostgreSQL has it, for less.
fn rows_at_a_time(wanted: i32) -> PgWireResult<i32> {
    match wanted {
        ..=0 => Ok(0),
        1..=ROWS_AT_A_TIME_MAX => Ok(wanted),
        _ => Err(refuse("54000", format!("at most {ROWS_AT_A_TIME_MAX} rows at a time; 0 asks for all"))),
    }
}

#[async_trait]
impl ExtendedQueryHandler for Questions {
    type Statement = Statement;
    type QueryParser = Questions;

    fn query_parser(&self) -> Arc<Questions> {
        Arc::new(Questions { parts: self.parts.clone() })
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = StoredStatement::parse(client, &message, self.query_parser()).await?;
        if let Some(name) = &message.name {
            Client::of(client)?.kept().name_statement(name)?;
        }
        match statement {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(message.name.as_deref().unwrap_or(DEFAULT_NAME)),
        }
        client.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    /// The library makes room for as many rows as a client says, before there is one.
    async fn on_execute<C>(&self, client: &mut C, mut message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        message.max_rows = rows_at_a_time(message.max_rows)?;
        let kept = Client::of(client)?;
        let executed = self._on_execute(client, message).await;
        kept.kept().sending = None;
        executed
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let found = client.portal_store().get_statement(statement);
        if let Some(name) = &message.portal_name {
            Client::of(client)?.kept().name_portal(name)?;
        }
        match found {
            Some(Entry::Value(statement)) => {
                let portal = Portal::try_new(&message, statement)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            Some(Entry::Empty) => {
                client.portal_store().put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
            }
            None => return Err(PgWireError::StatementNotFound(statement.to_owned())),
        }
        client.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    /// Portals live as long as their transaction does.
    async fn on_sync<C>(&self, client: &mut C, _message: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        if matches!(status, TransactionStatus::Idle) {
            client.portal_store().clear_portals();
            Client::of(client)?.kept().forget_portals();
        }
        client.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status))).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let kept = Client::of(client)?;
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                client.portal_store().rm_statement(name);
                kept.kept().forget_statement(name);
            }
            TARGET_TYPE_BYTE_PORTAL => {
                client.portal_store().rm_portal(name);
                kept.kept().forget_portal(name);
            }
            other => return Err(PgWireError::InvalidTargetType(other)),
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Statement>, max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match &portal.statement.statement {
            Statement::Command(command) | Statement::Fetch(command, _) => {
                self.run(client, command, &portal.parameters, &portal.result_column_format).await
            }
            Statement::Question(planned) => {
                may_go_on(client)?;
                let held = self.ask(client, &planned.sql, planned.parameters(portal)?).await?;
                let (format, room) = (&portal.result_column_format, held.room.clone());
                let rows = Rows::new(&held.answer, &planned.schema, format, held.zone, held.room)?;
                let fields = rows.fields();
                if max_rows == 0 {
                    Client::of(client)?.kept().sending = Some(room);
                    return Ok(Response::Query(QueryResponse::new(fields, stream::iter(rows))));
                }
                let rows = Shelved::new(rows, &self.parts);
                Ok(Response::Query(QueryResponse::new(fields, stream::iter(rows))))
            }
            Statement::Copy(planned, form) => {
                may_go_on(client)?;
                let held = self.ask(client, &planned.sql, planned.parameters(portal)?).await?;
                let rows = Rows::new(&held.answer, &planned.schema, &form.values(), held.zone, held.room)?;
                Ok(Response::CopyOut(form.response(rows)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_makes_no_room_for_rows_that_are_not_there() {
        for (wanted, given) in [(0, 0), (-1, 0), (i32::MIN, 0), (500, 500)] {
            assert_eq!(rows_at_a_time(wanted).unwrap(), given);
        }
        assert!(rows_at_a_time(i32::MAX).is_err());
    }
}
