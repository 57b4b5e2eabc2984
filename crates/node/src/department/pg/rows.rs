//! Answers as PostgreSQL's rows, one after another.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use civicmesh_model::time::Zone;
use civicmesh_query::Answer;
use datafusion_postgres::arrow_pg::datatypes::arrow_schema_to_pg_fields;
use datafusion_postgres::arrow_pg::encoder::encode_value;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::data::DataRow;

use datafusion_postgres::pgwire::types::ToSqlText;
use postgres_types::ToSql;

use super::cell::{Infinite, Instant, Null, Numeric};
use super::failure::refuse;
use crate::department::outgoing::Room;

/// The types of a schema as they go over the wire: what PostgreSQL has no type for becomes one that it has.
pub(super) fn on_the_wire(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<arrow::datatypes::Field>| match field.data_type() {
        DataType::Timestamp(_, zone) => {
            field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::UInt64 => field.as_ref().clone().with_data_type(DataType::Decimal128(20, 0)),
        DataType::Dictionary(_, value) => field.as_ref().clone().with_data_type(value.as_ref().clone()),
        DataType::Null | DataType::Struct(_) | DataType::Map(..) | DataType::Decimal256(..) => {
            field.as_ref().clone().with_data_type(DataType::Utf8)
        }
        _ => field.as_ref().clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The columns as the client is told of them.
///
/// # Errors
/// It asks for more or fewer formats than there are columns, or a column has a type that PostgreSQL does not.
pub(super) fn fields(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    if let Format::Individual(formats) = format
        && formats.len() != schema.fields().len()
    {
        let (formats, columns) = (formats.len(), schema.fields().len());
        return Err(refuse("08P01", format!("{formats} formats for an answer of {columns} columns")));
    }
    let fields = arrow_schema_to_pg_fields(schema, format, None)?.into_iter().zip(schema.fields());
    Ok(fields.map(|(field, arrow)| modified(field, arrow.data_type())).collect())
}

/// The field with its type's size and modifier.
fn modified(field: FieldInfo, kind: &DataType) -> FieldInfo {
    let size = match kind {
        DataType::Boolean => 1,
        DataType::Int16 => 2,
        DataType::Int32 | DataType::Float32 | DataType::Date32 => 4,
        DataType::Int64 | DataType::Float64 | DataType::Timestamp(..) => 8,
        _ => -1,
    };
    match kind {
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            let modifier = (i32::from(*precision) << 16) + i32::from(*scale) + 4;
            field.with_type_size(size).with_type_modifier(modifier)
        }
        _ => field.with_type_size(size),
    }
}

/// The rows of an answer.
pub(super) struct Rows {
    fields: Arc<Vec<FieldInfo>>,
    schema: SchemaRef,
    zone: Zone,
    batches: VecDeque<RecordBatch>,
    row: usize,
    encoder: DataRowEncoder,
    /// The room that the answer takes until it is read.
    _room: Room,
}

impl Rows {
    /// The rows of an answer whose columns the client was told to be `schema`, in these formats. Times are told by the
    /// clocks of `zone`.
    ///
    /// # Errors
    /// As in [`fields`]; or the answer has other columns.
    pub(super) fn new(
        answer: &Answer,
        schema: &SchemaRef,
        format: &Format,
        zone: Zone,
        room: Room,
    ) -> PgWireResult<Rows> {
        let kinds = |schema: &Schema| -> Vec<DataType> {
            schema.fields().iter().map(|field| field.data_type().clone()).collect()
        };
        if kinds(&on_the_wire(&answer.schema)) != kinds(schema) {
            let text = "the types of the answer's columns depend on the parameters: write casts";
            return Err(refuse("0A000", text));
        }
        let fields = Arc::new(fields(schema, format)?);
        let batches = answer.batches.iter().map(|batch| wired(batch, schema)).collect::<PgWireResult<_>>()?;
        let (encoder, schema) = (DataRowEncoder::new(fields.clone()), schema.clone());
        Ok(Rows { fields, schema, zone, batches, row: 0, encoder, _room: room })
    }

    /// The columns.
    pub(super) fn fields(&self) -> Arc<Vec<FieldInfo>> {
        self.fields.clone()
    }

    /// Writes the rows that are left in these formats.
    ///
    /// # Errors
    /// As in [`fields`].
    pub(super) fn write_in(&mut self, format: &Format) -> PgWireResult<()> {
        self.fields = Arc::new(fields(&self.schema, format)?);
        self.encoder = DataRowEncoder::new(self.fields.clone());
        Ok(())
    }

    fn encode(&mut self) -> PgWireResult<DataRow> {
        let Some(batch) = self.batches.front() else { return Err(refuse("XX000", "a row beyond the last")) };
        for ((column, field), arrow) in batch.columns().iter().zip(self.fields.iter()).zip(self.schema.fields()) {
            let row = self.row;
            if column.is_null(row) {
                written(&mut self.encoder, field, &Null)?;
                continue;
            }
            match arrow.data_type() {
                DataType::Decimal128(_, scale) if *scale >= 0 => {
                    let unscaled = column.as_primitive::<Decimal128Type>().value(row);
                    written(&mut self.encoder, field, &Numeric { unscaled, scale: u32::from(scale.unsigned_abs()) })?;
                }
                DataType::Timestamp(_, Some(_)) => {
                    let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
                    written(&mut self.encoder, field, &Instant { micros, zone: self.zone })?;
                }
                DataType::Float64 if column.as_primitive::<Float64Type>().value(row).is_infinite() => {
                    written(&mut self.encoder, field, &Infinite(column.as_primitive::<Float64Type>().value(row)))?;
                }
                _ => encode_value(&mut self.encoder, column, row, arrow, field)?,
            }
        }
        Ok(self.encoder.take_row())
    }
}

/// Writes a value as the column is told to be written.
fn written(encoder: &mut DataRowEncoder, field: &FieldInfo, value: &(impl ToSql + ToSqlText)) -> PgWireResult<()> {
    encoder.encode_field_with_type_and_format(value, field.datatype(), field.format(), field.format_options())
}

/// The batch with its columns as they go over the wire.
fn wired(batch: &RecordBatch, schema: &SchemaRef) -> PgWireResult<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
        kind if column.data_type() == kind => Ok(column.clone()),
        kind => cast(column, kind).map_err(|_| refuse("22000", format!("{} cannot be written", field.name()))),
    });
    let columns = columns.collect::<PgWireResult<_>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|_| refuse("XX000", "the answer's rows cannot be written"))
}

