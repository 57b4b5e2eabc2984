//! The city as one node sees it: domains and links, products and their age, sources and their watermarks.

use std::collections::BTreeMap;

use civicmesh_exchange::roster::Roster;
use civicmesh_ledger::{LedgerError, ProductState};
use civicmesh_model::contract::{Method, Status};
use civicmesh_model::names::{DatasetName, DomainName, ProductId, SourceName};
use civicmesh_model::time::UtcMicros;
use civicmesh_vault::{FileEntry, VaultError};
use serde::Serialize;

use crate::compose::{Parts, VERSION};

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The city as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CityStatus {
    /// The city's name.
    pub city: String,
    /// The node's own domain.
    pub domain: DomainName,
    /// The city's time zone, an IANA name.
    pub time_zone: String,
    /// The node's version of civicmesh.
    pub node_version: String,
    /// The node's clock.
    pub now: UtcMicros,
    /// When the node's certificate expires.
    pub certificate_expires: UtcMicros,
    /// Whole days until then; negative once it has expired.
    pub certificate_days_left: i64,
    /// Serial of the roster in use.
    pub roster_serial: u64,
    /// Every domain of the roster, sorted by name.
    pub domains: Vec<DomainStatus>,
    /// Every product known, sorted by name.
    pub products: Vec<ProductStatus>,
    /// The sources of the node's own datasets, sorted; empty for who may not see them.
    pub sources: Vec<SourceStatus>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainStatus {
    /// Its name.
    pub domain: DomainName,
    /// Where the city's nodes reach it.
    pub address: String,
    /// How the link to it stands.
    pub link: LinkState,
    /// When it was last reached.
    pub last_contact: Option<UtcMicros>,
    /// Since when it cannot be reached.
    pub unreachable_since: Option<UtcMicros>,
    /// Why it cannot be reached.
    pub reason: String,
    /// When its certificate expires, as seen on the link.
    pub certificate_expires: Option<UtcMicros>,
    /// Whole days until then.
    pub certificate_days_left: Option<i64>,
    /// Bytes sent to it since the node started, TLS included.
    pub sent_bytes: u64,
    /// Bytes received from it since the node started, TLS included.
    pub received_bytes: u64,
    /// Its version of civicmesh, as it greeted; empty while unknown.
    pub node_version: String,
}

/// How a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// The node itself.
    Own,
    /// Not tried yet.
    New,
    /// Reached at the last try.
    Reached,
    /// Not reached at the last try.
    Unreachable,
}

/// One product.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProductStatus {
    /// The full name.
    pub product: ProductId,
    /// The domain that releases it.
    pub owner: DomainName,
    /// The disclosure method, as in `threshold k=10`; empty where it is not granted.
    pub method: String,
    /// The node's domain is in the audience, or owns it.
    pub granted: bool,
    /// The contract is a draft: nothing is released.
    pub draft: bool,
    /// The contract's version; empty where it is not granted.
    pub contract_version: String,
    /// Start of the newest window held.
    pub newest_window_start: Option<UtcMicros>,
    /// End of the newest window held.
    pub newest_window_end: Option<UtcMicros>,
    /// The owner has closed all windows that end by then.
    pub closed_through: Option<UtcMicros>,
    /// Time since the owner's head was last confirmed; none for own products and while there was none.
    pub head_age_us: Option<i64>,
    /// Log entries held.
    pub entries: u64,
    /// Own products only: rows held back because their window was released before they came.
    pub late_rows_held: Option<u64>,
    /// Own products only: rows of its dataset that were rejected.
    pub rejects: Option<u64>,
    /// Times that its owner was found out: it signed what does not follow from what it signed before.
    pub found_out: u64,
    /// What an operator should know of it, in plain words.
    pub warnings: Vec<String>,
}

/// One source of an own dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceStatus {
    /// The dataset.
    pub dataset: DatasetName,
    /// The source.
    pub source: SourceName,
    /// Up to when it has delivered.
    pub watermark: Option<UtcMicros>,
    /// When it last delivered.
    pub last_delivery: Option<UtcMicros>,
    /// Quiet for longer than the contract allows: it holds no window open.
    pub idle: bool,
    /// Files taken in whole.
    pub files: u64,
    /// Rows stored.
    pub rows: u64,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The city as this node sees it. What concerns raw observations is shown to whom may see it only.
pub(crate) fn city_status(parts: &Parts, shows_raw: bool) -> Result<CityStatus, StatusError> {
    let now = parts.environment.clock.now();
    let own = parts.tls.own();
    let signed = parts.roster.current();
    Ok(CityStatus {
        city: parts.city.name.clone(),
        domain: parts.city.domain.clone(),
        time_zone: parts.city.zone.to_string(),
        node_version: VERSION.to_owned(),
        now,
        certificate_expires: own.certificate_expires,
        certificate_days_left: days_left(own.certificate_expires, now),
        roster_serial: signed.roster().serial,
        domains: domains(parts, signed.roster(), now),
        products: products(parts, signed.roster(), now, shows_raw)?,
        sources: if shows_raw { sources(parts, now)? } else { Vec::new() },
    })
}

