//! The vault from outside: files in, closed windows out, compared with a plain list of rows.

mod crashes;
mod ingest;
mod late;
mod properties;
mod retention;
mod taking_back;
mod watermarks;

use crate::{Append, Appended, Due, FileKey, Options, RowCounts, Vault, VaultError, keys};
use arrow::array::{
    ArrayRef, DictionaryArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::UInt32Type;
use civicmesh_disclosure::{Limits, SaltKey, Terms, gate};
use civicmesh_model::contract::{Contract, TimeSpec};
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::{DatasetName, SourceName};
use civicmesh_model::release::Entry;
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_model::vault_id::VaultId;
use civicmesh_observation::{Layout, Observations};
use civicmesh_store::{DirectoryMode, Environment, Hook, MemoryDisk, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// An empty store with the vault's keyspaces.
pub(crate) fn store() -> Store {
    let options = civicmesh_store::Options {
        environment: Environment::Memory(MemoryDisk::new().unwrap()),
        ..civicmesh_store::Options::new(keys::ALL, DirectoryMode::Owner)
    };
    Store::open(Path::new("unused"), &options).unwrap()
}

pub(crate) fn zone() -> Zone {
    "America/New_York".parse().unwrap()
}

/// 1 November 2020 in New York: a day of 25 hours.
pub(crate) fn start() -> UtcMicros {
    "2020-11-01T04:00:00Z".parse().unwrap()
}

/// A vault that lives as long as the disk it is on.
pub(crate) struct Place {
    disk: MemoryDisk,
    hook: Option<Arc<dyn Hook>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { disk: MemoryDisk::new().unwrap(), hook: None }
    }

    pub(crate) fn with_hook(self, hook: Arc<dyn Hook>) -> Self {
        Self { hook: Some(hook), ..self }
    }

    pub(crate) fn open(&self) -> Result<Vault, VaultError> {
        let environment = Environment::Memory(self.disk.clone());
        let options = Options { environment, hook: self.hook.clone(), ..Options::new(zone(), VaultId([1; 16])) };
        Vault::open(Path::new("unused"), &options)
    }
}

/// A contract over the dataset `counts`: one dimension, one measure, about no person.
pub(crate) fn contract(product: &str, grain: &str, keyed: bool, zone: &str, format: &str) -> Contract {
    let key = if keyed { "key: [id]" } else { "rejects_max: 1%" };
    let text = format!(
        "apiVersion: v3.1.0
kind: DataContract
id: traffic.{product}
version: 1.0.0
status: active
domain: traffic
dataProduct: {product}
name: Counts
description: {{purpose: Tests}}
schema:
- name: {product}
  properties:
  - {{name: time, logicalType: timestamp, required: true, description: When}}
  - {{name: borough, logicalType: string, required: true, description: Where}}
  - {{name: cars, logicalType: number, description: How many}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: {grain}, start: 2020-01-01, lateness: 1 day, empty: missing}}
    measures: {{cars: {{unit: cars, decimals: 0, min: -1000, max: 1000, publish: [count, sum, min, max]}}}}
    disclosure: {{method: open, reason: machines only, approver: the office}}
    audience: city
    retention: {{raw: 90 days, releases: 5 years}}
- property: civicmesh.dataset
  value:
    name: counts
    time: {{column: at, zone: {zone}{format}}}
    columns: {{at: timestamp, id: text, borough: text, cars: number}}
    contributor: none
    {key}
"
    );
    Contract::parse(&text, "counts.yaml").unwrap_or_else(|findings| panic!("{findings:?}")).0
}

pub(crate) fn hourly(keyed: bool) -> Contract {
    contract("hourly", "1 hour", keyed, "UTC", "")
}

pub(crate) fn weekly(keyed: bool) -> Contract {
    contract("weekly", "1 week", keyed, "UTC", "")
}

pub(crate) fn time_spec(contract: &Contract) -> &TimeSpec {
    &contract.dataset.as_ref().unwrap().time
}

pub(crate) fn dataset() -> DatasetName {
    "counts".parse().unwrap()
}

pub(crate) fn feed(name: &str) -> SourceName {
    name.parse().unwrap()
}

/// One raw row; `minute` counts from [`start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u8,
    pub(crate) minute: i64,
    pub(crate) borough: u8,
    pub(crate) cars: Option<i64>,
}

impl Row {
    pub(crate) fn at(&self) -> UtcMicros {
        UtcMicros(start().0 + self.minute * MINUTE)
    }
}

pub(crate) fn row(id: u8, minute: i64, borough: u8, cars: i64) -> Row {
    Row { id, minute, borough, cars: Some(cars) }
}

pub(crate) fn observations(rows: &[Row], contract: &Contract) -> Observations {
    let layout = Layout::of(contract.dataset.as_ref().unwrap(), &[contract]).unwrap();
    let boroughs: DictionaryArray<UInt32Type> = rows
        .iter()
        .map(|row| format!("borough {}", row.borough))
        .collect::<Vec<_>>()
        .iter()
        .map(String::as_str)
        .collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.at().0)).with_timezone("UTC")),
        Arc::new(boroughs),
        Arc::new(rows.iter().map(|row| row.cars).collect::<Int64Array>()),
    ];
    if layout.keyed {
        let mut keys = FixedSizeBinaryBuilder::new(16);
        let mut contents = FixedSizeBinaryBuilder::new(8);
        for row in rows {
            keys.append_value(&Hash32::of(&[&[row.id]]).0[..16]).unwrap();
            contents.append_value(&Hash32::of(&[format!("{row:?}").as_bytes()]).0[..8]).unwrap();
        }
        columns.push(Arc::new(keys.finish()));
        columns.push(Arc::new(contents.finish()));
    }
    Observations::new(RecordBatch::try_new(layout.schema(), columns).unwrap(), &layout).unwrap()
}

