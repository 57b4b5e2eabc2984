//! Answers that a client reads piece by piece, by a cursor or a portal. One that it does not read on is given up: its
//! room is wanted by others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::data::DataRow;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use super::failure::refuse;
use super::rows::Rows;
use crate::compose::Parts;

/// The rows of an answer, until nothing was read for too long.
pub(super) struct Shelved {
    shelf: Arc<Mutex<Shelf>>,
    watch: AbortHandle,
}

struct Shelf {
    /// None once given up.
    rows: Option<Rows>,
    read: Instant,
}

impl Shelved {
    /// The rows, for as long as the node keeps an answer that nobody reads.
    pub(super) fn new(rows: Rows, parts: &Parts) -> Shelved {
        Shelved::kept(rows, parts.outgoing.idle_max(), &parts.tasks.others)
    }

    fn kept(rows: Rows, idle_max: Duration, tasks: &TaskTracker) -> Shelved {
        let shelf = Arc::new(Mutex::new(Shelf { rows: Some(rows), read: Instant::now() }));
        let watch = tasks.spawn(give_up(Arc::downgrade(&shelf), idle_max)).abort_handle();
        Shelved { shelf, watch }
    }

    /// The columns.
    ///
    /// # Errors
    /// The answer was given up.
    pub(super) fn fields(&self) -> PgWireResult<Arc<Vec<FieldInfo>>> {
        self.read().rows.as_ref().map(Rows::fields).ok_or_else(given_up)
    }

    /// Writes the rows that are left in these formats.
    ///
    /// # Errors
    /// As in [`super::rows::fields`]; or the answer was given up.
    pub(super) fn write_in(&mut self, format: &Format) -> PgWireResult<()> {
        self.read().rows.as_mut().ok_or_else(given_up)?.write_in(format)
    }

    fn read(&self) -> MutexGuard<'_, Shelf> {
        let mut shelf = lock(&self.shelf);
        shelf.read = Instant::now();
        shelf
    }
}

impl Iterator for Shelved {
    type Item = PgWireResult<DataRow>;

    fn next(&mut self) -> Option<PgWireResult<DataRow>> {
        match &mut self.read().rows {
            Some(rows) => rows.next(),
            None => Some(Err(given_up())),
        }
    }
}

impl Drop for Shelved {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Drops the rows once nothing was read for `idle_max`.
async fn give_up(shelf: Weak<Mutex<Shelf>>, idle_max: Duration) {
    let mut until = Instant::now() + idle_max;
    loop {
        sleep_until(until).await;
        let Some(shelf) = shelf.upgrade() else { return };
        let mut shelf = lock(&shelf);
        until = shelf.read + idle_max;
        if until <= Instant::now() {
            shelf.rows = None;
            tracing::info!("an answer that nobody read on was given up");
            return;
        }
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given_up() -> PgWireError {
    refuse("57014", "the answer was given up: it was not read on for too long; ask again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::department::Outgoing;
    use crate::department::pg::rows::tests::numbers;

    const IDLE_MAX: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_on_gives_its_room_back() {
        let outgoing = Outgoing::new(100, IDLE_MAX);
        let mut shelved = Shelved::kept(numbers(3, outgoing.take(100).unwrap()), IDLE_MAX, &TaskTracker::new());
        for _ in 0..2 {
            tokio::time::sleep(IDLE_MAX * 2 / 3).await;
            assert!(shelved.next().unwrap().is_ok());
        }
        assert!(outgoing.take(1).is_err(), "it is read on");
        tokio::time::sleep(IDLE_MAX * 2).await;
        assert!(outgoing.take(100).is_ok(), "nobody reads it");
        assert!(shelved.next().unwrap().unwrap_err().to_string().contains("ask again"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_dropped_leaves_no_task() {
        let (outgoing, tasks) = (Outgoing::new(100, IDLE_MAX), TaskTracker::new());
        drop(Shelved::kept(numbers(3, outgoing.take(100).unwrap()), IDLE_MAX, &tasks));
        tasks.close();
        tasks.wait().await;
        assert!(outgoing.take(100).is_ok());
    }
}
