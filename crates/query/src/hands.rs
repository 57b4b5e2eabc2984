//! Threads that help a question read: as many as the machine has beside the one that asks, shared by all questions.
//!
//! What they read is taken in the order in which it would be read by one thread, so that neither an answer nor an
//! error tells how many there were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::roomy::STACK_BYTES;

/// The threads that help.
#[derive(Debug)]
pub(crate) struct Hands {
    /// None where nobody helps.
    pool: Option<ThreadPool>,
    /// How many are free.
    free: AtomicUsize,
}

/// Some of them, free again when dropped.
struct Helpers<'h> {
    hands: &'h Hands,
    count: usize,
}

/// What was done, as far as it is next in order.
struct Done<R, E, F> {
    next: usize,
    ahead: BTreeMap<usize, Result<R, E>>,
    take: F,
    /// The first failure in order.
    failed: Option<E>,
    /// Whether nothing more is to be begun: somebody failed.
    ends: bool,
}

impl Hands {
    /// So many helpers, for all questions together.
    pub(crate) fn new(helpers: usize) -> Self {
        let named = |number| format!("hand-{number}");
        let threads = ThreadPoolBuilder::new().num_threads(helpers).stack_size(STACK_BYTES).thread_name(named);
        let built = (helpers > 0).then(|| threads.build()).transpose();
        let pool = built.unwrap_or_else(|error| {
            tracing::warn!(%error, "there are no threads to help with questions");
            None
        });
        Self { free: AtomicUsize::new(if pool.is_some() { helpers } else { 0 }), pool }
    }

    /// Does the work on each of the things, on this thread and on as many helpers as are free, and takes what comes of
    /// it in their order. Nothing is taken after the first failure in that order, which is given back.
    pub(crate) fn each<T: Send, R: Send, E: Send>(
        &self,
        things: Vec<T>,
        work: impl Fn(T) -> Result<R, E> + Sync,
        mut take: impl FnMut(R) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let helpers = self.helpers(things.len().saturating_sub(1));
        let (Some(pool), 1..) = (&self.pool, helpers.count) else {
            return things.into_iter().try_for_each(|thing| take(work(thing)?));
        };
        let coming = Mutex::new(things.into_iter().enumerate());
        let done = Mutex::new(Done { next: 0, ahead: BTreeMap::new(), take, failed: None, ends: false });
        let span = tracing::Span::current();
        let turn = || {
            while !locked(&done).ends {
                // things are begun in order, so that what comes before a failure is always done
                let Some((place, thing)) = locked(&coming).next() else { return };
                let worked = work(thing);
                locked(&done).add(place, worked);
            }
        };
        pool.in_place_scope(|scope| {
            for _ in 0..helpers.count {
                scope.spawn(|_| span.in_scope(turn));
            }
            turn();
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.failed.map_or(Ok(()), Err)
    }

    /// As many as are free, at most so many.
    fn helpers(&self, count_max: usize) -> Helpers<'_> {
        let mut count = 0;
        let take = |free: usize| {
            count = free.min(count_max);
            Some(free - count)
        };
        // it is never refused
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Helpers { hands: self, count }
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.hands.free.fetch_add(self.count, Ordering::Relaxed);
    }
}

impl<R, E, F: FnMut(R) -> Result<(), E>> Done<R, E, F> {
    fn add(&mut self, place: usize, worked: Result<R, E>) {
        self.ends |= worked.is_err();
        self.ahead.insert(place, worked);
        while let Some(worked) = self.ahead.remove(&self.next) {
            self.next += 1;
            if self.failed.is_none() {
                self.failed = worked.and_then(&mut self.take).err();
                self.ends |= self.failed.is_some();
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_taken_in_order_up_to_the_first_failure_however_many_help() {
        for helpers in [0, 1, 5] {
            let hands = Hands::new(helpers);
            for failing in [usize::MAX, 0, 3, 9] {
                let mut taken = Vec::new();
                let work = |thing: usize| match thing >= failing {
                    true => Err(thing),
                    false => Ok(thing),
                };
                let done = hands.each((0..10).collect(), work, |thing| {
                    taken.push(thing);
                    Ok(())
                });
                let expected = if failing > 9 { Ok(()) } else { Err(failing) };
                assert_eq!(done, expected);
                assert_eq!(taken, (0..failing.min(10)).collect::<Vec<_>>());
                assert_eq!(hands.free.load(Ordering::Relaxed), helpers);
            }
            let mut taken = 0;
            let take = |thing: usize| {
                taken += 1;
                if thing == 4 { Err(thing) } else { Ok(()) }
            };
            assert_eq!(hands.each((0..10).collect(), Ok, take), Err(4));
            assert_eq!(taken, 5);
        }
    }

    #[test]
    fn helpers_are_shared_by_who_asks_at_a_time() {
        let hands = Hands::new(3);
        let (some, rest) = (hands.helpers(2), hands.helpers(2));
        assert_eq!((some.count, rest.count, hands.helpers(1).count), (2, 1, 0));
        drop(some);
        assert_eq!(hands.helpers(5).count, 2);
    }
}
