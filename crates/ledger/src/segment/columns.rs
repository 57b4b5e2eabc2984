//! Columns of a segment that were decoded, each once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::{Numbers, SegmentRow, States, Wanted};
use crate::error::LedgerError;
use crate::ledger::locked;

/// What was decoded of a segment.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(super) rows: OnceLock<Arc<Vec<SegmentRow>>>,
    pub(super) coordinates: OnceLock<Arc<Vec<Vec<String>>>>,
    pub(super) codes: OnceLock<Arc<Vec<u32>>>,
    pub(super) suppressed_codes: OnceLock<Arc<Vec<u32>>>,
    pub(super) observations: OnceLock<Arc<Vec<i64>>>,
    states: Mutex<BTreeMap<(usize, Wanted), Arc<States>>>,
    bytes: Counted,
}

/// How many bytes are decoded.
#[derive(Debug, Default)]
struct Counted {
    own: AtomicUsize,
    /// Those of all that are counted together.
    all: Option<Arc<AtomicUsize>>,
}

/// What takes memory.
pub(super) trait Weighs {
    fn bytes(&self) -> usize;
}

impl Columns {
    /// Columns whose bytes are counted in `all` as long as they live.
    pub(crate) fn counted(all: Arc<AtomicUsize>) -> Self {
        Self { bytes: Counted { own: AtomicUsize::new(0), all: Some(all) }, ..Self::default() }
    }

    /// Bytes that are decoded.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.own.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.bytes.own.fetch_add(bytes, Ordering::Relaxed);
        if let Some(all) = &self.bytes.all {
            all.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A column, which `read` decodes where nobody did.
    pub(super) fn column<T: Weighs>(
        &self,
        of: impl Fn(&Self) -> &OnceLock<Arc<T>>,
        read: impl FnOnce() -> Result<T, LedgerError>,
    ) -> Result<Arc<T>, LedgerError> {
        if let Some(known) = of(self).get() {
            return Ok(known.clone());
        }
        let column = Arc::new(read()?);
        if of(self).set(column.clone()).is_ok() {
            self.count(column.bytes());
        }
        Ok(column)
    }

    /// The states of a measure, likewise.
    pub(super) fn states(
        &self,
        measure: usize,
        wanted: Wanted,
        read: impl FnOnce() -> Result<States, LedgerError>,
    ) -> Result<Arc<States>, LedgerError> {
        if let Some(known) = locked(&self.states).get(&(measure, wanted)) {
            return Ok(known.clone());
        }
        let states = Arc::new(read()?);
        if locked(&self.states).insert((measure, wanted), states.clone()).is_none() {
            self.count(states.bytes());
        }
        Ok(states)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
        }
    }
}

impl Weighs for Vec<SegmentRow> {
    fn bytes(&self) -> usize {
        size_of_val(&self[..])
    }
}

impl Weighs for Vec<Vec<String>> {
    fn bytes(&self) -> usize {
        let text = |text: &String| size_of::<String>() + text.capacity();
        self.iter().map(|texts| size_of::<Vec<String>>() + texts.iter().map(text).sum::<usize>()).sum()
    }
}

impl Weighs for Vec<u32> {
    fn bytes(&self) -> usize {
        size_of_val(&self[..])
    }
}

impl Weighs for Vec<i64> {
    fn bytes(&self) -> usize {
        size_of_val(&self[..])
    }
}

impl Weighs for States {
    fn bytes(&self) -> usize {
        let numbers = |numbers: &Option<Numbers>| match numbers {
            None => 0,
            Some(Numbers::Narrow(numbers)) => size_of_val(&numbers[..]),
            Some(Numbers::Wide(numbers)) => size_of_val(&numbers[..]),
        };
        let extremes = |of: &Option<Vec<Option<i64>>>| of.as_ref().map_or(0, |of| size_of_val(&of[..]));
        let Self { count, sums, squares, min, max } = self;
        size_of_val(&count[..]) + numbers(sums) + numbers(squares) + extremes(min) + extremes(max)
    }
}
