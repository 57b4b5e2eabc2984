//! Whose turn it is: few questions a core are worked at at a time, in the order in which they came, so that many short
//! ones are answered one after the other instead of all late. A question that is not answered within [`SHORT`] goes on
//! beside the others' turns, so that a few long ones hold up nobody.

use std::time::Duration;

use civicmesh_query::QueryError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Turns at a time for each core: one that is handed on must not leave it idle.
const OF_A_CORE: usize = 4;

/// How long a question's turn is.
const SHORT: Duration = Duration::from_millis(20);

/// Most questions that wait for their turn.
const WAITING_MAX: usize = 1_024;

/// The turns, and the line of those who wait for one.
pub(crate) struct Turns {
    free: Semaphore,
    line: Semaphore,
    queries_max: usize,
    /// How long a question waits for its turn.
    wait_max: Duration,
}

impl Turns {
    /// The turns of a machine with so many cores, never more than `queries_max`, each waited for as long as a question
    /// may take.
    pub(crate) fn new(cores: usize, queries_max: usize, wait_max: Duration) -> Self {
        Self::of((cores * OF_A_CORE).min(queries_max), queries_max, wait_max)
    }

    fn of(at_once: usize, queries_max: usize, wait_max: Duration) -> Self {
        Self { free: Semaphore::new(at_once), line: Semaphore::new(WAITING_MAX), queries_max, wait_max }
    }

    /// Does the work when its turn comes.
    ///
    /// # Errors
    /// [`QueryError::Busy`] if it does not come, or too many wait for theirs already.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, QueryError> {
        let turn = self.turn().await.ok_or(QueryError::Busy { queries_max: self.queries_max })?;
        let mut work = std::pin::pin!(work);
        if let Ok(done) = timeout(SHORT, &mut work).await {
            return Ok(done);
        }
        drop(turn);
        Ok(work.await)
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let _place = self.line.try_acquire().ok()?;
        timeout(self.wait_max, self.free.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn short_work_is_done_in_the_order_in_which_it_came_so_many_at_a_time() {
        let (turns, done) = (Turns::of(2, 16, WAIT_MAX), Mutex::new(Vec::new()));
        let begun = Instant::now();
        let work = |number: usize| {
            let done = &done;
            turns.run(async move {
                sleep(Duration::from_millis(10)).await;
                done.lock().unwrap().push((number, begun.elapsed().as_millis()));
            })
        };
        join_all((0..6).map(work)).await;
        assert_eq!(*done.lock().unwrap(), [(0, 10), (1, 10), (2, 20), (3, 20), (4, 30), (5, 30)]);
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_goes_on_beside_the_turns_of_others() {
        let turns = Turns::of(1, 16, WAIT_MAX);
        let begun = Instant::now();
        let long = turns.run(sleep(Duration::from_secs(5)).map(|()| begun.elapsed()));
        let short = turns.run(sleep(Duration::from_millis(1)).map(|()| begun.elapsed()));
        let (long, short) = tokio::join!(long, short);
        assert_eq!(long.unwrap(), Duration::from_secs(5));
        assert!(short.unwrap() < SHORT * 2, "it waited for the long one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_waited_for_no_longer_than_said_and_the_line_is_bounded() {
        let turns = Turns::of(1, 16, SHORT / 2);
        let busy = Err(QueryError::Busy { queries_max: 16 });
        let (mut first, second) = (Box::pin(turns.run(pending::<()>())), turns.run(async {}));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(second.await, busy);
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(turns.run(pending::<()>()))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert_eq!(turns.run(async {}).now_or_never(), Some(busy));
        // who hangs up gives back a turn or a place in the line
        drop((first, waiting));
        assert_eq!(turns.run(async {}).now_or_never(), Some(Ok(())));
    }
}
