//! What a peer's list of products means for this node: what is to be fetched, what is refused, what cannot be taken.

use std::{collections::BTreeMap, fmt};

use civicmesh_ledger::{Ledger, LedgerError, RefusalKind, VerifyingKey};
use civicmesh_model::{hash::Hash32, log::SignedHead, names::ProductId, time::UtcMicros};

use super::machine::Need;
use crate::wire::{self, Listed, Reason, Standing};

/// What a listed product needs; or, of one that cannot be taken, why.
pub(super) type Taken = Result<Need, (ProductId, LedgerError)>;

/// What one product of a list needs. Only trouble of the database concerns the others.
pub(super) fn take_listed(
    ledger: &Ledger,
    listed: Listed,
    key: &VerifyingKey,
    now: UtcMicros,
) -> Result<Taken, LedgerError> {
    let Listed { product, standing } = listed;
    let Standing::Granted { contract, head } = standing else {
        return Ok(Ok(Need { product, contract: None, entries: false }));
    };
    match granted(ledger, &product, contract, head, key, now) {
        Ok(need) => Ok(Ok(need)),
        Err(error @ LedgerError::Store(_)) => Err(error),
        Err(error) => Ok(Err((product, error))),
    }
}

fn granted(
    ledger: &Ledger,
    product: &ProductId,
    contract: Hash32,
    head: SignedHead,
    key: &VerifyingKey,
    now: UtcMicros,
) -> Result<Need, LedgerError> {
    let known = ledger.contract_hash(product)?;
    let entries = match known {
        None => head.head.size > 0,
        Some(_) => ledger.confirm(head, key, now)? > 0,
    };
    let contract = Some(contract).filter(|contract| known != Some(*contract));
    Ok(Need { product: product.clone(), contract, entries })
}

/// What an owner refuses of what it lists.
pub(super) fn refused_of(listed: &[Listed]) -> BTreeMap<ProductId, RefusalKind> {
    let refused = listed.iter().filter_map(|Listed { product, standing }| match standing {
        Standing::Granted { .. } => None,
        Standing::Refused(reason) => Some((product.clone(), refusal_kind(*reason)?)),
    });
    refused.collect()
}

/// Why a product failed, without its name, which stands beside it.
pub(super) fn reason_for_status(product: &ProductId, error: &dyn fmt::Display) -> String {
    let reason = error.to_string();
    wire::text_of(reason.strip_prefix(&format!("{product}: ")).unwrap_or(&reason))
}

/// What a refusal is, if it is one that is remembered.
pub(super) fn refusal_kind(reason: Reason) -> Option<RefusalKind> {
    match reason {
        Reason::NotGranted => Some(RefusalKind::NotGranted),
        Reason::UnknownProduct => Some(RefusalKind::NoSuchProduct),
        Reason::UnknownContract | Reason::BeyondEnd | Reason::Other => None,
    }
}
