//! The contracts and files of the demo, against figures known from another engine.

use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::compute::{concat_batches, sum};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use civicmesh_model::time::Zone;

use super::*;
use crate::ingest::read_all;

fn demo(domain: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/demo").join(domain)
}

fn rows(domain: &str, contract: &str, files: &[&str]) -> RecordBatch {
    let folder = demo(domain);
    let contract = parse(&std::fs::read_to_string(folder.join(contract)).unwrap());
    let files: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    let city: Zone = "America/New_York".parse().unwrap();
    let recipe = Recipe::new(&contract, &folder, &ContributorSecret::new(&[0; 32])).unwrap();
    // the clock of a node that runs the demo is years later
    let clock = At("2024-01-01T00:00:00Z".parse().unwrap());
    let batches = read_all(&recipe, &contract, city, &files, &clock).unwrap();
    concat_batches(batches[0].schema_ref(), &batches).unwrap()
}

/// The values of `column` in the week that starts on `monday`, in New York.
fn week(rows: &RecordBatch, column: &str, monday: &str) -> Vec<f64> {
    let city: Zone = "America/New_York".parse().unwrap();
    let day = |text: &str| text.parse::<chrono::NaiveDate>().unwrap();
    let (from, until) = (city.start_of_day(day(monday)).0, city.start_of_day(day(monday) + chrono::Days::new(7)).0);
    let times = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
    let values = rows.column_by_name(column).unwrap().as_primitive::<Float64Type>();
    times.iter().zip(values).filter(|(at, _)| (from..until).contains(*at)).filter_map(|(_, value)| value).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[track_caller]
fn near(value: f64, expected: f64, within: f64) {
    assert!((value - expected).abs() <= within, "{value} is not {expected}");
}

#[test]
fn taxis() {
    let rows = rows("traffic", "taxi.yaml", &["taxi_2020.csv.gz"]);
    for (monday, mph) in [("2020-02-24", 11.55), ("2020-03-23", 16.29), ("2020-04-13", 17.08), ("2020-05-04", 17.21)] {
        near(mean(&week(&rows, "speed", monday)), mph, 0.005);
    }
}

#[test]
fn riders_visits_and_weather() {
    let transit = rows("transit", "ridership.yaml", &["ridership_2020_03_to_11.csv.gz", "ridership_2020_12.csv.gz"]);
    near(mean(&week(&transit, "subway_riders", "2020-03-23")) / 1e6, 0.58, 0.005);
    near(mean(&week(&transit, "subway_riders", "2020-04-13")) / 1e6, 0.36, 0.005);
    assert_eq!(transit.num_rows(), 306);
    let health = rows("health", "emergency.yaml", &["covid_like_illness_2020.csv.gz"]);
    for (monday, visits) in [("2020-02-24", 4_439.0), ("2020-03-23", 20_308.0), ("2020-05-04", 2_325.0)] {
        near(week(&health, "visits", monday).iter().sum(), visits, 0.0);
    }
    let weather = rows("weather", "daily.yaml", &["central_park_2020.csv.gz"]);
    near(mean(&week(&weather, "temp", "2020-02-24")), 4.7, 0.05);
}

#[test]
fn a_repeated_row_counts_once_where_there_is_a_key() {
    let once = rows("transit", "ridership.yaml", &["ridership_2020_12.csv.gz"]);
    let twice = rows("transit", "ridership.yaml", &["ridership_2020_12.csv.gz", "ridership_2020_12.csv.gz"]);
    let total = |rows: &RecordBatch| sum(rows.column_by_name("bus_riders").unwrap().as_primitive::<Float64Type>());
    assert_eq!((once.num_rows(), total(&once)), (twice.num_rows(), total(&twice)));
}
