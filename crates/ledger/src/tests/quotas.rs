//! One member takes no other's place: what a peer may make this ledger keep is counted by peer.

use std::collections::BTreeMap;

use super::*;
use crate::RefusalKind;
use crate::contracts::{CONTRACT_BYTES_PER_PEER_MAX, CONTRACTS_MAX, CONTRACTS_READ_BYTES_MAX, PRODUCTS_PER_PEER_MAX};
use crate::keys;
use crate::ledger::locked;
use crate::said::REFUSALS_PER_PEER_MAX;

/// The public contract of a product, of about so many bytes.
fn contract_of(domain: &str, product: &str, bytes: usize) -> Contract {
    let document = String::from_utf8(contract("1", OPEN).public_document().to_vec()).unwrap();
    let document = document.replace("trips", product).replace("traffic", domain).replace("Tests", &"x".repeat(bytes));
    Contract::from_public(document.as_bytes()).unwrap()
}

fn id(domain: &str, product: &str) -> ProductId {
    format!("{domain}.{product}").parse().unwrap()
}

fn too_many<T: std::fmt::Debug>(result: Result<T, LedgerError>) -> &'static str {
    match result {
        Err(LedgerError::TooMany { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_with_too_many_products_leaves_the_places_of_others_and_ones_own() {
    let ledger = open("transit", &MemoryDisk::new().unwrap(), None);
    let adopt = |domain: &str, product: &str| ledger.adopt_contract(&contract_of(domain, product, 1), NOW);
    for product in 0..PRODUCTS_PER_PEER_MAX {
        assert_eq!(adopt("health", &format!("p{product}")), Ok(true));
    }
    assert_eq!(too_many(adopt("health", "more")), "products of one peer");
    assert_eq!(adopt("health", "p0"), Ok(false), "what is known stays");
    assert_eq!(adopt("traffic", "taxi"), Ok(true), "another peer has places of its own");
    for product in 0..=PRODUCTS_PER_PEER_MAX {
        assert_eq!(adopt("transit", &format!("p{product}")), Ok(true), "a node's own are not a peer's");
    }
}

#[test]
fn a_peers_contracts_are_bounded_in_bytes_and_in_versions() {
    let ledger = open("transit", &MemoryDisk::new().unwrap(), None);
    let bytes = 200_000;
    let most = CONTRACT_BYTES_PER_PEER_MAX / bytes;
    let large = |domain: &str, product: u64| contract_of(domain, &format!("p{product}"), bytes as usize);
    let fit = (0..most).take_while(|product| ledger.adopt_contract(&large("health", *product), NOW).is_ok()).count();
    assert!((most - 3..=most).contains(&(fit as u64)), "{fit} of {most}");
    assert_eq!(too_many(ledger.adopt_contract(&large("health", most), NOW)), "bytes of contracts of one peer");
    assert_eq!(ledger.adopt_contract(&large("traffic", 0), NOW), Ok(true));

    let version = |version: usize| contract(&version.to_string(), OPEN);
    let ledger = peer(&version(1));
    for older in 2..=CONTRACTS_MAX {
        assert_eq!(ledger.learn_contract(&public(&version(older)), NOW), Ok(true));
    }
    assert_eq!(too_many(ledger.learn_contract(&public(&version(0)), NOW)), "contracts of one product");
}

#[test]
fn what_is_kept_as_read_is_bounded_in_bytes() {
    let ledger = open("transit", &MemoryDisk::new().unwrap(), None);
    let bytes = 250_000;
    for domain in ["health", "traffic", "weather"] {
        for product in 0..60 {
            let contract = contract_of(domain, &format!("p{product}"), bytes);
            ledger.adopt_contract(&contract, NOW).unwrap();
            assert_eq!(*ledger.contract(&contract.product).unwrap().unwrap(), contract);
            assert!(locked(&ledger.contracts).bytes() <= CONTRACTS_READ_BYTES_MAX);
        }
    }
    assert!(3 * 60 * bytes > CONTRACTS_READ_BYTES_MAX, "it was full once");
}

#[test]
fn a_peer_that_refuses_too_much_takes_no_other_refusals_place() {
    let ledger = open("transit", &MemoryDisk::new().unwrap(), None);
    let told = |domain: &str, products: std::ops::Range<usize>| -> BTreeMap<ProductId, RefusalKind> {
        products.map(|product| (id(domain, &format!("p{product}")), RefusalKind::NotGranted)).collect()
    };
    let health: DomainName = "health".parse().unwrap();
    assert_eq!(ledger.note_refusals(&health, &told("health", 0..REFUSALS_PER_PEER_MAX), NOW), Ok(true));
    assert_eq!(ledger.note_refusals(&health, &told("health", 0..REFUSALS_PER_PEER_MAX + 9), NOW), Ok(false));
    assert_eq!(ledger.refusals().unwrap().len(), REFUSALS_PER_PEER_MAX);
    let more = ledger.note_refused(&id("health", "more"), RefusalKind::NoSuchProduct, NOW);
    assert_eq!(too_many(more), "refusals of one peer");

    ledger.note_refused(&id("traffic", "taxi"), RefusalKind::NotGranted, NOW).unwrap();
    assert_eq!(ledger.note_refusals(&health, &told("health", 900..910), NOW), Ok(true), "those before are forgotten");
    let refused: Vec<ProductId> = ledger.refusals().unwrap().into_keys().collect();
    assert_eq!(refused.len(), 11);
    assert!(refused.contains(&id("traffic", "taxi")) && refused.contains(&id("health", "p905")));
}

#[test]
fn what_an_owner_refused_is_not_granted_because_it_tells_it_no_more() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    let owner = product().domain;
    let told = BTreeMap::from([(product(), RefusalKind::NotGranted)]);
    ledger.note_refusals(&owner, &told, NOW).unwrap();
    ledger.note_refusals(&owner, &BTreeMap::new(), NOW).unwrap();
    assert!(!ledger.snapshot().product(&product()).unwrap().unwrap().granted);
    Forger::new().with(Entry::Empty(run(&contract, 0, 1))).show(&ledger).unwrap();
    assert!(ledger.snapshot().product(&product()).unwrap().unwrap().granted, "once it gives again");
}

#[test]
fn a_contract_that_cannot_be_read_costs_its_own_product() {
    let disk = MemoryDisk::new().unwrap();
    let ledger = open("transit", &disk, None);
    let (bad, good) = (contract_of("health", "bad", 1), contract_of("traffic", "good", 1));
    for contract in [&bad, &good] {
        ledger.adopt_contract(contract, NOW).unwrap();
    }
    let mut batch = ledger.store.batch();
    let newer = keys::contract::to_bytes(NOW, b"{\"apiVersion\": \"v99\"}");
    batch.put(keys::contract::KEYSPACE, keys::contract::key(&bad.hash()), newer);
    ledger.store.commit(batch).unwrap();
    drop(ledger);

    let ledger = open("transit", &disk, None);
    let products = ledger.snapshot().products().unwrap();
    let readable: Vec<_> = products.iter().map(|state| (&state.id, state.contract.is_some())).collect();
    assert_eq!(readable, [(&bad.product, false), (&good.product, true)]);
    assert_eq!(ledger.contract_hash(&bad.product).unwrap(), Some(bad.hash()));
    assert_eq!(ledger.expire_releases(NOW), Ok(0));
    assert_eq!(ledger.adopt_contract(&contract_of("health", "bad", 2), NOW), Ok(true), "the next one takes its place");
    assert!(ledger.snapshot().product(&bad.product).unwrap().unwrap().contract.is_some());
}

#[test]
fn the_bytes_of_bodies_are_counted_until_they_are_past_their_retention() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    let forger = Forger::new().with(Entry::Empty(run(&contract, 0, 1))).with(Entry::Empty(run(&contract, 1, 2)));
    forger.show(&ledger).unwrap();
    let bytes: usize = forger.entries.iter().map(Vec::len).sum();
    let stored = ledger.stored(&product()).unwrap();
    assert_eq!((stored.entries, stored.body_bytes), (2, bytes as u64));
    assert_eq!(ledger.expire_releases(hour(10_000)), Ok(2));
    let stored = ledger.stored(&product()).unwrap();
    assert_eq!((stored.entries, stored.body_bytes), (2, 0));
}

#[test]
fn an_owner_that_was_found_out_is_told_of_in_every_snapshot() {
    let contract = contract("1", OPEN);
    let ledger = peer(&contract);
    Forger::new().with(Entry::Release(release(&contract, 0, 0))).show(&ledger).unwrap();
    let found = || ledger.snapshot().product(&product()).unwrap().unwrap().found_out;
    assert_eq!(found(), []);
    Forger::new().with(Entry::Empty(run(&contract, 0, 1))).rejection(&ledger);
    assert_eq!(found(), ledger.found_out(&product()).unwrap());
    assert_eq!(found().len(), 1);
    assert_eq!(ledger.snapshot().products().unwrap()[0].found_out.len(), 1);
}

#[test]
fn a_replica_that_is_dropped_is_pulled_anew_and_its_owner_heard_again() {
    let disk = MemoryDisk::new().unwrap();
    let contract = contract("1", OPEN);
    let ledger = open("transit", &disk, None);
    ledger.adopt_contract(&public(&contract), NOW).unwrap();
    ledger.adopt_contract(&contract_of("traffic", "trips2", 1), NOW).unwrap();
    Forger::new().with(Entry::Release(release(&contract, 0, 0))).show(&ledger).unwrap();
    let other = Forger::new().with(Entry::Empty(run(&contract, 0, 2)));
    other.rejection(&ledger);
    assert_eq!(ledger.drop_replica(&product()), Ok(1));
    assert_eq!(ledger.drop_replica(&product()), Err(LedgerError::UnknownProduct(product())));
    assert!(matches!(ledger.drop_replica(&id("transit", "own")), Err(LedgerError::Owner { own: true, .. })));
    drop(ledger);

    let ledger = open("transit", &disk, None);
    assert_eq!(
        ledger.products_of(&"traffic".parse().unwrap()).unwrap(),
        [id("traffic", "trips2")],
        "the neighbour stays"
    );
    assert_eq!(ledger.contract_by_hash(&contract.hash()), Ok(None));
    assert_eq!(ledger.stored(&product()).unwrap(), Default::default());
    ledger.adopt_contract(&public(&contract), NOW).unwrap();
    other.show(&ledger).unwrap();
    let state = ledger.snapshot().product(&product()).unwrap().unwrap();
    assert_eq!(state.found_out, []);
    assert_eq!(current(&ledger), [Entry::Empty(run(&contract, 0, 2))]);
    assert_consistent(&ledger);
}
