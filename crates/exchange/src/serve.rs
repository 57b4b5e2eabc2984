//! Serves this domain's releases to its peers. Who asks is read from the link's certificate; whether they are a member
//! is asked of the roster, and whether they may have a product of its contract, on every call.

mod failure;
mod pages;
mod shelf;

use std::{future::Future, sync::Arc, time::Duration};

use civicmesh_ledger::SigningKey;
use civicmesh_model::names::DomainName;
use civicmesh_proto::exchange::v1::{
    self as proto,
    exchange_service_server::{ExchangeService, ExchangeServiceServer},
    get_contract_response::Outcome,
};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status, transport::server::Server};
use tracing::{Instrument, Span};

use self::{failure::ServeError, pages::Pull, shelf::Shelf};
use crate::{
    document::DOCUMENT_BYTES_MAX,
    exchange::Exchange,
    link::{Accept, Link, LinkError, PeerIdentity, run_blocking},
    places::Places,
    request_id::RequestId,
    wire,
};

/// The most calls that work at once; further ones are told to come again.
pub const CALLS_MAX: usize = 64;
/// The most of them that are one domain's.
pub const CALLS_PER_DOMAIN_MAX: usize = 8;
/// The most calls at once over one link.
pub const CALLS_PER_LINK_MAX: u32 = 4;
/// The most bytes of entries in one page; a single entry that is longer makes a page of its own.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;
/// The most pages in one call; a peer that wants more calls again.
pub const PAGES_PER_CALL_MAX: usize = 64;
/// The longest message taken from a peer, in bytes: a roster and a little more.
pub const REQUEST_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 4096;
/// Time between two signs of life asked of a silent link, in seconds.
pub const KEEPALIVE_S: u64 = 20;
/// How long such a sign may take, in seconds.
pub const KEEPALIVE_S_MAX: u64 = 10;
/// How long a link is kept, whatever goes on over it, in seconds; longer than a peer keeps one ([`Pace`]).
///
/// [`Pace`]: crate::pull::Pace
pub const LINK_S_MAX: u64 = 900;
/// The most bytes of headers in one call.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// A server for the city side, bounded as it should be; the caller adds services and runs it over [`incoming`].
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(CALLS_PER_LINK_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(KEEPALIVE_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(KEEPALIVE_S_MAX)))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_connection_age(Duration::from_secs(LINK_S_MAX))
        .max_connection_age_grace(Duration::ZERO)
}

/// The links of a listener, as the server takes them.
pub fn incoming(accept: Box<dyn Accept>) -> impl Stream<Item = Result<Link, LinkError>> {
    stream::unfold(accept, |mut accept| async move { Some((accept.accept().await, accept)) })
}

