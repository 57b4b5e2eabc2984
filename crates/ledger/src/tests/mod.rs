//! The ledger as its callers see it. Owners append what the gate gives for windows without rows; what an owner with
//! rows, or a forger, would send to a peer is made by a [`Forger`], which signs whatever it is told to.

mod appending;
mod contracts;
mod counting;
mod crashing;
mod expiring;
mod merging;
mod model;
mod quotas;
mod replicating;
mod saying;

use std::path::Path;
use std::sync::Arc;

use civicmesh_disclosure::{Accumulator, Disclosed, Limits, SaltKey, Terms, gate};
use civicmesh_model::contract::Contract;
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::log::{Frontier, Head, SignedHead, leaf_hash};
use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{Cell, EmptyRun, Entry, MethodTag, Release, ReleaseCoverage, ShareBand};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_store::{Environment, Hook, MemoryDisk};

use crate::leaves::Leaves;
use crate::{Cursor, Ledger, LedgerError, Options, Rejection, Replica, SigningKey};

pub(super) const HOUR: i64 = 3_600_000_000;
pub(super) const OPEN: &str = "{method: open, reason: machines only, approver: the office}";
pub(super) const THRESHOLD: &str = "{method: threshold, k: 10, approver: the office}";

/// A contract of `traffic.trips` with windows of an hour.
pub(super) fn contract(version: &str, disclosure: &str) -> Contract {
    contract_with(version, disclosure, "{unit: km/h, decimals: 1, min: 0, max: 200}")
}

pub(super) fn contract_with(version: &str, disclosure: &str, speed: &str) -> Contract {
    let contributor = if disclosure == OPEN { "none" } else { "row" };
    let text = format!(
        "apiVersion: v3.1.0
kind: DataContract
id: traffic.trips
version: {version}
status: active
domain: traffic
dataProduct: trips
name: Trips
description: {{purpose: Tests}}
schema:
- name: trips
  properties:
  - {{name: time, logicalType: timestamp, required: true, description: Start of the hour}}
  - {{name: borough, logicalType: string, required: true, description: Where}}
  - {{name: speed, logicalType: number, description: How fast}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: 1 hour, start: 1970-01-01, lateness: 1 day, empty: zero}}
    measures:
      speed: {speed}
    disclosure: {disclosure}
    audience: city
    retention: {{raw: 90 days, releases: 30 days}}
- property: civicmesh.dataset
  value:
    name: trips
    time: {{column: at, zone: UTC}}
    columns: {{at: timestamp, borough: text, speed: number}}
    contributor: {contributor}
"
    );
    Contract::parse(&text, "trips.yaml").unwrap_or_else(|findings| panic!("{findings:?}")).0
}

pub(super) fn product() -> ProductId {
    "traffic.trips".parse().unwrap()
}

pub(super) fn zone() -> Zone {
    "UTC".parse().unwrap()
}

pub(super) fn hour(hour: i64) -> UtcMicros {
    UtcMicros(hour * HOUR)
}

pub(super) fn window(start: i64) -> Window {
    Window { start: hour(start), end: hour(start + 1) }
}

/// When tests append and pull, unless they say otherwise.
pub(super) const NOW: UtcMicros = UtcMicros(500 * HOUR);

pub(super) fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::document(&[1; 32])).unwrap()
}

pub(super) fn open(domain: &str, disk: &MemoryDisk, hook: Option<Arc<dyn Hook>>) -> Ledger {
    let domain: DomainName = domain.parse().unwrap();
    let options = Options { domain, zone: zone(), environment: Environment::Memory(disk.clone()), hook };
    Ledger::open(Path::new("unused"), options).unwrap()
}

/// The owner's ledger, with the contract in force.
pub(super) fn owner(contract: &Contract) -> Ledger {
    let ledger = open("traffic", &MemoryDisk::new().unwrap(), None);
    ledger.adopt_contract(contract, NOW).unwrap();
    ledger
}

