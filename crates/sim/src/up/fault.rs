//! What can be broken in a city that is up, and how it is asked for: one line of JSON over a socket in the city's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The socket in the city's folder.
const SOCKET_FILE: &str = "control.sock";
/// Longest request and answer, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Stands for every other domain.
pub const EVERY: &str = "*";

/// Something to be done to a city that is up. Its words are the command's too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Cut the link of two domains; `*` for all others
    Partition {
        /// A domain
        one: String,
        /// Another, or `*`
        other: String,
    },
    /// Make every message between two domains late; `*` for all others
    Slow {
        /// A domain
        one: String,
        /// Another, or `*`
        other: String,
        /// By how many milliseconds
        delay_ms: u64,
    },
    /// Mend every link
    Mend,
    /// Stop a node in order, as SIGTERM would
    Stop {
        /// Its domain
        domain: String,
    },
    /// Start a node that was stopped
    Start {
        /// Its domain
        domain: String,
    },
    /// Say what is broken
    Show,
}

/// What the city said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why not, a line each.
    pub lines: Vec<String>,
}

/// Where a city that is up hears what to break.
pub(super) struct Control {
    listener: UnixListener,
    file: PathBuf,
}

impl Control {
    /// Listens in the city's folder. A socket that nobody listens at any more is taken over.
    pub(super) async fn listen(folder: &Path) -> anyhow::Result<Control> {
        let file = folder.join(SOCKET_FILE);
        if UnixStream::connect(&file).await.is_ok() {
            bail!("{}: a city is up in this folder already", folder.display());
        }
        if file.exists() {
            std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        let listener = UnixListener::bind(&file).with_context(|| file.display().to_string())?;
        Ok(Control { listener, file })
    }

    /// The next thing to be done, and where to say what came of it. Whoever writes nonsense hears so.
    pub(super) async fn next(&self) -> anyhow::Result<(Fault, Answer)> {
        loop {
            let (stream, _) = self.listener.accept().await.context("the control socket")?;
            let (read, write) = stream.into_split();
            let mut line = String::new();
            let read = BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await;
            let answer = Answer(write);
            match read.map(|_| serde_json::from_str(&line)) {
                Ok(Ok(fault)) => return Ok((fault, answer)),
                Ok(Err(error)) => answer.say(false, vec![format!("not understood: {error}")]).await,
                Err(_) => {}
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // a socket that stays is taken over by the next city
        drop(std::fs::remove_file(&self.file));
    }
}

/// Where to say what came of a fault.
pub(super) struct Answer(tokio::net::unix::OwnedWriteHalf);

impl Answer {
    /// Says it. Whoever asked may be gone.
    pub(super) async fn say(mut self, done: bool, lines: Vec<String>) {
        if let Ok(mut line) = serde_json::to_vec(&Said { done, lines }) {
            line.push(b'\n');
            drop(self.0.write_all(&line).await);
        }
    }
}

/// Asks the city that is up in a folder to do something.
///
/// # Errors
/// There is no city up there, or it broke off.
pub async fn ask(folder: &Path, fault: &Fault) -> anyhow::Result<Said> {
    let file = folder.join(SOCKET_FILE);
    let mut stream = UnixStream::connect(&file).await.with_context(|| {
        format!("no city is up in {}; `civicmesh sim up SCENARIO.toml --dir` makes one", folder.display())
    })?;
    let mut line = serde_json::to_vec(fault)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut said = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut said).await?;
    serde_json::from_str(&said).context("the city broke off")
}
