//! The batch itself.

use crate::layout::{
    CONTENT, CONTRIBUTOR, CONTRIBUTORS, KEY, TIME, decimals, dimension_column, distinct_column, measure_column,
};
use crate::{Layout, ObservationError};
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{max, min, take, take_record_batch};
use arrow::datatypes::{Int64Type, UInt32Type};
use civicmesh_model::number::DIGITS_MAX;
use std::fmt;
use std::sync::Arc;

const MEASURE_MAX: i64 = 10_i64.pow(DIGITS_MAX) - 1;

/// Raw rows of one dataset, as columns. They never leave the domain.
#[derive(Clone)]
pub struct Observations(RecordBatch);

impl Observations {
    /// Takes `batch` for observations after checking that it has the columns of `layout`, no null where a value
    /// must be, no measure beyond twelve digits and no negative count.
    pub fn new(batch: RecordBatch, layout: &Layout) -> Result<Self, ObservationError> {
        layout.check(batch.schema_ref())?;
        let schema = layout.schema();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if !field.is_nullable() && holds_null(column) {
                return Err(ObservationError::Null { column: field.name().clone() });
            }
            if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
                let (least, most) = (min(numbers).unwrap_or(0), max(numbers).unwrap_or(0));
                let column = field.name();
                if column == CONTRIBUTORS && least < 0 {
                    return Err(ObservationError::NegativeCount { column: column.clone() });
                }
                if least < -MEASURE_MAX || most > MEASURE_MAX {
                    return Err(ObservationError::Digits { column: column.clone() });
                }
            }
        }
        // The layout's own schema, so that nothing a caller adds to his (metadata, nullability) is stored.
        let batch = batch.with_schema(schema).map_err(|_| ObservationError::Block("its schema does not fit"))?;
        Ok(Self(batch))
    }

    pub(crate) fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0.num_rows()
    }

    /// Bytes that the columns take in memory.
    pub fn memory_bytes(&self) -> usize {
        self.0.get_array_memory_size()
    }

    /// Event times, in microseconds since 1970 UTC.
    pub fn times(&self) -> &TimestampMicrosecondArray {
        self.column(TIME).and_then(|column| column.as_primitive_opt()).expect("`new` found the time column")
    }

    /// The values of a dimension; no nulls. None where these rows do not have it.
    pub fn dimension(&self, name: &str) -> Option<&DictionaryArray<UInt32Type>> {
        self.column(&dimension_column(name))?.as_dictionary_opt()
    }

    /// A measure, scaled by its decimals. None where these rows do not have it.
    pub fn measure(&self, name: &str) -> Option<&Int64Array> {
        self.column(&measure_column(name))?.as_primitive_opt()
    }

    /// The decimals with which a measure was written: a contract with others must not read it.
    pub fn decimals(&self, name: &str) -> Option<u8> {
        self.0.schema_ref().field_with_name(&measure_column(name)).ok().and_then(decimals)
    }

    /// Keyed hashes of the values of a column whose distinct values are counted. None where these rows do not have it.
    pub fn distinct(&self, name: &str) -> Option<&FixedSizeBinaryArray> {
        self.column(&distinct_column(name))?.as_fixed_size_binary_opt()
    }

    /// Hashes of the contributors, where the dataset names a contributor column.
    pub fn contributor(&self) -> Option<&FixedSizeBinaryArray> {
        self.column(CONTRIBUTOR)?.as_fixed_size_binary_opt()
    }

    /// How many contributors each row stands for, where the dataset has a count column; none is negative.
    pub fn counts(&self) -> Option<&Int64Array> {
        self.column(CONTRIBUTORS)?.as_primitive_opt()
    }

    /// Hashes of the row keys, where the dataset has a key.
    pub fn keys(&self) -> Option<&FixedSizeBinaryArray> {
        self.column(KEY)?.as_fixed_size_binary_opt()
    }

    /// Hashes of all that each keyed row holds.
    pub fn contents(&self) -> Option<&FixedSizeBinaryArray> {
        self.column(CONTENT)?.as_fixed_size_binary_opt()
    }

    /// These rows without `key` and `content`, which the vault keeps apart.
    pub fn without_keys(&self) -> Self {
        if self.keys().is_none() {
            return self.clone();
        }
        let kept: Vec<usize> = (0..self.0.num_columns() - 2).collect();
        Self(self.0.project(&kept).expect("key and content are the last two columns"))
    }

    /// The rows at these positions, in this order. A dimension keeps only the values that are still used.
    ///
    /// # Panics
    /// Where a position is not below [`Observations::rows`].
    pub fn take(&self, rows: &[u32]) -> Self {
        let taken = take_record_batch(&self.0, &UInt32Array::from(rows.to_vec())).expect("positions are below rows()");
        let columns = taken.columns().iter().map(|column| match column.as_dictionary_opt::<UInt32Type>() {
            Some(dictionary) if dictionary.values().len() > 1 => Arc::new(without_unused(dictionary)) as ArrayRef,
            _ => column.clone(),
        });
        let columns = columns.collect();
        Self(RecordBatch::try_new(taken.schema(), columns).expect("columns keep their type and length"))
    }

    fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.0.column_by_name(name)
    }
}

