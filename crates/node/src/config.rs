//! `node.toml`: parsed once, before a port opens. Every error names the file, the key and the mend.
//!
//! ```toml
//! [node]
//! domain = "traffic"
//! city_listen = "0.0.0.0:7400"           # peers, mutual TLS
//! department_listen = "127.0.0.1:7500"   # ingest, SQL, metrics
//! seeds = ["transit.example.org:7400"]
//! ```
//!
//! All else has a default, which [`Config`] documents field by field.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use civicmesh_exchange::pull::Quota;
use civicmesh_exchange::roster::Address;
use civicmesh_model::names::DomainName;
use serde::Deserialize;

/// The name of the configuration file in a node's folder.
pub const CONFIG_FILE: &str = "node.toml";

/// Longest `node.toml` that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Greatest value of a time, in milliseconds: 30 days.
const MS_MAX: u64 = 30 * 86_400_000;
/// Greatest value of a count of things at once.
const COUNT_MAX: u64 = 1 << 20;
/// Greatest value of the largest answer, in bytes: what a client of ours takes.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What `node.toml` says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who the node is and where it listens.
    pub node: NodeSection,
    /// The side that faces the department itself.
    #[serde(default)]
    pub department: DepartmentSection,
    /// When windows are closed.
    #[serde(default)]
    pub publisher: PublisherSection,
    /// When releases are pulled from peers.
    #[serde(default)]
    pub pull: PullSection,
    /// What bounds the node.
    #[serde(default)]
    pub limits: LimitsSection,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// The domain that this node owns; its certificate must say the same.
    pub domain: DomainName,
    /// Where the node listens for peers (mutual TLS), as HOST:PORT. Peers are told the roster's address, which may be
    /// another one.
    pub city_listen: String,
    /// Where the department itself connects, as HOST:PORT.
    pub department_listen: String,
    /// Where the department's tools that speak PostgreSQL's protocol connect, as HOST:PORT; nowhere by default. TLS is
    /// offered there, and demanded beyond loopback.
    #[serde(default)]
    pub department_postgres_listen: Option<String>,
    /// Addresses of peers to ask first; the roster that they hand out names the others.
    #[serde(default)]
    pub seeds: Vec<Address>,
    /// The folder of raw observations, relative to the node's folder.
    #[serde(default = "default_vault")]
    pub vault: PathBuf,
    /// The folder of releases and replicas, relative to the node's folder.
    #[serde(default = "default_ledger")]
    pub ledger: PathBuf,
    /// How long a stop waits for work in flight, in milliseconds.
    #[serde(default = "default_stop_deadline_ms")]
    pub stop_deadline_ms: u64,
}

/// `[department]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DepartmentSection {
    /// Whether the department's listener speaks TLS, with the node's own certificate. Needed beyond loopback.
    pub tls: bool,
}

/// `[publisher]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublisherSection {
    /// How often to look for windows that time alone has closed, in milliseconds. An ingest that ends wakes the
    /// publisher at once.
    pub interval_ms: u64,
    /// Most windows that are closed in one pass over the raw observations.
    pub windows_max: usize,
    /// How often raw observations, reject files and releases past their retention are dropped, in milliseconds.
    pub retention_interval_ms: u64,
}

/// `[pull]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PullSection {
    /// How often each peer is asked for what is new, in milliseconds.
    pub interval_ms: u32,
    /// Longest wait before a peer that failed is tried again, in milliseconds.
    pub backoff_ms_max: u32,
    /// How often the certificate and roster files are looked at for a change, in milliseconds.
    pub reload_interval_ms: u64,
    /// Most log entries that are stored of one product of a peer.
    pub product_entries_max: u64,
    /// Most bytes of entries that are stored of one product of a peer.
    pub product_bytes_max: u64,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Ingests at once; one more is answered "busy".
    pub ingests_max: usize,
    /// Largest upload of one file as it comes (compressed, if it is), in bytes.
    pub upload_bytes_max: u64,
    /// Queries at once; up to 1,024 wait for their turn, and one that takes longer than its turn beyond these is
    /// answered "busy".
    pub queries_max: usize,
    /// Working memory of all queries together, in bytes.
    pub query_memory_bytes_max: usize,
    /// Largest answer to one query, in bytes.
    pub result_bytes_max: usize,
    /// Longest that one query may take, in milliseconds.
    pub query_ms_max: u64,
    /// Most cells in one window; a window with more is refused by the gate.
    pub cells_max: usize,
    /// Open connections on the department's listener.
    pub connections_max: usize,
    /// Open connections on the department's listener from one address; one more is closed.
    pub connections_per_address_max: usize,
    /// Longest that no byte passes over a connection beside the time that a query may take, in milliseconds.
    pub connection_idle_ms_max: u64,
    /// Longest pause within an upload, in milliseconds.
    pub upload_idle_ms_max: u64,
    /// Longest that one upload may take, in milliseconds.
    pub upload_ms_max: u64,
    /// All answers together that are on their way to whoever asked, in bytes; one more is answered "busy".
    pub answers_bytes_max: usize,
    /// Longest that an answer waits to be read on, in milliseconds.
    pub answer_idle_ms_max: u64,
}

