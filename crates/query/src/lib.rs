//! DataFusion over the ledger: plan, execute, completeness; no server.
//!
//! A client sees each product as a table of raw rows and asks SQL of it. The same SQL as over the raw rows gives the
//! same number over the released cells, or a refusal that says what to ask instead; never a number that is silently
//! another one. `rewrite` has the rules of what may stand between a product and its aggregate, `state` the exact
//! aggregates, `reading` what is read and how complete it is.

mod asking;
mod block;
mod catalog;
mod civil;
mod coarse;
mod completeness;
mod engine;
mod error;
mod forms;
mod functions;
mod gathering;
mod limits;
mod product;
mod ratio;
mod reading;
mod rewrite;
mod roomy;
mod scans;
mod shelf;
mod state;
mod statement;
pub mod using;
mod wall;

pub use completeness::ProductCompleteness;
pub use engine::{Answer, CityView, Engine, QueryOptions};
pub use error::{QueryError, RefusalCode};
pub use limits::Limits;

#[cfg(test)]
mod tests;
