//! Real nodes on loopback: a city founded in a folder, with real TLS and real disks, all nodes in this process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use civicmesh_exchange::office::{CityOffice, Departure, NodeFolder, Purpose};
use civicmesh_model::time::Zone;
use civicmesh_node::client::{Client, Credentials};
use civicmesh_node::{Environment, Node, Running, free_addresses};
use tokio::task::JoinHandle;

use super::wires::Wires;

/// The head of a configuration's table on pulls.
const PULL_TABLE: &str = "\n[pull]\n";

/// How nodes ask their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// How often each peer is asked for what is new, in milliseconds.
    pub interval_ms: u32,
    /// Longest wait until one that failed is asked again, in milliseconds.
    pub backoff_ms_max: u32,
}

impl Pull {
    /// Asks each peer so often, and one that failed a fourth as often at the least.
    pub fn every_ms(interval_ms: u32) -> Pull {
        Pull { interval_ms, backoff_ms_max: 4 * interval_ms }
    }

    /// The table of a node's configuration; it is the last.
    fn table(self) -> String {
        let Pull { interval_ms, backoff_ms_max } = self;
        format!("{PULL_TABLE}interval_ms = {interval_ms}\nbackoff_ms_max = {backoff_ms_max}\n")
    }
}

/// How the nodes of a town are set, beside their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How peers are asked.
    pub pull: Pull,
    /// Whether nodes also listen for PostgreSQL's protocol.
    pub postgres: bool,
    /// Whether the department's side speaks TLS.
    pub department_tls: bool,
}

/// A city of real nodes.
pub struct Town {
    folder: PathBuf,
    office: CityOffice,
    settings: Settings,
    /// The links between its nodes.
    pub wires: Wires,
    nodes: BTreeMap<String, Option<Running>>,
    relays: Vec<JoinHandle<()>>,
}

impl Town {
    /// Founds a city in a folder, which is made if need be and must hold none.
    pub fn found(folder: &Path, name: &str, zone: Zone, settings: Settings) -> anyhow::Result<Town> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let office = CityOffice::init(&folder.join("office"), name, zone, Environment::real().clock.now())?;
        let nodes = BTreeMap::new();
        let folder = folder.to_owned();
        Ok(Town { folder, office, settings, wires: Wires::default(), nodes, relays: Vec::new() })
    }

    /// The folder of a domain's node.
    pub fn dir(&self, domain: &str) -> PathBuf {
        self.folder.join(domain)
    }

    /// The domains that are enrolled, sorted.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Enrols a domain; `contracts` writes what it shares into the folder of its contracts.
    pub async fn enroll(
        &mut self,
        domain: &str,
        contracts: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let [listen, department, postgres] = free_addresses()?.map(|address| address.to_string());
        let departure = Departure {
            domain: Some(domain.parse()?),
            listen: Some(listen.parse()?),
            department: Some(department.parse()?),
            seeds: Vec::new(),
        };
        let folder = NodeFolder::new(self.dir(domain));
        self.office.enroll_out(&folder, &departure, Environment::real().clock.now())?;
        contracts(&folder.contracts()).with_context(|| folder.contracts().display().to_string())?;
        let mut config = fs::read_to_string(folder.config_file())?;
        if self.settings.postgres {
            let line = format!("[node]\ndepartment_postgres_listen = \"{postgres}\"\n");
            config = config.replacen("[node]\n", &line, 1);
        }
        if self.settings.department_tls {
            config += "\n[department]\ntls = true\n";
        }
        config += &self.settings.pull.table();
        fs::write(folder.config_file(), config)?;
        self.wires.name(&listen, domain);
        self.nodes.insert(domain.to_owned(), None);
        Ok(())
    }

    /// Changes how nodes ask their peers: of each once it is started again.
    pub fn set_pull(&mut self, pull: Pull) -> anyhow::Result<()> {
        self.settings.pull = pull;
        for domain in self.nodes.keys() {
            let file = NodeFolder::new(self.dir(domain)).config_file();
            let config = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let before = config.split_once(PULL_TABLE).map_or(config.as_str(), |(before, _)| before);
            fs::write(&file, before.to_owned() + &pull.table()).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Starts a node that is enrolled; does nothing if it runs.
    pub async fn start(&mut self, domain: &str) -> anyhow::Result<()> {
        let node = self.nodes.get(domain).with_context(|| format!("there is no domain {domain}"))?;
        if node.is_none() {
            let environment = Environment { network: self.wires.network(domain), ..Environment::real() };
            let running = Node::start(&self.dir(domain), environment).await?;
            self.wires.name(running.city_address(), domain);
            self.wires.name(running.department_address(), domain);
            self.nodes.insert(domain.to_owned(), Some(running));
        }
        Ok(())
    }

    /// Starts every node.
    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        let domains: Vec<String> = self.nodes.keys().cloned().collect();
        for domain in domains {
            self.start(&domain).await?;
        }
        Ok(())
    }

    /// Stops a node; does nothing if it does not run.
    pub async fn stop(&mut self, domain: &str) {
        if let Some(running) = self.nodes.get_mut(domain).and_then(Option::take) {
            running.stop().await;
        }
    }

    /// Stops every node.
    pub async fn stop_all(&mut self) {
        self.relays.drain(..).for_each(|relay| relay.abort());
        let domains: Vec<String> = self.nodes.keys().cloned().collect();
        for domain in domains {
            self.stop(&domain).await;
        }
    }

    /// A node that runs.
    pub fn running(&self, domain: &str) -> Option<&Running> {
        self.nodes.get(domain)?.as_ref()
    }

    /// A client of a domain's own node, at its own department.
    pub fn client(&self, domain: &str, purpose: Purpose) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.dir(domain).display().to_string(), purpose, Credentials::default())?)
    }

    /// A client of another domain's node whose bytes cross the network as those of `from`; that node must run, and
    /// speak TLS to its department.
    pub async fn remote_client(&mut self, from: &str, to: &str, purposes: [Purpose; 2]) -> anyhow::Result<[Client; 2]> {
        let running = self.running(to).with_context(|| format!("{to} does not run"))?;
        let (address, relay) = self.wires.relay(from, running.department_address()).await?;
        self.relays.push(relay);
        let folder = NodeFolder::new(self.dir(to));
        let connect = |purpose| {
            let credentials = Credentials {
                token: Some(folder.token(purpose)?.expose().to_owned()),
                city: Some(folder.tls()),
                domain: Some(to.parse()?),
            };
            Ok::<_, anyhow::Error>(Client::connect(&format!("https://{address}"), purpose, credentials)?)
        };
        Ok([connect(purposes[0])?, connect(purposes[1])?])
    }

    /// Bytes of tables and blobs on disk in all vaults, and in all ledgers; what RocksDB writes for itself is not counted.
    /// To be asked of nodes that are stopped: what is in memory or in a log then is in tables.
    pub fn stored(&self) -> std::io::Result<(u64, u64)> {
        let mut sums = (0, 0);
        for domain in self.nodes.keys() {
            sums.0 += folder_bytes(&self.dir(domain).join("vault"))?;
            sums.1 += folder_bytes(&self.dir(domain).join("ledger"))?;
        }
        Ok(sums)
    }
}

/// Bytes of tables and blobs under a folder; 0 where there is none. RocksDB may remove a file meanwhile.
fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) if holds_values(&entry.path()) => sum += found.len(),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}

fn holds_values(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "sst" || extension == "blob")
}
