//! Every kind of dirt costs its own row, or refuses the file before anything is stored.

use super::*;
use crate::ingest::Fault;

const HEADER: &str = "station,When,level,count,ok,remark\n";

fn told(rows: &str) -> Vec<(u64, String, String, String)> {
    Bench::new(READINGS).take("a.csv", format!("{HEADER}S1,2020-05-01T10:00:00,1,1,true,\n{rows}")).unwrap().told()
}

/// Says that the one row of a file after its first is rejected so.
#[track_caller]
fn rejected(row: &str, column: &str, value: &str, reason: &str) {
    let expected = (3, column.to_owned(), value.to_owned(), reason.to_owned());
    assert_eq!(told(&format!("{row}\n")), [expected], "{row}");
}

#[test]
fn each_bad_value_is_told_with_line_column_value_and_reason() {
    for (row, column, value, reason) in [
        ("S1,2020-05-01,x,1,true,", "level", "x", "NotNumber"),
        ("S1,2020-05-01,nan,1,true,", "level", "nan", "NotNumber"),
        ("S1,2020-05-01,-61,1,true,", "level", "-61", "TooSmall"),
        ("S1,2020-05-01,-55,1,true,", "level", "-55.0", "TooSmall"),
        ("S1,2020-05-01,500.01,1,true,", "level", "500.01", "TooLarge"),
        ("S1,2020-05-01,99999999999,1,true,", "level", "99999999999", "TooManyDigits"),
        ("S1,2020-05-01,1,1,perhaps,", "ok", "perhaps", "NotBoolean"),
        (",2020-05-01,1,1,true,", "station", "", "Missing"),
        ("S9,2020-05-01,1,1,true,", "district", "S9", "UnknownCode"),
    ] {
        rejected(row, column, value, reason);
    }
}

#[test]
fn each_bad_time_is_told() {
    for (at, reason) in [
        ("", "Missing"),
        ("01/05/2020", "NotTime"),
        ("2020-03-29T02:30:00", "SkippedTime"),
        ("2019-12-31T23:59:59", "TimeOutOfRange"),
        ("2021-01-01T00:00:00", "TimeOutOfRange"),
    ] {
        rejected(&format!("S1,{at},1,1,true,"), "at", at, reason);
    }
}

#[test]
fn a_time_more_than_a_year_ahead_of_the_clock_is_told() {
    let bench = Bench::new(&READINGS.replace(", until: 2021-01-01", ""));
    let rows = "S1,2021-07-02T02:00:00,1,1,true,\nS1,2021-07-02T02:00:01,1,1,true,\n";
    let taken = bench.take("a.csv", format!("{HEADER}{rows}")).unwrap();
    let expected = (3, "at".to_owned(), "2021-07-02T02:00:01".to_owned(), "AheadOfClock".to_owned());
    assert_eq!((taken.accepted(), taken.told()), (1, vec![expected]));
}

#[test]
fn each_broken_line_is_told() {
    for (row, reason) in [
        ("S1,2020-05-01,1,1,true", "Ragged"),
        ("S1,2020-05-01,1,1,true,,", "Ragged"),
        ("\"S1,2020-05-01,1,1,true,", "OpenQuote"),
        ("\"S1\"x,2020-05-01,1,1,true,", "StrayQuote"),
    ] {
        rejected(row, "-", row, reason);
    }
}

#[test]
fn what_is_merely_odd_is_taken() {
    let rows = "S1,2020-07-01T02:15:00,1.005,1,true,\n\
        \"S2\",2020-05-02T02:30:00,1.5e1,-1,YES,\"two\nlines, and a \"\"quote\"\"\"\r\n\
        \n\
        S1,2020-05-01 10:00,-999,1,t,\r\
        S1,2020-05-01,NA,,1,x\n\
        S1,2020-05-01T10:00:00.25Z,,12.0,true,\n";
    let taken = Bench::new(READINGS).take("a.csv", format!("\u{feff}{HEADER}{rows}")).unwrap();
    assert_eq!(taken.told(), []);
    // half to even, on the text: 1.005 is a tie, whatever its Float64 says
    assert_eq!(taken.measure("level"), [Some(100), Some(1500), None, None, None]);
    assert_eq!(taken.measure("twice"), [Some(20), Some(300), None, None, None]);
    assert_eq!(taken.dimension("district"), ["harbour", "old town", "harbour", "harbour", "harbour"]);
    assert_eq!(taken.times()[3..], ["2020-04-30T22:00:00Z", "2020-05-01T10:00:00.250Z"]);
}

