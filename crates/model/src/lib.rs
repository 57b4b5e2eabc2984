//! Words, contracts, exact numbers, time and grain, a release's content and its canonical bytes; pure: no I/O, no
//! clock, no randomness.

mod codec;
pub mod contract;
mod exact;
pub mod grain;
pub mod hash;
pub mod log;
pub mod names;
pub mod number;
pub mod release;
pub mod sketch;
mod span;
pub mod time;
pub mod vault_id;

pub use codec::CodecError;
