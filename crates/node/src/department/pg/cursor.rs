//! Cursors: an answer that is fetched piece by piece, as ODBC's and psycopg's clients do it.

use std::sync::Arc;

use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::{QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::api::store::{MemPortalStore, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use futures::{Sink, stream};

use super::client::{Client, Cursor};
use super::failure::refuse;
use super::handler::Questions;
use super::rows::Rows;
use super::shelved::Shelved;
use super::statement::Statement;

impl Questions {
    /// Asks a question and keeps its answer under this name, until the transaction ends.
    pub(super) async fn declare<C>(&self, client: &mut C, name: &str, question: &str) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.transaction_status(), TransactionStatus::Transaction) {
            return Err(refuse("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        let kept = Client::of(client)?;
        kept.kept().name_portal(name)?;
        let planned = self.plan(client, question, &[]).await?;
        let held = self.ask(client, question, Vec::new()).await?;
        let rows = Rows::new(&held.answer, &planned.schema, &Format::UnifiedText, held.zone, held.room)?;
        // clients look at a cursor's columns as they do at a portal's
        if let Some(store) = client.portal_store().as_any().downcast_ref::<MemPortalStore<Statement>>() {
            let statement = StoredStatement::new(name.to_owned(), Statement::Question(planned.clone()), Vec::new());
            store.put_portal(Arc::new(Portal::new_cursor(name.to_owned(), Arc::new(statement))));
        }
        kept.kept().cursors.insert(name.to_owned(), Cursor { planned, rows: Shelved::new(rows, self.parts()) });
        Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
    }
}

/// The next rows of a cursor, or how many were passed over.
pub(super) fn fetch(
    client: &impl ClientInfo,
    name: &str,
    count: usize,
    moves: bool,
    format: &Format,
) -> PgWireResult<Response> {
    let kept = Client::of(client)?;
    let mut kept = kept.kept();
    let cursor = kept.cursors.get_mut(name).ok_or_else(|| no_cursor(name))?;
    if moves {
        let passed = cursor.rows.by_ref().take(count).count();
        return Ok(Response::Execution(Tag::new("MOVE").with_rows(passed)));
    }
    cursor.rows.write_in(format)?;
    let rows: Vec<_> = cursor.rows.by_ref().take(count).collect();
    let mut response = QueryResponse::new(cursor.rows.fields()?, stream::iter(rows));
    response.set_command_tag("FETCH");
    Ok(Response::Query(response))
}

/// There is no cursor of this name.
pub(super) fn no_cursor(name: &str) -> PgWireError {
    refuse("34000", format!("cursor \"{name}\" does not exist"))
}
