//! One file, once through: read, made into observations, appended to the vault chunk by chunk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use civicmesh_exchange::link::Clock;
use civicmesh_model::contract::RejectLimit;
use civicmesh_model::names::SourceName;
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_vault::{Append, FileKey, FileTotals, RowCounts, Vault};

use super::error::IngestError;
use super::recipe::Recipe;
use super::reject::{Reject, RejectCount, RejectFile, RejectTally};
use super::rows::{FIT_ROWS, Rows};
use super::spool::Spool;
use super::table::{Chunk, Table};

/// Rows in one append to the vault: the most that a killed ingest must read again. Tests have few, so that small files
/// need several appends.
pub const APPEND_ROWS: u64 = if cfg!(test) { 512 } else { 65_536 };

/// How far ahead of the node's clock an event time may lie and still close windows. Clocks differ a little; local time
/// taken for UTC differs by more.
const CLOCK_SKEW_MAX: Span = Span::seconds(15 * 60);

/// Most bytes read for one append: a chunk of long texts, or of many columns, ends before it has all its rows.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// Rows between two looks at how many bytes there are.
const BYTES_LOOK_ROWS: u64 = 64;

/// A file that was uploaded.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// Where its bytes lie.
    pub path: &'a Path,
    /// What the user calls it, without folders; its ending breaks ties about its format.
    pub name: &'a str,
    /// The feed that it belongs to.
    pub source: &'a SourceName,
}

/// Where a file's rows go.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// Takes the observations.
    pub vault: &'a Vault,
    /// The folder of reject files.
    pub rejects: &'a Path,
    /// The node's clock.
    pub clock: &'a dyn Clock,
}

/// Hears how an ingest goes, and may stop it.
pub trait Watch {
    /// After each stretch of the file. A break stops the ingest; what was stored is kept.
    fn progress(&mut self, progress: Progress) -> ControlFlow<()>;
    /// A row that was not taken: for the department's own terminal. Each is told, so a watch bounds what it shows.
    fn reject(&mut self, reject: &Reject);
}

/// How far an ingest has come. The file is read twice: once for its hash, then for its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the upload read, in both passes.
    pub bytes: u64,
    /// Bytes to read in both passes.
    pub bytes_total: u64,
    /// Rows read, rejected ones included.
    pub rows: u64,
    /// Rows accepted; they are durable.
    pub accepted: u64,
    /// Rows rejected.
    pub rejected: u64,
}

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file's name in the vault: the hash of its unpacked bytes.
    pub file: FileKey,
    /// Rows in the file; those below together, in all ingests of it.
    pub rows: u64,
    /// Rows stored for the first time.
    pub accepted: u64,
    /// Rows seen before under their key.
    pub duplicate: u64,
    /// Rows that changed one seen before.
    pub corrected: u64,
    /// Rows that the contract's filter left out.
    pub filtered: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rows for days whose observations are past their retention; not kept.
    pub expired: u64,
    /// Rows ahead of the node's clock by more than clocks differ; they are kept as others are, and close no window.
    pub ahead: u64,
    /// Rejects by column and reason, most rows first; empty for a file that was taken in before.
    pub rejects: Vec<RejectCount>,
    /// Values that the contract turned into nulls, by column.
    pub nulled: BTreeMap<Arc<str>, u64>,
    /// The reject file, where there were rejects.
    pub reject_file: Option<PathBuf>,
    /// Rows that were stored before this call, by an ingest of the same file.
    pub resumed: u64,
    /// Whether the whole file had been taken in before.
    pub known: bool,
    /// Whether more rows were rejected than the contract allows.
    pub over_limit: bool,
}

/// Takes one file in. Blocking; to be called on the environment's blocking executor.
///
/// # Errors
/// A file that does not fit `recipe` is refused before anything is stored. An error later on keeps what was stored:
/// the same file resumes there.
pub fn ingest(
    recipe: &Recipe,
    upload: Upload<'_>,
    desk: Desk<'_>,
    watch: &mut dyn Watch,
) -> Result<Summary, IngestError> {
    let spool = Spool::open(upload.path, upload.name)?;
    fit(recipe, &spool, desk.clock.now(), &mut |reject| watch.reject(reject))?;
    let bytes_total = spool.bytes * 2;
    let hash = spool.hash(|bytes| heed(watch.progress(Progress { bytes, bytes_total, ..Progress::default() })))?;
    let (dataset, file) = (&recipe.dataset.name, FileKey(hash));
    let begun = desk.vault.begin_file(dataset, upload.source, file, upload.name, desk.clock.now())?;
    let mut taking = Taking {
        recipe,
        desk,
        file,
        rows_stored: begun.rows_done,
        reject_file: RejectFile::new(desk.rejects, dataset, &hash),
        tally: RejectTally::default(),
        nulled: BTreeMap::new(),
        progress: Progress { bytes: spool.bytes, bytes_total, ..Progress::default() },
    };
    if !begun.finished {
        taking.take_all(&spool, watch)?;
    }
    let reject_file = taking.reject_file.finish(desk.clock.now())?;
    let totals = desk.vault.finish_file(dataset, file, &recipe.dataset.time)?;
    let FileTotals { rows, accepted, duplicate, corrected, filtered, rejected, expired, ahead, .. } = totals;
    Ok(Summary {
        file,
        rows,
        accepted,
        duplicate,
        corrected,
        filtered,
        rejected,
        expired,
        ahead,
        rejects: taking.tally.counts(),
        nulled: taking.nulled,
        reject_file,
        resumed: begun.rows_done,
        known: begun.finished,
        over_limit: is_over(recipe.dataset.rejects_max, rejected, rows),
    })
}

