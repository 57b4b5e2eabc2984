//! Any sequence of runs and revisions, against the plainest model of the rules: a map from window to revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Run { start: i64, windows: i64 },
    Revise { start: i64, revision: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_i64..20, 1_i64..5).prop_map(|(start, windows)| Step::Run { start, windows }),
        (0_i64..20, 1_u32..4).prop_map(|(start, revision)| Step::Revise { start, revision }),
    ]
}

/// What the rules allow, the plain way.
fn allowed(held: &mut BTreeMap<i64, u32>, step: &Step) -> bool {
    match *step {
        Step::Run { start, windows } => {
            let free = (start..start + windows).all(|window| !held.contains_key(&window));
            if free {
                held.extend((start..start + windows).map(|window| (window, 0)));
            }
            free
        }
        Step::Revise { start, revision } => {
            let follows = held.get(&start).is_some_and(|held| held + 1 == revision);
            if follows {
                held.insert(start, revision);
            }
            follows
        }
    }
}

fn revisions(ledger: &Ledger) -> BTreeMap<i64, u32> {
    let mut revisions = BTreeMap::new();
    for entry in current(ledger) {
        let Window { start, end } = entry.window();
        for window in start.0 / HOUR..end.0 / HOUR {
            assert_eq!(revisions.insert(window, entry.revision()), None, "a window twice");
        }
    }
    revisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_takes_what_the_rules_allow_and_a_replica_of_it_is_equal(
        steps in prop::collection::vec(step(), 1..40), pages in prop::collection::vec(1_usize..6, 1..10),
    ) {
        let contract = contract("1", OPEN);
        let (owner, peer) = (owner(&contract), peer(&contract));
        let salt_key = SaltKey::new([2; 32]);
        let terms = |revision| Terms {
            contract: &contract, zone: zone(), revision, closed_through: hour(30), sources: 1, salt_key: &salt_key,
        };
        let mut held = BTreeMap::new();
        for (sequence, step) in steps.iter().enumerate() {
            let disclosed = match *step {
                Step::Run { start, windows } => gate::empty(hour(start), hour(start + windows), &terms(0)).unwrap(),
                Step::Revise { start, revision } => revised(&contract, start, revision, 30),
            };
            let allowed = allowed(&mut held, step);
            let appended = owner.append(&product(), vec![disclosed], sequence as u64, &key(), NOW);
            prop_assert_eq!(appended.is_ok(), allowed, "{:?}", step);
            if let (true, Step::Run { start, .. } | Step::Revise { start, .. }) = (allowed, step) {
                let counted = owner.counted(&product(), hour(*start)).unwrap().unwrap();
                prop_assert_eq!(counted.sequence, sequence as u64);
            }
        }
        assert_consistent(&owner);
        prop_assert_eq!(revisions(&owner), held);

        let size = owner.cursor(&product()).unwrap().size;
        for page in pages.iter().cycle() {
            let cursor = peer.cursor(&product()).unwrap();
            if cursor.size == size {
                break;
            }
            let mut entries = owner.entries(&product(), cursor.size, usize::MAX).unwrap();
            entries.truncate(*page);
            let head = owner.head_at(&product(), cursor.size + entries.len() as u64, &key(), NOW).unwrap();
            pull(&peer, cursor, entries.into_iter().map(|(_, bytes)| bytes).collect(), head).unwrap();
        }
        prop_assert_eq!(whole_log(&peer), whole_log(&owner));
        prop_assert_eq!(current(&peer), current(&owner));
    }
}
