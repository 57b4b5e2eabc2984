//! Which columns the observations of a dataset have.

use crate::ObservationError;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use civicmesh_model::contract::{Contract, Contributor, Dataset};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Bytes of a row key's hash, of a contributor's, and of a value's where distinct values are counted.
pub const HASH_BYTES: usize = 16;
/// Bytes of the hash of all that a keyed row holds: it tells a repeated row from a corrected one.
pub const CONTENT_BYTES: usize = 8;

pub(crate) const TIME: &str = "time";
pub(crate) const CONTRIBUTOR: &str = "contributor";
pub(crate) const CONTRIBUTORS: &str = "contributors";
pub(crate) const KEY: &str = "key";
pub(crate) const CONTENT: &str = "content";
const DIMENSION_PREFIX: &str = "d:";
const MEASURE_PREFIX: &str = "m:";
const DISTINCT_PREFIX: &str = "u:";
const DECIMALS: &str = "decimals";
const UTC: &str = "UTC";

/// How a row says who contributed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContributorColumn {
    /// It is about no person.
    None,
    /// Each row is one contributor; no column.
    Row,
    /// `contributor`: a keyed hash of the contributor's identity.
    Hashed,
    /// `contributors`: how many contributed to this row.
    Count,
}

/// A measure as observations hold it: an integer, scaled by ten to the power of its decimals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeasureColumn {
    /// The measure's name.
    pub name: String,
    /// Its decimals. They stand in every stored block, so that a later contract cannot misread it.
    pub decimals: u8,
}

/// The columns of a dataset's observations: one for each dimension, measure and column of distinct values of the
/// products over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Dimension names.
    pub dimensions: Vec<String>,
    /// Measures.
    pub measures: Vec<MeasureColumn>,
    /// Columns whose distinct values are counted: keyed hashes of the values, null where there is none.
    pub distinct: Vec<String>,
    /// How contributors are told.
    pub contributor: ContributorColumn,
    /// Whether rows carry `key` and `content`.
    pub keyed: bool,
}

impl Layout {
    /// The layout that serves all `contracts` over one `dataset`, names sorted.
    pub fn of(dataset: &Dataset, contracts: &[&Contract]) -> Result<Self, ObservationError> {
        let mut dimensions = BTreeSet::new();
        let mut measures = BTreeMap::new();
        let mut distinct = BTreeSet::new();
        for contract in contracts {
            distinct.extend(contract.distinct.iter().map(|column| column.name.clone()));
            dimensions.extend(contract.dimensions.iter().map(|dimension| dimension.name.clone()));
            for measure in &contract.measures {
                let one = *measures.entry(measure.name.clone()).or_insert(measure.decimals);
                if one != measure.decimals {
                    let (measure, other) = (measure.name.clone(), measure.decimals);
                    return Err(ObservationError::Decimals { measure, one, other });
                }
            }
        }
        Ok(Self {
            dimensions: dimensions.into_iter().collect(),
            measures: measures.into_iter().map(|(name, decimals)| MeasureColumn { name, decimals }).collect(),
            distinct: distinct.into_iter().collect(),
            contributor: match dataset.contributor {
                Contributor::None => ContributorColumn::None,
                Contributor::Row => ContributorColumn::Row,
                Contributor::Column(_) => ContributorColumn::Hashed,
                Contributor::Count(_) => ContributorColumn::Count,
            },
            keyed: !dataset.key.is_empty(),
        })
    }

