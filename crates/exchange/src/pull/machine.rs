//! What to do next at one peer, as a plain state machine: it is told what happened and says what to do. No I/O, no
//! clock, no randomness of its own. Times are milliseconds of a clock that never goes back, from any start.

use std::collections::{BTreeMap, VecDeque};

use civicmesh_model::{hash::Hash32, names::ProductId};

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
        Self { pace, rest_until_ms: None, link: None, fetches: VecDeque::new(), failures: 0, held: BTreeMap::new() }
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
                self.queue(needs);
                self.rest_when_done(now_ms, random);
            }
            Event::Fetched => {
                if let Some(Step::Pull { product }) = self.fetches.pop_front() {
                    self.held.remove(&product);
                }
                self.rest_when_done(now_ms, random);
            }
            Event::Rested | Event::FetchedSome => {}
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
        self.held.insert(product.clone(), Held { failures: failures.saturating_add(1), until_ms });
    }

    fn backoff_ms(&self, failures: u32, random: u64) -> u32 {
        let doubled = u64::from(self.pace.turn_ms) << failures.min(u32::BITS - 1);
        let bounded = doubled.min(u64::from(self.pace.backoff_ms_max));
        spread(u32::try_from(bounded).unwrap_or(u32::MAX), random)
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
mod tests {
    use super::*;

    const PACE: Pace = Pace { turn_ms: 100, backoff_ms_max: 1_000, greet_ms: 5_000, link_age_ms_max: 20_000 };

    fn product(name: &str) -> ProductId {
        format!("traffic.{name}").parse().unwrap()
    }

    fn need(name: &str) -> Need {
        Need { product: product(name), contract: None, entries: true }
    }

    fn greeted() -> Event {
        Event::Greeted { ours: 1, theirs: 1, sent: false }
    }

    /// A machine that has a link and has greeted over it.
    fn linked() -> Machine {
        let mut machine = Machine::new(PACE);
        machine.tell(Event::Dialled, 0, 0);
        machine.tell(greeted(), 0, 0);
        machine
    }

    #[test]
    fn a_turn_greets_lists_and_fetches_what_is_needed_in_order() {
        let mut machine = Machine::new(PACE);
        assert_eq!(machine.next(0, 1), Step::Dial);
        machine.tell(Event::Dialled, 0, 0);
        assert_eq!(machine.next(0, 1), Step::Greet);
        machine.tell(greeted(), 0, 0);
        assert_eq!(machine.next(0, 1), Step::List);
        let contract = Hash32([7; 32]);
        let taxi = Need { contract: Some(contract), ..need("taxi") };
        let idle = Need { entries: false, ..need("idle") };
        machine.tell(Event::Listed(vec![taxi, idle, need("bus")]), 0, 0);
        assert_eq!(machine.next(0, 1), Step::Adopt { product: product("taxi"), contract });
        machine.tell(Event::Fetched, 0, 0);
        assert_eq!(machine.next(0, 1), Step::Pull { product: product("taxi") });
        machine.tell(Event::FetchedSome, 0, 0);
        assert_eq!(machine.next(0, 1), Step::Pull { product: product("taxi") });
        machine.tell(Event::Fetched, 0, 0);
        assert_eq!(machine.next(0, 1), Step::Pull { product: product("bus") });
        machine.tell(Event::Fetched, 0, 0);
        assert_eq!(machine.next(0, 1), Step::Wait { until_ms: 50 });
        assert_eq!(machine.next(50, 1), Step::List);
    }

    #[test]
    fn an_idle_turn_is_one_call() {
        let mut machine = linked();
        machine.tell(Event::Listed(vec![]), 0, u64::MAX);
        let Step::Wait { until_ms } = machine.next(0, 1) else { panic!("rests") };
        assert!((50..=100).contains(&until_ms));
        assert_eq!(machine.next(until_ms, 1), Step::List);
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        for random in [0, 1, 77, u64::MAX] {
            let (mut machine, mut now_ms) = (Machine::new(PACE), 0);
            for longest in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
                assert_eq!(machine.next(now_ms, 1), Step::Dial);
                machine.tell(Event::PeerFailed, now_ms, random);
                let Step::Wait { until_ms } = machine.next(now_ms, 1) else { panic!("waits") };
                assert!((longest / 2..=longest).contains(&(until_ms - now_ms)));
                now_ms = until_ms;
            }
            for _ in 0..100 {
                machine.tell(Event::PeerFailed, now_ms, random);
            }
            assert!(matches!(machine.next(now_ms, 1), Step::Wait { until_ms } if until_ms <= now_ms + 1_000));
        }
    }

    #[test]
    fn a_peer_that_answers_again_is_forgiven() {
        let mut machine = Machine::new(PACE);
        for _ in 0..5 {
            machine.tell(Event::PeerFailed, 0, 0);
        }
        machine.tell(Event::Dialled, 1_000, 0);
        machine.tell(greeted(), 1_000, 0);
        machine.tell(Event::Listed(vec![]), 1_000, 0);
        machine.tell(Event::PeerFailed, 2_000, 0);
        assert_eq!(machine.next(2_000, 1), Step::Wait { until_ms: 2_050 });
    }

    #[test]
    fn a_link_alone_forgives_nothing() {
        let mut machine = Machine::new(PACE);
        for _ in 0..2 {
            machine.tell(Event::PeerFailed, 0, 0);
        }
        machine.tell(Event::Dialled, 1_000, 0);
        machine.tell(Event::PeerFailed, 1_000, 0);
        assert_eq!(machine.next(1_000, 1), Step::Wait { until_ms: 1_200 });
    }

    #[test]
    fn a_product_that_fails_is_left_alone_for_longer_each_time_and_holds_up_no_other() {
        let mut machine = linked();
        let (good, bad) = (product("good"), product("bad"));
        let needy = Need { contract: Some(Hash32([0; 32])), ..need("bad") };
        machine.tell(Event::Listed(vec![needy, need("good")]), 0, 0);
        machine.tell(Event::ProductFailed(bad.clone()), 0, 0);
        assert_eq!(machine.next(0, 1), Step::Pull { product: good.clone() });
        assert!(machine.holds(&bad, 49) && !machine.holds(&bad, 50) && !machine.holds(&good, 0));

        machine.tell(Event::Fetched, 0, 0);
        machine.tell(Event::ProductFailed(bad.clone()), 50, 0);
        machine.tell(Event::Listed(vec![need("good")]), 50, 0);
        assert_eq!(machine.next(50, 1), Step::Pull { product: good }, "a refused head delays no other");
        assert!(machine.holds(&bad, 149) && !machine.holds(&bad, 150));

        machine.tell(Event::Fetched, 50, 0);
        machine.tell(Event::Listed(vec![need("bad")]), 150, 0);
        machine.tell(Event::Fetched, 150, 0);
        machine.tell(Event::ProductFailed(bad.clone()), 200, 0);
        assert!(machine.holds(&bad, 249) && !machine.holds(&bad, 250), "forgiven once it was pulled");
    }

    #[test]
    fn rosters_are_compared_anew_when_ours_changes_and_now_and_then() {
        let mut machine = linked();
        assert_eq!(machine.next(0, 2), Step::Greet, "ours is newer");
        assert!(machine.peer_is_behind(2));
        machine.tell(Event::Greeted { ours: 2, theirs: 1, sent: true }, 0, 0);
        assert_eq!(machine.next(0, 2), Step::List, "sent once, whatever they made of it");
        assert_eq!(machine.next(4_999, 2), Step::List);
        assert_eq!(machine.next(5_000, 2), Step::Greet);
        machine.tell(Event::Greeted { ours: 2, theirs: 3, sent: false }, 5_000, 0);
        assert_eq!(machine.next(5_000, 2), Step::List, "theirs was refused: do not insist");
        assert_eq!(machine.next(5_000, 3), Step::Greet, "theirs was adopted: say so");
    }

    #[test]
    fn a_newer_roster_is_sent_once_the_other_side_is_known_to_lack_it() {
        let mut machine = Machine::new(PACE);
        machine.tell(Event::Dialled, 0, 0);
        assert!(!machine.peer_is_behind(2));
        machine.tell(Event::Greeted { ours: 2, theirs: 1, sent: false }, 0, 0);
        assert_eq!(machine.next(0, 2), Step::Greet);
        assert!(machine.peer_is_behind(2));
    }

    #[test]
    fn an_old_link_is_replaced() {
        let mut machine = linked();
        machine.tell(greeted(), 19_999, 0);
        assert_eq!(machine.next(19_999, 1), Step::List);
        assert_eq!(machine.next(20_000, 1), Step::Dial);
    }
}
