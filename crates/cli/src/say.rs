//! What goes to stderr: errors in plain words, and the exit code that belongs to them.

use anyhow::Context;
use civicmesh_node::client::{ClientError, Credentials};
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::path::Path;

/// Exit code of a question that `--require-complete` would not let pass.
pub const INCOMPLETE: u8 = 3;

/// An error that carries an exit code other than 1.
#[derive(Debug)]
pub struct Exit {
    pub code: u8,
    pub message: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// Says an error with its causes, one a line, and what a node that refused says can be done instead.
pub fn error(error: &anyhow::Error) {
    let mut said = error.to_string();
    eprintln!("civicmesh: {}", shown_lines(error));
    for cause in error.chain().skip(1) {
        // some errors have their cause in their own words
        if !said.contains(&cause.to_string()) {
            eprintln!("  because {}", shown_lines(cause));
        }
        said = cause.to_string();
    }
    if let Some(ClientError::Refused { instead: Some(instead), .. }) =
        error.chain().find_map(|cause| cause.downcast_ref())
    {
        eprintln!("  instead: {}", shown_lines(instead));
    }
}

/// The lines of a text that may quote names.
fn shown_lines(text: impl fmt::Display) -> String {
    text.to_string().lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// The exit code that belongs to an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Exit>().map_or(1, |exit| exit.code)
}

/// What is shown and believed where `--node` is a URL: the token, the folder with the city's certificate, and the domain
/// whose node is expected.
pub fn credentials() -> anyhow::Result<Credentials> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let domain = variable("CIVICMESH_DOMAIN").map(|domain| domain.parse()).transpose().context("CIVICMESH_DOMAIN")?;
    Ok(Credentials { token: variable("CIVICMESH_TOKEN"), city: variable("CIVICMESH_CITY").map(Into::into), domain })
}

/// A name that others chose, such as a file's: a terminal obeys control characters.
pub fn shown(name: impl fmt::Display) -> String {
    let name = name.to_string();
    let mut shown = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Prints a line of a result, as `println!` does.
macro_rules! out {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use out;

/// Prints a line of a result. A reader that has had enough (`| head`) ends the command without a word.
pub fn line(text: impl fmt::Display) {
    ended_by_reader(writeln!(std::io::stdout(), "{text}"));
}

/// Ends the command where nobody reads its results any more, or they cannot be written.
fn ended_by_reader(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("civicmesh: the result cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Runs what talks to a node.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Reads a file whole.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Writes a file whole.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// A path as text, for what takes a folder or a URL.
pub fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(shown("rows\u{1b}]0;owned\u{7}.csv\r\n\u{9b}2J"), "rows\\u{1b}]0;owned\\u{7}.csv\\r\\n\\u{9b}2J");
        assert_eq!(shown("Zürich 2020.csv"), "Zürich 2020.csv");
        assert_eq!(shown_lines("one\n\u{1b}two"), "one\n\\u{1b}two");
    }
}
