use super::*;
use crate::{DirectoryMode, MemoryDisk};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SMALL: Keyspace = Keyspace::new("small");
const LARGE: Keyspace = Keyspace::new("large").with_blobs();
const POINTS: Keyspace = Keyspace::new("points").with_bloom();
const ALL: &[Keyspace] = &[SMALL, LARGE, POINTS];

fn on_disk() -> Options {
    Options::new(ALL, DirectoryMode::Owner)
}

fn in_memory(disk: &MemoryDisk) -> Options {
    Options { environment: Environment::Memory(disk.clone()), ..on_disk() }
}

fn keys(reader: &impl Read, keyspace: Keyspace, range: KeyRange, direction: Direction) -> Vec<Vec<u8>> {
    reader.iterate(keyspace, range, direction).map(|entry| entry.unwrap().0.to_vec()).collect()
}

#[test]
fn a_committed_batch_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![7_u8; 1 << 16];
    {
        let store = Store::open(folder.path(), &on_disk()).unwrap();
        let mut batch = store.batch();
        batch.put(SMALL, b"a", b"1");
        batch.put(LARGE, b"a", &large);
        batch.put(POINTS, b"a", b"3");
        store.commit(batch).unwrap();
        store.flush().unwrap();
        assert!(store.size_bytes().unwrap() >= large.len() as u64);
    }
    let store = Store::open(folder.path(), &on_disk()).unwrap();
    assert_eq!(&*store.get(SMALL, b"a").unwrap().unwrap(), b"1");
    assert_eq!(&*store.get(LARGE, b"a").unwrap().unwrap(), large.as_slice());
    let found = store.multi_get(POINTS, [b"b".as_slice(), b"a"]).unwrap();
    assert!(found[0].is_none());
    assert_eq!(&**found[1].as_ref().unwrap(), b"3");
}

#[test]
fn every_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = tuning::database(&on_disk());
    settings.enable_statistics();
    let store = Store::open_with(&settings, folder.path(), &on_disk()).unwrap();
    let syncs = || settings.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced);
    let before = syncs();
    for number in 0..10_u8 {
        let mut batch = store.batch();
        batch.put(SMALL, [number], b"");
        store.commit(batch).unwrap();
        assert_eq!(syncs(), before + u64::from(number) + 1);
    }
}

#[cfg(unix)]
#[test]
fn the_directory_is_closed_to_others_whatever_it_was_before() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (mode, bits) in [(DirectoryMode::Owner, 0o700), (DirectoryMode::OwnerAndGroup, 0o750)] {
        let path = folder.path().join(format!("{bits:o}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let _store = Store::open(&path, &Options::new(ALL, mode)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, bits);
    }
}

#[test]
fn a_second_opening_says_that_a_node_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path(), &on_disk()).unwrap();
    let second = Store::open(folder.path(), &on_disk()).unwrap_err();
    assert_eq!(second, StoreError::Locked { path: folder.path().into() });
    assert!(second.to_string().starts_with("another civicmesh node has "));
}

#[test]
fn a_snapshot_does_not_see_what_comes_after_it() {
    let store = Store::open(Path::new("unused"), &in_memory(&MemoryDisk::new().unwrap())).unwrap();
    let put = |value: &[u8]| {
        let mut batch = store.batch();
        batch.put(SMALL, b"a", value);
        batch.put(SMALL, value, b"");
        store.commit(batch).unwrap();
    };
    put(b"1");
    let snapshot = store.snapshot();
    put(b"2");
    assert_eq!(&*snapshot.get(SMALL, b"a").unwrap().unwrap(), b"1");
    assert_eq!(&**snapshot.multi_get(SMALL, [b"a".as_slice()]).unwrap()[0].as_ref().unwrap(), b"1");
    assert_eq!(keys(&snapshot, SMALL, KeyRange::all(), Direction::Forward), [b"1", b"a"]);
    assert_eq!(keys(&store, SMALL, KeyRange::all(), Direction::Backward), [b"a", b"2", b"1"]);
}

/// Fails batch `at`: before it is stored, or after.
struct FailAt {
    at: u64,
    after: bool,
}

impl Hook for FailAt {
    fn before_commit(&self, batch: u64, _bytes: usize) -> Result<(), StoreError> {
        if batch == self.at && !self.after { Err(StoreError::Injected { batch }) } else { Ok(()) }
    }

    fn after_commit(&self, batch: u64) -> Result<(), StoreError> {
        if batch == self.at && self.after { Err(StoreError::Injected { batch }) } else { Ok(()) }
    }
}

#[test]
fn a_batch_failed_by_the_hook_is_stored_whole_or_not_at_all() {
    for after in [false, true] {
        let disk = MemoryDisk::new().unwrap();
        let options = Options { hook: Some(Arc::new(FailAt { at: 2, after })), ..in_memory(&disk) };
        let store = Store::open(Path::new("unused"), &options).unwrap();
        let outcomes = [1_u8, 2, 3].map(|number| {
            let mut batch = store.batch();
            batch.put(SMALL, [number], b"");
            batch.put(POINTS, [number], b"");
            store.commit(batch)
        });
        assert_eq!(outcomes, [Ok(()), Err(StoreError::Injected { batch: 2 }), Ok(())]);
        drop(store);
        let store = Store::open(Path::new("unused"), &in_memory(&disk)).unwrap();
        let expected: &[&[u8]] = if after { &[&[1], &[2], &[3]] } else { &[&[1], &[3]] };
        for keyspace in [SMALL, POINTS] {
            assert_eq!(keys(&store, keyspace, KeyRange::all(), Direction::Forward), expected);
        }
    }
}

