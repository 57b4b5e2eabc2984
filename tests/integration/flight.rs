//! Arrow Flight SQL as its real clients speak it: ADBC's driver with pyarrow, pandas and polars (`tests/clients/flight.py`).

use crate::city::{City, Node, root, text};
use crate::sample;
use crate::samples::python_tool;
use std::process::Command;

/// The first city, asked at air's node within these limits.
fn city(limits: &str) -> (City, Node, Node) {
    let readings = root().join("deploy/first/air/readings.yaml");
    sample::first_city(&readings, |air| air.configure(&format!("\n[limits]\n{limits}\n")))
}

/// A Python program of the tests' environment that speaks to the node.
fn python(node: &Node, arguments: &[&str]) {
    let output = Command::new(python_tool("python"))
        .args(arguments)
        .current_dir(root())
        .env("CIVICMESH_URI", format!("grpc://{}", node.address("department_listen")))
        .env("CIVICMESH_TOKEN", node.token("query"))
        .env("CIVICMESH_OTHER_TOKEN", node.token("ingest"))
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{arguments:?}\n{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        node.log()
    );
}

#[test]
fn adbc_pandas_and_polars_ask_over_flight_sql() {
    let (_city, _bikes, air) = city("queries_max = 64");
    for check in [
        "rows",
        "explained",
        "login",
        "wrong_token",
        "parameters",
        "catalogue",
        "completeness",
        "refusals",
        "let_go",
        "many",
    ] {
        python(&air, &["tests/clients/flight.py", check]);
    }
    readme_is_true(&air);
}

#[test]
fn a_question_ends_when_its_flight_client_cancels_or_hangs_up() {
    let (_city, _bikes, air) = city("queries_max = 1\nquery_ms_max = 3600000");
    python(&air, &["tests/clients/flight.py", "cancel"]);
}

/// README's Python is run as it stands there, but for where the node is.
fn readme_is_true(node: &Node) {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let code = readme.split("```python\n").nth(1).and_then(|after| after.split("```").next());
    let code = code.expect("README has Python");
    assert!(code.contains("127.0.0.1:7422") && code.contains("demo-city/air"), "{code}");
    let code = code.replace("127.0.0.1:7422", &node.address("department_listen"));
    python(node, &["-c", &code.replace("demo-city/air", text(&node.dir))]);
}
