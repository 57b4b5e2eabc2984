//! A peer's pull, page by page: each is read when the peer has taken the one before.

use std::sync::Arc;

use civicmesh_ledger::{Ledger, SigningKey};
use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_proto::exchange::v1::{PullReleasesResponse, pull_releases_response::Content};
use futures::{Stream, StreamExt, stream};
use tonic::Status;
use tracing::{Instrument, Span};

use super::{PAGES_PER_CALL_MAX, failure::ServeError, shelf::Shelf};
use crate::{
    exchange::Exchange,
    places::Places,
    wire::{Page, Reason},
};

/// Where one pull stands.
pub(super) struct Pull {
    pub(super) exchange: Exchange,
    pub(super) key: Arc<SigningKey>,
    pub(super) calls: Arc<Places>,
    pub(super) peer: DomainName,
    pub(super) product: ProductId,
    pub(super) next_index: u64,
    pub(super) page_bytes_max: usize,
    pub(super) span: Span,
}

impl Pull {
    /// The pages, up to the log's end, a refusal, or the bound on one call.
    pub(super) fn pages(self) -> impl Stream<Item = Result<PullReleasesResponse, Status>> + Send {
        stream::unfold(Some(self), |pull| async {
            let mut pull = pull?;
            let span = pull.span.clone();
            let next = async { pull.page().await.map_err(Status::from) };
            let (message, rest) = match next.instrument(span).await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(page))) => {
                    pull.next_index += page.entries.len() as u64;
                    (Ok(Content::Page(page.into())), Some(pull))
                }
                Ok(Err(reason)) => (Ok(Content::Refusal(reason.into())), None),
                Err(status) => (Err(status), None),
            };
            Some((message.map(|content| PullReleasesResponse { content: Some(content) }), rest))
        })
        .take(PAGES_PER_CALL_MAX)
    }

    async fn page(&self) -> Result<Result<Option<Page>, Reason>, ServeError> {
        let _place = self.calls.take(&self.peer)?;
        let shelf = Shelf {
            own: self.exchange.domain.clone(),
            peer: self.peer.clone(),
            key: Arc::clone(&self.key),
            now: self.exchange.clock.now(),
        };
        let (product, from_index, bytes_max) = (self.product.clone(), self.next_index, self.page_bytes_max);
        let read = move |ledger: &Ledger| shelf.page(ledger, &product, from_index, bytes_max);
        Ok(self.exchange.at_ledger(read).await??)
    }
}