#[test]
fn lines_are_those_of_an_editor_after_rows_of_several_lines() {
    let rows = "S1,2020-05-01T10:00:00,1,1,true,\"a\r\nb\nc\"\r\n\r\nS1,2020-05-01T10:00:00,x,1,true,\rS1,2020-05-01T10:00:00,y,1,true,\n";
    let lines: Vec<u64> = told(rows).iter().map(|told| told.0).collect();
    assert_eq!(lines, [7, 8]);
}

#[test]
fn bytes_that_are_no_text_cost_their_row_and_only_where_they_are_read() {
    let mut file = format!("{HEADER}S1,2020-05-01T10:00:00,1,1,true,").into_bytes();
    file.extend_from_slice(b"caf\xe9\nS\xe9,2020-05-01T10:00:00,1,1,true,\n\xff,2020-05-01T10:00:00,1,1,true,\n");
    let taken = Bench::new(READINGS).take("a.csv", file).unwrap();
    assert_eq!(taken.accepted(), 1);
    assert_eq!(taken.told()[0], (3, "station".to_owned(), "S\u{fffd}".to_owned(), "NotUtf8".to_owned()));
    assert_eq!(taken.rejects.len(), 2);
}

#[test]
fn an_invalid_value_may_become_null() {
    let rows = "S1,2020-05-01T10:00:00,490,many,true,\nS1,2020-05-01T11:00:00,20,-1,true,\nS1,2020-05-01T12:00:00,30,1,true,\n";
    let bench = Bench::new(&READINGS.replace("filter: ok", "filter: count IS NULL OR count > 0"));
    let taken = bench.take("a.csv", format!("{HEADER}{rows}")).unwrap();
    assert_eq!((taken.accepted(), taken.rejects.len()), (3, 0));
    assert_eq!(taken.measure("twice"), [None, Some(400), Some(600)]);
}

#[test]
fn filtered_rows_are_counted_and_no_later_step_rejects_them() {
    let rows = "S1,2020-05-01T10:00:00,1,1,false,\nS9,2020-05-01T10:00:00,1,1,false,\nS1,2020-05-01T10:00:00,,1,,\nS1,2020-05-01T10:00:00,2,1,true,\n";
    let contract = READINGS
        .replace("unknown: reject", "unknown: nowhere")
        .replace("twice: level * 2", "twice: {sql: level * 2, min: 3}");
    let taken = Bench::new(&contract).take("a.csv", format!("{HEADER}{rows}")).unwrap();
    assert_eq!((taken.accepted(), taken.filtered, taken.told()), (1, 3, Vec::new()));
}

#[test]
fn a_file_of_other_columns_is_refused_with_what_is_there() {
    let bench = Bench::new(READINGS);
    let message = |content: &str| {
        let error = bench.take("a.csv", content).unwrap_err();
        assert_eq!(error.fault(), Fault::File);
        error.to_string()
    };
    assert_eq!(
        message("Station,when,level,count,ok\n"),
        "the file does not have `When` (did you mean `when`?), `station` (did you mean `Station`?); \
         it has Station, when, level, count, ok"
    );
    let error = message("7,secret,2020-05-01\n");
    assert!(error.contains("`station`") && error.contains("no header line"), "{error}");
    assert!(!error.contains("secret"), "a first line that may be a row is not quoted: {error}");
    assert!(message("station;When;level;count;ok\n").contains("is the delimiter right"));
    assert_eq!(
        message("station,When,level,count,ok,ok\n"),
        "the file has more than one column `ok`; the contract cannot tell which is meant"
    );
}

