//! Where messages of the wire become words of the model, and back. Everything that comes in is checked here.

use std::fmt;

use bytes::Bytes;
use civicmesh_model::{
    contract::CONTRACT_BYTES_MAX,
    hash::Hash32,
    log::{Head, SignedHead},
    names::ProductId,
    time::UtcMicros,
};
use civicmesh_proto::exchange::v1 as proto;

/// The most products of one domain.
pub const PRODUCTS_PER_DOMAIN_MAX: usize = 1000;
/// The longest signature, in bytes; Ed25519's has 64.
const SIGNATURE_BYTES_MAX: usize = 64;
/// How much of a peer's text is taken over, in characters.
const TEXT_CHARACTERS_MAX: usize = 200;

/// A message that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer's message has no sound {0}")]
pub struct WireError(pub(crate) &'static str);

/// Why something is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NotGranted,
    UnknownProduct,
    UnknownContract,
    BeyondEnd,
    /// A reason that this version does not know.
    Other,
}

/// What a peer says of one of its products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) product: ProductId,
    pub(crate) standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Granted { contract: Hash32, head: SignedHead },
    Refused(Reason),
}

/// Log entries at consecutive indexes, with heads.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) from_index: u64,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) page_head: SignedHead,
    pub(crate) newest_head: SignedHead,
}

pub(crate) fn product_of(text: &str) -> Result<ProductId, WireError> {
    text.parse().map_err(|_| WireError("product"))
}

pub(crate) fn hash_of(bytes: &[u8]) -> Result<Hash32, WireError> {
    bytes.try_into().map(Hash32).map_err(|_| WireError("hash"))
}

pub(crate) fn hash_bytes(hash: &Hash32) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

/// A text that a peer chose, fit for a log.
pub(crate) fn text_of(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TEXT_CHARACTERS_MAX).collect()
}

pub(crate) fn head_message(head: SignedHead) -> proto::SignedHead {
    let SignedHead { head: Head { product, size, root, closed_through, at }, key, signature } = head;
    proto::SignedHead {
        product: product.to_string(),
        size,
        root: hash_bytes(&root),
        closed_through_us: closed_through.0,
        at_us: at.0,
        key: hash_bytes(&key),
        signature: signature.into(),
    }
}

/// The head in a message; its signature is not verified.
fn head_of(message: proto::SignedHead) -> Result<SignedHead, WireError> {
    let proto::SignedHead { product, size, root, closed_through_us, at_us, key, signature } = message;
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(WireError("signature"));
    }
    let instant = |micros| {
        let instant = UtcMicros(micros);
        if instant.is_in_range() { Ok(instant) } else { Err(WireError("time")) }
    };
    let head = Head {
        product: product_of(&product)?,
        size,
        root: hash_of(&root)?,
        closed_through: instant(closed_through_us)?,
        at: instant(at_us)?,
    };
    Ok(SignedHead { head, key: hash_of(&key)?, signature: signature.into() })
}

fn some_head_of(message: Option<proto::SignedHead>) -> Result<SignedHead, WireError> {
    head_of(message.ok_or(WireError("head"))?)
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotGranted => "the domain is not in the contract's audience",
            Self::UnknownProduct => "the owner has no such product",
            Self::UnknownContract => "the product never had that contract",
            Self::BeyondEnd => "the log does not reach that far",
            Self::Other => "the owner says no, and this version does not know why",
        })
    }
}

impl From<Reason> for proto::Refusal {
    fn from(reason: Reason) -> Self {
        use proto::RefusalReason as Wire;
        let wire = match reason {
            Reason::NotGranted => Wire::NotGranted,
            Reason::UnknownProduct => Wire::UnknownProduct,
            Reason::UnknownContract => Wire::UnknownContract,
            Reason::BeyondEnd => Wire::BeyondEnd,
            Reason::Other => Wire::Unspecified,
        };
        Self { reason: wire.into(), message: reason.to_string() }
    }
}

