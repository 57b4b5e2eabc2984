//! PostgreSQL's wire as its real clients speak it: psql, psycopg 3, asyncpg, SQLAlchemy, ADBC's driver
//! (`tests/clients/postgres.py`) and the data contract's own tests.

use crate::city::{City, Node, must, root, text};
use crate::sample;
use crate::samples::python_tool;
use civicmesh_node::free_addresses;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A port on loopback that was free a moment ago.
fn free_port() -> u16 {
    let [address] = free_addresses().expect("a free port");
    address.port()
}

/// Two departments with the files of a first city, every release at both; the node that is asked is air's.
struct FirstCity {
    _city: City,
    _bikes: Node,
    air: Node,
    port: u16,
}

impl FirstCity {
    fn with(limits: &str, contract: impl FnOnce(&Path, u16) -> PathBuf) -> Self {
        let port = free_port();
        let contract = contract(&root().join("deploy/first/air/readings.yaml"), port);
        let (city, bikes, air) = sample::first_city(&contract, |air| {
            air.amend("[node]\n", &format!("[node]\ndepartment_postgres_listen = \"127.0.0.1:{port}\"\n"));
            air.configure(&format!("\n[limits]\n{limits}\n"));
        });
        Self { _city: city, _bikes: bikes, air, port }
    }

    fn founded(limits: &str) -> Self {
        Self::with(limits, |contract, _| contract.to_owned())
    }

    fn python(&self, check: &str) {
        let mut python = Command::new(python_tool("python"));
        let output = python
            .args(["tests/clients/postgres.py", check])
            .current_dir(root())
            .env("CIVICMESH_HOST", "127.0.0.1")
            .env("CIVICMESH_PORT", self.port.to_string())
            .env("CIVICMESH_TOKEN", self.air.token("query"))
            .env("CIVICMESH_OTHER_TOKEN", self.air.token("ingest"))
            .output()
            .expect("python runs");
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success(), "{check}\n{said}\n{}", self.air.log());
    }

    /// What psql says of this statement or command of its own.
    fn psql(&self, command: &str) -> String {
        let url = format!("host=127.0.0.1 port={} user=anyone dbname=Aarhus", self.port);
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", command, &url])
            .env("PGPASSWORD", self.air.token("query"))
            .output()
            .expect("psql runs: `scripts/setup` installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}\n{}", self.air.log());
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

#[test]
fn psycopg_asyncpg_sqlalchemy_and_adbc_ask_over_postgresqls_wire() {
    let city = FirstCity::founded("queries_max = 64");
    let checks = [
        "rows",
        "explained",
        "parameters",
        "notices",
        "refusals",
        "transactions",
        "cursors",
        "copies",
        "encrypted",
        "many",
        "bounds",
    ];
    for check in checks.into_iter().chain(["alchemy", "adbc"]) {
        city.python(check);
    }
}

#[test]
fn psql_browses_and_asks() {
    let city = FirstCity::founded("queries_max = 64");
    let asked = city.psql("SELECT district, sum(bikes) FROM bikes.counts GROUP BY 1 ORDER BY 2 DESC");
    assert_eq!(asked, "old_town|6773\nharbour|4257\nhill|2055\n");
    let hours = city.psql("SELECT date_trunc('hour', time), count(*) FROM air.readings GROUP BY 1 ORDER BY 1 LIMIT 1");
    assert!(hours.starts_with("2024-06-03 00:00:00+02|"), "{hours}");
    let tables = city.psql("\\dt");
    assert!(tables.contains("air|readings|table|") && tables.contains("bikes|counts|table|"), "{tables}");
    let described = city.psql("\\d bikes.counts");
    assert!(
        described.contains("time|timestamp with time zone|") && described.contains("bikes|numeric|"),
        "{described}"
    );
    let commented = city.psql("\\d+ bikes.counts");
    assert!(commented.contains("unit bicycles"), "{commented}");
    let listed = city.psql("\\dt+ bikes.*");
    assert!(listed.contains("threshold k=10"), "{listed}");
    for command in ["\\dn", "\\d", "\\l", "\\du", "\\df", "\\dv", "\\conninfo", "SHOW TABLES", "DESCRIBE air.readings"]
    {
        city.psql(command);
    }
    let described = city.psql("DESCRIBE air.readings");
    assert!(described.contains("no2|numeric|YES|gauge|ug/m3|"), "{described}");
}

#[test]
fn a_question_ends_when_its_postgresql_client_cancels_or_hangs_up() {
    let city = FirstCity::founded("queries_max = 1\nquery_ms_max = 3600000");
    city.python("cancel");
}

#[test]
fn asyncpg_asks_and_gives_up() {
    FirstCity::founded("query_ms_max = 3600000").python("asynchronous");
}

/// The contract file that the node runs on, with the node as its server, tests what the node serves.
#[test]
fn a_data_contract_is_tested_against_the_node_that_runs_on_it() {
    let mut file = PathBuf::new();
    let folder = tempfile::TempDir::new().expect("a folder");
    let city = FirstCity::with("queries_max = 64", |contract, port| {
        let server = format!(
            "servers:\n- {{server: node, type: postgres, host: 127.0.0.1, port: {port}, database: Aarhus, schema: air}}\nschema:"
        );
        let contract = std::fs::read_to_string(contract).expect("a contract").replacen("schema:", &server, 1);
        file = folder.path().join("readings.yaml");
        std::fs::write(&file, contract).expect("written");
        file.clone()
    });
    must(&["contract", "check", text(&file)]);
    let output = Command::new(python_tool("datacontract"))
        .args(["test", "--server", "node", text(&file)])
        .env("DATACONTRACT_POSTGRES_USERNAME", "anyone")
        .env("DATACONTRACT_POSTGRES_PASSWORD", city.air.token("query"))
        .output()
        .expect("datacontract runs");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{}", city.air.log());
    assert!(said.contains("Data contract is valid"), "{said}");
}

#[test]
fn beyond_loopback_postgresqls_wire_demands_tls() {
    let port = free_port();
    let mut city = City::found("Aarhus", "Europe/Copenhagen");
    let mut air = city.enroll("air", &[&root().join("deploy/first/air/readings.yaml")]);
    air.amend("[node]\n", &format!("[node]\ndepartment_postgres_listen = \"0.0.0.0:{port}\"\n"));
    air.start();
    let ask = |mode: &str| {
        let url = format!("host=127.0.0.1 port={port} user=anyone dbname=Aarhus sslmode={mode}");
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-c", "SELECT 1", &url]).env("PGPASSWORD", air.token("query"));
        psql.output().expect("psql runs")
    };
    assert_eq!(String::from_utf8_lossy(&ask("require").stdout), "1\n");
    let refused = ask("disable");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sslmode=require"), "{refused:?}");
}
