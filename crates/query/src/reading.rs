//! Reads a product's cells for a question out of one snapshot, and finds on the way how complete they are.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use civicmesh_model::contract::{Contract, Method};
use civicmesh_model::grain::{Calendar, Window};
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
use crate::hands::Hands;
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
    /// Who helps.
    pub hands: &'a Hands,
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
        hands: &'a Hands,
    ) -> Self {
        let memory = MemoryConsumer::new("cells").register(&state.runtime_env().memory_pool);
        Self { shelf, state, now, limits, merged, hands, explains: false, memory }
    }

    /// Reads what the scans need, lays it down at the product, and says how complete it is and, where it is explained,
    /// what it rests on.
    pub(crate) fn read(&self, scans: &Scans, standing: &Standing) -> Result<(ProductCompleteness, Option<Trail>)> {
        let product = &scans.product;
        let stretch = scans.stretch();
        let range = stretch.from.unwrap_or(UtcMicros::MIN)..stretch.until.unwrap_or(UtcMicros::MAX);
        let counted = self.counted(scans, standing);
        let whole = scans.reads_whole_stretch().then(|| counted.clone());
        let mut pass = Pass::new(scans, self, whole)?;
        if range.start < range.end {
            self.pass(&mut pass, product, range)?;
        }
        let Gathered { read, cells, suppressed, share, seen, trail } = pass.finish()?;
        let count = self.count(scans, standing, counted, &seen)?;
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

    /// Passes over a range, over stretches of it at a time where it is a long one.
    fn pass<'p>(&self, pass: &mut Pass<'p>, product: &Product, range: Range<UtcMicros>) -> Result<()> {
        let stretches = match self.explains {
            true => vec![range],
            false => self.shelf.stretches(product.id(), range)?,
        };
        let visit = |pass: &mut Pass<'p>, stretch: Range<UtcMicros>, afresh: bool| {
            self.shelf.visit::<DataFusionError>(product.id(), stretch, afresh, &mut |piece| pass.take(piece))
        };
        if let [stretch] = &stretches[..] {
            return visit(pass, stretch.clone(), self.explains);
        }
        let stretches = stretches.into_iter().map(|stretch| Ok((pass.empty()?, stretch)));
        let stretches = stretches.collect::<Result<Vec<_>>>()?;
        let work = |(mut pass, stretch): (Pass<'p>, _)| visit(&mut pass, stretch, true).map(|()| pass);
        self.hands.each(stretches, work, |next| pass.join(next))
    }

    /// From when until when windows are counted.
    fn counted(&self, scans: &Scans, standing: &Standing) -> Range<UtcMicros> {
        let (product, stretch) = (&scans.product, scans.stretch());
        let coverage = &product.contract.coverage;
        let start = product.zone().start_of_local(coverage.start);
        let end = coverage.end.map(|end| product.zone().start_of_local(end));
        let from = stretch.from.map_or(start, |from| from.max(start));
        let until = match (stretch.until, end) {
            (Some(until), Some(end)) => until.min(end),
            (Some(until), None) => until,
            (None, Some(end)) => end,
            (None, None) => standing.closed_through.unwrap_or(start),
        };
        from..until.min(self.now)
    }

    /// Counts the windows that the question expects by what became of them.
    fn count(&self, scans: &Scans, standing: &Standing, counted: Range<UtcMicros>, seen: &[Seen]) -> Result<Count> {
        let product = &scans.product;
        let stretch = scans.stretch();
        let times = Arc::new(product.cells_schema().project(&[0])?);
        let windows = match scans.reads_whole_stretch() {
            true => None,
            false => Some(scans.predicate(self.state, &times)?),
        };
        let touched = |starts: Vec<i64>| -> Result<BooleanArray> {
            let Some(windows) = &windows else {
                let (from, until) =
                    (stretch.from.map_or(i64::MIN, |at| at.0), stretch.until.map_or(i64::MAX, |at| at.0));
                return Ok(starts.into_iter().map(|start| Some(from <= start && start < until)).collect());
            };
            let column = TimestampMicrosecondArray::from(starts).with_timezone(product.zone().name());
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
        let expected = self.expected(product, counted, seen, windows.is_some())?;
        let passing = touched(expected.iter().map(|expected| expected.stretch.start.0).collect())?;
        for (Expected { stretch, windows, found }, passing) in expected.iter().zip(passing.values().iter()) {
            if passing {
                let expired = match standing.expired_through {
                    Some(expired) if found.is_none() && stretch.end <= expired => *windows,
                    Some(expired) if found.is_none() && stretch.start < expired => {
                        product.calendar.count(stretch.start, expired)
                    }
                    _ => 0,
                };
                count.add(found.map(|found| &seen[found].kind), *windows, expired);
            }
        }
        Ok(count)
    }

    /// The windows that lie wholly within what is counted, each with what of the seen it lies in; those that are alike
    /// as one, unless they are wanted `one_by_one`.
    fn expected(
        &self,
        product: &Product,
        counted: Range<UtcMicros>,
        seen: &[Seen],
        one_by_one: bool,
    ) -> Result<Vec<Expected>, QueryError> {
        let Range { start: from, end: until } = counted;
        let (calendar, limit) = (&product.calendar, self.limits.windows_max as u64);
        let mut expecting = Expecting { expected: Vec::new(), total: 0, limit };
        let mut at = from;
        for (place, Seen { window, windows, kind }) in seen.iter().enumerate() {
            expecting.all(calendar, at..until.min(window.start), None, one_by_one)?;
            if let SeenKind::Empty { .. } = kind {
                let within = window.start.max(from)..window.end.min(until);
                expecting.all(calendar, within, Some(place), one_by_one)?;
            } else if from <= window.start && window.end <= until {
                expecting.expect(Expected { stretch: *window, windows: *windows, found: Some(place) })?;
            }
            at = at.max(window.end);
        }
        expecting.all(calendar, at..until, None, one_by_one)?;
        Ok(expecting.expected)
    }
}

