//! Convergence: once the network is whole again for long enough, every node has what each owner has.

use std::collections::BTreeMap;

/// The state of one log at one node, as far as it can be compared: entries, root, and closed-through in microseconds.
pub type Log = (u64, [u8; 32], i64);

/// Which nodes lack what. `logs` holds the log of each product at each node, by product and node; a node that has none
/// is not in it.
pub fn check(
    owners: &BTreeMap<String, String>,
    nodes: &[String],
    logs: &BTreeMap<(String, String), Log>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (product, owner) in owners {
        let own = logs.get(&(product.clone(), owner.clone()));
        for node in nodes.iter().filter(|node| *node != owner) {
            let here = logs.get(&(product.clone(), node.clone()));
            if here != own {
                let entries = |log: Option<&Log>| log.map_or(0, |(entries, _, _)| *entries);
                let (here, own) = (entries(here), entries(own));
                wrong.push(match here == own {
                    true => format!("{node} has another log of {product} than {owner}, as long as it"),
                    false => format!("{node} has {here} of the {own} entries of {product}"),
                });
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lacks_something_or_has_something_else_is_told() {
        let owners: BTreeMap<_, _> = [("a.p".to_owned(), "a".to_owned())].into();
        let nodes = ["a", "b", "c"].map(str::to_owned);
        let log = |node: &str, log: Log| (("a.p".to_owned(), node.to_owned()), log);
        let mut logs: BTreeMap<_, _> = nodes.iter().map(|node| log(node, (3, [1; 32], 9))).collect();
        assert!(check(&owners, &nodes, &logs).is_empty());
        logs.extend([log("b", (2, [2; 32], 9))]);
        assert!(check(&owners, &nodes, &logs)[0].contains("b has 2 of the 3"));
        logs.extend([log("b", (3, [2; 32], 9))]);
        assert!(check(&owners, &nodes, &logs)[0].contains("another log"));
        logs.remove(&("a.p".to_owned(), "b".to_owned()));
        assert_eq!(check(&owners, &nodes, &logs).len(), 1);
    }
}
