//! The node as a whole: parts made in order, tasks started, and all of it stopped in order again.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use civicmesh_disclosure::{Limits, SaltKey};
use civicmesh_exchange::Exchange;
use civicmesh_exchange::link::{Entropy, Listener, Network, Stopped, run_blocking};
use civicmesh_exchange::links::Links;
use civicmesh_exchange::office::{NodeFolder, OfficeError};
use civicmesh_exchange::roster::RosterBook;
use civicmesh_exchange::tls::{Tls, TlsError};
use civicmesh_exchange::traffic::Traffic;
use civicmesh_ledger::{CountError, Ledger, LedgerError, VaultMark};
use civicmesh_model::contract::{Contract, Finding, Method, Severity};
use civicmesh_model::names::{DatasetName, DomainName, ProductId};
use civicmesh_model::time::Span;
use civicmesh_model::vault_id::VaultId;
use civicmesh_query::{CityView, Engine, QueryError};
use civicmesh_store::StoreError;
use civicmesh_vault::{Vault, VaultError};
use futures::FutureExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check::{self, Check, CheckState};
use crate::config::{Config, ConfigError};
use crate::contracts::{self, OwnContract};
use crate::environment::{Environment, Storage};
use crate::ingest::{ContributorSecret, IngestError, Recipe};
use crate::metrics::Metrics;
use crate::publisher::{Idle, Product, Publishers, ReleaseKeys};
use crate::{city, department, upkeep};