/// Prints how much there is, never what.
impl fmt::Debug for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observations").field("rows", &self.rows()).field("columns", &self.0.num_columns()).finish()
    }
}

/// Whether any row is null, also by way of a dictionary that holds one.
fn holds_null(column: &ArrayRef) -> bool {
    let values = column.as_any_dictionary_opt().map(|dictionary| dictionary.values());
    column.null_count() > 0 || values.is_some_and(|values| values.null_count() > 0)
}

fn without_unused(dictionary: &DictionaryArray<UInt32Type>) -> DictionaryArray<UInt32Type> {
    const UNUSED: u32 = u32::MAX;
    let mut place = vec![UNUSED; dictionary.values().len()];
    let mut kept = Vec::new();
    let keys: Vec<u32> = dictionary
        .keys()
        .values()
        .iter()
        .map(|&key| {
            let place = &mut place[key as usize];
            if *place == UNUSED {
                *place = kept.len() as u32;
                kept.push(key);
            }
            *place
        })
        .collect();
    let values = take(dictionary.values(), &UInt32Array::from(kept), None).expect("a dictionary's keys are in range");
    DictionaryArray::try_new(UInt32Array::from(keys), values).expect("each key has its value")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{ContributorColumn, MeasureColumn};
    use arrow::array::{FixedSizeBinaryBuilder, StringArray};

    pub(crate) type Row = (i64, u8, Option<i64>, u128);

    pub(crate) fn layout() -> Layout {
        Layout {
            dimensions: vec!["borough".into()],
            measures: vec![MeasureColumn { name: "speed".into(), decimals: 2 }],
            distinct: vec!["car".into()],
            contributor: ContributorColumn::Row,
            keyed: true,
        }
    }

    pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
        let names: Vec<String> = (0..6).map(|number| format!("borough {number}")).collect();
        let boroughs = UInt32Array::from_iter_values(rows.iter().map(|row| u32::from(row.1)));
        let mut keys = FixedSizeBinaryBuilder::new(16);
        let mut contents = FixedSizeBinaryBuilder::new(8);
        let mut cars = FixedSizeBinaryBuilder::new(16);
        for row in rows {
            match row.1 {
                0 => cars.append_null(),
                car => cars.append_value([car; 16]).unwrap(),
            }
            keys.append_value(row.3.to_be_bytes()).unwrap();
            contents.append_value((row.3 as u64).to_be_bytes()).unwrap();
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0)).with_timezone("UTC")),
            Arc::new(DictionaryArray::new(boroughs, Arc::new(StringArray::from(names)))),
            Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
            Arc::new(cars.finish()),
            Arc::new(keys.finish()),
            Arc::new(contents.finish()),
        ];
        RecordBatch::try_new(layout().schema(), columns).unwrap()
    }

    #[test]
    fn debug_and_errors_hold_no_value() {
        let rows = [(1_234_567, 3, Some(987_654_321), 5), (1, 2, Some(MEASURE_MAX + 1), 6)];
        let fine = Observations::new(batch(&rows[..1]), &layout()).unwrap();
        assert_eq!(format!("{fine:?}"), "Observations { rows: 1, columns: 6 }");
        let error = Observations::new(batch(&rows), &layout()).unwrap_err();
        assert_eq!(error, ObservationError::Digits { column: "m:speed".into() });
        assert!(!format!("{error} {error:?}").contains("1000000000000"));
    }

    #[test]
    fn other_decimals_are_another_layout() {
        let mut other = layout();
        other.measures[0].decimals = 3;
        let error = Observations::new(batch(&[(1, 1, None, 1)]), &other).unwrap_err();
        assert_eq!(error, ObservationError::Columns { column: "m:speed".into(), reason: "its decimals differ" });
    }

    #[test]
    fn taking_rows_drops_the_values_no_longer_used() {
        let all =
            Observations::new(batch(&[(1, 0, Some(5), 1), (2, 4, None, 2), (3, 4, Some(7), 3)]), &layout()).unwrap();
        let some = all.take(&[2, 1]);
        assert_eq!(some.times().values(), &[3, 2]);
        assert_eq!(some.measure("speed").unwrap(), &Int64Array::from(vec![Some(7), None]));
        let boroughs = some.dimension("borough").unwrap();
        assert_eq!(boroughs.values().len(), 1);
        assert_eq!(
            boroughs.downcast_dict::<StringArray>().unwrap().into_iter().flatten().collect::<Vec<_>>(),
            ["borough 4"; 2]
        );
        assert_eq!(some.keys().unwrap().value(0), 3_u128.to_be_bytes());
        assert_eq!(some.distinct("car").unwrap().value(1), [4; 16]);
        assert!(all.distinct("car").unwrap().is_null(0) && all.distinct("bus").is_none());
    }

    #[test]
    fn without_keys_only_the_keys_are_gone() {
        let bare = Observations::new(batch(&[(1, 0, Some(5), 1)]), &layout()).unwrap().without_keys();
        assert!(bare.keys().is_none() && bare.contents().is_none());
        assert_eq!(bare.measure("speed").unwrap().value(0), 5);
        let back = Observations::decode(&bare.encode().unwrap()).unwrap();
        assert_eq!(back.batch(), bare.batch());
    }
}
