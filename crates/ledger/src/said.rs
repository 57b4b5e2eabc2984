//! What peers said: whether they could be reached, when they confirmed a head, what they refused, and where they were
//! found out.
//!
//! Contacts and confirmations come at every poll, so they are kept in memory and written only when something changed
//! or [`WRITTEN_AGAIN_AFTER`] went by. After a crash a head may look that much older than it is, never younger.

use std::collections::BTreeMap;

use civicmesh_model::log::SignedHead;
use civicmesh_model::names::{DomainName, ProductId};
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_store::{Batch, Direction, KeyRange, Read, Store};
use serde::{Deserialize, Serialize};

use crate::error::LedgerError;
use crate::keys::{confirmed, contact, found, prefix_of_domain, product, refused};
use crate::ledger::{Ledger, locked};

/// How long an unchanged contact or confirmation may stand in memory only.
const WRITTEN_AGAIN_AFTER: Span = Span::seconds(30);
/// Longest reason kept of why a peer could not be reached, in bytes.
const REASON_BYTES_MAX: usize = 256;
/// Most refusals kept of one peer: its own bound, so that it takes no other's place.
pub(crate) const REFUSALS_PER_PEER_MAX: usize = 256;
/// Most times that one owner's product is found out and remembered; the first ones count.
const FOUND_OUT_MAX: usize = 64;

/// How one attempt to reach a peer went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When.
    pub at: UtcMicros,
    /// How.
    pub outcome: Outcome,
}

/// How an attempt to reach a peer went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Reached,
    /// It did not.
    Unreachable {
        /// Why, for an operator.
        reason: String,
    },
}

/// What is known of the way to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerContact {
    /// The last attempt.
    pub at: UtcMicros,
    /// The last time it answered.
    pub reached_at: Option<UtcMicros>,
    /// The first attempt since then that failed.
    pub unreachable_since: Option<UtcMicros>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

/// Why a peer gives nothing of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The contract's audience leaves this domain out.
    NotGranted,
    /// The peer has no such product.
    NoSuchProduct,
}

/// A product that a peer refused to this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// When it last said so.
    pub at: UtcMicros,
}

/// An owner that signed what does not follow from what it signed before. Both heads are the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundOut {
    /// When it was seen.
    pub at: UtcMicros,
    /// What is wrong, in words.
    pub fault: String,
    /// The head that was held.
    pub held: Option<SignedHead>,
    /// The head that was shown.
    pub shown: SignedHead,
}

/// What is kept in memory, each with when it was last written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    contacts: BTreeMap<DomainName, (PeerContact, UtcMicros)>,
    confirmed: BTreeMap<ProductId, (UtcMicros, UtcMicros)>,
}

impl Said {
    pub(crate) fn read(store: &Store) -> Result<Self, LedgerError> {
        let mut said = Self::default();
        for stored in store.iterate(contact::KEYSPACE, KeyRange::all(), Direction::Forward) {
            let (key, value) = stored?;
            let known = contact::from_bytes(&value)?;
            let written = known.at;
            said.contacts.insert(contact::parse(&key)?, (known, written));
        }
        for stored in store.iterate(confirmed::KEYSPACE, KeyRange::all(), Direction::Forward) {
            let (key, value) = stored?;
            let at = confirmed::from_bytes(&value)?;
            said.confirmed.insert(confirmed::parse(&key)?, (at, at));
        }
        Ok(said)
    }

    pub(crate) fn contact(&self, domain: &DomainName) -> Option<&PeerContact> {
        self.contacts.get(domain).map(|(contact, _)| contact)
    }

    pub(crate) fn confirmed(&self, product: &ProductId) -> Option<UtcMicros> {
        self.confirmed.get(product).map(|(at, _)| *at)
    }

    /// Forgets that a product's head was ever confirmed.
    pub(crate) fn forget(&mut self, product: &ProductId) {
        self.confirmed.remove(product);
    }

    /// Notes that a head was confirmed; true if it is to be written now.
    pub(crate) fn confirm(&mut self, product: &ProductId, now: UtcMicros) -> bool {
        let written = self.confirmed.get(product).map(|(_, written)| *written);
        let write = written.is_none_or(|written| now.since(written) >= WRITTEN_AGAIN_AFTER);
        self.confirmed.insert(product.clone(), (now, if write { now } else { written.unwrap_or(now) }));
        write
    }
}

impl PeerContact {
    fn after(before: Option<&Self>, contact: Contact) -> Self {
        let Contact { at, outcome } = contact;
        let reached_at = before.and_then(|before| before.reached_at);
        match outcome {
            Outcome::Reached => Self { at, reached_at: Some(at), unreachable_since: None, reason: None },
            Outcome::Unreachable { reason } => {
                let since = before.and_then(|before| before.unreachable_since).unwrap_or(at);
                let ends = reason.char_indices().map(|(start, c)| start + c.len_utf8());
                let end = ends.take_while(|end| *end <= REASON_BYTES_MAX).last().unwrap_or(0);
                Self { at, reached_at, unreachable_since: Some(since), reason: Some(reason[..end].to_owned()) }
            }
        }
    }
}

impl Ledger {
    /// Notes how an attempt to reach a peer went. Waits for the disk where it is written, and keeps nobody waiting who
    /// only reads.
    pub fn note(&self, domain: &DomainName, contact: Contact) -> Result<(), LedgerError> {
        let _writing = locked(&self.writing);
        let before = locked(&self.said).contacts.get(domain).cloned();
        let now = contact.at;
        let after = PeerContact::after(before.as_ref().map(|(before, _)| before), contact);
        let changed = before.as_ref().is_none_or(|(before, written)| {
            before.unreachable_since != after.unreachable_since || now.since(*written) >= WRITTEN_AGAIN_AFTER
        });
        let written = if changed { now } else { before.map_or(now, |(_, written)| written) };
        if changed {
            let mut batch = self.store.batch();
            batch.put(contact::KEYSPACE, contact::key(domain), contact::to_bytes(&after));
            self.store.commit(batch)?;
        }
        locked(&self.said).contacts.insert(domain.clone(), (after, written));
        Ok(())
    }

