//! The demonstration's nodes: processes of their own, with folders, keys and ports of their own.

use super::{PATIENCE, TIMEZONE, client, in_words};
use anyhow::{Context, Result, bail};
use civicmesh_node::client::{Complete, IngestRequest, QueryAnswer};
use civicmesh_node::office::{CityOffice, Departure, NodeFolder, Purpose};
use civicmesh_node::query::QueryOptions;
use civicmesh_node::status::{CityStatus, LinkState};
use civicmesh_node::{Environment, free_addresses};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Pause between two looks at a node's status.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// A dataset, the file that goes into it, and up to when its windows are then complete.
pub type Feed = (&'static str, &'static str, &'static str);

/// One department of the demonstration.
pub struct Department {
    pub domain: &'static str,
    pub contracts: &'static [&'static str],
    /// Files that the contracts name.
    pub lookups: &'static [&'static str],
    pub feeds: &'static [Feed],
}

/// Where the city stands: a folder that goes away at the end unless the user named it.
pub enum Home {
    Named(PathBuf),
    Temporary(PathBuf),
}

impl Home {
    /// A folder for the city. One that the user names is made anew if an earlier demonstration left it.
    pub fn new(named: Option<&Path>) -> Result<Self> {
        let Some(named) = named else {
            let path = std::env::temp_dir().join(format!("civicmesh-demo-{}", std::process::id()));
            clear(&path)?;
            std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
            return Ok(Home::Temporary(path));
        };
        let office = named.join("office/city.toml");
        if named.exists() && named.read_dir()?.next().is_some() && !office.exists() {
            bail!("{} is not empty and holds no earlier demonstration; name another folder", named.display());
        }
        clear(named)?;
        std::fs::create_dir_all(named).with_context(|| named.display().to_string())?;
        Ok(Home::Named(named.canonicalize()?))
    }

    pub fn path(&self) -> &Path {
        match self {
            Home::Named(path) | Home::Temporary(path) => path,
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Home::Temporary(path) = self {
            // A folder in the system's temporary space: the system clears what is left.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

fn clear(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// The running nodes by domain.
pub struct Nodes {
    nodes: BTreeMap<&'static str, Running>,
}

struct Running {
    dir: PathBuf,
    child: Option<Child>,
}

impl Running {
    fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("node.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["node", "run"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let mut client = client(&self.dir, Purpose::Admin)?;
        let child = self.child.as_mut().context("the node does not run")?;
        let ended = async {
            loop {
                if let Ok(Some(status)) = child.try_wait() {
                    return status;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        };
        tokio::select! {
            ready = client.wait_ready(PATIENCE) => Ok(ready?),
            status = ended => bail!("the node ended ({status}); see {}", self.dir.join("node.log").display()),
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Nodes {
    /// Founds the city, enrols the departments and starts their nodes.
    pub async fn start(home: &Path, files: &Path, departments: &[Department]) -> Result<Self> {
        let now = Environment::real().clock.now();
        let office = CityOffice::init(&home.join("office"), "New York", TIMEZONE.parse()?, now)?;
        let mut nodes = BTreeMap::new();
        for department in departments {
            let [listen, at_department] = free_addresses()?;
            let dir = home.join(department.domain);
            let departure = Departure {
                domain: Some(department.domain.parse()?),
                listen: Some(listen.to_string().parse()?),
                department: Some(at_department.to_string().parse()?),
                seeds: Vec::new(),
            };
            office.enroll_out(&NodeFolder::new(&dir), &departure, now)?;
            for name in department.contracts.iter().chain(department.lookups) {
                let from = files.join(department.domain).join(name);
                std::fs::copy(&from, dir.join("contracts").join(name)).with_context(|| from.display().to_string())?;
            }
            set_demo_pace(&dir)?;
            nodes.insert(department.domain, Running { dir, child: None });
        }
        // Every node starts with the whole roster: who was admitted first need not wait to be greeted by the last.
        let roster = office.roster()?;
        for node in nodes.values_mut() {
            std::fs::write(NodeFolder::new(&node.dir).roster_file(), roster.as_bytes())?;
            node.start()?;
        }
        for node in nodes.values_mut() {
            node.ready().await?;
        }
        Ok(Self { nodes })
    }

    pub fn dir(&self, domain: &str) -> &Path {
        &self.nodes[domain].dir
    }

    /// Takes one file in; anything but a clean ingest ends the demonstration.
    pub async fn ingest(&self, domain: &str, files: &Path, (dataset, file, until): Feed) -> Result<()> {
        let request = IngestRequest {
            dataset: dataset.to_owned(),
            source: None,
            file: files.join(domain).join(file),
            complete: Complete::Until(until.to_owned()),
        };
        let summary = client(self.dir(domain), Purpose::Ingest)?
            .ingest(&request, &mut |_| {})
            .await
            .with_context(|| format!("{domain}: {file}"))?;
        if summary.rejects_exceeded {
            bail!("{domain}: {file}: {} rows rejected, more than the contract allows", summary.rejected);
        }
        Ok(())
    }

    pub async fn ask(&self, domain: &str, sql: &str) -> Result<QueryAnswer> {
        client(self.dir(domain), Purpose::Query)?.query(sql, &QueryOptions::default()).await.map_err(in_words)
    }

    async fn status(&self, domain: &str) -> Result<CityStatus> {
        Ok(client(self.dir(domain), Purpose::Admin)?.status().await?)
    }

    /// Waits until every node holds every release that it is granted: as many log entries as the owner has.
    pub async fn converged(&self) -> Result<()> {
        loop {
            let mut statuses = Vec::new();
            for domain in self.nodes.keys() {
                statuses.push(self.status(domain).await?);
            }
            let owned: BTreeMap<_, _> = statuses
                .iter()
                .flat_map(|status| status.products.iter().filter(|product| product.owner == status.domain))
                .map(|product| (product.product.clone(), product.entries))
                .collect();
            let whole = statuses.iter().all(|status| {
                owned.iter().all(|(id, entries)| {
                    status
                        .products
                        .iter()
                        .any(|product| product.product == *id && (!product.granted || product.entries == *entries))
                })
            });
            if whole && owned.values().all(|entries| *entries > 0) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until one node says that another cannot be reached.
    pub async fn unreachable(&self, at: &str, domain: &str) -> Result<()> {
        loop {
            let status = self.status(at).await?;
            if status
                .domains
                .iter()
                .any(|other| other.domain.as_str() == domain && other.link == LinkState::Unreachable)
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    pub fn kill(&mut self, domain: &str) -> Result<()> {
        self.nodes.get_mut(domain).context("no such node")?.kill();
        Ok(())
    }

    pub async fn restart(&mut self, domain: &str) -> Result<()> {
        let node = self.nodes.get_mut(domain).context("no such node")?;
        node.start()?;
        node.ready().await
    }

    /// Stops every node as an operator would.
    pub async fn stop(mut self) -> Result<()> {
        for node in self.nodes.values() {
            if let Some(child) = &node.child {
                // the shell's own kill: a bare machine has no other
                Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status()?;
            }
        }
        for node in self.nodes.values_mut() {
            if let Some(mut child) = node.child.take() {
                while child.try_wait()?.is_none() {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
            }
        }
        Ok(())
    }
}

/// Nodes of the demonstration look at each other more often than those of a city need to.
fn set_demo_pace(dir: &Path) -> Result<()> {
    let file = dir.join("node.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{text}\n[pull]\ninterval_ms = 500\nbackoff_ms_max = 2000\n"))?;
    Ok(())
}
