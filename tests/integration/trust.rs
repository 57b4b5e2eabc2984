//! Who may have what, and who is let in: audiences, other cities, private files, and the department's own listener.

use crate::city::{City, Node, civicmesh, eventually, must, text};
use crate::sample::{self, TOTAL, arrives, total};
use civicmesh_node::client::{Client, ClientError};
use civicmesh_node::office::Purpose;
use civicmesh_node::query::QueryOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A dimension's value that stands in no file but a release's.
const CANARY: &str = "no_zone_but_this";

/// The sample's rows `0..count`, a quarter of them in a zone that is called as nothing else.
fn rows(folder: &Path, count: u64) -> std::path::PathBuf {
    let file = sample::rows(folder, "rows.csv", 0, count);
    let text = std::fs::read_to_string(&file).expect("rows");
    std::fs::write(&file, text.replace("north", CANARY)).expect("written");
    file
}

/// Whether any file under `folder` holds `needle`.
fn holds(folder: &Path, needle: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => holds(&path, needle),
            // The databases drop files while they are looked through.
            false => std::fs::read(&path).unwrap_or_default().windows(needle.len()).any(|at| at == needle.as_bytes()),
        }
    })
}

/// The code of a refusal, for programs.
fn code(node: &Node, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = async {
        let mut client = Client::connect(text(&node.dir), Purpose::Query, Default::default()).expect("a client");
        client.query(sql, &QueryOptions::default()).await
    };
    match runtime.block_on(asked) {
        Err(ClientError::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_peer_outside_the_audience_is_told_so_and_holds_nothing() {
    let mut city = City::found("Springfield", "UTC");
    let granted = [("audience: city", "audience: [friend]")];
    let contract = sample::contract_with(city.folder.path(), &granted);
    let mut owner = city.enroll("counts", &[&contract]);
    let mut friend = city.enroll("friend", &[]);
    let mut stranger = city.enroll("stranger", &[]);
    for node in [&mut owner, &mut friend, &mut stranger] {
        node.start();
    }
    owner.take_in("event_rows", &rows(city.folder.path(), 400), &["--complete=2024-01-01T01:00"]);
    arrives(&friend, (400, total(400)));
    let refused = eventually("the stranger is refused", || stranger.product("counts.events"));
    assert_eq!((&refused["granted"], &refused["entries"]), (&false.into(), &0.into()), "{refused}");
    assert_eq!((&refused["method"], &refused["contract_version"]), (&"".into(), &"".into()), "nor its terms");
    let said = stranger.refusal(TOTAL);
    assert!(said.contains("not granted") && said.contains("ask counts"), "{said}");
    assert_eq!(code(&stranger, TOTAL), "ERROR_CODE_NOT_GRANTED");
    assert!(holds(&friend.dir.join("ledger"), CANARY), "what a release's bytes look like on a disk");
    assert!(!holds(&stranger.dir, CANARY), "a release's bytes are at the stranger");

    // The owner thinks otherwise of both.
    assert_eq!(owner.stop(), Some(0));
    let other = [("audience: city", "audience: [stranger]"), ("version: 1.0.0", "version: 2.0.0")];
    sample::contract_with(&owner.dir.join("contracts"), &other);
    owner.start();
    arrives(&stranger, (400, total(400)));
    eventually("the friend is refused", || (friend.product("counts.events")?["granted"] == false).then_some(()));
    assert_eq!(code(&friend, TOTAL), "ERROR_CODE_NOT_GRANTED");
}

#[test]
fn a_node_of_another_city_reaches_nobody_and_is_reached_by_nobody() {
    let mut here = City::found("Springfield", "UTC");
    let contract = sample::contract(here.folder.path());
    let mut owner = here.enroll("counts", &[&contract]);
    // Another office of the same name admits a reader of its own and sends it here.
    let mut there = City::found("Springfield", "UTC");
    let mut reader = there.enroll("reader", &[]);
    reader.amend("seeds = []", &format!("seeds = [\"{}\"]", owner.address("city_listen")));
    owner.amend("seeds = []", &format!("seeds = [\"{}\"]", reader.address("city_listen")));
    let verbose = [("CIVICMESH_LOG", "info,civicmesh_exchange=debug")];
    owner.start_with(&verbose);
    reader.start_with(&verbose);
    owner.take_in("event_rows", &rows(here.folder.path(), 400), &["--complete=2024-01-01T01:00"]);
    for node in [&owner, &reader] {
        eventually(&format!("{} turns the other city's away", node.domain), || {
            let log = node.log();
            let dialled = log.contains("a seed could not be greeted")
                && log.contains("its certificate is not from this city's office");
            (dialled && log.contains("refused a link")).then_some(())
        });
        let domains = node.status()["domains"].clone();
        assert_eq!(domains.as_array().map(Vec::len), Some(1), "{domains}");
        assert_eq!(domains[0]["link"], "own");
    }
    assert_eq!(reader.product("counts.events"), None);
    assert!(reader.refusal(TOTAL).contains("counts.events"));
    assert!(!holds(&reader.dir, CANARY));
}

/// What `civicmesh node check` says of a folder that is not fit to run.
fn unfit(node: &Node) -> String {
    let output = civicmesh(&["node", "check", text(&node.dir)]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn private_files_that_others_may_read_are_refused() {
    let mut city = City::found("Springfield", "UTC");
    let node = city.enroll("counts", &[]);
    must(&["node", "check", text(&node.dir)]);
    for name in ["tls/node.key", "keys/release.key", "keys/domain.secret", "tokens/ingest", "tokens/admin"] {
        let file = node.dir.join(name);
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("its mode");
        for exposed in [0o604, 0o640] {
            mode(exposed);
            let said = unfit(&node);
            assert!(said.contains(name) && said.contains("chmod 600"), "{exposed:o}: {said}");
        }
        mode(0o600);
        must(&["node", "check", text(&node.dir)]);
    }
}

#[test]
fn beyond_loopback_the_department_needs_tls_and_with_it_works() {
    let mut city = City::found("Springfield", "UTC");
    let contract = sample::contract(city.folder.path());
    let mut node = city.enroll("counts", &[&contract]);
    let address = node.address("department_listen");
    node.amend(&address, &address.replace("127.0.0.1", "0.0.0.0"));
    let said = unfit(&node);
    assert!(said.contains("node.toml") && said.contains("department_listen") && said.contains("tls = true"), "{said}");
    assert!(node.start_refused().contains("tls = true"));

    node.configure("\n[department]\ntls = true\n");
    must(&["node", "check", text(&node.dir)]);
    node.start();
    node.take_in("event_rows", &rows(city.folder.path(), 400), &["--complete=2024-01-01T01:00"]);
    assert_eq!(sample::told(&node), Some((400, total(400))));
    let plain = std::process::Command::new(crate::city::binary())
        .args(["query", "--node", &format!("http://{address}"), TOTAL])
        .env("CIVICMESH_TOKEN", node.token("query"))
        .output()
        .expect("civicmesh runs");
    assert_eq!(plain.status.code(), Some(1), "no plain text beyond loopback");
    assert!(plain.stdout.is_empty());
}
