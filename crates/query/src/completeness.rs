//! How complete an answer is, product by product.

use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::release::{MethodTag, ShareBand};
use civicmesh_model::time::UtcMicros;

use crate::engine::QueryOptions;
use crate::error::QueryError;

/// What a question touches of one product, and what of that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductCompleteness {
    /// The product.
    pub product: ProductId,
    /// Its domain.
    pub owner: DomainName,
    /// Whether this node owns it.
    pub own: bool,
    /// Whether its contract admits this domain (a product that is not granted is not answered at all).
    pub granted: bool,
    /// Windows that the contract expects within the question's time: from its start until its end or, while it goes
    /// on, as far as it is closed; until the question's own bound where that is later and past.
    pub windows_expected: u64,
    /// Expected windows that are released.
    pub windows_present: u64,
    /// Expected windows in which nothing was observed.
    pub windows_empty: u64,
    /// Those of them that the contract calls missing, not zero.
    pub windows_missing: u64,
    /// Expected windows that could not be released.
    pub windows_refused: u64,
    /// Expected windows that this node does not know to be closed.
    pub windows_open: u64,
    /// Expected windows whose releases are past their retention here.
    pub windows_expired: u64,
    /// Windows that end by then are closed, as far as this node knows.
    pub closed_through: Option<UtcMicros>,
    /// Start of the latest window in the log, be it released, refused or empty.
    pub newest_window: Option<UtcMicros>,
    /// When the owner last confirmed its newest head.
    pub head_confirmed_at: Option<UtcMicros>,
    /// Time since then, in microseconds.
    pub head_age_us: Option<i64>,
    /// Since when the owner cannot be reached.
    pub unreachable_since: Option<UtcMicros>,
    /// Published cells that the question touches.
    pub cells: u64,
    /// Suppressed cells that it touches.
    pub cells_suppressed: u64,
    /// The largest share of observations that a touched window with touched suppressed cells holds back.
    pub suppressed_share: ShareBand,
    /// The disclosure method of the contract in force.
    pub method: MethodTag,
    /// The version of the contract in force.
    pub contract_version: String,
    /// The highest revision of a touched window.
    pub revision_max: Option<u32>,
    /// Whether its owner was found out: it signed what does not follow from what it signed before, and which of the two
    /// is true nobody here can tell.
    pub found_out: bool,
    /// Whether figures from this product are what raw rows would give: nothing touched is suppressed or missing.
    pub exact: bool,
    /// What is missing, in plain words; empty when nothing is.
    pub note: String,
}

impl ProductCompleteness {
    /// What is missing, a line each; none when `exact`.
    pub fn gaps(&self) -> Vec<String> {
        let windows = |count: u64, what: &str| {
            (count > 0).then(|| format!("{}: {count} of {} windows {what}", self.product, self.windows_expected))
        };
        let suppressed = (self.cells_suppressed > 0).then(|| {
            let cells = self.cells + self.cells_suppressed;
            format!(
                "{}: {} of {cells} cells suppressed ({})",
                self.product,
                self.cells_suppressed,
                share(self.suppressed_share)
            )
        });
        // no window is expected of a contract without an end until one is closed: that none is, is the gap
        let unreleased = self.closed_through.is_none() && self.windows_open == 0;
        let two_stories = || format!("{}: {} was found out, it told two stories of it", self.product, self.owner);
        [
            unreleased.then(|| format!("{}: nothing of it is released yet", self.product)),
            self.found_out.then(two_stories),
            windows(self.windows_open, "not yet closed or not yet here"),
            windows(self.windows_expired, "past their retention"),
            windows(self.windows_missing, "without any observation"),
            windows(self.windows_refused, "refused release"),
            suppressed,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Windows that are here, those in which nothing happened included.
    pub fn windows_here(&self) -> u64 {
        self.windows_present + self.windows_empty - self.windows_missing
    }

    /// The share of the expected windows that are here, from 0 to 1; 1 where none is expected of a product that is
    /// released, 0 where nothing of it is released.
    pub fn coverage(&self) -> f64 {
        match (self.windows_expected, self.closed_through) {
            (0, Some(_)) => 1.0,
            (0, None) => 0.0,
            (expected, _) => self.windows_here() as f64 / expected as f64,
        }
    }

    /// What to say where the owner confirmed its head longer ago than this, or never. An own product is never stale.
    fn staleness_beyond(&self, staleness_us_max: i64) -> Option<String> {
        let seconds = |us: i64| us / 1_000_000;
        match self.head_age_us {
            _ if self.own => None,
            Some(age) if age <= staleness_us_max => None,
            Some(age) => Some(format!(
                "{}: {} confirmed its newest release {} s ago, and at most {} s are allowed",
                self.product,
                self.owner,
                seconds(age),
                seconds(staleness_us_max)
            )),
            None => Some(format!("{}: {} never confirmed a release to this node", self.product, self.owner)),
        }
    }

    /// What to say where less than this share of the expected windows is here.
    fn coverage_below(&self, coverage_min: f64) -> Option<String> {
        (self.coverage() < coverage_min).then(|| {
            format!(
                "{}: {} of {} expected windows are here ({:.1} %), and at least {:.1} % are demanded",
                self.product,
                self.windows_here(),
                self.windows_expected,
                100.0 * self.coverage(),
                100.0 * coverage_min
            )
        })
    }

    /// Writes down what the other fields say together.
    pub(crate) fn conclude(mut self) -> Self {
        let gaps = self.gaps();
        self.exact = gaps.is_empty();
        self.note = gaps.join("; ");
        self
    }
}

/// Whether an answer of this completeness may be given at all.
pub(crate) fn must_suffice(completeness: &[ProductCompleteness], options: &QueryOptions) -> Result<(), QueryError> {
    let QueryOptions { require_complete, staleness_us_max, coverage_min, window_cut: _ } = *options;
    let suppressed = completeness.iter().filter(|product| product.cells_suppressed > 0);
    let products: Vec<_> = suppressed.map(|product| product.product.clone()).collect();
    if !products.is_empty() && completeness.iter().all(|product| product.cells == 0) {
        return Err(QueryError::AllSuppressed { products });
    }
    let lines = |line: &dyn Fn(&ProductCompleteness) -> Option<String>| -> Vec<String> {
        completeness.iter().filter_map(line).collect()
    };
    let stale = lines(&|product| product.staleness_beyond(staleness_us_max?));
    if !stale.is_empty() {
        return Err(QueryError::Stale { stale });
    }
    let uncovered = lines(&|product| product.coverage_below(coverage_min?));
    if !uncovered.is_empty() {
        return Err(QueryError::Uncovered { uncovered });
    }
    let gaps: Vec<String> = completeness.iter().flat_map(ProductCompleteness::gaps).collect();
    match require_complete && !gaps.is_empty() {
        true => Err(QueryError::Incomplete { gaps }),
        false => Ok(()),
    }
}

/// The largest share that a window holds back, in words.
fn share(share: ShareBand) -> String {
    match share {
        ShareBand::None => "no observations".to_owned(),
        share => format!("{} of a window's observations", band(share)),
    }
}

/// A disclosure method in words.
pub fn method(method: MethodTag) -> String {
    match method {
        MethodTag::Open => "open".to_owned(),
        MethodTag::Threshold { k } => format!("threshold, k = {k}"),
    }
}

/// A share of observations in words.
pub fn band(band: ShareBand) -> &'static str {
    match band {
        ShareBand::None => "none",
        ShareBand::Under1 => "under 1 %",
        ShareBand::Under5 => "under 5 %",
        ShareBand::Under20 => "under 20 %",
        ShareBand::More => "20 % or more",
    }
}
