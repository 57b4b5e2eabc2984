//! A replica equals its origin byte for byte, or is refused; and an owner that changes history is found out.

use civicmesh_model::release::{EntryError, Suppressed, SuppressionReason};

use super::*;
use crate::PAGE_ENTRIES_MAX;
use crate::error::Held;

#[test]
fn a_replica_equals_its_origin_byte_for_byte() {
    let contract = contract("1", OPEN);
    let (owner, peer) = (owner(&contract), peer(&contract));
    owner.append(&product(), vec![empty(&contract, 0, 9)], 1, &key(), NOW).unwrap();
    owner.append(&product(), vec![revised(&contract, 4, 1, 9), empty(&contract, 9, 10)], 2, &key(), NOW).unwrap();
    for page_bytes in [1, 1, usize::MAX] {
        let cursor = peer.cursor(&product()).unwrap();
        let page = owner.entries(&product(), cursor.size, page_bytes).unwrap();
        let size = cursor.size + page.len() as u64;
        let head = owner.head_at(&product(), size, &key(), NOW).unwrap();
        pull(&peer, cursor, page.into_iter().map(|(_, bytes)| bytes).collect(), head).unwrap();
        assert_consistent(&peer);
    }
    assert_eq!(whole_log(&peer), whole_log(&owner));
    assert_eq!(current(&peer), current(&owner));
    assert_eq!(peer.log(&product()).unwrap(), owner.log(&product()).unwrap());
}

#[test]
fn a_threshold_release_with_cells_is_admitted() {
    let contract = contract("1", THRESHOLD);
    let peer = peer(&contract);
    let mut second = release(&contract, 1, 0);
    second.suppressed =
        vec![Suppressed { coordinate: vec!["Queens".into()], reason: SuppressionReason::BelowThreshold }];
    second.suppressed_share = ShareBand::More;
    let first = Entry::Release(release(&contract, 0, 0));
    let forger = Forger::new().with(first.clone()).with(Entry::Release(second.clone()));
    forger.show(&peer).unwrap();
    assert_eq!(current(&peer), [first, Entry::Release(second)]);
    assert_consistent(&peer);
}

/// Each of these breaks one rule of the log.
#[test]
fn entries_that_break_a_rule_are_refused_and_remembered() {
    let open = contract("1", OPEN);
    let threshold = contract("1", THRESHOLD);
    let base = |contract: &Contract| Forger::new().with(Entry::Empty(run(contract, 0, 3)));
    let with = |contract: &Contract, change: &dyn Fn(&mut Release)| {
        let mut release = release(contract, 3, 0);
        change(&mut release);
        Entry::Release(release)
    };
    type Cases<'a> = Vec<(&'a Contract, Entry, Box<dyn Fn(&Rejection) -> bool>)>;
    fn mismatch(what: &'static str) -> Box<dyn Fn(&Rejection) -> bool> {
        Box::new(move |r| *r == Rejection::ContractMismatch { index: 1, what })
    }
    let cases: Cases<'_> = vec![
        (&open, with(&open, &|r| r.dimensions = vec!["district".into()]), mismatch("the dimensions")),
        (&open, with(&open, &|r| r.measures = vec!["pace".into()]), mismatch("the measures")),
        (&open, with(&open, &|r| r.decimals = vec![2]), mismatch("the decimals")),
        (&open, with(&open, &|r| r.method = MethodTag::Threshold { k: 10 }), mismatch("the method")),
        (&threshold, with(&threshold, &|r| r.method = MethodTag::Threshold { k: 9 }), mismatch("the method")),
        (
            &threshold,
            with(&threshold, &|r| r.cells[0].measures[0].max = Some(5)),
            mismatch("a statistic that is not published"),
        ),
        (&open, Entry::Empty(EmptyRun { zero: false, ..run(&open, 3, 4) }), mismatch("what empty windows mean")),
        (
            &open,
            with(&open, &|r| r.window.end = UtcMicros(r.window.end.0 - 1)),
            Box::new(|r| matches!(r, Rejection::Misaligned { .. })),
        ),
        (
            &open,
            Entry::Empty(EmptyRun { windows: 4, ..run(&open, 3, 5) }),
            Box::new(|r| matches!(r, Rejection::Misaligned { .. })),
        ),
        (
            &open,
            with(&open, &|r| r.closed_through = UtcMicros(r.closed_through.0 + 1)),
            Box::new(|r| matches!(r, Rejection::ClosedThrough { .. })),
        ),
        (&open, with(&open, &|r| r.window = window(2)), Box::new(|r| matches!(r, Rejection::AlreadyReleased { .. }))),
        (
            &threshold,
            Entry::Release(Release { closed_through: hour(3), ..release(&threshold, 2, 1) }),
            Box::new(|r| *r == Rejection::RevisionOfThreshold { index: 1, start: hour(2) }),
        ),
        (
            &open,
            Entry::Release(Release { closed_through: hour(3), ..release(&open, 2, 3) }),
            Box::new(|r| matches!(r, Rejection::RevisionOutOfOrder { held: Held::Revision(0), .. })),
        ),
        (
            &open,
            with(&open, &|r| r.product = "traffic.other".parse().unwrap()),
            Box::new(|r| matches!(r, Rejection::WrongProduct { .. })),
        ),
    ];
    for (contract, entry, expected) in cases {
        let peer = peer(contract);
        base(contract).show(&peer).unwrap();
        let found = base(contract).with(entry).rejection(&peer);
        assert!(expected(&found), "{found:?}");
        assert_eq!(peer.cursor(&product()).unwrap().size, 1, "nothing of it is stored");
        let remembered = peer.found_out(&product()).unwrap();
        assert_eq!(remembered.len(), 1, "{found:?}");
        assert_eq!(remembered[0].fault, found.to_string());
        assert_eq!(remembered[0].held, Some(base(contract).head()));
    }
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let mut trailing = Entry::Empty(run(&contract, 0, 1)).encode();
    trailing.push(0);
    let rejection = Forger::new().with_bytes(trailing).rejection(&peer);
    assert!(matches!(rejection, Rejection::NotCanonical { index: 0, error: EntryError::Codec(_) }));
    let mut newer = Entry::Empty(run(&contract, 0, 1)).encode();
    newer[0] = 3;
    let rejection = Forger::new().with_bytes(newer).rejection(&peer);
    assert!(matches!(rejection, Rejection::NotCanonical { index: 0, error: EntryError::Version(3) }));
    assert_eq!(peer.found_out(&product()).unwrap().len(), 1, "a newer encoding is no fault of its owner");
}

