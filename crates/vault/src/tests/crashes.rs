//! The store fails at every write in turn: what was acknowledged is there, nothing is there twice.

use super::*;
use civicmesh_store::StoreError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fails the n-th write from now, before it is stored or (a lost acknowledgement) after. Once only.
#[derive(Default)]
struct FailOnce {
    left: AtomicU64,
    after: bool,
}

impl FailOnce {
    fn fail(&self, batch: u64) -> Result<(), StoreError> {
        let last = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1);
        if last { Err(StoreError::Injected { batch }) } else { Ok(()) }
    }
}

impl Hook for FailOnce {
    fn before_commit(&self, batch: u64, _bytes: usize) -> Result<(), StoreError> {
        if self.after { Ok(()) } else { self.fail(batch) }
    }

    fn after_commit(&self, batch: u64) -> Result<(), StoreError> {
        if self.after { self.fail(batch) } else { Ok(()) }
    }
}

/// Does `work` on a vault whose n-th write fails, for every n until none fails; after a failure the vault is opened
/// again and `work` is tried again, as a node does after it was killed. Then `check` sees what is there.
fn at_every_write(work: impl Fn(&Vault) -> Result<(), VaultError>, check: impl Fn(&Vault)) {
    for after in [false, true] {
        let mut failures = 0;
        for at in 1.. {
            let hook = Arc::new(FailOnce { left: AtomicU64::new(at), after });
            let place = Place::new().with_hook(hook.clone());
            let attempt = || place.open().and_then(|vault| work(&vault));
            let failed = attempt().is_err();
            if failed {
                failures += 1;
                attempt().unwrap();
            }
            hook.left.store(0, Ordering::Relaxed);
            check(&place.open().unwrap());
            if !failed {
                break;
            }
        }
        assert!(failures > 5, "the hook was reached {failures} times");
    }
}

fn many() -> Vec<Row> {
    (0..40_u8).map(|number| row(number, i64::from(number) * 97, number % 3, i64::from(number))).collect()
}

#[test]
fn an_ingest_that_fails_anywhere_and_is_tried_again_counts_each_row_once() {
    for keyed in [false, true] {
        let contract = hourly(keyed);
        let rows = many();
        let work = |vault: &Vault| {
            take(vault, &contract, "north", file(1), &rows[..25], 4)?;
            take(vault, &contract, "north", file(2), &rows[25..], 3)?;
            vault.complete(&dataset(), file(2), start())
        };
        at_every_write(work, |vault| {
            let (from, until) = span();
            let sourced: Vec<_> = rows.iter().map(|row| (*row, 0)).collect();
            let contracts = [&contract, &weekly(keyed)];
            let wanted = contracts.map(|contract| expected(&sourced, contract, from, until));
            assert_eq!(close(vault, &contracts, from, until), wanted);
            let counts = vault.counts(&dataset()).unwrap();
            assert_eq!((counts.files, counts.totals.rows, counts.totals.accepted), (2, 40, 40));
            let watermark = vault.watermark(&dataset(), start(), contract.idle_after).unwrap().unwrap();
            assert_eq!((watermark.at, watermark.completed_through), (rows[39].at(), Some(start())));
        });
    }
}

#[test]
fn a_correction_that_fails_anywhere_and_is_tried_again_counts_once() {
    let contract = hourly(true);
    let rows = many();
    let corrected: Vec<Row> = rows.iter().map(|row| Row { minute: row.minute + 700, ..*row }).collect();
    let work = |vault: &Vault| {
        take(vault, &contract, "north", file(1), &rows, 9)?;
        take(vault, &contract, "north", file(2), &corrected, 7)
    };
    at_every_write(work, |vault| {
        let (from, until) = span();
        let sourced: Vec<_> = corrected.iter().map(|row| (*row, 0)).collect();
        assert_eq!(close(vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
        assert_eq!(vault.counts(&dataset()).unwrap().totals.corrected, 40);
    });
}

#[test]
fn an_undo_that_fails_anywhere_is_ended_when_the_vault_opens() {
    let contract = hourly(true);
    let rows = many();
    let corrected: Vec<Row> = rows.iter().map(|row| Row { minute: row.minute + 700, ..*row }).collect();
    let work = |vault: &Vault| {
        // what the first attempt did before it failed may stand, be under way or be over
        if vault.files(&dataset())?.iter().all(|entry| entry.key != file(3) || !entry.finished) {
            take(vault, &contract, "north", file(1), &rows, 9)?;
            take(vault, &contract, "north", file(2), &corrected, 7)?;
            take(vault, &contract, "north", file(3), &[row(250, 3, 0, 1)], 7)?;
        }
        match vault.undo(&dataset(), file(2), &|_| false) {
            Err(VaultError::UnknownFile { .. }) => Ok(()),
            undone => undone.map(|_| ()),
        }
    };
    at_every_write(work, |vault| {
        let (from, until) = span();
        let mut sourced: Vec<_> = rows.iter().map(|row| (*row, 0)).collect();
        sourced.push((row(250, 3, 0, 1), 0));
        assert_eq!(close(vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
        assert_eq!(vault.files(&dataset()).unwrap().len(), 2);
        // Rows that were corrected are known again as they were.
        take(vault, &contract, "north", file(4), &rows, 100).unwrap();
        assert_eq!(vault.counts(&dataset()).unwrap().totals.duplicate, 40);
    });
}

#[test]
fn an_expiry_that_fails_anywhere_is_ended_by_the_next() {
    let contract = hourly(true);
    let rows = many();
    let before = UtcMicros(start().0 + DAY + HOUR);
    let work = |vault: &Vault| {
        if vault.files(&dataset())?.iter().all(|entry| !entry.finished) {
            take(vault, &contract, "north", file(1), &rows, 9)?;
        }
        vault.expire(&dataset(), before).map(|_| ())
    };
    at_every_write(work, |vault| {
        let gone = rows.iter().filter(|row| row.at() < before).count() as u64;
        assert!(gone > 0);
        assert_eq!(vault.counts(&dataset()).unwrap().dropped, gone);
        let until = span().1;
        let left: Vec<_> = rows.iter().filter(|row| row.at() >= before).map(|row| (*row, 0)).collect();
        assert_eq!(close(vault, &[&contract], before, until), [expected(&left, &contract, before, until)]);
        // The same rows again: what is past its retention stays away, what is not is known.
        take(vault, &contract, "north", file(2), &rows, 100).unwrap();
        let totals = vault.files(&dataset()).unwrap()[1].totals;
        assert_eq!((totals.expired, totals.duplicate), (gone, 40 - gone));
    });
}