/// Fails batch `at` with this error, as RocksDB would word it.
struct FailWith(u64, StoreError);

impl Hook for FailWith {
    fn before_commit(&self, batch: u64, _bytes: usize) -> Result<(), StoreError> {
        if batch == self.0 { Err(self.1.clone()) } else { Ok(()) }
    }

    fn after_commit(&self, _batch: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_waited_out_and_a_failed_one_is_not() {
    let failed = StoreError::Disk("Input/output error".into());
    for (error, then) in [(StoreError::DiskFull, Ok(())), (failed.clone(), Err(failed))] {
        let hook: Arc<dyn Hook> = Arc::new(FailWith(1, error.clone()));
        let options = Options { hook: Some(hook), ..in_memory(&MemoryDisk::new().unwrap()) };
        let store = Store::open(Path::new("unused"), &options).unwrap();
        let put = || {
            let mut batch = store.batch();
            batch.put(SMALL, b"a", b"");
            store.commit(batch)
        };
        assert_eq!(put(), Err(error));
        assert_eq!(put(), then);
        assert_eq!(store.broken(), then.err().as_ref());
    }
}

const WITHOUT_FILES: &str = "CIVICMESH_STORE_WITHOUT_FILES";

/// In a process of its own, which may hold few files open: when RocksDB cannot open its next log, the store says that it
/// is broken, and loses nothing that it had acknowledged.
#[cfg(unix)]
#[test]
fn a_log_that_cannot_be_opened_breaks_the_store_and_loses_nothing() {
    if let Ok(folder) = std::env::var(WITHOUT_FILES) {
        return run_out_of_files(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "a_log_that_cannot_be_opened_breaks_the_store_and_loses_nothing";
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" --test-threads 1 \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(WITHOUT_FILES, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let store = Store::open(folder.path(), &on_disk()).unwrap();
    assert_eq!(keys(&store, SMALL, KeyRange::all(), Direction::Forward), [b"acknowledged"]);
}

#[cfg(unix)]
fn run_out_of_files(folder: &Path) {
    let store = Store::open(folder, &on_disk()).unwrap();
    let put = |key: &[u8]| {
        let mut batch = store.batch();
        batch.put(SMALL, key, b"");
        store.commit(batch)
    };
    put(b"acknowledged").unwrap();
    assert_eq!(store.broken(), None);
    let held: Vec<_> = std::iter::from_fn(|| std::fs::File::open(folder.join("CURRENT")).ok()).collect();
    // a flush begins a new log
    store.flush().unwrap_err();
    drop(held);
    let refused = put(b"refused").unwrap_err();
    assert!(matches!(&refused, StoreError::Disk(reason) if reason.contains("Too many open files")), "{refused}");
    assert_eq!(store.broken(), Some(&refused));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = Store::open(&file.join("store"), &on_disk()).unwrap_err();
    assert!(matches!(refused, StoreError::Directory { .. }), "{refused}");
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeletePrefix(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let key = || prop::collection::vec(0..3_u8, 0..4);
    prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(key, value)| Change::Put(key, value)),
        1 => key().prop_map(Change::Delete),
        1 => prop::collection::vec(0..3_u8, 1..3).prop_map(Change::DeletePrefix),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is put and removed, in whatever batches, flushed and opened again or not: a store is an ordered map.
    #[test]
    fn a_store_is_an_ordered_map(batches in prop::collection::vec((prop::collection::vec(change(), 0..8), 0..4_u8), 0..8)) {
        let disk = MemoryDisk::new().unwrap();
        let mut store = Store::open(Path::new("unused"), &in_memory(&disk)).unwrap();
        let mut model = BTreeMap::new();
        for (changes, then) in batches {
            let mut batch = store.batch();
            for change in changes {
                match change {
                    Change::Put(key, value) => {
                        ALL.iter().for_each(|space| batch.put(*space, &key, &value));
                        model.insert(key, value);
                    }
                    Change::Delete(key) => {
                        ALL.iter().for_each(|space| batch.delete(*space, &key));
                        model.remove(&key);
                    }
                    Change::DeletePrefix(prefix) => {
                        ALL.iter().for_each(|space| batch.delete_range(*space, &KeyRange::prefix(&prefix)));
                        model.retain(|key, _| !key.starts_with(&prefix));
                    }
                }
            }
            store.commit(batch).unwrap();
            match then {
                0 => store.flush().unwrap(),
                1 => {
                    drop(store);
                    store = Store::open(Path::new("unused"), &in_memory(&disk)).unwrap();
                }
                _ => {}
            }
        }
        for space in ALL {
            let all: Vec<_> = store.iterate(*space, KeyRange::all(), Direction::Forward).map(Result::unwrap).collect();
            let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect();
            prop_assert_eq!(&all, &expected);
            let some = keys(&store, *space, KeyRange::prefix_from([1], [1, 1]), Direction::Backward);
            let expected: Vec<_> = model.keys().rev().filter(|key| key.starts_with(&[1]) && key.as_slice() >= [1, 1].as_slice()).cloned().collect();
            prop_assert_eq!(some, expected);
        }
    }
}