fn domains(parts: &Parts, roster: &Roster, now: UtcMicros) -> Vec<DomainStatus> {
    let (views, traffic, contacts) = (parts.links.views(), parts.traffic.by_peer(), parts.ledger.contacts());
    let members = roster.members.iter().map(|(domain, member)| {
        let own = *domain == parts.city.domain;
        let view = views.get(domain).cloned().unwrap_or_default();
        let contact = contacts.get(domain);
        let bytes = traffic.get(domain).copied().unwrap_or_default();
        let certificate_expires =
            if own { Some(parts.tls.own().certificate_expires) } else { view.certificate_expires };
        DomainStatus {
            domain: domain.clone(),
            address: member.address.to_string(),
            link: match (own, view.reached) {
                (true, _) => LinkState::Own,
                (false, None) => LinkState::New,
                (false, Some(true)) => LinkState::Reached,
                (false, Some(false)) => LinkState::Unreachable,
            },
            last_contact: contact.and_then(|contact| contact.reached_at),
            unreachable_since: contact.and_then(|contact| contact.unreachable_since),
            reason: contact.and_then(|contact| contact.reason.clone()).unwrap_or_default(),
            certificate_expires,
            certificate_days_left: certificate_expires.map(|expires| days_left(expires, now)),
            sent_bytes: bytes.sent_bytes,
            received_bytes: bytes.received_bytes,
            node_version: if own { VERSION.to_owned() } else { view.node_version.unwrap_or_default() },
        }
    });
    members.collect()
}

fn products(
    parts: &Parts,
    roster: &Roster,
    now: UtcMicros,
    shows_raw: bool,
) -> Result<Vec<ProductStatus>, StatusError> {
    let snapshot = parts.ledger.snapshot();
    let mut failed: BTreeMap<ProductId, String> =
        parts.links.views().into_values().flat_map(|view| view.failed).collect();
    let mut products = Vec::new();
    for state in snapshot.products()? {
        let taker = parts.products.iter().find(|product| *product.id() == state.id).filter(|_| shows_raw);
        let rejects = taker.map(|product| parts.vault.counts(product.dataset())).transpose()?;
        let log = state.log.as_ref();
        let confirmed = state.head_confirmed_at.filter(|_| !state.own);
        let contract = state.contract.as_deref();
        let withdrawn = state.own && parts.products.iter().all(|product| *product.id() != state.id);
        let departed = !state.own && !roster.members.contains_key(&state.id.domain);
        products.push(ProductStatus {
            owner: state.id.domain.clone(),
            method: contract.map(|contract| method_text(&contract.method)).unwrap_or_default(),
            granted: state.granted,
            draft: contract.is_some_and(|contract| contract.status == Status::Draft),
            contract_version: contract.map(|contract| contract.version.clone()).unwrap_or_default(),
            newest_window_start: log.map(|log| log.newest_window.start),
            newest_window_end: log.map(|log| log.newest_window.end),
            closed_through: log.map(|log| log.closed_through),
            head_age_us: confirmed.map(|confirmed| now.since(confirmed).micros()),
            entries: log.map_or(0, |log| log.head.head.size),
            late_rows_held: taker.map(|product| product.late_rows_held()),
            rejects: rejects.map(|counts| counts.totals.rejected),
            found_out: state.found_out.len() as u64,
            warnings: warnings(&state, withdrawn, departed, failed.remove(&state.id)),
            product: state.id,
        });
    }
    let refused = snapshot.refusals()?.into_keys();
    let unknown: Vec<_> = refused.filter(|id| products.iter().all(|known| known.product != *id)).collect();
    products.extend(unknown.into_iter().map(not_granted));
    products.extend(failed.into_iter().map(|(product, reason)| ProductStatus {
        granted: true,
        warnings: vec![not_pulled(&reason)],
        ..not_granted(product)
    }));
    products.sort_by(|one, other| one.product.cmp(&other.product));
    Ok(products)
}

/// A product of which nothing is known but its name, and that it is not for this domain.
fn not_granted(product: ProductId) -> ProductStatus {
    ProductStatus {
        owner: product.domain.clone(),
        product,
        method: String::new(),
        granted: false,
        draft: false,
        contract_version: String::new(),
        newest_window_start: None,
        newest_window_end: None,
        closed_through: None,
        head_age_us: None,
        entries: 0,
        late_rows_held: None,
        rejects: None,
        found_out: 0,
        warnings: Vec::new(),
    }
}

