//! The same rows in every format and packing are the same observations.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::*;

const CSV: &str = "station,When,level,count,ok\nS1,2020-05-01T10:00:00Z,2.675,3,true\nS2,2020-05-01T10:00:00.500Z,,,true\nS1,2020-05-02T10:00:00Z,-1e1,4,false\n";
const JSON: &str = r#"{"station":"S1","When":"2020-05-01T10:00:00Z","level":2.675,"count":3,"ok":true,"more":{"a":[1,2]}}

{"station":"S2","When":"2020-05-01T10:00:00.500Z","level":null,"ok":true}
{"station":"S1","When":"2020-05-02T10:00:00Z","level":-10,"count":4,"ok":false}
"#;

pub(super) fn parquet_file(time: ArrayRef) -> Vec<u8> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("When", time),
        ("unused", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("station", Arc::new(StringViewArray::from(vec!["S1", "S2", "S1"]))),
        ("level", Arc::new(Float64Array::from(vec![Some(2.675), None, Some(-10.0)]))),
        ("count", Arc::new(Int32Array::from(vec![Some(3), None, Some(4)]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, true, false]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub(super) fn instants() -> TimestampMillisecondArray {
    TimestampMillisecondArray::from(vec![1_588_327_200_000, 1_588_327_200_500, 1_588_413_600_000])
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

type Rows = (Vec<String>, Vec<String>, Vec<Option<i64>>, u64);

fn rows(bench: &Bench, name: &str, content: &[u8]) -> Rows {
    let taken = bench.take(name, content).unwrap();
    assert_eq!(taken.told(), []);
    (taken.times(), taken.dimension("district"), taken.measure("level"), taken.filtered)
}

#[test]
fn formats_and_packings_agree() {
    let bench = Bench::new(READINGS);
    let expected: Rows = (
        vec!["2020-05-01T10:00:00Z".to_owned(), "2020-05-01T10:00:00.500Z".to_owned()],
        vec!["harbour".to_owned(), "old town".to_owned()],
        vec![Some(268), None],
        1,
    );
    let (head, tail) = CSV.split_at(70);
    let members = [gzip(head.as_bytes()), gzip(tail.as_bytes())].concat();
    let frames =
        [zstd::encode_all(head.as_bytes(), 1).unwrap(), zstd::encode_all(tail.as_bytes(), 1).unwrap()].concat();
    let files: [(&str, Vec<u8>); 8] = [
        ("a.csv", CSV.into()),
        ("a.csv", CSV.replace('\n', "\r\n").into()),
        ("a.csv.gz", members),
        ("a", frames),
        ("a", JSON.into()),
        ("a.jsonl.zst", zstd::encode_all(JSON.as_bytes(), 1).unwrap()),
        ("a", parquet_file(Arc::new(instants().with_timezone("Asia/Tokyo")))),
        ("a.parquet", parquet_file(Arc::new(instants().with_timezone("UTC")))),
    ];
    for (name, content) in files {
        assert_eq!(rows(&bench, name, &content), expected, "{name}");
    }
}

#[test]
fn a_file_is_the_same_however_it_is_packed() {
    let bench = Bench::new(READINGS);
    let hash = |content: &[u8]| {
        let spool = Spool::open(&bench.file("a", content), "a").unwrap();
        let mut heard = 0;
        let hash = spool
            .hash(|bytes| {
                heard = bytes;
                Ok(())
            })
            .unwrap();
        assert_eq!(heard, content.len() as u64, "all bytes on disk were consumed");
        hash
    };
    assert_eq!(hash(CSV.as_bytes()), hash(&gzip(CSV.as_bytes())));
    assert_eq!(hash(CSV.as_bytes()), civicmesh_model::hash::Hash32::of(&[CSV.as_bytes()]));
    let cut = gzip(CSV.as_bytes());
    let spool = Spool::open(&bench.file("a", &cut[..cut.len() - 4]), "a");
    let error = spool.and_then(|spool| spool.hash(|_| Ok(()))).unwrap_err();
    assert_eq!(error.to_string(), "the file is damaged: it cannot be unpacked to its end; was it cut short?");
}

#[test]
fn times_of_parquet_without_a_zone_are_local() {
    let bench = Bench::new(READINGS);
    let taken = bench.take("a", parquet_file(Arc::new(instants()))).unwrap();
    assert_eq!(taken.times()[0], "2020-05-01T08:00:00Z");
    let days = Date32Array::from(vec![18_383, 18_383, 18_384]);
    let taken = bench.take("a", parquet_file(Arc::new(days))).unwrap();
    assert_eq!(taken.times()[0], "2020-04-30T22:00:00Z");
}

#[test]
fn parquet_of_other_types_is_refused() {
    let bench = Bench::new(READINGS);
    let error = bench.take("a", parquet_file(Arc::new(BooleanArray::from(vec![true; 3])))).unwrap_err();
    assert_eq!(error.to_string(), "column `at` is a timestamp in the contract, and Boolean in the file");
    assert!(crate::ingest::parquet::can_be(&DataType::Utf8, civicmesh_model::contract::InputKind::Number));
    let packed = gzip(&parquet_file(Arc::new(instants())));
    assert!(bench.take("a", packed).unwrap_err().to_string().contains("Parquet packed once more"));
}

#[test]
fn json_says_which_field_is_missing_and_which_line_is_broken() {
    let bench = Bench::new(READINGS);
    let error = bench.take("a.ndjson", JSON.replace("\"level\"", "\"Level\"")).unwrap_err().to_string();
    assert!(
        error.starts_with("the file does not have `level` (did you mean `Level`?); it has Level, When,"),
        "{error}"
    );
    let file = format!("{JSON}{{\"station\":\"S1\"\n[1]\n{{\"station\":[1],\"When\":\"2020-05-01\",\"ok\":true}}\n");
    let taken = bench.take("a.ndjson", file).unwrap();
    let told: Vec<(u64, &str)> = taken.rejects.iter().map(|reject| (reject.line, reject.reason.as_str())).collect();
    let expected = [
        (5, "not a JSON object on one line"),
        (6, "not a JSON object on one line"),
        (7, "a list or an object where one value belongs"),
    ];
    assert_eq!(told, expected);
    let nested = READINGS.replace("at: {type: timestamp, from: When}", "at: {type: timestamp, from: meta.When}");
    let file = JSON.replace("\"When\":\"2020", "\"meta\":{\"When\":\"2020").replace("Z\",", "Z\"},");
    assert_eq!(Bench::new(&nested).take("a.ndjson", file).unwrap().accepted(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_break_the_path(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        start in prop_oneof![Just(""), Just("station,When,level,count,ok\n"), Just("PAR1"), Just("{"), Just("\u{1f}\u{8b}")],
        name in prop_oneof![Just("a"), Just("a.csv"), Just("a.ndjson"), Just("a.parquet")],
    ) {
        let bench = Bench::new(READINGS);
        let file = [start.as_bytes(), &content].concat();
        if let Ok(taken) = bench.take(name, file) {
            prop_assert!(taken.accepted() + taken.rejects.len() <= taken.rows as usize);
        }
    }

    #[test]
    fn no_damage_to_parquet_breaks_the_path(at in 0_usize..2_000, byte: u8, cut in 0_usize..2_000) {
        let bench = Bench::new(READINGS);
        let mut file = parquet_file(Arc::new(instants()));
        let length = file.len();
        file[at % length] = byte;
        let _ = bench.take("a.parquet", &file);
        let _ = bench.take("a.parquet", &file[..cut.min(length)]);
    }

    #[test]
    fn every_row_has_one_fate(rows in proptest::collection::vec(
        ("(S1|S9|\"S2\"|\"|)", "(2020-05-01|x|)", "(1|x|1e99|-999|)", "(1|-1|)", "(true|false|)", "(|,|\")"), 0..40),
    ) {
        let bench = Bench::new(READINGS);
        let mut file = "station,When,level,count,ok\nS1,2020-05-01,1,1,true\n".to_owned();
        for (station, at, level, count, ok, end) in &rows {
            file.push_str(&format!("{station},{at},{level},{count},{ok}{end}\n"));
        }
        let taken = bench.take("a.csv", &file).unwrap();
        prop_assert_eq!(taken.accepted() as u64 + taken.filtered + taken.rejects.len() as u64, taken.rows);
    }
}
