//! Raw rows, the entries that their owner would release of them, and plain DataFusion over the raw rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use civicmesh_model::contract::{Contract, Method, Statistic};
use civicmesh_model::grain::Window;
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{
    Cell, EmptyRun, Entry, MethodTag, Release, ReleaseCoverage, ShareBand, SketchColumn, SketchKind, Suppressed,
    SuppressionReason,
};
use civicmesh_model::sketch::{Distinct, Quantiles};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::config::Dialect;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::asking::Asker;
use crate::engine::{Answer, CityView, QueryOptions};
use crate::error::QueryError;
use crate::limits::Limits;
use crate::product::{Product, RowsTable};
use crate::shelf::{Listed, Shelf, Standing};

/// The instant that tests ask at.
pub(super) fn now() -> UtcMicros {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A contract from its terms: `windows` and `measures` as YAML flow mappings, no comma after the last.
pub(super) fn contract(
    id: &str,
    dimensions: &[&str],
    windows: &str,
    measures: &[(&str, &str)],
    k: Option<u64>,
) -> Arc<Contract> {
    counting(id, dimensions, windows, measures, &[], k)
}

/// The same with columns whose distinct values are counted.
pub(super) fn counting(
    id: &str,
    dimensions: &[&str],
    windows: &str,
    measures: &[(&str, &str)],
    distinct: &[&str],
    k: Option<u64>,
) -> Arc<Contract> {
    let product = id.split_once('.').unwrap().1;
    let text = |name: &&str| format!("  - {{name: {name}, logicalType: string, description: d}}\n");
    let number = |(name, _): &(&str, &str)| format!("  - {{name: {name}, logicalType: number, description: d}}\n");
    let term = |(name, terms): &(&str, &str)| format!("{name}: {{{terms}}}");
    let column = |name: &str, kind: &str| format!("{name}: {kind}");
    let disclosure = match k {
        Some(k) => format!("{{method: threshold, k: {k}, approver: a}}"),
        None => "{method: open, reason: r, approver: a}".to_owned(),
    };
    let columns: Vec<String> = std::iter::once(column("time", "timestamp"))
        .chain(dimensions.iter().chain(distinct).map(|name| column(name, "text")))
        .chain(measures.iter().map(|(name, _)| column(name, "number")))
        .collect();
    let yaml = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {id}\nversion: 1.0.0\nstatus: active\n\
         description: {{purpose: p}}\nschema:\n- name: {product}\n  properties:\n  \
         - {{name: time, logicalType: timestamp, description: d}}\n{}{}\
         customProperties:\n- property: civicmesh.terms\n  value:\n    windows: {{{windows}, lateness: 2 days}}\n    \
         measures: {{{}}}\n    distinct: [{}]\n    disclosure: {disclosure}\n    audience: city\n    \
         retention: {{raw: 20 years, releases: 20 years}}\n- property: civicmesh.dataset\n  value:\n    \
         time: {{column: time, zone: UTC}}\n    columns: {{{}}}\n{}",
        dimensions.iter().chain(distinct).map(text).collect::<String>(),
        measures.iter().map(number).collect::<String>(),
        measures.iter().map(term).collect::<Vec<_>>().join(", "),
        distinct.join(", "),
        columns.join(", "),
        if k.is_some() { "    contributor: row\n" } else { "" },
    );
    match Contract::parse(&yaml, "test.yaml") {
        Ok((contract, _)) => Arc::new(contract),
        Err(findings) => panic!("{findings:#?}\n{yaml}"),
    }
}

/// One raw row: when, where, and a scaled value for each measure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub at: UtcMicros,
    pub coordinate: Vec<String>,
    pub values: Vec<Option<i64>>,
    /// Of each column whose distinct values are counted.
    pub distinct: Vec<Option<String>>,
}

pub(super) fn row(at: &str, coordinate: &[&str], values: &[Option<i64>]) -> Row {
    Row {
        at: at.parse().unwrap(),
        coordinate: coordinate.iter().map(|value| (*value).to_owned()).collect(),
        values: values.to_vec(),
        distinct: Vec::new(),
    }
}

