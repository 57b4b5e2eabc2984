//! kill -9 at any moment of ingest, close and pull, many times over: nothing acknowledged is lost, nothing is doubled.
//! And the same when the power goes: of every file only what was synced is left.

use crate::city::{City, Node, text};
use crate::sample::told;
use crate::{power, sample};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Rows of the file that is on its way in while the node is killed.
const ROWS: u64 = 200_000;
/// How often the node is killed.
const KILLS: u64 = 8;

fn city_of_two(folder: &Path) -> (City, Node, Node) {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract(folder);
    let owner = city.enroll("counts", &[&contract]);
    let peer = city.enroll("reader", &[]);
    (city, owner, peer)
}

fn start_ingest(node: &Node, file: &Path) -> Child {
    Command::new(crate::city::binary())
        .args(["ingest", "--node", text(&node.dir), "--dataset", "event_rows", "--complete=2024-01-04", text(file)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the ingest starts")
}

/// Moments spread over an ingest's length, drawn once and for all.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..KILLS).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_millis(50 + state % 1_500)
    })
}

#[test]
fn a_node_killed_many_times_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (_city, mut owner, mut peer) = city_of_two(folder.path());
    let file = sample::rows(folder.path(), "rows.csv", 0, ROWS);
    owner.start();
    peer.start();
    for (turn, moment) in moments().enumerate() {
        let mut ingest = start_ingest(&owner, &file);
        std::thread::sleep(moment);
        // Sometimes the reader dies as well, in the middle of its pull.
        if turn % 3 == 2 {
            peer.kill();
            peer.start();
        }
        owner.kill();
        ingest.wait().expect("the client ends when its node is gone");
        owner.start();
    }
    let output = owner.ingest("event_rows", &[&file], &["--complete=2024-01-04"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = (ROWS, sample::total(ROWS));
    assert_eq!(told(&owner), Some(whole));
    sample::arrives(&peer, whole);
    // The same file once more counts once.
    let output = owner.ingest("event_rows", &[&file], &[]);
    assert!(output.status.success());
    assert_eq!(told(&owner), Some(whole));
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (_city, mut owner, mut peer) = city_of_two(folder.path());
    let library = power::library(folder.path());
    let record = folder.path().join("synced");
    let environment = [("LD_PRELOAD", text(&library)), ("UNSYNCED_RECORD", text(&record))];
    // What was acknowledged before the first cut …
    let first = sample::rows(folder.path(), "first.csv", 0, 10_000);
    let second = sample::rows(folder.path(), "second.csv", 10_000, ROWS);
    owner.start_with(&environment);
    let output = owner.ingest("event_rows", &[&first], &["--complete=2024-01-01T02:00:00"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = told(&owner).expect("two hours are released");
    let mut lost = 0;
    for moment in moments().take(3) {
        let mut ingest = start_ingest(&owner, &second);
        std::thread::sleep(moment);
        owner.kill();
        ingest.wait().expect("the client ends when its node is gone");
        for database in ["vault", "ledger"] {
            lost += power::cut(&owner.dir.join(database), &record);
        }
        owner.start_with(&environment);
        // … is there after each.
        let after = told(&owner).expect("still released");
        assert!(after >= before, "{after:?} after the cut, {before:?} before");
    }
    assert!(lost > 0, "the cuts took nothing: the record of syncs does not work");
    for file in [&first, &second] {
        let output = owner.ingest("event_rows", &[file], &["--complete=2024-01-04"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let whole = (ROWS, sample::total(ROWS));
    assert_eq!(told(&owner), Some(whole));
    peer.start();
    sample::arrives(&peer, whole);
}

#[test]
fn a_stop_ends_cleanly_and_in_time() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (_city, mut owner, _peer) = city_of_two(folder.path());
    owner.start();
    let file = sample::rows(folder.path(), "rows.csv", 0, ROWS);
    let mut ingest = start_ingest(&owner, &file);
    assert_eq!(owner.stop(), Some(0), "{}", owner.log());
    ingest.wait().expect("the client ends when its node is gone");
    owner.start();
    let output = owner.ingest("event_rows", &[&file], &["--complete=2024-01-04"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told(&owner), Some((ROWS, sample::total(ROWS))));
}