pub(crate) fn reason_of(refusal: &proto::Refusal) -> Reason {
    use proto::RefusalReason as Wire;
    let proto::Refusal { reason, message: _ } = refusal;
    match Wire::try_from(*reason) {
        Ok(Wire::NotGranted) => Reason::NotGranted,
        Ok(Wire::UnknownProduct) => Reason::UnknownProduct,
        Ok(Wire::UnknownContract) => Reason::UnknownContract,
        Ok(Wire::BeyondEnd) => Reason::BeyondEnd,
        Ok(Wire::Unspecified) | Err(_) => Reason::Other,
    }
}

impl From<Listed> for proto::ListedProduct {
    fn from(listed: Listed) -> Self {
        use proto::listed_product::Standing as Wire;
        let Listed { product, standing } = listed;
        let standing = match standing {
            Standing::Granted { contract, head } => {
                Wire::Grant(proto::Grant { contract_hash: hash_bytes(&contract), head: Some(head_message(head)) })
            }
            Standing::Refused(reason) => Wire::Refusal(reason.into()),
        };
        Self { product: product.to_string(), standing: Some(standing) }
    }
}

impl TryFrom<proto::ListedProduct> for Listed {
    type Error = WireError;

    fn try_from(message: proto::ListedProduct) -> Result<Self, WireError> {
        use proto::listed_product::Standing as Wire;
        let proto::ListedProduct { product, standing } = message;
        let product = product_of(&product)?;
        let standing = match standing.ok_or(WireError("standing"))? {
            Wire::Grant(proto::Grant { contract_hash, head }) => {
                let head = some_head_of(head)?;
                if head.head.product != product {
                    return Err(WireError("head of that product"));
                }
                Standing::Granted { contract: hash_of(&contract_hash)?, head }
            }
            Wire::Refusal(refusal) => Standing::Refused(reason_of(&refusal)),
        };
        Ok(Self { product, standing })
    }
}

pub(crate) fn listing_of(message: proto::ListProductsResponse) -> Result<Vec<Listed>, WireError> {
    let proto::ListProductsResponse { products } = message;
    if products.len() > PRODUCTS_PER_DOMAIN_MAX {
        return Err(WireError("number of products"));
    }
    products.into_iter().map(Listed::try_from).collect()
}

/// A contract's public document, or why it is not given.
pub(crate) fn contract_of(message: proto::GetContractResponse) -> Result<Result<Bytes, Reason>, WireError> {
    use proto::get_contract_response::Outcome as Wire;
    let proto::GetContractResponse { outcome } = message;
    match outcome.ok_or(WireError("contract"))? {
        Wire::Contract(contract) if contract.len() <= CONTRACT_BYTES_MAX => Ok(Ok(contract)),
        Wire::Contract(_) => Err(WireError("contract")),
        Wire::Refusal(refusal) => Ok(Err(reason_of(&refusal))),
    }
}

impl From<Page> for proto::ReleasePage {
    fn from(page: Page) -> Self {
        let Page { from_index, entries, page_head, newest_head } = page;
        Self {
            from_index,
            entries: entries.into_iter().map(Bytes::from).collect(),
            page_head: Some(head_message(page_head)),
            newest_head: Some(head_message(newest_head)),
        }
    }
}

impl TryFrom<proto::ReleasePage> for Page {
    type Error = WireError;

    fn try_from(message: proto::ReleasePage) -> Result<Self, WireError> {
        let proto::ReleasePage { from_index, entries, page_head, newest_head } = message;
        if entries.is_empty() {
            return Err(WireError("entries"));
        }
        Ok(Self {
            from_index,
            entries: entries.into_iter().map(Vec::from).collect(),
            page_head: some_head_of(page_head)?,
            newest_head: some_head_of(newest_head)?,
        })
    }
}

