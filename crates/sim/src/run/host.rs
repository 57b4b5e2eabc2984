//! What runs on a host: the node, and its department, which sends files and asks questions.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use civicmesh_model::time::UtcMicros;
use civicmesh_node::Node;
use civicmesh_node::client::Complete;
use civicmesh_node::door::{Door, File};
use tokio::sync::Notify;

use super::journal::Journal;
use super::looking;
use crate::city::{City, Feed};
use crate::faults::Seconds;
use crate::world::Machine;
use crate::world::tap::Wires;

/// How long a department waits before it sends a file again that was not taken, in seconds of the network.
const RETRY_S: u64 = 2;

/// Something that a department or a checker wants of a node.
#[derive(Clone, Debug)]
pub enum Order {
    /// Ask about the product of the department at this place in the city.
    Ask(usize),
    /// Sample how fresh everything is.
    Sample,
    /// Look at everything that checkers look at.
    Look,
    /// Weigh the own product against the truth: every file was taken in.
    Weigh,
}

/// A file on its way, and how often it is still to be sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The file.
    pub feed: Arc<Feed>,
    /// Once, or twice where the department is not sure whether it arrived.
    pub times: u32,
    /// Nothing comes after it: every window that ends by then is complete.
    pub complete: Option<UtcMicros>,
}

/// What all hosts share.
pub struct Shared {
    /// The city.
    pub city: Arc<City>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// All wires.
    pub wires: Arc<Wires>,
    /// How long what was written to a wire may take to be read, in microseconds of the city.
    pub slack_us: i64,
}

/// One host.
pub struct Host {
    /// What outlives the node's process.
    pub machine: Machine,
    /// The node's folder.
    pub folder: PathBuf,
    /// Its place among the city's departments.
    pub place: usize,
    /// The city.
    pub city: Arc<City>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// All wires.
    pub wires: Arc<Wires>,
    /// How long what was written to a wire may take to be read, in microseconds of the city.
    pub slack_us: i64,
    /// Whether the node's process ended by itself.
    pub ended: AtomicBool,
    /// Whether it listens.
    pub runs: AtomicBool,
    outbox: Mutex<VecDeque<Sending>>,
    orders: Mutex<VecDeque<Order>>,
    news: [Notify; 2],
}

impl Host {
    /// A host that was not switched on yet.
    pub fn new(machine: Machine, folder: PathBuf, place: usize, shared: &Shared) -> Host {
        Host {
            machine,
            folder,
            place,
            city: Arc::clone(&shared.city),
            journal: Arc::clone(&shared.journal),
            wires: Arc::clone(&shared.wires),
            slack_us: shared.slack_us,
            ended: AtomicBool::new(false),
            runs: AtomicBool::new(false),
            outbox: Mutex::default(),
            orders: Mutex::default(),
            news: [Notify::new(), Notify::new()],
        }
    }

    /// Its domain.
    pub fn domain(&self) -> &str {
        &self.machine.domain
    }

    /// Files that wait.
    pub fn waiting(&self) -> usize {
        self.outbox().len()
    }

    /// Orders that wait.
    pub fn ordered(&self) -> usize {
        self.orders().len()
    }

    /// Puts a file at the end of those that wait.
    pub fn send(&self, sending: Sending) {
        self.journal.node(self.domain(), |node| node.rows_sent += sending.feed.rows);
        self.outbox().push_back(sending);
        self.news[0].notify_one();
    }

    /// Gives an order to the node, if it runs; one that does not cannot be asked.
    pub fn order(&self, order: Order) -> bool {
        let runs = self.runs.load(SeqCst);
        if runs {
            self.orders().push_back(order);
            self.news[1].notify_one();
        }
        runs
    }

    /// Forgets what nobody answers any more: the process is gone.
    pub fn forget(&self) {
        self.runs.store(false, SeqCst);
        self.orders().clear();
    }

