//! The vault that windows are counted from.

use civicmesh_model::vault_id::VaultId;

use super::*;
use crate::{CountError, Counted, VaultMark};

fn mark(id: u8, sequence: u64) -> VaultMark {
    VaultMark { id: VaultId([id; 16]), sequence }
}

fn missing(counted: u8, sequence: u64, found: VaultMark) -> Result<(), CountError> {
    Err(CountError::RowsMissing { counted: VaultId([counted; 16]), sequence, found })
}

#[test]
fn a_vault_that_lacks_what_was_counted_is_refused_until_its_rows_are_given_up() {
    let contract = contract("1", OPEN);
    let disk = MemoryDisk::new().unwrap();
    let ledger = open("traffic", &disk, None);
    ledger.adopt_contract(&contract, NOW).unwrap();
    ledger.count_from(mark(1, 0)).unwrap();
    ledger.count_from(mark(2, 0)).unwrap();
    ledger.append(&product(), vec![empty(&contract, 0, 5)], 9, &key(), NOW).unwrap();
    ledger.append(&product(), vec![revised(&contract, 2, 1, 5)], 7, &key(), NOW).unwrap();
    drop(ledger);
    let ledger = open("traffic", &disk, None);
    assert_eq!(ledger.count_from(mark(3, 20)), missing(2, 9, mark(3, 20)));
    assert_eq!(ledger.count_from(mark(2, 8)), missing(2, 9, mark(2, 8)));
    ledger.count_from(mark(2, 9)).unwrap();
    ledger.count_from(mark(2, 30)).unwrap();
    let counted = |start| ledger.counted(&product(), hour(start)).unwrap();
    assert_eq!(counted(2), Some(Counted { revision: 1, sequence: 7, gone: false }));

    ledger.count_without_earlier_rows(mark(4, 3)).unwrap();
    assert_eq!(counted(2), Some(Counted { revision: 1, sequence: 3, gone: true }));
    ledger.append(&product(), vec![empty(&contract, 5, 6)], 4, &key(), NOW).unwrap();
    drop(ledger);
    let ledger = open("traffic", &disk, None);
    let counted = |start| ledger.counted(&product(), hour(start)).unwrap();
    assert_eq!(counted(4), Some(Counted { revision: 0, sequence: 3, gone: true }));
    assert_eq!(counted(5), Some(Counted { revision: 0, sequence: 4, gone: false }));
    assert_eq!(ledger.count_from(mark(2, 30)), missing(4, 4, mark(2, 30)));
    ledger.count_from(mark(4, 4)).unwrap();
}

#[test]
fn a_ledger_from_before_vaults_had_ids_is_held_to_what_it_counted() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    ledger.append(&product(), vec![empty(&contract, 0, 5)], 9, &key(), NOW).unwrap();
    assert_eq!(ledger.count_from(mark(1, 8)), missing(1, 9, mark(1, 8)));
    ledger.count_from(mark(1, 9)).unwrap();
    assert_eq!(ledger.count_from(mark(2, 9)), missing(1, 9, mark(2, 9)));
}

#[test]
fn the_refusal_tells_the_ways_out() {
    for (found, says) in [(mark(2, 9), "this vault is 0202"), (mark(1, 8), "this vault stands at sequence 8, and ")] {
        let told = missing(1, 9, found).unwrap_err().to_string();
        assert!(told.starts_with(says) && told.contains(&format!("--rows-gone {}", mark(1, 0).id)), "{told}");
    }
}

#[test]
fn a_log_is_covered_from_its_first_window() {
    let contract = contract("1", OPEN);
    let ledger = owner(&contract);
    assert_eq!(ledger.covered_from(&product()), Ok(None));
    ledger.append(&product(), vec![empty(&contract, 3, 5)], 9, &key(), NOW).unwrap();
    assert_eq!(ledger.covered_from(&product()), Ok(Some(hour(3))));
}
