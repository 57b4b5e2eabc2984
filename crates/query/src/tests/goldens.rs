//! The questions in `goldens/`, each asked twice: of the engine over cells, and of plain DataFusion over the raw rows.
//! Both must give what is written there. `UPDATE=1` writes what the raw rows give, then what only cells are asked.

use std::path::PathBuf;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use super::fixture::{Node, Row, Table, World, contract, counting, row};

const ALL: &str = "publish: [count, sum, sum_squares, min, max]";

/// New York in March 2020: visits by day, riders by quarter of an hour around the night that has no two o'clock,
/// temperatures by hour, trips of which some cells are held back.
fn world() -> World {
    let visits = format!("unit: \"1\", decimals: 1, {ALL}");
    let emergency = contract(
        "health.emergency",
        &["borough", "kind"],
        "grain: 1 day, start: 2020-03-01, end: 2020-04-01",
        &[("visits", &visits), ("staff", &format!("unit: \"1\", {ALL}"))],
        None,
    );
    let flow = contract(
        "transit.flow",
        &["station"],
        "grain: 15 minutes, start: 2020-03-07, end: 2020-03-10",
        &[("riders", &format!("unit: \"1\", {ALL}"))],
        None,
    );
    let air = contract(
        "weather.air",
        &[],
        "grain: 1 hour, start: 2020-03-07, end: 2020-03-10",
        &[("celsius", &format!("unit: Cel, decimals: 2, gauge: true, {ALL}"))],
        None,
    );
    let taxi = contract(
        "traffic.taxi",
        &["borough"],
        "grain: 1 day, start: 2020-03-01, end: 2020-04-01",
        &[("speed", "unit: mi/h, decimals: 2, min: 1, max: 80")],
        Some(10),
    );
    let rides = counting(
        "transit.rides",
        &["line"],
        "grain: 1 day, start: 2020-03-01, end: 2020-04-01",
        &[
            ("minutes", "unit: min, decimals: 1, publish: [sum, quantiles]"),
            ("fare", "unit: USD, decimals: 2, publish: [sum]"),
        ],
        &["card"],
        None,
    );
    World::new(
        "America/New_York",
        vec![
            Table { contract: emergency, rows: visits_of_march() },
            Table { contract: flow, rows: riders() },
            Table { contract: air, rows: temperatures() },
            Table { contract: taxi, rows: trips() },
            Table { contract: rides, rows: rides_of_march() },
        ],
    )
}

fn visits_of_march() -> Vec<Row> {
    let mut rows = Vec::new();
    for day in 1..=31_i64 {
        for (place, borough) in ["Bronx", "Queens", "Staten Island"].into_iter().enumerate() {
            for (sort, kind) in ["ambulance", "walk-in"].into_iter().enumerate() {
                let (place, sort) = (place as i64, sort as i64);
                for turn in 0..(day + place + sort) % 3 + 1 {
                    let visits = (day + turn) % 7 != 0;
                    let visits = visits.then_some((day * 13 + place * 31 + sort * 7 + turn * 3) % 200 - 20);
                    let staff = (turn != 1).then_some((day * place + sort + 1) % 9);
                    let at = format!("2020-03-{day:02}T{:02}:30:00Z", 12 + turn * 3);
                    rows.push(row(&at, &[borough, kind], &[visits, staff]));
                }
            }
        }
    }
    rows
}

/// Every five minutes of three days, the second of which has 23 hours.
fn riders() -> Vec<Row> {
    let start: civicmesh_model::time::UtcMicros = "2020-03-07T05:00:00Z".parse().unwrap();
    let reading = |step: i64| Row {
        at: civicmesh_model::time::UtcMicros(start.0 + step * 300_000_000),
        coordinate: vec![["A", "B"][step as usize % 2].to_owned()],
        values: vec![(step % 11 != 3).then_some(step % 13)],
        distinct: Vec::new(),
    };
    (0..71 * 12).map(reading).collect()
}