pub(crate) fn file(number: u8) -> FileKey {
    FileKey(Hash32([number; 32]))
}

/// Appends rows of a file where it stands, all of them accepted by ingest.
pub(crate) fn append(
    vault: &Vault,
    contract: &Contract,
    file: FileKey,
    from: u64,
    rows: &[Row],
    now: UtcMicros,
) -> Result<Appended, VaultError> {
    vault.append(Append {
        dataset: &dataset(),
        contract_hash: contract.hash(),
        file,
        rows_from: from,
        rows_to: from + rows.len() as u64,
        observations: observations(rows, contract),
        counts: RowCounts::default(),
        now,
        watermark_max: UtcMicros::MAX,
    })
}

/// Takes a whole file in, `step` rows a batch, from where it stands.
pub(crate) fn take(
    vault: &Vault,
    contract: &Contract,
    source: &str,
    key: FileKey,
    rows: &[Row],
    step: usize,
) -> Result<(), VaultError> {
    let now = start();
    let begun = vault.begin_file(&dataset(), &feed(source), key, "counts.csv", now)?;
    let mut done = begun.rows_done as usize;
    while !begun.finished && done < rows.len() {
        let to = rows.len().min(done + step);
        append(vault, contract, key, done as u64, &rows[done..to], now)?;
        done = to;
    }
    vault.finish_file(&dataset(), key, time_spec(contract))?;
    Ok(())
}

/// A cell as a release shows it: observations, then count, sum, least and greatest of the measure.
pub(crate) type Shown = (u64, u64, i128, Option<i64>, Option<i64>);

/// A window's cells by borough, and its sources; no cells where it is empty.
pub(crate) type Closed = (BTreeMap<String, Shown>, u32);

/// Closes windows and opens the rollups by way of the gate.
pub(crate) fn close(vault: &Vault, contracts: &[&Contract], from: UtcMicros, until: UtcMicros) -> Vec<Vec<Closed>> {
    let due: Vec<Due<'_>> = contracts
        .iter()
        .map(|contract| Due { contract, windows: contract.calendar(zone()).windows(from, until).collect() })
        .collect();
    let closing = vault.close(&dataset(), &due, Limits::default()).unwrap();
    let salt_key = SaltKey::new([1; 32]);
    let mut all = Vec::new();
    for (due, windows) in due.iter().zip(closing.windows) {
        let shown = windows.into_iter().zip(&due.windows).map(|(closed, window)| {
            assert_eq!(closed.rollup.window(), *window);
            let sources = closed.sources;
            let terms = Terms {
                contract: due.contract,
                zone: zone(),
                revision: 0,
                closed_through: until,
                sources,
                salt_key: &salt_key,
            };
            match gate::disclose(closed.rollup, &terms).unwrap().entry() {
                Entry::Release(release) => {
                    let cells = release.cells.iter().map(|cell| {
                        let measure = &cell.measures[0];
                        let shown = (cell.observations, measure.count, measure.sum, measure.min, measure.max);
                        (cell.coordinate[0].clone(), shown)
                    });
                    (cells.collect(), sources)
                }
                Entry::Empty(_) => (BTreeMap::new(), sources),
                Entry::Refusal(refusal) => panic!("refused: {:?}", refusal.reason),
            }
        });
        all.push(shown.collect());
    }
    all
}

/// What closing must give for these rows, each with its source: the slow way.
pub(crate) fn expected(rows: &[(Row, u8)], contract: &Contract, from: UtcMicros, until: UtcMicros) -> Vec<Closed> {
    let of_window = |window: Window| {
        let within: Vec<_> = rows.iter().filter(|(row, _)| window.contains(row.at())).collect();
        let mut cells: BTreeMap<String, Shown> = BTreeMap::new();
        for (row, _) in &within {
            let cell = cells.entry(format!("borough {}", row.borough)).or_insert((0, 0, 0, None, None));
            cell.0 += 1;
            if let Some(cars) = row.cars {
                cell.1 += 1;
                cell.2 += i128::from(cars);
                cell.3 = Some(cell.3.map_or(cars, |least| least.min(cars)));
                cell.4 = Some(cell.4.map_or(cars, |most| most.max(cars)));
            }
        }
        let sources: std::collections::BTreeSet<_> = within.iter().map(|(_, source)| source).collect();
        (cells, sources.len() as u32)
    };
    contract.calendar(zone()).windows(from, until).map(of_window).collect()
}

/// From a week before [`start`] to two weeks after it, on edges of weeks.
pub(crate) fn span() -> (UtcMicros, UtcMicros) {
    let calendar = weekly(false).calendar(zone());
    (calendar.align_down(UtcMicros(start().0 - 7 * DAY)), calendar.align_up(UtcMicros(start().0 + 14 * DAY)))
}
