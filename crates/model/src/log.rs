//! The log over a product's releases: the Merkle tree of RFC 6962, section 2.1, as a compact range that grows by
//! appending, and the head that its owner signs. Signing itself is the ledger's.

use serde::{Deserialize, Serialize};

use crate::codec::Writer;
use crate::hash::Hash32;
use crate::names::ProductId;
use crate::time::UtcMicros;

/// What the signature of a head covers begins with these bytes, so that it can never be taken for a signature over
/// anything else.
const HEAD_CONTEXT: &[u8] = b"civicmesh log head v1\0";

/// The hash of a leaf: SHA-256(0x00 ‖ bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash32 {
    Hash32::of(&[&[0], bytes])
}

fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32::of(&[&[1], &left.0, &right.0])
}

/// All that is needed of a log to append to it and to know its root: the roots of its complete subtrees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FrontierParts", into = "FrontierParts")]
pub struct Frontier {
    size: u64,
    /// One root for every bit set in `size`, the largest subtree first.
    subtrees: Vec<Hash32>,
}

impl Frontier {
    /// The frontier of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of a leaf (see [`leaf_hash`]).
    pub fn append(&mut self, leaf: Hash32) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("a subtree for every bit set in size");
            root = node_hash(&left, &root);
        }
        self.subtrees.push(root);
        self.size += 1;
    }

    /// The root hash; of an empty log, the hash of nothing.
    pub fn root(&self) -> Hash32 {
        let mut subtrees = self.subtrees.iter().rev();
        match subtrees.next() {
            None => Hash32::of(&[]),
            Some(last) => subtrees.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct FrontierParts {
    size: u64,
    subtrees: Vec<Hash32>,
}

impl TryFrom<FrontierParts> for Frontier {
    type Error = &'static str;

    fn try_from(parts: FrontierParts) -> Result<Self, Self::Error> {
        let FrontierParts { size, subtrees } = parts;
        if subtrees.len() == size.count_ones() as usize {
            Ok(Self { size, subtrees })
        } else {
            Err("a frontier has one subtree for every bit set in its size")
        }
    }
}

impl From<Frontier> for FrontierParts {
    fn from(frontier: Frontier) -> Self {
        let Frontier { size, subtrees } = frontier;
        Self { size, subtrees }
    }
}

/// The head of a product's log at one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The product.
    pub product: ProductId,
    /// Number of entries.
    pub size: u64,
    /// Root hash over them.
    pub root: Hash32,
    /// Every window that ends by then is in the log.
    pub closed_through: UtcMicros,
    /// When it was signed.
    pub at: UtcMicros,
}

impl Head {
    /// The bytes that the owner signs.
    pub fn signing_bytes(&self) -> Vec<u8> {
        let Self { product, size, root, closed_through, at } = self;
        let mut out = Writer::default();
        out.bytes(HEAD_CONTEXT);
        out.text(product.domain.as_str());
        out.text(product.product.as_str());
        out.unsigned(*size);
        out.bytes(&root.0);
        out.signed(closed_through.0);
        out.signed(at.0);
        out.into_bytes()
    }
}

/// A head with its owner's signature, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// What was signed.
    pub head: Head,
    /// SHA-256 of the public key that verifies it.
    pub key: Hash32,
    /// The signature over [`Head::signing_bytes`].
    pub signature: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use sha2::Sha256;

    use super::*;

    #[test]
    fn it_is_the_tree_of_rfc_6962() {
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut frontier = Frontier::new();
        for size in 0..=260_u64 {
            assert_eq!(frontier.size(), size);
            assert_eq!(frontier.root().0[..], tree.root().as_bytes()[..], "size {size}");
            let stored = serde_json::to_vec(&frontier).unwrap();
            assert_eq!(serde_json::from_slice::<Frontier>(&stored).unwrap(), frontier);
            let entry = format!("entry {size}").into_bytes();
            frontier.append(leaf_hash(&entry));
            tree.push(entry);
        }
    }

    #[test]
    fn a_frontier_that_contradicts_itself_is_refused() {
        let hash = leaf_hash(b"");
        for (size, subtrees) in [(0, vec![hash]), (1, vec![]), (3, vec![hash])] {
            let stored = serde_json::to_vec(&FrontierParts { size, subtrees }).unwrap();
            assert!(serde_json::from_slice::<Frontier>(&stored).is_err());
        }
    }

    fn head() -> Head {
        Head {
            product: "traffic.taxi".parse().unwrap(),
            size: 300,
            root: Hash32([7; 32]),
            closed_through: UtcMicros(1),
            at: UtcMicros(-1),
        }
    }

    #[test]
    fn the_signed_bytes_are_these() {
        let mut golden = b"civicmesh log head v1\0\x07traffic\x04taxi\xac\x02".to_vec();
        golden.extend([7; 32]);
        golden.extend([2, 1]);
        assert_eq!(head().signing_bytes(), golden);
    }

    #[test]
    fn every_field_of_a_head_is_signed() {
        let changes: [fn(&mut Head); 6] = [
            |h| h.product = "traffic.tax".parse().unwrap(),
            |h| h.product = "traffi.taxi".parse().unwrap(),
            |h| h.size += 1,
            |h| h.root.0[31] ^= 1,
            |h| h.closed_through.0 += 1,
            |h| h.at.0 += 1,
        ];
        for change in changes {
            let mut other = head();
            change(&mut other);
            assert_ne!(other.signing_bytes(), head().signing_bytes());
        }
    }
}
