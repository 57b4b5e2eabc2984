//! Reading values out of a tree: each problem becomes a finding with its line, and reading goes on.

use std::fmt::Display;
use std::str::FromStr;

use super::tree::{Entry, Kind, Node};
use crate::contract::finding::Findings;

/// What a scalar begins with that a person still has to write.
pub(in crate::contract) const TODO: &str = "TODO";
/// Least likeness, of 1, at which an unknown word is taken for a misspelt one.
const LIKENESS_MIN: f64 = 0.7;

/// The known word that an unknown one is most like, as a mend.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(word, known);
    let best = known.into_iter().map(|known| (likeness(known), known)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKENESS_MIN).then(|| format!("did you mean `{}`?", best.1))
}

/// A value with the dotted key that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Value<'t> {
    pub node: &'t Node,
    pub key: String,
}

impl<'t> Value<'t> {
    pub fn new(node: &'t Node, key: impl Into<String>) -> Self {
        Self { node, key: key.into() }
    }

    /// A finding about this value.
    pub fn error(&self, findings: &mut Findings, message: impl Into<String>, mend: impl Into<String>) {
        findings.error(self.node.line, &self.key, message, mend);
    }

    /// Whether a person still has to write it; [`report_todos`] has said so already.
    fn is_todo(&self) -> bool {
        self.node.text().is_some_and(|text| text.starts_with(TODO))
    }

    /// Text that is not empty.
    pub fn text(&self, findings: &mut Findings) -> Option<&'t str> {
        match &self.node.kind {
            _ if self.is_todo() => None,
            Kind::Scalar { text, plain } if text.trim().is_empty() || (*plain && text == "~") => {
                self.error(findings, "is empty", "write a value, or leave the key out if it may be missing");
                None
            }
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) => self.wrong(findings, "one value", "a list"),
            Kind::Map(_) => self.wrong(findings, "one value", "a map"),
        }
    }

    fn wrong<T>(&self, findings: &mut Findings, wanted: &str, found: &str) -> Option<T> {
        self.error(findings, format!("{found} stands where {wanted} should"), "");
        None
    }

    /// Text read as something with its own rule.
    pub fn parsed<T: FromStr<Err: Display>>(&self, findings: &mut Findings, mend: &str) -> Option<T> {
        match self.text(findings)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(findings, error.to_string(), mend);
                None
            }
        }
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&self, findings: &mut Findings, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(findings)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let mend = format!("write one of: {}", known.join(", "));
            self.error(findings, format!("`{text}` is not known"), did_you_mean(text, known).unwrap_or(mend));
        }
        found
    }

    /// `true` or `false`.
    pub fn flag(&self, findings: &mut Findings) -> Option<bool> {
        self.word(findings, &[("true", true), ("false", false)])
    }

    /// A finite number.
    pub fn number(&self, findings: &mut Findings) -> Option<f64> {
        let text = self.text(findings)?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.error(findings, format!("`{text}` is not a number"), "");
        }
        number
    }

    /// The items of a list.
    pub fn list(&self, findings: &mut Findings) -> Option<Vec<Value<'t>>> {
        match &self.node.kind {
            _ if self.is_todo() => None,
            Kind::List(items) => Some(items.iter().map(|item| Value::new(item, self.key.clone())).collect()),
            Kind::Map(_) => self.wrong(findings, "a list", "a map"),
            Kind::Scalar { .. } => self.wrong(findings, "a list", "one value"),
        }
    }

    /// A list of texts.
    pub fn texts(&self, findings: &mut Findings) -> Option<Vec<String>> {
        let items = self.list(findings)?;
        items.iter().map(|item| item.text(findings).map(str::to_owned)).collect()
    }

    /// The entries of a map whose keys the author chooses.
    pub fn named(&self, findings: &mut Findings) -> Option<Vec<(&'t Entry, Value<'t>)>> {
        let entries = self.map(findings)?;
        let value = |entry: &'t Entry| Value::new(&entry.value, join(&self.key, &entry.key));
        Some(entries.iter().map(|entry| (entry, value(entry))).collect())
    }

    /// The fields of a map whose keys are ours.
    pub fn fields(&self, findings: &mut Findings) -> Option<Fields<'t>> {
        let entries = self.map(findings)?;
        Some(Fields { key: self.key.clone(), line: self.node.line, entries, known: Vec::new() })
    }

    fn map(&self, findings: &mut Findings) -> Option<&'t [Entry]> {
        match &self.node.kind {
            _ if self.is_todo() => None,
            Kind::Map(entries) => Some(entries),
            Kind::List(_) => self.wrong(findings, "a map", "a list"),
            Kind::Scalar { .. } => self.wrong(findings, "a map", "one value"),
        }
    }
}

/// A map being read. The keys asked for are the keys that exist; [`Fields::finish`] reports all others.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    pub key: String,
    pub line: u32,
    entries: &'t [Entry],
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The value of a key that may be missing.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Value::new(&entry.value, join(&self.key, key)))
    }

    /// The value of a key that must be there; `example` is what to write.
    pub fn need(&mut self, key: &'static str, findings: &mut Findings, example: &str) -> Option<Value<'t>> {
        let value = self.take(key);
        if value.is_none() {
            findings.error(self.line, &join(&self.key, key), "is missing", format!("write `{key}: {example}`"));
        }
        value
    }

    /// Reports every key that was never asked for.
    pub fn finish(self, findings: &mut Findings) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            unknown_key(findings, &self.key, entry, &self.known);
        }
    }
}

/// Reports a key that nothing knows.
pub(super) fn unknown_key(findings: &mut Findings, path: &str, entry: &Entry, known: &[&'static str]) {
    let mend =
        did_you_mean(&entry.key, known.iter().copied()).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
    findings.error(entry.line, &join(path, &entry.key), "unknown key", mend);
}

/// `path.key`, or `key` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Reports every scalar that a person still has to write, with what to write. Our own entries go by their property.
pub(super) fn report_todos(node: &Node, path: &str, findings: &mut Findings) {
    match &node.kind {
        Kind::Scalar { text, .. } if text.starts_with(TODO) => {
            let key = path.rsplit('.').next().unwrap_or(path);
            findings.error(node.line, path, "is still TODO", to_write(key));
        }
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter().for_each(|item| report_todos(item, path, findings)),
        Kind::Map(entries) => {
            let property = node.get("property").and_then(Node::text);
            for entry in entries {
                let path = match property {
                    Some(property) if entry.key == "value" => property.to_owned(),
                    _ => join(path, &entry.key),
                };
                report_todos(&entry.value, &path, findings);
            }
        }
    }
}

fn to_write(key: &str) -> &'static str {
    match key {
        "zone" => "write the zone in which the file's times are meant, such as Europe/Copenhagen or UTC",
        "method" => "write `threshold` where rows are about people, `open` where they are about no person",
        "audience" => "write `city`, or the list of domains that may hold the releases",
        "purpose" => "write what the product may be used for, in one sentence",
        "approver" => "write who decided that this may leave, by office or name",
        "reason" => "write why no person can be concerned",
        "unit" => "write the unit, such as km/h, Cel, % or vehicles",
        "column" => "write the name of a column",
        _ => "write a value",
    }
}
