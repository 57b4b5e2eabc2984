//! Partitions that changed, and rows that came too late.

use super::*;
use civicmesh_store::StoreError;

#[test]
fn a_change_makes_its_days_dirty_until_they_are_settled() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    take(&vault, &contract, "north", file(1), &[row(1, 5, 0, 1), row(2, 1600, 0, 1)], 9).unwrap();
    let dirty = vault.dirty(&dataset()).unwrap();
    let second = UtcMicros(start().0 + 25 * HOUR);
    assert_eq!(
        dirty.iter().map(|day| (day.start, day.end)).collect::<Vec<_>>(),
        [(start(), second), (second, UtcMicros(second.0 + DAY)),]
    );
    let sequence = vault.sequence().unwrap();
    vault.clean(&dataset(), &[start()], sequence - 1).unwrap();
    assert_eq!(vault.dirty(&dataset()).unwrap().len(), 2);
    vault.clean(&dataset(), &[start(), second], sequence).unwrap();
    assert_eq!(vault.dirty(&dataset()).unwrap(), []);
    // A correction that moves a row changes the day that it left, too.
    take(&vault, &contract, "north", file(2), &[row(1, 1700, 0, 1)], 9).unwrap();
    assert_eq!(vault.dirty(&dataset()).unwrap().len(), 2);
}

#[test]
fn late_rows_are_those_after_the_sequence_that_was_counted() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    take(&vault, &contract, "north", file(1), &[row(1, 5, 0, 1), row(2, 65, 0, 1), row(3, 3000, 0, 1)], 9).unwrap();
    let first = vault.sequence().unwrap();
    let hours: Vec<Window> = contract.calendar(zone()).windows(start(), UtcMicros(start().0 + 3 * HOUR)).collect();
    let late = |counted: [u64; 3]| {
        let windows: Vec<_> = hours.iter().copied().zip(counted).rev().collect();
        vault.late_rows(&dataset(), &windows).unwrap()
    };
    assert_eq!(late([first; 3]), 0);
    assert_eq!(late([0; 3]), 2);
    let more = [row(4, 6, 0, 1), row(5, 7, 0, 1), row(6, 125, 0, 1), row(7, 300, 0, 1), row(2, 66, 0, 5)];
    take(&vault, &contract, "north", file(2), &more, 9).unwrap();
    let second = vault.sequence().unwrap();
    assert_eq!(late([first; 3]), 4);
    assert_eq!(late([first, second, second]), 2);
    assert_eq!(late([second; 3]), 0);
    // One of them is corrected: it is late once.
    take(&vault, &contract, "north", file(3), &[row(4, 8, 0, 2)], 9).unwrap();
    assert_eq!(late([first; 3]), 4);
    assert_eq!(late([second; 3]), 1);
}

/// Appends more while windows are closed: from within the hook of an append, which is after its commit.
struct Interleave;

impl Hook for Interleave {
    fn before_commit(&self, _batch: u64, _bytes: usize) -> Result<(), StoreError> {
        Ok(())
    }

    fn after_commit(&self, _batch: u64) -> Result<(), StoreError> {
        std::thread::yield_now();
        Ok(())
    }
}

#[test]
fn what_is_closed_is_exactly_what_its_sequence_says_while_others_append() {
    let place = Place::new().with_hook(Arc::new(Interleave));
    let vault = place.open().unwrap();
    let contract = hourly(false);
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    let (from, until) = span();
    let batches = 200_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..batches {
                append(&vault, &contract, file(1), number, &[row(1, number as i64 * 7, 0, 1)], start()).unwrap();
            }
        });
        loop {
            let due = [Due { contract: &contract, windows: contract.calendar(zone()).windows(from, until).collect() }];
            let closing = vault.close(&dataset(), &due, Limits::default()).unwrap();
            let counted = closing.windows[0].iter().filter(|closed| !closed.rollup.is_empty()).count() as u64;
            // Row n lies 7 n minutes after the start: the number of hours that hold one says how many were counted.
            let hours = closing.sequence.checked_sub(1).map_or(0, |last| last * 7 / 60 + 1);
            assert_eq!(counted, hours);
            if closing.sequence == batches {
                break;
            }
        }
    });
}
