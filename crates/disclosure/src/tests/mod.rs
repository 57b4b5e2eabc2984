//! What leaves, seen from outside: contracts as files, rows as observations, entries as bytes.

mod accumulating;
mod gate;
mod sketches;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::UInt32Type;
use civicmesh_model::contract::Contract;
use civicmesh_model::grain::Window;
use civicmesh_model::release::{Entry, Release};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_observation::{Layout, Observations};
use proptest::prelude::*;

use crate::{Accumulator, Disclosed, DisclosureError, Limits, Rollup, SaltKey, Terms, gate::disclose};

/// Microseconds of the tests' windows.
pub(crate) const HOUR: i64 = 3_600_000_000;

pub(crate) const OPEN: &str = "{method: open, reason: machines only, approver: the office}";
pub(crate) const THRESHOLD: &str = "{method: threshold, k: 10, approver: the office}";

/// The file of a contract over two dimensions and two measures.
pub(crate) fn text(status: &str, disclosure: &str, contributor: &str) -> String {
    format!(
        "apiVersion: v3.1.0
kind: DataContract
id: traffic.trips
version: 1.0.0
status: {status}
domain: traffic
dataProduct: trips
name: Trips
description: {{purpose: Tests}}
schema:
- name: trips
  properties:
  - {{name: time, logicalType: timestamp, required: true, description: Start of the hour}}
  - {{name: borough, logicalType: string, required: true, description: Where}}
  - {{name: colour, logicalType: string, required: true, description: Which}}
  - {{name: speed, logicalType: number, description: How fast}}
  - {{name: fare, logicalType: number, description: How much}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: 1 hour, start: 1970-01-01, lateness: 1 day, empty: zero}}
    measures:
      speed: {{unit: km/h, decimals: 1, min: -1000, max: 1000}}
      fare: {{unit: USD, decimals: 2, min: 0, max: 1000, publish: [count, sum]}}
    disclosure: {disclosure}
    audience: city
    retention: {{raw: 90 days, releases: 5 years}}
- property: civicmesh.dataset
  value:
    name: trips
    time: {{column: at, zone: UTC}}
    columns: {{at: timestamp, borough: text, colour: text, speed: number, fare: number, rider: text, riders: integer}}
    contributor: {contributor}
"
    )
}

/// The contract of [`text`].
pub(crate) fn contract(status: &str, disclosure: &str, contributor: &str) -> Contract {
    let parsed = Contract::parse(&text(status, disclosure, contributor), "trips.yaml");
    parsed.unwrap_or_else(|findings| panic!("{findings:?}")).0
}

/// The four ways of counting contributors, each with the contract that has it.
pub(crate) fn contracts() -> [Contract; 4] {
    [
        contract("active", OPEN, "none"),
        contract("active", THRESHOLD, "row"),
        contract("active", THRESHOLD, "{column: rider}"),
        contract("active", THRESHOLD, "{count: riders}"),
    ]
}

/// One raw row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub at: i64,
    pub borough: u8,
    pub colour: u8,
    pub speed: Option<i64>,
    pub fare: Option<i64>,
    pub rider: u8,
    pub riders: u8,
}

/// Rows in a few cells of three windows, and some outside them.
pub(crate) fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let value = || prop::option::weighted(0.8, -9_999_i64..=9_999);
    let row = (-HOUR..4 * HOUR, 0_u8..3, 0_u8..2, value(), value(), 0_u8..25, 0_u8..6);
    let row = row.prop_map(|(at, borough, colour, speed, fare, rider, riders)| Row {
        at,
        borough,
        colour,
        speed,
        fare: fare.map(i64::abs),
        rider,
        riders,
    });
    prop::collection::vec(row, 0..most)
}

pub(crate) fn windows() -> Vec<Window> {
    (0..3).map(|hour| Window { start: UtcMicros(hour * HOUR), end: UtcMicros((hour + 1) * HOUR) }).collect()
}