/// This build's version of civicmesh.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The share of the stop's deadline that work in flight gets: one part in so many.
const STOP_PARTS: u32 = 2;
/// Failures of tasks that wait to be heard; the first ends the node.
const FAILURES_MAX: usize = 4;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `node.toml` cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys, tokens or roster cannot be used.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is another domain's.
    #[error("node.toml says {config}, and the certificate is that of {certificate}")]
    OtherDomain {
        /// What `node.toml` says.
        config: DomainName,
        /// What the certificate says.
        certificate: DomainName,
    },
    /// A contract cannot be used.
    #[error("{0}")]
    Contract(Box<Finding>),
    /// A contract's lookups or SQL cannot be used.
    #[error(transparent)]
    Recipe(#[from] IngestError),
    /// Another product was released from the same rows.
    #[error(
        "{product}: {other} was released from dataset {dataset}, and the difference of two products over the same rows can show \
         a single one; give {product} a dataset of its own, with rows that {other} does not hold"
    )]
    Claimed {
        /// The product that may not start.
        product: ProductId,
        /// The dataset.
        dataset: DatasetName,
        /// The product that was released from it.
        other: ProductId,
    },
    /// A folder or file cannot be used.
    #[error("{}: {error}", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The vault cannot be opened.
    #[error("the vault cannot be opened: {0}")]
    Vault(#[from] VaultError),
    /// The ledger cannot be opened, or refuses a contract.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The vault lacks what was released from it.
    #[error(transparent)]
    RowsMissing(#[from] CountError),
    /// A database takes no more writes until it is opened anew.
    #[error("the {database} takes nothing more until the node is started again: {reason}")]
    Broken {
        /// Which one.
        database: &'static str,
        /// Why.
        reason: StoreError,
    },
    /// The query engine cannot be made.
    #[error("the query engine cannot be made: {0}")]
    Query(#[from] QueryError),
    /// A port cannot be listened on.
    #[error("cannot listen on {address}, `{key}` in node.toml: {error}")]
    Listen {
        /// What names it in the configuration.
        key: &'static str,
        /// The address.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// A server failed.
    #[error("the {side} listener failed: {reason}")]
    Serve {
        /// Which one.
        side: &'static str,
        /// Why.
        reason: String,
    },
    /// A task ended that should run for as long as the node does.
    #[error("{task} ended by a defect; the node cannot go on, and its log says where")]
    Defect {
        /// The task.
        task: &'static str,
    },
    /// The folder is not fit to run.
    #[error("{what}: {message}{}", mend_of(.mend))]
    Unfit {
        /// What was checked.
        what: &'static str,
        /// What was found.
        message: String,
        /// How to mend it; may be empty.
        mend: String,
    },
    /// The node was stopped while it started.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn mend_of(mend: &str) -> String {
    if mend.is_empty() { String::new() } else { format!("; {mend}") }
}

/// What the tasks of one node share.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) environment: Environment,
    pub(crate) folder: NodeFolder,
    pub(crate) city: CityView,
    pub(crate) tls: Arc<Tls>,
    pub(crate) roster: Arc<RosterBook>,
    pub(crate) tokens: department::Tokens,
    pub(crate) keys: Arc<ReleaseKeys>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) engine: Engine,
    pub(crate) exchange: Exchange,
    /// Bytes to and from each peer.
    pub(crate) traffic: Arc<Traffic>,
    /// How the links to peers stand.
    pub(crate) links: Arc<Links>,
    /// Own products, sorted by the names of their files.
    pub(crate) products: Vec<Arc<Product>>,
    pub(crate) publishers: Publishers,
    pub(crate) metrics: Arc<Metrics>,
    /// Where uploads lie.
    pub(crate) spool: PathBuf,
    /// Places for ingests.
    pub(crate) ingests: Arc<Semaphore>,
    /// Whose turn it is to be answered.
    pub(crate) turns: department::Turns,
    /// Room for answers that are on their way.
    pub(crate) outgoing: department::Outgoing,
    pub(crate) tasks: Tasks,
    /// When the clock was last looked at, as the node [measures](civicmesh_exchange::link::Clock::measured) time without it.
    pub(crate) clock_look: Mutex<Option<Span>>,
}

impl Parts {
    /// Why a database takes no more writes until it is opened anew; none while both do.
    pub(crate) fn broken(&self) -> Option<StartError> {
        let named = |database, reason: &StoreError| StartError::Broken { database, reason: reason.clone() };
        let vault = self.vault.broken().map(|reason| named("vault", reason));
        vault.or_else(|| self.ledger.broken().map(|reason| named("ledger", reason)))
    }
}

/// The tasks of one node, and how they are told to end.
#[derive(Default)]
pub(crate) struct Tasks {
    /// The two servers: they end once calls in flight have ended.
    pub(crate) servers: TaskTracker,
    /// Every other task.
    pub(crate) others: TaskTracker,
    /// No new work is taken.
    pub(crate) stop: CancellationToken,
    /// Work in flight is given up.
    pub(crate) abort: CancellationToken,
}

/// A node.
pub struct Node;

impl Node {
    /// Starts the node of the folder `dir` in this environment. It has started once it listens on both of its ports.
    pub async fn start(dir: &Path, environment: Environment) -> Result<Running, StartError> {
        Self::start_stating(dir, environment, None).await
    }

    /// As [`Node::start`]; where the vault lacks what was released from the vault `rows_gone`, the department states
    /// that those rows are gone for good: windows that are released stay as they are. Where it lacks nothing, this says
    /// nothing.
    pub async fn start_stating(
        dir: &Path,
        environment: Environment,
        rows_gone: Option<VaultId>,
    ) -> Result<Running, StartError> {
        let config = Config::read(dir)?;
        let (folder, opening) = (NodeFolder::new(dir), environment.clone());
        let open = run_blocking(&*environment.blocking, move || {
            must_be_fit(&folder, &config, &opening)?;
            open(folder, config, opening, rows_gone)
        });
        let (parts, publishers) = open.await??;
        let parts = Arc::new(parts);
        let (network, addresses) = (&*environment.network, &parts.config.node);
        let city = listen(network, "city_listen", &addresses.city_listen).await?;
        let department = listen(network, "department_listen", &addresses.department_listen).await?;
        let postgres = match &addresses.department_postgres_listen {
            Some(address) => Some(listen(network, "department_postgres_listen", address).await?),
            None => None,
        };
        let (city_address, department_address) = (city.local_address(), department.local_address());
        let postgres_address = postgres.as_ref().map(|listener| listener.local_address());
        let failed = spawn(&parts, publishers, city, department, postgres);
        tracing::info!(domain = %parts.city.domain, city = city_address, department = department_address, postgres = postgres_address, "the node runs");
        Ok(Running { parts, city_address, department_address, postgres_address, failed })
    }
}

/// A node that runs, until [`Running::stop`].
pub struct Running {
    pub(crate) parts: Arc<Parts>,
    city_address: String,
    department_address: String,
    postgres_address: Option<String>,
    failed: mpsc::Receiver<StartError>,
}

impl Running {
    /// Where peers reach it.
    pub fn city_address(&self) -> &str {
        &self.city_address
    }

    /// Where its department reaches it.
    pub fn department_address(&self) -> &str {
        &self.department_address
    }

    /// Where the department's tools that speak PostgreSQL's protocol reach it, if they do.
    pub fn postgres_address(&self) -> Option<&str> {
        self.postgres_address.as_deref()
    }

    /// Ends when a listener or a task fails or a database takes no more writes, which does not happen while all is well.
    pub async fn failed(&mut self) -> StartError {
        match self.failed.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Stops: takes no new work, lets work in flight end for half of the deadline in `node.toml`, gives up what has not
    /// ended by then, and closes the databases. What was acknowledged is durable before and after.
    pub async fn stop(self) {
        let Running { parts, .. } = self;
        tracing::info!("stopping");
        let (begun, whole) = (Instant::now(), parts.config.stop_deadline());
        let tasks = &parts.tasks;
        tasks.stop.cancel();
        if timeout_at(begun + whole / STOP_PARTS, tasks.servers.wait()).await.is_err() {
            tracing::warn!("work in flight is given up");
        }
        tasks.abort.cancel();
        let ended = async { tokio::join!(tasks.servers.wait(), tasks.others.wait()) };
        if timeout_at(begun + whole, ended).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        let closing = Arc::clone(&parts);
        let flushed = run_blocking(&*parts.environment.blocking, move || {
            closing.vault.flush().map_err(StartError::from)?;
            closing.ledger.flush().map_err(StartError::from)
        });
        match flushed.await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => {
                tracing::error!(%error, "a database was not flushed; its log has all that was acknowledged")
            }
            Err(Stopped) => {
                tracing::error!("the databases were not flushed; their logs have all that was acknowledged")
            }
        }
    }
}

/// Starts every task of the node. What ends a listener comes out of the channel.
fn spawn(
    parts: &Arc<Parts>,
    publishers: Idle,
    city: Box<dyn Listener>,
    department: Box<dyn Listener>,
    postgres: Option<Box<dyn Listener>>,
) -> mpsc::Receiver<StartError> {
    let Tasks { servers, others, stop, abort } = &parts.tasks;
    let (config, metrics) = (&parts.config, &parts.metrics);
    let (fail, failed) = mpsc::channel(FAILURES_MAX);
    let postgres = postgres
        .map(|listener| ("PostgreSQL", Box::pin(department::serve_postgres(Arc::clone(parts), listener)) as Server));
    for (side, server) in [
        ("city", Box::pin(city::serve(Arc::clone(parts), city)) as Server),
        ("department", Box::pin(department::serve(Arc::clone(parts), department))),
    ]
    .into_iter()
    .chain(postgres)
    {
        let (failing, abort, stopping) = (fail.clone(), abort.clone(), stop.clone());
        let serving = async move {
            let ended = tokio::select! {
                () = abort.cancelled() => return,
                ended = server => ended,
            };
            let reason = match ended {
                Err(reason) => reason,
                Ok(()) if stopping.is_cancelled() => return,
                Ok(()) => "it takes no more connections".to_owned(),
            };
            // whoever hears of one failure ends the node: more need no place
            let _ = failing.try_send(StartError::Serve { side, reason });
        };
        servers.spawn(watched(side, serving, &fail));
    }
    publishers.start(&parts.environment, millis(config.publisher.interval_ms), metrics, (others, &fail), abort);
    others.spawn(watched("the puller", city::puller(parts).run(stop.clone()), &fail));
    let reload = millis(config.pull.reload_interval_ms);
    others.spawn(watched(
        "the reload",
        upkeep::every(reload, reload, Arc::clone(parts), stop.clone(), upkeep::reload),
        &fail,
    ));
    let period = upkeep::MERGE_PERIOD;
    let merging = upkeep::every(period, period, Arc::clone(parts), stop.clone(), upkeep::merge);
    others.spawn(watched("the merging", merging, &fail));
    let watching = upkeep::watch_databases(Arc::clone(parts), stop.clone(), fail.clone());
    others.spawn(watched("the watch over the databases", watching, &fail));
    let (retention, delay) = (millis(config.publisher.retention_interval_ms), upkeep::RETENTION_DELAY);
    others.spawn(watched(
        "the retention",
        upkeep::every(retention, delay, Arc::clone(parts), stop.clone(), upkeep::retain),
        &fail,
    ));
    servers.close();
    others.close();
    failed
}

/// A task whose panic fails the node: nobody else would notice that it is gone.
pub(crate) fn watched(
    task: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
    fail: &mpsc::Sender<StartError>,
) -> impl Future<Output = ()> + Send + 'static {
    let fail = fail.clone();
    async move {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            let _ = fail.try_send(StartError::Defect { task });
        }
    }
}