/// The next page of a log, or why there is none.
pub(crate) fn page_of(message: proto::PullReleasesResponse) -> Result<Result<Page, Reason>, WireError> {
    use proto::pull_releases_response::Content as Wire;
    let proto::PullReleasesResponse { content } = message;
    match content.ok_or(WireError("page"))? {
        Wire::Page(page) => Ok(Ok(page.try_into()?)),
        Wire::Refusal(refusal) => Ok(Err(reason_of(&refusal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(product: &str) -> SignedHead {
        let head = Head {
            product: product.parse().unwrap(),
            size: u64::MAX,
            root: Hash32([1; 32]),
            closed_through: UtcMicros::MIN,
            at: UtcMicros::MAX,
        };
        SignedHead { head, key: Hash32([2; 32]), signature: vec![3; SIGNATURE_BYTES_MAX] }
    }

    fn listed(standing: Standing) -> Listed {
        Listed { product: "traffic.taxi".parse().unwrap(), standing }
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let granted = Standing::Granted { contract: Hash32([4; 32]), head: head("traffic.taxi") };
        let reasons =
            [Reason::NotGranted, Reason::UnknownProduct, Reason::UnknownContract, Reason::BeyondEnd, Reason::Other];
        let standings = reasons.map(Standing::Refused).into_iter().chain([granted]);
        for said in standings.map(listed) {
            let heard = Listed::try_from(proto::ListedProduct::from(said.clone()));
            assert_eq!(heard, Ok(said));
        }
        let page = Page {
            from_index: 7,
            entries: vec![vec![1], vec![]],
            page_head: head("traffic.taxi"),
            newest_head: head("traffic.taxi"),
        };
        let heard = Page::try_from(proto::ReleasePage::from(page.clone())).unwrap();
        assert_eq!((heard.from_index, heard.entries), (page.from_index, page.entries));
        assert_eq!((heard.page_head, heard.newest_head), (page.page_head, page.newest_head));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let changes: [fn(&mut proto::SignedHead); 8] = [
            |head| head.product = "Traffic.taxi".into(),
            |head| head.product = "taxi".into(),
            |head| head.root = vec![0; 31].into(),
            |head| head.key = Bytes::new(),
            |head| head.signature = vec![0; SIGNATURE_BYTES_MAX + 1].into(),
            |head| head.closed_through_us = i64::MIN,
            |head| head.at_us = i64::MAX,
            |head| head.product = "traffic.other".into(),
        ];
        for change in changes {
            let mut message = head_message(head("traffic.taxi"));
            change(&mut message);
            let grant = proto::Grant { contract_hash: vec![0; 32].into(), head: Some(message) };
            let listed = proto::ListedProduct {
                product: "traffic.taxi".into(),
                standing: Some(proto::listed_product::Standing::Grant(grant)),
            };
            assert!(Listed::try_from(listed).is_err());
        }
        let refused = proto::ListedProduct::from(listed(Standing::Refused(Reason::NotGranted)));
        let many = vec![refused.clone(); PRODUCTS_PER_DOMAIN_MAX + 1];
        assert!(listing_of(proto::ListProductsResponse { products: many }).is_err());
        let nothing = proto::ListedProduct { standing: None, ..refused };
        assert!(Listed::try_from(nothing).is_err());
        assert!(page_of(proto::PullReleasesResponse { content: None }).is_err());
        assert!(contract_of(proto::GetContractResponse { outcome: None }).is_err());
        let empty = proto::ReleasePage::default();
        assert!(Page::try_from(empty).is_err(), "a page has an entry at least");
    }

    #[test]
    fn a_reason_of_a_newer_version_is_some_reason() {
        let refusal = proto::Refusal { reason: 99, message: "because".into() };
        assert_eq!(reason_of(&refusal), Reason::Other);
        assert_eq!(text_of("a\nb\u{1b}[2J"), "ab[2J");
        assert_eq!(text_of(&"x".repeat(1_000)).len(), TEXT_CHARACTERS_MAX);
    }
}