#[test]
fn what_the_owner_did_not_sign_is_refused_and_not_held_against_it() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let honest = Forger::new().with(Entry::Empty(run(&contract, 0, 1)));
    let stranger = SigningKey::from_pkcs8(&SigningKey::document(&[9; 32])).unwrap();
    let start = Cursor { size: 0 };
    let stolen = stranger.sign(honest.head().head);
    assert_eq!(rejection(pull(&peer, start, honest.entries.clone(), stolen)), Rejection::BadSignature);
    let mut later = honest.head();
    later.head.at = hour(2000);
    assert_eq!(rejection(pull(&peer, start, honest.entries.clone(), later)), Rejection::BadSignature);
    let short = rejection(pull(&peer, start, Vec::new(), honest.head()));
    assert_eq!(short, Rejection::WrongSize { head: 1, entries: 0 });
    let many = vec![Vec::new(); PAGE_ENTRIES_MAX + 1];
    assert!(matches!(rejection(pull(&peer, start, many, honest.head())), Rejection::PageTooLarge { .. }));
    assert_eq!(peer.found_out(&product()).unwrap(), []);
    assert_eq!(peer.cursor(&product()).unwrap(), start);
}

#[test]
fn an_owner_that_tells_another_story_is_found_out_once_and_for_good() {
    let contract = contract("1", OPEN);
    let disk = MemoryDisk::new().unwrap();
    let reopen = || open("transit", &disk, None);
    let peer = reopen();
    peer.adopt_contract(&public(&contract), NOW).unwrap();
    let honest = Forger::new().with(Entry::Release(release(&contract, 0, 0)));
    let honest = honest.with(Entry::Release(release(&contract, 1, 0)));
    honest.show(&peer).unwrap();

    let mut other = release(&contract, 0, 0);
    other.cells[0].measures[0].sum += 1;
    let forked = Forger::new().with(Entry::Release(other)).with(Entry::Release(release(&contract, 1, 0)));
    assert_eq!(forked.rejection(&peer), Rejection::Forked { size: 2 }, "the same size, another root");
    assert_eq!(forked.rejection(&peer), Rejection::Forked { size: 2 });
    let longer = forked.clone().with(Entry::Release(release(&contract, 2, 0)));
    assert_eq!(longer.rejection(&peer), Rejection::RootMismatch { size: 3 }, "a page that grows from elsewhere");
    let shorter = Forger { entries: Vec::new(), ..Forger::new() }.with(Entry::Release(release(&contract, 5, 0)));
    assert_eq!(shorter.rejection(&peer), Rejection::Forked { size: 1 }, "fewer entries, another root");
    let shrunk = Forger::new().with(Entry::Release(release(&contract, 0, 0)));
    assert_eq!(shrunk.rejection(&peer), Rejection::Shrunk { held: 2, shown: 1 });

    drop(peer);
    let peer = reopen();
    let faults: Vec<String> = peer.found_out(&product()).unwrap().into_iter().map(|found| found.fault).collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    let evidence = &peer.found_out(&product()).unwrap()[0];
    assert_eq!(evidence.held.as_ref(), Some(&honest.head()));
    assert_eq!(evidence.shown, forked.head());
    // The owner that goes back to its word is heard again.
    honest.with(Entry::Release(release(&contract, 2, 0))).show(&peer).unwrap();
    assert_consistent(&peer);
}