/// Refuses a file of which none of the first rows can be read; its rejects are told then.
pub(super) fn fit(
    recipe: &Recipe,
    spool: &Spool,
    now: UtcMicros,
    tell: &mut dyn FnMut(&Reject),
) -> Result<(), IngestError> {
    let mut rows = Rows::open(spool, &recipe.dataset)?;
    let mut table = recipe.table()?;
    read_chunk(&mut rows, &mut table, FIT_ROWS as u64, now)?;
    let Chunk { rows, lines, rejects, .. } = table.take();
    let readable = rejects.iter().any(|reject| !reject.reason.is_unreadable());
    let Some(first) = rejects.first().filter(|_| lines.is_empty() && !readable) else {
        return Ok(());
    };
    rejects.iter().for_each(tell);
    let Reject { line, column, reason, .. } = first;
    let (rows, column) = ((rows.end - rows.start) as usize, column.as_ref().map(|column| column.to_string()));
    Err(IngestError::NothingFits { rows, line: *line, column, reason: *reason })
}

/// Reads at most `rows_max` rows into `table`; false if there was none left.
pub(super) fn read_chunk(
    rows: &mut Rows,
    table: &mut Table,
    rows_max: u64,
    now: UtcMicros,
) -> Result<bool, IngestError> {
    table.set_clock(now);
    let mut read = 0;
    while read < rows_max && rows.read(table)? {
        read += 1;
        if read % BYTES_LOOK_ROWS == 0 && table.bytes() > CHUNK_BYTES_MAX {
            break;
        }
    }
    Ok(read > 0)
}

/// Ends the ingest where the watch says so.
fn heed(flow: ControlFlow<()>) -> Result<(), IngestError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(IngestError::Stopped),
    }
}

fn is_over(limit: RejectLimit, rejected: u64, rows: u64) -> bool {
    rejected as f64 > limit.share * rows as f64
}

/// A file on its way into the vault.
struct Taking<'a> {
    recipe: &'a Recipe,
    desk: Desk<'a>,
    file: FileKey,
    /// Rows that the vault had before.
    rows_stored: u64,
    reject_file: RejectFile,
    tally: RejectTally,
    nulled: BTreeMap<Arc<str>, u64>,
    progress: Progress,
}

impl Taking<'_> {
    /// How many rows the next chunk may have, so that none straddles the row at which an ingest resumes. Rows before
    /// it are read once more, for their rejects and because a text has no other way to its middle.
    fn rows_to_boundary(&self) -> u64 {
        match self.rows_stored.saturating_sub(self.progress.rows) {
            0 => APPEND_ROWS,
            left => left.min(APPEND_ROWS),
        }
    }

    fn take_all(&mut self, spool: &Spool, watch: &mut dyn Watch) -> Result<(), IngestError> {
        let mut table = self.recipe.table()?;
        let mut rows = Rows::open(spool, &self.recipe.dataset)?;
        while read_chunk(&mut rows, &mut table, self.rows_to_boundary(), self.desk.clock.now())? {
            self.progress.bytes = spool.bytes + rows.consumed();
            self.take(table.take(), watch)?;
        }
        Ok(())
    }

    fn take(&mut self, mut chunk: Chunk, watch: &mut dyn Watch) -> Result<(), IngestError> {
        self.recipe.apply(&mut chunk)?;
        let shaped = self.recipe.outputs.shape(&mut chunk)?;
        chunk.rejects.sort_by_key(|reject| reject.line);
        for reject in &chunk.rejects {
            self.tally.add(reject);
            self.reject_file.add(reject)?;
            watch.reject(reject);
        }
        for (column, values) in std::mem::take(&mut chunk.nulled) {
            *self.nulled.entry(column).or_default() += values;
        }
        if chunk.rows.end > self.rows_stored {
            let now = self.desk.clock.now();
            let appended = self.desk.vault.append(Append {
                dataset: &self.recipe.dataset.name,
                contract_hash: self.recipe.contract,
                file: self.file,
                rows_from: chunk.rows.start,
                rows_to: chunk.rows.end,
                observations: self.recipe.outputs.observations(shaped)?,
                counts: RowCounts { filtered: chunk.filtered, rejected: chunk.rejects.len() as u64 },
                now,
                watermark_max: now.after(CLOCK_SKEW_MAX),
            })?;
            self.progress.accepted += appended.accepted;
        }
        self.progress.rows = chunk.rows.end;
        self.progress.rejected = self.tally.total();
        heed(watch.progress(self.progress))
    }
}
