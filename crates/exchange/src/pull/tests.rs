//! Two or three nodes with ledgers of their own, real TLS and real gRPC on loopback.

use std::{
    fs,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use civicmesh_disclosure::{SaltKey, gate};
use civicmesh_ledger::{Ledger, Options, RefusalKind, SigningKey};
use civicmesh_model::{
    contract::Contract,
    names::ProductId,
    time::{UtcMicros, Zone},
};
use civicmesh_proto::exchange::v1::{
    self as proto,
    exchange_service_server::{ExchangeService, ExchangeServiceServer},
    pull_releases_response::Content,
};
use civicmesh_store::{Environment, MemoryDisk};
use futures::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::JoinHandle,
};
use tonic::{Request, Response, Status};

mod bounds;

use super::*;
use crate::{
    link::{BoxedIo, Clock, Listener, Network},
    office::{CityOffice, Departure, NodeFolder, accept, request},
    serve::{self, Serve},
    testing::{DAY, HandClock, InPlace, Loopback, SystemEntropy, TestCity, departure},
    tls::{Encrypted, Tls, TlsAccept, TlsDial},
    traffic::Traffic,
};

const PACE: Pace = Pace { turn_ms: 20, backoff_ms_max: 100, greet_ms: 200, link_age_ms_max: 600_000 };
const MINUTE: i64 = 60_000_000;

fn product(name: &str) -> ProductId {
    name.parse().unwrap()
}

fn domain(name: &str) -> DomainName {
    name.parse().unwrap()
}

/// The contract of a product in `traffic` at a grain of one minute.
fn contract(name: &str, version: u32, audience: &str) -> Contract {
    let text = format!(
        "apiVersion: v3.1.0
kind: DataContract
id: traffic.{name}
version: {version}.0.0
status: active
domain: traffic
dataProduct: {name}
name: Speeds
description: {{purpose: Tests}}
schema:
- name: {name}
  properties:
  - {{name: time, logicalType: timestamp, required: true, description: Start of the minute}}
  - {{name: speed, logicalType: number, description: How fast}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: 1 minute, start: 1970-01-01, lateness: 1 day, empty: zero}}
    measures: {{speed: {{unit: km/h, decimals: 1}}}}
    disclosure: {{method: open, reason: no person is concerned, approver: Test}}
    audience: {audience}
    retention: {{raw: 90 days, releases: 100 years}}
- property: civicmesh.dataset
  value:
    name: speeds
    time: {{column: at, zone: UTC}}
    columns: {{at: timestamp, speed: number}}
"
    );
    Contract::parse(&text, "test.yaml").unwrap_or_else(|findings| panic!("{findings:?}")).0
}

/// A node, serving or not.
struct Node {
    folder: NodeFolder,
    address: String,
    exchange: Exchange,
    key: Arc<SigningKey>,
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
    links: Arc<Links>,
    network: Arc<dyn Network>,
    quota: Quota,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Enrols a domain and opens its ledger; the listener's port is known before the roster names it.
    async fn enroll(city: &TestCity, name: &str, clock: &HandClock) -> (Self, Box<dyn Listener>) {
        let listener = Loopback.listen("127.0.0.1:0").await.unwrap();
        let folder = city.enroll(name, &listener.local_address());
        (Self::open(folder, listener.local_address(), name, clock), listener)
    }

    fn open(folder: NodeFolder, address: String, name: &str, clock: &HandClock) -> Self {
        let roster = Arc::new(folder.open_roster().unwrap());
        let options = Options {
            domain: domain(name),
            zone: roster.current().roster().timezone,
            environment: Environment::Memory(MemoryDisk::new().unwrap()),
            hook: None,
        };
        let ledger = Ledger::open(&folder.path().join("ledger"), options).unwrap();
        let exchange = Exchange {
            domain: domain(name),
            version: "0.0.1-test".into(),
            ledger: Arc::new(ledger),
            roster,
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SystemEntropy),
            blocking: Arc::new(InPlace),
        };
        Self {
            key: Arc::new(folder.release_key().unwrap()),
            tls: Arc::new(Tls::load(&folder.tls(), Arc::new(clock.clone())).unwrap()),
            traffic: Arc::default(),
            links: Arc::default(),
            network: Arc::new(Loopback),
            quota: Quota::default(),
            stop: CancellationToken::new(),
            tasks: Vec::new(),
            folder,
            address,
            exchange,
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.exchange.ledger
    }

