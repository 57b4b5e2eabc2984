//! Every error of the department's side as gRPC status and typed detail: the only place that decides them.
//!
//! No message here may hold an observation's value. Errors of Arrow, DataFusion and csv quote values, so their text
//! ends in the crates that call them.

use civicmesh_ledger::LedgerError;
use civicmesh_proto::department::v1::{ErrorCode, ErrorDetail};
use civicmesh_proto::google::rpc;
use civicmesh_query::QueryError;
use civicmesh_store::StoreError;
use civicmesh_vault::VaultError;
use prost::Message;
use tonic::{Code, Status};

use super::upload::UploadError;
use crate::ingest::{Fault, IngestError};
use crate::publisher::{PublishError, UndoError, WaitError};
use crate::status::StatusError;
use civicmesh_exchange::link::Stopped;
use civicmesh_exchange::request_id::RequestId;

/// The name under which our detail travels.
const DETAIL_TYPE_URL: &str = "type.googleapis.com/civicmesh.department.v1.ErrorDetail";

/// What a caller learns of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: ErrorCode,
    message: String,
    instead: String,
    product: String,
}

impl Failure {
    /// An error with its reason for programs and for people.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), instead: String::new(), product: String::new() }
    }

    /// Says what to write or do instead.
    pub(crate) fn instead(mut self, instead: impl Into<String>) -> Failure {
        self.instead = instead.into();
        self
    }

    /// Names the product concerned.
    pub(crate) fn product(mut self, product: impl ToString) -> Failure {
        self.product = product.to_string();
        self
    }

    /// The same for clients that show people the message alone: what to do instead stands in it.
    pub(crate) fn in_one_text(mut self) -> Failure {
        if !self.instead.is_empty() {
            self.message = format!("{}; instead: {}", self.message, self.instead);
        }
        self
    }

    /// What is wrong, what to do instead, and the product concerned; the latter two may be empty.
    pub(crate) fn texts(&self) -> [&str; 3] {
        [&self.message, &self.instead, &self.product]
    }

    /// The reason, for programs.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// A defect or a failed disk: the log says more than the caller learns.
    pub(crate) fn inner(code: ErrorCode, error: &dyn std::error::Error) -> Failure {
        tracing::error!(%error, "a request failed inside the node");
        let message = match code {
            ErrorCode::Storage => "the node's storage failed; its log says more",
            _ => "a defect of the node; its log says more",
        };
        Failure::new(code, message)
    }

    /// The disk is full: the caller waits or makes room, and sends again.
    fn disk_full() -> Failure {
        Failure::new(ErrorCode::DiskFull, "the node's disk is full; nothing of this was stored")
            .instead("make room on the node's disk, then send it again: what was taken in before counts once")
    }

    /// A disk that failed, or is full.
    pub(super) fn disk(error: &std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Failure::disk_full(),
            _ => Failure::inner(ErrorCode::Storage, error),
        }
    }

    /// The gRPC status with its typed detail.
    pub(crate) fn status(self, request: Option<&RequestId>) -> Status {
        let Failure { code, message, instead, product } = self;
        let grpc = grpc_code(code);
        let detail = ErrorDetail {
            code: code.into(),
            message: message.clone(),
            instead,
            product,
            request_id: request.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        };
        let envelope = rpc::Status {
            code: grpc.into(),
            message: message.clone(),
            details: vec![prost_types::Any { type_url: DETAIL_TYPE_URL.to_owned(), value: detail.encode_to_vec() }],
        };
        Status::with_details(grpc, message, envelope.encode_to_vec().into())
    }
}

/// The gRPC code that belongs to a reason.
fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::Unspecified | ErrorCode::Internal | ErrorCode::Storage => Code::Internal,
        ErrorCode::Invalid | ErrorCode::Sql | ErrorCode::QueryRefused | ErrorCode::UnfitFile => Code::InvalidArgument,
        ErrorCode::Token => Code::Unauthenticated,
        ErrorCode::NotGranted => Code::PermissionDenied,
        ErrorCode::UnknownProduct | ErrorCode::UnknownDataset | ErrorCode::UnknownFile => Code::NotFound,
        ErrorCode::AllSuppressed
        | ErrorCode::Incomplete
        | ErrorCode::Stale
        | ErrorCode::Uncovered
        | ErrorCode::Released => Code::FailedPrecondition,
        ErrorCode::TooLarge | ErrorCode::Busy | ErrorCode::DiskFull => Code::ResourceExhausted,
        ErrorCode::Stopping => Code::Unavailable,
        ErrorCode::NotOffered => Code::Unimplemented,
    }
}