fn temperatures() -> Vec<Row> {
    let start: civicmesh_model::time::UtcMicros = "2020-03-07T05:10:00Z".parse().unwrap();
    let reading = |hour: i64| Row {
        at: civicmesh_model::time::UtcMicros(start.0 + hour * 3_600_000_000),
        coordinate: Vec::new(),
        values: vec![Some(hour * 37 % 1_000 - 300)],
        distinct: Vec::new(),
    };
    (0..71).map(reading).collect()
}

/// 12 trips a day in Manhattan, 3 in Queens.
fn trips() -> Vec<Row> {
    let trip = |day: u32, trip: u32| {
        let borough = if trip < 12 { "Manhattan" } else { "Queens" };
        row(&format!("2020-03-{day:02}T15:00:{trip:02}Z"), &[borough], &[Some(1_000 + i64::from(trip))])
    };
    (1..=31).flat_map(|day| (0..15).map(move |n| trip(day, n))).collect()
}

/// Nine rides a day on each of two lines, some without minutes, of twelve cards in all.
fn rides_of_march() -> Vec<Row> {
    let ride = |day: i64, line: i64, ride: i64| {
        let minutes = (ride != 4).then_some((day * 17 + line * 90 + ride * 41) % 600 + 30);
        let card = (day + ride) % 5 > 0;
        let card = card.then(|| format!("card {}", (day * 3 + ride * 2 + line) % 12));
        let at = format!("2020-03-{day:02}T{:02}:00:00Z", 9 + ride);
        Row { distinct: vec![card], ..row(&at, &[["A", "B"][line as usize]], &[minutes, Some(ride * 25)]) }
    };
    (1..=31).flat_map(|day| (0..2).flat_map(move |line| (0..9).map(move |turn| ride(day, line, turn)))).collect()
}

/// Either of the two that are asked.
enum Asked {
    Cells(Box<Node>),
    Rows(SessionContext),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

#[async_trait]
impl AsyncDB for Asked {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let (schema, batches) = match self {
            Self::Cells(node) => {
                let answer = node.answer(sql).await.map_err(|error| Failed(error.to_string()))?;
                (answer.schema, answer.batches)
            }
            Self::Rows(context) => {
                let failed = |error: datafusion::error::DataFusionError| Failed(error.to_string());
                let frame = context.sql(sql).await.map_err(failed)?;
                let schema: SchemaRef = frame.schema().inner().clone();
                (schema, frame.collect().await.map_err(failed)?)
            }
        };
        let types = schema.fields().iter().map(|field| match field.data_type() {
            kind if kind.is_integer() => DefaultColumnType::Integer,
            kind if kind.is_numeric() => DefaultColumnType::FloatingPoint,
            _ => DefaultColumnType::Text,
        });
        let rows = |batch: &RecordBatch| (0..batch.num_rows()).map(|row| texts(batch, row)).collect::<Vec<_>>();
        Ok(DBOutput::Rows { types: types.collect(), rows: batches.iter().flat_map(rows).collect() })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self {
            Self::Cells(_) => "cells",
            Self::Rows(_) => "rows",
        }
    }
}

/// A row's values; fractions with three digits, since plain DataFusion cuts averages of decimals short.
fn texts(batch: &RecordBatch, row: usize) -> Vec<String> {
    let text = |column: &arrow::array::ArrayRef| match column.data_type() {
        _ if column.is_null(row) => "NULL".to_owned(),
        DataType::Float64 => format!("{:.3}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            format!("{:.3}", array_value_to_string(column, row).unwrap().parse::<f64>().unwrap())
        }
        _ => match array_value_to_string(column, row).unwrap() {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text.replace(' ', "_"),
        },
    };
    batch.columns().iter().map(text).collect()
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_give_what_is_written_and_what_raw_rows_give() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        for cells in [false, true] {
            let make = || async move {
                Ok(match cells {
                    true => Asked::Cells(Box::new(world().node())),
                    false => Asked::Rows(world().raw()),
                })
            };
            let mut runner = Runner::new(make);
            if update {
                let updated = runner.update_test_file(
                    &file,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    sqllogictest::default_column_validator,
                );
                updated.await.unwrap();
            } else if let Err(error) = runner.run_file_async(&file).await {
                wrong.push(format!("{}\n{error}", if cells { "cells" } else { "raw rows" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
