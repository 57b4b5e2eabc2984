//! Why a peer's call failed, and what the peer is told of it.

use civicmesh_ledger::LedgerError;
use civicmesh_model::names::DomainName;
use tonic::{Code, Status};

use crate::{link::Stopped, places::NoPlace, roster::RosterError, wire::WireError};

#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("the link has no identity")]
    NoIdentity,
    #[error("the certificate has expired")]
    Expired,
    #[error("the roster does not list {0} with the key that it shows")]
    NotListed(DomainName),
    #[error("{0} was removed from the city")]
    Removed(DomainName),
    #[error("calls: {0}")]
    Busy(#[from] NoPlace),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Roster(#[from] RosterError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ServeError {
    fn code(&self) -> Code {
        match self {
            Self::NoIdentity | Self::Expired => Code::Unauthenticated,
            Self::NotListed(_) | Self::Removed(_) => Code::PermissionDenied,
            Self::Busy(_) => Code::ResourceExhausted,
            Self::Wire(_) => Code::InvalidArgument,
            Self::Roster(_) => Code::FailedPrecondition,
            Self::Stopped(_) => Code::Unavailable,
            Self::Ledger(_) => Code::Internal,
        }
    }
}

impl From<ServeError> for Status {
    /// Logs the failure, too: within the call's span, so that the log names peer and request.
    fn from(error: ServeError) -> Self {
        let code = error.code();
        if let ServeError::Ledger(error) = error {
            tracing::error!(%error, "the ledger failed a peer's call");
            return Self::new(code, "the ledger failed; this node's log says more");
        }
        tracing::info!(%error, "did not serve a peer's call");
        Self::new(code, error.to_string())
    }
}
