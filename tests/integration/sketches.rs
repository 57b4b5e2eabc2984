//! Sketches are Apache DataSketches' own bytes: its library for Python reads ours, and we read its.

use std::io::Write;
use std::process::{Command, Stdio};

use civicmesh_model::sketch::{Distinct, Quantiles};
use serde_json::{Value, json};

use crate::city::root;
use crate::samples::python_tool;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("digits");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits")).collect()
}

fn distinct(values: std::ops::Range<u64>) -> Distinct {
    let mut sketch = Distinct::default();
    values.for_each(|value| sketch.observe(&value.to_be_bytes()));
    sketch
}

#[test]
fn another_library_reads_our_sketches_and_we_read_its() {
    let mut quantiles = Quantiles::default();
    (0..20_000).for_each(|value| quantiles.observe(value - 10_000, 1));
    let parts = [0..5, 3..200, 100..9_000].map(distinct);
    let mut all = Distinct::default();
    parts.iter().for_each(|part| all.merge(part));
    let given = json!({
        "quantiles": hex(&quantiles.to_bytes()),
        "distinct": parts.iter().map(|part| hex(&part.to_bytes())).collect::<Vec<_>>(),
    });

    let script = root().join("tests/sketches.py");
    let mut python = Command::new(python_tool("python"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    python.stdin.take().expect("a pipe").write_all(given.to_string().as_bytes()).expect("python reads");
    let output = python.wait_with_output().expect("python ends");
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).expect("json");
    let number = |said: &Value| said.as_f64().expect("a number");

    // the same bytes say the same to both
    assert_eq!((said["count"].as_u64(), number(&said["least"])), (Some(20_000), -1_000.0));
    assert_eq!(Some(number(&said["median"])), quantiles.at(0.5));
    assert_eq!(Some(number(&said["ninth"])), quantiles.at(0.9));
    for (part, said) in parts.iter().zip(said["estimates"].as_array().expect("a list")) {
        assert!((part.estimate() - number(said)).abs() < 1e-6, "{} and {said}", part.estimate());
    }
    assert!((all.estimate() - number(&said["union"])).abs() < 1e-6);

    let theirs = Quantiles::stored(&bytes(&said["quantiles"])).expect("a sketch of quantiles");
    assert_eq!((theirs.count(), theirs.at(0.9)), (10_000, Some(number(&said["made_ninth"]))));
    quantiles.merge(&theirs).expect("they merge");
    assert_eq!(quantiles.count(), 30_000);
    let mut theirs = Distinct::stored(&bytes(&said["distinct"])).expect("a sketch of distinct values");
    theirs.merge(&all);
    let error = theirs.error();
    assert!((theirs.estimate() - 19_000.0).abs() < 3.0 * error, "{} ± {error}", theirs.estimate());
}