/// What an operator should know of a product: that its owner was found out, that its contract cannot be read, that its
/// owner left the city, that nothing more was pulled.
fn warnings(state: &ProductState, withdrawn: bool, departed: bool, failed: Option<String>) -> Vec<String> {
    let owner = &state.id.domain;
    let found = state.found_out.first();
    let unreadable = state.contract.is_none().then(|| "its contract cannot be read by this version".to_owned());
    let departed = departed.then(|| format!("{owner} is no longer in the city; what it released is kept"));
    let withdrawn = withdrawn.then(|| {
        "its contract was withdrawn: nothing more is released, and what was released stays with its audience".to_owned()
    });
    [
        withdrawn,
        found.map(|found| format!("{owner} was found out on {}: {}", found.at, found.fault)),
        unreadable,
        departed,
        failed.map(|reason| not_pulled(&reason)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn not_pulled(reason: &str) -> String {
    format!("not pulled: {reason}")
}

fn method_text(method: &Method) -> String {
    match method {
        Method::Open { .. } => "open".to_owned(),
        Method::Threshold { k, .. } => format!("threshold k={k}"),
    }
}

fn sources(parts: &Parts, now: UtcMicros) -> Result<Vec<SourceStatus>, StatusError> {
    let mut found = Vec::new();
    for product in &parts.products {
        // files and rows by source, in one look over the files: there may be very many
        let mut delivered: BTreeMap<SourceName, (u64, u64)> = BTreeMap::new();
        for FileEntry { source, finished, totals, .. } in parts.vault.files(product.dataset())? {
            let (files, rows) = delivered.entry(source).or_default();
            *files += u64::from(finished);
            *rows += totals.accepted + totals.corrected;
        }
        for source in parts.vault.sources(product.dataset())? {
            let (files, rows) = delivered.get(&source.name).copied().unwrap_or_default();
            found.push(SourceStatus {
                dataset: product.dataset().clone(),
                watermark: source.watermark,
                last_delivery: Some(source.heard_at),
                idle: source.heard_at.after(product.contract.idle_after) < now,
                files,
                rows,
                source: source.name,
            });
        }
    }
    Ok(found)
}

/// Whole days from `now` until `expires`; negative once it has passed.
pub(crate) fn days_left(expires: UtcMicros, now: UtcMicros) -> i64 {
    expires.0.saturating_sub(now.0).div_euclid(DAY_US)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small status for other tests.
    pub(crate) fn sample() -> CityStatus {
        CityStatus {
            city: "New York".to_owned(),
            domain: "traffic".parse().unwrap(),
            time_zone: "America/New_York".to_owned(),
            node_version: "0.1.0".to_owned(),
            now: UtcMicros(1_000_000),
            certificate_expires: UtcMicros(DAY_US * 30 + 1_000_000),
            certificate_days_left: 30,
            roster_serial: 4,
            domains: vec![DomainStatus {
                domain: "transit".parse().unwrap(),
                address: "127.0.0.1:7401".to_owned(),
                link: LinkState::Unreachable,
                last_contact: Some(UtcMicros(5)),
                unreachable_since: Some(UtcMicros(6)),
                reason: "connection refused".to_owned(),
                certificate_expires: Some(UtcMicros(DAY_US)),
                certificate_days_left: Some(0),
                sent_bytes: 10,
                received_bytes: 20,
                node_version: "0.1.0".to_owned(),
            }],
            products: vec![ProductStatus {
                product: "traffic.taxi".parse().unwrap(),
                owner: "traffic".parse().unwrap(),
                method: "threshold k=10".to_owned(),
                granted: true,
                draft: false,
                contract_version: "1.0.0".to_owned(),
                newest_window_start: Some(UtcMicros(0)),
                newest_window_end: Some(UtcMicros(DAY_US)),
                closed_through: Some(UtcMicros(DAY_US)),
                head_age_us: None,
                entries: 3,
                late_rows_held: Some(2),
                rejects: Some(1),
                found_out: 3,
                warnings: vec!["traffic was found out".to_owned()],
            }],
            sources: vec![SourceStatus {
                dataset: "taxi_trips".parse().unwrap(),
                source: "taxi_trips".parse().unwrap(),
                watermark: Some(UtcMicros(DAY_US)),
                last_delivery: Some(UtcMicros(7)),
                idle: true,
                files: 1,
                rows: 100,
            }],
        }
    }

    #[test]
    fn days_are_counted_down_and_go_below_zero() {
        assert_eq!(days_left(UtcMicros(DAY_US * 2), UtcMicros(1)), 1);
        assert_eq!(days_left(UtcMicros(0), UtcMicros(1)), -1);
    }
}
