//! What a node does besides: it drops what is past its retention, and picks up renewed certificates and rosters.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use civicmesh_exchange::link::{Stopped, run_blocking};
use civicmesh_model::names::DatasetName;
use civicmesh_model::time::UtcMicros;
use civicmesh_vault::VaultError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::compose::Parts;
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

/// Drops raw observations, reject files and releases past their retention.
pub(crate) fn retain(parts: &Parts) {
    let now = parts.environment.clock.now();
    let rejects = parts.folder.path().join(REJECTS_FOLDER);
    for product in &parts.products {
        if let Err(error) =
            retain_dataset(parts, product.dataset(), now.before(product.contract.retention.raw), &rejects)
        {
            tracing::error!(dataset = %product.dataset(), %error, "dropping what is past its retention failed");
        }
    }
    match parts.ledger.expire_releases(now) {
        Ok(0) => {}
        Ok(releases) => tracing::info!(releases, "releases past their retention were dropped"),
        Err(error) => tracing::error!(%error, "dropping releases past their retention failed"),
    }
}

fn retain_dataset(parts: &Parts, dataset: &DatasetName, before: UtcMicros, rejects: &Path) -> Result<(), UpkeepError> {
    let rows = parts.vault.expire(dataset, before)?;
    let files = ingest::expire_rejects(rejects, dataset, before)?;
    if rows > 0 || files > 0 {
        tracing::info!(%dataset, rows, files, "raw observations and reject files past their retention were dropped");
    }
    Ok(())
}
