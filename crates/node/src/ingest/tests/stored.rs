//! Files into a vault: repeated, resumed, stopped, corrected, refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use civicmesh_model::time::Span;
use civicmesh_store::{Environment, Hook, MemoryDisk, StoreError};
use civicmesh_vault::{Append, FileKey, Options, RowCounts, Vault};

use super::*;
use crate::ingest::{APPEND_ROWS, Desk, Progress, Summary, Upload, Watch, ingest};

/// Fails one batch, before it is stored or after.
struct Fail {
    at: AtomicU64,
    stored: bool,
}

impl Fail {
    fn strike(&self, stored: bool) -> Result<(), StoreError> {
        match stored == self.stored && self.at.fetch_sub(1, Ordering::Relaxed) == 0 {
            true => Err(StoreError::DiskFull),
            false => Ok(()),
        }
    }
}

impl Hook for Fail {
    fn before_commit(&self, _: u64, _: usize) -> Result<(), StoreError> {
        self.strike(false)
    }

    fn after_commit(&self, _: u64) -> Result<(), StoreError> {
        self.strike(true)
    }
}

/// Keeps what it hears; may stop at a number of rows.
#[derive(Default)]
struct Ear {
    progress: Vec<Progress>,
    rejects: Vec<Reject>,
    stop_at: Option<u64>,
}

impl Watch for Ear {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.progress.push(progress);
        match self.stop_at {
            Some(rows) if progress.rows >= rows => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn reject(&mut self, reject: &Reject) {
        self.rejects.push(reject.clone());
    }
}

/// A bench with a vault on a disk in memory.
struct Office {
    bench: Bench,
    disk: MemoryDisk,
}

impl Office {
    fn new(contract: &str) -> Office {
        Office { bench: Bench::new(contract), disk: MemoryDisk::new().unwrap() }
    }

    fn vault(&self, hook: Option<Arc<dyn Hook>>) -> Result<Vault, civicmesh_vault::VaultError> {
        let zone = "Europe/Copenhagen".parse().unwrap();
        let fresh_id = civicmesh_model::vault_id::VaultId([1; 16]);
        let options =
            Options { environment: Environment::Memory(self.disk.clone()), hook, ..Options::new(zone, fresh_id) };
        Vault::open(Path::new("/vault"), &options)
    }

