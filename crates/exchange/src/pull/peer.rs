//! The task for one peer: does what the machine says and tells it what became of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use civicmesh_ledger::{Contact, Cursor, LedgerError, Outcome, Rejection, Replica, Stored, VerifyingKey};
use civicmesh_model::{
    contract::{Contract, Status},
    hash::Hash32,
    names::{DomainName, ProductId},
};
use civicmesh_proto::exchange::v1 as proto;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Puller, Quota, Target,
    listing::{reason_for_status, refusal_kind, refused_of, take_listed},
    machine::{Event, Machine, Step},
    session::{PullError, Session},
};
use crate::{
    exchange::Exchange,
    link::{Dial, random, run_blocking},
    links::Links,
    request_id::RequestId,
    serve::PAGES_PER_CALL_MAX,
    wire::{self, Page, Reason},
};

/// Most pages taken in one call, and most bytes of entries: an owner may send on without end.
const PAGES_PER_PULL_MAX: usize = PAGES_PER_CALL_MAX;
const PULL_BYTES_MAX: u64 = 64 << 20;

/// One peer and all that its task needs.
pub(super) struct Peer {
    exchange: Exchange,
    dial: Arc<dyn Dial>,
    links: Arc<Links>,
    quota: Quota,
    target: Target,
    stop: CancellationToken,
    machine: Machine,
    session: Option<Session>,
    started: Instant,
}

impl Peer {
    pub(super) fn new(
        exchange: Exchange,
        dial: Arc<dyn Dial>,
        links: Arc<Links>,
        puller: &Puller,
        target: Target,
        stop: CancellationToken,
    ) -> Self {
        let (machine, started) = (Machine::new(puller.pace), Instant::now());
        Self { exchange, dial, links, quota: puller.quota, target, stop, machine, session: None, started }
    }

