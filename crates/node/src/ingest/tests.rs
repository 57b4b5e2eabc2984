//! Whole files through the whole path, up to the vault's door.

mod demo;
mod dirt;
mod drafts;
mod formats;
mod hostile;
mod stored;

use std::path::Path;

use arrow::array::StringArray;
use civicmesh_exchange::link::Clock;
use civicmesh_model::contract::Contract;
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_observation::Observations;

use super::rows::Rows;
use super::run::{fit, read_chunk};
use super::spool::Spool;
use super::{ContributorSecret, IngestError, Recipe, Reject};

/// A contract that uses every section; tests replace parts of it.
const READINGS: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: air.readings
version: 1.0.0
status: active
description: {purpose: Test how files are read}
schema:
- name: readings
  properties:
  - {name: time, logicalType: timestamp}
  - {name: district, logicalType: string}
  - {name: level, logicalType: number}
  - {name: twice, logicalType: number}
customProperties:
- property: civicmesh.terms
  value:
    windows: {grain: 1 hour, start: 2020-01-01, lateness: 2 days}
    measures:
      level: {unit: "1", decimals: 2, min: -50, max: 500}
      twice: {unit: "1", decimals: 1, min: -100, max: 900, invalid: null}
    disclosure: {method: open, reason: Sensors are no persons, approver: Test}
    audience: city
    retention: {raw: 90 days, releases: 1 year}
- property: civicmesh.dataset
  value:
    name: readings
    format: {header: true, delimiter: ","}
    time: {column: at, zone: Europe/Copenhagen, from: 2020-01-01, until: 2021-01-01}
    columns:
      at: {type: timestamp, from: When}
      station: {type: text, required: true}
      level: {type: number, missing: ["-999", "NA"], min: -60}
      count: {type: integer, min: 0, invalid: null}
      ok: boolean
    lookups: {district: {column: station, file: stations.csv, key: station, value: district, unknown: reject}}
    derived: {twice: level * 2}
    filter: ok
    key: [station, at]
    contributor: none
"#;

const STATIONS: &str = "station,district\nS1,harbour\nS2,old town\n";

/// The node's clock in these tests: 2020-07-01T00:00Z.
const NOW: UtcMicros = UtcMicros(1_593_561_600_000_000);

/// What became of a file.
#[derive(Debug, Default)]
struct Taken {
    observations: Vec<Observations>,
    rejects: Vec<Reject>,
    filtered: u64,
    rows: u64,
}

/// A folder with a contract's lookup and a file.
struct Bench {
    folder: tempfile::TempDir,
    recipe: Recipe,
    now: UtcMicros,
}

impl Bench {
    fn new(contract: &str) -> Bench {
        Bench::try_new(contract).unwrap()
    }

    fn try_new(contract: &str) -> Result<Bench, IngestError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stations.csv"), STATIONS).unwrap();
        let contract = parse(contract);
        let recipe = Recipe::new(&contract, folder.path(), &ContributorSecret::new(&[7; 32]))?;
        Ok(Bench { folder, recipe, now: NOW })
    }

    /// Writes a file and gives its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn take(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Taken, IngestError> {
        let path = self.file(name, content);
        self.take_path(&path)
    }

    fn take_path(&self, path: &Path) -> Result<Taken, IngestError> {
        let spool = Spool::open(path, &path.file_name().unwrap().to_string_lossy())?;
        let mut told = Vec::new();
        fit(&self.recipe, &spool, self.now, &mut |reject| told.push(reject.clone()))?;
        assert!(told.is_empty(), "rejects are told once");
        let mut rows = Rows::open(&spool, &self.recipe.dataset)?;
        let mut table = self.recipe.table()?;
        let mut taken = Taken::default();
        while read_chunk(&mut rows, &mut table, 3, self.now)? {
            let mut chunk = table.take();
            self.recipe.apply(&mut chunk)?;
            let shaped = self.recipe.outputs.shape(&mut chunk)?;
            taken.observations.push(self.recipe.outputs.observations(shaped)?);
            taken.rejects.append(&mut chunk.rejects);
            taken.filtered += chunk.filtered;
            taken.rows = chunk.rows.end;
        }
        taken.rejects.sort_by_key(|reject| reject.line);
        Ok(taken)
    }
}

impl Taken {
    fn accepted(&self) -> usize {
        self.observations.iter().map(Observations::rows).sum()
    }

    /// Line, column, value and reason of each reject.
    fn told(&self) -> Vec<(u64, String, String, String)> {
        let tell = |reject: &Reject| {
            let column = reject.column.as_deref().unwrap_or("-").to_owned();
            (reject.line, column, reject.value.clone(), format!("{:?}", reject.reason))
        };
        self.rejects.iter().map(tell).collect()
    }

    fn measure(&self, name: &str) -> Vec<Option<i64>> {
        self.observations.iter().flat_map(|part| part.measure(name).unwrap().iter().collect::<Vec<_>>()).collect()
    }

    fn times(&self) -> Vec<String> {
        let times =
            |part: &Observations| part.times().values().iter().map(|at| UtcMicros(*at).to_string()).collect::<Vec<_>>();
        self.observations.iter().flat_map(times).collect()
    }

    fn dimension(&self, name: &str) -> Vec<String> {
        let words = |part: &Observations| {
            let words = part.dimension(name).unwrap().downcast_dict::<StringArray>().unwrap();
            words.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        self.observations.iter().flat_map(words).collect()
    }
}

/// A clock that stands still.
struct At(UtcMicros);

impl Clock for At {
    fn now(&self) -> UtcMicros {
        self.0
    }

    fn measured(&self) -> Span {
        Span::ZERO
    }
}

fn parse(contract: &str) -> Contract {
    Contract::parse(contract, "readings.yaml").unwrap_or_else(|findings| panic!("{findings:#?}")).0
}