/// A product with its raw rows.
pub(super) struct Table {
    pub contract: Arc<Contract>,
    pub rows: Vec<Row>,
}

/// A city of products.
pub(super) struct World {
    pub zone: Zone,
    pub listed: Listed,
    tables: Vec<Table>,
}

impl World {
    pub(super) fn new(zone: &str, tables: Vec<Table>) -> Self {
        let zone: Zone = zone.parse().unwrap();
        let mut listed = Listed::default();
        for table in &tables {
            let entries = release(table, zone);
            listed.standings.push(Standing {
                product: table.contract.product.clone(),
                contract: Some(table.contract.clone()),
                own: false,
                granted: true,
                closed_through: entries.last().map(|entry| entry.window().end),
                newest_window: entries.last().map(|entry| entry.window().start),
                head_confirmed_at: None,
                unreachable_since: None,
                expired_through: None,
                found_out: false,
            });
            listed.contracts.push(table.contract.clone());
            listed.entries.extend(entries);
        }
        Self { zone, listed, tables }
    }

    pub(super) fn city(&self) -> CityView {
        CityView { name: "city".to_owned(), zone: self.zone, domain: "traffic".parse().unwrap() }
    }

    /// A node's asker and snapshot over the releases alone.
    pub(super) fn node(self) -> Node {
        let asker = Asker::new(self.city(), Limits { helpers: 2, ..Limits::default() }).unwrap();
        Node { asker, shelf: Shelf::Listed(Arc::new(self.listed)) }
    }

    /// Plain DataFusion over the raw rows.
    pub(super) fn raw(&self) -> SessionContext {
        let mut config = SessionConfig::new().with_default_catalog_and_schema("city", "traffic");
        config.options_mut().execution.time_zone = Some(self.zone.name().to_owned());
        config.options_mut().sql_parser.dialect = Dialect::Generic;
        let context = SessionContext::new_with_config(config);
        let catalog = context.catalog("city").unwrap();
        for table in &self.tables {
            let id = &table.contract.product;
            if catalog.schema(id.domain.as_str()).is_none() {
                catalog.register_schema(id.domain.as_str(), Arc::new(MemorySchemaProvider::new())).unwrap();
            }
            let schema: Arc<dyn SchemaProvider> = catalog.schema(id.domain.as_str()).unwrap();
            schema.register_table(id.product.to_string(), Arc::new(raw_table(table, self.zone))).unwrap();
        }
        context
    }
}

fn raw_table(table: &Table, zone: Zone) -> MemTable {
    let product = Arc::new(Product::new(table.contract.clone(), zone));
    let schema = RowsTable(product).schema();
    let times = table.rows.iter().map(|row| row.at.0).collect::<Vec<_>>();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(TimestampMicrosecondArray::from(times).with_timezone(zone.name()))];
    for dimension in 0..table.contract.dimensions.len() {
        let values = table.rows.iter().map(|row| Some(row.coordinate[dimension].as_str()));
        columns.push(Arc::new(values.collect::<StringArray>()));
    }
    for (measure, declared) in table.contract.measures.iter().enumerate() {
        let values = table.rows.iter().map(|row| row.values[measure].map(i128::from));
        let values = values.collect::<Decimal128Array>();
        columns.push(Arc::new(values.with_precision_and_scale(12, declared.decimals as i8).unwrap()));
    }
    for column in 0..table.contract.distinct.len() {
        let values = table.rows.iter().map(|row| row.distinct[column].as_deref());
        columns.push(Arc::new(values.collect::<StringArray>()));
    }
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    MemTable::try_new(schema, vec![vec![batch]]).unwrap()
}

/// A window's cells, still whole.
type Cells = BTreeMap<Vec<String>, Whole>;

/// A cell, still whole.
struct Whole {
    observations: u64,
    states: Vec<MeasureState>,
    quantiles: Vec<Quantiles>,
    distinct: Vec<Distinct>,
}

