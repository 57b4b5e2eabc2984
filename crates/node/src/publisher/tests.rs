//! What is closed, what is revised, what is held: over a real vault and ledger in memory.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use civicmesh_disclosure::{Limits, SaltKey};
use civicmesh_ledger::{CountError, Ledger, SigningKey, VaultMark};
use civicmesh_model::contract::Contract;
use civicmesh_model::release::{Entry, Release};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_model::vault_id::VaultId;
use civicmesh_store::{Environment, MemoryDisk};
use civicmesh_vault::Vault;
use tempfile::TempDir;

use super::turn::{Product, ReleaseKeys, Step, UndoError};
use crate::ingest::{self, ContributorSecret, Desk, Progress, Recipe, Reject, Summary, Watch};

const OPEN: &str = "{method: open, reason: Weather concerns no person, approver: Head of the weather service}";
const THRESHOLD: &str = "{method: threshold, k: 10, approver: Data protection officer}";
const MANY: usize = 12;

/// A contract over days of March 2020.
fn contract(status: &str, version: &str, disclosure: &str) -> String {
    format!(
        r#"
apiVersion: v3.1.0
kind: DataContract
id: traffic.trips
version: {version}
status: {status}
name: Trips
description: {{purpose: Show how fast traffic moves}}
schema:
- name: trips
  properties:
  - {{name: time, logicalType: timestamp}}
  - {{name: speed, logicalType: number}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: 1 day, start: 2020-03-01, end: 2020-04-01, lateness: 1 day}}
    measures: {{speed: {{unit: km/h, decimals: 1, min: 0, max: 200}}}}
    disclosure: {disclosure}
    audience: city
    retention: {{raw: 20 years, releases: 20 years}}
- property: civicmesh.dataset
  value:
    time: {{column: time, format: "%Y-%m-%d %H:%M", zone: UTC}}
    columns: {{time: timestamp, speed: number}}
    contributor: {contributor}
"#,
        contributor = if disclosure == THRESHOLD { "row" } else { "none" },
    )
}

struct Quiet;

