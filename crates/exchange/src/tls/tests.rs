//! Real handshakes over TCP on loopback: who gets a link, and who does not.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    office::{NodeFolder, request},
    testing::{DAY, HandClock, Loopback, START, TestCity},
};

struct Side {
    tls: Arc<Tls>,
    traffic: Arc<Traffic>,
}

impl Side {
    fn new(node: &NodeFolder, clock: &HandClock) -> Self {
        let tls = Tls::load(&node.tls(), Arc::new(clock.clone())).unwrap();
        Self { tls: Arc::new(tls), traffic: Arc::default() }
    }

    fn dial(&self) -> TlsDial {
        TlsDial::new(Arc::new(Loopback), Arc::new(Encrypted), Arc::clone(&self.tls), Arc::clone(&self.traffic))
    }

    /// Listens, and hands on what links come.
    async fn links(&self) -> (tokio::sync::mpsc::UnboundedReceiver<Link>, String) {
        let (mut accept, address) = self.listen().await;
        let (sender, links) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(link) = accept.accept().await {
                if sender.send(link).is_err() {
                    break;
                }
            }
        });
        (links, address)
    }

    async fn listen(&self) -> (TlsAccept, String) {
        let listener = Loopback.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        (TlsAccept::new(listener, Arc::new(Encrypted), Arc::clone(&self.tls), Arc::clone(&self.traffic)), address)
    }
}

fn name(domain: &str) -> DomainName {
    domain.parse().unwrap()
}

/// Dials while the other side accepts; a dialler cannot know whether its own certificate was believed before it reads.
async fn meet(from: &Side, to: &Side, expect: Option<&str>) -> (Result<Link, LinkError>, Option<Link>) {
    let (mut accept, address) = to.listen().await;
    let accepted = tokio::spawn(async move { accept.accept().await });
    let mut dialled = from.dial().dial(&address, expect.map(name).as_ref()).await;
    let believed = match &mut dialled {
        Ok(link) => {
            link.write_all(b"hello").await.unwrap();
            let accepted = tokio::time::timeout(Duration::from_secs(20), accepted);
            let first = tokio::select! {
                accepted = accepted => accepted.unwrap().unwrap().ok(),
                _ = link.read_u8() => None,
            };
            first
        }
        Err(_) => None,
    };
    (dialled, believed)
}

#[tokio::test]
async fn both_ends_learn_whom_they_talk_to_and_count_every_byte() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let traffic = Side::new(&city.enroll("traffic", "a:1"), &clock);
    let health = Side::new(&city.enroll("health", "a:2"), &clock);
    let (near, far) = meet(&traffic, &health, Some("health")).await;
    let (near, mut far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.peer(), &health.tls.own());
    assert_eq!(far.peer(), &traffic.tls.own());
    assert_eq!(near.peer().certificate_expires.0, START.0 + 365 * DAY);
    let mut hello = [0; 5];
    far.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    let sent = traffic.traffic.by_peer()[&name("health")];
    let received = health.traffic.by_peer()[&name("traffic")];
    assert_eq!(sent.sent_bytes, received.received_bytes);
    assert!(sent.sent_bytes > 500 && sent.received_bytes > 500, "the handshake counts: {sent:?}");
}

#[tokio::test]
async fn a_seed_is_dialled_before_its_domain_is_known() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let traffic = Side::new(&city.enroll("traffic", "a:1"), &clock);
    let health = Side::new(&city.enroll("health", "a:2"), &clock);
    let (near, _) = meet(&traffic, &health, None).await;
    assert_eq!(near.unwrap().peer().domain, name("health"));
}

#[tokio::test]
async fn another_domain_than_the_expected_is_no_link() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let traffic = Side::new(&city.enroll("traffic", "a:1"), &clock);
    let health = Side::new(&city.enroll("health", "a:2"), &clock);
    let (near, _) = meet(&traffic, &health, Some("transit")).await;
    assert_eq!(near.unwrap_err().to_string(), "domain health answers there, not transit");
}

