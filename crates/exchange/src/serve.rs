//! Serves this domain's releases to its peers. Who asks is read from the link's certificate; whether they may have a
//! product is asked of its contract on every call.

use std::{sync::Arc, time::Duration};

use civicmesh_ledger::{Ledger, LedgerError, PAGE_ENTRIES_MAX, SigningKey};
use civicmesh_model::{contract::{Contract, Status as ContractStatus}, hash::Hash32, log::SignedHead, names::{DomainName, ProductId}, time::UtcMicros};
use civicmesh_proto::exchange::v1::{
    self as proto,
    exchange_service_server::{ExchangeService, ExchangeServiceServer},
    get_contract_response, pull_releases_response,
};
use futures::{Stream, StreamExt, stream::{self, BoxStream}};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Code, Request, Response, Status, transport::server::Server};
use tracing::{Instrument, Span};

use crate::{
    exchange::Exchange,
    link::{Accept, Link, LinkError, PeerIdentity, Stopped},
    request_id::RequestId,
    roster::{RosterError},
    wire::{self, Listed, Page, Reason, Standing, WireError},
};

/// The most calls that work at once; further ones are told to come again.
pub const CALLS_MAX: usize = 64;
/// The most calls at once over one link.
pub const CALLS_PER_LINK_MAX: u32 = 8;
/// The most bytes of entries in one page; a single entry that is longer makes a page of its own.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;
/// The most pages in one call; a peer that wants more calls again.
pub const PAGES_PER_CALL_MAX: usize = 64;
/// The longest message taken from a peer, in bytes: a roster and a little more.
pub const REQUEST_BYTES_MAX: usize = crate::document::DOCUMENT_BYTES_MAX + 4096;
/// Time between two signs of life asked of a silent link, in seconds.
pub const KEEPALIVE_S: u64 = 20;
/// How long such a sign may take, in seconds.
pub const KEEPALIVE_S_MAX: u64 = 10;
/// The most bytes of headers in one call.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// A server for the city side, bounded as it should be; the caller adds services and runs it over [`incoming`].
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(CALLS_PER_LINK_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(KEEPALIVE_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(KEEPALIVE_S_MAX)))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
}

/// The links of a listener, as the server takes them.
pub fn incoming(accept: Box<dyn Accept>) -> impl Stream<Item = Result<Link, LinkError>> {
    stream::unfold(accept, |mut accept| async move { Some((accept.accept().await, accept)) })
}