    fn take(&self, vault: &Vault, path: &Path, ear: &mut Ear) -> Result<Summary, IngestError> {
        let source = "counters".parse().unwrap();
        let upload = Upload { path, name: "a.csv", source: &source };
        let rejects = self.bench.folder.path().join("rejects");
        ingest(&self.bench.recipe, upload, Desk { vault, rejects: &rejects, clock: &At(self.bench.now) }, ear)
    }
}

const HEADER: &str = "station,When,level,count,ok\n";

/// Rows a second apart, each hundredth of them bad, each seventh filtered.
fn long(rows: u64) -> String {
    let mut file = String::from(HEADER);
    for row in 0..rows {
        let at = UtcMicros(1_577_840_400_000_000 + row as i64 * 1_000_000);
        let level = if row % 100 == 50 { "x" } else { "1.5" };
        file.push_str(&format!("S1,{at},{level},1,{}\n", row % 7 != 3));
    }
    file
}

fn fates(summary: &Summary) -> (u64, u64, u64, u64) {
    let Summary { rows, accepted, filtered, rejected, .. } = summary;
    (*rows, *accepted, *filtered, *rejected)
}

#[test]
fn a_file_counts_once_and_its_rejects_are_kept_for_its_owner() {
    let office = Office::new(&READINGS.replace("contributor: none", "rejects_max: 5%"));
    let vault = office.vault(None).unwrap();
    let path = office.bench.file("a.csv", long(1_000));
    let mut ear = Ear::default();
    let first = office.take(&vault, &path, &mut ear).unwrap();
    assert_eq!(fates(&first), (1_000, 849, 141, 10));
    assert_eq!((first.resumed, first.known, first.over_limit), (0, false, false));
    assert_eq!((first.rejects.len(), first.rejects[0].rows, ear.rejects.len()), (1, 10, 10));
    let kept = std::fs::read_to_string(first.reject_file.as_ref().unwrap()).unwrap();
    assert_eq!(kept.lines().count(), 10);
    assert!(
        kept.starts_with("{\"line\":52,\"column\":\"level\",\"value\":\"x\",\"reason\":\"not_number\"}\n"),
        "{kept}"
    );
    let last = ear.progress.last().unwrap();
    assert_eq!((last.bytes, last.rows, last.accepted, last.rejected), (last.bytes_total, 1_000, 849, 10));

    let again = office.take(&vault, &path, &mut Ear::default()).unwrap();
    assert_eq!((again.file, fates(&again), again.known, again.resumed), (first.file, fates(&first), true, 1_000));
    assert_eq!(vault.counts(&"readings".parse().unwrap()).unwrap().totals.accepted, 849);
}

#[test]
fn more_rejects_than_the_contract_allows_are_over_the_limit() {
    let office = Office::new(&READINGS.replace("contributor: none", "rejects_max: 0.9%"));
    let path = office.bench.file("a.csv", long(1_000));
    assert!(office.take(&office.vault(None).unwrap(), &path, &mut Ear::default()).unwrap().over_limit);
}

#[test]
fn a_file_that_does_not_fit_leaves_no_trace() {
    let office = Office::new(READINGS);
    let vault = office.vault(None).unwrap();
    for content in ["a,b\n1,2\n".to_owned(), format!("{HEADER}S1,never,1,1,true\n")] {
        let mut ear = Ear::default();
        office.take(&vault, &office.bench.file("a.csv", content), &mut ear).unwrap_err();
        assert!(ear.progress.is_empty());
    }
    assert_eq!(vault.counts(&"readings".parse().unwrap()).unwrap().files, 0);
    assert!(!office.bench.folder.path().join("rejects").exists());
}

#[test]
fn an_ingest_that_fails_anywhere_resumes_and_loses_and_doubles_nothing() {
    let rows = APPEND_ROWS * 2 + 100;
    let file = long(rows);
    let mut resumed = BTreeSet::new();
    // begin, three appends, finish
    for (at, stored) in (0..5).flat_map(|at| [(at, false), (at, true)]) {
        let office = Office::new(READINGS);
        let path = office.bench.file("a.csv", &file);
        // a new vault writes its identity; that is no part of an ingest
        drop(office.vault(None).unwrap());
        let vault = office.vault(Some(Arc::new(Fail { at: AtomicU64::new(at), stored }))).unwrap();
        let error = office.take(&vault, &path, &mut Ear::default()).unwrap_err();
        assert!(matches!(error, IngestError::Vault(_)), "{error}");
        drop(vault);
        let vault = office.vault(None).unwrap();
        let mut ear = Ear::default();
        let summary = office.take(&vault, &path, &mut ear).unwrap();
        let filtered = (rows - 3).div_ceil(7) - (rows - 150).div_ceil(700);
        assert_eq!(summary.rows, rows);
        assert_eq!(summary.rejected, rows.div_ceil(100) - 1 + u64::from(rows % 100 > 50));
        assert_eq!(summary.accepted + filtered + summary.rejected, rows);
        if !summary.known {
            assert_eq!(ear.rejects.len() as u64, summary.rejected, "all rejects are told once more");
        }
        resumed.insert(summary.resumed);
    }
    assert_eq!(resumed, BTreeSet::from([0, APPEND_ROWS, APPEND_ROWS * 2, rows]));
}

#[test]
fn an_ingest_resumes_at_any_row() {
    let office = Office::new(READINGS);
    let vault = office.vault(None).unwrap();
    let path = office.bench.file("a.csv", long(100));
    let spool = Spool::open(&path, "a.csv").unwrap();
    let (dataset, file) = ("readings".parse().unwrap(), FileKey(spool.hash(|_| Ok(())).unwrap()));
    vault.begin_file(&dataset, &"counters".parse().unwrap(), file, "a.csv", NOW).unwrap();
    let recipe = &office.bench.recipe;
    let (mut rows, mut table) = (Rows::open(&spool, &recipe.dataset).unwrap(), recipe.table().unwrap());
    read_chunk(&mut rows, &mut table, 33, NOW).unwrap();
    let mut chunk = table.take();
    recipe.apply(&mut chunk).unwrap();
    let shaped = recipe.outputs.shape(&mut chunk).unwrap();
    let append = Append {
        dataset: &dataset,
        contract_hash: recipe.contract,
        file,
        rows_from: 0,
        rows_to: 33,
        observations: recipe.outputs.observations(shaped).unwrap(),
        counts: RowCounts { filtered: chunk.filtered, rejected: chunk.rejects.len() as u64 },
        now: NOW,
        watermark_max: NOW,
    };
    vault.append(append).unwrap();
    let summary = office.take(&vault, &path, &mut Ear::default()).unwrap();
    assert_eq!((summary.resumed, fates(&summary)), (33, (100, 85, 14, 1)));
}

#[test]
fn a_clock_that_is_behind_costs_no_row() {
    let office = Office::new(READINGS);
    let vault = office.vault(None).unwrap();
    let ahead = "S1,2020-07-01T02:10:00,1,1,true\nS1,2020-07-01T03:00:00,1,1,true\nS1,2020-12-31T03:00:00,1,1,true\n";
    let path = office.bench.file("a.csv", format!("{HEADER}{ahead}"));
    let summary = office.take(&vault, &path, &mut Ear::default()).unwrap();
    assert_eq!((fates(&summary), summary.ahead), ((3, 3, 0, 0), 2));
    let dataset = "readings".parse().unwrap();
    let mark = vault.watermark(&dataset, NOW, Span::DAY).unwrap().unwrap();
    assert_eq!(mark.at.to_string(), "2020-07-01T00:10:00Z", "what nobody can know of yet closes no window");
    // whoever sends it again, the clock mended, is told that nothing is missing
    let again = office.take(&vault, &path, &mut Ear::default()).unwrap();
    assert_eq!((fates(&again), again.known), ((3, 3, 0, 0), true));
}

#[test]
fn a_watch_may_stop_an_ingest() {
    let office = Office::new(READINGS);
    let vault = office.vault(None).unwrap();
    let path = office.bench.file("a.csv", long(APPEND_ROWS + 1));
    let mut ear = Ear { stop_at: Some(1), ..Ear::default() };
    let error = office.take(&vault, &path, &mut ear).unwrap_err();
    assert!(matches!(error, IngestError::Stopped));
    let summary = office.take(&vault, &path, &mut Ear::default()).unwrap();
    assert_eq!((summary.resumed, summary.rows), (APPEND_ROWS, APPEND_ROWS + 1));
}

#[test]
fn in_a_grown_file_known_rows_count_once_and_changed_ones_are_corrections() {
    let office = Office::new(READINGS);
    let vault = office.vault(None).unwrap();
    let take = |content: String| office.take(&vault, &office.bench.file("a.csv", content), &mut Ear::default());
    let day = format!("{HEADER}S1,2020-05-01,1,1,true\nS1,2020-05-02,1,1,true\nS1,2020-05-02,1.00,1,true\n");
    let first = take(day.clone()).unwrap();
    assert_eq!((first.accepted, first.duplicate, first.corrected), (2, 1, 0));
    let grown = day.replace("2020-05-01,1", "2020-05-01,2") + "S2,2020-05-03,1,1,true\n";
    let second = take(grown).unwrap();
    assert_eq!((second.accepted, second.duplicate, second.corrected), (1, 2, 1));
}
