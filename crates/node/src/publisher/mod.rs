//! The publisher: one task a product. It closes exactly what the ledger lacks, in bounded steps.
//!
//! It holds no state of its own that matters: on start, and after a crash at any instruction, the ledger says what was
//! released and the vault what can be. It wakes when an ingest ends and on an interval.

mod late;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use civicmesh_exchange::link::{Stopped, run_blocking};
use civicmesh_model::names::{DatasetName, ProductId};
use civicmesh_model::time::UtcMicros;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::compose::{StartError, watched};
use crate::environment::Environment;
use crate::metrics::Metrics;

pub(crate) use turn::{Appended, Product, PublishError, ReleaseKeys, Step, UndoError};

/// Most callers that wait for one product's next turn.
const WAITERS_MAX: usize = 64;

/// Why a wait for the publisher ended without a turn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    /// The turn failed.
    #[error("closing windows failed: {0}")]
    Failed(String),
    /// The node stops.
    #[error("the node is stopping")]
    Stopped,
    /// Too many wait already.
    #[error("too many wait for this product's windows to be closed")]
    Busy,
    /// No product takes from this dataset.
    #[error("no product takes from this dataset")]
    UnknownDataset,
}

/// Answered with the moment through which the log is closed.
type Waiter = oneshot::Sender<Result<Option<UtcMicros>, String>>;

/// Wakes the publishers.
#[derive(Clone)]
pub(crate) struct Publishers {
    wake: Arc<BTreeMap<DatasetName, mpsc::Sender<Waiter>>>,
}

/// The publishers' tasks, not started yet.
pub(crate) struct Idle(Vec<(Arc<Product>, mpsc::Receiver<Waiter>)>);

impl Idle {
    /// Starts one task a product on the tracker, until `stop`. One that ends by a defect fails the node.
    pub(crate) fn start(
        self,
        environment: &Environment,
        interval: Duration,
        metrics: &Arc<Metrics>,
        (tracker, fail): (&TaskTracker, &mpsc::Sender<StartError>),
        stop: &CancellationToken,
    ) {
        for (product, waiters) in self.0 {
            let (environment, metrics, stop) = (environment.clone(), Arc::clone(metrics), stop.clone());
            let task = Task { product, environment, interval, metrics, stop };
            tracker.spawn(watched("a publisher", task.run(waiters), fail));
        }
    }
}

impl Publishers {
    /// One for each of `products`.
    pub(crate) fn new(products: &[Arc<Product>]) -> (Publishers, Idle) {
        let (mut wake, mut idle) = (BTreeMap::new(), Vec::new());
        for product in products {
            let (sender, waiters) = mpsc::channel(WAITERS_MAX);
            wake.insert(product.dataset().clone(), sender);
            idle.push((Arc::clone(product), waiters));
        }
        (Publishers { wake: Arc::new(wake) }, Idle(idle))
    }

    /// Waits for a whole turn over `dataset` that begins after this call.
    pub(crate) async fn turn(&self, dataset: &DatasetName) -> Result<Option<UtcMicros>, WaitError> {
        let wake = self.wake.get(dataset).ok_or(WaitError::UnknownDataset)?;
        let (sender, receiver) = oneshot::channel();
        wake.try_send(sender).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WaitError::Busy,
            mpsc::error::TrySendError::Closed(_) => WaitError::Stopped,
        })?;
        match receiver.await {
            Ok(Ok(closed_through)) => Ok(closed_through),
            Ok(Err(message)) => Err(WaitError::Failed(message)),
            Err(_) => Err(WaitError::Stopped),
        }
    }
}

/// One product's task.
struct Task {
    product: Arc<Product>,
    environment: Environment,
    interval: Duration,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Task {
    async fn run(self, mut waiters: mpsc::Receiver<Waiter>) {
        let mut interval = tokio::time::interval(self.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = interval.tick() => {}
                waiter = waiters.recv() => match waiter {
                    Some(waiter) => waiting.push(waiter),
                    None => return,
                },
            }
            while let Ok(waiter) = waiters.try_recv() {
                waiting.push(waiter);
            }
            let Some(outcome) = self.turn().await else {
                return;
            };
            for waiter in waiting {
                // who hung up needs no answer
                let _ = waiter.send(outcome.clone());
            }
        }
    }

    /// Steps until nothing is left to do; `None` when the node stops.
    async fn turn(&self) -> Option<Result<Option<UtcMicros>, String>> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            let product = Arc::clone(&self.product);
            let now = self.environment.clock.now();
            let step = run_blocking(&*self.environment.blocking, move || product.step(now)).await;
            match step {
                Ok(Ok(Step::Idle { closed_through })) => return Some(Ok(closed_through)),
                Ok(Ok(Step::Worked(appended))) => self.count(&appended),
                Ok(Err(error)) => return Some(Err(self.failed(&error.to_string()))),
                Err(Stopped) => {
                    return Some(Err(self.failed("the turn was stopped before it ended")));
                }
            }
        }
    }

    fn failed(&self, error: &str) -> String {
        let id: &ProductId = self.product.id();
        tracing::error!(product = %id, error, "closing windows failed; it is tried again");
        self.metrics.publish_failed(&id.to_string());
        error.to_owned()
    }

    fn count(&self, appended: &Appended) {
        let product = self.product.id().to_string();
        for (kind, entries) in appended.kinds() {
            self.metrics.entries(&product, kind, entries);
        }
    }
}

#[cfg(test)]
mod tests;