/// The exchange service of this node.
pub fn service(exchange: Exchange, key: Arc<SigningKey>) -> ExchangeServiceServer<Serve> {
    ExchangeServiceServer::new(serve(exchange, key)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

pub(crate) fn serve(exchange: Exchange, key: Arc<SigningKey>) -> Serve {
    Serve { exchange, key, calls: Arc::new(Semaphore::new(CALLS_MAX)) }
}

/// Answers peers from the ledger.
pub struct Serve {
    exchange: Exchange,
    key: Arc<SigningKey>,
    calls: Arc<Semaphore>,
}

/// Why a call failed. What a peer is told of it is written out below, and no more.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the link has no identity")]
    NoIdentity,
    #[error("the certificate has expired")]
    Expired,
    #[error("the roster does not list {0} with this key")]
    NotListed(DomainName),
    #[error("too many calls at once")]
    Busy,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Roster(#[from] RosterError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<ServeError> for Status {
    fn from(error: ServeError) -> Self {
        let code = match &error {
            ServeError::NoIdentity | ServeError::Expired => Code::Unauthenticated,
            ServeError::NotListed(_) => Code::PermissionDenied,
            ServeError::Busy => Code::ResourceExhausted,
            ServeError::Wire(_) => Code::InvalidArgument,
            ServeError::Roster(_) => Code::FailedPrecondition,
            ServeError::Stopped(_) => Code::Unavailable,
            ServeError::Ledger(error) => {
                tracing::error!(%error, "the ledger failed a peer's call");
                return Self::internal("the ledger failed; this node's log says more");
            }
        };
        Self::new(code, error.to_string())
    }
}

/// A call, once it is known who makes it.
struct Call {
    peer: PeerIdentity,
    span: Span,
}

impl Serve {
    fn begin<T>(&self, request: &Request<T>, name: &'static str) -> Result<Call, ServeError> {
        let peer = request.extensions().get::<PeerIdentity>().ok_or(ServeError::NoIdentity)?.clone();
        let id = RequestId::of(request.metadata(), &*self.exchange.entropy);
        let span = tracing::info_span!("serve", call = name, peer = %peer.domain, request = %id);
        if peer.certificate_expires <= self.exchange.clock.now() {
            return Err(ServeError::Expired);
        }
        Ok(Call { peer, span })
    }

    /// Begins a call that only members of the roster may make.
    fn begin_as_member<T>(&self, request: &Request<T>, name: &'static str) -> Result<Call, ServeError> {
        let call = self.begin(request, name)?;
        if self.exchange.roster.current().roster().admits(&call.peer) {
            Ok(call)
        } else {
            Err(ServeError::NotListed(call.peer.domain))
        }
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, ServeError> {
        self.calls.try_acquire().map_err(|_| ServeError::Busy)
    }

    async fn greeted(&self, request: proto::GreetRequest) -> Result<proto::GreetResponse, ServeError> {
        let proto::GreetRequest { node_version, roster_serial, roster } = request;
        let _permit = self.permit()?;
        tracing::debug!(version = wire::text_of(&node_version), serial = roster_serial, "greeted");
        if !roster.is_empty() {
            let book = Arc::clone(&self.exchange.roster);
            crate::link::run_blocking(&*self.exchange.blocking, move || book.offer(&roster)).await??;
        }
        let current = self.exchange.roster.current();
        let serial = current.roster().serial;
        Ok(proto::GreetResponse {
            node_version: self.exchange.version.to_string(),
            roster_serial: serial,
            roster: if serial > roster_serial { current.as_bytes().to_vec().into() } else { Default::default() },
        })
    }

    async fn listed(&self, peer: DomainName) -> Result<proto::ListProductsResponse, ServeError> {
        let _permit = self.permit()?;
        let (own, key, now) = (self.exchange.domain.clone(), Arc::clone(&self.key), self.exchange.clock.now());
        let products = self.exchange.at_ledger(move |ledger| list(ledger, &own, &peer, &key, now)).await??;
        Ok(proto::ListProductsResponse { products: products.into_iter().map(Into::into).collect() })
    }

    async fn contract(&self, peer: DomainName, request: proto::GetContractRequest) -> Result<proto::GetContractResponse, ServeError> {
        use get_contract_response::Outcome;
        let proto::GetContractRequest { product, contract_hash } = request;
        let (product, hash) = (wire::product_of(&product)?, wire::hash_of(&contract_hash)?);
        let _permit = self.permit()?;
        let own = self.exchange.domain.clone();
        let found = self.exchange.at_ledger(move |ledger| find_contract(ledger, &own, &peer, &product, &hash)).await??;
        let outcome = match found {
            Ok(contract) => Outcome::Contract(contract.public_document().to_vec().into()),
            Err(reason) => Outcome::Refusal(reason.into()),
        };
        Ok(proto::GetContractResponse { outcome: Some(outcome) })
    }
}

#[tonic::async_trait]
impl ExchangeService for Serve {
    async fn greet(&self, request: Request<proto::GreetRequest>) -> Result<Response<proto::GreetResponse>, Status> {
        let call = self.begin(&request, "greet")?;
        let response = self.greeted(request.into_inner()).instrument(call.span).await?;
        Ok(Response::new(response))
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Result<Response<proto::ListProductsResponse>, Status> {
        let call = self.begin_as_member(&request, "list")?;
        let response = self.listed(call.peer.domain).instrument(call.span).await?;
        Ok(Response::new(response))
    }

    async fn get_contract(
        &self,
        request: Request<proto::GetContractRequest>,
    ) -> Result<Response<proto::GetContractResponse>, Status> {
        let call = self.begin_as_member(&request, "contract")?;
        let response = self.contract(call.peer.domain, request.into_inner()).instrument(call.span).await?;
        Ok(Response::new(response))
    }

    type PullReleasesStream = BoxStream<'static, Result<proto::PullReleasesResponse, Status>>;

    async fn pull_releases(
        &self,
        request: Request<proto::PullReleasesRequest>,
    ) -> Result<Response<Self::PullReleasesStream>, Status> {
        let call = self.begin_as_member(&request, "pull")?;
        let proto::PullReleasesRequest { product, from_index, page_bytes_max } = request.into_inner();
        let asked = usize::try_from(page_bytes_max).ok().filter(|bytes| *bytes > 0);
        let pull = Pull {
            exchange: self.exchange.clone(),
            key: Arc::clone(&self.key),
            calls: Arc::clone(&self.calls),
            peer: call.peer.domain,
            product: wire::product_of(&product).map_err(ServeError::from)?,
            next_index: from_index,
            page_bytes_max: asked.map_or(PAGE_BYTES_MAX, |bytes| bytes.min(PAGE_BYTES_MAX)),
            span: call.span,
        };
        Ok(Response::new(pull.pages().boxed()))
    }
}

/// A peer's pull, page by page: each is read when the peer has taken the one before.
struct Pull {
    exchange: Exchange,
    key: Arc<SigningKey>,
    calls: Arc<Semaphore>,
    peer: DomainName,
    product: ProductId,
    next_index: u64,
    page_bytes_max: usize,
    span: Span,
}

impl Pull {
    fn pages(self) -> impl Stream<Item = Result<proto::PullReleasesResponse, Status>> + Send {
        use pull_releases_response::Content;
        stream::unfold(Some(self), |pull| async {
            let mut pull = pull?;
            let span = pull.span.clone();
            let page = pull.page().instrument(span).await;
            let (content, rest) = match page {
                Ok(None) => return None,
                Ok(Some(Ok(page))) => {
                    pull.next_index += page.entries.len() as u64;
                    (Ok(Content::Page(page.into())), Some(pull))
                }
                Ok(Some(Err(reason))) => (Ok(Content::Refusal(reason.into())), None),
                Err(error) => (Err(Status::from(error)), None),
            };
            Some((content.map(|content| proto::PullReleasesResponse { content: Some(content) }), rest))
        })
        .take(PAGES_PER_CALL_MAX)
    }

    /// The next page, a refusal, or nothing at the log's end.
    async fn page(&self) -> Result<Option<Result<Page, Reason>>, ServeError> {
        let _permit = self.calls.try_acquire().map_err(|_| ServeError::Busy)?;
        let (own, peer, product) = (self.exchange.domain.clone(), self.peer.clone(), self.product.clone());
        let (from_index, bytes_max, key) = (self.next_index, self.page_bytes_max, Arc::clone(&self.key));
        let now = self.exchange.clock.now();
        let read = move |ledger: &Ledger| match admitted(ledger, &own, &peer, &product)? {
            Ok(_) => read_page(ledger, &product, from_index, bytes_max, &key, now),
            Err(reason) => Ok(Some(Err(reason))),
        };
        Ok(self.exchange.at_ledger(read).await??)
    }
}

/// Every product that this domain shares, with what the peer may know of it.
fn list(
    ledger: &Ledger,
    own: &DomainName,
    peer: &DomainName,
    key: &SigningKey,
    now: UtcMicros,
) -> Result<Vec<Listed>, LedgerError> {
    let mut listed = Vec::new();
    for product in ledger.products()? {
        let standing = match admitted(ledger, own, peer, &product)? {
            Ok(contract) => {
                let head = newest_head(ledger, &product, key, now)?;
                Standing::Granted { contract: contract.hash(), head }
            }
            Err(Reason::UnknownProduct) => continue,
            Err(reason) => Standing::Refused(reason),
        };
        listed.push(Listed { product, standing });
    }
    Ok(listed)
}

/// The contract in force of an own, active product, if the peer is in its audience.
fn admitted(
    ledger: &Ledger,
    own: &DomainName,
    peer: &DomainName,
    product: &ProductId,
) -> Result<Result<Arc<Contract>, Reason>, LedgerError> {
    if product.domain != *own {
        return Ok(Err(Reason::UnknownProduct));
    }
    Ok(match ledger.contract(product)? {
        Some(contract) if contract.status == ContractStatus::Active => match contract.audience.admits(peer) {
            true => Ok(contract),
            false => Err(Reason::NotGranted),
        },
        Some(_) | None => Err(Reason::UnknownProduct),
    })
}

fn find_contract(
    ledger: &Ledger,
    own: &DomainName,
    peer: &DomainName,
    product: &ProductId,
    hash: &Hash32,
) -> Result<Result<Arc<Contract>, Reason>, LedgerError> {
    if let Err(reason) = admitted(ledger, own, peer, product)? {
        return Ok(Err(reason));
    }
    let known = ledger.contract_history(product)?.contains(hash);
    let contract = if known { ledger.contract_by_hash(hash)? } else { None };
    Ok(contract.ok_or(Reason::UnknownContract))
}

fn newest_head(ledger: &Ledger, product: &ProductId, key: &SigningKey, now: UtcMicros) -> Result<SignedHead, LedgerError> {
    let size = ledger.log(product)?.map_or(0, |log| log.head.head.size);
    ledger.head_at(product, size, key, now)
}

fn read_page(
    ledger: &Ledger,
    product: &ProductId,
    from_index: u64,
    bytes_max: usize,
    key: &SigningKey,
    now: UtcMicros,
) -> Result<Option<Result<Page, Reason>>, LedgerError> {
    let mut entries = match ledger.entries(product, from_index, bytes_max) {
        Ok(entries) => entries,
        Err(LedgerError::BeyondTheLog { .. }) => return Ok(Some(Err(Reason::BeyondEnd))),
        Err(error) => return Err(error),
    };
    entries.truncate(PAGE_ENTRIES_MAX);
    if entries.is_empty() {
        return Ok(None);
    }
    let page_head = ledger.head_at(product, from_index + entries.len() as u64, key, now)?;
    let newest_head = newest_head(ledger, product, key, now)?;
    let entries = entries.into_iter().map(|(_, bytes)| bytes).collect();
    Ok(Some(Ok(Page { from_index, entries, page_head, newest_head })))
}
