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
use civicmesh_node::status::LinkState;
use tokio::time::{Instant, sleep};

use crate::city::{City, Department};
use crate::up::town::{Pull, Settings, Town};

/// The domain of the central brain.
pub(super) const CENTRAL: &str = "central";
/// How often peers are asked while a city is replayed, at the most: days go by in seconds.
const REPLAY_PULL_MS_MIN: u32 = 100;
/// How often all of them together ask, at the most, in a second: a machine that does nothing else tells no cost.
const REPLAY_PULLS_A_SECOND_MAX: u32 = 300;
/// A wait between two turns lies between half of what the configuration says and all of it: this part of it on average.
pub(super) const TURN_MEAN: f64 = 0.75;
/// How peers are asked while nothing is to be learned of them: hardly ever, but for those that were never reached.
const REST: Pull = Pull { interval_ms: 3_600_000, backoff_ms_max: 500 };
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
    /// How nodes ask their peers in a replay.
    replay: Pull,
    city: &'c City,
    folder: std::path::PathBuf,
    ingest: BTreeMap<String, Client>,
    query: BTreeMap<String, Client>,
}

impl<'c> Arm<'c> {
    /// Founds and starts the city in a folder, for a replay.
    pub(super) async fn start(way: Way, city: &'c City, folder: &Path) -> anyhow::Result<Arm<'c>> {
        let many = city.departments.len() as u32;
        let replay =
            Pull::every_ms(REPLAY_PULL_MS_MIN.max(many * many.saturating_sub(1) * 1_000 / REPLAY_PULLS_A_SECOND_MAX));
        let settings = Settings { pull: replay, postgres: false, department_tls: way == Way::Central };
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
        let (ingest, query) = (BTreeMap::new(), BTreeMap::new());
        let mut arm = Arm { way, town, replay, city, folder: folder.to_owned(), ingest, query };
        arm.connect().await?;
        Ok(arm)
    }

    /// Connects each department to the node that it sends to and asks.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        for of in &self.city.departments {
            let [sends, asks] = match self.way {
                Way::Cluster => [Purpose::Ingest, Purpose::Query].map(|purpose| self.town.client(&of.domain, purpose)),
                Way::Central => {
                    let purposes = [Purpose::Ingest, Purpose::Query];
                    self.town.remote_client(&of.domain, CENTRAL, purposes).await?.map(Ok)
                }
            };
            self.ingest.insert(of.domain.clone(), sends?);
            self.query.insert(of.domain.clone(), asks?);
        }
        Ok(())
    }

    /// Stops every node and lets go of all clients.
    pub(super) async fn stop(&mut self) {
        self.ingest.clear();
        self.query.clear();
        self.town.stop_all().await;
    }

    /// Starts all nodes again, to ask their peers as in a replay.
    pub(super) async fn start_replay(&mut self) -> anyhow::Result<()> {
        self.town.set_pull(self.replay)?;
        self.town.start_all().await
    }

    /// Starts all nodes again, without a client, each cut off from all others and trying to reach them. Once it has, it
    /// rests.
    pub(super) async fn start_apart(&mut self) -> anyhow::Result<()> {
        self.town.set_pull(REST)?;
        let domains: Vec<String> = self.town.domains().map(str::to_owned).collect();
        for (at, one) in domains.iter().enumerate() {
            domains[at + 1..].iter().for_each(|other| self.town.wires.cut(one, other, true));
        }
        self.town.start_all().await
    }

    /// Seconds between two turns of a node at a peer in a replay, on average.
    pub(super) fn turn_s(&self) -> f64 {
        f64::from(self.replay.interval_ms) / 1_000.0 * TURN_MEAN
    }

    /// Waits until every node has reached every other.
    pub(super) async fn linked(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        if self.pairs() == 0 {
            return Ok(());
        }
        for (domain, client) in &mut self.query {
            loop {
                let domains = client.status().await.map(|status| status.domains).unwrap_or_default();
                let there = |link| matches!(link, LinkState::Own | LinkState::Reached);
                if domains.len() == self.city.departments.len() && domains.iter().all(|peer| there(peer.link)) {
                    break;
                }
                anyhow::ensure!(begun.elapsed() < CONVERGE_MAX, "{domain} does not reach every other node");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Lets every node ask every peer once at least.
    pub(super) async fn turn(&self) {
        if self.pairs() > 0 {
            sleep(Duration::from_millis(self.replay.interval_ms.into())).await;
        }
    }

    /// Sends one file of a department; `last` closes every window of the city. Returns whether it arrived: a link that is
    /// cut is no error.
    pub(super) async fn send(&mut self, of: &Department, csv: &Path, last: bool) -> anyhow::Result<bool> {
        let dataset = match self.way {
            Way::Cluster => of.dataset.clone(),
            Way::Central => of.gathered(CENTRAL).product,
        };
        let complete = match last {
            true if of.real.is_some() => {
                of.end.map_or(Complete::LastFull, |end| Complete::Until(end.format("%Y-%m-%dT%H:%M").to_string()))
            }
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
        let of = |of: &Department| {
            let table = self.table(of);
            let product = status.products.iter().find(|product| product.product.to_string() == table)?;
            Some((of.domain.clone(), product.closed_through))
        };
        Some(self.city.departments.iter().filter_map(of).collect())
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
                    // where nothing is closed yet, that there is such a product
                    of == asker && known.get(product) < Some(&closed.get(product).copied().flatten())
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
        self.stop().await;
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