/// The exchange service of this node; `key` signs the heads that it shows.
pub fn service(exchange: Exchange, key: Arc<SigningKey>) -> ExchangeServiceServer<Serve> {
    ExchangeServiceServer::new(Serve::new(exchange, key)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Answers peers from the ledger.
pub struct Serve {
    exchange: Exchange,
    key: Arc<SigningKey>,
    calls: Arc<Places>,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Everyone with a certificate of the city: a newer roster than ours may list them.
    AnyoneOfTheCity,
    /// Whom the roster lists, with the key that it lists.
    Member,
}

/// A call, once it is known who makes it.
struct Call {
    peer: DomainName,
    span: Span,
}

impl Call {
    async fn answer<T>(self, work: impl Future<Output = Result<T, ServeError>>) -> Result<Response<T>, Status> {
        async { Ok(Response::new(work.await?)) }.instrument(self.span).await
    }
}

impl Serve {
    pub(crate) fn new(exchange: Exchange, key: Arc<SigningKey>) -> Self {
        Self { exchange, key, calls: Places::new(CALLS_MAX, CALLS_PER_DOMAIN_MAX) }
    }

    /// Finds out who calls.
    fn begin<T>(&self, request: &Request<T>, name: &'static str, caller: Caller) -> Result<Call, Status> {
        let Some(peer) = request.extensions().get::<PeerIdentity>() else {
            return Err(ServeError::NoIdentity.into());
        };
        let id = RequestId::of(request.metadata(), &*self.exchange.entropy);
        let span = tracing::info_span!("serve", call = name, peer = %peer.domain, request = %id);
        let _entered = span.clone().entered();
        if peer.certificate_expires <= self.exchange.clock.now() {
            return Err(ServeError::Expired.into());
        }
        let current = self.exchange.roster.current();
        if current.roster().removed(peer) {
            return Err(ServeError::Removed(peer.domain.clone()).into());
        }
        if caller == Caller::Member && !current.roster().admits(peer) {
            return Err(ServeError::NotListed(peer.domain.clone()).into());
        }
        tracing::debug!("called");
        Ok(Call { peer: peer.domain.clone(), span })
    }

    fn shelf(&self, peer: &DomainName) -> Shelf {
        Shelf {
            own: self.exchange.domain.clone(),
            peer: peer.clone(),
            key: Arc::clone(&self.key),
            now: self.exchange.clock.now(),
        }
    }

    async fn greeted(
        &self,
        peer: &DomainName,
        greeting: proto::GreetRequest,
    ) -> Result<proto::GreetResponse, ServeError> {
        let proto::GreetRequest { node_version, roster_serial, roster } = greeting;
        let _place = self.calls.take(peer)?;
        tracing::debug!(version = wire::text_of(&node_version), serial = roster_serial, "greeted");
        if !roster.is_empty() {
            let book = Arc::clone(&self.exchange.roster);
            run_blocking(&*self.exchange.blocking, move || book.offer(&roster)).await??;
        }
        let current = self.exchange.roster.current();
        let newer = current.roster().serial > roster_serial;
        Ok(proto::GreetResponse {
            node_version: self.exchange.version.to_string(),
            roster_serial: current.roster().serial,
            roster: if newer { current.as_bytes().to_vec().into() } else { Default::default() },
        })
    }

    async fn listed(&self, shelf: Shelf) -> Result<proto::ListProductsResponse, ServeError> {
        let _place = self.calls.take(&shelf.peer)?;
        let listed = self.exchange.at_ledger(move |ledger| shelf.list(ledger)).await??;
        Ok(proto::ListProductsResponse { products: listed.into_iter().map(Into::into).collect() })
    }

    async fn contract(
        &self,
        shelf: Shelf,
        request: proto::GetContractRequest,
    ) -> Result<proto::GetContractResponse, ServeError> {
        let proto::GetContractRequest { product, contract_hash } = request;
        let (product, hash) = (wire::product_of(&product)?, wire::hash_of(&contract_hash)?);
        let _place = self.calls.take(&shelf.peer)?;
        let found = self.exchange.at_ledger(move |ledger| shelf.contract(ledger, &product, &hash));
        let outcome = match found.await?? {
            Ok(contract) => Outcome::Contract(contract.public_document().to_vec().into()),
            Err(reason) => Outcome::Refusal(reason.into()),
        };
        Ok(proto::GetContractResponse { outcome: Some(outcome) })
    }
}

#[tonic::async_trait]
impl ExchangeService for Serve {
    async fn greet(&self, request: Request<proto::GreetRequest>) -> Result<Response<proto::GreetResponse>, Status> {
        let call = self.begin(&request, "greet", Caller::AnyoneOfTheCity)?;
        let peer = call.peer.clone();
        call.answer(self.greeted(&peer, request.into_inner())).await
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Result<Response<proto::ListProductsResponse>, Status> {
        let call = self.begin(&request, "list", Caller::Member)?;
        let shelf = self.shelf(&call.peer);
        call.answer(self.listed(shelf)).await
    }

    async fn get_contract(
        &self,
        request: Request<proto::GetContractRequest>,
    ) -> Result<Response<proto::GetContractResponse>, Status> {
        let call = self.begin(&request, "contract", Caller::Member)?;
        let shelf = self.shelf(&call.peer);
        call.answer(self.contract(shelf, request.into_inner())).await
    }

    type PullReleasesStream = BoxStream<'static, Result<proto::PullReleasesResponse, Status>>;

    async fn pull_releases(
        &self,
        request: Request<proto::PullReleasesRequest>,
    ) -> Result<Response<Self::PullReleasesStream>, Status> {
        let Call { peer, span } = self.begin(&request, "pull", Caller::Member)?;
        let proto::PullReleasesRequest { product, from_index, page_bytes_max } = request.into_inner();
        let asked = usize::try_from(page_bytes_max).ok().filter(|bytes| *bytes > 0);
        let pull = Pull {
            exchange: self.exchange.clone(),
            key: Arc::clone(&self.key),
            calls: Arc::clone(&self.calls),
            peer,
            product: wire::product_of(&product).map_err(ServeError::from)?,
            next_index: from_index,
            page_bytes_max: asked.map_or(PAGE_BYTES_MAX, |bytes| bytes.min(PAGE_BYTES_MAX)),
            span,
        };
        Ok(Response::new(pull.pages().boxed()))
    }
}
