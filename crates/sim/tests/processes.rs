//! The program itself. The same scenario and seed in two processes: what happens is the same, byte for byte, although keys
//! are not. What is cut short says so and leaves what it has.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

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

/// Starts the program, and waits until it tells that it is at work.
fn at_work(arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut running =
        Command::new(program()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut news = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(" %, ") {
        line.clear();
        assert!(news.read_line(&mut line).unwrap() > 0, "it ended before it told anything");
    }
    (running, news)
}

fn signal(running: &Child, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", running.id())).status().unwrap();
    assert!(sent.success());
}

/// Its exit code and what it wrote.
fn ended((mut running, mut news): (Child, BufReader<ChildStderr>)) -> (Option<i32>, String) {
    let mut said = String::new();
    running.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    news.read_to_string(&mut said).unwrap();
    (running.wait().unwrap().code(), said)
}

#[test]
fn a_run_that_is_cut_by_a_signal_leaves_its_report_and_says_so() {
    for name in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let (scenario, out) = (folder.path().join("scenario.toml"), folder.path().join("out"));
        // a year that nobody waits for
        std::fs::write(&scenario, SCENARIO.replace("days = 1", "days = 365")).unwrap();
        let run = at_work(&["run", scenario.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        signal(&run.0, name);
        let (code, said) = ended(run);
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("before its time"), "{said}");
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("up to the moment at which the run was stopped"), "{page}");
        let report: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
        assert_eq!(report["measured"]["interrupted"], true);
        assert!(out.join("trace.txt").exists());
    }
}

#[test]
fn fuzzing_tells_how_far_it_is_and_what_it_tried_when_it_is_cut() {
    let run = at_work(&["fuzz", "--seeds", "0..1000000"]);
    signal(&run.0, "TERM");
    let (code, said) = ended(run);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("0 failed, ended before its time"), "{said}");
}