#[tokio::test]
async fn another_city_is_believed_by_neither_end() {
    let (city, elsewhere, clock) = (TestCity::new(), TestCity::new(), HandClock::new());
    let traffic = Side::new(&city.enroll("traffic", "a:1"), &clock);
    let foreign = Side::new(&elsewhere.enroll("health", "a:2"), &clock);
    let (near, far) = meet(&traffic, &foreign, Some("health")).await;
    assert!(matches!(near, Err(LinkError::ForeignCity)), "{near:?}");
    assert!(far.is_none());

    // A dialler that believes everyone but shows a certificate of another city.
    let mut gullible = Side::new(&elsewhere.enroll("transit", "a:3"), &clock);
    let folder = elsewhere.node("transit").tls();
    fs::copy(city.node("traffic").tls().join(CITY_FILE), folder.join(CITY_FILE)).unwrap();
    gullible.tls = Arc::new(Tls::load(&folder, Arc::new(clock)).unwrap());
    let (near, far) = meet(&gullible, &traffic, Some("traffic")).await;
    assert!(near.is_ok() && far.is_none(), "the handshake of TLS 1.3 ends before the client's certificate is judged");
}

#[tokio::test]
async fn an_expired_certificate_makes_no_link_until_it_is_renewed() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let node = city.enroll("traffic", "a:1");
    let traffic = Side::new(&node, &clock);
    clock.advance(300 * DAY);
    let late = city.node("health");
    city.office.enroll_out(&late, &crate::testing::departure("health", "a:2"), clock.now()).unwrap();
    let health = Side::new(&late, &clock);
    clock.advance(66 * DAY);

    let (near, _) = meet(&traffic, &health, None).await;
    assert!(matches!(near, Err(LinkError::OwnExpired)), "{near:?}");
    let (near, far) = meet(&health, &traffic, None).await;
    assert!(matches!(near, Err(LinkError::PeerExpired)), "{near:?}");
    assert!(far.is_none());

    assert!(!traffic.tls.reload().unwrap());
    request(&node, &Default::default()).unwrap();
    let asked = fs::read(node.request_file()).unwrap();
    let answer = city.office.enroll(&asked, false, clock.now()).unwrap().answer;
    crate::office::accept(&node, &answer, clock.now()).unwrap();
    assert!(traffic.tls.reload().unwrap());
    assert_eq!(traffic.tls.own().certificate_expires.0, clock.now().0 + 365 * DAY);
    let (near, far) = meet(&traffic, &health, Some("health")).await;
    assert!(near.is_ok() && far.is_some());
    let (near, far) = meet(&health, &traffic, Some("traffic")).await;
    assert!(near.is_ok() && far.is_some());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_old_one_in_place() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (node, other) = (city.enroll("traffic", "a:1"), city.enroll("health", "a:2"));
    let traffic = Side::new(&node, &clock);
    let before = traffic.tls.own();
    fs::copy(other.tls().join(CERTIFICATE_FILE), node.tls().join(CERTIFICATE_FILE)).unwrap();
    assert!(matches!(traffic.tls.reload(), Err(TlsError::Unusable(_))));
    fs::write(node.tls().join(CERTIFICATE_FILE), "no certificate").unwrap();
    assert!(matches!(traffic.tls.reload(), Err(TlsError::Pem { .. })));
    assert_eq!(traffic.tls.own(), before);
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // a stranger without any of our code
async fn who_never_finishes_the_handshake_holds_up_nobody() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let traffic = Side::new(&city.enroll("traffic", "a:1"), &clock);
    let health = Side::new(&city.enroll("health", "a:2"), &clock);
    let (mut links, address) = health.links().await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(&address).await.unwrap());
    }
    let _link = traffic.dial().dial(&address, Some(&name("health"))).await.unwrap();
    assert_eq!(links.recv().await.unwrap().peer().domain, name("traffic"));
    assert_eq!(strangers[0].read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest gave way");
}

