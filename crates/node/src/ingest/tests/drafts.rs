//! From a file to a drafted contract, and back to the file through it.

use std::path::PathBuf;

use civicmesh_model::contract::InputKind;
use civicmesh_model::contract::draft::draft;

use super::*;
use crate::ingest::sample;

/// Drafts a contract from `file`, fills in what only people know, and takes the file in through it.
fn there_and_back(file: &Path) -> Taken {
    let text = draft(&sample(file).unwrap(), &"city".parse().unwrap(), &"first".parse().unwrap(), NOW);
    let filled = text
        .replace("{purpose: TODO}", "{purpose: Test}")
        .replace("method: TODO", "method: open")
        .replace("approver: TODO", "approver: Test")
        .replace("# reason: ...", "reason: No persons")
        .replace("audience: TODO", "audience: city")
        .replace("zone: TODO", "zone: UTC");
    assert_ne!(filled, text);
    let mut bench = Bench::new(&filled);
    bench.now = "2030-01-01T00:00:00Z".parse().unwrap();
    bench.take_path(file).unwrap()
}

#[test]
fn the_first_files_of_a_newcomer() {
    let first = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/first");
    for file in ["air/readings.csv", "bikes/counts.csv"] {
        let taken = there_and_back(&first.join(file));
        assert!(taken.accepted() > 10, "{file}");
        assert!(taken.rejects.len() * 20 < taken.accepted(), "{file}");
    }
}

#[test]
fn columns_are_told_by_all_of_their_values() {
    let bench = Bench::new(READINGS);
    let text = "id;day;clock;text;code;zip;share;flag;none\n\
        1;01/02/2020;2020-01-01 10:00:00.5;7;a;08001;0.25;yes;\n\
        2;13/02/2020;2020-01-02T10:00:00;x;b;12345;1.5e-3;no;\n\
        -3;14/02/2020;;;a;10001;.5;;\n";
    let sample = sample(&bench.file("a.csv", text)).unwrap();
    assert_eq!((sample.rows, sample.header, sample.delimiter, sample.file.as_str()), (3, true, b';', "a.csv"));
    let kinds: Vec<(&str, InputKind)> =
        sample.columns.iter().map(|column| (column.header.as_str(), column.kind)).collect();
    let expected = [
        ("id", InputKind::Integer),
        ("day", InputKind::Timestamp),
        ("clock", InputKind::Timestamp),
        ("text", InputKind::Text),
        ("code", InputKind::Text),
        ("zip", InputKind::Text),
        ("share", InputKind::Number),
        ("flag", InputKind::Boolean),
        ("none", InputKind::Text),
    ];
    assert_eq!(kinds, expected);
    let [id, day, clock, _, code, _, share, _, none] = sample.columns.as_slice() else { panic!() };
    assert_eq!((id.min, id.max), (Some(-3.0), Some(2.0)));
    assert_eq!((day.format.as_deref(), day.date_only), (Some("%d/%m/%Y"), true));
    assert_eq!((clock.format.as_deref(), clock.date_only, clock.empty), (None, false, 1));
    assert_eq!(clock.last.unwrap().to_string(), "2020-01-02 10:00:00");
    assert_eq!((code.distinct, share.decimals, none.empty), (2, 4, 3));
}

#[test]
fn day_and_month_are_told_by_how_close_the_rows_lie() {
    let bench = Bench::new(READINGS);
    let format = |days: [&str; 3]| {
        let file = bench.file("a.csv", format!("day,x\n{},1\n{},1\n{},1\n", days[0], days[1], days[2]));
        sample(&file).unwrap().columns[0].format.clone().unwrap()
    };
    assert_eq!(format(["03/06/2024", "04/06/2024", "05/06/2024"]), "%d/%m/%Y");
    assert_eq!(format(["06/03/2024", "06/04/2024", "06/05/2024"]), "%m/%d/%Y");
}

#[test]
fn a_first_line_of_values_is_no_header() {
    let bench = Bench::new(READINGS);
    let file = bench.file(
        "a.csv",
        "46920293,07/20/2020 10:51:12 AM,Damaged Tree,BROOKLYN\n46930483,07/21/2020 02:13:58 PM,Noise,BRONX\n",
    );
    let sample = sample(&file).unwrap();
    assert_eq!((sample.header, sample.rows), (false, 2));
    assert_eq!(sample.columns[1].format.as_deref(), Some("%m/%d/%Y %I:%M:%S %p"));
    assert_eq!(sample.columns[3].header, "");
    assert_eq!(there_and_back(&file).accepted(), 2);
}

#[test]
fn a_header_may_lack_a_name_and_all_may_be_text() {
    let bench = Bench::new(READINGS);
    let looked = |content: &str| {
        let looked = sample(&bench.file("a.csv", content)).unwrap();
        let headers: Vec<String> = looked.columns.into_iter().map(|column| column.header).collect();
        (looked.header, headers.join("|"), looked.rows)
    };
    assert_eq!(looked(",day,x\n0,2020-01-01,5\n1,2020-01-02,6\n"), (true, "|day|x".to_owned(), 2));
    assert_eq!(looked("zone,borough\nA,Bronx\nB,Bronx\n"), (true, "zone|borough".to_owned(), 2));
    assert_eq!(looked("A,Bronx\nB,Bronx\n"), (false, "|".to_owned(), 2));
}

#[test]
fn json_and_parquet_are_looked_at_too() {
    let bench = Bench::new(READINGS);
    let lines = "{\"a\":{\"b\":1.5},\"at\":\"2020-01-01T00:00:00Z\",\"list\":[1]}\n{\"at\":\"2020-01-02T00:00:00Z\",\"a\":{\"b\":2}}\n{\"at\":\"2020-01-02T01:00:00Z\"}\n";
    let looked = sample(&bench.file("a.ndjson", lines)).unwrap();
    let columns: Vec<(&str, InputKind, u64)> =
        looked.columns.iter().map(|column| (column.header.as_str(), column.kind, column.empty)).collect();
    assert_eq!(columns, [("a.b", InputKind::Number, 1), ("at", InputKind::Timestamp, 0)]);
    let file = super::formats::parquet_file(std::sync::Arc::new(super::formats::instants()));
    let looked = sample(&bench.file("a.parquet", file)).unwrap();
    assert_eq!((looked.columns.len(), looked.rows), (6, 3));
    let time = &looked.columns[0];
    assert_eq!((time.kind, time.format.as_deref(), time.date_only), (InputKind::Timestamp, None, false));
    let days = arrow::array::Date32Array::from(vec![18_383, 18_383, 18_384]);
    let file = super::formats::parquet_file(std::sync::Arc::new(days));
    assert!(sample(&bench.file("a.parquet", file)).unwrap().columns[0].date_only);
}
