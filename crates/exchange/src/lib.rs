//! Roster and membership, serving releases to peers, pulling theirs: everything that crosses between nodes.
//!
//! A node pulls. Each peer has a task that greets (rosters), lists products, adopts contracts, and fetches log entries
//! after its durable cursor, page by page; every page is verified against the owner's signed head before the ledger
//! admits it. What the query side must know (grants, refusals, last contact) is written to the ledger.

mod document;
mod exchange;
pub mod identity;
pub mod link;
pub mod links;
pub mod office;
mod places;
pub mod pull;
pub mod request_id;
pub mod roster;
pub mod serve;
pub mod tls;
pub mod traffic;
mod wire;

pub use exchange::Exchange;

#[cfg(test)]
mod testing;
