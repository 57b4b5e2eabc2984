//! Pulls what peers release: one task a peer, each with one link.

mod listing;
mod machine;
mod peer;
mod session;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use civicmesh_ledger::{Contact, Outcome};
use civicmesh_model::names::DomainName;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::machine::Pace;
use self::peer::Peer;
use crate::{
    exchange::Exchange,
    link::Dial,
    links::Links,
    roster::{Address, Roster, SignedRoster},
};

/// Why a domain that left the city is not reached.
const DEPARTED: &str = "it is no longer in the city";
/// The most seeds that are greeted.
pub const SEEDS_MAX: usize = 16;

/// How much of one product of a peer is stored here. Where it is reached, no more is pulled, and status says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Most entries of its log.
    pub entries_max: u64,
    /// Most bytes of the entries that are within their retention.
    pub bytes_max: u64,
}

impl Default for Quota {
    /// Nineteen years of minutes, in 8 GiB.
    fn default() -> Self {
        Self { entries_max: 10_000_000, bytes_max: 8 << 30 }
    }
}

/// Pulls from every peer of the city.
pub struct Puller {
    /// This node's part in the exchange.
    pub exchange: Exchange,
    /// How peers are reached.
    pub dial: Arc<dyn Dial>,
    /// How often they are asked.
    pub pace: Pace,
    /// How much of a product is stored.
    pub quota: Quota,
    /// Where to greet besides the roster's addresses: a node that was away while everybody moved finds the city again.
    pub seeds: Vec<Address>,
    /// Told how the links stand.
    pub links: Arc<Links>,
}

/// Somebody to talk to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    address: String,
    /// Unknown for a seed, with whom only rosters are exchanged.
    domain: Option<DomainName>,
}

impl Puller {
    /// Runs until `stop`, following the roster: who joins is pulled from, who leaves is left alone.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.exchange.roster.subscribe();
        let mut tasks = JoinSet::new();
        let mut running = BTreeMap::<Target, CancellationToken>::new();
        while !stop.is_cancelled() {
            let current = changes.borrow_and_update().clone();
            let wanted = self.targets(current.roster());
            self.links.retain(|domain| current.roster().members.contains_key(domain));
            self.note_departed(&current);
            running.retain(|target, stop| {
                let keep = wanted.contains(target);
                if !keep {
                    stop.cancel();
                }
                keep
            });
            for target in wanted {
                running.entry(target.clone()).or_insert_with(|| {
                    let stop = stop.child_token();
                    let (peer, told) = (self.peer(target, stop.clone()), stop.clone());
                    tasks.spawn(async move {
                        peer.run().await;
                        told.is_cancelled()
                    });
                    stop
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = changes.changed() => changed.expect("the book outlives its followers"),
                Some(ended) = tasks.join_next() => must_have_been_told(ended, &stop),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a peer's task ended early");
            }
        }
    }

    fn peer(&self, target: Target, stop: CancellationToken) -> Peer {
        Peer::new(self.exchange.clone(), Arc::clone(&self.dial), Arc::clone(&self.links), self, target, stop)
    }

    /// Notes of each domain that left the city that it is reached no more: what it released stays, and its age is told.
    /// Left to the ledger without waiting: it is noted again at the next start.
    fn note_departed(&self, current: &Arc<SignedRoster>) {
        let (current, now) = (Arc::clone(current), self.exchange.clock.now());
        let noted = self.exchange.at_ledger(move |ledger| {
            let departed =
                ledger.contacts().into_keys().filter(|domain| !current.roster().members.contains_key(domain));
            for domain in departed {
                let contact = Contact { at: now, outcome: Outcome::Unreachable { reason: DEPARTED.into() } };
                if let Err(error) = ledger.note(&domain, contact) {
                    tracing::error!(%domain, %error, "the ledger could not note that a domain left the city");
                }
            }
        });
        drop(noted);
    }

    fn targets(&self, roster: &Roster) -> Vec<Target> {
        let peers = roster.members.iter().filter(|(domain, _)| **domain != self.exchange.domain);
        let mut targets: Vec<_> = peers
            .map(|(domain, member)| Target { address: member.address.to_string(), domain: Some(domain.clone()) })
            .collect();
        let listed: Vec<_> = roster.members.values().map(|member| &member.address).collect();
        let seeds = self.seeds.iter().filter(|seed| !listed.contains(seed)).take(SEEDS_MAX);
        targets.extend(seeds.map(|seed| Target { address: seed.to_string(), domain: None }));
        targets
    }
}

/// A peer's task ends when it is told to. One that ends otherwise panicked, or its work did: nobody would pull from that
/// peer any more, so whoever runs the puller must hear of it.
fn must_have_been_told(ended: Result<bool, JoinError>, stop: &CancellationToken) {
    match ended {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Ok(told) => assert!(told || stop.is_cancelled(), "a peer's task ended before it was told to"),
        Err(_) => {}
    }
}