#[test]
fn a_file_of_which_no_row_can_be_read_is_refused_and_shows_why() {
    let bench = Bench::new(READINGS);
    let path = bench.file("a.csv", format!("{HEADER}S1,yesterday,1,1,true,\nS1,canary,1,1,true,\n"));
    let spool = Spool::open(&path, "a.csv").unwrap();
    let mut told = Vec::new();
    let error = fit(&bench.recipe, &spool, NOW, &mut |reject| told.push(reject.clone())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the first 2 rows fits the contract; line 2, column `at`: not a time as the contract writes it"
    );
    assert_eq!(told.len(), 2);
    assert!(!format!("{error:?} {told:?}").contains("canary"));
    // out of range is another matter: the file fits, its rows are too old
    assert_eq!(bench.take("a.csv", format!("{HEADER}S1,2019-01-01,1,1,true,\n")).unwrap().rejects.len(), 1);
    // and no row at all is no fault
    assert_eq!(bench.take("a.csv", HEADER).unwrap().rows, 0);
}

#[test]
fn files_of_other_kinds_say_what_they_are() {
    let bench = Bench::new(READINGS);
    let message = |name: &str, content: &[u8]| bench.take(name, content).unwrap_err().to_string();
    assert_eq!(message("a.csv", b""), "the file is empty");
    assert_eq!(message("a.csv", b" \n\n"), "the file is empty");
    assert!(message("a.csv", b"PK\x03\x04....").contains("Excel"));
    assert!(message("a.csv", b"\xff\xfea\x00").contains("UTF-16"));
    assert!(message("a.json", b"[{\"a\":1}]").contains("NDJSON"));
    assert!(message("a.parquet", b"a,b\n").contains("damaged"));
    assert!(message("a.csv.gz", &[0x1f, 0x8b, 8, 0]).contains("cut short"));
}

#[test]
fn a_division_by_zero_costs_its_row_and_an_overflow_too() {
    let contract = READINGS.replace("twice: level * 2", "twice: {sql: CAST(100 AS BIGINT) % count, type: number}");
    let file = |counts: &[&str]| {
        let row = |count: &&str| format!("S1,2020-05-01T10:00:00,1,{count},true,\n");
        format!("{HEADER}{}", counts.iter().map(row).collect::<String>())
    };
    let taken = Bench::new(&contract).take("a.csv", file(&["3", "0", "8", "0"])).unwrap();
    assert_eq!(taken.measure("twice"), [Some(10), Some(40)]);
    let lines: Vec<_> = taken.rejects.iter().map(|reject| (reject.line, reject.reason.as_str())).collect();
    assert_eq!(lines, [(3, "the expression fails on this row"), (5, "the expression fails on this row")]);

    let contract = READINGS.replace("twice: level * 2", "twice: {sql: count * 4, type: integer}");
    let taken = Bench::new(&contract).take("a.csv", file(&["9223372036854775807", "2"])).unwrap();
    assert_eq!((taken.measure("twice"), taken.rejects.len()), (vec![Some(80)], 1), "no sum wraps around in silence");

    let contract = READINGS.replace("twice: level * 2", "twice: level / count");
    let taken = Bench::new(&contract).take("a.csv", file(&["0", "2"])).unwrap();
    assert_eq!(taken.told(), [(2, "twice".to_owned(), "inf".to_owned(), "NotNumber".to_owned())]);
}

