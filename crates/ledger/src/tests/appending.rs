//! The owner's log.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

use super::*;
use crate::Counted;
use crate::error::Held;
use crate::keys::frontier::CHECKPOINT_ENTRIES;

fn append(ledger: &Ledger, disclosed: Vec<Disclosed>) -> Result<SignedHead, LedgerError> {
    ledger.append(&product(), disclosed, 7, &key(), NOW)
}

#[test]
fn a_head_of_every_prefix_is_the_tree_of_rfc_6962() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    let hours = CHECKPOINT_ENTRIES as i64 * 2 + 3;
    append(&ledger, (0..1500).map(|hour| empty(&contract, hour, hour + 1)).collect()).unwrap();
    append(&ledger, (1500..hours).map(|hour| empty(&contract, hour, hour + 1)).collect()).unwrap();
    assert_consistent(&ledger);
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let key = key();
    let (entries, _) = whole_log(&ledger);
    for (size, entry) in entries.into_iter().enumerate() {
        if [0, 1, 1023, 1024, 1025, 2047, 2048].contains(&size) {
            let signed = ledger.head_at(&product(), size as u64, &key, NOW).unwrap();
            assert!(key.verifying_key().signed(&signed));
            assert_eq!(signed.head.root.0[..], tree.root().as_bytes()[..], "size {size}");
            let closed_through = if size == 0 { UtcMicros::MIN } else { hour(size as i64) };
            assert_eq!(signed.head.closed_through, closed_through);
        }
        tree.push(entry);
    }
    let log = ledger.log(&product()).unwrap().unwrap();
    assert_eq!(log.head, ledger.head_at(&product(), hours as u64, &key, NOW).unwrap());
    let error = ledger.head_at(&product(), hours as u64 + 1, &key, NOW).unwrap_err();
    assert!(matches!(error, LedgerError::BeyondTheLog { .. }));
}

#[test]
fn entries_come_in_pages_of_bounded_bytes() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    append(&ledger, (0..5).map(|hour| empty(&contract, hour, hour + 1)).collect()).unwrap();
    let (all, _) = whole_log(&ledger);
    let page = |from, bytes| ledger.entries(&product(), from, bytes).unwrap();
    assert_eq!(page(0, 0), [(0, all[0].clone())], "one at least");
    assert_eq!(page(1, all[1].len() + all[2].len()).len(), 2);
    assert_eq!(page(1, all[1].len() + all[2].len() - 1).len(), 1);
    assert_eq!(page(3, usize::MAX).len(), 2);
    assert_eq!(page(5, usize::MAX), []);
    assert!(matches!(ledger.entries(&product(), 6, 1), Err(LedgerError::BeyondTheLog { size: 5, .. })));
}

#[test]
fn a_window_is_released_once_and_then_revised_in_order() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    append(&ledger, vec![empty(&contract, 0, 5)]).unwrap();
    let rejected = |disclosed| rejection(append(&ledger, vec![disclosed]).map(|_| ()));

    assert_eq!(rejected(empty(&contract, 4, 6)), Rejection::AlreadyReleased { index: 1, start: hour(4) });
    let held = |held| Rejection::RevisionOutOfOrder { index: 1, start: hour(2), revision: 2, held };
    assert_eq!(rejected(revised(&contract, 2, 2, 5)), held(Held::Revision(0)));
    let unknown = rejected(revised(&contract, 7, 1, 8));
    assert!(matches!(unknown, Rejection::RevisionOutOfOrder { held: Held::Nothing, .. }));
    assert_consistent(&ledger);

    // Two revisions in one batch follow each other.
    append(&ledger, vec![revised(&contract, 2, 1, 5), revised(&contract, 2, 2, 5)]).unwrap();
    let again = rejected(revised(&contract, 2, 2, 5));
    assert!(matches!(again, Rejection::RevisionOutOfOrder { held: Held::Revision(2), .. }));
    assert!(matches!(rejected(empty_closed(&contract, 2, 3, 5)), Rejection::AlreadyReleased { .. }));
    assert_consistent(&ledger);
    // Nothing of a batch is stored when its last entry is refused.
    let size = ledger.cursor(&product()).unwrap().size;
    append(&ledger, vec![empty(&contract, 5, 6), empty(&contract, 5, 6)]).unwrap_err();
    assert_eq!(ledger.cursor(&product()).unwrap().size, size);
}

