//! What the machine says in each case.

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
    assert_eq!(machine.next(0, 1), Step::Pull { product: product("bus") });
    machine.tell(Event::Fetched, 0, 0);
    assert_eq!(machine.next(0, 1), Step::Pull { product: product("taxi") });
    machine.tell(Event::Fetched, 0, 0);
    assert_eq!(machine.next(0, 1), Step::Wait { until_ms: 50 });
    assert_eq!(machine.next(50, 1), Step::List);
}

#[test]
fn a_product_without_end_keeps_no_other_waiting_and_goes_on_next_turn() {
    let mut machine = linked();
    machine.tell(Event::Listed(vec![need("flood"), need("taxi"), need("bus")]), 0, 0);
    let mut pulled = Vec::new();
    while let Step::Pull { product } = machine.next(0, 1) {
        let flood = product == self::product("flood");
        pulled.push(product);
        machine.tell(if flood { Event::FetchedSome } else { Event::Fetched }, 0, 0);
    }
    assert_eq!(pulled[..3], ["flood", "taxi", "bus"].map(product));
    assert_eq!(pulled.len(), 2 + PULLS_PER_TURN_MAX as usize);
    let Step::Wait { until_ms } = machine.next(0, 1) else { panic!("the turn ends") };
    assert_eq!(machine.next(until_ms, 1), Step::List);
    machine.tell(Event::Listed(vec![need("flood")]), until_ms, 0);
    assert_eq!(machine.next(until_ms, 1), Step::Pull { product: product("flood") });
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

#[test]
fn names_without_end_are_not_all_remembered() {
    let mut machine = linked();
    for number in 0..HELD_MAX + 10 {
        machine.tell(Event::ProductFailed(product(&format!("p{number}"))), 0, 0);
    }
    assert_eq!(machine.held.len(), HELD_MAX);
    machine.tell(Event::ProductFailed(product("late")), 100, 0);
    assert!(machine.holds(&product("late"), 100), "those whose time is over make room");
}