#[tokio::test]
async fn one_certificate_has_its_own_links_and_no_others() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let [traffic, health, transit] = [("traffic", "a:1"), ("health", "a:2"), ("transit", "a:3")]
        .map(|(domain, address)| Side::new(&city.enroll(domain, address), &clock));
    let (mut links, address) = health.links().await;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..INCOMING_LINKS_PER_DOMAIN_MAX {
        near.push(traffic.dial().dial(&address, None).await.unwrap());
        far.push(links.recv().await.unwrap());
    }
    let mut more = traffic.dial().dial(&address, None).await.unwrap();
    assert_eq!(more.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
    near.push(transit.dial().dial(&address, None).await.unwrap());
    assert_eq!(links.recv().await.unwrap().peer().domain, name("transit"));
    far.pop();
    near.push(traffic.dial().dial(&address, None).await.unwrap());
    assert_eq!(links.recv().await.unwrap().peer().domain, name("traffic"), "a place that was given back");
}

/// Handshakes in their order, each with its address and whether it said something.
async fn ongoing(tasks: &mut JoinSet<()>, handshakes: &[(&str, bool)]) -> Vec<Greeting> {
    let mut ongoing = Vec::new();
    for (address, spoke) in handshakes {
        let (near, mut far) = tokio::io::duplex(8);
        let meter = Meter::default();
        if *spoke {
            far.write_all(b"!").await.unwrap();
            Metered::new(Box::new(near), meter.clone()).read_u8().await.unwrap();
        }
        let task = tasks.spawn(std::future::pending());
        ongoing.push(Greeting { task, remote: format!("{address}:1").parse().unwrap(), meter });
    }
    ongoing
}

#[tokio::test]
async fn the_oldest_that_says_nothing_gives_way() {
    let mut tasks = JoinSet::new();
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    let few = ongoing(&mut tasks, &[("10.0.0.1", false); HANDSHAKES_PER_ADDRESS_MAX - 1]).await;
    assert_eq!(gives_way(&few, address), None, "there is room");

    let mut crowd = vec![("10.0.0.2", false), ("10.0.0.1", true)];
    crowd.extend([("10.0.0.1", false); HANDSHAKES_PER_ADDRESS_MAX - 1]);
    let crowd = ongoing(&mut tasks, &crowd).await;
    assert_eq!(gives_way(&crowd, address), Some(2), "of the address that has too many");
    assert_eq!(gives_way(&crowd, "10.0.0.2".parse().unwrap()), None, "others have room");

    let addresses: Vec<String> = (0..HANDSHAKES_MAX).map(|number| format!("10.0.1.{number}")).collect();
    let spoke = |silent: usize| -> Vec<(&str, bool)> {
        addresses.iter().enumerate().map(|(at, address)| (address.as_str(), at != silent)).collect()
    };
    let full = ongoing(&mut tasks, &spoke(5)).await;
    assert_eq!(gives_way(&full, address), Some(5));
    let full = ongoing(&mut tasks, &spoke(usize::MAX)).await;
    assert_eq!(gives_way(&full, address), Some(0), "where all speak, the oldest");
}

#[tokio::test]
async fn a_guest_needs_no_certificate_and_believes_its_own_domains_node_only() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let folder = city.enroll("traffic", "a:1");
    let traffic = Side::new(&folder, &clock);
    for (domain, believed) in [("traffic", true), ("health", false)] {
        let guest = Guest::load(&folder.tls(), Some(name(domain)), Arc::new(clock.clone())).unwrap();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let (met, accepted) =
            tokio::join!(guest.connect(Box::new(near)), traffic.tls.department_acceptor().accept(far));
        assert!(accepted.is_ok(), "nothing is asked of a guest");
        assert_eq!(met.is_ok(), believed);
    }
}
