//! What can go wrong in the ledger: its own trouble, and what an owner's log does that a log may not do.

use civicmesh_model::contract::PublicDocumentError;
use civicmesh_model::hash::Hash32;
use civicmesh_model::names::ProductId;
use civicmesh_model::release::EntryError;
use civicmesh_model::time::UtcMicros;
use civicmesh_store::StoreError;

/// Why the ledger did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The database failed. Nothing of what was asked is stored, unless only its acknowledgement was lost.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is not what the ledger writes.
    #[error("the ledger is damaged: {0}")]
    Damaged(&'static str),
    /// The entries do not follow from the log.
    #[error("{product}: {rejection}")]
    Rejected {
        /// The product whose log it is.
        product: ProductId,
        /// What is wrong with them.
        rejection: Rejection,
    },
    /// No contract of this product is known.
    #[error("{0}: no contract of this product is known")]
    UnknownProduct(ProductId),
    /// A public document that is no contract.
    #[error(transparent)]
    Contract(#[from] PublicDocumentError),
    /// The contract contradicts windows that are released.
    #[error("{product}: {reason}")]
    ContractBreaks {
        /// The product.
        product: ProductId,
        /// What changed, and what to do instead.
        reason: String,
    },
    /// The contract is another than one under which windows are released, and bears the same version.
    #[error(
        "contract {product} changed but still says version {version}; raise `version`; it then applies to windows not \
         yet released"
    )]
    SameVersion {
        /// The product.
        product: ProductId,
        /// The version that both say.
        version: String,
    },
    /// Only the owner appends, and only peers hold replicas.
    #[error("{product}: {}", if *.own { "this domain owns it and holds no replica" } else { "another domain owns it" })]
    Owner {
        /// The product.
        product: ProductId,
        /// Whether this domain owns it.
        own: bool,
    },
    /// Nothing was given to append.
    #[error("{0}: nothing to append")]
    NothingToAppend(ProductId),
    /// The log moved on since the replica's entries were verified.
    #[error("{product}: verified from entry {from}, and the log now has {size}")]
    Stale {
        /// The product.
        product: ProductId,
        /// Where the verified entries begin.
        from: u64,
        /// Entries in the log now.
        size: u64,
    },
    /// The log has no such entry or size.
    #[error("{product}: the log has {size} entries, not {asked}")]
    BeyondTheLog {
        /// The product.
        product: ProductId,
        /// What was asked for.
        asked: u64,
        /// Entries in the log.
        size: u64,
    },
    /// The body of an entry was dropped when its retention was over.
    #[error("{product}: entry {index} is past its retention")]
    Expired {
        /// The product.
        product: ProductId,
        /// Its index.
        index: u64,
    },
    /// A bound of the ledger.
    #[error("the ledger holds at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many at most.
        max: u64,
    },
}

/// What a log may not do, to its owner and to its replicas alike. Indexes count entries from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The head is not signed by the key that the roster has.
    #[error("the head is not signed by its owner's key")]
    BadSignature,
    /// An entry is of another product.
    #[error("entry {index} is of {found}")]
    WrongProduct {
        /// Its index.
        index: u64,
        /// The product it is of.
        found: ProductId,
    },
    /// More entries than are taken at once.
    #[error("{entries} entries at once, and {max} are the most")]
    PageTooLarge {
        /// How many came.
        entries: usize,
        /// How many may.
        max: usize,
    },
    /// The head was not signed for the entries that came with it.
    #[error("the head counts {head} entries where there are {entries}")]
    WrongSize {
        /// Entries that the head counts.
        head: u64,
        /// Entries there are, with those that came.
        entries: u64,
    },
    /// The owner now shows fewer entries than it had signed.
    #[error("the log shrank from {held} entries to {shown}")]
    Shrunk {
        /// Entries held.
        held: u64,
        /// Entries of the head shown.
        shown: u64,
    },
    /// The owner signed another history than before.
    #[error("the log forked: another root over its {size} entries")]
    Forked {
        /// Size at which the roots differ.
        size: u64,
    },
    /// The signed root is not that of the entries.
    #[error("the signed root is not the root of these {size} entries")]
    RootMismatch {
        /// Size of the head.
        size: u64,
    },
    /// The head and the last entry do not agree on what is closed.
    #[error("the head is closed through {head}, its last entry through {entry}")]
    HeadMismatch {
        /// Of the head.
        head: UtcMicros,
        /// Of the last entry.
        entry: UtcMicros,
    },
    /// The bytes are not the canonical bytes of an entry.
    #[error("entry {index} cannot be read: {error}")]
    NotCanonical {
        /// Its index.
        index: u64,
        /// Why not.
        error: EntryError,
    },
    /// The entry names a contract that is not known here; it is to be asked for.
    #[error("entry {index} was made under the unknown contract {contract}")]
    UnknownContract {
        /// Its index.
        index: u64,
        /// The contract's hash.
        contract: Hash32,
    },
    /// The entry is not what its contract says.
    #[error("entry {index} is not what its contract says: {what}")]
    ContractMismatch {
        /// Its index.
        index: u64,
        /// What differs.
        what: &'static str,
    },
    /// The entry does not cover whole windows of its contract.
    #[error("entry {index} does not cover whole windows: {start} to {end}")]
    Misaligned {
        /// Its index.
        index: u64,
        /// Where it starts.
        start: UtcMicros,
        /// Where it ends.
        end: UtcMicros,
    },
    /// Closed-through went back, or is no window edge.
    #[error("entry {index} is closed through {closed_through}, after {before}")]
    ClosedThrough {
        /// Its index.
        index: u64,
        /// Of the entry.
        closed_through: UtcMicros,
        /// Of the entry before.
        before: UtcMicros,
    },
    /// The window is in the log already.
    #[error("entry {index} covers the window from {start}, which is in the log")]
    AlreadyReleased {
        /// Its index.
        index: u64,
        /// Where the window starts.
        start: UtcMicros,
    },
    /// A window of a threshold product is released once.
    #[error("entry {index} revises the window from {start} of a threshold product")]
    RevisionOfThreshold {
        /// Its index.
        index: u64,
        /// Where the window starts.
        start: UtcMicros,
    },
    /// A revision does not follow the one before it.
    #[error("entry {index} is revision {revision} of the window from {start}, which has {held}")]
    RevisionOutOfOrder {
        /// Its index.
        index: u64,
        /// Where the window starts.
        start: UtcMicros,
        /// The revision it claims to be.
        revision: u32,
        /// What the log has of the window.
        held: Held,
    },
}

/// What the log has of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// This revision.
    Revision(u32),
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("no entry"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

impl Rejection {
    /// Whether it speaks against the owner, given that the head is the owner's own: it is remembered. A contract that
    /// is not known yet is asked for, an entry of a newer encoding waits for a newer node, and a page is cut smaller.
    pub(crate) fn convicts(&self) -> bool {
        !matches!(
            self,
            Self::BadSignature
                | Self::PageTooLarge { .. }
                | Self::WrongSize { .. }
                | Self::UnknownContract { .. }
                | Self::NotCanonical { error: EntryError::Version(_), .. }
        )
    }

    pub(crate) fn of(self, product: &ProductId) -> LedgerError {
        LedgerError::Rejected { product: product.clone(), rejection: self }
    }
}