/// A peer's ledger that knows the contract as peers do.
pub(super) fn peer(contract: &Contract) -> Ledger {
    let ledger = open("transit", &MemoryDisk::new().unwrap(), None);
    ledger.adopt_contract(&public(contract), NOW).unwrap();
    ledger
}

pub(super) fn public(contract: &Contract) -> Contract {
    Contract::from_public(contract.public_document()).unwrap()
}

/// What the gate makes of hours without rows.
pub(super) fn empty(contract: &Contract, start: i64, end: i64) -> Disclosed {
    empty_closed(contract, start, end, end)
}

pub(super) fn empty_closed(contract: &Contract, start: i64, end: i64, closed_through: i64) -> Disclosed {
    let salt_key = SaltKey::new([2; 32]);
    let closed_through = hour(closed_through);
    let terms = Terms { contract, zone: zone(), revision: 0, closed_through, sources: 1, salt_key: &salt_key };
    gate::empty(hour(start), hour(end), &terms).unwrap()
}

/// What the gate makes of an hour that lost its rows.
pub(super) fn revised(contract: &Contract, start: i64, revision: u32, closed_through: i64) -> Disclosed {
    let salt_key = SaltKey::new([2; 32]);
    let closed_through = hour(closed_through);
    let terms = Terms { contract, zone: zone(), revision, closed_through, sources: 1, salt_key: &salt_key };
    let rollup = Accumulator::new(contract, vec![window(start)], Limits::default()).unwrap().finish().remove(0);
    gate::disclose(rollup, &terms).unwrap()
}

/// A release of an hour with one cell of twelve observations.
pub(super) fn release(contract: &Contract, start: i64, revision: u32) -> Release {
    let measure = MeasureState { count: 12, sum: 1200, sum_squares: 120_100, min: None, max: None };
    let method = match &contract.method {
        civicmesh_model::contract::Method::Open { .. } => MethodTag::Open,
        civicmesh_model::contract::Method::Threshold { k, .. } => MethodTag::Threshold { k: *k },
    };
    Release {
        product: contract.product.clone(),
        window: window(start),
        revision,
        contract: contract.hash(),
        method,
        closed_through: hour(start + 1),
        dimensions: vec!["borough".into()],
        measures: vec!["speed".into()],
        decimals: vec![1],
        sketches: Vec::new(),
        cells: vec![Cell {
            coordinate: vec!["Bronx".into()],
            observations: 12,
            measures: vec![measure],
            sketches: Vec::new(),
        }],
        suppressed: Vec::new(),
        suppressed_share: ShareBand::None,
        coverage: ReleaseCoverage { observations: 12, sources: 1 },
        salt: [revision as u8; 32],
    }
}

pub(super) fn run(contract: &Contract, start: i64, end: i64) -> EmptyRun {
    EmptyRun {
        product: contract.product.clone(),
        start: hour(start),
        end: hour(end),
        windows: (end - start) as u64,
        contract: contract.hash(),
        closed_through: hour(end),
        zero: true,
        salt: [0; 32],
    }
}

/// An owner that signs whatever it is told to.
#[derive(Clone)]
pub(super) struct Forger {
    pub frontier: Frontier,
    pub entries: Vec<Vec<u8>>,
    pub closed_through: UtcMicros,
    pub at: UtcMicros,
}

impl Forger {
    pub fn new() -> Self {
        Self { frontier: Frontier::new(), entries: Vec::new(), closed_through: UtcMicros::MIN, at: NOW }
    }

    pub fn with(mut self, entry: Entry) -> Self {
        self.closed_through = entry.closed_through();
        self.with_bytes(entry.encode())
    }