    /// What is known of the way to every peer that was ever tried.
    pub fn contacts(&self) -> BTreeMap<DomainName, PeerContact> {
        let said = locked(&self.said);
        said.contacts.iter().map(|(domain, (contact, _))| (domain.clone(), contact.clone())).collect()
    }

    /// Notes that the owner of a product gives nothing of it to this domain. Refused where it has refused too many.
    pub fn note_refused(&self, product: &ProductId, kind: RefusalKind, now: UtcMicros) -> Result<(), LedgerError> {
        let _writing = locked(&self.writing);
        let told = BTreeMap::from([(product.clone(), kind)]);
        let mut batch = self.store.batch();
        let kept = self.refuse(&refusals_of(&self.store, &product.domain)?, &told, now, &mut batch);
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        let max = REFUSALS_PER_PEER_MAX as u64;
        if kept { Ok(()) } else { Err(LedgerError::TooMany { what: "refusals of one peer", max }) }
    }

    /// Takes all that an owner refuses to this domain, as it told just now. What it no longer tells is forgotten, but
    /// for products of which more is known here: what it refused once is not granted before it says so. False if it
    /// refused more than is kept of one peer.
    pub fn note_refusals(
        &self,
        owner: &DomainName,
        told: &BTreeMap<ProductId, RefusalKind>,
        now: UtcMicros,
    ) -> Result<bool, LedgerError> {
        let _writing = locked(&self.writing);
        let mut known = refusals_of(&self.store, owner)?;
        let mut batch = self.store.batch();
        let untold: Vec<ProductId> = known.keys().filter(|product| !told.contains_key(product)).cloned().collect();
        for product in untold {
            if self.store.get(product::KEYSPACE, &product::key(&product))?.is_none() {
                batch.delete(refused::KEYSPACE, refused::key(&product));
                known.remove(&product);
            }
        }
        let kept = self.refuse(&known, told, now, &mut batch);
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        Ok(kept)
    }

    /// Puts what of `told` is news into the batch, as far as one peer's refusals are kept; false if that left some out.
    fn refuse(
        &self,
        known: &BTreeMap<ProductId, Refusal>,
        told: &BTreeMap<ProductId, RefusalKind>,
        now: UtcMicros,
        batch: &mut Batch<'_>,
    ) -> bool {
        let mut room = REFUSALS_PER_PEER_MAX.saturating_sub(known.len());
        let mut all = true;
        for (product, kind) in told {
            match known.get(product) {
                Some(refusal) if refusal.kind == *kind && now.since(refusal.at) < WRITTEN_AGAIN_AFTER => continue,
                None if room == 0 => {
                    all = false;
                    continue;
                }
                None => room -= 1,
                Some(_) => {}
            }
            let refusal = Refusal { kind: *kind, at: now };
            batch.put(refused::KEYSPACE, refused::key(product), refused::to_bytes(&refusal));
        }
        all
    }

    /// Every product that its owner refuses to this domain.
    pub fn refusals(&self) -> Result<BTreeMap<ProductId, Refusal>, LedgerError> {
        refusals(&self.store)
    }

    /// Where the owner of a product was found out, oldest first.
    pub fn found_out(&self, product: &ProductId) -> Result<Vec<FoundOut>, LedgerError> {
        found_out(&self.store, product)
    }

    /// Remembers for good where an owner was found out. The same head is remembered once.
    pub(crate) fn remember(&self, product: &ProductId, found: &FoundOut) -> Result<(), LedgerError> {
        let _writing = locked(&self.writing);
        let known = self.found_out(product)?;
        let same = |known: &FoundOut| known.shown.head.root == found.shown.head.root && known.fault == found.fault;
        if known.len() >= FOUND_OUT_MAX || known.iter().any(same) {
            return Ok(());
        }
        tracing::warn!(%product, fault = %found.fault, "an owner was found out");
        let mut batch = self.store.batch();
        batch.put(found::KEYSPACE, found::key(product, known.len() as u64), found::to_bytes(found));
        Ok(self.store.commit(batch)?)
    }
}

/// Every product that its owner refuses to this domain.
pub(crate) fn refusals(read: &impl Read) -> Result<BTreeMap<ProductId, Refusal>, LedgerError> {
    refusals_in(read, KeyRange::all())
}

fn refusals_of(read: &impl Read, owner: &DomainName) -> Result<BTreeMap<ProductId, Refusal>, LedgerError> {
    refusals_in(read, KeyRange::prefix(prefix_of_domain(owner)))
}

fn refusals_in(read: &impl Read, range: KeyRange) -> Result<BTreeMap<ProductId, Refusal>, LedgerError> {
    let stored = read.iterate(refused::KEYSPACE, range, Direction::Forward);
    stored
        .map(|stored| {
            let (key, value) = stored?;
            Ok((refused::parse(&key)?, refused::from_bytes(&value)?))
        })
        .collect()
}

/// Where the owner of a product was found out, oldest first.
pub(crate) fn found_out(read: &impl Read, product: &ProductId) -> Result<Vec<FoundOut>, LedgerError> {
    let range = KeyRange::prefix(crate::keys::prefix(product));
    let stored = read.iterate(found::KEYSPACE, range, Direction::Forward);
    stored.map(|stored| found::from_bytes(&stored?.1)).collect()
}
