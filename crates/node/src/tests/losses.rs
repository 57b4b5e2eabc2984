//! What is lost, withdrawn or out of order: a vault, a contract, a disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use civicmesh_exchange::link::Clock;
use civicmesh_exchange::office::Purpose;
use civicmesh_ledger::CountError;
use civicmesh_model::time::{Span, UtcMicros};
use civicmesh_store::{Hook, StoreError};

use super::fixture::{City, DAILY};
use super::two_nodes::get;
use crate::compose::Parts;
use crate::environment::{Environment, Storage};
use crate::{Node, StartError, upkeep};

const WEATHER: &str = "day,temp\n2020-03-01,10\n2020-03-02,20\n";

/// While it is set, fails every batch with this error, as RocksDB would.
struct Failing(AtomicBool, StoreError);

impl Hook for Failing {
    fn before_commit(&self, _batch: u64, _bytes: usize) -> Result<(), StoreError> {
        if self.0.load(Ordering::SeqCst) { Err(self.1.clone()) } else { Ok(()) }
    }

    fn after_commit(&self, _batch: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn failing(city: &City, error: StoreError) -> (Arc<Failing>, crate::Running) {
    let hook = Arc::new(Failing(AtomicBool::new(false), error));
    let vault = Storage { hook: Some(Arc::clone(&hook) as Arc<dyn Hook>), ..Storage::disk() };
    let environment = Environment { vault, ..Environment::real() };
    let node = Node::start(&city.dir("weather"), environment).await.unwrap();
    (hook, node)
}

/// The highest temperature that was released.
async fn warmest(city: &City) -> String {
    let mut client = city.client("weather", Purpose::Query);
    let question = "SELECT max(temp) FROM weather.daily";
    let answer = client.query(question, &Default::default()).await.unwrap();
    arrow::util::display::array_value_to_string(answer.batches[0].column(0), 0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_on_a_vault_that_lacks_what_was_released_until_its_rows_are_given_up() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let node = city.start("weather").await;
    city.ingest("weather", "daily", "a.csv", WEATHER).await;
    node.stop().await;
    fs::remove_dir_all(city.dir("weather").join("vault")).unwrap();
    let refused = Node::start(&city.dir("weather"), Environment::real()).await.err().unwrap();
    let StartError::RowsMissing(CountError::RowsMissing { counted, .. }) = refused else { panic!("{refused}") };
    let another = Some(civicmesh_model::vault_id::VaultId([0; 16]));
    let refused = Node::start_stating(&city.dir("weather"), Environment::real(), another).await.err().unwrap();
    assert!(refused.to_string().contains(&format!("--rows-gone {counted}")), "{refused}");
    let node = Node::start_stating(&city.dir("weather"), Environment::real(), Some(counted)).await.unwrap();
    city.ingest("weather", "daily", "b.csv", "day,temp\n2020-03-02,55\n2020-03-03,30\n").await;
    let warmest = warmest(&city).await;
    assert_eq!(warmest, "30.0", "the released day stays as it was, the next one is closed");
    node.stop().await;
    city.start("weather").await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_the_sender_who_may_send_again() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let (hook, node) = failing(&city, StoreError::DiskFull).await;
    hook.0.store(true, Ordering::SeqCst);
    let refused = city.try_ingest("weather", "daily", "a.csv", WEATHER).await.unwrap_err();
    assert!(refused.to_string().contains("the node's disk is full"), "{refused}");
    hook.0.store(false, Ordering::SeqCst);
    assert_eq!(city.ingest("weather", "daily", "a.csv", WEATHER).await.accepted, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_more_writes_ends_the_node() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let (hook, mut node) = failing(&city, StoreError::Disk("Too many open files".into())).await;
    hook.0.store(true, Ordering::SeqCst);
    city.try_ingest("weather", "daily", "a.csv", WEATHER).await.unwrap_err();
    let failed = node.failed().await;
    assert!(matches!(failed, StartError::Broken { database: "vault", .. }), "{failed}");
    let health = get(&city, "weather", "/healthz").await;
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("Too many open files"), "{health}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_is_withdrawn_leaves_what_was_released_and_how_long_rows_are_kept() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let node = city.start("weather").await;
    city.ingest("weather", "daily", "a.csv", WEATHER).await;
    node.stop().await;
    fs::remove_file(city.dir("weather").join("contracts/product.yaml")).unwrap();
    let node = city.start("weather").await;
    let status = city.client("weather", Purpose::Admin).status().await.unwrap();
    let warnings = &status.products[0].warnings;
    assert!(warnings.iter().any(|warning| warning.contains("its contract was withdrawn")), "{warnings:?}");
    assert_eq!(warmest(&city).await, "20.0");
    let retained = node.parts.vault.retained().unwrap();
    assert_eq!(retained.iter().map(|(dataset, _)| dataset.to_string()).collect::<Vec<_>>(), ["daily"]);
    node.stop().await;
}

/// The real clock, set ahead.
struct SetAhead {
    real: Arc<dyn Clock>,
    by: AtomicI64,
}

impl Clock for SetAhead {
    fn now(&self) -> UtcMicros {
        UtcMicros(self.real.now().0 + self.by.load(Ordering::SeqCst))
    }

    fn measured(&self) -> Span {
        self.real.measured()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_drops_nothing_until_it_was_steady_for_a_day() {
    const DAY: i64 = 86_400_000_000;
    let city = City::found();
    city.enroll("weather", &DAILY.replace("raw: 20 years", "raw: 9 days")).await;
    let clock = Arc::new(SetAhead { real: Environment::real().clock, by: AtomicI64::new(0) });
    let environment = Environment { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Environment::real() };
    let dropped = |parts: &Parts| {
        upkeep::retain(parts);
        parts.vault.counts(&"daily".parse().unwrap()).unwrap().dropped
    };
    let node = Node::start(&city.dir("weather"), environment.clone()).await.unwrap();
    city.ingest("weather", "daily", "a.csv", WEATHER).await;
    assert_eq!(dropped(&node.parts), 0);
    clock.by.fetch_add(20 * DAY, Ordering::SeqCst);
    assert_eq!(dropped(&node.parts), 0);
    node.stop().await;
    let node = Node::start(&city.dir("weather"), environment.clone()).await.unwrap();
    assert_eq!(dropped(&node.parts), 0);
    node.stop().await;
    // off for a day, with a clock that went on
    clock.by.fetch_add(DAY, Ordering::SeqCst);
    let node = Node::start(&city.dir("weather"), environment).await.unwrap();
    assert_eq!(dropped(&node.parts), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_are_closed_to_others_whatever_they_were() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let mode = |name: &str| fs::metadata(city.dir("weather").join(name)).unwrap().permissions().mode() & 0o7777;
    for _ in 0..2 {
        city.start("weather").await.stop().await;
        assert_eq!((mode("vault"), mode("ledger")), (0o700, 0o750));
        for name in ["vault", "ledger"] {
            fs::set_permissions(city.dir("weather").join(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
    }
}
