//! `DESCRIBE domain.product`: its columns with what a contract says of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use civicmesh_model::contract::{Contract, Dimension, DistinctColumn, Measure, Method};
use civicmesh_model::time::Zone;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

/// The columns of the answer.
const COLUMNS: [&str; 8] =
    ["column_name", "data_type", "is_nullable", "role", "unit", "publishes", "method", "description"];

/// One column of a product in words.
pub(crate) struct ColumnWords {
    pub name: String,
    kind: &'static str,
    is_nullable: bool,
    role: &'static str,
    unit: String,
    publishes: String,
    description: String,
}

impl ColumnWords {
    fn of_time(contract: &Contract, zone: Zone) -> Self {
        Self {
            name: contract.time_column.clone(),
            kind: "timestamp with time zone",
            is_nullable: false,
            role: "time",
            unit: String::new(),
            publishes: String::new(),
            description: format!("start of the window; grain {}, in {zone}", contract.grain),
        }
    }

    fn of_dimension(dimension: &Dimension) -> Self {
        Self {
            name: dimension.name.clone(),
            kind: "text",
            is_nullable: false,
            role: "dimension",
            unit: String::new(),
            publishes: String::new(),
            description: dimension.description.clone(),
        }
    }

    fn of_measure(measure: &Measure) -> Self {
        let publishes: Vec<&str> = measure.publish.iter().map(|statistic| statistic.as_str()).collect();
        Self {
            name: measure.name.clone(),
            kind: "numeric",
            is_nullable: true,
            role: if measure.gauge { "gauge" } else { "measure" },
            unit: measure.unit.clone(),
            publishes: publishes.join(", "),
            description: measure.description.clone(),
        }
    }

    fn of_distinct(column: &DistinctColumn) -> Self {
        Self {
            name: column.name.clone(),
            kind: "text",
            is_nullable: true,
            role: "distinct values",
            unit: String::new(),
            publishes: "approx_distinct".to_owned(),
            description: column.description.clone(),
        }
    }

    /// All of it in one line, as a comment on the column.
    pub(crate) fn comment(&self) -> String {
        let Self { name: _, kind: _, is_nullable: _, role, unit, publishes, description } = self;
        let parts = [
            (!description.is_empty()).then(|| description.clone()),
            Some((*role).to_owned()),
            (!unit.is_empty()).then(|| format!("unit {unit}")),
            (!publishes.is_empty()).then(|| format!("publishes {publishes}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// The columns of a product in words, in the order of its table.
pub(crate) fn columns(contract: &Contract, zone: Zone) -> Vec<ColumnWords> {
    let dimensions = contract.dimensions.iter().map(ColumnWords::of_dimension);
    let measures = contract.measures.iter().map(ColumnWords::of_measure);
    let distinct = contract.distinct.iter().map(ColumnWords::of_distinct);
    std::iter::once(ColumnWords::of_time(contract, zone)).chain(dimensions).chain(measures).chain(distinct).collect()
}

/// The product in one line, as a comment on its table.
pub(crate) fn comment(contract: &Contract) -> String {
    let said = [&contract.title, &contract.purpose].map(String::as_str).into_iter().filter(|text| !text.is_empty());
    let terms = [
        format!("grain {}", contract.grain),
        format!("method {}", method(&contract.method)),
        format!("contract {}", contract.version),
    ];
    said.map(str::to_owned).chain(terms).collect::<Vec<_>>().join("; ")
}

fn method(method: &Method) -> String {
    match method {
        Method::Open { .. } => "open".to_owned(),
        Method::Threshold { k, .. } => format!("threshold k={k}"),
    }
}

/// A plan whose answer describes the product.
pub(crate) fn plan(contract: &Contract, zone: Zone) -> Result<LogicalPlan> {
    let method = method(&contract.method);
    let rows: Vec<[String; 8]> = columns(contract, zone)
        .into_iter()
        .map(|column| {
            let ColumnWords { name, kind, is_nullable, role, unit, publishes, description } = column;
            let is_nullable = if is_nullable { "YES" } else { "NO" }.to_owned();
            [name, kind.to_owned(), is_nullable, role.to_owned(), unit, publishes, method.clone(), description]
        })
        .collect();
    let schema = Arc::new(Schema::new(
        COLUMNS.map(|name| Field::new(name, DataType::Utf8, false)).into_iter().collect::<Vec<_>>(),
    ));
    let column = |at: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row[at]))) as ArrayRef;
    let batch = RecordBatch::try_new(schema.clone(), (0..COLUMNS.len()).map(column).collect())?;
    let table = MemTable::try_new(schema, vec![vec![batch]])?;
    LogicalPlanBuilder::scan("describe", provider_as_source(Arc::new(table)), None)?.build()
}
