//! One product's turn, in steps: close what is due, then settle what came late. Every step is bounded and leaves vault
//! and ledger as if it were the last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use civicmesh_disclosure::gate::{self, Terms};
use civicmesh_disclosure::{Disclosed, DisclosureError, Limits, SaltKey};
use civicmesh_ledger::{Ledger, LedgerError, SigningKey};
use civicmesh_model::contract::{Contract, Dataset, Status};
use civicmesh_model::grain::{Calendar, Window};
use civicmesh_model::names::{DatasetName, ProductId};
use civicmesh_model::release::Entry;
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_vault::{Closing, Due, FileKey, Vault, VaultError};

use super::late::Held;
use crate::ingest::Recipe;
use crate::metrics::EntryKind;
use crate::preview::{ProductPreview, WindowPreview};

/// Most windows that a preview shows.
const PREVIEW_WINDOWS_MAX: usize = 32;

/// Why a turn failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The gate was asked for what it cannot do.
    #[error(transparent)]
    Gate(#[from] DisclosureError),
}

/// The domain's secrets that a release needs.
pub(crate) struct ReleaseKeys {
    /// Signs log heads.
    pub(crate) signing: Arc<SigningKey>,
    /// Salts releases.
    pub(crate) salt: SaltKey,
}

/// Why a file was not taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// No such file, or more than one.
    #[error("{}", match files {
        0 => "no file of this dataset with that name or hash was taken in".to_owned(),
        files => format!("{files} files of this dataset have that name or hash: give one's whole hash"),
    })]
    NotOne {
        /// How many.
        files: usize,
    },
    /// The vault refuses, or failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// An own product: what closes its windows needs.
pub(crate) struct Product {
    pub(crate) contract: Contract,
    /// How files of its dataset are read.
    pub(crate) recipe: Recipe,
    pub(crate) zone: Zone,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) keys: Arc<ReleaseKeys>,
    /// Most windows in one pass over the vault.
    pub(crate) windows_max: usize,
    pub(crate) limits: Limits,
    /// Late rows by partition, with the sequence up to which they were counted.
    pub(crate) held: Mutex<BTreeMap<UtcMicros, Held>>,
    /// Held while windows are closed or a file is taken back: what is checked still holds when it is done.
    pub(crate) turn: Mutex<()>,
}

/// What one step did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something; there may be more.
    Worked(Appended),
    /// Nothing is left to do.
    Idle {
        /// The log is closed through this moment.
        closed_through: Option<UtcMicros>,
    },
}

/// Entries that a step appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Appended {
    releases: u64,
    refusals: u64,
    empty_runs: u64,
}

impl Appended {
    /// The counts by kind.
    pub(crate) fn kinds(&self) -> [(EntryKind, u64); 3] {
        let Appended { releases, refusals, empty_runs } = *self;
        [(EntryKind::Release, releases), (EntryKind::Refusal, refusals), (EntryKind::Empty, empty_runs)]
    }
}

impl Product {
    /// The product's name.
    pub(crate) fn id(&self) -> &ProductId {
        &self.contract.product
    }

    /// The dataset that it takes from.
    pub(crate) fn dataset(&self) -> &DatasetName {
        &self.own_dataset().name
    }

    fn own_dataset(&self) -> &Dataset {
        self.contract.dataset.as_ref().expect("a node's own contract has a dataset: it is checked when loaded")
    }

    pub(super) fn calendar(&self) -> Calendar {
        self.contract.calendar(self.zone)
    }

    /// Start of the first expected window.
    fn coverage_start(&self) -> UtcMicros {
        self.calendar().align_up(self.zone.start_of_local(self.contract.coverage.start))
    }

    /// End of the last expected window, if the coverage ends.
    fn coverage_end(&self) -> Option<UtcMicros> {
        let end = self.zone.start_of_local(self.contract.coverage.end?);
        Some(self.calendar().align_down(end))
    }

    /// The moment through which the log is closed.
    fn closed_through(&self) -> Result<Option<UtcMicros>, LedgerError> {
        Ok(self.ledger.log(self.id())?.map(|log| log.closed_through))
    }

    /// The moment through which windows may be closed: the watermark less the lateness, or what an operator completed.
    fn closable(&self, now: UtcMicros) -> Result<Option<UtcMicros>, PublishError> {
        let Some(watermark) = self.vault.watermark(self.dataset(), now, self.contract.idle_after)? else {
            return Ok(None);
        };
        let by_time = watermark.at.before(self.contract.lateness);
        let until = watermark.completed_through.map_or(by_time, |completed| completed.max(by_time));
        let until = self.coverage_end().map_or(until, |end| end.min(until));
        Ok(Some(self.calendar().align_down(until)))
    }