#[test]
fn a_division_that_would_drop_its_remainder_is_refused() {
    let contract =
        |sql: &str| READINGS.replace("twice: level * 2", &format!("twice: {{sql: \"{sql}\", type: number}}"));
    let message = |contract: &str| {
        let error = Bench::try_new(contract).err().unwrap();
        assert_eq!(error.fault(), Fault::Contract);
        error.to_string()
    };
    let told = message(&contract("count / (count + 1)"));
    assert!(told.ends_with("write CAST(count AS DOUBLE) / (count + 1)"), "{told}");
    for sql in
        ["7 / 2", "level + count / 2", "CAST(count / 2 AS BIGINT)", "CAST(level AS BIGINT) / extract(hour from at)"]
    {
        assert!(message(&contract(sql)).contains("drop the remainder"), "{sql}");
    }
    assert!(message(&READINGS.replace("filter: ok", "filter: count / 2 > 0")).contains("drop the remainder"));
    for sql in ["CAST(count AS DOUBLE) / 2", "count / 2.0", "level / count", "count % 2"] {
        Bench::new(&contract(sql));
    }
    let taken = Bench::new(&contract("CAST(count AS DOUBLE) / 4"));
    let taken = taken.take("a.csv", format!("{HEADER}S1,2020-05-01T10:00:00,1,3,true,\n")).unwrap();
    assert_eq!(taken.measure("twice"), [Some(8)], "0.75 with one decimal");
}

#[test]
fn functions_that_are_planned_as_others_are_computed_too() {
    for (sql, told) in [
        ("coalesce(nullif(level, 1), 7)", [Some(70), Some(20)]),
        ("nvl(nullif(level, 1), 7)", [Some(70), Some(20)]),
        ("nvl2(nullif(level, 1), 3, 4)", [Some(40), Some(30)]),
        ("coalesce(nullif(level, 1), coalesce(nullif(level, 1), 5))", [Some(50), Some(20)]),
        ("arrow_cast(level, 'Int64')", [Some(10), Some(20)]),
    ] {
        let contract = READINGS.replace("twice: level * 2", &format!("twice: {{sql: \"{sql}\"}}"));
        let rows = "S1,2020-05-01T10:00:00,1,1,true,\nS1,2020-05-01T10:00:01,2,1,true,\n";
        let taken = Bench::new(&contract).take("a.csv", format!("{HEADER}{rows}")).unwrap();
        assert_eq!((taken.measure("twice"), taken.rejects.len()), (told.to_vec(), 0), "{sql}");
    }
}

#[test]
fn expressions_are_pure_functions_of_the_row() {
    let message = |sql: &str| {
        let contract = READINGS.replace("twice: level * 2", &format!("twice: {{sql: \"{sql}\"}}"));
        let error = Bench::try_new(&contract).err().unwrap();
        assert_eq!(error.fault(), Fault::Contract);
        error.to_string()
    };
    assert!(message("extract(epoch from now())").contains("`now` may give another result"));
    assert!(message("random()").contains("`random` may give another result"));
    assert!(message("sum(level)").contains("`sum` is an aggregate"));
    assert!(message("row_number() over ()").contains("one row"));
    assert!(message("(select 1)").contains("subquery"));
    assert!(message("level +").starts_with("twice: "));
    assert!(message("speed * 2").contains("speed"));
    assert!(message("station").contains("the contract says a number, and the SQL gives"));
    assert!(message("at - at").contains("extract(epoch from"));
    assert!(message("nonesuch(level)").contains("nonesuch"));
}

#[test]
fn times_subtract_and_follow_the_clock_of_the_contract() {
    let contract = READINGS
        .replace("      ok: boolean\n", "      ok: boolean\n      until: timestamp\n")
        .replace("twice: level * 2", "twice: {sql: extract(epoch from until - at)}")
        .replace("max: 900, invalid: null", "max: 900");
    let header = HEADER.replace("remark", "until");
    // the clocks go forward in between
    let rows =
        "S1,2020-03-29T01:59:00,1,1,true,2020-03-29T03:01:30\nS1,2020-03-29T01:59:00,1,1,true,2020-03-29T01:58:59.5\n";
    let taken = Bench::new(&contract).take("a.csv", format!("{header}{rows}")).unwrap();
    assert_eq!(taken.measure("twice"), [Some(1_500), Some(-5)]);

    let contract = READINGS.replace("twice: level * 2", "twice: {sql: extract(hour from at)}");
    let taken = Bench::new(&contract).take("a.csv", format!("{HEADER}S1,2020-05-01T10:00:00Z,1,1,true,\n")).unwrap();
    assert_eq!(taken.measure("twice"), [Some(120)], "the hour in Copenhagen");

    let contract = READINGS.replace("filter: ok", "filter: at < '2020-05-01' AND date_trunc('day', at) < '2020-05-01'");
    let rows = "S1,2020-04-30T21:59:00Z,1,1,true,\nS1,2020-04-30T22:00:00Z,1,1,true,\n";
    let taken = Bench::new(&contract).take("a.csv", format!("{HEADER}{rows}")).unwrap();
    assert_eq!((taken.times(), taken.filtered), (vec!["2020-04-30T21:59:00Z".to_owned()], 1));
}

