//! What one member can do to the others: fill, flood, stay after it was removed.

use std::sync::Mutex;

use super::*;

/// The most products of one peer that a ledger keeps.
const PRODUCTS_PER_PEER_MAX: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_too_many_products_keeps_nobody_elses_out() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (traffic, health) = traffic_and_health(&city, &clock).await;
    for number in 0..=PRODUCTS_PER_PEER_MAX {
        traffic.ledger().adopt_contract(&contract(&format!("p{number:03}"), 1, "city"), clock.now()).unwrap();
    }
    let (first, last) = (product("traffic.p000"), product(&format!("traffic.p{PRODUCTS_PER_PEER_MAX}")));
    eventually("the one too many", || health.failed(&last).contains("256 products of one peer")).await;
    assert_eq!(health.ledger().products_of(&domain("traffic")).unwrap().len(), PRODUCTS_PER_PEER_MAX);
    assert!(health.failed(&first).is_empty());
    traffic.release(&contract("p000", 1, "city"), 3);
    eventually("the others go on", || health.size(&first) == 3).await;
    assert_eq!(health.links.views()[&domain("traffic")].reached, Some(true));

    // The one that was pulled from still adopts a contract of its own.
    let own = contract("own", 1, "city").public_document().to_vec();
    let own = String::from_utf8(own).unwrap().replace("traffic", "health");
    assert_eq!(health.ledger().adopt_contract(&Contract::from_public(own.as_bytes()).unwrap(), clock.now()), Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_beyond_its_quota_stops_there_and_says_why() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
    let (mut health, _) = Node::enroll(&city, "health", &clock).await;
    let (flood, good) = (product("traffic.flood"), product("traffic.good"));
    traffic.release(&contract("flood", 1, "city"), 5_000);
    traffic.release(&contract("good", 1, "city"), 3);
    traffic.serve(listener);
    health.quota = Quota { entries_max: 4_000, ..Quota::default() };
    health.pull();
    eventually("the reason", || health.failed(&flood).contains("product_entries_max")).await;
    let size = health.size(&flood);
    assert!((4_000..5_000).contains(&size), "{size}: to the end of a page");
    eventually("the good one", || health.size(&good) == 3).await;
    traffic.release(&contract("flood", 1, "city"), 1);
    traffic.release(&contract("good", 1, "city"), 1);
    eventually("the good one's next", || health.size(&good) == 4).await;
    assert_eq!(health.size(&flood), size);

    health.halt().await;
    health.quota = Quota { bytes_max: 1, ..Quota::default() };
    health.pull();
    eventually("the bytes", || health.failed(&flood).contains("product_bytes_max")).await;
    health.halt().await;
    health.quota = Quota::default();
    health.pull();
    eventually("all of it once there is room", || health.size(&flood) == 5_001).await;
    eventually("the reason is gone", || health.failed(&flood).is_empty()).await;
}

/// An owner's server that sends one entry a page, and page after page without a bound.
struct Flooding {
    inner: Arc<Serve>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl ExchangeService for Flooding {
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
        self.asked.lock().unwrap().push(request.get_ref().product.clone());
        let inner = Arc::clone(&self.inner);
        let (metadata, extensions, message) = request.into_parts();
        let from = message.from_index;
        let pages = futures::stream::unfold(from, move |from_index| {
            let message = proto::PullReleasesRequest { from_index, page_bytes_max: 1, ..message.clone() };
            let request = Request::from_parts(metadata.clone(), extensions.clone(), message);
            let inner = Arc::clone(&inner);
            async move {
                let mut pages = inner.pull_releases(request).await.ok()?.into_inner();
                Some((pages.next().await?, from_index + 1))
            }
        });
        Ok(Response::new(pages.boxed()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pages_ends_with_the_call_and_the_next_product_has_its_turn() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
    let (mut health, _) = Node::enroll(&city, "health", &clock).await;
    let (flood, other) = (product("traffic.flood"), product("traffic.other"));
    traffic.release(&contract("flood", 1, "city"), 200);
    traffic.release(&contract("other", 1, "city"), 3);
    let inner = Arc::new(Serve::new(traffic.exchange.clone(), Arc::clone(&traffic.key)));
    let asked = Arc::new(Mutex::new(Vec::new()));
    traffic.serve_as(listener, ExchangeServiceServer::new(Flooding { inner, asked: Arc::clone(&asked) }));
    health.pull();
    eventually("all of both", || health.size(&flood) == 200 && health.size(&other) == 3).await;
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[..3], ["traffic.flood", "traffic.other", "traffic.flood"]);
    let calls = asked.iter().filter(|asked| **asked == flood.to_string()).count();
    assert_eq!(calls, 200_usize.div_ceil(serve::PAGES_PER_CALL_MAX), "so many pages a call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_domain_is_refused_and_what_it_released_stays() {
    let (city, clock) = (TestCity::new(), HandClock::new());
    let (mut traffic, listener) = Node::enroll(&city, "traffic", &clock).await;
    let (mut health, health_listener) = Node::enroll(&city, "health", &clock).await;
    let speeds = product("traffic.speeds");
    traffic.release(&contract("speeds", 1, "city"), 3);
    traffic.serve(listener);
    health.serve(health_listener);
    traffic.pull();
    health.pull();
    eventually("the releases", || health.size(&speeds) == 3).await;
    eventually("the other way", || traffic.ledger().contacts().contains_key(&domain("health"))).await;

    city.office.remove(&domain("traffic")).unwrap();
    assert!(health.folder.reload(&health.tls, &health.exchange.roster).is_ok(), "nothing new in its folder");
    let newer = city.office.roster().unwrap();
    health.exchange.roster.offer(newer.as_bytes()).unwrap();
    eventually("its calls are refused", || traffic.reason("health").contains("was removed from the city")).await;
    let contact = || health.ledger().contacts()[&domain("traffic")].clone();
    eventually("it is left alone", || contact().reason.is_some_and(|reason| reason.contains("no longer"))).await;
    assert!(contact().unreachable_since.is_some());
    traffic.release(&contract("speeds", 1, "city"), 1);
    assert_eq!(health.size(&speeds), 3, "what was given is kept, and nothing is added");
    assert!(!health.links.views().contains_key(&domain("traffic")));
}

#[test]
fn a_peer_replaces_its_link_before_it_is_closed() {
    assert!(u64::from(Pace::default().link_age_ms_max) < 1_000 * serve::LINK_S_MAX);
}
