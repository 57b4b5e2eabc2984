//! `civicmesh-sim up`: a city that lives until it is told to stop, fed hour by hour, open to whoever wants to ask it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use civicmesh_exchange::office::Purpose;
use civicmesh_node::client::{Client, Complete, IngestRequest};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::fault::{Control, EVERY, Fault};
use super::town::{Pull, Settings, Town};
use crate::city::{City, CityPlan, Feed};

/// How often nodes ask their peers: whoever watches does not wait long.
const PULL_MS: u32 = 1_000;
/// Feeds that a department sends at the most in one turn, when it has some to make up for.
const FEEDS_A_TURN_MAX: usize = 24;

/// Hours of the city after which it is told how far it is.
const TOLD_HOURS: usize = 6;

/// What a scenario file says that concerns a city which is up. Times of faults do not: they come by hand.
#[derive(Deserialize)]
struct UpScenario {
    title: String,
    #[serde(default)]
    city: CityPlan,
}

/// How a city is kept up.
#[derive(Clone, Debug)]
pub struct Up {
    /// The scenario file.
    pub scenario: PathBuf,
    /// The seed.
    pub seed: u64,
    /// Where nodes and office stand; must not hold a city yet.
    pub folder: PathBuf,
    /// How long an hour of the city takes.
    pub hour: Duration,
}

impl Up {
    /// Founds the city, starts it, feeds it, and does what is asked over its socket until `stop` comes. `say` gets every
    /// line for people.
    ///
    /// # Errors
    /// The scenario cannot be used, the folder holds a city already, a node does not start.
    pub async fn run(&self, stop: impl Future<Output = ()>, say: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.scenario).with_context(|| self.scenario.display().to_string())?;
        let mut scenario: UpScenario = toml::from_str(&text).with_context(|| self.scenario.display().to_string())?;
        if let Some(folder) = self.scenario.parent() {
            scenario.city.look_from(folder);
        }
        let city = City::draw(self.seed, &scenario.city)?;
        let settings = Settings { pull: Pull::every_ms(PULL_MS), postgres: true, department_tls: false };
        let mut town = Town::found(&self.folder, &city.plan.name, city.zone, settings).with_context(|| {
            format!("{}: name another folder with --dir, or remove this one", self.folder.display())
        })?;
        for of in &city.departments {
            town.enroll(&of.domain, |contracts| of.write_contract(contracts)).await?;
        }
        let control = Control::listen(&self.folder).await?;
        town.start_all().await?;
        introduce(&scenario.title, &city, &town, &self.folder).iter().for_each(|line| say(line));
        let mut clients = BTreeMap::new();
        for of in &city.departments {
            clients.insert(of.domain.clone(), town.client(&of.domain, Purpose::Ingest)?);
        }
        let ended = tokio::select! {
            fed = feed(&city, clients, self.hour, &self.folder, say) => fed,
            heard = obey(&control, &mut town) => heard,
            () = stop => Ok(()),
        };
        town.stop_all().await;
        ended
    }
}

/// What to type to ask the city something.
fn introduce(title: &str, city: &City, town: &Town, folder: &Path) -> Vec<String> {
    let mut lines = vec![format!("{title}: {} departments are up in {}", city.departments.len(), folder.display())];
    lines.push(format!("  {:<12} {:<22} {:<22} PostgreSQL", "department", "product", "SQL, Flight, HTTP"));
    for of in &city.departments {
        let Some(running) = town.running(&of.domain) else { continue };
        let postgres = running.postgres_address().unwrap_or("nowhere");
        lines.push(format!("  {:<12} {:<22} {:<22} {postgres}", of.domain, of.table(), running.department_address()));
    }
    let [first, last] = [0, city.departments.len() - 1].map(|at| &city.departments[at]);
    let dir = town.dir(&first.domain);
    let dimension = if first.real.is_some() { "" } else { "district, " };
    lines.push("ask it, once the first windows have closed:".to_owned());
    lines.push(format!("  civicmesh status --node {}", dir.display()));
    lines.push(format!(
        "  civicmesh query --node {} \"SELECT {dimension}count(*), avg({}) FROM {}{}\"",
        dir.display(),
        first.measure,
        first.table(),
        if dimension.is_empty() { "" } else { " GROUP BY district" }
    ));
    let postgres = town.running(&first.domain).and_then(|running| running.postgres_address()).unwrap_or_default();
    lines.push(format!(
        "  PGPASSWORD=$(cat {}) psql -h 127.0.0.1 -p {} -U anyone {:?}",
        dir.join("tokens/query").display(),
        postgres.rsplit(':').next().unwrap_or_default(),
        city.plan.name
    ));
    lines.push("break it, and look at status again:".to_owned());
    let (one, other, folder) = (&first.domain, &last.domain, folder.display());
    lines.push(format!(
        "  civicmesh sim fault {folder} partition {one} {other}    (then: slow, stop, start, show, mend)"
    ));
    lines.push("Ctrl-C ends it; the folder stays.".to_owned());
    lines
}