#[test]
fn keys_tell_repeated_rows_from_corrected_ones() {
    let rows = "S1,2020-05-01T10:00:00,1,1,true,a\nS1,2020-05-01T10:00:00,1.001,1,true,b\nS1,2020-05-01T10:00:00,2,1,true,c\nS2,2020-05-01T10:00:00,1,1,true,d\n";
    let taken = Bench::new(READINGS).take("a.csv", format!("{HEADER}{rows}")).unwrap();
    let identities: Vec<(Vec<u8>, Vec<u8>)> = taken
        .observations
        .iter()
        .flat_map(|part| {
            let (keys, contents) = (part.keys().unwrap(), part.contents().unwrap());
            (0..part.rows()).map(|row| (keys.value(row).to_vec(), contents.value(row).to_vec())).collect::<Vec<_>>()
        })
        .collect();
    let [first, rounds_alike, corrected, other] = identities.as_slice() else { panic!() };
    assert_eq!(first, rounds_alike, "what is stored of them is the same");
    assert_eq!(first.0, corrected.0);
    assert_ne!(first.1, corrected.1);
    assert_ne!(first.0, other.0);
}

#[test]
fn contributors_are_counted_or_hashed() {
    let threshold = READINGS
        .replace("method: open, reason: Sensors are no persons, approver", "method: threshold, k: 10, approver")
        .replace("max: 900, invalid: null", "max: 900");
    let rows = "S1,2020-05-01T10:00:00,1,4,true,\nS1,2020-05-01T10:00:00,1,,true,\n";
    let by_count = Bench::new(&threshold.replace("contributor: none", "contributor: {count: count}"));
    let taken = by_count.take("a.csv", format!("{HEADER}{rows}")).unwrap();
    assert_eq!(taken.observations[0].counts().unwrap().values(), &[4]);
    assert_eq!(taken.told(), [(3, "count".to_owned(), String::new(), "Missing".to_owned())]);

    let by_column = Bench::new(&threshold.replace("contributor: none", "contributor: {column: station}"));
    let taken = by_column.take("a.csv", format!("{HEADER}{rows}")).unwrap();
    let hashes = taken.observations[0].contributor().unwrap();
    assert_eq!(hashes.value(0), hashes.value(1));
}

#[test]
fn a_file_without_header_is_read_by_position() {
    let contract = READINGS
        .replace("header: true, delimiter: \",\"", "header: false, delimiter: \";\"")
        .replace("at: {type: timestamp, from: When}", "at: {type: timestamp, at: 2}")
        .replace("station: {type: text, required: true}", "station: {type: text, required: true, at: 1}")
        .replace("level: {type: number,", "level: {type: number, at: 4,")
        .replace("count: {type: integer,", "count: {type: integer, at: 3,")
        .replace("ok: boolean", "ok: {type: boolean, at: 5}");
    let bench = Bench::new(&contract);
    let taken = bench.take("a.csv", "S1;2020-05-01;1;2.5;yes\nS1;2020-05-01;1;2.5\nS2;2020-05-01;1;3;yes\n").unwrap();
    assert_eq!(taken.measure("level"), [Some(250), Some(300)]);
    assert_eq!(taken.told()[0].0, 2);
    let error = bench.take("a.csv", "S1,2020-05-01,1,2.5,yes\n").unwrap_err().to_string();
    assert_eq!(error, "the contract takes the file's column 5, and the file has 1; is the delimiter right?");
    let error = bench.take("a.ndjson", "{\"a\":1}\n").unwrap_err().to_string();
    assert!(error.contains("NDJSON has none"), "{error}");
}