    fn serve(&mut self, listener: Box<dyn Listener>) {
        let service = serve::service(self.exchange.clone(), Arc::clone(&self.key));
        self.serve_as(listener, service);
    }

    fn serve_as<S: ExchangeService>(&mut self, listener: Box<dyn Listener>, service: ExchangeServiceServer<S>) {
        let accept = TlsAccept::new(listener, Arc::new(Encrypted), Arc::clone(&self.tls), Arc::clone(&self.traffic));
        let stopped = self.stop.clone().cancelled_owned();
        let serving = serve::server().add_service(service);
        self.tasks.push(tokio::spawn(async move {
            let incoming = serve::incoming(Box::new(accept));
            serving.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        }));
    }

    fn pull(&mut self) {
        let dial = TlsDial::new(
            Arc::clone(&self.network),
            Arc::new(Encrypted),
            Arc::clone(&self.tls),
            Arc::clone(&self.traffic),
        );
        let puller = Puller {
            exchange: self.exchange.clone(),
            dial: Arc::new(dial),
            pace: PACE,
            quota: self.quota,
            seeds: Vec::new(),
            links: Arc::clone(&self.links),
        };
        self.tasks.push(tokio::spawn(puller.run(self.stop.clone())));
    }

    /// Stops serving and pulling, and waits until both have ended.
    async fn halt(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        self.stop = CancellationToken::new();
    }

    /// Appends `windows` minutes without observations, one entry each.
    fn release(&self, contract: &Contract, windows: i64) {
        let (ledger, now) = (self.ledger(), self.exchange.clock.now());
        ledger.adopt_contract(contract, now).unwrap();
        let product = &contract.product;
        let first = ledger.log(product).unwrap().map_or(UtcMicros(0), |log| log.closed_through);
        let salt_key = SaltKey::new([7; 32]);
        let edge = |index: i64| UtcMicros(first.0 + index * MINUTE);
        let terms = gate::Terms {
            contract,
            zone: Zone::UTC,
            revision: 0,
            closed_through: edge(0),
            sources: 1,
            salt_key: &salt_key,
        };
        let window = |index| {
            let terms = gate::Terms { closed_through: edge(index + 1), ..terms };
            gate::empty(edge(index), edge(index + 1), &terms).unwrap()
        };
        ledger.append(product, (0..windows).map(window).collect(), 0, &self.key, now).unwrap();
    }

    fn size(&self, product: &ProductId) -> u64 {
        self.ledger().cursor(product).unwrap().size
    }

    /// Why nothing more is taken of a product.
    fn failed(&self, product: &ProductId) -> String {
        let views = self.links.views();
        views.get(&product.domain).and_then(|view| view.failed.get(product).cloned()).unwrap_or_default()
    }

    fn reason(&self, peer: &str) -> String {
        let contacts = self.ledger().contacts();
        contacts.get(&domain(peer)).and_then(|contact| contact.reason.clone()).unwrap_or_default()
    }
}

async fn eventually(what: &str, mut true_now: impl FnMut() -> bool) {
    let waited = async {
        while !true_now() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "never: {what}");
}

