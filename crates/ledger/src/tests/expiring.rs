//! Retention at peers: bodies go, leaves stay.

use super::*;

/// The tests' contract keeps releases for 30 days.
const KEPT: i64 = 30 * 24;

#[test]
fn bodies_go_when_their_time_is_over_and_the_log_goes_on() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let mut forger = Forger::new().with(Entry::Empty(run(&contract, 0, 3)));
    for start in 3..8 {
        forger = forger.with(Entry::Release(release(&contract, start, 0)));
    }
    // A late revision of an early window: it goes with its window, not with its place in the log.
    let late = Release { closed_through: hour(8), ..release(&contract, 3, 1) };
    let forger = forger.with(Entry::Release(late));
    let replica =
        Replica::verify(&peer, Cursor { size: 0 }, forger.entries.clone(), forger.head(), &key().verifying_key(), NOW);
    peer.admit(replica.unwrap(), hour(8)).unwrap();
    assert_eq!(peer.expire_releases(hour(KEPT)).unwrap(), 0);
    assert_eq!(peer.snapshot().products().unwrap()[0].expired_through, None);

    // At hour 5 + 30 days the run, both entries about hour 3, and hour 4 are over.
    assert_eq!(peer.expire_releases(hour(KEPT + 5)).unwrap(), 4);
    assert_eq!(peer.expire_releases(hour(KEPT + 5)).unwrap(), 0);
    let starts: Vec<i64> = current(&peer).iter().map(|entry| entry.window().start.0 / HOUR).collect();
    assert_eq!(starts, [5, 6, 7]);
    assert_eq!(peer.snapshot().products().unwrap()[0].expired_through, Some(hour(5)));
    assert!(matches!(peer.entries(&product(), 0, 1), Err(LedgerError::Expired { index: 0, .. })));
    assert_eq!(peer.entries(&product(), 3, usize::MAX).unwrap().len(), 3, "up to the body that is gone");

    // The log verifies on, and still knows what was in the windows.
    forger.clone().with(Entry::Release(release(&contract, 8, 0))).show(&peer).unwrap();
    assert_eq!(prefixes(&peer)[6].0, forger.frontier.root());
    let again = Entry::Release(Release { closed_through: hour(9), ..release(&contract, 4, 0) });
    let twice = forger.with(Entry::Release(release(&contract, 8, 0))).with(again);
    assert!(matches!(twice.rejection(&peer), Rejection::AlreadyReleased { .. }));
}

#[test]
fn what_is_past_its_retention_when_it_comes_is_not_kept() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let forger = Forger::new().with(Entry::Release(release(&contract, 0, 0)));
    let forger = forger.with(Entry::Release(release(&contract, KEPT, 0)));
    let replica =
        Replica::verify(&peer, Cursor { size: 0 }, forger.entries.clone(), forger.head(), &key().verifying_key(), NOW);
    peer.admit(replica.unwrap(), hour(KEPT + 2)).unwrap();
    assert_eq!(current(&peer).len(), 1);
    assert_eq!(peer.cursor(&product()).unwrap().size, 2);
    assert_eq!(peer.snapshot().products().unwrap()[0].expired_through, Some(hour(2)));
}

#[test]
fn an_owner_keeps_its_own() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    ledger.append(&product(), vec![empty(&contract, 0, 1)], 0, &key(), NOW).unwrap();
    assert_eq!(ledger.expire_releases(hour(10 * KEPT)).unwrap(), 0);
    assert_consistent(&ledger);
}

#[test]
fn a_backlog_goes_in_batches() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let mut forger = Forger::new();
    for start in 0..2500 {
        forger = forger.with(Entry::Empty(run(&contract, start, start + 1)));
    }
    let replica = Replica::verify(
        &peer,
        Cursor { size: 0 },
        forger.entries.clone(),
        forger.head(),
        &key().verifying_key(),
        hour(1),
    );
    peer.admit(replica.unwrap(), hour(1)).unwrap();
    assert_eq!(peer.expire_releases(hour(KEPT + 2100)).unwrap(), 2100);
    assert_eq!(current(&peer).len(), 400);
}
