//! How the links to peers stand at the moment, for status. What must outlive a restart is in the ledger.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use civicmesh_model::{
    names::{DomainName, ProductId},
    time::UtcMicros,
};

use crate::link::PeerIdentity;

/// What is known of the link to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkView {
    /// Reached at the last try; `None` until there was one.
    pub reached: Option<bool>,
    /// When the certificate expires that the peer last showed.
    pub certificate_expires: Option<UtcMicros>,
    /// The peer's version of civicmesh, as it greeted.
    pub node_version: Option<String>,
    /// Its products of which the last try to take something failed, and why.
    pub failed: BTreeMap<ProductId, String>,
}

/// Most products of one peer of which a failure is told.
const FAILED_MAX: usize = 256;

/// The links to all peers.
#[derive(Debug, Default)]
pub struct Links(Mutex<BTreeMap<DomainName, LinkView>>);

impl Links {
    /// How they stand.
    pub fn views(&self) -> BTreeMap<DomainName, LinkView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, domain: &DomainName, change: impl FnOnce(&mut LinkView)) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(views.entry(domain.clone()).or_default());
    }

    pub(crate) fn dialled(&self, peer: &PeerIdentity) {
        self.change(&peer.domain, |view| view.certificate_expires = Some(peer.certificate_expires));
    }

    pub(crate) fn greeted(&self, domain: &DomainName, node_version: String) {
        self.change(domain, |view| view.node_version = Some(node_version));
    }

    pub(crate) fn reached(&self, domain: &DomainName, reached: bool) {
        self.change(domain, |view| view.reached = Some(reached));
    }

    pub(crate) fn failed(&self, product: &ProductId, reason: String) {
        self.change(&product.domain, |view| {
            if view.failed.len() < FAILED_MAX || view.failed.contains_key(product) {
                view.failed.insert(product.clone(), reason);
            }
        });
    }

    /// Forgets failures of a peer's products that it no longer lists, or that went well.
    pub(crate) fn retain_failed(&self, domain: &DomainName, failed: impl Fn(&ProductId) -> bool) {
        self.change(domain, |view| view.failed.retain(|product, _| failed(product)));
    }

    /// Forgets domains that left the city.
    pub(crate) fn retain(&self, member: impl Fn(&DomainName) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|domain, _| member(domain));
    }
}
