//! One of the two ways to run a city, on real nodes: everything gathered at one, or each department at its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use civicmesh_exchange::office::Purpose;
use civicmesh_model::time::UtcMicros;
use civicmesh_node::client::{Client, ClientError, Complete, IngestRequest, QueryAnswer};
use civicmesh_node::query::QueryOptions;
use tokio::time::{Instant, sleep};

use crate::city::{City, Department};
use crate::up::town::{Settings, Town};

/// The domain of the central brain.
pub(super) const CENTRAL: &str = "central";
/// How often peers are asked while a city is replayed, at the most: days go by in seconds.
const REPLAY_PULL_MS_MIN: u32 = 100;
/// How often all of them together ask, at the most, in a second: a machine that does nothing else tells no cost.
const REPLAY_PULLS_A_SECOND_MAX: u32 = 300;
/// Longest wait until everything that was released is everywhere.
const CONVERGE_MAX: Duration = Duration::from_secs(600);
/// Pause between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(100);
/// Times that a file is sent, at the most.
const TRIES_MAX: u32 = 3;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// All raw rows go to one node, which answers everybody.
    Central,
    /// Raw rows stay at each department's node, and releases go to all.
    Cluster,
}

/// A city that runs one way.
pub(super) struct Arm<'c> {
    pub way: Way,
    pub town: Town,
    /// How often each node asks each peer in this replay, in seconds.
    pub pull_s: f64,
    city: &'c City,
    folder: std::path::PathBuf,
    ingest: BTreeMap<String, Client>,
    query: BTreeMap<String, Client>,
}

impl<'c> Arm<'c> {
    /// Founds and starts the city in a folder.
    pub(super) async fn start(way: Way, city: &'c City, folder: &Path) -> anyhow::Result<Arm<'c>> {
        let many = city.departments.len() as u32;
        let pull_ms = REPLAY_PULL_MS_MIN.max(many * many * 1_000 / REPLAY_PULLS_A_SECOND_MAX);
        let settings = Settings { pull_ms, postgres: false, department_tls: way == Way::Central };
        let mut town = Town::found(folder, &city.plan.name, city.zone, settings)?;
        match way {
            Way::Cluster => {
                for of in &city.departments {
                    town.enroll(&of.domain, |contracts| of.write_contract(contracts)).await?;
                }
            }
            Way::Central => town.enroll(CENTRAL, |contracts| gather(city, contracts)).await?,
        }
        town.start_all().await?;
        let (mut ingest, mut query) = (BTreeMap::new(), BTreeMap::new());
        for of in &city.departments {
            let [sends, asks] = match way {
                Way::Cluster => [town.client(&of.domain, Purpose::Ingest)?, town.client(&of.domain, Purpose::Query)?],
                Way::Central => town.remote_client(&of.domain, CENTRAL, [Purpose::Ingest, Purpose::Query]).await?,
            };
            ingest.insert(of.domain.clone(), sends);
            query.insert(of.domain.clone(), asks);
        }
        Ok(Arm { way, town, pull_s: f64::from(pull_ms) / 1_000.0, city, folder: folder.to_owned(), ingest, query })
    }

    /// Sends one file of a department; `last` closes every window of the city. Returns whether it arrived: a link that is
    /// cut is no error.
    pub(super) async fn send(&mut self, of: &Department, csv: &Path, last: bool) -> anyhow::Result<bool> {
        let dataset = match self.way {
            Way::Cluster => of.dataset.clone(),
            Way::Central => of.gathered(CENTRAL).product,
        };
        let complete = match last {
            true if of.real.is_some() => Complete::LastFull,
            true => Complete::Until(self.city.hour_start(self.city.plan.hours()).to_string()),
            false => Complete::No,
        };
        let request = IngestRequest { dataset, source: None, file: csv.to_owned(), complete };
        let client = self.ingest.get_mut(&of.domain).with_context(|| of.domain.clone())?;
        for _ in 0..TRIES_MAX {
            match client.ingest(&request, &mut |_| {}).await {
                Ok(taken) if taken.rejects_exceeded => bail!("{}: more than half of the rows were rejected", of.domain),
                Ok(_) => return Ok(true),
                Err(ClientError::Unreachable { .. } | ClientError::BrokenOff { .. } | ClientError::Silent { .. }) => {}
                Err(error) => return Err(error).with_context(|| of.domain.clone()),
            }
        }
        Ok(false)
    }

    /// The table of a department's product.
    pub(super) fn table(&self, of: &Department) -> String {
        match self.way {
            Way::Cluster => of.table(),
            Way::Central => of.gathered(CENTRAL).table,
        }
    }

    /// Asks a question where a department asks: its own node, or the central brain over the network.
    pub(super) async fn ask(&mut self, domain: &str, sql: &str) -> Result<QueryAnswer, ClientError> {
        match self.query.get_mut(domain) {
            Some(client) => client.query(sql, &QueryOptions::default()).await,
            None => Err(ClientError::Unreachable { address: domain.to_owned() }),
        }
    }

    /// How far each product is closed as seen where a department asks, by the domain of whom it is from. None where
    /// nobody answers.
    pub(super) async fn knows(&mut self, domain: &str) -> Option<BTreeMap<String, Option<UtcMicros>>> {
        let status = self.query.get_mut(domain)?.status().await.ok()?;
        let mut known = BTreeMap::new();
        for of in &self.city.departments {
            let table = self.table(of);
            let product = status.products.iter().find(|product| product.product.to_string() == table);
            known.insert(of.domain.clone(), product.and_then(|product| product.closed_through));
        }
        Some(known)
    }

    /// Waits until each of `askers` knows of each of `products` what its owner has closed, at least up to what `closed`
    /// says of it.
    pub(super) async fn converge(
        &mut self,
        pairs: &[(String, String)],
        closed: &BTreeMap<String, Option<UtcMicros>>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let askers: std::collections::BTreeSet<&String> = pairs.iter().map(|(asker, _)| asker).collect();
        for asker in askers {
            loop {
                let known = self.knows(asker).await.unwrap_or_default();
                let behind = pairs.iter().find(|(of, product)| {
                    of == asker && known.get(product).copied().flatten() < closed.get(product).copied().flatten()
                });
                let Some((_, product)) = behind else { break };
                if begun.elapsed() > CONVERGE_MAX {
                    bail!("{asker} did not learn what {product} released within {} s", CONVERGE_MAX.as_secs());
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Pairs of a node and a peer that it asks for what is new.
    pub(super) fn pairs(&self) -> u64 {
        let nodes = self.town.domains().count() as u64;
        nodes * nodes.saturating_sub(1)
    }

    /// Stops all nodes and removes the folder.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.town.stop_all().await;
        fs::remove_dir_all(&self.folder).with_context(|| self.folder.display().to_string())
    }
}

fn gather(city: &City, contracts: &Path) -> std::io::Result<()> {
    for of in &city.departments {
        let gathered = of.gathered(CENTRAL);
        fs::write(contracts.join(format!("{}.yaml", gathered.product)), &gathered.contract)?;
        gathered.lookups.iter().try_for_each(|(name, content)| fs::write(contracts.join(name), content))?;
    }
    Ok(())
}
