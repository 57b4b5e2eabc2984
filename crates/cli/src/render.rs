//! Answers for people and for scripts: a table with units of reading in mind, or JSON, CSV, Parquet to the last digit.

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, SchemaRef, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use civicmesh_node::query::LACKS;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::io::Write;
use std::sync::Arc;

/// A bare table in the house's style, aligned for reading.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The rows of an answer as a table for people: numbers to the right, midnights as dates, floats to four decimals.
pub fn rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Table> {
    let names: Vec<String> = schema.fields().iter().map(|field| header(field)).collect();
    let mut table = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let texts: Vec<Vec<String>> =
        (0..names.len()).map(|column| column_texts(batches, column)).collect::<Result<_>>()?;
    for row in 0..texts.first().map_or(0, Vec::len) {
        table.add_row(texts.iter().map(|column| column[row].as_str()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if schema.field(index).data_type().is_numeric() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

/// A column's name, with a star where its figures lack cells or windows.
fn header(field: &Field) -> String {
    match lacks(field) {
        true => format!("{} *", field.name()),
        false => field.name().clone(),
    }
}

fn lacks(field: &Field) -> bool {
    field.metadata().contains_key(LACKS)
}

/// What the star at a column means, if there is one.
pub fn legend(schema: &SchemaRef) -> Option<&'static str> {
    let marked = schema.fields().iter().any(|field| lacks(field));
    marked.then_some("* not exact: computed from cells of which some are missing, as said below")
}

/// One column of an answer as texts.
pub fn column_texts(batches: &[RecordBatch], column: usize) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for batch in batches {
        let array = batch.column(column).as_ref();
        match array.data_type() {
            DataType::Float64 => texts.extend(array.as_primitive::<Float64Type>().iter().map(float)),
            _ => {
                let options =
                    FormatOptions::default().with_null("–").with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S %Z"));
                let formatter = ArrayFormatter::try_new(array, &options)?;
                texts.extend((0..array.len()).map(|row| formatter.value(row).to_string()));
            }
        }
    }
    if let Some(first) = batches.first()
        && is_timestamp(first.column(column).data_type())
        && texts.iter().all(|text| text == "–" || text.contains(" 00:00:00 "))
    {
        for text in &mut texts {
            text.truncate(text.find(' ').unwrap_or(text.len()));
        }
    }
    Ok(texts)
}

fn is_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(_, Some(_)))
}

/// A Float64 to four decimals, without trailing zeros.
pub fn float(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.is_finite() && value.abs() < 1e15 => {
            let text = format!("{value:.4}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            if text == "-0" { "0".to_owned() } else { text.to_owned() }
        }
        Some(value) => value.to_string(),
    }
}

/// The rows as the text of a JSON array of objects, a row a line, numbers to the last digit: a JSON value would hold
/// decimals as floats.
pub fn json_rows(batches: &[RecordBatch]) -> Result<String> {
    let mut bytes = Vec::new();
    let mut writer = arrow::json::writer::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut bytes);
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let text = String::from_utf8(bytes).context("the answer's rows are not text")?;
    Ok(format!("[{}]", text.lines().collect::<Vec<_>>().join(",\n")))
}

/// The rows as CSV with a header.
pub fn csv(batches: &[RecordBatch], out: impl Write) -> Result<()> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(())
}

/// The rows as one Parquet file.
pub fn parquet(schema: &SchemaRef, batches: &[RecordBatch], out: impl Write + Send) -> Result<()> {
    let mut writer = parquet::arrow::ArrowWriter::try_new(out, Arc::clone(schema), None)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

/// A time in microseconds since the epoch, in a zone: the date alone when it is midnight there.
pub fn moment(batch_zone: &str, micros: i64) -> String {
    let array = arrow::array::PrimitiveArray::<TimestampMicrosecondType>::from(vec![micros]).with_timezone(batch_zone);
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S"));
    match ArrayFormatter::try_new(&array, &options) {
        Ok(formatter) => formatter.value(0).to_string().trim_end_matches(" 00:00:00").to_owned(),
        Err(_) => micros.to_string(),
    }
}

/// A number of bytes for people.
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A stretch of time in words: the two largest units that say it.
pub fn stretch(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        ..1 => format!("{} ms", (micros / 1_000).max(0)),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, StringArray, TimestampMicrosecondArray};

    fn batch() -> RecordBatch {
        let midnight = TimestampMicrosecondArray::from(vec![1_582_520_400_000_000]).with_timezone("America/New_York");
        RecordBatch::try_from_iter([
            ("week", Arc::new(midnight) as ArrayRef),
            ("mph", Arc::new(Float64Array::from(vec![11.512_345_6])) as ArrayRef),
            ("borough", Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef),
        ])
        .expect("a batch")
    }

    #[test]
    fn a_table_reads_well_and_json_keeps_every_digit() {
        let text = rows(&batch().schema(), &[batch()]).expect("a table").to_string();
        assert!(text.contains("2020-02-24") && !text.contains("00:00:00"), "{text}");
        assert!(text.contains("11.5123") && text.contains('–'), "{text}");
        let wide = Decimal128Array::from(vec![639_890_807_934_792_804_384]).with_precision_and_scale(38, 2);
        let wide = Arc::new(wide.expect("it fits")) as ArrayRef;
        let json = json_rows(&[RecordBatch::try_from_iter([("sum", wide)]).expect("a batch")]).expect("JSON");
        assert_eq!(json, r#"[{"sum":6398908079347928043.84}]"#);
        let json = json_rows(&[batch(), batch()]).expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json[1]["mph"], 11.512_345_6);
        assert!(json[0]["borough"].is_null());
        assert_eq!(json_rows(&[]).expect("JSON"), "[]");
    }

    #[test]
    fn a_figure_that_lacks_cells_is_marked_beside_it() {
        let batch = batch();
        let given = batch.schema();
        assert_eq!(legend(&given), None);
        let fields = given.fields().iter().map(|field| match field.name().as_str() {
            "mph" => Arc::new(field.as_ref().clone().with_metadata([(LACKS.into(), "traffic.taxi".into())].into())),
            _ => field.clone(),
        });
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let text = rows(&schema, &[batch]).expect("a table").to_string();
        assert!(text.contains("mph *") && !text.contains("week *") && !text.contains("borough *"), "{text}");
        assert!(legend(&schema).is_some());
    }

    #[test]
    fn stretches_are_said_in_their_largest_unit() {
        assert_eq!(stretch(1_500), "1 ms");
        assert_eq!(stretch(90_000_000), "90 s");
        assert_eq!(stretch(600_000_000), "10 min");
        assert_eq!(stretch(3 * 86_400_000_000), "3 days");
    }
}
