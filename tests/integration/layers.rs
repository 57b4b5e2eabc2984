//! The layers of ARCHITECTURE.md as a lock: an arrow between our crates that is not listed here is forbidden, and only
//! those crates may name a heavy or trusted dependency that are said to.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// crate -> the crates of ours that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("proto", &[]),
    ("observation", &["model"]),
    ("store", &[]),
    ("disclosure", &["model", "observation"]),
    ("vault", &["model", "observation", "disclosure", "store"]),
    ("ledger", &["model", "disclosure", "store"]),
    ("exchange", &["model", "ledger", "proto"]),
    ("query", &["model", "ledger"]),
    ("node", &["model", "proto", "observation", "store", "disclosure", "vault", "ledger", "exchange", "query"]),
    ("sim", &["model", "observation", "store", "disclosure", "vault", "ledger", "exchange", "query", "node"]),
    ("cli", &["node"]),
];

/// A dependency from outside -> the only crates of ours that may name it.
const KEPT: &[(&str, &[&str])] = &[
    ("rocksdb", &["store"]),
    ("datafusion", &["query", "node"]),
    ("tonic", &["proto", "exchange", "node"]),
    ("rcgen", &["exchange"]),
];

/// Crates that take time and randomness as arguments and know no runtime.
const SYNC: &[&str] = &["model", "observation", "disclosure", "store", "vault", "ledger"];

fn named_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let mut named = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name").to_owned();
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().expect("name").to_owned())
            .collect();
        named.insert(name, dependencies);
    }
    named
}

#[test]
fn no_arrow_goes_where_the_layers_forbid_it() {
    let named = named_dependencies();
    for (name, dependencies) in &named {
        let Some(short) = name.strip_prefix("civicmesh-") else { panic!("{name} is not one of ours") };
        if short == "tests" {
            continue;
        }
        let allowed = ARROWS
            .iter()
            .find(|(from, _)| *from == short)
            .unwrap_or_else(|| panic!("{name} has no place in the layers"))
            .1;
        for dependency in dependencies.iter().filter_map(|d| d.strip_prefix("civicmesh-")) {
            assert!(allowed.contains(&dependency), "{short} -> {dependency} is a forbidden arrow");
        }
    }
    assert_eq!(named.len(), ARROWS.len() + 1, "a crate has gone or come: mend ARROWS and ARCHITECTURE.md");
}

#[test]
fn heavy_and_trusted_dependencies_stay_in_their_crates() {
    let named = named_dependencies();
    for (dependency, allowed) in KEPT {
        for (name, dependencies) in &named {
            let short = name.trim_start_matches("civicmesh-");
            if dependencies.contains(*dependency) {
                assert!(allowed.contains(&short), "{short} must not name {dependency}");
            }
        }
    }
}

#[test]
fn the_lower_crates_know_no_runtime() {
    let named = named_dependencies();
    for short in SYNC {
        for banned in ["tokio", "rand", "getrandom", "async-trait", "futures"] {
            let dependencies = &named[&format!("civicmesh-{short}")];
            assert!(!dependencies.contains(banned), "{short} must not name {banned}");
        }
    }
}

#[test]
fn no_file_is_longer_than_800_lines() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("crates"), root.join("tests"), root.join("proto")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // What a compiler generated is nobody's reading.
                if path.file_name().is_some_and(|name| name != "generated") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "proto") {
                let lines = std::fs::read_to_string(&path).expect("text").lines().count();
                assert!(lines <= 800, "{} has {lines} lines", path.display());
            }
        }
    }
}
