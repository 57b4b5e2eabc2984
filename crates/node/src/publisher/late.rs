//! What came after its window was closed: a revision where the method allows one, else held back and counted.

use std::sync::PoisonError;

use civicmesh_disclosure::gate;
use civicmesh_ledger::Counted;
use civicmesh_model::contract::Method;
use civicmesh_model::grain::Window;
use civicmesh_model::hash::Hash32;
use civicmesh_model::release::Entry;
use civicmesh_model::time::UtcMicros;
use civicmesh_vault::{DirtyPartition, VaultError};

use super::turn::{Appended, Product, PublishError};

/// Late rows of one partition that no revision will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    sequence: u64,
    rows: u64,
}

impl Product {
    /// Settles the partitions that changed, up to the first that needed a revision; `None` if none did.
    pub(super) fn settle_late(&self, closed: UtcMicros, now: UtcMicros) -> Result<Option<Appended>, PublishError> {
        let dirty = self.vault.dirty(self.dataset())?;
        let Some(sequence) = dirty.iter().map(|partition| partition.sequence).max() else { return Ok(None) };
        let (mut settled, mut appended) = (Vec::new(), None);
        for partition in &dirty {
            if self.held_of(partition).is_some() {
                continue;
            }
            let late = self.late_windows(partition, closed)?;
            let (revisable, mut held): (Vec<_>, Vec<_>) = late.into_iter().partition(|late| self.is_revisable(late));
            appended = match self.revise(&revisable, closed, now) {
                // what is gone cannot be counted again: the rows that came after it are held
                Err(PublishError::Vault(VaultError::Expired(_))) => {
                    held.extend(revisable);
                    None
                }
                revised => revised?,
            };
            if self.hold(partition, &held)? == 0 {
                settled.push(partition.start);
            }
            if appended.is_some() {
                break;
            }
        }
        if !settled.is_empty() {
            // what came since they were read has a later sequence than all of them
            self.vault.clean(self.dataset(), &settled, sequence)?;
        }
        Ok(appended)
    }

    /// The closed windows of a partition that may lack rows of it.
    fn late_windows(&self, partition: &DirtyPartition, closed: UtcMicros) -> Result<Vec<Late>, PublishError> {
        let calendar = self.calendar();
        let Some(first) = self.ledger.covered_from(self.id())? else { return Ok(Vec::new()) };
        let from = calendar.align_down(partition.start).max(first);
        let until = calendar.align_up(partition.end).min(closed);
        let mut lacking = Vec::new();
        if from < until {
            for window in calendar.windows(from, until) {
                let counted = self.ledger.counted(self.id(), window.start)?;
                lacking.extend(counted.filter(|counted| counted.sequence < partition.sequence).map(|c| (window, c)));
            }
        }
        let (Some((first, _)), Some((last, _))) = (lacking.first(), lacking.last()) else { return Ok(Vec::new()) };
        let range = first.start..last.end;
        let snapshot = self.ledger.snapshot();
        let entries = snapshot.current(self.id(), Some(range))?.collect::<Result<Vec<_>, _>>()?;
        let late = lacking.into_iter().filter_map(|(window, counted)| {
            let place = entries.partition_point(|entry| entry.window().end <= window.start);
            entries.get(place).map(|entry| Late { window, counted, entry: entry.clone() })
        });
        Ok(late.collect())
    }

    /// Rows that came after their window was released and that no revision will carry, as counted so far.
    pub(crate) fn late_rows_held(&self) -> u64 {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().map(|held| held.rows).sum()
    }

    /// Whether the method allows a revision, the window was released under the contract in force (a changed contract
    /// applies to windows that are not released yet, and the earlier one is gone), and its rows are still there.
    fn is_revisable(&self, late: &Late) -> bool {
        !late.counted.gone
            && matches!(self.contract.method, Method::Open { .. })
            && contract_of(&late.entry) == self.contract.hash()
    }

    /// Counts windows again and appends a revision of each that changed.
    fn revise(&self, late: &[Late], closed: UtcMicros, now: UtcMicros) -> Result<Option<Appended>, PublishError> {
        if late.is_empty() {
            return Ok(None);
        }
        let closing = self.count(&late.iter().map(|late| late.window).collect::<Vec<_>>())?;
        let mut disclosed = Vec::new();
        for (late, counted_anew) in late.iter().zip(closing.windows.into_iter().flatten()) {
            if counted_anew.rollup.is_empty() && matches!(late.entry, Entry::Empty(_)) {
                continue;
            }
            let terms = self.terms(late.counted.revision + 1, closed, counted_anew.sources);
            let revision = gate::disclose(counted_anew.rollup, &terms)?;
            if !says_the_same(revision.entry(), &late.entry) {
                disclosed.push(revision);
            }
        }
        if disclosed.is_empty() {
            return Ok(None);
        }
        self.append(disclosed, closing.sequence, now).map(Some)
    }

    /// Counts the rows of a partition that no revision will carry, and remembers the count. The partition stays dirty
    /// while there are any, so that they are counted again after a restart.
    fn hold(&self, partition: &DirtyPartition, late: &[Late]) -> Result<u64, PublishError> {
        // what lies in the same window and another day counts there
        let within =
            |window: Window| Window { start: window.start.max(partition.start), end: window.end.min(partition.end) };
        let windows: Vec<_> = late.iter().map(|late| (within(late.window), late.counted.sequence)).collect();
        let rows = self.vault.late_rows(self.dataset(), &windows)?;
        if rows > 0 {
            tracing::warn!(product = %self.id(), day = %partition.start, rows, "rows came after their window was released; they are held back");
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if rows > 0 {
            held.insert(partition.start, Held { sequence: partition.sequence, rows });
        } else {
            held.remove(&partition.start);
        }
        Ok(rows)
    }

    /// The rows that are held of a partition, if nothing changed in it since they were counted.
    fn held_of(&self, partition: &DirtyPartition) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&partition.start).copied();
        held.filter(|held| held.sequence == partition.sequence)
    }
}

/// A closed window that may lack rows, and what the log says of it.
struct Late {
    window: Window,
    counted: Counted,
    entry: Entry,
}

/// The contract that an entry was made under.
fn contract_of(entry: &Entry) -> Hash32 {
    match entry {
        Entry::Release(release) => release.contract,
        Entry::Refusal(refused) => refused.contract,
        Entry::Empty(run) => run.contract,
    }
}

/// Whether a revision would say what the log says already.
fn says_the_same(revision: &Entry, current: &Entry) -> bool {
    match (revision, current) {
        (Entry::Release(new), Entry::Release(old)) => {
            (&new.cells, &new.suppressed, new.suppressed_share) == (&old.cells, &old.suppressed, old.suppressed_share)
        }
        (Entry::Refusal(new), Entry::Refusal(old)) => new.reason == old.reason,
        _ => false,
    }
}
