//! Contracts as files: those of a running node, and those that a person checks or drafts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use civicmesh_model::contract::{Contract, Finding, Method, Severity, Statistic, Status};
use civicmesh_model::names::{DomainName, ProductName};

use crate::environment::Environment;
use crate::ingest;

/// The folder of contracts in a node's folder.
pub const CONTRACTS_FOLDER: &str = "contracts";
/// Most contracts of one node.
const CONTRACTS_MAX: usize = 256;
/// Longest contract file, in bytes.
const CONTRACT_BYTES_MAX: u64 = 1 << 20;

/// A contract of this node, with the folder that its lookups are relative to.
#[derive(Clone, Debug)]
pub(crate) struct OwnContract {
    /// The contract; it has a dataset.
    pub(crate) contract: Contract,
    /// Where the contract's file stands.
    pub(crate) folder: PathBuf,
}

/// One contract file, checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The file.
    pub file: PathBuf,
    /// What was found in it, errors and warnings.
    pub findings: Vec<Finding>,
    /// What can be learned about a person from its releases, a sentence each; empty if it has errors.
    pub learned: Vec<String>,
}

impl Checked {
    /// Whether the contract can be used.
    pub fn ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

/// Why no contract was drafted.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The sample cannot be opened.
    #[error("{}: {error}", .path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The sample cannot be read.
    #[error(transparent)]
    Sample(#[from] ingest::IngestError),
}

/// Checks contract files, their lookups and their SQL.
pub fn check(files: &[PathBuf]) -> Vec<Checked> {
    files
        .iter()
        .map(|file| {
            let (contract, findings) = read(file);
            let learned = contract.as_ref().map(learned).unwrap_or_default();
            Checked { file: file.clone(), findings, learned }
        })
        .collect()
}

/// Drafts a contract from the columns of `file`. What only people can know stands as TODO.
pub fn draft(file: &Path, domain: &DomainName, product: &ProductName) -> Result<String, DraftError> {
    fs::File::open(file).map_err(|error| DraftError::File { path: file.to_owned(), error })?;
    let sample = ingest::sample(file)?;
    let now = Environment::real().clock.now();
    Ok(civicmesh_model::contract::draft::draft(&sample, domain, product, now))
}

/// Reads all contracts in `folder` (`*.yaml`, `*.yml`) for the node of `domain`, sorted by file name. The findings
/// hold the warnings; with an error among them there are no contracts.
pub(crate) fn load(folder: &Path, domain: &DomainName) -> io::Result<(Vec<OwnContract>, Vec<Finding>)> {
    let files = contract_files(folder)?;
    let mut findings = Vec::new();
    let mut contracts = Vec::new();
    let (mut products, mut datasets) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let (contract, found) = read(&file);
        findings.extend(found);
        let Some(contract) = contract else { continue };
        let mut refuse = |key: &str, message: String, mend: &str| findings.push(error(&file, key, message, mend));
        if contract.product.domain != *domain {
            let message = format!("belongs to {}, and this is the node of {domain}", contract.product.domain);
            refuse("domain", message, "a node holds the contracts of its own domain only");
        }
        if let Some(other) = products.insert(contract.product.clone(), file.clone()) {
            let message = format!("{} has a contract already, {}", contract.product, other.display());
            refuse("dataProduct", message, "keep one of the two in this folder");
        }
        match &contract.dataset {
            None => refuse(
                "civicmesh.dataset",
                "the contract has no dataset".to_owned(),
                "say how the department's files are read",
            ),
            Some(dataset) => {
                if let Some(other) = datasets.insert(dataset.name.clone(), file.clone()) {
                    let message = format!("dataset {} is taken by {}", dataset.name, other.display());
                    refuse("civicmesh.dataset.name", message, "give this dataset a name of its own");
                }
            }
        }
        contracts.push(OwnContract { contract, folder: folder.to_owned() });
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        contracts.clear();
    }
    Ok((contracts, findings))
}

/// The contract in one file, if it has no errors.
pub(crate) fn read_one(file: &Path) -> Option<OwnContract> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    read(file).0.map(|contract| OwnContract { contract, folder })
}

/// The contract files in `folder`, sorted. A folder that is missing holds none.
fn contract_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_yaml && !is_hidden {
            files.push(path);
        }
    }
    if files.len() > CONTRACTS_MAX {
        return Err(io::Error::other(format!("more than {CONTRACTS_MAX} contracts")));
    }
    files.sort();
    Ok(files)
}

/// One file's contract, if it has no errors, and what was found.
fn read(file: &Path) -> (Option<Contract>, Vec<Finding>) {
    let text = match bounded(file) {
        Ok(text) => text,
        Err(reason) => return (None, vec![error(file, "", reason.to_string(), "")]),
    };
    let (contract, mut findings) = match Contract::parse(&text, &file.display().to_string()) {
        Ok((contract, warnings)) => (contract, warnings),
        Err(findings) => return (None, findings),
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    if let Err(reason) = ingest::check(&contract, folder) {
        findings.push(error(file, "civicmesh.dataset", reason.to_string(), ""));
        return (None, findings);
    }
    (Some(contract), findings)
}

fn bounded(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > CONTRACT_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {CONTRACT_BYTES_MAX} bytes")));
    }
    fs::read_to_string(file)
}

