//! The oracle: generated questions, asked of a running city and of DuckDB over all raw rows of every department.
//!
//! `tests/oracle/` makes up departments, files and questions and decides what is true; here its orders are carried out:
//! nodes are started, files taken in, questions asked over connections that stay open.

use crate::city::{City, Node, root, text};
use crate::samples::python_tool;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::array_value_to_string;
use civicmesh_node::client::{Client, ClientError, QueryAnswer};
use civicmesh_node::office::Purpose;
use civicmesh_node::query::QueryOptions;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How many questions are asked, and the seed: `CIVICMESH_ORACLE=2000:7`.
const EXTENT: &str = "CIVICMESH_ORACLE";
/// What `make test` asks.
const USUAL: &str = "300:1";

/// Marks a column that lacks cells or windows of a product.
const LACKS: &str = "civicmesh.lacks";

/// A running city and a connection to each of its nodes.
struct Running {
    nodes: BTreeMap<String, (Node, Client)>,
    // outlives the nodes
    _city: City,
}

impl Running {
    /// A city in this zone, of domains that each have these files for their contracts.
    fn found(zone: &str, domains: &Map<String, Value>, runtime: &Runtime) -> Self {
        let mut city = City::found("Oracle", zone);
        let start = |(domain, contracts): (&String, &Value)| {
            let contracts: Vec<&Path> = texts(contracts).into_iter().map(Path::new).collect();
            let mut node = city.enroll(domain, &contracts);
            node.start();
            let client = connect(&node, runtime);
            (domain.clone(), (node, client))
        };
        let nodes = domains.iter().map(start).collect();
        Self { nodes, _city: city }
    }

    fn node(&self, order: &Value) -> &Node {
        &self.nodes[said(order, "node")].0
    }

    fn restart(&mut self, name: &str, runtime: &Runtime) {
        let (node, client) = self.nodes.get_mut(name).expect("a node of this city");
        assert_eq!(node.stop(), Some(0), "{}", node.log());
        node.start();
        *client = connect(node, runtime);
    }

    fn ask(&mut self, node: &str, sql: &str, runtime: &Runtime) -> Value {
        let (_, client) = self.nodes.get_mut(node).expect("a node of this city");
        match runtime.block_on(client.query(sql, &QueryOptions::default())) {
            Ok(answer) => told(&answer),
            Err(ClientError::Refused { code, message, .. }) => json!({"refused": message, "code": code}),
            Err(error) => panic!("{sql}\n{error}\n{}", self.nodes[node].0.log()),
        }
    }
}

fn connect(node: &Node, runtime: &Runtime) -> Client {
    let _within = runtime.enter();
    Client::connect(text(&node.dir), Purpose::Query, Default::default()).expect("a client")
}

/// An answer in JSON: the columns' types, whether each lacks anything, and every value as text to its last digit.
fn told(answer: &QueryAnswer) -> Value {
    let fields = answer.schema.fields();
    let kinds: Vec<String> = fields.iter().map(|field| field.data_type().to_string()).collect();
    let lacks: Vec<bool> = fields.iter().map(|field| field.metadata().contains_key(LACKS)).collect();
    let exact = answer.completeness.iter().all(|product| product.exact);
    let mut rows = Vec::new();
    for batch in &answer.batches {
        rows.extend((0..batch.num_rows()).map(|row| cells(batch, row)));
    }
    json!({"kinds": kinds, "lacks": lacks, "exact": exact, "rows": rows})
}

fn cells(batch: &RecordBatch, row: usize) -> Vec<Option<String>> {
    let cell = |column: &arrow::array::ArrayRef| (!column.is_null(row)).then(|| written(column.as_ref(), row));
    batch.columns().iter().map(cell).collect()
}

/// One value: instants as microseconds since 1970, doubles as the shortest text that reads back.
fn written(column: &dyn Array, row: usize) -> String {
    match column.data_type() {
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(_, Some(zone)) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.clone()));
            let number = cast(column, &micros).and_then(|micros| cast(&micros, &DataType::Int64)).expect("an instant");
            number.as_primitive::<Int64Type>().value(row).to_string()
        }
        _ => array_value_to_string(column, row).expect("text"),
    }
}

/// A text of an order.
fn said<'a>(order: &'a Value, key: &str) -> &'a str {
    order[key].as_str().unwrap_or_else(|| panic!("no {key} in {order}"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// Carries out one order; what came of it.
fn carry_out(order: &Value, city: &mut Option<Running>, runtime: &Runtime) -> Value {
    if said(order, "do") == "found" {
        let domains = order["domains"].as_object().expect("domains");
        *city = Some(Running::found(said(order, "zone"), domains, runtime));
        return json!({});
    }
    let running = city.as_mut().expect("a city was founded before");
    match said(order, "do") {
        "take_in" => {
            let file = Path::new(said(order, "file"));
            running.node(order).take_in(said(order, "dataset"), file, &texts(&order["arguments"]))
        }
        "ask" => running.ask(said(order, "node"), said(order, "sql"), runtime),
        "restart" => {
            running.restart(said(order, "node"), runtime);
            json!({})
        }
        "close" => {
            *city = None;
            json!({})
        }
        _ => panic!("nobody knows how to do {order}"),
    }
}

#[test]
fn a_city_answers_as_another_engine_does_over_all_raw_rows() {
    let extent = std::env::var(EXTENT).unwrap_or_else(|_| USUAL.to_owned());
    let (questions, seed) = extent.split_once(':').expect("QUESTIONS:SEED");
    let folder = TempDir::new().expect("a folder");
    let runtime = Runtime::new().expect("a runtime");
    let mut oracle = Command::new(python_tool("python"))
        .arg("-B")
        .arg(root().join("tests/oracle"))
        .args(["--questions", questions, "--seed", seed, "--folder", text(folder.path())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut to = oracle.stdin.take().expect("its stdin");
    let mut city = None;
    let mut end = None;
    for line in BufReader::new(oracle.stdout.take().expect("its stdout")).lines() {
        let line = line.expect("a line");
        let order: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match said(&order, "do") {
            "end" => end = Some(order),
            _ => writeln!(to, "{}", carry_out(&order, &mut city, &runtime)).expect("the oracle listens"),
        }
    }
    assert!(oracle.wait().expect("its end").success(), "the oracle failed: its words stand above");
    let end = end.expect("the oracle came to its end");
    let (reports, figures) = (texts(&end["reports"]), texts(&end["figures"]));
    println!("{}", figures.join("\n"));
    assert!(reports.is_empty(), "{extent}: {} disagreements\n\n{}", reports.len(), reports.join("\n\n"));
}
