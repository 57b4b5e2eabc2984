//! The demonstration's question, and the same SQL over all raw rows in one process.

use super::nodes::Department;
use crate::render;
use anyhow::Result;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use comfy_table::{CellAlignment, Table};
use std::path::Path;

/// How fast did traffic move, how full was transit, how ill was the city, how cold: week by week as the city closed.
pub const SQL: &str = "\
WITH t AS (SELECT date_trunc('week', time) AS week, avg(speed) AS mph, stddev(speed) AS spread FROM traffic.taxi WHERE time >= '2020-02-24' AND time < '2020-05-11' GROUP BY 1),
     s AS (SELECT date_trunc('week', time) AS week, avg(subway_riders) AS riders FROM transit.ridership GROUP BY 1),
     e AS (SELECT date_trunc('week', time) AS week, sum(visits) AS visits FROM health.emergency GROUP BY 1),
     w AS (SELECT date_trunc('week', time) AS week, avg(temp) AS celsius FROM weather.daily GROUP BY 1)
SELECT * FROM t LEFT JOIN s USING (week) LEFT JOIN e USING (week) LEFT JOIN w USING (week) ORDER BY week";

/// Two figures are the same when they differ by less than this share: one engine adds floats, the other integers.
const SAME_SHARE_MAX: f64 = 1e-9;

/// What the same SQL gives over every accepted raw row, all in one process.
pub async fn over_raw_rows(files: &Path, departments: &[Department]) -> Result<Vec<RecordBatch>> {
    let mut sources = Vec::new();
    for department in departments {
        let folder = files.join(department.domain);
        let contract = folder.join(department.contracts[0]);
        let feed = folder.join(department.feeds[0].1);
        sources.push((contract, vec![feed]));
    }
    Ok(civicmesh_node::raw::answer(SQL, &sources, super::TIMEZONE.parse()?).await?)
}

/// One table: each figure of the answer, and beside it `=` or what the raw rows give.
pub fn beside(answer: &[RecordBatch], raw: &[RecordBatch]) -> Result<Table> {
    let schema = answer[0].schema();
    let mut header = vec![schema.field(0).name().clone()];
    let mut columns = vec![render::column_texts(answer, 0)?];
    for column in 1..schema.fields().len() {
        let (ours, theirs) = (floats(answer, column)?, floats(raw, column)?);
        header.extend([schema.field(column).name().clone(), "raw".to_owned()]);
        columns.push(ours.iter().map(|value| figure(*value)).collect());
        columns.push(ours.iter().zip(&theirs).map(|(ours, theirs)| compared(*ours, *theirs)).collect());
    }
    let mut table = render::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for row in 0..columns[0].len() {
        table.add_row(columns.iter().map(|column| column[row].as_str()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index % 2 == 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

fn floats(batches: &[RecordBatch], column: usize) -> Result<Vec<Option<f64>>> {
    let mut values = Vec::new();
    for batch in batches {
        let array = cast(batch.column(column), &DataType::Float64)?;
        values.extend(array.as_primitive::<Float64Type>().iter());
    }
    Ok(values)
}

fn compared(ours: Option<f64>, theirs: Option<f64>) -> String {
    let same = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= SAME_SHARE_MAX * theirs.abs(),
        (None, None) => true,
        _ => false,
    };
    if same { "=".to_owned() } else { figure(theirs) }
}

/// A figure as people read it: two decimals, thousands apart, no decimals where they say nothing.
fn figure(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    if value.abs() < 1_000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well_and_only_true_differences_show() {
        assert_eq!(figure(Some(11.512_3)), "11.51");
        assert_eq!(figure(Some(5_329_915.4)), "5,329,915");
        assert_eq!(figure(Some(-1_234.0)), "-1,234");
        assert_eq!(compared(Some(1.0), Some(1.0 + 1e-15)), "=");
        assert_eq!(compared(Some(11.51), Some(11.55)), "11.55");
        assert_eq!(compared(None, Some(3.0)), "3.00");
    }
}
