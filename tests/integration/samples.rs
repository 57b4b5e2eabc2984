//! What stands in deploy/ and proto/ is fit for use: third-party linters say so, and our own parsers.

use crate::city::{civicmesh, must, root};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the tests' Python environment, which `scripts/venv` makes.
pub fn python_tool(name: &str) -> PathBuf {
    let tool = root().join(".venv/bin").join(name);
    assert!(tool.exists(), "{} is missing: call `make test`", tool.display());
    tool
}

/// All files under `folder` with one of these endings, sorted.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|ending| endings.contains(&ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn contracts() -> Vec<PathBuf> {
    let found: Vec<_> = files(&root().join("deploy"), &["yaml"])
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).expect("text").contains("kind: DataContract"))
        .collect();
    assert!(found.len() >= 5, "the contracts of the demonstration are there");
    found
}

/// Contracts that name files which are not ours to ship: the file beside which they then stand, and lines of its form.
const WITHOUT_FILES: [(&str, &str, &str); 3] = [
    ("sim/aarhus/traffic.yaml", "road_segments.csv", "REPORT_ID,POINT_1_POSTAL_CODE\n158324,8000\n"),
    ("sim/new-york/trips.yaml", "zones_taxi_lookup.csv", "LocationID,borough,zone\n1,EWR,Newark Airport\n"),
    ("sim/new-york/emergency.yaml", "population.csv", "borough,population\nBronx,1432132\n"),
];

/// The contract; a copy of it where it names a file that is not ours to ship, with one of that file's form beside it.
fn beside_its_files(contract: PathBuf, folder: &Path) -> PathBuf {
    let Some((_, file, lines)) = WITHOUT_FILES.iter().find(|(name, _, _)| contract.ends_with(name)) else {
        return contract;
    };
    let copy = folder.join(contract.file_name().expect("a name"));
    std::fs::copy(&contract, &copy).expect("a copy");
    std::fs::write(folder.join(file), lines).expect("a file");
    copy
}

#[test]
fn every_contract_in_deploy_passes_our_check_and_the_standards_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let contracts: Vec<PathBuf> =
        contracts().into_iter().map(|contract| beside_its_files(contract, folder.path())).collect();
    let names: Vec<&str> = contracts.iter().map(|file| file.to_str().expect("UTF-8")).collect();
    let mut arguments = vec!["contract", "check"];
    arguments.extend(&names);
    must(&arguments);
    for file in names {
        let output =
            Command::new(python_tool("datacontract")).args(["lint", file]).output().expect("datacontract runs");
        assert!(
            output.status.success(),
            "{file}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_drafted_contract_passes_the_standards_lint_and_is_refused_by_ours_until_filled() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let sample = folder.path().join("bikes.csv");
    std::fs::write(&sample, "at,district,bikes\n2024-05-01T00:00:00,north,4\n2024-05-01T01:00:00,south,7\n")
        .expect("written");
    let draft =
        must(&["contract", "draft", sample.to_str().expect("UTF-8"), "--domain", "bikes", "--product", "counts"]);
    let file = folder.path().join("counts.yaml");
    std::fs::write(&file, &draft).expect("written");
    let file = file.to_str().expect("UTF-8");
    let lint = Command::new(python_tool("datacontract")).args(["lint", file]).output().expect("datacontract runs");
    assert!(
        lint.status.success(),
        "{}{}",
        String::from_utf8_lossy(&lint.stdout),
        String::from_utf8_lossy(&lint.stderr)
    );
    let checked = civicmesh(&["contract", "check", file]);
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("TODO") && said.contains("counts.yaml:"), "{said}");
}

#[test]
fn the_protocols_are_lint_clean() {
    let lint = Command::new(python_tool("buf")).args(["lint", "proto"]).current_dir(root()).output().expect("buf runs");
    assert!(
        lint.status.success(),
        "{}{}",
        String::from_utf8_lossy(&lint.stdout),
        String::from_utf8_lossy(&lint.stderr)
    );
}

#[test]
fn the_sample_of_node_toml_is_parsed() {
    let sample = root().join("deploy/node.toml");
    let text = std::fs::read_to_string(&sample).expect("deploy/node.toml");
    civicmesh_node::config::Config::parse(&text, &sample).expect("fit for use");
}

#[test]
fn the_units_and_the_compose_file_name_commands_that_exist() {
    let compose = std::fs::read_to_string(root().join("deploy/docker/compose.yaml")).expect("compose.yaml");
    let parsed: serde_json::Value = serde_saphyr::from_str(&compose).expect("YAML");
    let services = parsed["services"].as_object().expect("services");
    assert_eq!(services.len(), 3, "a three-node city");
    for file in files(&root().join("deploy/systemd"), &["service"]) {
        let text = std::fs::read_to_string(&file).expect("a unit");
        for line in text.lines().filter(|line| line.contains("/usr/local/bin/civicmesh")) {
            let words: Vec<&str> = line
                .split("/usr/local/bin/civicmesh")
                .nth(1)
                .expect("what follows the command")
                .split_whitespace()
                .filter(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                .take_while(|word| *word != "json")
                .collect();
            let mut command: Vec<&str> = words.into_iter().take(2).collect();
            command.push("--help");
            let help = civicmesh(&command);
            assert!(help.status.success(), "{}: {line}", file.display());
        }
    }
}
