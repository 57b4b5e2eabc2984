//! What would leave of a product, for its owner's eyes.

use civicmesh_model::release::ShareBand;
use civicmesh_model::time::UtcMicros;

/// What would leave, were a draft contract active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductPreview {
    /// The newest windows, in time order, up to a bound.
    pub windows: Vec<WindowPreview>,
    /// Windows in all.
    pub windows_total: u64,
}

/// What would leave of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPreview {
    /// Start of the window.
    pub start: UtcMicros,
    /// End of the window.
    pub end: UtcMicros,
    /// Cells that would be published.
    pub cells: u64,
    /// Cells that would be suppressed.
    pub cells_suppressed: u64,
    /// Share of observations that would be suppressed.
    pub suppressed_share: ShareBand,
}
