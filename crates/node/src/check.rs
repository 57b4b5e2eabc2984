//! Is a node's folder fit to run? Opens no port and no database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use civicmesh_exchange::link::Clock;
use civicmesh_exchange::office::NodeFolder;
use civicmesh_exchange::tls::Tls;
use civicmesh_model::contract::{Finding, Severity};
use serde::Serialize;

use crate::config::{CONFIG_FILE, Config};
use crate::contracts;
use crate::department::{Tokens, must_be_own};
use crate::environment::Environment;
use crate::status::days_left;

/// Days before a certificate expires from which on a check warns.
const CERTIFICATE_DAYS_MIN: i64 = 14;
/// Free space under which a check warns, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Fit.
    Ok,
    /// Fit; somebody should look at it.
    Warning,
    /// Not fit to run.
    Failed,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: &'static str,
    /// How it went.
    pub state: CheckState,
    /// What was found.
    pub message: String,
    /// How to mend it; empty if there is nothing to mend, or the message says it.
    pub mend: String,
}

/// All that was checked, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether the node would run.
    pub fn fit(&self) -> bool {
        self.checks.iter().all(|check| check.state != CheckState::Failed)
    }

    fn add(&mut self, what: &'static str, state: CheckState, message: impl Into<String>, mend: impl Into<String>) {
        self.checks.push(Check { what, state, message: message.into(), mend: mend.into() });
    }

    fn ok(&mut self, what: &'static str, message: impl Into<String>) {
        self.add(what, CheckState::Ok, message, "");
    }

    fn failed(&mut self, what: &'static str, message: impl ToString, mend: impl Into<String>) {
        self.add(what, CheckState::Failed, message.to_string(), mend);
    }
}

/// Checks the node's folder `dir`.
pub fn check(dir: &Path) -> Report {
    match Config::read(dir) {
        Ok(config) => check_folder(&NodeFolder::new(dir), &config, &Environment::real().clock),
        Err(error) => {
            let mut report = Report::default();
            report.failed("configuration", error, "");
            report
        }
    }
}

/// Checks all but the configuration, which was read. `node run` refuses what is refused here.
pub(crate) fn check_folder(folder: &NodeFolder, config: &Config, clock: &Arc<dyn Clock>) -> Report {
    let mut report = Report::default();
    report.ok("configuration", format!("{CONFIG_FILE} is the node of {}", config.node.domain));
    listeners(config, &mut report);
    secrets(folder, &mut report);
    membership(folder, config, Arc::clone(clock), &mut report);
    contracts_and_lookups(folder, config, &mut report);
    disk(folder.path(), config, &mut report);
    report
}

fn listeners(config: &Config, report: &mut Report) {
    let tls = if config.department.tls { "TLS" } else { "no TLS: loopback only" };
    let postgres = match &config.node.department_postgres_listen {
        Some(address) if config.postgres_is_loopback() => format!(", PostgreSQL's protocol at {address} (token)"),
        Some(address) => format!(", PostgreSQL's protocol at {address} (TLS, token)"),
        None => String::new(),
    };
    report.ok(
        "listeners",
        format!(
            "peers at {} (mutual TLS), the department at {} ({tls}, token){postgres}",
            config.node.city_listen, config.node.department_listen
        ),
    );
}

fn secrets(folder: &NodeFolder, report: &mut Report) {
    const MAKE: &str = "`civicmesh node request NODE_DIR` makes what is missing";
    let read = folder.release_key().map(drop);
    let read = read.and_then(|()| folder.domain_secret().map(drop));
    match read.and_then(|()| Tokens::read(folder).map(drop)) {
        Ok(()) => report.ok("keys and tokens", "all there and readable"),
        Err(error) => report.failed("keys and tokens", error, MAKE),
    }
    match folder.exposed_files() {
        Ok(exposed) if exposed.is_empty() => report.ok("file modes", "secrets are their owner's alone"),
        Ok(exposed) => {
            let files: Vec<String> = exposed.iter().map(|path| path.display().to_string()).collect();
            report.failed(
                "file modes",
                format!("others may read {}", files.join(", ")),
                format!("chmod 600 {}", files.join(" ")),
            );
        }
        Err(error) => report.failed("file modes", error, MAKE),
    }
}

fn membership(folder: &NodeFolder, config: &Config, clock: Arc<dyn Clock>, report: &mut Report) {
    const ASK: &str = "send the request file to the city's office and install its answer with `civicmesh node accept`";
    let now = clock.now();
    let own = match Tls::load(&folder.tls(), clock) {
        Ok(tls) => tls.own(),
        Err(error) => return report.failed("certificate", error, ASK),
    };
    let days = days_left(own.certificate_expires, now);
    let message = format!("of {}, issued by the city's office, {days} days left", own.domain);
    if own.domain != config.node.domain {
        let mend = format!("set `domain = \"{}\"` under [node], or use the other node's folder", own.domain);
        report.failed("certificate", format!("it is that of {}, not of {}", own.domain, config.node.domain), mend);
    } else if own.certificate_expires <= now {
        let message = "it has expired: peers refuse this node, which serves its own department all the same";
        report.add("certificate", CheckState::Warning, message, ASK);
    } else if let Err(error) = folder.check_certificate(now) {
        report.failed("certificate", error, ASK);
    } else if days < CERTIFICATE_DAYS_MIN {
        report.add("certificate", CheckState::Warning, message, ASK);
    } else {
        report.ok("certificate", message);
    }
    match folder.open_roster() {
        Err(error) => report.failed("roster", error, ASK),
        Ok(book) => {
            let signed = book.current();
            let roster = signed.roster();
            let message = format!(
                "{}, serial {}, signed by the city's office, domains: {}",
                roster.city,
                roster.serial,
                roster.members.len()
            );
            if roster.admits(&own) {
                report.ok("roster", message);
            } else {
                let message = format!("it does not list this node's key for {}: peers refuse this node", own.domain);
                report.add("roster", CheckState::Warning, message, ASK);
            }
        }
    }
}

