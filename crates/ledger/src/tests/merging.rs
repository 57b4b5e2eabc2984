//! Merging changes nothing that anybody reads: two peers with the same entries, of which one merges whenever it likes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::bodies::segments_between;
use crate::keys;
use crate::ledger::locked;
use crate::merge::Pace;
use crate::pieces::Piece;

/// Merges far sooner than a node does.
pub(super) const EAGER: Pace =
    Pace { tail_rows_min: 3, small_segments: 2, revised_min: 2, clearing_steps: 3, clearing_bytes_min: 1 << 20 };

pub(super) fn merge_all(ledger: &Ledger) -> Result<u32, LedgerError> {
    let mut steps = 0;
    while ledger.merge_at(&EAGER)? {
        steps += 1;
        assert!(steps < 1000, "merging ends");
    }
    Ok(steps)
}

fn stored(ledger: &Ledger, keyspace: civicmesh_store::Keyspace) -> usize {
    use civicmesh_store::{Direction, KeyRange, Read};
    ledger.store.iterate(keyspace, KeyRange::all(), Direction::Forward).count()
}

#[derive(Clone, Debug)]
enum Step {
    Release { start: i64 },
    Run { start: i64, windows: i64 },
    Revise { start: i64 },
    Merge,
    Expire { hour: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_i64..60).prop_map(|start| Step::Release { start }),
        2 => (0_i64..60, 1_i64..6).prop_map(|(start, windows)| Step::Run { start, windows }),
        4 => (0_i64..60).prop_map(|start| Step::Revise { start }),
        3 => Just(Step::Merge),
        1 => (0_i64..30).prop_map(|hour| Step::Expire { hour }),
    ]
}

/// Each window in rows and entries, with its revision: none twice.
fn windows(ledger: &Ledger, from: i64, until: i64) -> BTreeMap<i64, u32> {
    let mut windows = BTreeMap::new();
    let mut see = |start: UtcMicros, end: UtcMicros, revision: u32| {
        for window in start.0 / HOUR..end.0 / HOUR {
            assert_eq!(windows.insert(window, revision), None, "window {window} twice");
        }
    };
    let snapshot = ledger.snapshot();
    for piece in snapshot.pieces(&product(), hour(from)..hour(until), false).unwrap() {
        match piece.unwrap() {
            Piece::Entry(_, entry) => see(entry.window().start, entry.window().end, entry.revision()),
            Piece::Rows(segment, rows) => {
                segment.rows()[rows].iter().for_each(|row| see(row.start, row.end, row.revision));
            }
        }
    }
    windows
}

