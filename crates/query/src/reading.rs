//! Reads a product's cells for a question out of one snapshot, and finds on the way how complete they are.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::record_batch::RecordBatch;
use civicmesh_model::contract::{Contract, Method};
use civicmesh_model::grain::Window;
use civicmesh_model::release::MethodTag;
use civicmesh_model::time::UtcMicros;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

use crate::completeness::ProductCompleteness;
use crate::error::{QueryError, RefusalCode};
use crate::explain::Trail;
use crate::gathering::{Gathered, Pass, Seen, SeenKind};
use crate::limits::Limits;
use crate::merged::Merged;
use crate::product::{Need, Product};
use crate::scans::Scans;
use crate::shelf::{Shelf, Standing};

/// What reading needs, whatever the product.
pub(crate) struct Reader<'a> {
    pub shelf: &'a Shelf<'a>,
    pub state: &'a SessionState,
    pub now: UtcMicros,
    pub limits: &'a Limits,
    /// What was merged for earlier questions.
    pub merged: &'a Merged,
    /// Whether it is to be told what was read.
    pub explains: bool,
    /// The memory of all that was read so far for the question.
    pub memory: MemoryReservation,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        shelf: &'a Shelf<'a>,
        state: &'a SessionState,
        now: UtcMicros,
        limits: &'a Limits,
        merged: &'a Merged,
    ) -> Self {
        let memory = MemoryConsumer::new("cells").register(&state.runtime_env().memory_pool);
        Self { shelf, state, now, limits, merged, explains: false, memory }
    }

    /// Reads what the scans need, lays it down at the product, and says how complete it is and, where it is explained,
    /// what it rests on.
    pub(crate) fn read(&self, scans: &Scans, standing: &Standing) -> Result<(ProductCompleteness, Option<Trail>)> {
        let product = &scans.product;
        let stretch = scans.stretch();
        let range = stretch.from.unwrap_or(UtcMicros::MIN)..stretch.until.unwrap_or(UtcMicros::MAX);
        let mut pass = Pass::new(scans, self)?;
        if range.start < range.end {
            self.shelf.visit::<DataFusionError>(product.id(), range, self.explains, &mut |piece| pass.take(piece))?;
        }
        let Gathered { read, cells, suppressed, share, seen, trail } = pass.finish()?;
        let count = self.count(scans, standing, &seen)?;
        product.lay(read)?;
        let Standing {
            own,
            granted,
            closed_through,
            newest_window,
            head_confirmed_at,
            unreachable_since,
            found_out,
            ..
        } = standing.clone();
        let completeness = ProductCompleteness {
            product: product.id().clone(),
            owner: product.id().domain.clone(),
            own,
            granted,
            windows_expected: count.expected,
            windows_present: count.present,
            windows_empty: count.empty,
            windows_missing: count.missing,
            windows_refused: count.refused,
            windows_open: count.open,
            windows_expired: count.expired,
            closed_through,
            newest_window,
            head_confirmed_at,
            head_age_us: head_confirmed_at.map(|at| self.now.since(at).micros()),
            unreachable_since,
            cells,
            cells_suppressed: suppressed,
            suppressed_share: share,
            method: method(&product.contract),
            contract_version: product.contract.version.clone(),
            revision_max: count.revision_max,
            found_out,
            exact: false,
            note: String::new(),
        };
        Ok((completeness.conclude(), trail))
    }

    /// Counts the windows that the question expects by what became of them.
    fn count(&self, scans: &Scans, standing: &Standing, seen: &[Seen]) -> Result<Count> {
        let product = &scans.product;
        let zone = product.zone();
        let times = Arc::new(product.cells_schema().project(&[0])?);
        let windows = scans.predicate(self.state, &times)?;
        let coverage = &product.contract.coverage;
        let stretch = scans.stretch();
        let start = zone.start_of_local(coverage.start);
        let end = coverage.end.map(|end| zone.start_of_local(end));
        let from = stretch.from.map_or(start, |from| from.max(start));
        let until = match (stretch.until, end) {
            (Some(until), Some(end)) => until.min(end),
            (Some(until), None) => until,
            (None, Some(end)) => end,
            (None, None) => standing.closed_through.unwrap_or(start),
        };
        let until = until.min(self.now);
        let touched = |starts: Vec<i64>| -> Result<_> {
            let column = TimestampMicrosecondArray::from(starts).with_timezone(zone.name());
            let batch = RecordBatch::try_new(times.clone(), vec![Arc::new(column)])?;
            windows.passing(&batch)
        };
        let mut count = Count::default();
        let passing = touched(seen.iter().map(|seen| seen.window.start.0).collect())?;
        for (seen, passing) in seen.iter().zip(passing.values().iter()) {
            if let (SeenKind::Released { revision, lacking }, true) = (&seen.kind, passing) {
                count.revision_max = count.revision_max.max(Some(*revision));
                if let Some(need) = lacking {
                    return Err(not_yet_published(product, *need, seen.window).into());
                }
            }
        }
        let expected = self.expected(product, from, until, seen)?;
        let passing = touched(expected.iter().map(|(window, _)| window.start.0).collect())?;
        for ((window, found), passing) in expected.iter().zip(passing.values().iter()) {
            if passing {
                let expired = standing.expired_through.is_some_and(|expired| window.end <= expired);
                count.add(found.map(|found| &seen[found].kind), expired);
            }
        }
        Ok(count)
    }

    /// The windows that lie wholly between `from` and `until`, each with what of the seen it lies in.
    fn expected(
        &self,
        product: &Product,
        from: UtcMicros,
        until: UtcMicros,
        seen: &[Seen],
    ) -> Result<Vec<(Window, Option<usize>)>, QueryError> {
        let (mut expected, mut at) = (Vec::new(), from);
        let limit = self.limits.windows_max;
        let mut expect = |window: Window, found: Option<usize>| {
            expected.push((window, found));
            let what = "the number of windows of one product";
            if expected.len() > limit { Err(QueryError::TooLarge { what, limit: limit as u64 }) } else { Ok(()) }
        };
        for (place, Seen { window, kind }) in seen.iter().enumerate() {
            let unseen = product.calendar.windows(at, until.min(window.start));
            unseen.into_iter().try_for_each(|window| expect(window, None))?;
            if let SeenKind::Empty { .. } = kind {
                let within = product.calendar.windows(window.start.max(from), window.end.min(until));
                within.into_iter().try_for_each(|window| expect(window, Some(place)))?;
            } else if from <= window.start && window.end <= until {
                expect(*window, Some(place))?;
            }
            at = at.max(window.end);
        }
        product.calendar.windows(at, until).try_for_each(|window| expect(window, None))?;
        Ok(expected)
    }
}

