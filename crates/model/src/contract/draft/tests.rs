use proptest::prelude::*;

use super::{Sample, SampleColumn, draft};
use crate::contract::parse::tests::{assert_at_peer, contract};
use crate::contract::*;
use crate::time::UtcMicros;

/// 2024-07-01T00:00Z.
const NOW: UtcMicros = UtcMicros(1_719_792_000_000_000);

fn sample_column(header: &str, kind: InputKind) -> SampleColumn {
    SampleColumn {
        header: header.to_owned(),
        kind,
        format: None,
        date_only: false,
        decimals: 0,
        min: None,
        max: None,
        first: None,
        last: None,
        distinct: 5,
        empty: 0,
    }
}

fn sample() -> Sample {
    let first = chrono::NaiveDate::from_ymd_opt(2024, 3, 1).and_then(|day| day.and_hms_opt(7, 30, 0));
    let number = |header, min, max, decimals| SampleColumn {
        min: Some(min),
        max: Some(max),
        decimals,
        ..sample_column(header, InputKind::Number)
    };
    Sample {
        file: "bikes\n.csv".to_owned(),
        rows: 100,
        header: true,
        delimiter: b';',
        columns: vec![
            SampleColumn {
                format: Some("%d/%m/%Y %H:%M".to_owned()),
                first,
                ..sample_column("Counted at", InputKind::Timestamp)
            },
            sample_column("District", InputKind::Text),
            SampleColumn { distinct: 90_000, ..sample_column("Comment: \"free\"", InputKind::Text) },
            SampleColumn { min: Some(3.0), max: Some(412.0), ..sample_column("bikes", InputKind::Integer) },
            number("airTemp", -3.7, 21.25, 2),
            number("1st %", 0.0, 0.0, 1),
            number("lat", 55.0, 56.0, 6),
            sample_column("group", InputKind::Boolean),
            sample_column("", InputKind::Text),
            sample_column("District", InputKind::Text),
        ],
    }
}

#[test]
fn a_draft_is_complete_but_for_what_only_people_know() {
    let (domain, product) = ("bikes".parse().unwrap(), "counts".parse().unwrap());
    let text = draft(&sample(), &domain, &product, NOW);
    let todo: Vec<String> = Contract::parse(&text, "x.yaml").unwrap_err().into_iter().map(|f| f.key).collect();
    assert_eq!(
        todo,
        [
            "description.purpose",
            "civicmesh.terms.disclosure.method",
            "civicmesh.terms.disclosure.approver",
            "civicmesh.terms.audience",
            "civicmesh.dataset.time.zone",
        ],
        "{text}"
    );
    let filled = text
        .replace("purpose: TODO", "purpose: Plan cycle lanes")
        .replace("approver: TODO", "approver: Head of traffic")
        .replace("audience: TODO", "audience: [health]")
        .replace("zone: TODO", "zone: Europe/Copenhagen");
    let open =
        filled.replace("method: TODO", "method: open").replace("# reason: ...", "reason: counters see no person");
    let drafted = contract(&open);
    assert_eq!(drafted.status, Status::Draft);
    assert_eq!(drafted.coverage.start.to_string(), "2024-03-01 00:00:00");
    let names: Vec<&str> = drafted.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
    assert_eq!(names, ["district", "group_", "column_9", "district_10"]);
    let measures: Vec<_> = drafted.measures.iter().map(|m| (m.name.as_str(), m.decimals, m.min, m.max)).collect();
    assert_eq!(
        measures,
        [("bikes", 0, Some(0), Some(500)), ("air_temp", 2, Some(-400), Some(3000)), ("c_1st", 1, Some(0), Some(10)),]
    );
    let dataset = drafted.dataset.as_ref().unwrap();
    assert_eq!(dataset.column("comment_free").unwrap().from, ColumnRef::Header("Comment: \"free\"".to_owned()));
    let places = ["column_9", "district_10"].map(|name| dataset.column(name).unwrap().from.clone());
    assert_eq!(places, [ColumnRef::Position(9), ColumnRef::Position(10)]);
    assert_eq!((dataset.format.delimiter, dataset.columns.len()), (b';', 10));
    assert_at_peer(&drafted);
    let threshold = filled.replace("method: TODO", "method: threshold").replace("# k: 10", "k: 10");
    assert_eq!(Contract::parse(&threshold, "x.yaml").unwrap_err().len(), 1);
    contract(&threshold.replace("# contributor: row", "contributor: row"));
}

