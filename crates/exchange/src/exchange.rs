//! What serving and pulling have in common.

use std::sync::Arc;

use civicmesh_ledger::Ledger;
use civicmesh_model::names::DomainName;

use crate::{
    link::{Blocking, Clock, Entropy, Stopped, run_blocking},
    roster::RosterBook,
};

/// One node's part in the exchange: itself, its ledger, its city, and the world it stands in.
#[derive(Clone)]
pub struct Exchange {
    /// The node's own domain.
    pub domain: DomainName,
    /// The node's version of civicmesh, for its peers' status.
    pub version: Arc<str>,
    /// Own releases, and the replicas.
    pub ledger: Arc<Ledger>,
    /// Who is in the city.
    pub roster: Arc<RosterBook>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids and for spreading waits.
    pub entropy: Arc<dyn Entropy>,
    /// Where work on the ledger is done.
    pub blocking: Arc<dyn Blocking>,
}

impl Exchange {
    /// Does `work` on the ledger, off the threads that serve links.
    pub(crate) fn at_ledger<T, W>(&self, work: W) -> impl Future<Output = Result<T, Stopped>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Ledger) -> T + Send + 'static,
    {
        let ledger = Arc::clone(&self.ledger);
        run_blocking(&*self.blocking, move || work(&ledger))
    }
}