fn method(contract: &Contract) -> MethodTag {
    match &contract.method {
        Method::Open { .. } => MethodTag::Open,
        Method::Threshold { k, .. } => MethodTag::Threshold { k: *k },
    }
}

fn not_yet_published(product: &Product, need: Need, window: Window) -> QueryError {
    let (what, name) = match need {
        Need::Statistic(measure, statistic) => (statistic.as_str(), &product.contract.measures[measure].name),
        Need::Distinct(column) => ("distinct values", &product.contract.distinct[column].name),
    };
    let local = product.zone().to_local(window.start).format("%Y-%m-%d %H:%M");
    QueryError::Refused {
        code: RefusalCode::Statistic,
        message: format!(
            "the window of {} that starts at {local} was released under an earlier contract that did not publish the {what} of {name}",
            product.id()
        ),
        instead: format!("a later stretch of time, with {} >= …, or another statistic", product.time()),
    }
}

/// Expected windows by what became of them.
#[derive(Default)]
struct Count {
    expected: u64,
    present: u64,
    empty: u64,
    missing: u64,
    refused: u64,
    open: u64,
    expired: u64,
    revision_max: Option<u32>,
}

impl Count {
    fn add(&mut self, kind: Option<&SeenKind>, expired: bool) {
        self.expected += 1;
        match kind {
            Some(SeenKind::Released { .. }) => self.present += 1,
            Some(SeenKind::Refused) => self.refused += 1,
            Some(SeenKind::Empty { zero }) => {
                self.empty += 1;
                self.missing += u64::from(!zero);
            }
            None if expired => self.expired += 1,
            None => self.open += 1,
        }
    }
}
