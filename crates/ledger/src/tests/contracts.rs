//! Contracts in force, and those that were.

use super::*;

#[test]
fn a_contract_that_contradicts_released_windows_is_refused() {
    let first = contract("1", OPEN);
    let ledger = owner(&first);
    assert!(!ledger.adopt_contract(&first, NOW).unwrap(), "it is in force already");
    let metres = contract_with("2", OPEN, "{unit: m/s, decimals: 1, min: 0, max: 200}");
    assert!(ledger.adopt_contract(&metres, NOW).unwrap(), "nothing is released yet");
    assert!(ledger.adopt_contract(&first, NOW).unwrap());
    ledger.append(&product(), vec![empty(&first, 0, 1)], 0, &key(), NOW).unwrap();

    let error = ledger.adopt_contract(&metres, NOW).unwrap_err();
    assert!(matches!(&error, LedgerError::ContractBreaks { reason, .. } if reason.contains("unit")), "{error}");
    let threshold = contract("3", THRESHOLD);
    assert!(ledger.adopt_contract(&threshold, NOW).unwrap());
    assert_eq!(ledger.contract(&product()).unwrap().unwrap().hash(), threshold.hash());
    ledger.append(&product(), vec![empty(&threshold, 1, 2)], 0, &key(), NOW).unwrap();
    let error = ledger.adopt_contract(&first, NOW).unwrap_err();
    assert!(matches!(error, LedgerError::ContractBreaks { .. }), "from threshold to open");
    let history = [first.hash(), metres.hash(), threshold.hash()];
    assert_eq!(ledger.contract_history(&product()).unwrap(), history);
}

#[test]
fn an_own_contract_that_changed_needs_another_version_once_it_has_released() {
    let (first, k) = (contract("1", OPEN), contract("1", THRESHOLD));
    let ledger = owner(&first);
    assert!(ledger.adopt_contract(&k, NOW).unwrap(), "nothing is released yet");
    assert!(ledger.adopt_contract(&first, NOW).unwrap());
    ledger.append(&product(), vec![empty(&first, 0, 1)], 0, &key(), NOW).unwrap();
    assert!(!ledger.adopt_contract(&first, NOW).unwrap(), "a restart changes nothing");

    let error = ledger.adopt_contract(&k, NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "contract traffic.trips changed but still says version 1; raise `version`; it then applies to windows not yet \
         released"
    );
    assert_eq!(ledger.contract(&product()).unwrap().unwrap().hash(), first.hash());
    assert!(ledger.adopt_contract(&contract("2", THRESHOLD), NOW).unwrap());
    assert!(ledger.adopt_contract(&first, NOW).unwrap(), "and back, before anything is released under it");

    let ledger = peer(&first);
    Forger::new().with(Entry::Empty(run(&first, 0, 1))).show(&ledger).unwrap();
    assert!(ledger.adopt_contract(&public(&k), NOW).unwrap(), "a peer's contract is its owner's affair");
}

#[test]
fn contracts_are_found_by_hash_after_a_restart_without_their_dataset() {
    let disk = MemoryDisk::new().unwrap();
    let contract = contract("1", OPEN);
    assert!(contract.dataset.is_some());
    open("traffic", &disk, None).adopt_contract(&contract, NOW).unwrap();
    let ledger = open("traffic", &disk, None);
    let stored = ledger.contract_by_hash(&contract.hash()).unwrap().unwrap();
    assert_eq!(*stored, public(&contract));
    assert_eq!(ledger.contract_by_hash(&Hash32([0; 32])).unwrap(), None);
    assert_eq!(ledger.products_of(&product().domain).unwrap(), [product()]);
}

#[test]
fn a_replica_learns_the_contracts_that_older_entries_name() {
    let (old, new) = (contract("1", OPEN), contract("2", OPEN));
    let ledger = peer(&new);
    let forger = Forger::new().with(Entry::Empty(run(&old, 0, 1))).with(Entry::Empty(run(&new, 1, 2)));
    let unknown = Rejection::UnknownContract { index: 0, contract: old.hash() };
    assert_eq!(forger.rejection(&ledger), unknown);
    assert_eq!(ledger.found_out(&product()).unwrap(), [], "it is asked for, not held against the owner");

    let metres = contract_with("0", OPEN, "{unit: m/s, decimals: 1, min: 0, max: 200}");
    let error = ledger.learn_contract(&public(&metres), NOW).unwrap_err();
    assert!(matches!(error, LedgerError::ContractBreaks { .. }));
    assert!(ledger.learn_contract(&public(&old), NOW).unwrap());
    assert!(!ledger.learn_contract(&public(&old), NOW).unwrap());
    forger.show(&ledger).unwrap();
    assert_eq!(ledger.contract(&product()).unwrap().unwrap().hash(), new.hash(), "the newer one stays in force");
    assert_consistent(&ledger);
}
