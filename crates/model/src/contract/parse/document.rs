//! Canonical JSON: one text for one document, so that its hash means the document.
//!
//! Keys are sorted by bytes and nothing stands between tokens. Numbers stay as their author wrote them.

use std::collections::BTreeMap;

use super::tree::{Entry, Kind, Node};
use crate::contract::terms::{Measure, Statistic};
use crate::hash::Hash32;

/// The property of the private entry.
pub(super) const DATASET: &str = "civicmesh.dataset";
/// The property of the public entry.
pub(super) const TERMS: &str = "civicmesh.terms";
/// The key of what a measure publishes.
pub(super) const PUBLISH: &str = "publish";
/// The key under which a peer sees the private entry's hash.
pub(super) const SHA256: &str = "sha256";

/// The document as canonical JSON.
pub(super) fn canonical(node: &Node) -> String {
    let mut json = String::new();
    write(node, &mut json);
    json
}

/// The document with the private entry's value replaced by its hash. A measure that publishes less than its method
/// alone says, for a reason in the private entry, says so: a peer could not know.
pub(super) fn public(root: &Node, measures: &[Measure]) -> String {
    let mut root = root.clone();
    let entries = match &mut root.kind {
        Kind::Map(entries) => entries.as_mut_slice(),
        _ => &mut [],
    };
    let custom = entries.iter_mut().find(|entry| entry.key == "customProperties");
    if let Some(Entry { value: Node { kind: Kind::List(items), .. }, .. }) = custom {
        items.iter_mut().filter(|item| item.get("property").and_then(Node::text) == Some(DATASET)).for_each(hide);
        let terms = items.iter_mut().find(|item| item.get("property").and_then(Node::text) == Some(TERMS));
        if let Some(node) = terms.and_then(|item| item.get_mut("value")?.get_mut("measures")) {
            measures
                .iter()
                .filter(|measure| !measure.publishes(Statistic::SumSquares))
                .for_each(|m| spell_out(node, m));
        }
    }
    canonical(&root)
}

/// Writes what a measure publishes where its author left it to the default.
fn spell_out(measures: &mut Node, measure: &Measure) {
    let Some(Node { line, kind: Kind::Map(entries) }) = measures.get_mut(&measure.name) else {
        return;
    };
    if entries.iter().any(|entry| entry.key == PUBLISH) {
        return;
    }
    let line = *line;
    let word = |statistic: &Statistic| {
        let text = statistic.as_str().to_owned();
        Node { line, kind: Kind::Scalar { text, plain: false } }
    };
    let value = Node { line, kind: Kind::List(measure.publish.iter().map(word).collect()) };
    entries.push(Entry { key: PUBLISH.to_owned(), line, value });
}

fn hide(item: &mut Node) {
    let Kind::Map(entries) = &mut item.kind else {
        return;
    };
    for Entry { value, line, .. } in entries.iter_mut().filter(|entry| entry.key == "value") {
        let (line, text) = (*line, Hash32::of(&[canonical(value).as_bytes()]).to_string());
        let hash = Node { line, kind: Kind::Scalar { text, plain: false } };
        value.kind = Kind::Map(vec![Entry { key: SHA256.to_owned(), line, value: hash }]);
    }
}

fn write(node: &Node, json: &mut String) {
    match &node.kind {
        Kind::Scalar { text, plain: true } => json.push_str(&plain(text)),
        Kind::Scalar { text, plain: false } => json.push_str(&quoted(text)),
        Kind::List(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                json.push_str(if index == 0 { "" } else { "," });
                write(item, json);
            }
            json.push(']');
        }
        Kind::Map(entries) => {
            let sorted: BTreeMap<&str, &Node> =
                entries.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect();
            json.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                json.push_str(if index == 0 { "" } else { "," });
                json.push_str(&quoted(key));
                json.push(':');
                write(value, json);
            }
            json.push('}');
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A scalar without quotes, by YAML's core schema: null, true, false, a number that JSON knows too, else text.
fn plain(text: &str) -> String {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => "null".to_owned(),
        "true" | "True" | "TRUE" => "true".to_owned(),
        "false" | "False" | "FALSE" => "false".to_owned(),
        _ if is_json_number(text) => text.to_owned(),
        _ => quoted(text),
    }
}

fn is_json_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}