fn within(ledger: &Ledger, from: i64, until: i64) -> Vec<Entry> {
    let range = Some(hour(from)..hour(until));
    ledger.snapshot().current(&product(), range).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The same, in parts that each begin with a segment.
fn in_parts(ledger: &Ledger, from: i64, until: i64) -> Vec<Entry> {
    let snapshot = ledger.snapshot();
    let parts = snapshot.parted(&product(), hour(from)..hour(until), 1, 1).unwrap();
    let of_part = |part| snapshot.current(&product(), Some(part)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    parts.into_iter().flat_map(of_part).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn merging_changes_nothing_that_is_read(
        steps in prop::collection::vec(step(), 1..120),
        ranges in prop::collection::vec((0_i64..60, 1_i64..30), 1..6),
    ) {
        let contract = contract("1", OPEN);
        let (plain, merging) = (peer(&contract), peer(&contract));
        let mut forger = Forger::new();
        let mut held: BTreeMap<i64, u32> = BTreeMap::new();
        let closed = hour(70);
        for step in steps {
            let entry = match step {
                Step::Release { start } if !held.contains_key(&start) => {
                    held.insert(start, 0);
                    Entry::Release(Release { closed_through: closed, ..release(&contract, start, 0) })
                }
                Step::Run { start, windows } if (start..start + windows).all(|window| !held.contains_key(&window)) => {
                    held.extend((start..start + windows).map(|window| (window, 0)));
                    Entry::Empty(EmptyRun { closed_through: closed, ..run(&contract, start, start + windows) })
                }
                Step::Revise { start } if held.contains_key(&start) => {
                    let revision = held[&start] + 1;
                    held.insert(start, revision);
                    let mut release = Release { closed_through: closed, ..release(&contract, start, revision) };
                    release.cells[0].measures[0].sum += i128::from(revision);
                    Entry::Release(release)
                }
                Step::Merge => {
                    merge_all(&merging).unwrap();
                    continue;
                }
                Step::Expire { hour: at } => {
                    let at = hour(at + 30 * 24);
                    prop_assert_eq!(plain.expire_releases(at).unwrap(), merging.expire_releases(at).unwrap());
                    continue;
                }
                _ => continue,
            };
            forger = forger.with(entry);
            forger.show(&plain).unwrap();
            forger.show(&merging).unwrap();
        }
        merge_all(&merging).unwrap();
        prop_assert_eq!(current(&merging), current(&plain));
        prop_assert_eq!(merging.stored(&product()).unwrap(), plain.stored(&product()).unwrap());
        for (from, length) in ranges {
            prop_assert_eq!(within(&merging, from, from + length), within(&plain, from, from + length));
            prop_assert_eq!(windows(&merging, from, from + length), windows(&plain, from, from + length));
            prop_assert_eq!(in_parts(&merging, from, from + length), within(&plain, from, from + length));
        }
        for index in 0..forger.entries.len() as u64 {
            let body = |ledger: &Ledger| ledger.entries(&product(), index, 1).ok();
            prop_assert_eq!(body(&merging), body(&plain));
        }
        let pages = |ledger: &Ledger| ledger.entries(&product(), 0, usize::MAX).ok();
        prop_assert_eq!(pages(&merging), pages(&plain));
        prop_assert_eq!(prefixes(&merging), prefixes(&plain));
    }
}

/// A log of so many hours, each with a release.
fn hours(contract: &Contract, count: i64) -> Forger {
    (0..count).fold(Forger::new(), |forger, start| forger.with(Entry::Release(release(contract, start, 0))))
}

#[test]
fn releases_of_a_segment_are_kept_once() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let forger = hours(&contract, 200);
    forger.show(&peer).unwrap();
    assert_eq!(stored(&peer, crate::keys::entry::KEYSPACE), 200);
    while peer.merge_some().unwrap() {}
    assert_eq!(stored(&peer, crate::keys::entry::KEYSPACE), 0);
    assert_eq!(stored(&peer, crate::keys::leaf::KEYSPACE), 0);
    assert_eq!(stored(&peer, crate::keys::segment::SEGMENTS), 1);
    assert_consistent(&peer);
    // a few more wait until they are worth it
    let forger = (200..230).fold(forger, |forger, start| forger.with(Entry::Release(release(&contract, start, 0))));
    forger.show(&peer).unwrap();
    assert!(!peer.merge_some().unwrap());
    assert_consistent(&peer);
}

#[test]
fn small_segments_become_larger_ones() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let mut forger = Forger::new();
    for start in 0..40 {
        forger = forger.with(Entry::Release(release(&contract, start, 0)));
        forger.show(&peer).unwrap();
        merge_all(&peer).unwrap();
    }
    assert_eq!(stored(&peer, crate::keys::segment::SEGMENTS), 1);
    assert_consistent(&peer);
}

#[test]
fn what_merging_leaves_behind_is_cleared_away() {
    let contract = contract("1", OPEN);
    let size = |merging: &dyn Fn(&Ledger, bool)| {
        let peer = peer(&contract);
        let mut forger = Forger::new();
        for start in 0..200 {
            let mut release = release(&contract, start, 0);
            // what compression cannot shorten
            release.salt = std::array::from_fn(|byte| leaf_hash(&[start as u8, byte as u8]).0[0]);
            forger = forger.with(Entry::Release(release));
            forger.show(&peer).unwrap();
            merging(&peer, false);
            peer.flush().unwrap();
        }
        merging(&peer, true);
        assert_consistent(&peer);
        peer.size_bytes().unwrap()
    };
    let merge = |peer: &Ledger, clearing_steps| while peer.merge_at(&Pace { clearing_steps, ..EAGER }).unwrap() {};
    let cleared = size(&|peer, last| {
        if last {
            locked(&peer.merged).clear();
        }
        merge(peer, if last { 3 } else { u32::MAX });
    });
    let by_bytes = size(&|peer, last| {
        if last {
            locked(&peer.merged).clear();
        }
        let clearing_bytes_min = if last { 1 << 10 } else { u64::MAX };
        while peer.merge_at(&Pace { clearing_steps: u32::MAX, clearing_bytes_min, ..EAGER }).unwrap() {}
    });
    let merged_once = size(&|peer, last| {
        if last {
            merge(peer, 3);
        }
    });
    // a segment for each step of merging would be a hundred times as much
    for cleared in [cleared, by_bytes] {
        assert!(cleared < 2 * merged_once, "{cleared} bytes, and {merged_once} of what is merged but once");
    }
}

