//! Whatever batch fails, before or after it is durable: reopened, the log is whole, and going on ends where it would
//! have ended without the failure.

use civicmesh_store::StoreError;

use super::*;

/// Fails one batch: before it is stored, or only its acknowledgement.
#[derive(Clone, Copy, Debug)]
struct FailAt {
    batch: u64,
    stored: bool,
}

impl Hook for FailAt {
    fn before_commit(&self, batch: u64, _: usize) -> Result<(), StoreError> {
        if batch == self.batch && !self.stored { Err(StoreError::Injected { batch }) } else { Ok(()) }
    }

    fn after_commit(&self, batch: u64) -> Result<(), StoreError> {
        if batch == self.batch && self.stored { Err(StoreError::Injected { batch }) } else { Ok(()) }
    }
}

type Step<'a> = dyn Fn(&Ledger) -> Result<(), LedgerError> + 'a;

/// Opens the ledger on the same disk again and again until `steps` are done; each step is retried after a failure.
fn survive(domain: &str, fail: FailAt, steps: &[&Step<'_>]) -> (Ledger, bool) {
    let disk = MemoryDisk::new().unwrap();
    let mut ledger = open(domain, &disk, Some(Arc::new(fail)));
    let mut failed = false;
    for step in steps {
        if let Err(error) = step(&ledger) {
            assert!(matches!(error, LedgerError::Store(StoreError::Injected { .. })), "{error}");
            assert!(!failed, "one batch fails");
            failed = true;
            drop(ledger);
            ledger = open(domain, &disk, None);
            assert_consistent(&ledger);
            step(&ledger).unwrap();
        }
        assert_consistent(&ledger);
    }
    (ledger, failed)
}

#[test]
fn an_owner_goes_on_where_the_log_ends() {
    let contract = contract("1", OPEN);
    // The publisher closes exactly what the ledger lacks.
    let append_through = |ledger: &Ledger, end: i64| {
        let log = ledger.log(&product())?;
        let from = log.map_or(0, |log| log.closed_through.0 / HOUR);
        if from < end {
            ledger.append(&product(), (from..end).map(|h| empty(&contract, h, h + 1)).collect(), 1, &key(), NOW)?;
        }
        Ok(())
    };
    let revise = |ledger: &Ledger| {
        if ledger.counted(&product(), hour(1))?.is_some_and(|counted| counted.sequence < 9) {
            ledger.append(&product(), vec![revised(&contract, 1, 1, 3)], 9, &key(), NOW)?;
        }
        Ok(())
    };
    let adopt = |ledger: &Ledger| ledger.adopt_contract(&contract, NOW).map(|_| ());
    let steps: [&Step<'_>; 4] =
        [&adopt, &|ledger| append_through(ledger, 3), &revise, &|ledger| append_through(ledger, 6)];
    let (untroubled, _) = survive("traffic", FailAt { batch: 0, stored: false }, &steps);
    for batch in 1..=4 {
        for stored in [false, true] {
            let (ledger, failed) = survive("traffic", FailAt { batch, stored }, &steps);
            assert!(failed, "batch {batch}");
            assert_eq!(whole_log(&ledger), whole_log(&untroubled), "batch {batch}, stored {stored}");
            assert_eq!(current(&ledger), current(&untroubled));
        }
    }
}

#[test]
fn a_replica_goes_on_at_its_cursor() {
    let contract = contract("1", OPEN);
    let first = Forger::new().with(Entry::Empty(run(&contract, 0, 3)));
    let second = first.clone().with(Entry::Release(release(&contract, 3, 0)));
    let steps: [&Step<'_>; 4] = [
        &|ledger| ledger.adopt_contract(&public(&contract), NOW).map(|_| ()),
        &|ledger| first.show(ledger),
        &|ledger| second.show(ledger),
        &|ledger| ledger.confirm(second.head(), &key().verifying_key(), hour(2000)).map(|_| ()),
    ];
    for batch in 1..=4 {
        for stored in [false, true] {
            let (ledger, failed) = survive("transit", FailAt { batch, stored }, &steps);
            assert!(failed, "batch {batch}");
            assert_eq!(whole_log(&ledger), (second.entries.clone(), Some(second.frontier.root())));
        }
    }
}

#[test]
fn merging_loses_nothing_and_shows_nothing_twice() {
    let contract = contract("1", OPEN);
    let hours = |forger: Forger, hours: std::ops::Range<i64>| {
        hours.fold(forger, |forger, start| forger.with(Entry::Release(release(&contract, start, 0))))
    };
    let first = hours(Forger::new().with(Entry::Empty(run(&contract, 0, 3))), 3..9);
    let second = hours(first.clone(), 9..16);
    let revised = |forger: Forger, start: i64| {
        forger.with(Entry::Release(Release { closed_through: hour(16), ..release(&contract, start, 1) }))
    };
    let third = [1, 4, 5, 12].into_iter().fold(second.clone(), revised);
    let merge = |ledger: &Ledger| super::merging::merge_all(ledger).map(|_| ());
    let expire = |ledger: &Ledger| ledger.expire_releases(hour(30 * 24 + 6)).map(|_| ());
    let adopt = |ledger: &Ledger| ledger.adopt_contract(&public(&contract), NOW).map(|_| ());
    let shows: [&Step<'_>; 3] =
        [&|ledger| first.show(ledger), &|ledger| second.show(ledger), &|ledger| third.show(ledger)];
    let steps: [&Step<'_>; 7] = [&adopt, shows[0], &merge, shows[1], &merge, shows[2], &merge];
    let (untroubled, _) = survive("transit", FailAt { batch: 0, stored: false }, &steps);
    let mut batch = 1;
    loop {
        let mut failed = false;
        for stored in [false, true] {
            let (ledger, fails) = survive("transit", FailAt { batch, stored }, &steps);
            failed |= fails;
            assert_eq!(whole_log(&ledger), whole_log(&untroubled), "batch {batch}, stored {stored}");
            assert_eq!(current(&ledger), current(&untroubled), "batch {batch}, stored {stored}");
        }
        if !failed {
            break;
        }
        batch += 1;
    }
    assert!(batch > 8, "merging was tried batch by batch");
    // what is past its retention goes from segments batch by batch, too
    for extra in 0..4 {
        for stored in [false, true] {
            let disk = MemoryDisk::new().unwrap();
            let ledger = open("transit", &disk, None);
            steps.iter().for_each(|step| step(&ledger).unwrap());
            drop(ledger);
            let ledger = open("transit", &disk, Some(Arc::new(FailAt { batch: 1 + extra, stored })));
            let failed = expire(&ledger).is_err();
            let seen = current(&ledger);
            drop(ledger);
            let ledger = open("transit", &disk, None);
            assert_eq!(current(&ledger), seen, "what a reader sees is what is there after a crash");
            expire(&ledger).unwrap();
            let starts: Vec<i64> = current(&ledger).iter().map(|entry| entry.window().start.0 / HOUR).collect();
            assert_eq!(starts, (6..16).collect::<Vec<_>>(), "failed: {failed}");
        }
    }
}