fn contracts_and_lookups(folder: &NodeFolder, config: &Config, report: &mut Report) {
    let (contracts, findings) = match contracts::load(&folder.contracts(), &config.node.domain) {
        Ok(loaded) => loaded,
        Err(error) => {
            return report.failed("contracts", format!("{}: {error}", folder.contracts().display()), "");
        }
    };
    let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    for finding in &findings {
        let state = match finding.severity {
            Severity::Error => CheckState::Failed,
            Severity::Warning => CheckState::Warning,
        };
        report.add("contracts", state, told(finding), "");
    }
    if contracts.is_empty() && !errors {
        let mend = format!(
            "put a contract into {}; `civicmesh contract draft` makes one from a file",
            folder.contracts().display()
        );
        report.add("contracts", CheckState::Warning, "none: the node asks, and shares nothing", mend);
    } else if !errors {
        let products: Vec<String> = contracts.iter().map(|own| own.contract.product.to_string()).collect();
        report.ok("contracts", format!("{}; lookups are readable", products.join(", ")));
    }
}

fn told(finding: &Finding) -> String {
    finding.to_string()
}

fn disk(dir: &Path, config: &Config, report: &mut Report) {
    if let Err(error) = must_be_own(dir) {
        report.failed("spool", error, "");
    }
    for path in [&config.node.vault, &config.node.ledger] {
        let path = dir.join(path);
        if path.exists() && !path.is_dir() {
            report.failed("disk", format!("{} is no folder", path.display()), "name another in node.toml");
            continue;
        }
        let standing = nearest_existing(&path);
        match rustix::fs::statvfs(&standing) {
            Err(error) => report.failed("disk", format!("{}: {error}", standing.display()), ""),
            Ok(found) => {
                let free = found.f_bavail.saturating_mul(found.f_frsize);
                let message = format!("{} MiB free for {}", free >> 20, path.display());
                if free < FREE_BYTES_MIN {
                    report.add(
                        "disk",
                        CheckState::Warning,
                        message,
                        "make room: a full disk stops ingest and releases",
                    );
                } else {
                    report.ok("disk", message);
                }
            }
        }
    }
}

/// The folder itself, or the nearest one above it that exists.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_not_fit_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let report = check(dir.path());
        assert!(!report.fit());
        assert_eq!(report.checks[0].what, "configuration");
        assert!(report.checks[0].message.contains("node.toml"), "{report:?}");
    }

    #[test]
    fn what_a_check_refuses_a_node_refuses_too() {
        use civicmesh_exchange::office::{CityOffice, Departure};
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let now = Environment::real().clock.now();
        let office = CityOffice::init(&dir.path().join("office"), "New York", "America/New_York".parse().unwrap(), now);
        let departure = Departure {
            domain: Some("weather".parse().unwrap()),
            listen: Some("127.0.0.1:7400".parse().unwrap()),
            department: None,
            seeds: Vec::new(),
        };
        let folder = NodeFolder::new(dir.path().join("weather"));
        office.unwrap().enroll_out(&folder, &departure, now).unwrap();
        assert!(check(folder.path()).fit(), "{:?}", check(folder.path()));
        let token = folder.path().join("tokens/ingest");
        let refused = |what: &str| {
            let report = check(folder.path());
            assert!(!report.fit() && report.checks.iter().any(|check| check.what == what), "{report:?}");
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let started = runtime.block_on(crate::Node::start(folder.path(), Environment::real()));
            match started {
                Err(crate::StartError::Unfit { what: found, .. }) => assert_eq!(found, what),
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("the node runs"),
            }
            assert!(!folder.path().join("vault").exists(), "nothing was opened");
        };
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
        refused("file modes");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(dir.path(), folder.path().join("spool")).unwrap();
        refused("spool");
    }

    #[test]
    fn a_folder_with_nothing_but_a_configuration_names_each_lack() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "[node]\ndomain = \"traffic\"\ncity_listen = \"127.0.0.1:7400\"\ndepartment_listen = \"127.0.0.1:7500\"\n";
        std::fs::write(dir.path().join(CONFIG_FILE), text).unwrap();
        let report = check(dir.path());
        let state = |what| report.checks.iter().filter(|check| check.what == what).map(|check| check.state).max();
        assert_eq!(state("configuration"), Some(CheckState::Ok));
        assert_eq!(state("keys and tokens"), Some(CheckState::Failed));
        assert_eq!(state("certificate"), Some(CheckState::Failed));
        assert_eq!(state("contracts"), Some(CheckState::Warning));
        assert!(state("disk").is_some());
    }
}