fn error(file: &Path, key: &str, message: String, mend: &str) -> Finding {
    Finding {
        file: file.display().to_string(),
        line: 1,
        key: key.to_owned(),
        message,
        mend: mend.to_owned(),
        severity: Severity::Error,
    }
}

/// What can be learned about a person from this contract's releases, in sentences for a data-protection officer.
fn learned(contract: &Contract) -> Vec<String> {
    let mut sentences = Vec::new();
    match &contract.method {
        Method::Open { reason, approver } => {
            sentences.push(format!("Open: every cell leaves, exactly. Reason: {reason}. Approved by {approver}."));
            sentences.push(
                "Nothing about a person, as long as the reason holds: a cell may rest on a single observation."
                    .to_owned(),
            );
        }
        Method::Threshold { k, approver } => {
            sentences.push(format!(
                "Threshold: a cell leaves when at least {k} contributors are in it; a smaller one is named and nothing else is told. Approved by {approver}."
            ));
            let measures = contract.measures.iter().map(|measure| {
                let published = Statistic::EXACT.into_iter().filter(|statistic| measure.publishes(*statistic));
                let published: Vec<String> =
                    published.map(|statistic| statistic.as_str().replace('_', " of ")).collect();
                format!(", of {} the {}", measure.name, published.join(" and "))
            });
            sentences.push(format!(
                "Of a published cell: how many observations it has{}; no single value.",
                measures.collect::<String>()
            ));
            sentences.push(
                "If all contributors of a cell share one value, that value shows; one whose value dwarfs the others', or \
                 who alone has a value other than zero, shows in the sum."
                    .to_owned(),
            );
            sentences.push(format!(
                "That a cell is suppressed says that it has between 1 and {few} contributors, or a measure with values from so few, or one that lacks its value in so few rows.",
                few = k.saturating_sub(1)
            ));
        }
    }
    sentences.extend(learned_of_sketches(contract));
    if contract.dataset.as_ref().is_some_and(|dataset| dataset.key.is_empty()) {
        sentences.push("The dataset has no key: the same row in two different files counts twice.".to_owned());
    }
    if contract.status == Status::Draft {
        sentences.push("The contract is a draft: it takes observations in and releases nothing.".to_owned());
    }
    sentences
}

/// The same of its sketches.
fn learned_of_sketches(contract: &Contract) -> Vec<String> {
    let names = |names: Vec<&str>| (!names.is_empty()).then(|| names.join(", "));
    let quantiles = contract.measures.iter().filter(|measure| measure.publishes(Statistic::Quantiles));
    let quantiles = names(quantiles.map(|measure| measure.name.as_str()).collect());
    let quantiles = quantiles.map(|names| {
        format!("Sketches of the quantiles of {names}: each holds some of the cell's values as they are, and of 200 or fewer all.")
    });
    let distinct = names(contract.distinct.iter().map(|column| column.name.as_str()).collect());
    let distinct = distinct.map(|names| {
        format!(
            "How many distinct values {names} has in each published cell, as sketches of keyed hashes: without this domain's \
             secret nobody can look for a value in them, but a value that is in two cells leaves the same trace in both."
        )
    });
    let few = match contract.method {
        Method::Threshold { k, .. } if distinct.is_some() => Some(format!(
            "A cell with fewer than {k} distinct values of such a column is suppressed, unless it has none."
        )),
        _ => None,
    };
    quantiles.into_iter().chain(distinct).chain(few).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_holds_no_contracts() {
        let dir = tempfile::tempdir().unwrap();
        let (contracts, findings) = load(&dir.path().join("contracts"), &"traffic".parse().unwrap()).unwrap();
        assert!(contracts.is_empty() && findings.is_empty());
    }

    #[test]
    fn a_broken_file_is_an_error_and_an_unreadable_one_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("taxi.yaml"), "kind: Nonsense\n").unwrap();
        fs::write(dir.path().join("notes.txt"), "kind: Nonsense\n").unwrap();
        let (contracts, findings) = load(dir.path(), &"traffic".parse().unwrap()).unwrap();
        assert!(contracts.is_empty());
        assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
        let checked = check(&[dir.path().join("absent.yaml")]);
        assert!(!checked[0].ok() && checked[0].learned.is_empty());
    }

    #[test]
    fn what_is_learned_is_what_is_published() {
        let first = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/first/bikes/counts.yaml");
        let checked = check(&[first]).remove(0);
        assert!(checked.ok(), "{:?}", checked.findings);
        let of_cells = checked.learned.iter().find(|sentence| sentence.starts_with("Of a published cell"));
        let expected =
            "Of a published cell: how many observations it has, of bikes the count and sum; no single value.";
        assert_eq!(of_cells.map(String::as_str), Some(expected));
    }

    #[test]
    fn a_dataset_without_a_key_is_told_that_a_row_may_count_twice() {
        let dir = tempfile::tempdir().unwrap();
        let first = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/first/air/readings.yaml");
        let keyed = fs::read_to_string(first).unwrap();
        let keyless: String =
            keyed.lines().filter(|line| !line.starts_with("    key:")).map(|line| format!("{line}\n")).collect();
        let twice = |text: &str| {
            let file = dir.path().join("readings.yaml");
            fs::write(&file, text).unwrap();
            let checked = check(&[file]).remove(0);
            assert!(checked.ok(), "{:?}", checked.findings);
            checked.learned.iter().any(|sentence| sentence.contains("in two different files counts twice"))
        };
        assert!(!twice(&keyed) && twice(&keyless));
    }
}