/// A server until it ends, with the reason if it should not have.
type Server = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn listen(network: &dyn Network, key: &'static str, address: &str) -> Result<Box<dyn Listener>, StartError> {
    let failed = |error| StartError::Listen { key, address: address.to_owned(), error };
    network.listen(address).await.map_err(failed)
}

/// Whether no other product was released from the contract's dataset, where one of the two is about people.
fn must_be_free(contract: &Contract, vault: &Vault, ledger: &Ledger) -> Result<(), StartError> {
    let Some(dataset) = &contract.dataset else { return Ok(()) };
    let Some(other) = vault.claimant(&dataset.name)?.filter(|other| *other != contract.product) else {
        return Ok(());
    };
    let hides = |contract: &Contract| matches!(contract.method, Method::Threshold { .. });
    if hides(contract) || ledger.contract(&other)?.is_none_or(|earlier| hides(&earlier)) {
        let (product, dataset) = (contract.product.clone(), dataset.name.clone());
        return Err(StartError::Claimed { product, dataset, other });
    }
    Ok(())
}

/// Whether the vault has all that own releases were counted from. Where it has not, and the department states that those
/// rows are gone, it becomes another vault: its backups, too, are none of it.
fn must_have_what_was_counted(
    vault: &Vault,
    ledger: &Ledger,
    rows_gone: Option<VaultId>,
    entropy: &dyn Entropy,
) -> Result<(), StartError> {
    let mark = || Ok::<_, VaultError>(VaultMark { id: vault.id()?, sequence: vault.sequence()? });
    match ledger.count_from(mark()?) {
        Err(CountError::RowsMissing { counted, .. }) if rows_gone == Some(counted) => {
            vault.rename(draw_id(entropy))?;
            ledger.count_without_earlier_rows(mark()?)?;
            tracing::warn!(lost = %counted, vault = %vault.id()?, "rows behind what was released are gone, as stated: released windows stay as they are");
            Ok(())
        }
        counted => Ok(counted?),
    }
}

