//! The questions that are being answered, and those that were given up while a thread still works at them.
//!
//! A planner cannot be stopped in the middle of a thought. So a question holds its place no longer than its time; past
//! it, it counts among the overdue, which are bounded too: a node that all think for says that it is busy.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::QueryError;
use crate::limits::Limits;

/// The places, one a question.
#[derive(Debug)]
pub(crate) struct Running {
    queries_max: usize,
    overdue_max: usize,
    time: Duration,
    /// When each question's time is over.
    ends: Mutex<Vec<Instant>>,
}

/// A question's place. It is free again when dropped or when its time is over.
#[derive(Debug)]
pub(crate) struct Place<'r> {
    running: &'r Running,
    end: Instant,
}

impl Running {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { queries_max, overdue_max, time_ms_max, .. } = *limits;
        Self { queries_max, overdue_max, time: Duration::from_millis(time_ms_max), ends: Mutex::default() }
    }

    /// A place for a question that begins now.
    ///
    /// # Errors
    /// [`QueryError::Busy`] if none is free.
    pub(crate) fn admit(&self, now: Instant) -> Result<Place<'_>, QueryError> {
        let mut ends = self.ends();
        let overdue = ends.iter().filter(|end| **end <= now).count();
        if overdue >= self.overdue_max {
            return Err(QueryError::Busy { queries_max: self.overdue_max });
        }
        if ends.len() - overdue >= self.queries_max {
            return Err(QueryError::Busy { queries_max: self.queries_max });
        }
        let end = now + self.time;
        ends.push(end);
        Ok(Place { running: self, end })
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.ends.lock().expect("nobody panics while places are counted")
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut ends = self.running.ends();
        let place = ends.iter().position(|end| *end == self.end).expect("a place is given back once");
        ends.swap_remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_when_its_time_is_over_and_the_overdue_are_bounded() {
        let limits = Limits { queries_max: 2, overdue_max: 3, time_ms_max: 1_000, ..Limits::default() };
        let running = Running::new(&limits);
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let busy = |at, of| assert_eq!(running.admit(at).unwrap_err(), QueryError::Busy { queries_max: of });
        let first = running.admit(after(0)).unwrap();
        let second = running.admit(after(500)).unwrap();
        busy(after(999), 2);
        // the first one's thread still works, its place is another's
        let third = running.admit(after(1_000)).unwrap();
        busy(after(1_499), 2);
        let fourth = running.admit(after(1_500)).unwrap();
        // three work on past their time: the node takes no more until one of them is done
        busy(after(2_000), 3);
        drop(first);
        let fifth = running.admit(after(2_000)).unwrap();
        drop((second, third, fourth, fifth));
        assert!(running.ends().is_empty());
    }
}
