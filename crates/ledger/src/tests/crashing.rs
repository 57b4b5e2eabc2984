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
