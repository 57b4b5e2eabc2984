//! A power cut: the node is killed, and of every file only what was synced is left. See `unsynced.c`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the library that notes syncs, and tells where it is.
pub fn library(folder: &Path) -> PathBuf {
    let library = folder.join("unsynced.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/power/unsynced.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("a C compiler, which RocksDB needs too");
    assert!(status.success());
    library
}

/// Cuts every file under `folder` to the length that the record says was synced. Gives the bytes lost.
pub fn cut(folder: &Path, record: &Path) -> u64 {
    let synced = synced_lengths(&std::fs::read_to_string(record).expect("a record of syncs"));
    let mut lost = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let length = path.metadata().expect("a file").len();
            let kept = synced.get(&path).copied().unwrap_or(0).min(length);
            if kept < length {
                lost += length - kept;
                let file = std::fs::File::options().write(true).open(&path).expect("a writable file");
                file.set_len(kept).expect("cut");
            }
        }
    }
    lost
}

fn synced_lengths(record: &str) -> BTreeMap<PathBuf, u64> {
    let mut synced = BTreeMap::new();
    for line in record.lines() {
        if let Some((size, path)) = line.strip_prefix("S ").and_then(|rest| rest.split_once(' ')) {
            synced.insert(PathBuf::from(path), size.parse().expect("a size"));
        } else if let Some((from, to)) = line.strip_prefix("R ").and_then(|rest| rest.split_once('\t'))
            && let Some(size) = synced.remove(Path::new(from))
        {
            synced.insert(PathBuf::from(to), size);
        }
    }
    synced
}

#[test]
fn a_record_follows_renames_and_later_syncs() {
    let lengths = synced_lengths("S 10 /a\nS 20 /a\nS 5 /t\nR /t\t/b\n");
    assert_eq!(lengths, BTreeMap::from([(PathBuf::from("/a"), 20), (PathBuf::from("/b"), 5)]));
}
