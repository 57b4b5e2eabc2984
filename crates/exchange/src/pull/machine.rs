//! What to do next at one peer, as a plain state machine: it is told what happened and says what to do. No I/O, no
//! clock, no randomness of its own. Times are milliseconds of a clock that never goes back, from any start.

use std::collections::{BTreeMap, VecDeque};

use civicmesh_model::{hash::Hash32, names::ProductId};

/// Most calls for the entries of one product within one turn; the rest goes on with the next turn, so that one product
/// keeps no other from being listed.
pub(super) const PULLS_PER_TURN_MAX: u32 = 8;

/// Most products of one peer that are left alone for a while; beyond, one that fails is tried again next turn.
const HELD_MAX: usize = 1024;

/// How often and how patiently a peer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two turns at a peer that answers, in milliseconds.
    pub turn_ms: u32,
    /// Longest wait before a peer, or a product, that failed is tried again, in milliseconds. The first is `turn_ms`,
    /// each further one twice as long.
    pub backoff_ms_max: u32,
    /// Time between two greetings over one link, in milliseconds; a new roster is handed on at once.
    pub greet_ms: u32,
    /// Age at which a link is replaced, so that renewed certificates come into use, in milliseconds.
    pub link_age_ms_max: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { turn_ms: 2_000, backoff_ms_max: 60_000, greet_ms: 60_000, link_age_ms_max: 600_000 }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before then.
    Wait { until_ms: u64 },
    /// Make a new link.
    Dial,
    /// Compare rosters.
    Greet,
    /// Ask for the list of products.
    List,
    /// Fetch a contract and adopt it.
    Adopt { product: ProductId, contract: Hash32 },
    /// Fetch a product's new entries.
    Pull { product: ProductId },
}

/// What is to be fetched of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) product: ProductId,
    /// The contract in force is not known yet.
    pub(super) contract: Option<Hash32>,
    /// There are entries that are not held yet.
    pub(super) entries: bool,
}

/// What became of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The wait is over.
    Rested,
    /// There is a link.
    Dialled,
    /// Rosters were compared: each side's serial, and whether ours was sent along.
    Greeted { ours: u64, theirs: u64, sent: bool },
    /// The products were listed; what they need, in order.
    Listed(Vec<Need>),
    /// The contract or the entries were fetched.
    Fetched,
    /// Entries were fetched, at least one, and there are more.
    FetchedSome,
    /// The product could not be fetched, and it is not the link's fault.
    ProductFailed(ProductId),
    /// The peer cannot be reached, or does not answer as it should.
    PeerFailed,
}

/// Where things stand at one peer.
#[derive(Debug)]
pub(super) struct Machine {
    pace: Pace,
    rest_until_ms: Option<u64>,
    link: Option<Linked>,
    fetches: VecDeque<Step>,
    /// Calls for entries in this turn.
    pulls: BTreeMap<ProductId, u32>,
    failures: u32,
    held: BTreeMap<ProductId, Held>,
}

#[derive(Debug, Clone, Copy)]
struct Linked {
    since_ms: u64,
    greeted: Option<Greeted>,
}

#[derive(Debug, Clone, Copy)]
struct Greeted {
    at_ms: u64,
    ours: u64,
    theirs: u64,
    sent: bool,
}

/// A product that failed and is left alone for a while.
#[derive(Debug, Clone, Copy)]
struct Held {
    failures: u32,
    until_ms: u64,
}

impl Machine {
    pub(super) fn new(pace: Pace) -> Self {
        let (fetches, pulls, held) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { pace, rest_until_ms: None, link: None, fetches, pulls, failures: 0, held }
    }

    /// What to do now, while our roster has this serial.
    pub(super) fn next(&self, now_ms: u64, our_serial: u64) -> Step {
        if let Some(until_ms) = self.rest_until_ms
            && now_ms < until_ms
        {
            return Step::Wait { until_ms };
        }
        let Some(link) = self.link.filter(|link| now_ms < later(link.since_ms, self.pace.link_age_ms_max)) else {
            return Step::Dial;
        };
        if self.must_greet(link, now_ms, our_serial) {
            return Step::Greet;
        }
        match self.fetches.front() {
            Some(step) => step.clone(),
            None => Step::List,
        }
    }

    fn must_greet(&self, link: Linked, now_ms: u64, our_serial: u64) -> bool {
        link.greeted.is_none_or(|greeted| {
            greeted.ours != our_serial
                || (greeted.theirs < our_serial && !greeted.sent)
                || now_ms >= later(greeted.at_ms, self.pace.greet_ms)
        })
    }