/// Sends what each department has, an hour of the city at a time. What could not be sent, because a node is down, is sent
/// later, in order. Goes on for ever, also once the city has no more to send.
async fn feed(
    city: &City,
    mut clients: BTreeMap<String, Client>,
    hour: Duration,
    folder: &Path,
    say: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<()> {
    let (mut rows, mut over) = (0, false);
    let mut turns = interval(hour);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lines: Vec<_> = city.departments.iter().map(|of| (of, of.feeds(city), None::<Feed>, 0_usize)).collect();
    for hours in 1.. {
        turns.tick().await;
        for (of, feeds, waiting, sent) in &mut lines {
            let Some(client) = clients.get_mut(&of.domain) else { continue };
            for _ in 0..FEEDS_A_TURN_MAX {
                if *sent == hours {
                    break;
                }
                let next = match waiting.take() {
                    Some(feed) => Some(feed),
                    None => feeds.next().transpose().with_context(|| of.domain.clone())?,
                };
                let Some(feed) = next else { break };
                // goes with its handle, also where the city ends meanwhile
                let file = tempfile::Builder::new()
                    .prefix(&format!("{}-", of.domain))
                    .suffix(&format!("-{}", feed.name))
                    .tempfile_in(folder)
                    .with_context(|| folder.display().to_string())?;
                fs::write(file.path(), &feed.csv).with_context(|| file.path().display().to_string())?;
                let request = IngestRequest {
                    dataset: of.dataset.clone(),
                    source: None,
                    file: file.path().to_owned(),
                    complete: Complete::No,
                };
                let taken = client.ingest(&request, &mut |_| {}).await;
                if taken.is_err() {
                    *waiting = Some(feed);
                    break;
                }
                *sent += 1;
                rows += feed.rows;
            }
        }
        let now = city.hour_start(hours as u32);
        if hours % TOLD_HOURS == 0 && !over {
            say(&format!("{}, {rows} rows taken in", city.zone.to_local(now).format("%Y-%m-%d %H:%M")));
        }
        if !over && lines.iter().all(|(_, _, waiting, sent)| waiting.is_none() && *sent < hours) {
            over = true;
            say("every department has sent all that it has; the city stays up");
        }
    }
    Ok(())
}

/// Does what comes over the socket.
async fn obey(control: &Control, town: &mut Town) -> anyhow::Result<()> {
    loop {
        let (fault, answer) = control.next().await?;
        match carry_out(town, &fault).await {
            Ok(lines) => answer.say(true, lines).await,
            Err(error) => answer.say(false, vec![format!("{error:#}")]).await,
        }
    }
}

async fn carry_out(town: &mut Town, fault: &Fault) -> anyhow::Result<Vec<String>> {
    match fault {
        Fault::Partition { one, other } => {
            links(town, one, other)?.iter().for_each(|other| town.wires.cut(one, other, true));
        }
        Fault::Slow { one, other, delay_ms } => {
            let delay = Duration::from_millis(*delay_ms);
            links(town, one, other)?.iter().for_each(|other| town.wires.slow(one, other, delay));
        }
        Fault::Mend => town.wires.mend(),
        Fault::Stop { domain } => {
            known(town, domain)?;
            town.stop(domain).await;
        }
        Fault::Start { domain } => town.start(domain).await?,
        Fault::Show => {}
    }
    let mut lines = town.wires.troubles();
    let down = town.domains().filter(|domain| town.running(domain).is_none());
    lines.extend(down.map(|domain| format!("{domain}: stopped")).collect::<Vec<_>>());
    if lines.is_empty() {
        lines.push("nothing is broken".to_owned());
    }
    Ok(lines)
}

/// The other ends that are meant.
fn links(town: &Town, one: &str, other: &str) -> anyhow::Result<Vec<String>> {
    known(town, one)?;
    if other == EVERY {
        return Ok(town.domains().filter(|domain| *domain != one).map(str::to_owned).collect());
    }
    known(town, other)?;
    Ok(vec![other.to_owned()])
}

fn known(town: &Town, domain: &str) -> anyhow::Result<()> {
    let all: Vec<&str> = town.domains().collect();
    anyhow::ensure!(all.contains(&domain), "there is no domain {domain}; there are {}", all.join(", "));
    Ok(())
}
