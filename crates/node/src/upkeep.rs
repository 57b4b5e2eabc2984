//! What a node does besides: it drops what is past its retention, picks up renewed certificates and rosters, and ends
//! when a database takes no more writes.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use civicmesh_exchange::link::{Stopped, run_blocking};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_vault::VaultError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::compose::{Parts, StartError};
use crate::ingest;

/// The folder of rejected rows in a node's folder.
pub(crate) const REJECTS_FOLDER: &str = "rejects";

/// Why something past its retention was not dropped.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("reject files: {0}")]
    Rejects(#[from] std::io::Error),
}

/// How long after its start a node first drops what is past its retention: what it can still release comes first.
pub(crate) const RETENTION_DELAY: Duration = Duration::from_secs(60);

/// How often a node asks its databases whether they still take writes.
const DATABASES_PERIOD: Duration = Duration::from_secs(1);

/// How often releases are merged into segments.
pub(crate) const MERGE_PERIOD: Duration = Duration::from_secs(10);
/// Most steps of merging in one turn: each makes a segment or a few, of a bounded size.
const MERGE_STEPS_MAX: usize = 64;

/// Tells `fail` once a database takes no more writes until it is opened anew, and ends then or at `stop`: whoever
/// supervises the node starts it again.
pub(crate) async fn watch_databases(parts: Arc<Parts>, stop: CancellationToken, fail: mpsc::Sender<StartError>) {
    let mut ticks = interval(DATABASES_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Some(broken) = parts.broken() {
            // where all places are taken, the node ends already
            let _ = fail.try_send(broken);
            return;
        }
    }
}

/// Calls `work` on the blocking executor, after `delay` and then every `period`, until `stop`.
pub(crate) async fn every(
    period: Duration,
    delay: Duration,
    parts: Arc<Parts>,
    stop: CancellationToken,
    work: fn(&Parts),
) {
    let mut ticks = interval_at(Instant::now() + delay, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let working = Arc::clone(&parts);
        let done = run_blocking(&*parts.environment.blocking, move || work(&working)).await;
        if done == Err(Stopped) {
            tracing::warn!("upkeep was stopped before it ended");
        }
    }
}

/// Picks up a renewed certificate and roster.
pub(crate) fn reload(parts: &Parts) {
    match parts.folder.reload(&parts.tls, &parts.roster) {
        Ok(true) => {
            tracing::info!(expires = %parts.tls.own().certificate_expires, "the certificate was renewed")
        }
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, "certificate or roster could not be read again; the earlier ones stay")
        }
    }
}

/// Merges releases into segments, a bounded number of them a turn.
pub(crate) fn merge(parts: &Parts) {
    for _ in 0..MERGE_STEPS_MAX {
        match parts.ledger.merge_some() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "merging releases failed");
                return;
            }
        }
    }
}

/// Drops raw observations, reject files and releases past their retention, unless the clock is in doubt. A dataset whose
/// contract is gone is kept as long as that contract said.
pub(crate) fn retain(parts: &Parts) {
    let now = parts.environment.clock.now();
    let rejects = parts.folder.path().join(REJECTS_FOLDER);
    let retained = match clock_is_trusted(parts, now).and_then(|trusted| Ok((trusted, parts.vault.retained()?))) {
        Ok((true, retained)) => retained,
        Ok((false, _)) => return,
        Err(error) => {
            tracing::error!(%error, "dropping what is past its retention failed");
            return;
        }
    };
    for (dataset, raw) in retained {
        if let Err(error) = retain_dataset(parts, &dataset, now.before(raw), &rejects) {
            tracing::error!(%dataset, %error, "dropping what is past its retention failed");
        }
    }
    match parts.ledger.expire_releases(now) {
        Ok(0) => {}
        Ok(releases) => tracing::info!(releases, "releases past their retention were dropped"),
        Err(error) => tracing::error!(%error, "dropping releases past their retention failed"),
    }
}

/// Whether the clock, which shows `now`, may decide what is dropped.
fn clock_is_trusted(parts: &Parts, now: UtcMicros) -> Result<bool, VaultError> {
    let here = parts.environment.clock.measured();
    let last = parts.clock_look.lock().unwrap_or_else(PoisonError::into_inner).replace(here);
    let measured = last.map(|last| Span::from_micros(here.micros().saturating_sub(last.micros())));
    let look = parts.vault.look_at_clock(now, measured)?;
    if look.steady_since == now {
        tracing::warn!(clock = %now, "the clock is new to this node, or jumped: nothing is dropped for its age until it was steady for a day");
    }
    Ok(look.is_trusted())
}

fn retain_dataset(parts: &Parts, dataset: &DatasetName, before: UtcMicros, rejects: &Path) -> Result<(), UpkeepError> {
    let rows = parts.vault.expire(dataset, before)?;
    let files = ingest::expire_rejects(rejects, dataset, before)?;
    if rows > 0 || files > 0 {
        tracing::info!(%dataset, rows, files, "raw observations and reject files past their retention were dropped");
    }
    Ok(())
}