    /// Seconds of the city since its start, for the trace.
    pub fn at(&self) -> Seconds {
        u64::try_from(self.machine.clock.truth().0 - self.city.start.0).unwrap_or(0) / 1_000_000
    }

    fn outbox(&self) -> MutexGuard<'_, VecDeque<Sending>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, said: &str) {
        self.journal.note(self.at(), self.domain(), said);
    }
}

/// The node's process, from its start until it ends by itself. The driver ends it otherwise.
pub async fn process(host: Arc<Host>) -> turmoil::Result {
    host.journal.node(host.domain(), |node| node.starts += 1);
    match Node::start(&host.folder, host.machine.environment()).await {
        Ok(mut running) => {
            host.note("runs");
            host.runs.store(true, SeqCst);
            let door = running.door();
            let ended = tokio::select! {
                biased;
                error = running.failed() => error,
                () = send(&host, &door) => unreachable!("a department goes on sending"),
                () = obey(&host, &door) => unreachable!("a node goes on obeying"),
            };
            ends(&host, &format!("ends: {ended}"));
        }
        Err(error) => ends(&host, &format!("does not start: {error}")),
    }
    Ok(())
}

/// The process ends by itself: whoever supervises it starts it again. Without a fault that says why, it must not.
fn ends(host: &Host, said: &str) {
    host.note(said);
    let sprung = host.machine.vault.sprung() + host.machine.ledger.sprung();
    if sprung == 0 {
        host.journal.find("running", host.at(), format!("{} {said}", host.domain()));
    }
    host.forget();
    host.ended.store(true, SeqCst);
}

/// Sends what waits, file after file, each until it is taken.
async fn send(host: &Host, door: &Door) {
    loop {
        let Some(sending) = host.outbox().front().cloned() else {
            host.news[0].notified().await;
            continue;
        };
        let Sending { feed, times, complete } = sending;
        let complete = match complete {
            Some(until) if times == 1 => Complete::Until(until.to_string()),
            Some(_) | None => Complete::No,
        };
        let file = File {
            dataset: host.city.departments[host.place].dataset.clone(),
            name: feed.name.clone(),
            content: feed.csv.clone(),
            complete,
        };
        match door.ingest(file).await {
            Ok(taken) => {
                host.note(&format!(
                    "took {}: {} accepted, {} duplicate, {} rejected, {} late, {} resumed",
                    feed.name, taken.accepted, taken.duplicate, taken.rejected, taken.late, taken.resumed
                ));
                host.journal.node(host.domain(), |node| {
                    node.rows_accepted += taken.accepted.saturating_sub(taken.resumed);
                    node.rows_duplicate += taken.duplicate;
                    node.rows_rejected += taken.rejected;
                    node.bytes_ingested += feed.csv.len() as u64;
                });
                let unforeseen = taken.late.saturating_sub(feed.too_late);
                if unforeseen > 0 {
                    *host.journal.open().late_by_fault.entry(host.domain().to_owned()).or_default() += unforeseen;
                }
                let mut outbox = host.outbox();
                match outbox.front_mut() {
                    Some(front) if front.times > 1 => front.times -= 1,
                    Some(_) | None => drop(outbox.pop_front()),
                }
            }
            Err(refused) => {
                host.note(&format!("did not take {}: {}", feed.name, refused.code));
                tokio::time::sleep(Duration::from_secs(RETRY_S)).await;
            }
        }
    }
}

/// Does what it is told, order after order.
async fn obey(host: &Host, door: &Door) {
    loop {
        let next = host.orders().front().cloned();
        let Some(order) = next else {
            host.news[1].notified().await;
            continue;
        };
        match order {
            Order::Ask(place) => looking::ask(host, door, place).await,
            Order::Sample => looking::sample(host, door),
            Order::Look => looking::look(host, door),
            Order::Weigh => looking::weigh(host, door),
        }
        host.orders().pop_front();
    }
}