/// The typed detail of a status that a node of ours sent.
pub(crate) fn detail(status: &Status) -> Option<ErrorDetail> {
    let envelope = rpc::Status::decode(status.details()).ok()?;
    let found = envelope.details.iter().find(|any| any.type_url == DETAIL_TYPE_URL)?;
    ErrorDetail::decode(found.value.as_slice()).ok()
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Failure {
        Failure::new(ErrorCode::Internal, "the work was stopped before it ended; the node's log says more")
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Failure {
        let code = match &error {
            WaitError::Failed(_) => ErrorCode::Storage,
            WaitError::Stopped => ErrorCode::Stopping,
            WaitError::Busy => ErrorCode::Busy,
            WaitError::UnknownDataset => ErrorCode::UnknownDataset,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Failure {
        let code = match &error {
            VaultError::Store(StoreError::DiskFull) => return Failure::disk_full(),
            VaultError::UnknownDataset(_) => ErrorCode::UnknownDataset,
            VaultError::UnknownFile { .. } => ErrorCode::UnknownFile,
            VaultError::OtherSource(_) | VaultError::Finished | VaultError::ReliedOn(_) => ErrorCode::Invalid,
            VaultError::Undoing(_) => ErrorCode::Busy,
            VaultError::Released => ErrorCode::Released,
            VaultError::Expired(_) => ErrorCode::Invalid,
            _ => return Failure::inner(ErrorCode::Storage, &error),
        };
        Failure::new(code, error.to_string())
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Failure {
        Failure::inner(ErrorCode::Storage, &error)
    }
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Failure {
        match error {
            UploadError::TooLarge { .. } => Failure::new(ErrorCode::TooLarge, error.to_string())
                .instead("split the file, or raise `upload_bytes_max` under [limits] in node.toml"),
            UploadError::Disk(error) => Failure::disk(&error),
        }
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Failure {
        match (error.fault(), error) {
            (_, IngestError::Vault(error)) => error.into(),
            (_, IngestError::Io { error, .. }) => Failure::disk(&error),
            (Fault::File, error) => Failure::new(ErrorCode::UnfitFile, error.to_string()),
            (Fault::Contract, error) => Failure::new(ErrorCode::Invalid, error.to_string()),
            (Fault::Stopped, error) => Failure::new(ErrorCode::Stopping, error.to_string()),
            (Fault::Node, error) => Failure::inner(ErrorCode::Storage, &error),
        }
    }
}

impl From<UndoError> for Failure {
    fn from(error: UndoError) -> Failure {
        match error {
            UndoError::NotOne { .. } => Failure::new(ErrorCode::UnknownFile, error.to_string())
                .instead("name the file by the SHA-256 of its unpacked bytes"),
            UndoError::Vault(error) => error.into(),
            UndoError::Ledger(error) => error.into(),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Failure {
        match error {
            PublishError::Vault(error) => error.into(),
            PublishError::Ledger(error) => error.into(),
            error @ PublishError::Gate(_) => Failure::inner(ErrorCode::Internal, &error),
        }
    }
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Failure {
        Failure::inner(ErrorCode::Storage, &error)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        let text = error.to_string();
        match error {
            QueryError::Refused { code: _, message, instead } => {
                Failure::new(ErrorCode::QueryRefused, message).instead(instead)
            }
            QueryError::NotGranted { product, owner: _ } => Failure::new(ErrorCode::NotGranted, text).product(product),
            QueryError::UnreadableContract(product) => Failure::new(ErrorCode::Storage, text).product(product),
            QueryError::UnknownTable { .. } => Failure::new(ErrorCode::UnknownProduct, text),
            QueryError::AllSuppressed { products } => match products.first() {
                Some(product) => Failure::new(ErrorCode::AllSuppressed, text).product(product),
                None => Failure::new(ErrorCode::AllSuppressed, text),
            },
            QueryError::Incomplete { .. } => Failure::new(ErrorCode::Incomplete, text),
            QueryError::Stale { .. } => Failure::new(ErrorCode::Stale, text),
            QueryError::Uncovered { .. } => Failure::new(ErrorCode::Uncovered, text),
            QueryError::Sql(_) | QueryError::Execution(_) | QueryError::Overflow => Failure::new(ErrorCode::Sql, text),
            QueryError::Busy { .. } => Failure::new(ErrorCode::Busy, text),
            QueryError::TooLarge { .. } | QueryError::TimedOut { .. } => Failure::new(ErrorCode::TooLarge, text),
            QueryError::Ledger => Failure::inner(ErrorCode::Storage, &QueryError::Ledger),
            error @ QueryError::Internal(_) => Failure::inner(ErrorCode::Internal, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_survives_the_wire() {
        let failure = Failure::new(ErrorCode::QueryRefused, "max(speed) is not published")
            .instead("avg(speed)")
            .product("traffic.taxi");
        let status = failure.status(None);
        assert_eq!(status.code(), Code::InvalidArgument);
        let detail = detail(&status).unwrap();
        assert_eq!(detail.code(), ErrorCode::QueryRefused);
        assert_eq!(detail.message, status.message());
        assert_eq!((detail.instead.as_str(), detail.product.as_str()), ("avg(speed)", "traffic.taxi"));
    }

    #[test]
    fn a_foreign_status_has_no_detail() {
        assert_eq!(detail(&Status::internal("boom")), None);
    }
}
