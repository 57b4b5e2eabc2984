//! Files made to harm the node: Parquet that claims what it does not hold, and files that are too wide or too long.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder, TimestampMillisecondArray};
use arrow::array::{BooleanArray, Int32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::formats::{instants, parquet_file};
use super::*;
use crate::ingest::thrift::{self, COLUMNS_MAX, Fault};

const DAMAGED: &str = "the file is damaged: it is not readable as Parquet";

/// A footer in Thrift's compact protocol: version, schema, no rows, row groups.
fn footer(schema: &[u8], row_groups: &[u8]) -> Vec<u8> {
    [&[0x15, 0x02, 0x19][..], schema, &[0x16, 0x00, 0x19], row_groups, &[0x00]].concat()
}

fn parquet(footer: &[u8]) -> Vec<u8> {
    [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A schema element named `m` with so many children.
fn element(children: u8) -> Vec<u8> {
    vec![0x48, 1, b'm', 0x15, children * 2, 0x00]
}

/// A list's head for that many structures.
fn structures(mut count: u64) -> Vec<u8> {
    let mut head = vec![0xfc];
    while count > 0x7f {
        head.push(count as u8 | 0x80);
        count >>= 7;
    }
    head.push(count as u8);
    head
}

#[test]
fn a_footer_that_claims_more_than_it_holds_is_damaged() {
    let bench = Bench::new(READINGS);
    let root = [&[0x1c][..], &element(0)].concat();
    let many_groups = footer(&root, &structures(i32::MAX as u64));
    let many_children = footer(&[0x1c, 0x48, 1, b'm', 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00], &[0x0c]);
    let chain: Vec<u8> = (0..5_000).flat_map(|_| element(1)).chain(element(0)).collect();
    let deep = footer(&[structures(5_001), chain].concat(), &[0x0c]);
    // the row groups' field says it is bytes, in which the decoder would see a list
    let mut hidden = footer(&root, &[&[8][..], &structures(i32::MAX as u64), &[0, 0]].concat());
    let at = hidden.len() - 11;
    hidden[at] = 0x18;
    for footer in [many_groups, many_children, deep, hidden] {
        assert!(thrift::check_footer(&footer).is_err());
        let file = parquet(&footer);
        assert_eq!(bench.take("a.parquet", &file).unwrap_err().to_string(), DAMAGED);
        assert_eq!(crate::ingest::sample(&bench.file("a.parquet", &file)).unwrap_err().to_string(), DAMAGED);
    }
    let empty = footer(&root, &[0x0c]);
    assert_eq!(thrift::check_footer(&empty), Ok(()), "the frame of these tests is sound");
}

#[test]
fn a_file_with_too_many_columns_is_refused() {
    let bench = Bench::new(READINGS);
    let wide = vec!["c"; COLUMNS_MAX + 1].join(",");
    let rows = format!("{wide}\n{}\n", wide.replace('c', "1"));
    let elements: Vec<u8> = (0..=COLUMNS_MAX).flat_map(|_| element(0)).collect();
    let schema = [structures(COLUMNS_MAX as u64 + 1), elements].concat();
    assert_eq!(thrift::check_footer(&footer(&schema, &[0x0c])), Err(Fault::Columns));
    for (name, file) in [("a.csv", rows.into_bytes()), ("a.parquet", parquet(&footer(&schema, &[0x0c])))] {
        let expected = "the file has more than 10000 columns";
        let error = bench.take(name, &file).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        let error = crate::ingest::sample(&bench.file(name, &file)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_long_text_that_a_dictionary_holds_once_is_not_copied_for_each_row() {
    // read by value, the rows of one batch alone would take four gigabytes
    const ROWS: usize = 1_000;
    let mut stations = StringViewBuilder::new().with_deduplicate_strings();
    let long = "x".repeat(4 << 20);
    stations.append_value("S1");
    (1..ROWS).for_each(|_| stations.append_value(&long));
    let time = TimestampMillisecondArray::from_iter_values((0..ROWS as i64).map(|row| 1_588_327_200_000 + row));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("When", Arc::new(time.with_timezone("UTC"))),
        ("station", Arc::new(stations.finish())),
        ("level", Arc::new(Int32Array::from(vec![1; ROWS]))),
        ("count", Arc::new(Int32Array::from(vec![1; ROWS]))),
        ("ok", Arc::new(BooleanArray::from(vec![true; ROWS]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(16 << 20).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    assert!(file.len() < 8 << 20, "the text stands in the file once: {}", file.len());
    let taken = Bench::new(READINGS).take("a.parquet", &file).unwrap();
    assert_eq!((taken.accepted(), taken.rejects.len()), (1, ROWS - 1));
    assert!(taken.rejects.iter().all(|reject| reject.reason.as_str() == "the record is too long"));
}

#[test]
fn a_page_that_unpacks_to_too_much_is_refused() {
    let file = parquet_file(Arc::new(instants().with_timezone("UTC")));
    let mut refused = 0;
    // the sizes of a page stand in its header, which begins with its kind: a data page, or a dictionary
    for at in 4..file.len() - 4 {
        let header = &file[at..];
        if header[0] == 0x15 && matches!(header[1], 0 | 4) && header[2] == 0x15 {
            let long = [&file[..at + 3], &[0xfe, 0xff, 0xff, 0xff, 0x0f][..], &file[at + 4..]].concat();
            let Ok(page) = thrift::read_page(&long[at..]) else { continue };
            assert_eq!(page.unpacked_bytes, i64::from(i32::MAX));
            refused += usize::from(Bench::new(READINGS).take("a.parquet", &long).is_err());
        }
    }
    assert!(refused > 0, "no header was found");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_to_a_footer_breaks_the_path(
        damage in proptest::collection::vec((0_usize..4_000, prop_oneof![Just(0xff_u8), Just(0x7f), Just(0xfc), Just(0xf9), any::<u8>()]), 1..6),
    ) {
        let mut file = parquet_file(Arc::new(instants()));
        let end = file.len() - 8;
        let footer = u32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
        for (at, byte) in damage {
            file[end - footer + at % footer] = byte;
        }
        let bench = Bench::new(READINGS);
        let _ = bench.take("a.parquet", &file);
        let _ = crate::ingest::sample(&bench.file("a.parquet", &file));
    }
}