fn draw_id(entropy: &dyn Entropy) -> VaultId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    VaultId(id)
}

/// Refuses what `civicmesh node check` refuses, in its words.
fn must_be_fit(folder: &NodeFolder, config: &Config, environment: &Environment) -> Result<(), StartError> {
    let report = check::check_folder(folder, config, &environment.clock);
    match report.checks.into_iter().find(|check| check.state == CheckState::Failed) {
        Some(Check { what, message, mend, .. }) => Err(StartError::Unfit { what, message, mend }),
        None => Ok(()),
    }
}

/// Makes every part, in the order in which they need each other. Opens the databases, and no port.
fn open(
    folder: NodeFolder,
    config: Config,
    environment: Environment,
    rows_gone: Option<VaultId>,
) -> Result<(Parts, Idle), StartError> {
    let tls = Arc::new(Tls::load(&folder.tls(), Arc::clone(&environment.clock))?);
    let roster = Arc::new(folder.open_roster()?);
    let city = city_view(&config, &tls, &roster)?;
    let contracts = own_contracts(&folder, &city.domain)?;
    let tokens = department::Tokens::read(&folder)?;
    let secret = folder.domain_secret()?;
    let keys = Arc::new(ReleaseKeys { signing: Arc::new(folder.release_key()?), salt: SaltKey::new(*secret.expose()) });
    let (vault, ledger) = databases(&folder, &config, &environment, &city)?;
    // the databases are this process's now, and so is what lies in the spool
    let spool = department::prepare(folder.path())
        .map_err(|error| StartError::Folder { path: folder.path().to_owned(), error })?;
    must_have_what_was_counted(&vault, &ledger, rows_gone, &*environment.entropy)?;
    let secret = ContributorSecret::new(secret.expose());
    let mut products = Vec::new();
    for own in contracts {
        must_be_free(&own.contract, &vault, &ledger)?;
        ledger.adopt_contract(&own.contract, environment.clock.now())?;
        if let Some(dataset) = &own.contract.dataset {
            vault.retain(&dataset.name, own.contract.retention.raw)?;
        }
        products.push(Arc::new(Product {
            recipe: Recipe::new(&own.contract, &own.folder, &secret)?,
            contract: own.contract,
            zone: city.zone,
            vault: Arc::clone(&vault),
            ledger: Arc::clone(&ledger),
            keys: Arc::clone(&keys),
            windows_max: config.publisher.windows_max,
            limits: Limits { cells_max: config.limits.cells_max },
            held: Mutex::default(),
            turn: Mutex::default(),
        }));
    }
    let (publishers, idle) = Publishers::new(&products);
    let exchange = Exchange {
        domain: city.domain.clone(),
        version: VERSION.into(),
        ledger: Arc::clone(&ledger),
        roster: Arc::clone(&roster),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        blocking: Arc::clone(&environment.blocking),
    };
    let parts = Parts {
        engine: Engine::new(Arc::clone(&ledger), city.clone(), query_limits(&config, environment.blocking.helpers()))?,
        ingests: Arc::new(Semaphore::new(config.limits.ingests_max)),
        turns: department::Turns::new(
            environment.blocking.helpers() + 1,
            config.limits.queries_max,
            millis(config.limits.query_ms_max),
        ),
        outgoing: department::Outgoing::new(
            u32::try_from(config.limits.answers_bytes_max).unwrap_or(u32::MAX),
            millis(config.limits.answer_idle_ms_max),
        ),
        traffic: Arc::default(),
        links: Arc::default(),
        metrics: Arc::new(Metrics::new()),
        tasks: Tasks::default(),
        clock_look: Mutex::default(),
        config,
        environment,
        folder,
        city,
        tls,
        roster,
        tokens,
        keys,
        vault,
        ledger,
        exchange,
        products,
        publishers,
        spool,
    };
    Ok((parts, idle))
}