#[test]
fn an_older_head_that_comes_late_is_no_fault() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let early = Forger { at: hour(1), ..Forger::new() }.with(Entry::Empty(run(&contract, 0, 1)));
    let late = Forger { at: hour(2), ..early.clone() }.with(Entry::Empty(run(&contract, 1, 2)));
    late.show(&peer).unwrap();
    let error = peer.confirm(early.head(), &key().verifying_key(), NOW).unwrap_err();
    assert!(matches!(error, LedgerError::Stale { from: 1, size: 2, .. }));
    assert_eq!(peer.found_out(&product()).unwrap(), []);
}

#[test]
fn a_page_that_was_overtaken_is_stale_not_a_fault() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let first = Forger::new().with(Entry::Empty(run(&contract, 0, 1)));
    let start = Cursor { size: 0 };
    let key = key().verifying_key();
    let verified = Replica::verify(&peer, start, first.entries.clone(), first.head(), &key, NOW).unwrap();
    first.show(&peer).unwrap();
    assert!(matches!(peer.admit(verified, NOW), Err(LedgerError::Stale { from: 0, size: 1, .. })));
    let error = Replica::verify(&peer, start, first.entries.clone(), first.head(), &key, NOW).unwrap_err();
    assert!(matches!(error, LedgerError::Stale { from: 0, size: 1, .. }));
    assert_eq!(peer.found_out(&product()).unwrap(), []);
    assert_consistent(&peer);
}

#[test]
fn a_head_must_say_what_its_last_entry_says() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let forger = Forger::new().with(Entry::Empty(run(&contract, 0, 1)));
    let boasting = Forger { closed_through: hour(50), ..forger };
    let mismatch = Rejection::HeadMismatch { head: hour(50), entry: hour(1) };
    assert_eq!(boasting.rejection(&peer), mismatch);
}

#[test]
fn confirming_restarts_the_age_of_a_head_also_of_an_empty_log() {
    let contract = contract("1", OPEN);
    let (owner, peer) = (owner(&contract), peer(&contract));
    let key = key();
    let verifying = key.verifying_key();
    let confirmed = || peer.snapshot().product(&product()).unwrap().unwrap().head_confirmed_at;
    assert_eq!(confirmed(), None);
    let none = owner.head_at(&product(), 0, &key, hour(1)).unwrap();
    assert_eq!(peer.confirm(none, &verifying, hour(2)), Ok(0));
    assert_eq!(confirmed(), Some(hour(2)));

    owner.append(&product(), vec![empty(&contract, 0, 1), empty(&contract, 1, 2)], 0, &key, hour(3)).unwrap();
    let head = owner.log(&product()).unwrap().unwrap().head;
    assert_eq!(peer.confirm(head.clone(), &verifying, hour(4)), Ok(2), "two entries to ask for");
    assert_eq!(confirmed(), Some(hour(2)), "the head is confirmed when its entries are here");
    let entries = owner.entries(&product(), 0, usize::MAX).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
    pull(&peer, Cursor { size: 0 }, entries, head).unwrap();
    assert_eq!(confirmed(), Some(NOW));
    let again = owner.head_at(&product(), 2, &key, hour(1500)).unwrap();
    assert_eq!(peer.confirm(again, &verifying, hour(1501)), Ok(0));
    assert_eq!(confirmed(), Some(hour(1501)));
}

#[test]
fn an_owner_holds_no_replica_of_its_own() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    let forger = Forger::new().with(Entry::Empty(run(&contract, 0, 1)));
    assert!(matches!(forger.show(&ledger), Err(LedgerError::Owner { own: true, .. })));
    let nobody = open("transit", &MemoryDisk::new().unwrap(), None);
    assert!(matches!(forger.show(&nobody), Err(LedgerError::UnknownProduct(_))));
}