#[test]
fn a_draft_of_a_file_of_days_without_a_header_has_windows_of_a_day() {
    let mut sample = sample();
    (sample.header, sample.delimiter) = (false, b'\t');
    (sample.columns[0].date_only, sample.columns[0].format) = (true, Some("%Y-%m-%d".to_owned()));
    let clock = Some("%H:%M %d.%m.%Y".to_owned());
    sample.columns.push(SampleColumn { format: clock.clone(), ..sample_column("", InputKind::Timestamp) });
    sample.columns.iter_mut().for_each(|column| column.header.clear());
    let drafted = contract(&filled(&sample));
    assert_eq!(drafted.grain, Grain::Day);
    let dataset = drafted.dataset.unwrap();
    let last = dataset.columns.last().unwrap();
    assert_eq!((last.name.as_str(), &last.from), ("column_11", &ColumnRef::Position(11)));
    assert_eq!(last.format, clock);
    assert_eq!((dataset.format.delimiter, dataset.time.resolution), (b'\t', Span::DAY));
}

#[test]
fn peers_keep_the_releases_of_a_file_of_long_ago() {
    let years = |newest: &str| {
        let mut sample = sample();
        sample.columns[0].last = Some(newest.parse().unwrap());
        let retention = contract(&filled(&sample)).retention;
        assert_eq!(retention.raw, Span::days(365));
        assert!(retention.releases.micros() > NOW.0 - sample.columns[0].last.unwrap().and_utc().timestamp_micros());
        retention.releases.micros() / Span::days(365).micros()
    };
    assert_eq!(years("2024-06-30T12:00:00"), 20);
    assert_eq!(years("2016-02-29T12:00:00"), 20, "past the five years that a draft once said");
    assert_eq!(years("2090-01-01T00:00:00"), 20, "a placeholder in the future");
    assert_eq!(years("1994-01-01T00:00:00"), 51);
    assert_eq!(contract(&filled(&sample())).retention.releases, Span::days(20 * 365), "no time seen");
}

#[test]
fn a_draft_says_what_its_ranges_and_a_missing_key_do() {
    let text = draft(&sample(), &"a".parse().unwrap(), &"b".parse().unwrap(), NOW);
    let said = text.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ");
    for sentence in [
        "ranges are what the first 100 rows showed",
        "A row with a value outside is rejected whole; with `invalid: null`",
        "without a key the same row in two files counts twice",
    ] {
        assert!(said.contains(sentence), "{text}");
    }
}

#[test]
fn a_numbered_name_is_unlike_all_earlier_ones_too() {
    let time = sample().columns[0].clone();
    let named = ["c", "4", "C"].map(|header| sample_column(header, InputKind::Text));
    let columns = [time].into_iter().chain(named).collect();
    let drafted = contract(&filled(&Sample { columns, ..sample() }));
    let columns = drafted.dataset.unwrap().columns;
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[1..], ["c", "c_4", "c_5"]);
}

/// A contract drafted with the first column as its time, filled in by someone who knows nothing of it.
fn filled(sample: &Sample) -> String {
    let text = draft(sample, &"a".parse().unwrap(), &"b".parse().unwrap(), NOW);
    let text = text.replace("method: TODO", "method: open\n      reason: none").replace("zone: TODO", "zone: UTC");
    text.replace("audience: TODO", "audience: city").replace("TODO", "x")
}

fn any_column() -> impl Strategy<Value = SampleColumn> {
    let kind = proptest::sample::select(InputKind::ALL.as_slice());
    let header = prop_oneof![any::<String>(), "[a-z_ %#:{}\\[\\]\"'A-Z0-9]{0,50}"];
    (header, kind, 0..12_u8, any::<f64>(), -1e6..1e6, 0..1000_u64).prop_map(
        |(header, kind, decimals, min, max, distinct)| {
            let (min, max) = (Some(min), Some(max));
            SampleColumn { decimals, min, max, distinct, ..sample_column(&header, kind) }
        },
    )
}

proptest! {
    #[test]
    fn a_draft_of_any_file_can_be_filled_in(columns in proptest::collection::vec(any_column(), 0..70), header: bool) {
        let time = sample().columns[0].clone();
        let columns = [time].into_iter().chain(columns).collect();
        contract(&filled(&Sample { columns, header, ..sample() }));
    }
}
