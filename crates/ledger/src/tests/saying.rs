//! What peers said.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use civicmesh_store::StoreError;

use super::*;
use crate::{Contact, Outcome, PeerContact, RefusalKind};

fn transit() -> DomainName {
    "transit".parse().unwrap()
}

fn at(seconds: i64) -> UtcMicros {
    UtcMicros(seconds * 1_000_000)
}

fn unreachable(reason: &str) -> Outcome {
    Outcome::Unreachable { reason: reason.to_owned() }
}

/// Counts commits.
#[derive(Default)]
struct Count(AtomicU64);

impl Hook for Count {
    fn before_commit(&self, _: u64, _: usize) -> Result<(), StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn after_commit(&self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_peer_is_unreachable_since_the_first_attempt_that_failed() {
    let disk = MemoryDisk::new().unwrap();
    let ledger = open("traffic", &disk, None);
    let note = |seconds, outcome| ledger.note(&transit(), Contact { at: at(seconds), outcome }).unwrap();
    note(1, Outcome::Reached);
    note(2, unreachable("connection refused"));
    note(3, unreachable(&"é".repeat(300)));
    let contact = ledger.contacts().remove(&transit()).unwrap();
    assert_eq!((contact.reached_at, contact.unreachable_since), (Some(at(1)), Some(at(2))));
    assert_eq!(contact.reason, Some("é".repeat(128)), "cut between two characters");
    note(4, Outcome::Reached);
    let reached = PeerContact { at: at(4), reached_at: Some(at(4)), unreachable_since: None, reason: None };
    assert_eq!(ledger.contacts().remove(&transit()), Some(reached.clone()));
    drop(ledger);
    assert_eq!(open("traffic", &disk, None).contacts().remove(&transit()), Some(reached));
}

#[test]
fn polls_that_change_nothing_are_not_written_each_time() {
    let disk = MemoryDisk::new().unwrap();
    let count = Arc::new(Count::default());
    let contract = contract("1", OPEN);
    let ledger = open("transit", &disk, Some(count.clone()));
    ledger.adopt_contract(&public(&contract), NOW).unwrap();
    let head = Forger::new().head();
    let before = count.0.load(Ordering::Relaxed);
    for second in 0..100 {
        ledger.note(&"traffic".parse().unwrap(), Contact { at: at(second), outcome: Outcome::Reached }).unwrap();
        ledger.confirm(head.clone(), &key().verifying_key(), at(second)).unwrap();
    }
    let state = ledger.snapshot().product(&product()).unwrap().unwrap();
    assert_eq!(state.head_confirmed_at, Some(at(99)), "but known at once");
    assert_eq!(state.contact.unwrap().reached_at, Some(at(99)));
    assert_eq!(count.0.load(Ordering::Relaxed) - before, 2 * 4, "at 0, 30, 60 and 90 seconds");
    drop(ledger);
    let ledger = open("transit", &disk, None);
    let state = ledger.snapshot().product(&product()).unwrap().unwrap();
    assert_eq!(state.head_confirmed_at, Some(at(90)), "older than it is after a crash, never younger");
}

#[test]
fn a_refusal_stands_until_the_owner_gives_again() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    let other: ProductId = "health.emergency".parse().unwrap();
    ledger.note_refused(&product(), RefusalKind::NotGranted, NOW).unwrap();
    ledger.note_refused(&other, RefusalKind::NoSuchProduct, NOW).unwrap();
    assert!(!ledger.snapshot().products().unwrap()[0].granted);
    assert_eq!(ledger.refusals().unwrap().len(), 2);
    assert_eq!(ledger.snapshot().refusals().unwrap()[&other].kind, RefusalKind::NoSuchProduct);
    Forger::new().with(Entry::Empty(run(&contract, 0, 1))).show(&ledger).unwrap();
    assert!(ledger.snapshot().products().unwrap()[0].granted);
    assert_eq!(ledger.refusals().unwrap().into_keys().collect::<Vec<_>>(), [other]);
}

/// Holds a commit back until it is let go.
struct Slow {
    begun: Barrier,
    let_go: Barrier,
}

impl Hook for Slow {
    fn before_commit(&self, _: u64, _: usize) -> Result<(), StoreError> {
        self.begun.wait();
        self.let_go.wait();
        Ok(())
    }

    fn after_commit(&self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn who_reads_what_was_said_waits_for_no_disk() {
    let slow = Arc::new(Slow { begun: Barrier::new(2), let_go: Barrier::new(2) });
    let ledger = open("traffic", &MemoryDisk::new().unwrap(), Some(slow.clone()));
    std::thread::scope(|scope| {
        let noting = scope.spawn(|| ledger.note(&transit(), Contact { at: at(1), outcome: Outcome::Reached }));
        slow.begun.wait();
        assert!(ledger.contacts().is_empty(), "it is not told before it is durable");
        assert!(ledger.snapshot().products().unwrap().is_empty());
        slow.let_go.wait();
        noting.join().unwrap().unwrap();
    });
    assert_eq!(ledger.contacts()[&transit()].reached_at, Some(at(1)));
}
