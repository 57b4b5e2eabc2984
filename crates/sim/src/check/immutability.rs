//! Immutability: an entry of a log, once anybody has it, is the same bytes for everybody and for good.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The hash of one entry's bytes.
type EntryHash = [u8; 32];

/// Every entry that was ever seen, by product.
#[derive(Debug, Default)]
pub struct Seen {
    logs: BTreeMap<String, Vec<(EntryHash, String)>>,
}

impl Seen {
    /// Looks at the entries of a product at a node, from index `from` on; what is wrong with them, if anything.
    pub fn look(&mut self, product: &str, node: &str, from: u64, entries: &[Vec<u8>]) -> Option<String> {
        let log = self.logs.entry(product.to_owned()).or_default();
        for (index, entry) in (from as usize..).zip(entries) {
            let hash: EntryHash = Sha256::digest(entry).into();
            match log.get(index) {
                Some((first, _)) if *first == hash => {}
                Some((_, first_at)) => {
                    return Some(format!("entry {index} of {product} at {node} is not the one that {first_at} had"));
                }
                None if index == log.len() => log.push((hash, node.to_owned())),
                None => return Some(format!("entry {index} of {product} at {node} has no entry before it")),
            }
        }
        None
    }

    /// How many entries of a product were seen anywhere.
    pub fn size(&self, product: &str) -> u64 {
        self.logs.get(product).map_or(0, |log| log.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_changes_anywhere_is_found() {
        let mut seen = Seen::default();
        let log = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        assert_eq!(seen.look("a.b", "a", 0, &log[..2]), None);
        assert_eq!(seen.look("a.b", "c", 1, &log[1..]), None, "a replica may be looked at first");
        assert_eq!(seen.look("a.b", "a", 0, &log), None);
        let other = [b"one".to_vec(), b"2".to_vec()];
        assert!(seen.look("a.b", "c", 0, &other).unwrap().contains("entry 1 of a.b at c"));
        assert!(seen.look("a.b", "c", 9, &log[..1]).is_some());
        assert_eq!(seen.size("a.b"), 3);
    }
}