fn default_vault() -> PathBuf {
    PathBuf::from("vault")
}

fn default_ledger() -> PathBuf {
    PathBuf::from("ledger")
}

fn default_stop_deadline_ms() -> u64 {
    10_000
}

impl Default for PublisherSection {
    fn default() -> Self {
        PublisherSection { interval_ms: 10_000, windows_max: 512, retention_interval_ms: 3_600_000 }
    }
}

impl Default for PullSection {
    fn default() -> Self {
        let Quota { entries_max: product_entries_max, bytes_max: product_bytes_max } = Quota::default();
        PullSection {
            interval_ms: 2_000,
            backoff_ms_max: 60_000,
            reload_interval_ms: 10_000,
            product_entries_max,
            product_bytes_max,
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        LimitsSection {
            ingests_max: 2,
            upload_bytes_max: 16 << 30,
            queries_max: 16,
            query_memory_bytes_max: 1 << 30,
            result_bytes_max: 64 << 20,
            query_ms_max: 60_000,
            cells_max: 100_000,
            connections_max: 1_024,
            connections_per_address_max: 256,
            connection_idle_ms_max: 300_000,
            upload_idle_ms_max: 60_000,
            upload_ms_max: 6 * 3_600_000,
            answers_bytes_max: 256 << 20,
            answer_idle_ms_max: 60_000,
        }
    }
}

/// Why a `node.toml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file at fault.
    pub file: PathBuf,
    /// The line, counted from one, where it is known.
    pub line: Option<usize>,
    /// The key at fault, `section.key`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong, and how to mend it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Config {
    /// Reads and checks `node.toml` in the folder `dir`. Opens nothing else.
    pub fn read(dir: &Path) -> Result<Config, ConfigError> {
        let file = dir.join(CONFIG_FILE);
        let whole = |message: String| ConfigError { file: file.clone(), line: None, key: String::new(), message };
        let size = std::fs::metadata(&file).map_err(|error| whole(format!("{error}; is this a node's folder?")))?.len();
        if size > CONFIG_BYTES_MAX {
            return Err(whole(format!("longer than {CONFIG_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| whole(error.to_string()))?;
        Config::parse(&text, &file)
    }

    /// Parses and checks the text of a `node.toml`; `file` is named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| located(text, file, &error))?;
        config.check().map_err(|(key, message)| ConfigError {
            file: file.to_owned(),
            line: line_of_key(text, key),
            key: key.to_owned(),
            message,
        })?;
        Ok(config)
    }

    /// Whether the department's listener stays on this machine.
    pub fn department_is_loopback(&self) -> bool {
        is_loopback(&self.node.department_listen)
    }

    /// Whether the listener for PostgreSQL's protocol stays on this machine.
    pub fn postgres_is_loopback(&self) -> bool {
        self.node.department_postgres_listen.as_deref().is_none_or(is_loopback)
    }

    /// How long a stop waits for work in flight.
    pub fn stop_deadline(&self) -> Duration {
        Duration::from_millis(self.node.stop_deadline_ms)
    }

    /// The rules that types cannot state. The error holds the key and the message.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let addresses = [("city_listen", &self.node.city_listen), ("department_listen", &self.node.department_listen)];
        let postgres = self.node.department_postgres_listen.as_ref();
        for (key, address) in
            addresses.into_iter().chain(postgres.map(|address| ("department_postgres_listen", address)))
        {
            host_and_port(address).map_err(|message| (key, message))?;
        }
        if !self.department.tls && !self.department_is_loopback() {
            return Err((
                "department_listen",
                "beyond loopback this listener needs TLS; set `tls = true` under [department], or listen on 127.0.0.1"
                    .to_owned(),
            ));
        }
        if self.node.vault == self.node.ledger {
            return Err(("ledger", "raw observations and releases need a folder each; name another".to_owned()));
        }
        self.check_ranges()?;
        if self.limits.answers_bytes_max < self.limits.result_bytes_max {
            return Err(("answers_bytes_max", "must hold the largest answer, `result_bytes_max`, at least".to_owned()));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), (&'static str, String)> {
        let (node, publisher, pull, limits) = (&self.node, &self.publisher, &self.pull, &self.limits);
        let ranges = [
            ("interval_ms", publisher.interval_ms.min(pull.interval_ms.into()), MS_MAX),
            ("interval_ms", publisher.interval_ms.max(pull.interval_ms.into()), MS_MAX),
            ("backoff_ms_max", pull.backoff_ms_max.into(), MS_MAX),
            ("reload_interval_ms", pull.reload_interval_ms, MS_MAX),
            ("product_entries_max", pull.product_entries_max, u64::MAX),
            ("product_bytes_max", pull.product_bytes_max, u64::MAX),
            ("stop_deadline_ms", node.stop_deadline_ms, MS_MAX),
            ("retention_interval_ms", publisher.retention_interval_ms, MS_MAX),
            ("windows_max", publisher.windows_max as u64, COUNT_MAX),
            ("ingests_max", limits.ingests_max as u64, COUNT_MAX),
            ("upload_bytes_max", limits.upload_bytes_max, i64::MAX as u64),
            ("queries_max", limits.queries_max as u64, COUNT_MAX),
            ("query_memory_bytes_max", limits.query_memory_bytes_max as u64, isize::MAX as u64),
            ("result_bytes_max", limits.result_bytes_max as u64, ANSWER_BYTES_MAX),
            ("query_ms_max", limits.query_ms_max, MS_MAX),
            ("cells_max", limits.cells_max as u64, u32::MAX.into()),
            ("connections_max", limits.connections_max as u64, COUNT_MAX),
            ("connections_per_address_max", limits.connections_per_address_max as u64, COUNT_MAX),
            ("connection_idle_ms_max", limits.connection_idle_ms_max, MS_MAX),
            ("upload_idle_ms_max", limits.upload_idle_ms_max, MS_MAX),
            ("upload_ms_max", limits.upload_ms_max, MS_MAX),
            ("answers_bytes_max", limits.answers_bytes_max as u64, u32::MAX.into()),
            ("answer_idle_ms_max", limits.answer_idle_ms_max, MS_MAX),
        ];
        match ranges.iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            Some((key, _, most)) => Err((key, format!("must be at least 1, and at most {most}"))),
            None => Ok(()),
        }
    }
}

/// Splits HOST:PORT, IPv6 hosts in brackets; says what is missing otherwise.
fn host_and_port(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("`{address}` is not HOST:PORT, as in 127.0.0.1:7400");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return Err(wrong());
    }
    Ok((host, port))
}

/// Whether every address behind HOST:PORT is on this machine. `localhost` counts; another name is looked up
/// nowhere and counts as beyond.
pub(crate) fn is_loopback(address: &str) -> bool {
    if let Ok((host, _)) = host_and_port(address)
        && host == "localhost"
    {
        return true;
    }
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// A parser's error with file, line and key.
fn located(text: &str, file: &Path, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map(|span| span.start.min(text.len()));
    let line = offset.map(|offset| text[..offset].matches('\n').count() + 1);
    let key = line
        .and_then(|line| text.lines().nth(line - 1))
        .map(|content| content.split(['=', '#']).next().unwrap_or_default().trim())
        .unwrap_or_default();
    ConfigError { file: file.to_owned(), line, key: key.to_owned(), message: error.message().replace('\n', " ") }
}

/// The line on which `key` is set, counted from one.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    text.lines().position(|line| line.split('=').next().is_some_and(|left| left.trim() == key)).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERSE: &str =
        "[node]\ndomain = \"traffic\"\ncity_listen = \"127.0.0.1:7400\"\ndepartment_listen = \"127.0.0.1:7500\"\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("node.toml"))
    }