    /// Works until told to stop. What is in the ledger's hands by then is finished there.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while let Some(Some(())) = stop.run_until_cancelled(self.work()).await {}
    }

    /// One step; nothing once the node is stopping.
    async fn work(&mut self) -> Option<()> {
        let step = self.machine.next(self.now_ms(), self.our_serial());
        let id = RequestId::new(&*self.exchange.entropy);
        let span = tracing::info_span!("pull", peer = %self.name(), request = %id);
        let event = match self.attempt(&step, &id).instrument(span.clone()).await {
            Ok(event) => event,
            Err(PullError::Stopped(_)) => return None,
            Err(error) => span.in_scope(|| self.failed(&step, &error)),
        };
        self.tell(event);
        Some(())
    }

    async fn attempt(&mut self, step: &Step, id: &RequestId) -> Result<Event, PullError> {
        match step {
            Step::Wait { until_ms } => {
                sleep_until(self.started + Duration::from_millis(*until_ms)).await;
                Ok(Event::Rested)
            }
            Step::Dial => self.dial().await,
            Step::Greet => self.greet(id).await,
            Step::List => self.list(id).await,
            Step::Adopt { product, contract } => self.adopt(id, product, contract).await,
            Step::Pull { product } => self.pull(id, product).await,
        }
    }

    async fn dial(&mut self) -> Result<Event, PullError> {
        self.session = None;
        let link = self.dial.dial(&self.target.address, self.target.domain.as_ref()).await?;
        self.links.dialled(link.peer());
        self.session = Some(Session::open(link).await?);
        Ok(Event::Dialled)
    }

    async fn greet(&self, id: &RequestId) -> Result<Event, PullError> {
        let session = self.session()?;
        let ours = self.exchange.roster.current();
        let sent = self.machine.peer_is_behind(ours.roster().serial);
        let greeting = proto::GreetRequest {
            node_version: self.exchange.version.to_string(),
            roster_serial: ours.roster().serial,
            roster: if sent { ours.as_bytes().to_vec().into() } else { Default::default() },
        };
        let answer = session.greet(id, greeting).await?;
        let proto::GreetResponse { node_version, roster_serial: theirs, roster } = answer;
        self.links.greeted(&session.peer.domain, wire::text_of(&node_version));
        if !roster.is_empty() {
            let book = Arc::clone(&self.exchange.roster);
            match run_blocking(&*self.exchange.blocking, move || book.offer(&roster)).await? {
                Ok(offer) => tracing::info!(serial = theirs, ?offer, "was shown a roster"),
                Err(error) => {
                    tracing::warn!(%error, "was shown a roster that is not to be followed")
                }
            }
        }
        Ok(Event::Greeted { ours: self.our_serial(), theirs, sent })
    }

    async fn list(&mut self, id: &RequestId) -> Result<Event, PullError> {
        let Some(domain) = self.target.domain.clone() else {
            // A seed: rosters were exchanged, and that was all.
            return Ok(Event::Listed(Vec::new()));
        };
        let session = self.session()?;
        let key = self.owner_key(&domain)?;
        let mut listed = session.list(id).await?;
        let (now, now_ms) = (self.exchange.clock.now(), self.now_ms());
        let refused = refused_of(&listed);
        let mut failed: BTreeSet<ProductId> = listed.iter().map(|listed| listed.product.clone()).collect();
        listed.retain(|listed| !self.machine.holds(&listed.product, now_ms));
        let noted = domain.clone();
        let standings = self.exchange.at_ledger(move |ledger| {
            ledger.note(&noted, Contact { at: now, outcome: Outcome::Reached })?;
            if !ledger.note_refusals(&noted, &refused, now)? {
                tracing::debug!("it refuses more products than are kept of one peer");
            }
            listed.into_iter().map(|listed| take_listed(ledger, listed, &key, now)).collect::<Result<Vec<_>, _>>()
        });
        let mut needs = Vec::new();
        for standing in standings.await?? {
            match standing {
                Ok(need) => {
                    if need.is_settled() {
                        failed.remove(&need.product);
                    }
                    needs.push(need);
                }
                Err((product, error)) => {
                    tracing::warn!(%product, %error, "a listed product was refused");
                    self.links.failed(&product, reason_for_status(&product, &error));
                    self.tell(Event::ProductFailed(product));
                }
            }
        }
        self.links.retain_failed(&domain, |product| failed.contains(product));
        self.links.reached(&domain, true);
        Ok(Event::Listed(needs))
    }

    async fn adopt(&self, id: &RequestId, product: &ProductId, hash: &Hash32) -> Result<Event, PullError> {
        let contract = self.fetch_contract(id, product, hash).await?;
        let now = self.exchange.clock.now();
        self.exchange.at_ledger(move |ledger| ledger.adopt_contract(&contract, now)).await??;
        Ok(Event::Fetched)
    }

    async fn learn(&self, id: &RequestId, product: &ProductId, hash: &Hash32) -> Result<(), PullError> {
        let contract = self.fetch_contract(id, product, hash).await?;
        let now = self.exchange.clock.now();
        match self.exchange.at_ledger(move |ledger| ledger.learn_contract(&contract, now)).await?? {
            true => Ok(()),
            false => Err(product_failed(product, "its entries name a contract that helps nothing")),
        }
    }

    async fn fetch_contract(&self, id: &RequestId, product: &ProductId, hash: &Hash32) -> Result<Contract, PullError> {
        let document = match self.session()?.contract(id, product, hash).await? {
            Ok(document) => document,
            Err(reason) => {
                return Err(product_failed(product, &format!("its contract was refused: {reason}")));
            }
        };
        let contract =
            Contract::from_public(&document).map_err(|_| product_failed(product, "its contract cannot be read"))?;
        if contract.product != *product || contract.hash() != *hash || contract.status != Status::Active {
            return Err(product_failed(product, "another contract came than was asked for"));
        }
        Ok(contract)
    }

    async fn pull(&self, id: &RequestId, product: &ProductId) -> Result<Event, PullError> {
        let key = self.owner_key(&product.domain)?;
        let asked = product.clone();
        let mut stored = self.exchange.at_ledger(move |ledger| ledger.stored(&asked)).await??;
        if self.is_full(stored) {
            return Err(product_failed(product, &self.full(stored)));
        }
        let (start, mut newest_size) = (stored.entries, stored.entries);
        let mut pages = self.session()?.pull(id, product, start).await?;
        let mut bytes_left = PULL_BYTES_MAX;
        for _ in 0..PAGES_PER_PULL_MAX {
            let Some(page) = pages.next().await? else { break };
            let page = match page {
                Ok(page) if page.page_head.head.product == *product && page.from_index == stored.entries => page,
                Ok(_) => {
                    return Err(product_failed(product, "another page came than was asked for"));
                }
                Err(reason) => return self.refused(product, reason).await,
            };
            newest_size = page.newest_head.head.size;
            let bytes = page.entries.iter().map(|entry| entry.len() as u64).sum();
            let after = Stored { entries: page.page_head.head.size, body_bytes: stored.body_bytes + bytes };
            self.take_page(id, Cursor { size: stored.entries }, page, &key).await?;
            stored = after;
            bytes_left = bytes_left.saturating_sub(bytes);
            if bytes_left == 0 || self.is_full(stored) {
                break;
            }
        }
        if start < stored.entries {
            tracing::info!(%product, entries = stored.entries, "pulled");
        }
        Ok(match start < stored.entries && stored.entries < newest_size {
            true => Event::FetchedSome,
            false => Event::Fetched,
        })
    }

    fn is_full(&self, stored: Stored) -> bool {
        stored.entries >= self.quota.entries_max || stored.body_bytes >= self.quota.bytes_max
    }

    fn full(&self, stored: Stored) -> String {
        let Quota { entries_max, bytes_max } = self.quota;
        format!(
            "{} entries of {} bytes are stored, and at most {entries_max} of {bytes_max} are; if they should be, raise \
             [pull] product_entries_max or product_bytes_max",
            stored.entries, stored.body_bytes
        )
    }

    /// Verifies and admits one page, asking for contracts that it names and that are not known.
    async fn take_page(&self, id: &RequestId, cursor: Cursor, page: Page, key: &VerifyingKey) -> Result<(), PullError> {
        let product = page.page_head.head.product.clone();
        let (page, key) = (Arc::new(page), key.clone());
        loop {
            let (page, key) = (Arc::clone(&page), key.clone());
            let now = self.exchange.clock.now();
            let taken = self.exchange.at_ledger(move |ledger| {
                let entries = page.entries.clone();
                let replica = Replica::verify(ledger, cursor, entries, page.page_head.clone(), &key, now)?;
                ledger.admit(replica, now)
            });
            match taken.await? {
                Ok(_) => return Ok(()),
                Err(LedgerError::Rejected { rejection: Rejection::UnknownContract { contract, .. }, .. }) => {
                    self.learn(id, &product, &contract).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn refused(&self, product: &ProductId, reason: Reason) -> Result<Event, PullError> {
        let Some(kind) = refusal_kind(reason) else {
            return Err(product_failed(product, &format!("its entries were refused: {reason}")));
        };
        let (product, now) = (product.clone(), self.exchange.clock.now());
        self.exchange.at_ledger(move |ledger| ledger.note_refused(&product, kind, now)).await??;
        Ok(Event::Fetched)
    }

    /// Takes a failure to heart: a product's is its own, everything else is the peer's.
    fn failed(&mut self, step: &Step, error: &PullError) -> Event {
        let fault_of_product = matches!(error, PullError::Product { .. } | PullError::Ledger(_));
        if let (Some(product), true) = (step.product(), fault_of_product) {
            tracing::warn!(%product, %error, "a product could not be pulled");
            let reason = match error {
                PullError::Ledger(error) => reason_for_status(product, error),
                error => reason_for_status(product, error),
            };
            self.links.failed(product, reason);
            return Event::ProductFailed(product.clone());
        }
        self.session = None;
        let Some(domain) = &self.target.domain else {
            tracing::debug!(%error, "a seed could not be greeted");
            return Event::PeerFailed;
        };
        let known = self.links.views().get(domain).and_then(|view| view.reached);
        match known {
            Some(false) => tracing::debug!(%error, "a peer still cannot be reached"),
            Some(true) | None => tracing::warn!(%error, "a peer cannot be reached"),
        }
        if !matches!(error, PullError::Ledger(_)) {
            self.links.reached(domain, false);
            self.note_unreachable(domain.clone(), error.to_string());
        }
        Event::PeerFailed
    }

    /// Left to the ledger without waiting: if it fails, the next failure is noted.
    fn note_unreachable(&self, domain: DomainName, reason: String) {
        let contact = Contact { at: self.exchange.clock.now(), outcome: Outcome::Unreachable { reason } };
        let noted = self.exchange.at_ledger(move |ledger| {
            if let Err(error) = ledger.note(&domain, contact) {
                tracing::error!(%error, "the ledger could not note a contact");
            }
        });
        drop(noted);
    }

    fn tell(&mut self, event: Event) {
        let (now_ms, random) = (self.now_ms(), random(&*self.exchange.entropy));
        self.machine.tell(event, now_ms, random);
    }

    fn session(&self) -> Result<&Session, PullError> {
        self.session.as_ref().ok_or(PullError::Broken)
    }

    /// The key that signs the domain's heads, if who answers is whom the roster lists.
    fn owner_key(&self, domain: &DomainName) -> Result<VerifyingKey, PullError> {
        let current = self.exchange.roster.current();
        let roster = current.roster();
        match roster.members.get(domain) {
            Some(member) if roster.admits(&self.session()?.peer) => Ok(member.release_key.verifying_key()),
            _ => Err(PullError::NotListed(domain.clone())),
        }
    }

    fn our_serial(&self) -> u64 {
        self.exchange.roster.current().roster().serial
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn name(&self) -> &str {
        self.target.domain.as_ref().map_or(&self.target.address, DomainName::as_str)
    }
}

fn product_failed(product: &ProductId, reason: &str) -> PullError {
    PullError::Product { product: product.clone(), reason: reason.into() }
}
