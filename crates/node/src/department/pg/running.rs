//! Statements about the connection, carried out.

use std::sync::Arc;

use bytes::Bytes;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use futures::{Sink, SinkExt, stream};

use super::client::Client;
use super::command::{Command, Given};
use super::cursor::fetch;
use super::failure::refuse;
use super::handler::{Questions, may_go_on};
use super::statement::columns;

impl Questions {
    /// Carries a statement about the connection out.
    pub(super) async fn run<C>(
        &self,
        client: &mut C,
        command: &Command,
        parameters: &[Option<Bytes>],
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Command::End { commits } = command {
            let failed = matches!(client.transaction_status(), TransactionStatus::Error);
            client.portal_store().clear_portals();
            Client::of(client)?.kept().forget_portals();
            let tag = if *commits && !failed { "COMMIT" } else { "ROLLBACK" };
            return Ok(Response::TransactionEnd(Tag::new(tag)));
        }
        may_go_on(client)?;
        let done = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match command {
            Command::Begin => Ok(Response::TransactionStart(Tag::new("BEGIN"))),
            Command::End { .. } => done("ROLLBACK"),
            Command::Nothing(tag) => done(tag),
            Command::Set { name, value } => {
                let told = Client::of(client)?.kept().settings.set(name, value)?;
                tell(client, told).await?;
                done("SET")
            }
            Command::Reset(name) => {
                let told = Client::of(client)?.kept().settings.reset(name)?;
                tell(client, told).await?;
                done("RESET")
            }
            Command::ResetAll => {
                reset_all(client).await?;
                done("RESET")
            }
            Command::Discard { all } => {
                if *all {
                    reset_all(client).await?;
                    forget_statements(client)?;
                }
                done("DISCARD ALL")
            }
            Command::Deallocate(Some(name)) => {
                client.portal_store().rm_statement(name);
                Client::of(client)?.kept().forget_statement(name);
                done("DEALLOCATE")
            }
            Command::Deallocate(None) => {
                forget_statements(client)?;
                done("DEALLOCATE ALL")
            }
            Command::Show(name) => {
                let value = Client::of(client)?.kept().settings.show(name)?;
                rows(command, vec![vec![value]], "SHOW")
            }
            Command::ShowAll => {
                let all = Client::of(client)?.kept().settings.all();
                rows(command, all.into_iter().map(|(name, value)| vec![name, value]).collect(), "SHOW")
            }
            Command::SetConfig { name, value } => {
                let (name, value) = (text(name, parameters)?, text(value, parameters)?);
                let told = Client::of(client)?.kept().settings.set(&name, &value)?;
                tell(client, told).await?;
                let set = Client::of(client)?.kept().settings.show(&name)?;
                rows(command, vec![vec![set]], "SELECT")
            }
            Command::CurrentSetting(name) => {
                let value = Client::of(client)?.kept().settings.show(&text(name, parameters)?)?;
                rows(command, vec![vec![value]], "SELECT")
            }
            Command::Declare { name, question } => self.declare(client, name, question).await,
            Command::Fetch { name, count, moves } => fetch(client, name, *count, *moves, format),
            Command::Close(Some(name)) => {
                client.portal_store().rm_portal(name);
                Client::of(client)?.kept().forget_portal(name);
                done("CLOSE CURSOR")
            }
            Command::Close(None) => {
                client.portal_store().clear_portals();
                Client::of(client)?.kept().forget_portals();
                done("CLOSE CURSOR ALL")
            }
            Command::Unknown(what) => Err(refuse("0A000", format!("there is no {what} here: ask with SELECT"))),
        }
    }
}

/// An argument's text. A parameter of a command is text in either format.
fn text(given: &Given, parameters: &[Option<Bytes>]) -> PgWireResult<String> {
    match given {
        Given::Text(text) => Ok(text.clone()),
        Given::Parameter(number) => {
            let value = number.checked_sub(1).and_then(|at| parameters.get(at)).and_then(Option::as_ref);
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            text.map(str::to_owned).ok_or_else(|| refuse("22023", format!("${number} must be a text")))
        }
    }
}

/// Tells the client of a setting that changed.
async fn tell<C>(client: &mut C, told: Option<(String, String)>) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    if let Some((name, value)) = told {
        client.feed(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name, value))).await?;
    }
    Ok(())
}

async fn reset_all<C>(client: &mut C) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let (before, after) = {
        let kept = Client::of(client)?;
        let mut kept = kept.kept();
        let before = kept.settings.told();
        kept.settings.reset_all();
        (before, kept.settings.told())
    };
    for (name, value) in after {
        if before.get(&name) != Some(&value) {
            tell(client, Some((name, value))).await?;
        }
    }
    Ok(())
}

fn forget_statements<C>(client: &C) -> PgWireResult<()>
where
    C: ClientInfo + ClientPortalStore,
    C::PortalStore: PortalStore,
{
    for name in Client::of(client)?.kept().forget_statements() {
        client.portal_store().rm_statement(&name);
    }
    Ok(())
}

fn rows(command: &Command, values: Vec<Vec<String>>, tag: &str) -> PgWireResult<Response> {
    let field = |name| FieldInfo::new(name, None, None, Type::TEXT, FieldFormat::Text);
    let fields = Arc::new(columns(command).into_iter().map(field).collect::<Vec<_>>());
    let mut encoder = DataRowEncoder::new(fields.clone());
    let mut rows = Vec::new();
    for row in values {
        for value in row {
            encoder.encode_field(&value)?;
        }
        rows.push(Ok(encoder.take_row()));
    }
    let mut response = QueryResponse::new(fields, stream::iter(rows));
    response.set_command_tag(tag);
    Ok(Response::Query(response))
}
