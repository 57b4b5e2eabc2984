//! One link to a peer, and the calls made over it. Each call has a deadline and a request id.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use civicmesh_ledger::LedgerError;
use civicmesh_model::{
    hash::Hash32,
    names::{DomainName, ProductId},
};
use civicmesh_proto::exchange::v1::{self as proto, exchange_service_client::ExchangeServiceClient};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::{
    Code, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{
    document::DOCUMENT_BYTES_MAX,
    link::{Link, LinkError, PeerIdentity, Stopped},
    request_id::RequestId,
    serve::{KEEPALIVE_S, KEEPALIVE_S_MAX, PAGE_BYTES_MAX},
    wire::{self, Listed, Page, Reason, WireError},
};

/// How long a call, or the next page of one, may take, in seconds.
pub const CALL_S_MAX: u64 = 20;
/// The longest message taken from a peer, in bytes.
pub const RESPONSE_BYTES_MAX: usize = civicmesh_model::release::ENTRY_BYTES_MAX + DOCUMENT_BYTES_MAX;
/// The most bytes of a page asked for.
const PAGE_BYTES_ASKED: u32 = PAGE_BYTES_MAX as u32;
/// Stands where HTTP wants a host's name.
const ORIGIN: &str = "http://civicmesh.invalid";

/// Why a peer could not be pulled from. The text is for status: it holds nothing that the peer's releases hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("no answer within {CALL_S_MAX} s")]
    Deadline,
    #[error("the link broke")]
    Broken,
    #[error("it says: {0}")]
    Refused(String),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the roster does not list {0} with the key it shows")]
    NotListed(DomainName),
    #[error("the ledger failed: {0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{product}: {reason}")]
    Product { product: ProductId, reason: String },
}

impl From<Status> for PullError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unknown | Code::Unavailable | Code::Cancelled => Self::Broken,
            Code::DeadlineExceeded => Self::Deadline,
            _ => Self::Refused(wire::text_of(status.message())),
        }
    }
}

/// A link with an HTTP/2 connection on it.
pub(super) struct Session {
    client: ExchangeServiceClient<Channel>,
    pub(super) peer: PeerIdentity,
}

impl Session {
    pub(super) async fn open(link: Link) -> Result<Self, PullError> {
        let peer = link.peer().clone();
        // The connector gives the one link away once: a broken session is never mended behind our back.
        let once = Mutex::new(Some(link));
        let connector = service_fn(move |_| {
            let link = once.lock().ok().and_then(|mut link| link.take());
            async move { link.map(TokioIo::new).ok_or(std::io::ErrorKind::NotConnected).map_err(std::io::Error::from) }
        });
        let channel = Endpoint::from_static(ORIGIN)
            .http2_keep_alive_interval(Duration::from_secs(KEEPALIVE_S))
            .keep_alive_timeout(Duration::from_secs(KEEPALIVE_S_MAX))
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|_| PullError::Broken)?;
        let client = ExchangeServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        Ok(Self { client, peer })
    }

    pub(super) async fn greet(
        &self,
        id: &RequestId,
        greeting: proto::GreetRequest,
    ) -> Result<proto::GreetResponse, PullError> {
        let mut client = self.client.clone();
        in_time(client.greet(id.attach(greeting))).await
    }

    pub(super) async fn list(&self, id: &RequestId) -> Result<Vec<Listed>, PullError> {
        let mut client = self.client.clone();
        let response = in_time(client.list_products(id.attach(proto::ListProductsRequest {}))).await?;
        let listed = wire::listing_of(response)?;
        match listed.iter().all(|listed| listed.product.domain == self.peer.domain) {
            true => Ok(listed),
            false => Err(WireError("product: it is another domain's").into()),
        }
    }

    pub(super) async fn contract(
        &self,
        id: &RequestId,
        product: &ProductId,
        hash: &Hash32,
    ) -> Result<Result<Bytes, Reason>, PullError> {
        let mut client = self.client.clone();
        let request = proto::GetContractRequest { product: product.to_string(), contract_hash: wire::hash_bytes(hash) };
        Ok(wire::contract_of(in_time(client.get_contract(id.attach(request))).await?)?)
    }

    pub(super) async fn pull(&self, id: &RequestId, product: &ProductId, from_index: u64) -> Result<Pages, PullError> {
        let mut client = self.client.clone();
        let request =
            proto::PullReleasesRequest { product: product.to_string(), from_index, page_bytes_max: PAGE_BYTES_ASKED };
        Ok(Pages(in_time(client.pull_releases(id.attach(request))).await?))
    }
}

/// The pages of one pull, as they come.
pub(super) struct Pages(Streaming<proto::PullReleasesResponse>);

impl Pages {
    pub(super) async fn next(&mut self) -> Result<Option<Result<Page, Reason>>, PullError> {
        let message = timeout(Duration::from_secs(CALL_S_MAX), self.0.message()).await;
        match message.map_err(|_| PullError::Deadline)?? {
            Some(message) => Ok(Some(wire::page_of(message)?)),
            None => Ok(None),
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, PullError> {
    let response = timeout(Duration::from_secs(CALL_S_MAX), call).await.map_err(|_| PullError::Deadline)?;
    Ok(response?.into_inner())
}