    /// The Arrow schema: `time`, `d:NAME`…, `m:NAME`…, `u:NAME`…, then `contributor` or `contributors`, then `key` and `content`.
    pub fn schema(&self) -> SchemaRef {
        let bytes = |length: usize| DataType::FixedSizeBinary(length as i32);
        let hash = |name, length: usize| Field::new(name, bytes(length), false);
        let mut fields = vec![Field::new(TIME, time_type(), false)];
        fields.extend(self.dimensions.iter().map(|name| Field::new(dimension_column(name), dimension_type(), false)));
        fields.extend(self.measures.iter().map(MeasureColumn::field));
        fields.extend(self.distinct.iter().map(|name| Field::new(distinct_column(name), bytes(HASH_BYTES), true)));
        match self.contributor {
            ContributorColumn::None | ContributorColumn::Row => {}
            ContributorColumn::Hashed => fields.push(hash(CONTRIBUTOR, HASH_BYTES)),
            ContributorColumn::Count => fields.push(Field::new(CONTRIBUTORS, DataType::Int64, false)),
        }
        if self.keyed {
            fields.push(hash(KEY, HASH_BYTES));
            fields.push(hash(CONTENT, CONTENT_BYTES));
        }
        Arc::new(Schema::new(fields))
    }

    /// A layout whose schema this is (rows that are contributors look like rows without), or what is wrong with it.
    pub(crate) fn from_schema(schema: &Schema) -> Result<Self, ObservationError> {
        let mut layout = Self {
            dimensions: Vec::new(),
            measures: Vec::new(),
            distinct: Vec::new(),
            contributor: ContributorColumn::None,
            keyed: false,
        };
        for field in schema.fields() {
            if let Some(name) = field.name().strip_prefix(DIMENSION_PREFIX) {
                layout.dimensions.push(name.into());
            } else if let Some(name) = field.name().strip_prefix(DISTINCT_PREFIX) {
                layout.distinct.push(name.into());
            } else if let Some(name) = field.name().strip_prefix(MEASURE_PREFIX) {
                let decimals = field.metadata().get(DECIMALS).and_then(|text| text.parse().ok());
                let decimals = decimals.ok_or(ObservationError::Block("a measure without its decimals"))?;
                layout.measures.push(MeasureColumn { name: name.into(), decimals });
            } else {
                match field.name().as_str() {
                    CONTRIBUTOR => layout.contributor = ContributorColumn::Hashed,
                    CONTRIBUTORS => layout.contributor = ContributorColumn::Count,
                    KEY => layout.keyed = true,
                    _ => {}
                }
            }
        }
        layout.check(schema)?;
        Ok(layout)
    }

    /// Whether `schema` is this layout's, and which column differs if it is not.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), ObservationError> {
        let expected = self.schema();
        let refuse = |column: &str, reason| Err(ObservationError::Columns { column: column.into(), reason });
        for (index, want) in expected.fields().iter().enumerate() {
            match schema.fields().get(index) {
                None => return refuse(want.name(), "it is missing"),
                Some(have) if have.name() != want.name() => {
                    return refuse(want.name(), "another stands in its place");
                }
                Some(have) if have.data_type() != want.data_type() => {
                    return refuse(want.name(), "its type differs");
                }
                Some(have) if have.metadata() != want.metadata() => {
                    return refuse(want.name(), "its decimals differ");
                }
                Some(_) => {}
            }
        }
        match schema.fields().get(expected.fields().len()) {
            Some(extra) => refuse(extra.name(), "it is one too many"),
            None => Ok(()),
        }
    }
}

impl MeasureColumn {
    fn field(&self) -> Field {
        let metadata = HashMap::from([(DECIMALS.to_owned(), self.decimals.to_string())]);
        Field::new(measure_column(&self.name), DataType::Int64, true).with_metadata(metadata)
    }
}

pub(crate) fn dimension_column(name: &str) -> String {
    format!("{DIMENSION_PREFIX}{name}")
}

pub(crate) fn measure_column(name: &str) -> String {
    format!("{MEASURE_PREFIX}{name}")
}

pub(crate) fn distinct_column(name: &str) -> String {
    format!("{DISTINCT_PREFIX}{name}")
}

pub(crate) fn decimals(field: &Field) -> Option<u8> {
    field.metadata().get(DECIMALS)?.parse().ok()
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn dimension_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}
