//! DataFusion over the ledger: plan, execute, completeness; no server.
//!
//! A client sees each product as a table of raw rows and asks SQL of it. The same SQL as over the raw rows gives the
//! same number over the released cells, or a refusal that says what to ask instead; never a number that is silently
//! another one. `rewrite` has the rules of what may stand between a product and its aggregate, `state` the exact
//! aggregates, `reading` what is read and how complete it is.

mod asking;
mod block;
mod browse;
mod catalog;
mod checked;
mod civil;
mod coarse;
mod completeness;
mod describe;
mod engine;
mod error;
mod error_bounds;
mod explain;
mod figures;
mod forms;
mod functions;
mod gathering;
mod hands;
mod limits;
mod merged;
mod named;
mod opaque;
mod plans;
mod product;
mod question;
mod ranks;
mod ratio;
mod reading;
mod rewrite;
mod roomy;
mod running;
mod scans;
mod settled;
mod shelf;
mod shifted;
mod sketched;
mod state;
mod statement;
mod sums;
mod tables;
mod template;
mod text;
mod tokens;
mod told;
mod total;
pub use tokens::is_shallow;
pub mod using;
mod wall;

pub use browse::functions::SERVER_VERSION;
pub use completeness::{ProductCompleteness, band, method};
pub use engine::{Answer, CityView, Engine, QueryOptions, WindowCut};
pub use error::{QueryError, RefusalCode};
pub use figures::LACKS;
pub use limits::Limits;
pub use question::{PARAMETERS_MAX, Prepared, Question};
pub use roomy::STACK_BYTES;
pub use tables::Table;

#[cfg(test)]
mod tests;
