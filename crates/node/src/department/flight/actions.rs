//! Actions: prepared statements, cancelling, and what there is of a session.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, IpcMessage,
    SchemaAsIpc,
};
use bytes::Bytes;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::{Answer, Prepared, Question};
use futures::stream;
use prost::Message;
use tokio::time::Instant;

use super::statement::{Statement, parameters_schema};
use super::{Call, Flight, answer, command, login, not_offered, placeholders};
use crate::department::failure::Failure;
use crate::department::session::{Session, Setting, SettingStatement};
use crate::department::{Responses, query};

const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";

/// The actions, with what each does.
const ACTIONS: [(&str, &str); 6] = [
    (CREATE_PREPARED_STATEMENT, "the columns and parameters of a statement, and its handle"),
    (CLOSE_PREPARED_STATEMENT, "nothing: a handle takes nothing from the node"),
    (CANCEL_FLIGHT_INFO, "lets go an answer that was not fetched; hang up to end a question that runs"),
    (CANCEL_QUERY, "the same, as older clients say it"),
    (GET_SESSION_OPTIONS, "the catalog, the schema and the settings that a call's headers have"),
    (CLOSE_SESSION, "nothing: a session takes nothing from the node"),
];

/// Flight's value of an option of a session, as far as it is text.
#[derive(Clone, PartialEq, Message)]
struct SessionOption {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

/// Flight's options of a session.
#[derive(Clone, PartialEq, Message)]
struct SessionOptions {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, SessionOption>,
}

/// Flight's word that a session is closed.
#[derive(Clone, PartialEq, Message)]
struct SessionClosed {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `CloseSessionResult.Status.CLOSED`.
const CLOSED: i32 = 1;

/// The list of actions.
pub(super) fn listed() -> Responses<ActionType> {
    let action = |(name, description): (&str, &str)| {
        Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
    };
    Box::pin(stream::iter(ACTIONS.map(action)))
}

/// The answer to a statement about a setting: what it is, where it is shown; to set one takes a header.
pub(super) fn obey(statement: SettingStatement, session: &Session) -> Result<Answer, Failure> {
    let setting = match statement {
        SettingStatement::Show(setting) => setting,
        SettingStatement::Set(setting, _) | SettingStatement::Reset(setting) => {
            let header = login::header(setting);
            let message = "a call of Flight SQL has no session: its settings come with it";
            return Err(Failure::new(ErrorCode::Invalid, message)
                .instead(format!("send the header `{header}`; in ADBC: adbc.flight.sql.rpc.call_header.{header}")));
        }
    };
    let schema = Arc::new(Schema::new(vec![Field::new(setting.name(), DataType::Utf8, false)]));
    let column = Arc::new(StringArray::from(vec![session.show(setting)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).map_err(|_| answer::defect())?;
    Ok(Answer { schema, batches: vec![batch], completeness: Vec::new(), notices: Vec::new() })
}

impl Flight {
    /// Does an action.
    pub(super) async fn act(&self, call: Call<Action>) -> Result<Responses<arrow_flight::Result>, Failure> {
        let Call { session, wanted: Action { r#type: name, body } } = call;
        let done = match name.as_str() {
            CREATE_PREPARED_STATEMENT => {
                let ActionCreatePreparedStatementRequest { query, transaction_id: _ } = unpacked(&body)?;
                let statement = Statement::new(placeholders::numbered(&query).into_owned());
                let prepared = match SettingStatement::read(&query)? {
                    Some(setting) => Prepared { schema: obey(setting, &session)?.schema, parameters: Vec::new() },
                    None => {
                        let question = Question::from(statement.sql.as_str());
                        query::prepare(&self.parts, question, Vec::new(), *session.options()).await?
                    }
                };
                Some(packed(ActionCreatePreparedStatementResult {
                    prepared_statement_handle: statement.handle(),
                    dataset_schema: ipc(&prepared.schema)?,
                    parameter_schema: ipc(&parameters_schema(&prepared.parameters))?,
                }))
            }
            CLOSE_PREPARED_STATEMENT => unpacked::<ActionClosePreparedStatementRequest>(&body).map(|_| None)?,
            CANCEL_FLIGHT_INFO => {
                let CancelFlightInfoRequest { info } = read(&body)?;
                let status = self.cancelled(&info.unwrap_or_default())?;
                Some(CancelFlightInfoResult { status: status.into() }.encode_to_vec())
            }
            CANCEL_QUERY => {
                let ActionCancelQueryRequest { info } = unpacked(&body)?;
                // its results have the numbers of the newer action's
                let result = self.cancelled(&read(&info)?)?;
                Some(packed(ActionCancelQueryResult { result: result.into() }))
            }
            GET_SESSION_OPTIONS => {
                let city = &self.parts.city;
                let settings = Setting::ALL.map(|setting| (setting.name().to_owned(), session.show(setting)));
                let place = [("catalog".to_owned(), city.name.clone()), ("schema".to_owned(), city.domain.to_string())];
                let option = |(name, text)| (name, SessionOption { text: Some(text) });
                let options = place.into_iter().chain(settings).map(option).collect();
                Some(SessionOptions { options }.encode_to_vec())
            }
            CLOSE_SESSION => Some(SessionClosed { status: CLOSED }.encode_to_vec()),
            other => return Err(not_offered(other)),
        };
        Ok(Box::pin(stream::iter(done.map(|body| Ok(arrow_flight::Result { body: body.into() })))))
    }

    /// Lets go the answers that were not fetched yet.
    fn cancelled(&self, info: &FlightInfo) -> Result<CancelStatus, Failure> {
        let mut status = CancelStatus::NotCancellable;
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            if let Command::TicketStatementQuery(ticket) = command(&ticket.ticket)?
                && self.held.fetch(&ticket.statement_handle, Instant::now()).is_some()
            {
                status = CancelStatus::Cancelled;
            }
        }
        Ok(status)
    }
}

fn read<M: Message + Default>(bytes: &Bytes) -> Result<M, Failure> {
    M::decode(bytes.as_ref()).map_err(|_| Failure::new(ErrorCode::Invalid, "the action's request cannot be read"))
}

fn unpacked<M: ProstMessageExt>(body: &Bytes) -> Result<M, Failure> {
    let message = read::<Any>(body)?.unpack::<M>().ok().flatten();
    message.ok_or_else(|| Failure::new(ErrorCode::Invalid, "the action's request cannot be read"))
}

fn packed(message: impl ProstMessageExt) -> Vec<u8> {
    message.as_any().encode_to_vec()
}

fn ipc(schema: &Schema) -> Result<Bytes, Failure> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into().map_err(|_| answer::defect())?;
    Ok(bytes)
}