/// Windows that are expected, all alike.
struct Expected {
    stretch: Window,
    windows: u64,
    /// What of the seen they lie in.
    found: Option<usize>,
}

/// How many are expected so far.
struct Expecting {
    expected: Vec<Expected>,
    total: u64,
    limit: u64,
}

impl Expecting {
    fn expect(&mut self, expected: Expected) -> Result<(), QueryError> {
        let what = "the number of windows of one product";
        self.total = self.total.saturating_add(expected.windows);
        self.expected.push(expected);
        if self.total > self.limit { Err(QueryError::TooLarge { what, limit: self.limit }) } else { Ok(()) }
    }

    /// All windows that lie wholly within a stretch.
    fn all(
        &mut self,
        calendar: &Calendar,
        within: Range<UtcMicros>,
        found: Option<usize>,
        one_by_one: bool,
    ) -> Result<(), QueryError> {
        let Range { start, end } = within;
        if start >= end {
            return Ok(());
        }
        if one_by_one {
            let each = |stretch: Window| self.expect(Expected { stretch, windows: 1, found });
            return calendar.windows(start, end).try_for_each(each);
        }
        match calendar.count(start, end) {
            0 => Ok(()),
            windows => self.expect(Expected { stretch: Window { start, end }, windows, found }),
        }
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
    /// Adds so many windows that are alike, so many of which end before retention's bound.
    fn add(&mut self, kind: Option<&SeenKind>, windows: u64, expired: u64) {
        self.expected += windows;
        match kind {
            Some(SeenKind::Released { .. }) => self.present += windows,
            Some(SeenKind::Refused) => self.refused += windows,
            Some(SeenKind::Empty { zero }) => {
                self.empty += windows;
                self.missing += if *zero { 0 } else { windows };
            }
            None => {
                self.expired += expired;
                self.open += windows - expired;
            }
        }
    }
}