#[test]
fn closed_through_never_goes_back() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    append(&ledger, vec![empty(&contract, 0, 5), revised(&contract, 0, 1, 9)]).unwrap();
    let error = append(&ledger, vec![empty(&contract, 5, 6)]).map(|_| ());
    let before = hour(9);
    assert_eq!(rejection(error), Rejection::ClosedThrough { index: 2, closed_through: hour(6), before });
}

#[test]
fn a_run_is_split_around_a_revision() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    append(&ledger, vec![empty(&contract, 0, 5)]).unwrap();
    ledger.append(&product(), vec![revised(&contract, 2, 1, 5)], 9, &key(), NOW).unwrap();
    ledger.append(&product(), vec![revised(&contract, 4, 1, 5)], 11, &key(), NOW).unwrap();
    let spans: Vec<(i64, i64, u32, u64)> = current(&ledger)
        .iter()
        .map(|entry| {
            let Window { start, end } = entry.window();
            (start.0 / HOUR, end.0 / HOUR, entry.revision(), entry.windows())
        })
        .collect();
    assert_eq!(spans, [(0, 2, 0, 2), (2, 3, 1, 1), (3, 4, 0, 1), (4, 5, 1, 1)]);
    let counted = |start| ledger.counted(&product(), hour(start)).unwrap();
    assert_eq!(counted(1), Some(Counted { revision: 0, sequence: 7, gone: false }));
    assert_eq!(counted(2), Some(Counted { revision: 1, sequence: 9, gone: false }));
    assert_eq!(counted(4), Some(Counted { revision: 1, sequence: 11, gone: false }));
    assert_eq!(counted(5), None);
    assert_eq!(counted(-1), None);
}

#[test]
fn a_snapshot_reads_a_stretch_of_one_moment() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    append(&ledger, vec![empty(&contract, 0, 10)]).unwrap();
    append(&ledger, (10..700).map(|hour| empty(&contract, hour, hour + 1)).collect()).unwrap();
    let snapshot = ledger.snapshot();
    append(&ledger, vec![revised(&contract, 3, 1, 700), empty(&contract, 700, 701)]).unwrap();
    let spans = |from: i64, until: i64| -> Vec<(i64, i64)> {
        let entries = snapshot.current(&product(), Some(UtcMicros(from)..UtcMicros(until))).unwrap();
        let span = |entry: Entry| (entry.window().start.0 / HOUR, entry.window().end.0 / HOUR);
        entries.map(|entry| span(entry.unwrap())).collect()
    };
    assert_eq!(spans(2 * HOUR + 1, 4 * HOUR), [(2, 4)], "cut to the windows that the range touches");
    assert_eq!(spans(9 * HOUR, 12 * HOUR), [(9, 10), (10, 11), (11, 12)]);
    assert_eq!(spans(699 * HOUR, 900 * HOUR), [(699, 700)], "what came later is not of this moment");
    assert_eq!(spans(5 * HOUR, 5 * HOUR), []);
    assert_eq!(spans(0, 700 * HOUR).len(), 691, "more than are read at once");
    assert_eq!(snapshot.products().unwrap()[0].log.as_ref().unwrap().newest_window, window(699));
}

#[test]
fn only_the_owner_appends_and_only_what_is_its_products() {
    let contract = contract("1", OPEN);
    let error = peer(&contract).append(&product(), vec![empty(&contract, 0, 1)], 0, &key(), NOW).unwrap_err();
    assert!(matches!(error, LedgerError::Owner { own: false, .. }));
    let ledger = owner(&contract);
    assert!(matches!(append(&ledger, Vec::new()), Err(LedgerError::NothingToAppend(_))));
    let other: ProductId = "traffic.counts".parse().unwrap();
    let error = ledger.append(&other, vec![empty(&contract, 0, 1)], 0, &key(), NOW).unwrap_err();
    assert_eq!(error, LedgerError::UnknownProduct(other));
    let stranger = self::contract("2", OPEN);
    let unknown = rejection(append(&ledger, vec![empty(&stranger, 0, 1)]).map(|_| ()));
    assert_eq!(unknown, Rejection::UnknownContract { index: 0, contract: stranger.hash() });
}