fn city_view(config: &Config, tls: &Tls, roster: &RosterBook) -> Result<CityView, StartError> {
    let (domain, certificate) = (config.node.domain.clone(), tls.own().domain);
    if domain != certificate {
        return Err(StartError::OtherDomain { config: domain, certificate });
    }
    let signed = roster.current();
    Ok(CityView { name: signed.roster().city.clone(), zone: signed.roster().timezone, domain })
}

fn query_limits(config: &Config, helpers: usize) -> civicmesh_query::Limits {
    let limits = &config.limits;
    civicmesh_query::Limits {
        memory_bytes_max: limits.query_memory_bytes_max,
        result_bytes_max: limits.result_bytes_max,
        time_ms_max: limits.query_ms_max,
        queries_max: limits.queries_max,
        helpers,
        ..civicmesh_query::Limits::default()
    }
}

fn own_contracts(folder: &NodeFolder, domain: &DomainName) -> Result<Vec<OwnContract>, StartError> {
    let path = folder.contracts();
    let (contracts, findings) = contracts::load(&path, domain).map_err(|error| StartError::Folder { path, error })?;
    for finding in &findings {
        match finding.severity {
            Severity::Error => return Err(StartError::Contract(Box::new(finding.clone()))),
            Severity::Warning => tracing::warn!(%finding, "a contract could be better"),
        }
    }
    Ok(contracts)
}

fn databases(
    folder: &NodeFolder,
    config: &Config,
    environment: &Environment,
    city: &CityView,
) -> Result<(Arc<Vault>, Arc<Ledger>), StartError> {
    let Storage { environment: disk, hook } = environment.vault.clone();
    let fresh_id = draw_id(&*environment.entropy);
    let vault = civicmesh_vault::Options { zone: city.zone, fresh_id, environment: disk, hook };
    let Storage { environment: disk, hook } = environment.ledger.clone();
    let ledger = civicmesh_ledger::Options { domain: city.domain.clone(), zone: city.zone, environment: disk, hook };
    let vault = Vault::open(&folder.path().join(&config.node.vault), &vault)?;
    let ledger = Ledger::open(&folder.path().join(&config.node.ledger), ledger)?;
    Ok((Arc::new(vault), Arc::new(ledger)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_fails_the_node() {
        let (fail, mut failed) = mpsc::channel(FAILURES_MAX);
        watched("a task that ends", async {}, &fail).await;
        watched("a task with a defect", async { panic!("on purpose") }, &fail).await;
        let error = failed.recv().await.unwrap();
        assert!(matches!(error, StartError::Defect { task: "a task with a defect" }), "{error}");
    }
}