impl Iterator for Rows {
    type Item = PgWireResult<DataRow>;

    fn next(&mut self) -> Option<PgWireResult<DataRow>> {
        while self.row >= self.batches.front()?.num_rows() {
            self.batches.pop_front();
            self.row = 0;
        }
        let row = self.encode();
        self.row += 1;
        Some(row)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, IntervalMonthDayNanoArray};
    use arrow::datatypes::{Field, IntervalUnit};

    /// The rows 0, 1, 2 … of an answer of one column.
    pub(in crate::department::pg) fn numbers(count: i64, room: Room) -> Rows {
        rows("n", Arc::new(Int64Array::from_iter_values(0..count)), room)
    }

    fn rows(name: &str, column: arrow::array::ArrayRef, room: Room) -> Rows {
        let schema = Arc::new(Schema::new(vec![Field::new(name, column.data_type().clone(), true)]));
        let batches = VecDeque::from([RecordBatch::try_new(schema.clone(), vec![column]).unwrap()]);
        let fields = Arc::new(fields(&schema, &Format::UnifiedText).unwrap());
        let encoder = DataRowEncoder::new(fields.clone());
        Rows { fields, schema, zone: "UTC".parse().unwrap(), batches, row: 0, encoder, _room: room }
    }

    fn texts(column: arrow::array::ArrayRef) -> Vec<Option<String>> {
        let outgoing = crate::department::Outgoing::new(1, std::time::Duration::MAX);
        let row = |row: PgWireResult<DataRow>| {
            let data = row.unwrap().data;
            let (length, text) = data.split_at(4);
            let length = i32::from_be_bytes(length.try_into().unwrap());
            (length >= 0).then(|| String::from_utf8(text.to_vec()).unwrap())
        };
        rows("x", column, outgoing.take(1).unwrap()).map(row).collect()
    }

    #[test]
    fn a_null_is_null_and_infinity_is_told_in_postgresqls_word() {
        let interval = IntervalMonthDayNanoArray::from(vec![None]);
        assert_eq!(interval.data_type(), &DataType::Interval(IntervalUnit::MonthDayNano));
        assert_eq!(texts(Arc::new(interval)), [None]);
        let reals = Float64Array::from(vec![Some(f64::INFINITY), Some(f64::NEG_INFINITY), None, Some(1.5)]);
        let told = [Some("Infinity"), Some("-Infinity"), None, Some("1.5")].map(|text| text.map(str::to_owned));
        assert_eq!(texts(Arc::new(reals)), told);
    }
}
