//! What a scenario file says. Everything but its title has a default.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::city::CityPlan;
use crate::faults::{Operation, Seconds};

/// Longest scenario file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DAY_S: Seconds = 86_400;

/// A scenario: a city, how it is run, and what goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a few words.
    pub title: String,
    /// The city.
    #[serde(default)]
    pub city: CityPlan,
    /// How time and nodes are set.
    #[serde(default)]
    pub run: Pace,
    /// What goes wrong, and when.
    #[serde(default, rename = "operation")]
    pub operations: Vec<Operation>,
}

/// `[run]`: how time goes by, and how often things happen. Seconds are the city's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// Seconds of the city that go by in one second of the network. Timeouts and latency are the network's.
    pub warp: u64,
    /// How often nodes look for windows that time alone has closed.
    pub publisher_s: Seconds,
    /// How often nodes pull from each peer.
    pub pull_s: Seconds,
    /// Longest wait before a peer that failed is tried again.
    pub backoff_s_max: Seconds,
    /// How often nodes look at their certificate and roster for a change.
    pub reload_s: Seconds,
    /// How often nodes drop what is past its retention.
    pub retention_s: Seconds,
    /// How often each department asks its node a question, of one product after the other; 0 for never.
    pub ask_s: Seconds,
    /// How often checkers look at every node; 0 for at the end only.
    pub look_s: Seconds,
    /// How long the run goes on after the city's last hour and all faults, whole again, so that what is late can arrive.
    pub settle_s: Seconds,
    /// The most memory that the whole run may take, in megabytes; 0 for any.
    pub memory_mb_max: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            warp: 60,
            publisher_s: 1_800,
            pull_s: 900,
            backoff_s_max: 1_800,
            reload_s: 7_200,
            retention_s: 6 * 3_600,
            ask_s: 6 * 3_600,
            look_s: 6 * 3_600,
            settle_s: 6 * 3_600,
            memory_mb_max: 8_192,
        }
    }
}

impl Pace {
    /// A time of the city as the network counts it, in milliseconds; one at least.
    pub fn network_ms(&self, seconds: Seconds) -> u64 {
        (seconds.saturating_mul(1_000) / self.warp.max(1)).max(1)
    }
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{}: {error}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The text is not a scenario.
    #[error("{file}: {error}")]
    Text {
        /// The file, as it was named.
        file: String,
        /// Where and why, as TOML's parser says it.
        error: Box<toml::de::Error>,
    },
    /// What it says makes no sense.
    #[error("{key}: {reason}")]
    Key {
        /// The key at fault.
        key: String,
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

/// The text of a scenario file, whatever it runs.
pub(crate) fn text_of(file: &Path) -> Result<String, ScenarioError> {
    let failed = |error| ScenarioError::File { file: file.to_owned(), error };
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes"))));
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// What a scenario with this table says; none where the text has no such table. `file` is named in errors.
pub(crate) fn parsed_with<T: DeserializeOwned>(
    table: &str,
    text: &str,
    file: &str,
) -> Result<Option<T>, ScenarioError> {
    match parsed::<toml::Table>(text, file)?.contains_key(table) {
        true => parsed(text, file).map(Some),
        false => Ok(None),
    }
}

fn parsed<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ScenarioError> {
    toml::from_str(text).map_err(|error| ScenarioError::Text { file: file.to_owned(), error: Box::new(error) })
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn read(file: &Path) -> Result<Scenario, ScenarioError> {
        Scenario::parse(&text_of(file)?, &file.display().to_string())
    }

    /// Parses the text of a scenario; `file` is named in errors.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn parse(text: &str, file: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = parsed(text, file)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario is made of what TOML knows")
    }

    /// Whether what it says makes sense.
    ///
    /// # Errors
    /// [`ScenarioError`], which names the key.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let key = |key: &str, reason: &str| Err(ScenarioError::Key { key: key.to_owned(), reason: reason.to_owned() });
        self.city.check().map_err(|error| ScenarioError::Key { key: "city".to_owned(), reason: error.to_string() })?;
        let Pace { warp, publisher_s, pull_s, backoff_s_max, reload_s, retention_s, settle_s, .. } = self.run;
        if !(1..=600).contains(&warp) {
            return key("run.warp", "must be 1 to 600");
        }
        let every = [publisher_s, pull_s, backoff_s_max, reload_s, retention_s];
        if every.iter().any(|every| !(warp..=DAY_S).contains(every)) {
            return key(
                "run",
                "publisher_s, pull_s, backoff_s_max, reload_s and retention_s must be from warp to 86400",
            );
        }
        if !(3_600..=30 * DAY_S).contains(&settle_s) {
            return key("run.settle_s", "must be an hour to thirty days: 3600 to 2592000");
        }
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.ends().is_some_and(|ends| ends <= operation.begins()) {
                return key(&format!("operation {}", at + 1), "ends before it begins: `until` must be after `from`");
            }
        }
        Ok(())
    }
}