#[test]
fn a_revised_release_stays_in_the_log() {
    let contract = contract("1", OPEN);
    let peer = peer(&contract);
    let mut forger = hours(&contract, 10);
    forger.show(&peer).unwrap();
    merge_all(&peer).unwrap();
    for start in [3, 4, 7] {
        let release = Release { closed_through: hour(10), ..release(&contract, start, 1) };
        forger = forger.with(Entry::Release(release));
    }
    forger.show(&peer).unwrap();
    assert_consistent(&peer);
    assert_eq!(stored(&peer, crate::keys::segment::REVISED), 3);
    merge_all(&peer).unwrap();
    assert_eq!(stored(&peer, crate::keys::segment::REVISED), 0);
    assert_eq!(stored(&peer, crate::keys::entry::KEYSPACE), 3, "what was superseded");
    assert_eq!(stored(&peer, crate::keys::leaf::KEYSPACE), 3, "what was superseded");
    assert_consistent(&peer);
    assert_eq!(whole_log(&peer).0, forger.entries);
}

#[test]
fn a_ledger_without_segments_opens_and_merges() {
    let contract = contract("1", OPEN);
    let disk = MemoryDisk::new().unwrap();
    let forger = hours(&contract, 100);
    // as it was before there were segments
    let before = |keyspace: &&civicmesh_store::Keyspace| !["segment", "column", "revised"].contains(&keyspace.name());
    let old: Vec<_> = crate::keys::KEYSPACES.iter().filter(before).copied().collect();
    let options = civicmesh_store::Options {
        keyspaces: Box::leak(old.into_boxed_slice()),
        directory_mode: civicmesh_store::DirectoryMode::OwnerAndGroup,
        environment: Environment::Memory(disk.clone()),
        hook: None,
    };
    {
        let peer = peer(&contract);
        forger.show(&peer).unwrap();
        let store = civicmesh_store::Store::open(Path::new("unused"), &options).unwrap();
        let mut batch = store.batch();
        for keyspace in options.keyspaces {
            use civicmesh_store::{Direction, KeyRange, Read};
            for stored in peer.store.iterate(*keyspace, KeyRange::all(), Direction::Forward) {
                let (key, value) = stored.unwrap();
                batch.put(*keyspace, key, value);
            }
        }
        store.commit(batch).unwrap();
    }
    let peer = open("transit", &disk, None);
    assert_consistent(&peer);
    while peer.merge_some().unwrap() {}
    assert_eq!(stored(&peer, crate::keys::segment::SEGMENTS), 1);
    assert_consistent(&peer);
    assert_eq!(whole_log(&peer).0, forger.entries);
}

/// Every segment as version 1 made it, with the leaves beside it.
fn as_version_1(ledger: &Ledger) {
    let moment = ledger.store.snapshot();
    let mut batch = ledger.store.batch();
    let all = segments_between(&moment, &product(), UtcMicros(i64::MIN), UtcMicros(i64::MAX)).unwrap();
    for (start, header) in all {
        let segment = crate::bodies::open(&moment, None, &product(), start, header).unwrap();
        let (header, columns) = crate::segment::tests::of_version_1(&segment);
        for (index, leaf) in segment.leaves(&segment.releases().unwrap()).unwrap() {
            batch.put(keys::leaf::KEYSPACE, keys::leaf::key(&product(), index), leaf.to_bytes());
        }
        batch.put(keys::segment::SEGMENTS, keys::segment::key(&product(), start), header.to_bytes());
        for (part, bytes) in columns {
            batch.put(keys::segment::COLUMNS, keys::segment::column_key(&product(), start, part), bytes);
        }
    }
    ledger.store.commit(batch).unwrap();
}

