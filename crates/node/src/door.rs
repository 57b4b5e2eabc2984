//! The department's door within the process, for who runs a node inside a program of their own, as the simulation does:
//! the same functions that stand behind the department's listener, without its wire and its tokens.

use std::sync::Arc;

use civicmesh_exchange::link::run_blocking;
use civicmesh_ledger::Ledger;
use civicmesh_model::names::DatasetName;
use civicmesh_proto::department::v1 as wire;
use civicmesh_query::{Answer, QueryOptions, Question};
use civicmesh_vault::{KeptDay, VaultError};
use tokio::sync::Semaphore;

use crate::client::{Complete, IngestSummary};
use crate::compose::{Parts, Running};
use crate::department::{self, Failure};
use crate::status::{CityStatus, city_status};

/// A file of the department, with its bytes.
#[derive(Clone, Debug)]
pub struct File {
    /// The dataset, as the contract names it.
    pub dataset: String,
    /// Its name, without folders.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// When windows are closed.
    pub complete: Complete,
}

/// The node says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The reason, for programs: the error code's name.
    pub code: String,
    /// The reason, for people.
    pub message: String,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        let [message, _, _] = failure.texts();
        Refused { code: failure.code().as_str_name().to_owned(), message: message.to_owned() }
    }
}

/// Places that are taken in a node, and how many there are: what its bounds are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Files that are being taken in.
    pub ingests: usize,
    /// The most that may be.
    pub ingests_max: usize,
    /// Tasks that the node runs besides its servers.
    pub tasks: usize,
}

/// The way into a node that runs in this process.
#[derive(Clone)]
pub struct Door {
    parts: Arc<Parts>,
}

impl Running {
    /// The way in for the node's own department. Whoever holds it keeps the databases open.
    pub fn door(&self) -> Door {
        Door { parts: Arc::clone(&self.parts) }
    }
}

impl Door {
    /// Takes one file in, and returns what became of it. Given up before its end, what was stored is kept, and the file
    /// resumes when it is sent again.
    ///
    /// # Errors
    /// What the department's listener would answer.
    pub async fn ingest(&self, file: File) -> Result<IngestSummary, Refused> {
        let File { dataset, name, content, complete } = file;
        let (complete, complete_until) = match complete {
            Complete::No => (false, String::new()),
            Complete::LastFull => (true, String::new()),
            Complete::Until(until) => (true, until),
        };
        let size_bytes = content.len() as u64;
        let header = wire::IngestHeader {
            dataset,
            source: String::new(),
            file_name: name,
            size_bytes,
            complete,
            complete_until,
        };
        Ok(department::take_whole(&self.parts, header, content).await?.into())
    }

    /// Answers a question.
    ///
    /// # Errors
    /// What the department's listener would answer.
    pub async fn query(&self, sql: &str, options: &QueryOptions) -> Result<Answer, Refused> {
        let question = Question { sql: sql.to_owned(), ..Question::default() };
        Ok(department::ask(&self.parts, question, *options).await?)
    }

    /// The city as the node sees it.
    ///
    /// # Errors
    /// What the department's listener would answer.
    pub async fn status(&self) -> Result<CityStatus, Refused> {
        let parts = Arc::clone(&self.parts);
        let status = run_blocking(&*self.parts.environment.blocking, move || city_status(&parts, true)).await;
        Ok(status.map_err(Failure::from)?.map_err(Failure::from)?)
    }

    /// The releases and replicas, for reading: nothing but the gate and the verifying decoder makes what it stores.
    pub fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    /// The days of which raw observations of a dataset are stored, and how many rows retention has removed: their number,
    /// and nothing of what they say.
    ///
    /// # Errors
    /// Where the vault cannot be read.
    pub fn kept(&self, dataset: &DatasetName) -> Result<(Vec<KeptDay>, u64), VaultError> {
        Ok((self.parts.vault.kept(dataset)?, self.parts.vault.counts(dataset)?.dropped))
    }

    /// How many of its places are taken.
    pub fn places(&self) -> Places {
        let ingests_max = self.parts.config.limits.ingests_max;
        let free = Semaphore::available_permits(&self.parts.ingests);
        Places { ingests: ingests_max - free, ingests_max, tasks: self.parts.tasks.others.len() }
    }
}