/// What the owner would release, from the contract's start until its last row (or its end).
fn release(table: &Table, zone: Zone) -> Vec<Entry> {
    let contract = &table.contract;
    let calendar = contract.calendar(zone);
    let mut windows: BTreeMap<Window, Cells> = BTreeMap::new();
    for row in &table.rows {
        let cells = windows.entry(calendar.window_of(row.at)).or_default();
        let empty = || Whole {
            observations: 0,
            states: vec![MeasureState::default(); contract.measures.len()],
            quantiles: vec![Quantiles::default(); contract.measures.len()],
            distinct: vec![Distinct::default(); contract.distinct.len()],
        };
        let cell = cells.entry(row.coordinate.clone()).or_insert_with(empty);
        cell.observations += 1;
        for (measure, value) in row.values.iter().enumerate() {
            value.iter().for_each(|value| cell.states[measure].observe(*value).unwrap());
            let decimals = contract.measures[measure].decimals;
            value.iter().for_each(|value| cell.quantiles[measure].observe(*value, decimals));
        }
        for (sketch, value) in cell.distinct.iter_mut().zip(&row.distinct) {
            value.iter().for_each(|value| sketch.observe(value.as_bytes()));
        }
    }
    let start = zone.start_of_local(contract.coverage.start);
    let last = windows.keys().last().map_or(start, |window| window.end);
    let end = contract.coverage.end.map_or(last, |end| zone.start_of_local(end));
    let mut entries: Vec<Entry> = Vec::new();
    for window in calendar.windows(start, end) {
        match (entries.last_mut(), windows.get(&window)) {
            (_, Some(cells)) => entries.push(Entry::Release(disclose(contract, window, cells))),
            (Some(Entry::Empty(run)), None) => {
                (run.end, run.closed_through, run.windows) = (window.end, window.end, run.windows + 1);
            }
            (_, None) => entries.push(Entry::Empty(EmptyRun {
                product: contract.product.clone(),
                start: window.start,
                end: window.end,
                windows: 1,
                contract: contract.hash(),
                closed_through: window.end,
                zero: false,
                salt: [0; 32],
            })),
        }
    }
    entries
}

/// What the gate lets out of one window.
fn disclose(contract: &Contract, window: Window, all: &Cells) -> Release {
    let method = match contract.method {
        Method::Open { .. } => MethodTag::Open,
        Method::Threshold { k, .. } => MethodTag::Threshold { k },
    };
    let k = if let MethodTag::Threshold { k } = method { k } else { 1 };
    let (mut cells, mut suppressed, mut held) = (Vec::new(), Vec::new(), 0);
    let mut sketches = Vec::new();
    let quantiles = contract.measures.iter().filter(|measure| measure.publishes(Statistic::Quantiles));
    sketches.extend(quantiles.map(|measure| SketchColumn { kind: SketchKind::Quantiles, name: measure.name.clone() }));
    let distinct = contract.distinct.iter();
    sketches.extend(distinct.map(|column| SketchColumn { kind: SketchKind::Distinct, name: column.name.clone() }));
    for (coordinate, Whole { observations, states, quantiles, distinct }) in all {
        let coordinate = coordinate.clone();
        if *observations < k {
            held += observations;
            suppressed.push(Suppressed { coordinate, reason: SuppressionReason::BelowThreshold });
        } else {
            let states = states.iter().zip(&contract.measures);
            let measures = states.map(|(state, measure)| published(state, measure)).collect();
            let of_measures = quantiles.iter().zip(&contract.measures);
            let of_measures = of_measures.filter(|(_, measure)| measure.publishes(Statistic::Quantiles));
            let of_measures =
                of_measures.map(|(sketch, _)| if sketch.count() == 0 { vec![] } else { sketch.to_bytes() });
            let of_columns = distinct.iter().map(|sketch| if sketch.is_empty() { vec![] } else { sketch.to_bytes() });
            let sketches = of_measures.chain(of_columns).collect();
            cells.push(Cell { coordinate, observations: *observations, measures, sketches });
        }
    }
    let observations = cells.iter().map(|cell| cell.observations).sum();
    let measures = contract.measures.iter();
    Release {
        product: contract.product.clone(),
        window,
        revision: 0,
        contract: contract.hash(),
        method,
        closed_through: window.end,
        dimensions: contract.dimensions.iter().map(|dimension| dimension.name.clone()).collect(),
        measures: measures.clone().map(|measure| measure.name.clone()).collect(),
        decimals: measures.map(|measure| measure.decimals).collect(),
        sketches,
        cells,
        suppressed,
        suppressed_share: ShareBand::of(held, held + observations),
        coverage: ReleaseCoverage { observations, sources: 1 },
        salt: [0; 32],
    }
}

