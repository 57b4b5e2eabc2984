//! A city that is up is fed, answers, and can be broken and mended while it lives.

use std::path::Path;
use std::time::Duration;

use civicmesh_exchange::office::Purpose;
use civicmesh_node::client::{Client, Credentials};
use civicmesh_node::query::QueryOptions;
use civicmesh_node::status::{CityStatus, LinkState};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::*;

/// Longest that something is waited for.
const WAIT_MAX: Duration = Duration::from_secs(60);

async fn status(folder: &Path, domain: &str) -> Option<CityStatus> {
    let dir = folder.join(domain).display().to_string();
    Client::connect(&dir, Purpose::Query, Credentials::default()).ok()?.status().await.ok()
}

/// Looks until what is looked for is there.
async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let looking = async {
        while !look().await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(WAIT_MAX, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn link(folder: &Path, of: &str, to: &str) -> Option<LinkState> {
    let status = status(folder, of).await?;
    status.domains.iter().find(|domain| domain.domain.as_str() == to).map(|domain| domain.link)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_is_up_is_fed_and_broken_and_mended() {
    let temporary = tempfile::tempdir().unwrap();
    let scenario = temporary.path().join("city.toml");
    std::fs::write(&scenario, "title = \"Up\"\n[city]\ndays = 2\nevents_per_day = 3000\nsensors_rich = 60\n").unwrap();
    let folder = temporary.path().join("city");
    let up = Up { scenario, seed: 1, folder: folder.clone(), hour: Duration::from_millis(200) };
    let (stop, stopped) = oneshot::channel::<()>();
    let city = tokio::spawn(async move {
        let mut said = Vec::new();
        let stopping = async { drop(stopped.await) };
        up.run(stopping, &mut |line| said.push(line.to_owned())).await.map(|()| said)
    });

    let at_traffic = folder.join("traffic").display().to_string();
    eventually("air's readings are at traffic", || async {
        let Ok(mut client) = Client::connect(&at_traffic, Purpose::Query, Credentials::default()) else { return false };
        client.query("SELECT avg(no2) FROM air.readings", &QueryOptions::default()).await.is_ok()
    })
    .await;

    let nobody = Fault::Partition { one: "traffic".to_owned(), other: "nobody".to_owned() };
    let said = ask(&folder, &nobody).await.unwrap();
    assert!(!said.done && said.lines[0].contains("there are air, energy"), "{said:?}");
    let cut = Fault::Partition { one: "air".to_owned(), other: EVERY.to_owned() };
    let said = ask(&folder, &cut).await.unwrap();
    assert!(said.done && said.lines.len() == 4, "{said:?}");
    eventually("traffic cannot reach air", || async {
        link(&folder, "traffic", "air").await == Some(LinkState::Unreachable)
    })
    .await;
    assert_eq!(ask(&folder, &Fault::Mend).await.unwrap().lines, ["nothing is broken"]);
    eventually("traffic reaches air again", || async {
        link(&folder, "traffic", "air").await == Some(LinkState::Reached)
    })
    .await;

    let stopping = Fault::Stop { domain: "air".to_owned() };
    assert_eq!(ask(&folder, &stopping).await.unwrap().lines, ["air: stopped"]);
    assert!(status(&folder, "air").await.is_none());
    assert!(ask(&folder, &Fault::Start { domain: "air".to_owned() }).await.unwrap().done);
    eventually("air answers again", || async { status(&folder, "air").await.is_some() }).await;

    stop.send(()).unwrap();
    let said = city.await.unwrap().unwrap();
    assert!(said.iter().any(|line| line.contains("psql -h 127.0.0.1")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("2024-06-03 06:00, ")), "how far the city is: {said:?}");
    assert!(ask(&folder, &Fault::Show).await.is_err(), "no city is up any more");
    let left = std::fs::read_dir(&folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(left.count(), 0, "no file of a department is left where nobody looks after it");
}