impl Watch for Quiet {
    fn progress(&mut self, _: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn reject(&mut self, _: &Reject) {}
}

/// A vault, a ledger, and a clock that stands still.
struct Bench {
    folder: TempDir,
    vault: Arc<Vault>,
    ledger: Arc<Ledger>,
    clock: crate::Environment,
}

/// An empty vault.
fn vault(id: u8) -> Arc<Vault> {
    let environment = Environment::Memory(MemoryDisk::new().unwrap());
    let options =
        civicmesh_vault::Options { environment, ..civicmesh_vault::Options::new(Zone::UTC, VaultId([id; 16])) };
    Arc::new(Vault::open(Path::new("unused"), &options).unwrap())
}

impl Bench {
    fn new() -> Bench {
        let environment = Environment::Memory(MemoryDisk::new().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let domain = "traffic".parse().unwrap();
        let ledger = civicmesh_ledger::Options { domain, zone: Zone::UTC, environment, hook: None };
        Bench {
            vault: vault(1),
            ledger: Arc::new(Ledger::open(&folder.path().join("ledger"), ledger).unwrap()),
            folder,
            clock: crate::Environment::real(),
        }
    }

    /// The product under this contract, as a node makes it when it starts.
    fn product(&self, text: &str) -> Product {
        let (contract, _) = Contract::parse(text, "trips.yaml").unwrap();
        self.ledger.adopt_contract(&contract, self.now()).unwrap();
        let signing = SigningKey::from_pkcs8(&SigningKey::document(&[7; 32])).unwrap();
        Product {
            recipe: Recipe::new(&contract, Path::new(""), &ContributorSecret::new(&[1; 32])).unwrap(),
            contract,
            zone: Zone::UTC,
            vault: Arc::clone(&self.vault),
            ledger: Arc::clone(&self.ledger),
            keys: Arc::new(ReleaseKeys { signing: Arc::new(signing), salt: SaltKey::new([2; 32]) }),
            windows_max: 4,
            limits: Limits::default(),
            held: Default::default(),
            turn: Default::default(),
        }
    }

    fn now(&self) -> UtcMicros {
        self.clock.clock.now()
    }

    /// Takes a file of `rows` trips at each of the given times in; all of it goes at `speed`.
    fn ingest(&self, product: &Product, name: &str, times: &[&str], rows: usize, speed: u32) {
        let path = self.folder.path().join(name);
        let lines: Vec<String> = times
            .iter()
            .flat_map(|time| (0..rows).map(move |row| format!("2020-03-{time}:{row:02},{speed}\n")))
            .collect();
        std::fs::write(&path, format!("time,speed\n{}", lines.concat())).unwrap();
        let summary = self.take(product, name, &path);
        assert_eq!(summary.accepted, (times.len() * rows) as u64);
    }

    fn take(&self, product: &Product, name: &str, path: &Path) -> Summary {
        let source = "trips".parse().unwrap();
        let upload = ingest::Upload { path, name, source: &source };
        let desk = Desk { vault: &self.vault, rejects: self.folder.path(), clock: self.clock.clock.as_ref() };
        ingest::ingest(&product.recipe, upload, desk, &mut Quiet).unwrap()
    }

    /// Where the vault stands.
    fn mark(&self) -> VaultMark {
        VaultMark { id: self.vault.id().unwrap(), sequence: self.vault.sequence().unwrap() }
    }

    /// Declares all through this midnight complete.
    fn complete(&self, product: &Product, name: &str, until: &str) {
        let files = self.vault.files(product.dataset()).unwrap();
        let file = files.iter().find(|file| file.name == name).unwrap().key;
        self.vault.complete(product.dataset(), file, day(until)).unwrap();
    }

    /// Steps until nothing is left to do; how many steps did something.
    fn turn(&self, product: &Product) -> usize {
        for steps in 0..100 {
            if let Step::Idle { .. } = product.step(self.now()).unwrap() {
                return steps;
            }
        }
        panic!("the publisher never rests");
    }

    /// The log, an entry a line.
    fn log(&self, product: &Product) -> Vec<String> {
        let entries = self.ledger.entries(product.id(), 0, usize::MAX).unwrap();
        entries.iter().map(|(_, bytes)| told(&Entry::decode(bytes).unwrap())).collect()
    }
}

fn day(date: &str) -> UtcMicros {
    format!("2020-03-{date}T00:00:00Z").parse().unwrap()
}

fn told(entry: &Entry) -> String {
    let date = |at: UtcMicros| at.to_string()[5..10].to_owned();
    match entry {
        Entry::Release(Release { window, revision, cells, suppressed, .. }) => {
            let observations: u64 = cells.iter().map(|cell| cell.observations).sum();
            format!(
                "{} r{revision}: {observations} in {} cells, {} suppressed",
                date(window.start),
                cells.len(),
                suppressed.len()
            )
        }
        Entry::Refusal(refused) => format!("{} refused", date(refused.window.start)),
        Entry::Empty(run) => format!("{} to {} empty", date(run.start), date(run.end)),
    }
}

#[test]
fn closed_windows_are_released_once_and_empty_ones_run_together() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    assert_eq!(bench.turn(&product), 0, "nothing is known, nothing is closed");
    bench.ingest(&product, "a.csv", &["03 08", "05 08", "09 08"], 2, 30);
    // the watermark stands at the morning of the 9th: with a day of lateness, the 7th is closed
    assert!(bench.turn(&product) > 0);
    let expected = ["03-01 to 03-03 empty", "03-03 r0: 2 in 1 cells, 0 suppressed", "03-04 to 03-05 empty"];
    let log = bench.log(&product);
    assert_eq!(log[..3], expected);
    assert_eq!(log[3..], ["03-05 r0: 2 in 1 cells, 0 suppressed", "03-06 to 03-08 empty"]);
    assert_eq!(product.step(bench.now()).unwrap(), Step::Idle { closed_through: Some(day("08")) });

    // what an operator completes is closed before its lateness is over
    bench.complete(&product, "a.csv", "10");
    bench.turn(&product);
    assert_eq!(bench.log(&product)[5..], ["03-08 to 03-09 empty", "03-09 r0: 2 in 1 cells, 0 suppressed"]);

    // a node that starts anew closes exactly what the ledger lacks: nothing
    let size = bench.log(&product).len();
    let restarted = bench.product(&contract("active", "1.0.0", OPEN));
    assert_eq!(bench.turn(&restarted), 0);
    assert_eq!(bench.log(&restarted).len(), size);
}

#[test]
fn windows_end_with_the_coverage_however_far_rows_go() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&product, "a.csv", &["31 08"], 1, 30);
    bench.complete(&product, "a.csv", "31");
    let far = bench.vault.files(product.dataset()).unwrap()[0].key;
    bench.vault.complete(product.dataset(), far, UtcMicros(day("31").0 + 3_650 * 86_400_000_000)).unwrap();
    bench.turn(&product);
    let closed: UtcMicros = "2020-04-01T00:00:00Z".parse().unwrap();
    assert_eq!(product.step(bench.now()).unwrap(), Step::Idle { closed_through: Some(closed) });
    assert_eq!(bench.log(&product).last().unwrap(), "03-31 r0: 1 in 1 cells, 0 suppressed");
}