/// A state as far as the contract publishes it.
fn published(state: &MeasureState, measure: &civicmesh_model::contract::Measure) -> MeasureState {
    use civicmesh_model::contract::Statistic::{Max, Min, Sum, SumSquares};
    MeasureState {
        count: state.count,
        sum: if measure.publishes(Sum) { state.sum } else { 0 },
        sum_squares: if measure.publishes(SumSquares) { state.sum_squares } else { 0 },
        min: state.min.filter(|_| measure.publishes(Min)),
        max: state.max.filter(|_| measure.publishes(Max)),
    }
}

/// An asker with a snapshot.
pub(super) struct Node {
    pub asker: Asker,
    pub shelf: Shelf<'static>,
}

impl Node {
    /// The answer, which must be the same whether releases come one by one or in segments, in one stretch or in many,
    /// and whether the question is planned, planned so that its plan can be kept, or answered by a plan that was kept.
    pub(super) async fn answer(&self, sql: &str) -> Result<Answer, QueryError> {
        let answer = self.asker.ask(&self.shelf, sql, now(), &QueryOptions::default()).await;
        if let Shelf::Listed(listed) = &self.shelf {
            let otherwise =
                |merged, stretch_entries| Shelf::Listed(Arc::new(listed.otherwise(merged, stretch_entries)));
            let merged = self.asker.ask(&otherwise(true, 0), sql, now(), &QueryOptions::default()).await;
            let again = self.asker.ask(&self.shelf, sql, now(), &QueryOptions::default()).await;
            let parted = self.asker.ask(&otherwise(false, 7), sql, now(), &QueryOptions::default()).await;
            let both = self.asker.ask(&otherwise(true, 11), sql, now(), &QueryOptions::default()).await;
            let told = |answer: &Result<Answer, QueryError>| match answer {
                Ok(answer) => {
                    let mut lines = lines(&answer.batches);
                    lines.sort();
                    Ok((lines, answer.completeness.clone()))
                }
                Err(error) => Err(std::mem::discriminant(error)),
            };
            assert_eq!(told(&again), told(&answer), "{sql}");
            assert!(sql.starts_with("EXPLAIN") || told(&parted) == told(&answer), "{sql}\n{:?}", told(&parted));
            assert!(sql.starts_with("EXPLAIN") || told(&both) == told(&answer), "{sql}\n{:?}", told(&both));
            // what is read from where is what EXPLAIN tells
            assert!(
                sql.starts_with("EXPLAIN") || told(&merged) == told(&answer),
                "{sql}\n{:?}\n{:?}",
                told(&merged),
                told(&answer)
            );
        }
        answer
    }

    /// The answer's rows, a line each, in the order they came.
    pub(super) async fn rows(&self, sql: &str) -> Vec<String> {
        match self.answer(sql).await {
            Ok(answer) => lines(&answer.batches),
            Err(error) => panic!("{sql}\n{error:?}"),
        }
    }

    pub(super) async fn refusal(&self, sql: &str) -> QueryError {
        match self.answer(sql).await {
            Ok(answer) => panic!("{sql}\nwas answered: {:?}", lines(&answer.batches)),
            Err(error) => error,
        }
    }
}

/// Rows as text, values parted by bars.
pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let line = |batch: &RecordBatch, row: usize| {
        let value = |column: &ArrayRef| match column.is_null(row) {
            true => "NULL".to_owned(),
            false => array_value_to_string(column, row).unwrap(),
        };
        batch.columns().iter().map(value).collect::<Vec<_>>().join("|")
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| line(batch, row))).collect()
}
