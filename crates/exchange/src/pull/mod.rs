//! Pulls what peers release: one task a peer, each with one link.

mod machine;
mod peer;
mod session;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use civicmesh_model::names::DomainName;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::machine::Pace;
use self::peer::Peer;
use crate::{
    exchange::Exchange,
    link::Dial,
    links::Links,
    roster::{Address, Roster},
};

/// The most seeds that are greeted.
pub const SEEDS_MAX: usize = 16;

/// Pulls from every peer of the city.
pub struct Puller {
    /// This node's part in the exchange.
    pub exchange: Exchange,
    /// How peers are reached.
    pub dial: Arc<dyn Dial>,
    /// How often they are asked.
    pub pace: Pace,
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
                    tasks.spawn(self.peer(target, stop.clone()).run());
                    stop
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = changes.changed() => changed.expect("the book outlives its followers"),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a peer's task ended early");
            }
        }
    }

    fn peer(&self, target: Target, stop: CancellationToken) -> Peer {
        Peer::new(self.exchange.clone(), Arc::clone(&self.dial), Arc::clone(&self.links), self.pace, target, stop)
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