#[test]
fn late_rows_of_an_open_product_make_a_revision_of_what_changed() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&product, "a.csv", &["02 08", "03 08"], 2, 30);
    bench.complete(&product, "a.csv", "05");
    bench.turn(&product);
    let released = bench.log(&product).len();
    bench.ingest(&product, "late.csv", &["01 08", "03 09"], 1, 40);
    assert_eq!(bench.turn(&product), 2, "one step for each day that changed");
    let revised = ["03-01 r1: 1 in 1 cells, 0 suppressed", "03-03 r1: 3 in 1 cells, 0 suppressed"];
    assert_eq!(bench.log(&product)[released..], revised);
    assert_eq!(product.late_rows_held(), 0);
    assert_eq!(bench.turn(&product), 0);
    assert!(bench.vault.dirty(product.dataset()).unwrap().is_empty());
}

#[test]
fn late_rows_of_a_threshold_product_are_counted_and_held() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", THRESHOLD));
    bench.ingest(&product, "a.csv", &["02 08"], MANY, 30);
    bench.ingest(&product, "b.csv", &["03 08"], 3, 30);
    bench.complete(&product, "b.csv", "04");
    bench.turn(&product);
    let log = ["03-01 to 03-02 empty", "03-02 r0: 12 in 1 cells, 0 suppressed", "03-03 r0: 0 in 0 cells, 1 suppressed"];
    assert_eq!(bench.log(&product), log);
    bench.ingest(&product, "late.csv", &["03 09"], MANY, 40);
    assert_eq!(bench.turn(&product), 0);
    assert_eq!(product.late_rows_held(), 12);
    bench.ingest(&product, "later.csv", &["02 10", "03 10"], 1, 40);
    assert_eq!(bench.turn(&product), 0);
    assert_eq!(product.late_rows_held(), 14);
    assert_eq!(bench.log(&product), log, "its difference would be the rows");

    let restarted = bench.product(&contract("active", "1.0.0", THRESHOLD));
    assert_eq!(bench.turn(&restarted), 0);
    assert_eq!(restarted.late_rows_held(), 14, "known after a restart too");
}

#[test]
fn a_draft_shows_what_would_leave_and_releases_nothing() {
    let bench = Bench::new();
    let product = bench.product(&contract("draft", "1.0.0", THRESHOLD));
    bench.ingest(&product, "a.csv", &["02 08"], MANY, 30);
    bench.ingest(&product, "b.csv", &["03 08"], 3, 30);
    bench.complete(&product, "b.csv", "04");
    assert_eq!(bench.turn(&product), 0);
    assert!(bench.log(&product).is_empty());
    let preview = product.preview().unwrap();
    assert_eq!(preview.windows_total, 3);
    let cells: Vec<_> = preview.windows.iter().map(|window| (window.cells, window.cells_suppressed)).collect();
    assert_eq!(cells, [(0, 0), (1, 0), (0, 1)]);

    let active = bench.product(&contract("active", "1.0.0", THRESHOLD));
    bench.turn(&active);
    assert_eq!(bench.log(&active).len(), 3);
    assert_eq!(active.preview().unwrap().windows_total, 0);
}

#[test]
fn a_changed_contract_applies_to_windows_not_yet_released() {
    let bench = Bench::new();
    let first = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&first, "a.csv", &["02 08"], 2, 30);
    bench.complete(&first, "a.csv", "03");
    bench.turn(&first);
    let released = bench.log(&first).len();
    let second = bench.product(&contract("active", "2.0.0", OPEN));
    bench.ingest(&second, "late.csv", &["02 09", "03 09"], 1, 40);
    bench.complete(&second, "late.csv", "04");
    bench.turn(&second);
    assert_eq!(bench.log(&second)[released..], ["03-03 r0: 1 in 1 cells, 0 suppressed"]);
    assert_eq!(second.late_rows_held(), 1, "the earlier contract is gone: its windows are not counted again");
}

#[test]
fn a_file_is_taken_back_until_one_of_its_windows_is_closed() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&product, "wrong.csv", &["02 08"], 2, 30);
    assert!(matches!(product.undo("absent.csv"), Err(UndoError::NotOne { files: 0 })));
    assert_eq!(product.undo("wrong.csv").unwrap(), 2);
    bench.ingest(&product, "right.csv", &["02 08"], 2, 31);
    bench.complete(&product, "right.csv", "03");
    bench.turn(&product);
    assert!(matches!(product.undo("right.csv"), Err(UndoError::Vault(civicmesh_vault::VaultError::Released))));
    bench.ingest(&product, "next.csv", &["04 08"], 1, 30);
    assert_eq!(product.undo("next.csv").unwrap(), 1, "its window is still open");
}