    /// Whether the peer is known to hold an older roster than ours, so that ours is to be sent along.
    pub(super) fn peer_is_behind(&self, our_serial: u64) -> bool {
        self.link.and_then(|link| link.greeted).is_some_and(|greeted| greeted.theirs < our_serial)
    }

    /// Takes note of what became of the step. `random` spreads the waits of many nodes.
    pub(super) fn tell(&mut self, event: Event, now_ms: u64, random: u64) {
        match event {
            Event::Dialled => {
                self.rest_until_ms = None;
                self.fetches.clear();
                self.link = Some(Linked { since_ms: now_ms, greeted: None });
            }
            Event::Greeted { ours, theirs, sent } => {
                if let Some(link) = &mut self.link {
                    link.greeted = Some(Greeted { at_ms: now_ms, ours, theirs, sent });
                }
            }
            Event::Listed(needs) => {
                self.failures = 0;
                self.rest_until_ms = None;
                self.pulls.clear();
                self.queue(needs);
                self.rest_when_done(now_ms, random);
            }
            Event::Fetched => {
                if let Some(Step::Pull { product }) = self.fetches.pop_front() {
                    self.held.remove(&product);
                }
                self.rest_when_done(now_ms, random);
            }
            Event::FetchedSome => {
                if let Some(step) = self.fetches.pop_front()
                    && let Some(product) = step.product()
                {
                    let pulls = self.pulls.entry(product.clone()).or_default();
                    *pulls += 1;
                    // Its turn comes again when the others had theirs.
                    if *pulls < PULLS_PER_TURN_MAX {
                        self.fetches.push_back(step);
                    }
                }
                self.rest_when_done(now_ms, random);
            }
            Event::Rested => {}
            Event::ProductFailed(product) => {
                self.hold(&product, now_ms, random);
                self.fetches.retain(|step| step.product() != Some(&product));
                self.rest_when_done(now_ms, random);
            }
            Event::PeerFailed => {
                self.link = None;
                self.fetches.clear();
                self.rest_until_ms = Some(later(now_ms, self.backoff_ms(self.failures, random)));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    /// Whether a product failed and is to be left alone for now.
    pub(super) fn holds(&self, product: &ProductId, now_ms: u64) -> bool {
        self.held.get(product).is_some_and(|held| now_ms < held.until_ms)
    }

    fn queue(&mut self, needs: Vec<Need>) {
        for Need { product, contract, entries } in needs {
            if let Some(contract) = contract {
                self.fetches.push_back(Step::Adopt { product: product.clone(), contract });
            }
            if entries {
                self.fetches.push_back(Step::Pull { product });
            }
        }
    }

    fn rest_when_done(&mut self, now_ms: u64, random: u64) {
        if self.fetches.is_empty() {
            self.rest_until_ms = Some(later(now_ms, spread(self.pace.turn_ms, random)));
        }
    }

    fn hold(&mut self, product: &ProductId, now_ms: u64, random: u64) {
        let failures = self.held.get(product).map_or(0, |held| held.failures);
        let until_ms = later(now_ms, self.backoff_ms(failures, random));
        if self.held.len() >= HELD_MAX {
            self.held.retain(|_, held| now_ms < held.until_ms);
        }
        if self.held.len() >= HELD_MAX && !self.held.contains_key(product) {
            return;
        }
        self.held.insert(product.clone(), Held { failures: failures.saturating_add(1), until_ms });
    }

    fn backoff_ms(&self, failures: u32, random: u64) -> u32 {
        let doubled = u64::from(self.pace.turn_ms) << failures.min(u32::BITS - 1);
        let bounded = doubled.min(u64::from(self.pace.backoff_ms_max));
        spread(u32::try_from(bounded).unwrap_or(u32::MAX), random)
    }
}

impl Need {
    /// Whether all that its owner gives is here.
    pub(super) fn is_settled(&self) -> bool {
        self.contract.is_none() && !self.entries
    }
}

impl Step {
    /// The product that it concerns.
    pub(super) fn product(&self) -> Option<&ProductId> {
        match self {
            Self::Adopt { product, .. } | Self::Pull { product } => Some(product),
            Self::Wait { .. } | Self::Dial | Self::Greet | Self::List => None,
        }
    }
}

/// From half of `wait_ms` to all of it.
fn spread(wait_ms: u32, random: u64) -> u32 {
    let half = u64::from(wait_ms / 2);
    let spread = u64::from(wait_ms) - half + 1;
    u32::try_from(half + random % spread).unwrap_or(wait_ms)
}

fn later(than_ms: u64, wait_ms: u32) -> u64 {
    than_ms.saturating_add(wait_ms.into())
}

#[cfg(test)]
mod tests;