    /// Does the next thing there is to do.
    pub(crate) fn step(&self, now: UtcMicros) -> Result<Step, PublishError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.closed_through()?;
        if self.contract.status == Status::Draft {
            return Ok(Step::Idle { closed_through: closed });
        }
        let from = closed.unwrap_or_else(|| self.coverage_start());
        if let Some(until) = self.closable(now)?
            && from < until
        {
            return Ok(Step::Worked(self.close(from, until, now)?));
        }
        match closed.map(|closed| self.settle_late(closed, now)).transpose()?.flatten() {
            Some(appended) => Ok(Step::Worked(appended)),
            None => Ok(Step::Idle { closed_through: closed }),
        }
    }

    /// Closes windows from `from`, at most so many as fit one pass, at most to `until`.
    fn close(&self, from: UtcMicros, until: UtcMicros, now: UtcMicros) -> Result<Appended, PublishError> {
        let mut windows = self.batch(from, until);
        let closing = match self.count(&windows) {
            Err(VaultError::Expired(gone)) if windows.first() == Some(&gone) => {
                let refused = gate::expired(gone, &self.terms(0, gone.end, 0))?;
                return self.append(vec![refused], self.vault.sequence()?, now);
            }
            Err(VaultError::Expired(gone)) => {
                windows.retain(|window| window.end <= gone.start);
                self.count(&windows)?
            }
            counted => counted?,
        };
        let (mut disclosed, mut run) = (Vec::new(), None::<Window>);
        for closed in closing.windows.into_iter().flatten() {
            let window = closed.rollup.window();
            if closed.rollup.is_empty() {
                run = Some(Window { start: run.map_or(window.start, |run| run.start), end: window.end });
                continue;
            }
            if let Some(run) = run.take() {
                disclosed.push(gate::empty(run.start, run.end, &self.terms(0, run.end, 0))?);
            }
            disclosed.push(gate::disclose(closed.rollup, &self.terms(0, window.end, closed.sources))?);
        }
        if let Some(run) = run {
            disclosed.push(gate::empty(run.start, run.end, &self.terms(0, run.end, 0))?);
        }
        self.append(disclosed, closing.sequence, now)
    }

    /// One pass over the vault for these windows.
    pub(super) fn count(&self, windows: &[Window]) -> Result<Closing, VaultError> {
        let due = Due { contract: &self.contract, windows: windows.to_vec() };
        self.vault.close(self.dataset(), &[due], self.limits)
    }

    pub(super) fn terms(&self, revision: u32, closed_through: UtcMicros, sources: u32) -> Terms<'_> {
        let (contract, zone, salt_key) = (&self.contract, self.zone, &self.keys.salt);
        Terms { contract, zone, revision, closed_through, sources, salt_key }
    }

    pub(super) fn append(
        &self,
        disclosed: Vec<Disclosed>,
        sequence: u64,
        now: UtcMicros,
    ) -> Result<Appended, PublishError> {
        let mut appended = Appended::default();
        for entry in disclosed.iter().map(Disclosed::entry) {
            match entry {
                Entry::Release(_) => appended.releases += 1,
                Entry::Empty(_) => appended.empty_runs += 1,
                Entry::Refusal(refused) => {
                    appended.refusals += 1;
                    tracing::warn!(product = %self.id(), window = %refused.window.start, reason = ?refused.reason, "the gate refused a window");
                }
            }
        }
        self.vault.claim(self.dataset(), self.id())?;
        let head = self.ledger.append(self.id(), disclosed, sequence, &self.keys.signing, now)?;
        tracing::info!(product = %self.id(), entries = head.head.size, closed_through = %head.head.closed_through, "released");
        Ok(appended)
    }

    /// The next windows to close: at most `windows_max`, cut at the last midnight among their ends, so that no civil
    /// day of the vault is read twice.
    fn batch(&self, from: UtcMicros, until: UtcMicros) -> Vec<Window> {
        let mut windows: Vec<Window> = self.calendar().windows(from, until).take(self.windows_max).collect();
        if windows.len() == self.windows_max
            && let Some(last) = windows.last()
        {
            let midnight = self.zone.start_of_day(self.zone.to_local(last.end).date());
            if windows[0].end <= midnight {
                windows.retain(|window| window.end <= midnight);
            }
        }
        windows
    }

    /// Takes a file back, named by its name or hash, unless one of its rows lies in a window that is closed.
    pub(crate) fn undo(&self, file: &str) -> Result<u64, UndoError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.vault.files(self.dataset())?;
        let named: Vec<FileKey> = files
            .iter()
            .filter(|entry| entry.name == file || entry.key.to_string() == file)
            .map(|entry| entry.key)
            .collect();
        let [key] = named[..] else {
            return Err(UndoError::NotOne { files: named.len() });
        };
        // what the log covers, whatever the coverage says by now
        let covered = self.ledger.covered_from(self.id())?.zip(self.closed_through()?);
        let calendar = self.calendar();
        let released =
            |at: UtcMicros| covered.is_some_and(|(first, closed)| at >= first && calendar.window_of(at).end <= closed);
        Ok(self.vault.undo(self.dataset(), key, &released)?.rows)
    }

    /// What would leave of the newest windows that are not released, were the contract active.
    pub(crate) fn preview(&self) -> Result<ProductPreview, PublishError> {
        let calendar = self.calendar();
        let from = self.closed_through()?.unwrap_or_else(|| self.coverage_start());
        let newest = self.vault.counts(self.dataset())?.totals.newest;
        let until = newest.map_or(from, |newest| calendar.window_of(newest).end);
        let until = self.coverage_end().map_or(until, |end| end.min(until));
        if from >= until {
            return Ok(ProductPreview { windows: Vec::new(), windows_total: 0 });
        }
        let windows_total = calendar.count(from, until);
        let skipped = usize::try_from(windows_total).unwrap_or(usize::MAX).saturating_sub(PREVIEW_WINDOWS_MAX);
        let closing = self.count(&calendar.windows(from, until).skip(skipped).collect::<Vec<_>>())?;
        let mut windows = Vec::new();
        for closed in closing.windows.into_iter().flatten() {
            let Window { start, end } = closed.rollup.window();
            let shown = gate::preview(&closed.rollup, &self.contract)?;
            let (cells, cells_suppressed) = (shown.cells.len() as u64, shown.suppressed.len() as u64);
            windows.push(WindowPreview { start, end, cells, cells_suppressed, suppressed_share: shown.share });
        }
        Ok(ProductPreview { windows, windows_total })
    }
}