#[test]
fn a_file_of_a_released_window_stays_however_the_coverage_is_moved() {
    let bench = Bench::new();
    let first = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&first, "a.csv", &["02 08"], 2, 30);
    bench.complete(&first, "a.csv", "04");
    bench.turn(&first);
    let log = bench.log(&first);
    let moved = bench.product(&contract("active", "2.0.0", OPEN).replace("start: 2020-03-01", "start: 2020-03-03"));
    assert!(matches!(moved.undo("a.csv"), Err(UndoError::Vault(civicmesh_vault::VaultError::Released))));
    bench.ingest(&moved, "late.csv", &["02 09"], 1, 30);
    bench.turn(&moved);
    assert_eq!(moved.late_rows_held(), 1, "late for a window that the coverage no longer has");
    assert_eq!(bench.log(&moved), log);

    // what was never covered is not released, though it lies before what is
    let wider = bench.product(&contract("active", "3.0.0", OPEN).replace("start: 2020-03-01", "start: 2020-02-01"));
    let path = bench.folder.path().join("early.csv");
    std::fs::write(&path, "time,speed\n2020-02-10 08:00,30\n").unwrap();
    bench.take(&wider, "early.csv", &path);
    assert_eq!(wider.undo("early.csv").unwrap(), 1);
}

#[test]
fn an_emptied_vault_changes_no_released_window() {
    let mut bench = Bench::new();
    bench.ledger.count_from(bench.mark()).unwrap();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    for (name, time) in [("a.csv", "02 08"), ("b.csv", "03 08"), ("c.csv", "03 10")] {
        bench.ingest(&product, name, &[time], 2, 30);
    }
    bench.complete(&product, "c.csv", "04");
    bench.turn(&product);
    let log = bench.log(&product);

    bench.vault = vault(2);
    assert!(matches!(bench.ledger.count_from(bench.mark()), Err(CountError::RowsMissing { .. })));
    bench.ledger.count_without_earlier_rows(bench.mark()).unwrap();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    // more batches than were counted from the vault that is lost: their sequences are higher
    for number in 0..7 {
        bench.ingest(&product, &format!("again-{number}.csv"), &["02 09"], 1, 40 + number);
    }
    bench.ingest(&product, "later.csv", &["04 08"], 2, 30);
    bench.complete(&product, "later.csv", "05");
    bench.turn(&product);
    assert_eq!(bench.log(&product)[..log.len()], log);
    assert_eq!(bench.log(&product)[log.len()..], ["03-04 r0: 2 in 1 cells, 0 suppressed"]);
    assert_eq!(product.late_rows_held(), 7);
    // windows that are closed since are revised as ever
    bench.ingest(&product, "late.csv", &["04 09"], 1, 30);
    bench.turn(&product);
    assert_eq!(bench.log(&product).last().unwrap(), "03-04 r1: 3 in 1 cells, 0 suppressed");
}

#[test]
fn a_window_whose_rows_are_past_their_retention_is_refused_and_the_log_goes_on() {
    let bench = Bench::new();
    let product = bench.product(&contract("active", "1.0.0", OPEN));
    bench.ingest(&product, "old.csv", &["02 08"], 2, 30);
    let tomorrow = UtcMicros(bench.now().0 + 86_400_000_000);
    assert_eq!(bench.vault.expire(product.dataset(), tomorrow).unwrap(), 2);
    bench.ingest(&product, "new.csv", &["03 08"], 2, 30);
    bench.complete(&product, "new.csv", "04");
    bench.turn(&product);
    let log = ["03-01 to 03-02 empty", "03-02 refused", "03-03 r0: 2 in 1 cells, 0 suppressed"];
    assert_eq!(bench.log(&product), log);
}

#[test]
fn any_bound_on_a_pass_gives_the_same_releases() {
    let times: Vec<String> = (1..30).filter(|day| day % 3 != 0).map(|day| format!("{day:02} 08")).collect();
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    let released = |windows_max| {
        let bench = Bench::new();
        let product = Product { windows_max, ..bench.product(&contract("active", "1.0.0", OPEN)) };
        bench.ingest(&product, "a.csv", &times, 2, 30);
        bench.complete(&product, "a.csv", "31");
        bench.turn(&product);
        let releases = bench.log(&product).into_iter().filter(|line| line.contains(" r0: "));
        releases.collect::<Vec<_>>()
    };
    let one = released(1);
    assert_eq!(one.len(), times.len());
    for windows_max in [2, 5, 512] {
        assert_eq!(released(windows_max), one);
    }
}