/// The rows as the vault hands them over. Each batch has a dictionary of its own, in the order of its rows.
pub(crate) fn observations(contract: &Contract, rows: &[Row]) -> Observations {
    let layout = Layout::of(contract.dataset.as_ref().expect("an owner's contract"), &[contract]);
    let layout = layout.expect("one contract agrees with itself");
    let schema = layout.schema();
    let column = |field: &str| -> ArrayRef {
        let identities = |of: fn(&Row) -> u8| {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            rows.iter().for_each(|row| builder.append_value([of(row); 16]).expect("16 bytes"));
            Arc::new(builder.finish())
        };
        let texts = |of: fn(&Row) -> String| {
            let texts: Vec<String> = rows.iter().map(of).collect();
            let texts: DictionaryArray<UInt32Type> = texts.iter().map(String::as_str).collect();
            Arc::new(texts)
        };
        let numbers = |of: fn(&Row) -> Option<i64>| Arc::new(rows.iter().map(of).collect::<Int64Array>());
        match field {
            "time" => {
                let times = rows.iter().map(|row| row.at).collect::<Vec<_>>();
                Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
            }
            "d:borough" => texts(|row| format!("borough {}", row.borough)),
            "d:colour" => texts(|row| ["green", "yellow"][usize::from(row.colour)].to_owned()),
            "m:speed" => numbers(|row| row.speed),
            "m:fare" => numbers(|row| row.fare),
            "contributor" => identities(|row| row.rider),
            // nobody knows who rides after the twentieth
            "u:rider" => {
                let mut builder = FixedSizeBinaryBuilder::new(16);
                for row in rows {
                    match row.rider {
                        ..20 => builder.append_value([row.rider ^ 0x80; 16]).expect("16 bytes"),
                        _ => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
            "contributors" => numbers(|row| Some(row.riders.into())),
            other => panic!("no such column: {other}"),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect();
    let batch = RecordBatch::try_new(schema, columns).expect("columns as the layout has them");
    Observations::new(batch, &layout).expect("rows as the layout has them")
}

pub(crate) fn accumulator(contract: &Contract) -> Accumulator {
    Accumulator::new(contract, windows(), Limits::default()).expect("an owner's contract")
}

pub(crate) fn rollups(contract: &Contract, rows: &[Row]) -> Vec<Rollup> {
    let mut accumulator = accumulator(contract);
    accumulator.observe(&observations(contract, rows), None).expect("the contract's own columns");
    accumulator.finish()
}

pub(crate) fn salt_key() -> SaltKey {
    SaltKey::new([9; 32])
}

pub(crate) fn terms<'a>(contract: &'a Contract, salt_key: &'a SaltKey) -> Terms<'a> {
    let zone: Zone = "UTC".parse().expect("a zone");
    Terms { contract, zone, revision: 0, closed_through: UtcMicros(3 * HOUR + 5), sources: 2, salt_key }
}

pub(crate) fn disclose_one(rollup: Rollup, contract: &Contract) -> Result<Disclosed, DisclosureError> {
    disclose(rollup, &terms(contract, &salt_key()))
}

/// The bytes of every entry that leaves.
pub(crate) fn bytes(contract: &Contract, rollups: Vec<Rollup>) -> Vec<Vec<u8>> {
    let bytes = |rollup| disclose_one(rollup, contract).expect("active, closed, first revision").entry().encode();
    rollups.into_iter().map(bytes).collect()
}

/// The release of the first window.
pub(crate) fn first_release(contract: &Contract, rows: &[Row]) -> Release {
    let rollup = rollups(contract, rows).swap_remove(0);
    match disclose_one(rollup, contract).expect("active, closed, first revision").entry() {
        Entry::Release(release) => release.clone(),
        other => panic!("no release: {other:?}"),
    }
}

/// Rows of one cell in the first window, one contributor each.
pub(crate) fn cell(rows: u8) -> Vec<Row> {
    let row = |rider: u8| Row {
        at: i64::from(rider),
        borough: 0,
        colour: 0,
        speed: Some(100 + i64::from(rider)),
        fare: Some(500),
        rider,
        riders: 1,
    };
    (0..rows).map(row).collect()
}
