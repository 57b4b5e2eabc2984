//! A department's own rows as plain columns, for its own terminal: what a question gives without the city.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use civicmesh_exchange::link::Clock;
use civicmesh_model::contract::Contract;
use civicmesh_model::time::Zone;

use super::error::IngestError;
use super::recipe::Recipe;
use super::rows::Rows;
use super::run::{APPEND_ROWS, read_chunk};
use super::spool::Spool;

/// The rows of `files` that an ingest under `contract`, of which `recipe` is made, accepts now. Columns are named as
/// the product's: its time column in the zone of the city, dimensions as text, measures as Float64. Of rows with one
/// key the last counts.
pub fn read_all(
    recipe: &Recipe,
    contract: &Contract,
    city: Zone,
    files: &[PathBuf],
    clock: &dyn Clock,
) -> Result<Vec<RecordBatch>, IngestError> {
    let schema = schema(recipe, contract, city);
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut kept: Vec<Vec<bool>> = Vec::new();
    let mut last: HashMap<Vec<u8>, (usize, usize)> = HashMap::new();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let spool = Spool::open(file, &name)?;
        let mut rows = Rows::open(&spool, &recipe.dataset)?;
        let mut table = recipe.table()?;
        while read_chunk(&mut rows, &mut table, APPEND_ROWS, clock.now())? {
            let mut chunk = table.take();
            recipe.apply(&mut chunk)?;
            let shaped = recipe.outputs.shape(&mut chunk)?;
            let mut keep = vec![true; chunk.len()];
            if let Some((keys, _)) = &shaped.identity {
                for (row, key) in keys.as_fixed_size_binary().iter().flatten().enumerate() {
                    match last.insert(key.to_vec(), (batches.len(), row)) {
                        Some((batch, row)) if batch == batches.len() => keep[row] = false,
                        Some((batch, row)) => kept[batch][row] = false,
                        None => {}
                    }
                }
            }
            let time = cast(&shaped.time, schema.field(0).data_type());
            let mut columns = vec![time.map_err(|_| IngestError::Contract("the zone of the city".to_owned()))?];
            columns.extend(shaped.dimensions);
            let decimals = recipe.outputs.layout.measures.iter().map(|measure| measure.decimals);
            columns.extend(shaped.measures.iter().zip(decimals).map(|(values, decimals)| plain(values, decimals)));
            let batch = RecordBatch::try_new(schema.clone(), columns);
            batches.push(
                batch.map_err(|_| IngestError::Contract("columns of other types than the product's".to_owned()))?,
            );
            kept.push(keep);
        }
    }
    let kept = batches.iter().zip(kept).map(|(batch, keep)| filter_record_batch(batch, &BooleanArray::from(keep)));
    Ok(kept.map(|batch| batch.expect("one flag a row")).collect())
}

fn schema(recipe: &Recipe, contract: &Contract, city: Zone) -> SchemaRef {
    let layout = &recipe.outputs.layout;
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(city.name().into()));
    let mut fields = vec![Field::new(&contract.time_column, time, false)];
    fields.extend(layout.dimensions.iter().map(|name| Field::new(name, DataType::Utf8, false)));
    fields.extend(layout.measures.iter().map(|measure| Field::new(&measure.name, DataType::Float64, true)));
    Arc::new(Schema::new(fields))
}

/// Scaled integers as the Float64 nearest to the decimal that they stand for: both sides of the division are exact, and
/// it rounds once.
fn plain(scaled: &ArrayRef, decimals: u8) -> ArrayRef {
    let scale = 10_f64.powi(decimals.into());
    let numbers: Float64Array = scaled.as_primitive::<Int64Type>().unary(|value| value as f64 / scale);
    Arc::new(numbers)
}