    pub fn with_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.frontier.append(leaf_hash(&bytes));
        self.entries.push(bytes);
        self
    }

    pub fn head(&self) -> SignedHead {
        self.head_with(self.frontier.size(), self.frontier.root())
    }

    pub fn head_with(&self, size: u64, root: Hash32) -> SignedHead {
        let closed_through = self.closed_through;
        key().sign(Head { product: product(), size, root, closed_through, at: self.at })
    }

    /// Shows the peer all entries that it does not hold yet.
    pub fn show(&self, peer: &Ledger) -> Result<(), LedgerError> {
        let cursor = peer.cursor(&product()).unwrap();
        let entries = self.entries.get(cursor.size as usize..).unwrap_or_default().to_vec();
        pull(peer, cursor, entries, self.head())
    }

    pub fn rejection(&self, peer: &Ledger) -> Rejection {
        rejection(self.show(peer))
    }
}

pub(super) fn pull(peer: &Ledger, cursor: Cursor, entries: Vec<Vec<u8>>, head: SignedHead) -> Result<(), LedgerError> {
    let replica = Replica::verify(peer, cursor, entries, head, &key().verifying_key(), NOW)?;
    peer.admit(replica, NOW).map(|_| ())
}

pub(super) fn rejection(result: Result<(), LedgerError>) -> Rejection {
    match result {
        Err(LedgerError::Rejected { rejection, .. }) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The newest entries in the order of time.
pub(super) fn current(ledger: &Ledger) -> Vec<Entry> {
    ledger.snapshot().current(&product(), None).unwrap().collect::<Result<_, _>>().unwrap()
}

/// All that a log holds, from its own words: every entry from 0 on, and the head over them.
pub(super) fn whole_log(ledger: &Ledger) -> (Vec<Vec<u8>>, Option<Hash32>) {
    let entries = ledger.entries(&product(), 0, usize::MAX).unwrap();
    assert!(entries.iter().map(|(index, _)| *index).eq(0..entries.len() as u64));
    let root = ledger.log(&product()).unwrap().map(|log| log.head.head.root);
    (entries.into_iter().map(|(_, bytes)| bytes).collect(), root)
}

/// Of every prefix of the log its root and through when it is closed.
pub(super) fn prefixes(ledger: &Ledger) -> Vec<(Hash32, UtcMicros)> {
    let moment = ledger.store.snapshot();
    let leaves = Leaves::new(&moment, &product());
    let sizes = 1..=ledger.cursor(&product()).unwrap().size;
    sizes.map(|size| (leaves.frontier_at(size).unwrap().root(), leaves.closed_through(size - 1).unwrap())).collect()
}

/// The promises that hold of every log at every moment.
pub(super) fn assert_consistent(ledger: &Ledger) {
    let (entries, root) = whole_log(ledger);
    let cursor = ledger.cursor(&product()).unwrap();
    assert_eq!(cursor.size, entries.len() as u64);
    let Some(log) = ledger.log(&product()).unwrap() else {
        assert!(entries.is_empty() && current(ledger).is_empty());
        return;
    };
    let mut frontier = Frontier::new();
    entries.iter().for_each(|entry| frontier.append(leaf_hash(entry)));
    assert_eq!(root, Some(frontier.root()));
    assert_eq!(log.head.head.size, frontier.size());
    assert!(key().verifying_key().signed(&log.head));
    let decoded: Vec<Entry> = entries.iter().map(|entry| Entry::decode(entry).unwrap()).collect();
    assert_eq!(log.closed_through, decoded.last().unwrap().closed_through());
    let end = decoded.iter().map(|entry| entry.window().end).max().unwrap();
    assert_eq!(log.newest_window.end, end);
    let current = current(ledger);
    assert!(current.windows(2).all(|pair| pair[0].window().end <= pair[1].window().start));
    let revised = |entry: &Entry| {
        if entry.revision() == 0 { entry.windows() } else { 0 }
    };
    let windows: u64 = decoded.iter().map(revised).sum();
    assert_eq!(current.iter().map(Entry::windows).sum::<u64>(), windows);
}

/// One ledger serves every task of a node.
#[test]
fn a_ledger_is_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Ledger>();
    shared::<crate::Snapshot<'_>>();
}