    #[test]
    fn four_lines_are_enough() {
        let config = parse(TERSE).unwrap();
        assert_eq!(config.node.domain.as_str(), "traffic");
        assert_eq!(config.node.vault, Path::new("vault"));
        assert!(!config.department.tls);
        assert!(config.limits.ingests_max > 0);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse(&format!("{TERSE}sedes = []\n")).unwrap_err();
        assert_eq!(error.line, Some(5));
        assert_eq!(error.key, "sedes");
        assert!(error.to_string().starts_with("node.toml:5: sedes: unknown field `sedes`"), "{error}");
        assert!(error.message.contains("`seeds`"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let error = parse(&format!("{TERSE}[limits]\nqueries_max = \"many\"\n")).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (Some(6), "queries_max"));
    }

    #[test]
    fn an_address_without_a_port_is_refused() {
        let error = parse(&TERSE.replace("127.0.0.1:7400", "localhost")).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (Some(3), "city_listen"));
    }

    #[test]
    fn beyond_loopback_the_department_needs_tls() {
        for address in ["0.0.0.0:7500", "192.0.2.1:7500", "[::]:7500", "node.example.org:7500"] {
            let text = TERSE.replace("127.0.0.1:7500", address);
            assert_eq!(parse(&text).unwrap_err().key, "department_listen");
            assert!(parse(&format!("{text}[department]\ntls = true\n")).is_ok());
        }
        for address in ["localhost:7500", "127.0.0.9:7500", "[::1]:7500"] {
            assert!(parse(&TERSE.replace("127.0.0.1:7500", address)).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_zero_limit_is_refused() {
        let error = parse(&format!("{TERSE}[limits]\ncells_max = 0\n")).unwrap_err();
        assert_eq!(error.key, "cells_max");
    }

    #[test]
    fn a_limit_that_no_part_can_keep_is_refused_with_its_line() {
        for (key, value) in [
            ("connections_max", usize::MAX.to_string()),
            ("queries_max", (usize::MAX >> 2).to_string()),
            ("query_ms_max", i64::MAX.to_string()),
            ("answers_bytes_max", "1".to_owned()),
        ] {
            let value: u128 = value.parse().unwrap();
            let error = parse(&format!("{TERSE}[limits]\n{key} = {}\n", value.min(i64::MAX as u128))).unwrap_err();
            assert_eq!((error.line, error.key.as_str()), (Some(6), key), "{error}");
        }
    }
}
