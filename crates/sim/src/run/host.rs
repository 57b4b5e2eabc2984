//! What runs on a host: the node, and its department, which sends files and asks questions.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use civicmesh_model::time::{Span, UtcMicros};
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

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Something that a department or a checker wants of a node.
#[derive(Clone, Debug)]
pub enum Order {
    /// Ask about the product of the department at this place in the city.
    Ask(usize),
    /// Sample how fresh everything is.
    Sample,
    /// Look whether what all owners closed last has come.
    Arrived,
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
    /// How long after their time raw rows may still lie there.
    pub retention_grace: Span,
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
    /// How long after their time raw rows may still lie there.
    pub retention_grace: Span,
    /// Whether the node's process ended by itself.
    pub ended: AtomicBool,
    /// Whether it listens.
    pub runs: AtomicBool,
    /// Files that were taken in, each for good.
    taken: AtomicUsize,
    /// When the process last came up, in seconds of the city.
    started: AtomicU64,
    /// Places of the departments whose last windows have not come here yet.
    lacking: Mutex<BTreeSet<usize>>,
    outbox: Mutex<VecDeque<Sending>>,
    orders: Mutex<VecDeque<Order>>,
    news: [Notify; 2],
}

impl Host {
    /// A host that was not switched on yet.
    pub fn new(machine: Machine, folder: PathBuf, place: usize, shared: &Shared) -> Host {
        let city = &shared.city;
        let drawn =
            |place: &usize| city.departments[*place].real.is_none() && city.departments[*place].last_hour(city) > 0;
        let lacking = (0..city.departments.len()).filter(drawn);
        Host {
            machine,
            folder,
            place,
            city: Arc::clone(&shared.city),
            journal: Arc::clone(&shared.journal),
            wires: Arc::clone(&shared.wires),
            slack_us: shared.slack_us,
            retention_grace: shared.retention_grace,
            ended: AtomicBool::new(false),
            runs: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
            started: AtomicU64::new(0),
            lacking: Mutex::new(lacking.collect()),
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

    /// Puts its clock ahead by so many seconds, at a moment of the city.
    pub fn shift_clock(&self, seconds: i64, now: Seconds) {
        self.machine.clock.shift(seconds, UtcMicros(self.city.start.0 + now as i64 * MICROS_PER_SECOND));
    }

    /// Files that were taken in, each for good: as many hours of the city.
    pub fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    /// Since when the process runs and its clock is right, or evenly wrong: by true time.
    pub fn steady_since(&self) -> UtcMicros {
        let started = self.city.start.0 + self.started.load(SeqCst) as i64 * MICROS_PER_SECOND;
        self.machine.clock.shifted().max(UtcMicros(started))
    }

    /// Seconds of the city since its start, for the trace.
    pub fn at(&self) -> Seconds {
        u64::try_from(self.machine.clock.truth().0 - self.city.start.0).unwrap_or(0) / MICROS_PER_SECOND as u64
    }

    /// Places of the departments whose last windows have not come here yet.
    pub fn lacking(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
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
            host.started.store(host.at(), SeqCst);
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
                    node.bytes_ingested += feed.csv.len() as u64;
                    // a node tells what became of a file in all its ingests together: it counts once, however often it came
                    if times == 1 {
                        node.rows_accepted += taken.accepted;
                        node.rows_duplicate += taken.duplicate;
                        node.rows_rejected += taken.rejected;
                    }
                });
                let unforeseen = taken.late.saturating_sub(feed.too_late);
                if unforeseen > 0 {
                    *host.journal.open().late_by_fault.entry(host.domain().to_owned()).or_default() += unforeseen;
                }
                let mut outbox = host.outbox();
                match outbox.front_mut() {
                    Some(front) if front.times > 1 => front.times -= 1,
                    Some(_) | None => {
                        outbox.pop_front();
                        host.taken.fetch_add(1, SeqCst);
                    }
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
            Order::Arrived => looking::arrived(host, door),
            Order::Look => looking::look(host, door),
            Order::Weigh => looking::weigh(host, door),
        }
        host.orders().pop_front();
    }
}