/// `traffic` serves and `health` pulls.
async fn traffic_and_health(city: &TestCity, clock: &HandClock) -> (Node, Node) {
    let (mut traffic, listener) = Node::enroll(city, "traffic", clock).await;
    let (mut health, _) = Node::enroll(city, "health", clock).await;
    traffic.serve(listener);
    health.pull();
    (traffic, health)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_arrives_byte_for_byte_and_what_is_not_is_refused() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (traffic, health) = traffic_and_health(&city, &clock).await;
    let (open, closed, young) = (product("traffic.open"), product("traffic.closed"), product("traffic.young"));
    traffic.release(&contract("open", 1, "city"), 5_000);
    traffic.release(&contract("closed", 1, "[transit]"), 3);
    traffic.ledger().adopt_contract(&contract("young", 1, "[health]"), clock.now()).unwrap();
    eventually("all pages", || health.size(&open) == 5_000).await;
    assert_eq!(
        health.ledger().entries(&open, 0, usize::MAX).unwrap(),
        traffic.ledger().entries(&open, 0, usize::MAX).unwrap()
    );
    eventually("the refusal", || health.ledger().refusals().unwrap().contains_key(&closed)).await;
    assert_eq!(health.ledger().refusals().unwrap()[&closed].kind, RefusalKind::NotGranted);
    assert_eq!(health.ledger().refusals().unwrap().len(), 1);
    assert_eq!(health.size(&closed), 0);
    assert!(health.ledger().contract(&closed).unwrap().is_none(), "not even its contract");
    eventually("a contract without releases", || health.ledger().contract(&young).unwrap().is_some()).await;

    traffic.release(&contract("open", 1, "city"), 1);
    eventually("the next one", || health.size(&open) == 5_001).await;
    let contact = health.ledger().contacts()[&domain("traffic")].clone();
    assert_eq!((contact.reached_at, contact.unreachable_since), (Some(clock.now()), None));
    let view = health.links.views()[&domain("traffic")].clone();
    assert_eq!(view.node_version.as_deref(), Some("0.0.1-test"));
    assert_eq!(view.certificate_expires, Some(traffic.tls.own().certificate_expires));
    let counted = health.traffic.by_peer()[&domain("traffic")];
    let bytes: usize =
        traffic.ledger().entries(&open, 0, usize::MAX).unwrap().iter().map(|(_, entry)| entry.len()).sum();
    assert!(counted.received_bytes > bytes as u64, "{counted:?} for {bytes} bytes of entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_audience_takes_effect_and_old_contracts_are_learned() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (traffic, health) = traffic_and_health(&city, &clock).await;
    let speeds = product("traffic.speeds");
    for version in 1..=3 {
        traffic.release(&contract("speeds", version, "[transit]"), 2);
    }
    eventually("the refusal", || health.ledger().refusals().unwrap().contains_key(&speeds)).await;
    traffic.ledger().adopt_contract(&contract("speeds", 4, "[transit, health]"), clock.now()).unwrap();
    eventually("the entries", || health.size(&speeds) == 6).await;
    assert!(health.ledger().refusals().unwrap().is_empty());
    assert_eq!(health.ledger().contract(&speeds).unwrap().unwrap().version, "4.0.0");
    assert_eq!(health.ledger().contract_history(&speeds).unwrap().len(), 4);

    traffic.ledger().adopt_contract(&contract("speeds", 5, "[transit]"), clock.now()).unwrap();
    eventually("the refusal again", || health.ledger().refusals().unwrap().contains_key(&speeds)).await;
    assert_eq!(health.size(&speeds), 6, "what was given is not taken back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_is_noted_and_its_return_resumes_at_the_cursor() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, health) = traffic_and_health(&city, &clock).await;
    let (speeds, first) = (product("traffic.speeds"), contract("speeds", 1, "city"));
    traffic.release(&first, 3);
    eventually("the first three", || health.size(&speeds) == 3).await;
    traffic.halt().await;
    eventually("the silence", || health.links.views()[&domain("traffic")].reached == Some(false)).await;
    eventually("its note", || health.ledger().contacts()[&domain("traffic")].unreachable_since.is_some()).await;
    traffic.release(&first, 2);
    clock.advance(MINUTE);
    traffic.serve(Loopback.listen(&traffic.address).await.unwrap());
    eventually("the rest", || health.size(&speeds) == 5).await;
    eventually("the contact", || health.ledger().contacts()[&domain("traffic")].unreachable_since.is_none()).await;
    let counted = health.traffic.by_peer()[&domain("traffic")];
    assert!(counted.received_bytes > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_spreads_the_roster_that_lists_it() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
    traffic.serve(listener);
    traffic.pull();
    assert_eq!(traffic.exchange.roster.current().roster().members.len(), 1);
    let (mut health, health_listener) = Node::enroll(&city, "health", &clock).await;
    health.serve(health_listener);
    health.pull();
    eventually("traffic lists health", || traffic.exchange.roster.current().roster().members.len() == 2).await;
    eventually("traffic pulls from health", || traffic.ledger().contacts().contains_key(&domain("health"))).await;
    let kept = fs::read(traffic.folder.roster_file()).unwrap();
    assert_eq!(kept, city.office.roster().unwrap().as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_keys_are_refused_and_their_successors_admitted() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, old) = traffic_and_health(&city, &clock).await;
    let (speeds, first) = (product("traffic.speeds"), contract("speeds", 1, "city"));
    traffic.pull();
    traffic.release(&first, 1);
    eventually("the first", || old.size(&speeds) == 1).await;

    let folder = NodeFolder::new(city.path().join("health-again"));
    request(&folder, &departure("health", "127.0.0.1:9")).unwrap();
    let asked = fs::read(folder.request_file()).unwrap();
    accept(&folder, &city.office.enroll(&asked, true, clock.now()).unwrap().answer, clock.now()).unwrap();
    let mut new = Node::open(folder, "127.0.0.1:9".into(), "health", &clock);
    new.pull();
    eventually("the new node pulls", || new.size(&speeds) == 1).await;
    traffic.release(&first, 1);
    eventually("the new node goes on", || new.size(&speeds) == 2).await;
    eventually("the old one is refused", || old.reason("traffic").contains("does not list health")).await;
    assert_eq!(old.size(&speeds), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused_on_a_living_link_until_renewed() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (traffic, health) = traffic_and_health(&city, &clock).await;
    let (speeds, first) = (product("traffic.speeds"), contract("speeds", 1, "city"));
    traffic.release(&first, 1);
    eventually("the first", || health.size(&speeds) == 1).await;

    clock.advance(366 * DAY);
    traffic.release(&first, 1);
    eventually("the refusal", || health.reason("traffic").contains("certificate has expired")).await;
    assert_eq!(health.size(&speeds), 1);

    for node in [&traffic, &health] {
        renew(&city.office, &node.folder, clock.now());
        assert!(node.folder.reload(&node.tls, &node.exchange.roster).unwrap());
    }
    eventually("the second", || health.size(&speeds) == 2).await;
}

fn renew(office: &CityOffice, folder: &NodeFolder, now: UtcMicros) {
    request(folder, &Departure::default()).unwrap();
    let answer = office.enroll(&fs::read(folder.request_file()).unwrap(), false, now).unwrap().answer;
    accept(folder, &answer, now).unwrap();
}

/// An owner's server that changes what it sends of one product.
struct Tampering {
    inner: Serve,
    product: ProductId,
    change: fn(&mut proto::ReleasePage),
}

#[async_trait]
impl ExchangeService for Tampering {
    async fn greet(&self, request: Request<proto::GreetRequest>) -> Result<Response<proto::GreetResponse>, Status> {
        self.inner.greet(request).await
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Result<Response<proto::ListProductsResponse>, Status> {
        self.inner.list_products(request).await
    }

    async fn get_contract(
        &self,
        request: Request<proto::GetContractRequest>,
    ) -> Result<Response<proto::GetContractResponse>, Status> {
        self.inner.get_contract(request).await
    }

    type PullReleasesStream = <Serve as ExchangeService>::PullReleasesStream;

    async fn pull_releases(
        &self,
        request: Request<proto::PullReleasesRequest>,
    ) -> Result<Response<Self::PullReleasesStream>, Status> {
        let tampered = request.get_ref().product == self.product.to_string();
        let change = self.change;
        let pages = self.inner.pull_releases(request).await?.into_inner();
        let pages = pages.map(move |page| {
            let mut page = page?;
            if let (true, Some(Content::Page(page))) = (tampered, &mut page.content) {
                change(page);
            }
            Ok(page)
        });
        Ok(Response::new(pages.boxed()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_tampered_with_is_never_admitted_and_holds_up_nothing_else() {
    let changes: [fn(&mut proto::ReleasePage); 6] = [
        |page| page.entries.swap(0, 1),
        |page| page.entries.truncate(1),
        |page| page.entries[1] = page.entries[0].clone(),
        |page| {
            let mut bytes = page.entries[1].to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            page.entries[1] = bytes.into();
        },
        |page| page.page_head.as_mut().unwrap().closed_through_us += MINUTE,
        |page| page.from_index += 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let (city, clock) = (TestCity::new(), HandClock::new());
        let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
        let (mut health, _) = Node::enroll(&city, "health", &clock).await;
        let (bad, good) = (product("traffic.bad"), product("traffic.good"));
        traffic.release(&contract("bad", 1, "city"), 3);
        traffic.release(&contract("good", 1, "city"), 3);
        let inner = Serve::new(traffic.exchange.clone(), Arc::clone(&traffic.key));
        let tampering = Tampering { inner, product: bad.clone(), change };
        traffic.serve_as(listener, ExchangeServiceServer::new(tampering));
        health.pull();
        eventually("the good one", || health.size(&good) == 3).await;
        traffic.release(&contract("good", 1, "city"), 1);
        eventually("the good one's next", || health.size(&good) == 4).await;
        assert_eq!(health.size(&bad), 0, "change {index}");
        assert_eq!(health.links.views()[&domain("traffic")].reached, Some(true));
    }
}

/// Changes one bit of what comes in after so many bytes, on every connection, while switched on.
struct Meddling {
    after_bytes: usize,
    on: Arc<AtomicBool>,
    meddled: Arc<AtomicUsize>,
}

struct MeddledIo {
    io: BoxedIo,
    left: usize,
    on: Arc<AtomicBool>,
    meddled: Arc<AtomicUsize>,
}

#[async_trait]
impl Network for Meddling {
    async fn connect(&self, address: &str) -> std::io::Result<BoxedIo> {
        let io = Loopback.connect(address).await?;
        let (on, meddled) = (Arc::clone(&self.on), Arc::clone(&self.meddled));
        Ok(Box::new(MeddledIo { io, left: self.after_bytes, on, meddled }))
    }

    async fn listen(&self, address: &str) -> std::io::Result<Box<dyn Listener>> {
        Loopback.listen(address).await
    }
}

impl AsyncRead for MeddledIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, into);
        let read = into.filled().len() - before;
        if self.left < read && self.on.load(SeqCst) {
            into.filled_mut()[before + self.left] ^= 1;
            self.left = usize::MAX;
            self.meddled.fetch_add(1, SeqCst);
        } else {
            self.left = self.left.saturating_sub(read);
        }
        polled
    }
}

impl AsyncWrite for MeddledIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_changes_a_bit_breaks_the_link_and_nothing_more() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
    let (mut health, _) = Node::enroll(&city, "health", &clock).await;
    let speeds = product("traffic.speeds");
    traffic.release(&contract("speeds", 1, "city"), 3_000);
    traffic.serve(listener);
    let (on, meddled) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    health.network = Arc::new(Meddling { after_bytes: 20_000, on: Arc::clone(&on), meddled: Arc::clone(&meddled) });
    health.pull();
    eventually("three broken links", || meddled.load(SeqCst) >= 3).await;
    assert_eq!(health.size(&speeds), 0);
    on.store(false, SeqCst);
    eventually("all of it", || health.size(&speeds) == 3_000).await;
    assert_eq!(
        health.ledger().entries(&speeds, 0, usize::MAX).unwrap(),
        traffic.ledger().entries(&speeds, 0, usize::MAX).unwrap()
    );
    assert!(health.ledger().found_out(&speeds).unwrap().is_empty(), "nobody is blamed for the relay");
}
