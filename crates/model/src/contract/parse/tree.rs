//! A YAML document as a tree in which every key and every value knows its line. JSON is read as the YAML that it is.

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::contract::finding::Findings;

/// Largest contract read.
pub const CONTRACT_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting read.
const DEPTH_MAX: usize = 24;

/// A value and the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: u32,
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Text as written; `plain` when it stands without quotes and so may mean a number, `true` or `null`.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub line: u32,
    pub value: Node,
}

impl Node {
    /// The entries of a map, none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list, none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a map's key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value of a map's key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::Map(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Reads a document; `None` when it is no YAML at all, or a finding says that a part could not be read.
pub(super) fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > CONTRACT_BYTES_MAX {
        let mend = format!("a contract is at most {CONTRACT_BYTES_MAX} bytes");
        findings.error(1, "", format!("the file has {} bytes", text.len()), mend);
        return None;
    }
    let mut builder = Builder { findings, open: Vec::new(), root: None, documents: 0 };
    for step in Parser::new_from_str(text) {
        match step {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let line = line_of(error.marker().line());
                findings.error(line, "", format!("this is not YAML: {}", error.info()), "");
                return None;
            }
        }
    }
    let root = builder.root;
    if root.is_none() {
        findings.error(1, "", "the file is empty", "`civicmesh contract draft` writes a first contract from a file");
    }
    root
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A collection whose end has not come yet.
enum Open {
    List { line: u32, items: Vec<Node> },
    Map { line: u32, entries: Vec<Entry>, key: Option<(String, u32)> },
}

struct Builder<'f> {
    findings: &'f mut Findings,
    open: Vec<Open>,
    root: Option<Node>,
    documents: u32,
}

impl Builder<'_> {
    /// Takes the next event; `None` when reading on makes no sense.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = line_of(span.start.line());
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.findings.error(line, "", "a second document begins here", "one file holds one contract");
                    return None;
                }
            }
            Event::Scalar(text, style, _, _) => {
                let plain = style == ScalarStyle::Plain;
                return self.place(Node { line, kind: Kind::Scalar { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(..) => {
                return self.enter(Open::List { line, items: Vec::new() });
            }
            Event::MappingStart(..) => {
                return self.enter(Open::Map { line, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop()? {
                    Open::List { line, items } => Node { line, kind: Kind::List(items) },
                    Open::Map { line, entries, .. } => Node { line, kind: Kind::Map(entries) },
                };
                return self.place(node);
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.findings.error(line, "", "a contract has no YAML aliases", "write the value out");
                return None;
            }
            _ => {}
        }
        Some(())
    }

    fn enter(&mut self, collection: Open) -> Option<()> {
        if self.open.len() == DEPTH_MAX {
            let (Open::List { line, .. } | Open::Map { line, .. }) = collection;
            self.findings.error(line, "", format!("nested deeper than {DEPTH_MAX} levels"), "");
            return None;
        }
        self.open.push(collection);
        Some(())
    }

    fn place(&mut self, node: Node) -> Option<()> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((name, line)) => add(entries, Entry { key: name, line, value: node }, self.findings),
                None => match node.kind {
                    Kind::Scalar { text, .. } => *key = Some((text, node.line)),
                    _ => {
                        self.findings.error(node.line, "", "a key is a word, not a list or a map", "");
                        return None;
                    }
                },
            },
        }
        Some(())
    }
}

fn add(entries: &mut Vec<Entry>, mut entry: Entry, findings: &mut Findings) {
    if entry.value.text() == Some("") {
        // An empty value has no place of its own.
        entry.value.line = entry.line;
    }
    match entries.iter().find(|earlier| earlier.key == entry.key) {
        Some(earlier) => {
            let message = format!("the key stands twice, first on line {}", earlier.line);
            findings.error(entry.line, &entry.key, message, "leave one out");
        }
        None => entries.push(entry),
    }
}
