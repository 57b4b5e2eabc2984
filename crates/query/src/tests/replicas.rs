//! The engine over a real ledger: every product of the city a replica that was verified and admitted.

use std::collections::BTreeMap;
use std::sync::Arc;

use civicmesh_ledger::{Contact, Ledger, Options, Outcome, RefusalKind, Replica, SigningKey, VerifyingKey};
use civicmesh_model::contract::Contract;
use civicmesh_model::log::{Frontier, Head, leaf_hash};
use civicmesh_model::names::ProductId;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;

use super::answers::new_york;
use super::fixture::{lines, now};
use crate::engine::{CityView, Engine, QueryOptions};
use crate::error::QueryError;
use crate::limits::Limits;

/// Lets a peer sign and show all its entries.
fn replicate(ledger: &Ledger, entries: &[Entry], signing: &SigningKey, key: &VerifyingKey) {
    let product = entries[0].product().clone();
    let bytes: Vec<Vec<u8>> = entries.iter().map(Entry::encode).collect();
    let mut frontier = Frontier::new();
    bytes.iter().for_each(|bytes| frontier.append(leaf_hash(bytes)));
    let head = signing.sign(Head {
        product: product.clone(),
        size: frontier.size(),
        root: frontier.root(),
        closed_through: entries[entries.len() - 1].closed_through(),
        at: now(),
    });
    let cursor = ledger.cursor(&product).unwrap();
    let replica = Replica::verify(ledger, cursor, bytes, head, key, now()).unwrap();
    ledger.admit(replica, now()).unwrap();
}

#[tokio::test]
async fn replicas_answer_as_their_origin_would() {
    let world = new_york();
    let directory = tempfile::tempdir().unwrap();
    let options =
        Options { domain: "parks".parse().unwrap(), zone: world.zone, environment: Default::default(), hook: None };
    let ledger = Ledger::open(&directory.path().join("ledger"), options).unwrap();
    let signing = SigningKey::from_pkcs8(&SigningKey::document(&[7; 32])).unwrap();
    let key = signing.verifying_key();
    let mut logs: BTreeMap<ProductId, Vec<Entry>> = BTreeMap::new();
    for entry in &world.listed.entries {
        logs.entry(entry.product().clone()).or_default().push(entry.clone());
    }
    for contract in &world.listed.contracts {
        let public = Contract::from_public(contract.public_document()).unwrap();
        ledger.adopt_contract(&public, now()).unwrap();
        replicate(&ledger, &logs[&contract.product], &signing, &key);
    }
    let admissions: ProductId = "health.admissions".parse().unwrap();
    ledger.note_refused(&admissions, RefusalKind::NotGranted, now()).unwrap();
    let down = Contact { at: now(), outcome: Outcome::Unreachable { reason: "no route".to_owned() } };
    ledger.note(&"traffic".parse().unwrap(), down).unwrap();

    let city = CityView { name: "city".to_owned(), zone: world.zone, domain: "parks".parse().unwrap() };
    let engine = Engine::new(Arc::new(ledger), city, Limits::default()).unwrap();
    let origin = world.node();
    let later = UtcMicros(now().0 + 60_000_000);
    for sql in [
        "SELECT borough, count(*), sum(speed), avg(speed), stddev(speed) FROM traffic.taxi GROUP BY borough ORDER BY 1",
        "SELECT count(*) FROM traffic.taxi WHERE time >= '2020-03-05' AND time < '2020-03-12' AND borough = 'Queens'",
        "SELECT date_trunc('week', time) AS week, min(temp), max(temp) FROM weather.daily GROUP BY 1 ORDER BY 1",
    ] {
        let answer = engine.query(sql, later, &QueryOptions::default()).await.unwrap();
        let expected = origin.answer(sql).await.unwrap();
        assert_eq!(lines(&answer.batches), lines(&expected.batches), "{sql}");
        let (found, origin) = (&answer.completeness[0], &expected.completeness[0]);
        assert_eq!((found.cells, found.cells_suppressed), (origin.cells, origin.cells_suppressed), "{sql}");
        assert_eq!(found.windows_present, origin.windows_present, "{sql}");
        assert_eq!((found.head_age_us, found.own), (Some(60_000_000), false), "{sql}");
        assert_eq!(found.unreachable_since.is_some(), found.owner.as_str() == "traffic", "{sql}");
    }
    let error = engine.query("SELECT count(*) FROM health.admissions", later, &QueryOptions::default()).await;
    assert!(matches!(error, Err(QueryError::NotGranted { product, .. }) if product == admissions));
}
