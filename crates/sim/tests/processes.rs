//! The same scenario and seed in two processes: what happens is the same, byte for byte, although keys are not.

use std::path::{Path, PathBuf};
use std::process::Command;

const SCENARIO: &str = r#"
title = "A day of a small city"

[city]
days = 1
events_per_day = 600
sensors_rich = 24
sensors_poor = 1
districts = 3

[run]
warp = 480
publisher_s = 7200
pull_s = 7200
backoff_s_max = 7200
reload_s = 43200
ask_s = 43200

[[operation]]
do = "crash"
node = "traffic"
database = "ledger"
batch = 2
kept = false
from = 7200
down = 3600

[[operation]]
do = "flap"
one = "air"
other = "*"
period = 1800
from = 10000
until = 50000
"#;

/// The program beside this test's own: its variable at compile time has a hyphen, which shells drop.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.parent().and_then(Path::parent).unwrap().join("civicmesh-sim")
}

fn trace(folder: &Path, name: &str) -> String {
    let (scenario, out) = (folder.join("scenario.toml"), folder.join(name));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let ran = Command::new(program())
        .args(["run", scenario.to_str().unwrap(), "--seed", "5", "--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("A day of a small city"));
    std::fs::read_to_string(out.join("trace.txt")).unwrap()
}

#[test]
fn two_processes_print_the_same_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (trace(folder.path(), "one"), trace(folder.path(), "other"));
    assert!(one.contains("traffic: crashed"), "{one}");
    assert!(one == other, "the traces differ");
}

#[test]
fn what_cannot_be_run_is_said_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("wrong.toml");
    std::fs::write(&scenario, "title = \"wrong\"\n[run]\nwrap = 60\n").unwrap();
    let ran = Command::new(program()).arg("run").arg(&scenario).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("wrong.toml") && said.contains("wrap"), "{said}");
}
