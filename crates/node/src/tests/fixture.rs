//! A small city in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use civicmesh_exchange::office::{CityOffice, Departure, NodeFolder, Purpose};
use tempfile::TempDir;

use crate::client::{Client, ClientError, Complete, IngestRequest, IngestSummary};
use crate::environment::{Environment, free_addresses};
use crate::{Node, Running};

/// Longest that something is waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Trips: about people, so a threshold.
pub(super) const TRIPS: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: traffic.trips
version: 1.0.0
status: active
name: Trips by district
description: {purpose: Show how fast traffic moves}
schema:
- name: trips
  properties:
  - {name: time, logicalType: timestamp, description: Start of the day}
  - {name: district, logicalType: string}
  - {name: speed, logicalType: number}
customProperties:
- property: civicmesh.terms
  value:
    windows: {grain: 1 day, start: 2020-03-01, end: 2020-04-01, lateness: 1 day}
    measures: {speed: {unit: km/h, decimals: 1, min: 0, max: 200}}
    disclosure: {method: threshold, k: 10, approver: Data protection officer}
    audience: [weather]
    retention: {raw: 20 years, releases: 20 years}
- property: civicmesh.dataset
  value:
    time: {column: time, format: "%Y-%m-%d %H:%M", zone: America/New_York}
    columns: {time: timestamp, district: text, speed: number}
    contributor: row
"#;

/// Weather: about no person, so open.
pub(super) const DAILY: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: weather.daily
version: 1.0.0
status: active
name: Weather by day
description: {purpose: Tell the weather}
schema:
- name: daily
  properties:
  - {name: time, logicalType: timestamp, description: Start of the day}
  - {name: temp, logicalType: number}
customProperties:
- property: civicmesh.terms
  value:
    windows: {grain: 1 day, start: 2020-03-01, end: 2020-04-01, lateness: 1 day}
    measures: {temp: {unit: Cel, decimals: 1, min: -50, max: 60, gauge: true}}
    disclosure: {method: open, reason: Weather concerns no person, approver: Head of the weather service}
    audience: city
    retention: {raw: 20 years, releases: 20 years}
- property: civicmesh.dataset
  value:
    time: {column: day, format: "%Y-%m-%d", zone: America/New_York}
    columns: {day: timestamp, temp: number}
    key: [day]
"#;

/// A city whose office and nodes stand in one temporary folder.
pub(super) struct City {
    folder: TempDir,
    office: CityOffice,
}

impl City {
    pub(super) fn found() -> City {
        let folder = tempfile::tempdir().unwrap();
        let now = Environment::real().clock.now();
        let zone = "America/New_York".parse().unwrap();
        let office = CityOffice::init(&folder.path().join("office"), "New York", zone, now).unwrap();
        City { folder, office }
    }

    pub(super) fn dir(&self, domain: &str) -> PathBuf {
        self.folder.path().join(domain)
    }

    /// Enrols a domain with one contract; its node listens on ports that were free a moment ago.
    pub(super) async fn enroll(&self, domain: &str, contract: &str) {
        let [listen, department] = free_addresses().unwrap();
        let departure = Departure {
            domain: Some(domain.parse().unwrap()),
            listen: Some(listen.to_string().parse().unwrap()),
            department: Some(department.to_string().parse().unwrap()),
            seeds: Vec::new(),
        };
        let folder = NodeFolder::new(self.dir(domain));
        self.office.enroll_out(&folder, &departure, Environment::real().clock.now()).unwrap();
        fs::write(folder.contracts().join("product.yaml"), contract).unwrap();
        let mut config = fs::read_to_string(folder.config_file()).unwrap();
        config.push_str("\n[publisher]\ninterval_ms = 100\n\n[pull]\ninterval_ms = 100\nbackoff_ms_max = 400\nreload_interval_ms = 100\n");
        fs::write(folder.config_file(), config).unwrap();
    }

    pub(super) async fn start(&self, domain: &str) -> Running {
        Node::start(&self.dir(domain), Environment::real()).await.unwrap()
    }

    pub(super) fn client(&self, domain: &str, purpose: Purpose) -> Client {
        Client::connect(self.dir(domain).to_str().unwrap(), purpose, Default::default()).unwrap()
    }

    /// Adds to a node's configuration.
    pub(super) fn configure(&self, domain: &str, text: &str) {
        let file = NodeFolder::new(self.dir(domain)).config_file();
        let config = fs::read_to_string(&file).unwrap();
        fs::write(file, config + text).unwrap();
    }

    /// Changes a node's configuration.
    pub(super) fn amend(&self, domain: &str, from: &str, to: &str) {
        let file = NodeFolder::new(self.dir(domain)).config_file();
        let config = fs::read_to_string(&file).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(file, config.replace(from, to)).unwrap();
    }

    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// A request to take a file in and to complete it.
    pub(super) fn request(&self, dataset: &str, file: &Path) -> IngestRequest {
        IngestRequest { dataset: dataset.to_owned(), source: None, file: file.to_owned(), complete: Complete::LastFull }
    }

    /// Sends a file of this content and completes it.
    pub(super) async fn ingest(&self, domain: &str, dataset: &str, name: &str, content: &str) -> IngestSummary {
        self.try_ingest(domain, dataset, name, content).await.unwrap()
    }

    pub(super) async fn try_ingest(
        &self,
        domain: &str,
        dataset: &str,
        name: &str,
        content: &str,
    ) -> Result<IngestSummary, ClientError> {
        let request = self.request(dataset, &self.write(name, content));
        self.client(domain, Purpose::Ingest).ingest(&request, &mut |_| {}).await
    }
}

/// Asks until the answer is as it should be; the last answer if it never is.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Whether any file under `folder` holds `needle`.
pub(super) fn holds(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, needle),
            false => fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle),
        }
    })
}
