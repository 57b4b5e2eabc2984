//! What is wrong with a contract, where, and how to mend it.

use std::fmt;

/// One thing found in a contract file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file as the caller named it.
    pub file: String,
    /// Line in the file, counted from 1.
    pub line: u32,
    /// The key concerned, dotted (`civicmesh.terms.grain`).
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead; empty when the message says it all.
    pub mend: String,
    /// Whether the contract can be used all the same.
    pub severity: Severity,
}

/// Whether a contract can be used in spite of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The contract is refused.
    Error,
    /// The contract is taken; its author should know.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, key, message, mend, severity } = self;
        write!(f, "{file}:{line}: ")?;
        if *severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)?;
        if !mend.is_empty() {
            write!(f, "; {mend}")?;
        }
        Ok(())
    }
}

/// Everything found in one file so far.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    list: Vec<Finding>,
}

impl Findings {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub fn error(&mut self, line: u32, key: &str, message: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Error, line, key, message.into(), mend.into());
    }

    pub fn warning(&mut self, line: u32, key: &str, message: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Warning, line, key, message.into(), mend.into());
    }

    fn add(&mut self, severity: Severity, line: u32, key: &str, message: String, mend: String) {
        let (file, key) = (self.file.clone(), key.to_owned());
        self.list.push(Finding { file, line, key, message, mend, severity });
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All findings in the order of the file.
    pub fn into_list(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| finding.line);
        self.list
    }
}