#[test]
fn segments_of_version_1_are_read_and_made_anew() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    let mut forger = hours(&contract, 30);
    forger.show(&ledger).unwrap();
    merge_all(&ledger).unwrap();
    let before = (whole_log(&ledger), current(&ledger), prefixes(&ledger));
    as_version_1(&ledger);
    assert_eq!(stored(&ledger, keys::leaf::KEYSPACE), 30);
    assert_consistent(&ledger);
    assert_eq!((whole_log(&ledger), current(&ledger), prefixes(&ledger)), before);
    locked(&ledger.merged).clear();
    merge_all(&ledger).unwrap();
    assert_eq!(stored(&ledger, keys::leaf::KEYSPACE), 0);
    assert_eq!((whole_log(&ledger), current(&ledger), prefixes(&ledger)), before);
    // and where something else is to be done with them first
    as_version_1(&ledger);
    for start in [3, 4, 7] {
        forger = forger.with(Entry::Release(Release { closed_through: hour(30), ..release(&contract, start, 1) }));
    }
    forger.show(&ledger).unwrap();
    merge_all(&ledger).unwrap();
    assert_eq!(stored(&ledger, keys::leaf::KEYSPACE), 3);
    assert_consistent(&ledger);
    as_version_1(&ledger);
    assert_eq!(ledger.expire_releases(hour(30 * 24 + 20)).unwrap(), 20 + 3);
    merge_all(&ledger).unwrap();
    assert_eq!(prefixes(&ledger)[..30], before.2[..]);
    assert_eq!(current(&ledger).len(), 10);
}

/// The sums of a measure by window, as questions read them.
fn sums(snapshot: &crate::Snapshot<'_>) -> BTreeMap<i64, i128> {
    let mut sums = BTreeMap::new();
    for piece in snapshot.pieces(&product(), hour(0)..hour(60), false).unwrap() {
        match piece.unwrap() {
            Piece::Entry(_, entry) => match *entry {
                Entry::Release(release) => {
                    let sum = release.cells.iter().map(|cell| cell.measures[0].sum).sum();
                    sums.insert(release.window.start.0 / HOUR, sum);
                }
                _ => panic!("all are releases"),
            },
            Piece::Rows(segment, rows) => {
                let states = segment.states(0, crate::Wanted::ALL).unwrap();
                for row in rows {
                    let sum = segment.cells_of(row..row + 1).map(|cell| states.get(cell).sum).sum();
                    sums.insert(segment.rows()[row].start.0 / HOUR, sum);
                }
            }
        }
    }
    sums
}

#[test]
fn what_was_decoded_of_a_segment_is_never_taken_for_the_one_in_its_place() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    let mut forger = Forger::new();
    let revised = |start: i64, revision: u32| {
        let mut release = Release { closed_through: hour(70), ..release(&contract, start, revision) };
        release.cells[0].measures[0].sum += i128::from(revision);
        Entry::Release(release)
    };
    for start in 0..20 {
        forger = forger.with(revised(start, 0));
    }
    forger.show(&ledger).unwrap();
    merge_all(&ledger).unwrap();
    let before = ledger.snapshot();
    let first = sums(&before);
    assert_eq!((first.len(), sums(&before)), (20, first.clone()));
    let (segments, bytes) = ledger.decoded.held();
    assert!(segments > 0 && bytes > 0);
    for start in 3..9 {
        forger = forger.with(revised(start, 1));
    }
    forger.show(&ledger).unwrap();
    merge_all(&ledger).unwrap();
    let more = |window: &i64| i128::from((3..9).contains(window));
    let second: BTreeMap<i64, i128> = first.iter().map(|(window, sum)| (*window, sum + more(window))).collect();
    // one after the other, each takes the other's place
    for _ in 0..2 {
        assert_eq!(sums(&ledger.snapshot()), second);
        assert_eq!(sums(&before), first);
    }
    drop(before);
    ledger.drop_replica(&product()).unwrap();
    assert_eq!(ledger.decoded.held(), (0, 0));
}
