//! One node and its department: bounds, hang-ups, stops, drafts, TLS.

use std::fs;
use std::time::Duration;

use civicmesh_exchange::office::{NodeFolder, Purpose};
use civicmesh_proto::department::v1 as proto;
use civicmesh_proto::department::v1::department_service_client::DepartmentServiceClient;
use civicmesh_proto::department::v1::ingest_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming};

use super::fixture::{City, DAILY, TRIPS, eventually};
use crate::client::{Client, ClientError, Credentials, IngestEvent};
use crate::config::Config;

/// An upload that goes no further than it is told to.
struct Stalled {
    parts: mpsc::Sender<proto::IngestRequest>,
    news: Streaming<proto::IngestResponse>,
}

impl Stalled {
    async fn begin(city: &City, domain: &str, dataset: &str) -> Stalled {
        let config = Config::read(&city.dir(domain)).unwrap();
        let address = format!("http://{}", config.node.department_listen);
        let token = NodeFolder::new(city.dir(domain)).token(Purpose::Ingest).unwrap();
        let mut service = DepartmentServiceClient::connect(address).await.unwrap();
        let (parts, receiver) = mpsc::channel(4);
        let mut request = Request::new(ReceiverStream::new(receiver));
        let bearer = format!("Bearer {}", token.expose());
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request.metadata_mut().insert("x-request-id", "stalled-1".parse().unwrap());
        let header =
            proto::IngestHeader { dataset: dataset.to_owned(), file_name: "x.csv".to_owned(), ..Default::default() };
        parts.send(part(Part::Header(header))).await.unwrap();
        parts.send(part(Part::Chunk(b"day,temp\n2020-03-01,1\n".to_vec().into()))).await.unwrap();
        let response = service.ingest(request).await.unwrap();
        assert_eq!(response.metadata().get("x-request-id").unwrap(), "stalled-1");
        Stalled { parts, news: response.into_inner() }
    }
}

fn part(part: Part) -> proto::IngestRequest {
    proto::IngestRequest { part: Some(part) }
}

fn spooled(city: &City, domain: &str) -> usize {
    fs::read_dir(city.dir(domain).join("spool")).unwrap().count()
}

const WEATHER: &str = "day,temp\n2020-03-01,1\n2020-03-02,2\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_gives_the_place_back() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    city.configure("weather", "\n[limits]\ningests_max = 1\nupload_bytes_max = 100\n");
    let node = city.start("weather").await;
    let stalled = Stalled::begin(&city, "weather", "daily").await;
    eventually("the upload is on disk", || async { (spooled(&city, "weather") == 1).then_some(()) }).await;
    let busy = city.try_ingest("weather", "daily", "a.csv", WEATHER).await.unwrap_err();
    assert!(matches!(&busy, ClientError::Refused { code, .. } if code == "ERROR_CODE_BUSY"), "{busy:?}");

    drop(stalled);
    let taken = eventually("the place is free again", || async {
        city.try_ingest("weather", "daily", "a.csv", WEATHER).await.ok()
    });
    assert_eq!(taken.await.accepted, 2);
    assert_eq!(spooled(&city, "weather"), 0);
    let large = city.try_ingest("weather", "daily", "b.csv", &WEATHER.repeat(10)).await.unwrap_err();
    assert!(matches!(&large, ClientError::Refused { code, .. } if code == "ERROR_CODE_TOO_LARGE"), "{large:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_upload_gives_its_place_back() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    city.configure("weather", "\n[limits]\ningests_max = 1\nupload_idle_ms_max = 200\n");
    let node = city.start("weather").await;
    let mut stalled = Stalled::begin(&city, "weather", "daily").await;
    let ended = loop {
        match stalled.news.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the upload cannot have ended well"),
            Err(status) => break status,
        }
    };
    assert!(ended.message().contains("nothing came for too long"), "{ended:?}");
    assert_eq!(city.ingest("weather", "daily", "a.csv", WEATHER).await.accepted, 2);
    assert_eq!(spooled(&city, "weather"), 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_folder_leaves_the_firsts_uploads_alone() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let node = city.start("weather").await;
    let stalled = Stalled::begin(&city, "weather", "daily").await;
    eventually("the upload is on disk", || async { (spooled(&city, "weather") == 1).then_some(()) }).await;
    let second = crate::Node::start(&city.dir("weather"), crate::Environment::real()).await;
    assert!(matches!(second, Err(crate::StartError::Vault(_))), "the databases are the first's");
    assert_eq!(spooled(&city, "weather"), 1);
    drop(stalled);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_a_stalled_upload_up_and_a_second_node_finds_the_folder_free() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    city.amend("weather", "seeds = []", "seeds = []\nstop_deadline_ms = 2_000");
    let node = city.start("weather").await;
    let mut stalled = Stalled::begin(&city, "weather", "daily").await;
    eventually("the upload is on disk", || async { (spooled(&city, "weather") == 1).then_some(()) }).await;
    tokio::time::timeout(Duration::from_secs(10), node.stop()).await.expect("inside the deadline");
    let ended = loop {
        match stalled.news.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the upload cannot have ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert!(stalled.parts.is_closed() || stalled.parts.send(part(Part::End(proto::IngestEnd {}))).await.is_err());

    let node = city.start("weather").await;
    assert_eq!(spooled(&city, "weather"), 0);
    assert_eq!(city.ingest("weather", "daily", "a.csv", WEATHER).await.accepted, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_takes_in_and_previews_and_a_wrong_file_is_taken_back() {
    let city = City::found();
    city.enroll("traffic", &TRIPS.replace("status: active", "status: draft")).await;
    let node = city.start("traffic").await;
    let trips: String = (0..12).map(|trip| format!("2020-03-02 08:{trip:02},north,30\n")).collect();
    let file = city.write("trips.csv", &format!("time,district,speed\n{trips}2020-03-02 09:00,south,30\n,north,1\n"));
    let mut events = Vec::new();
    let request = city.request("trips", &file);
    let taken =
        city.client("traffic", Purpose::Ingest).ingest(&request, &mut |event| events.push(event)).await.unwrap();
    assert_eq!((taken.accepted, taken.rejected, taken.closed_through), (13, 1, None));
    assert!(taken.notes.iter().any(|note| note.contains("draft")), "{taken:?}");
    let rejects: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            IngestEvent::Reject(reject) => Some((reject.line, reject.column.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(rejects, [(15, "time")]);

    let preview = city.client("traffic", Purpose::Admin).preview("trips").await.unwrap();
    let shown: Vec<_> = preview.windows.iter().map(|window| (window.cells, window.cells_suppressed)).collect();
    assert_eq!((preview.windows_total, shown), (2, vec![(0, 0), (1, 1)]));
    let refused = city.client("traffic", Purpose::Query).preview("trips").await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { code, .. } if code == "ERROR_CODE_TOKEN"), "{refused:?}");

    assert_eq!(city.client("traffic", Purpose::Ingest).undo("trips", &file).await.unwrap(), 13);
    let gone = city.client("traffic", Purpose::Ingest).undo("trips", &file).await.unwrap_err();
    assert!(matches!(&gone, ClientError::Refused { code, .. } if code == "ERROR_CODE_UNKNOWN_FILE"), "{gone:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_beside_the_service() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let city = City::found();
    city.enroll("weather", DAILY).await;
    let node = city.start("weather").await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.department_address())).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service = "civicmesh.department.v1.DepartmentService".to_owned();
    let checked = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_the_department_speaks_tls() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    city.configure("weather", "\n[department]\ntls = true\n");
    let node = city.start("weather").await;
    assert_eq!(city.client("weather", Purpose::Query).status().await.unwrap().domain.as_str(), "weather");
    let plain = format!("http://{}", node.department_address());
    let refused =
        crate::client::Client::connect(&plain, Purpose::Query, Default::default()).unwrap().status().await.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. } | ClientError::BrokenOff { .. }), "{refused:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_to_the_domain_that_was_asked_for_and_never_in_the_open() {
    let city = City::found();
    city.enroll("weather", DAILY).await;
    city.configure("weather", "\n[department]\ntls = true\n");
    let node = city.start("weather").await;
    let url = format!("https://{}", node.department_address());
    let token = NodeFolder::new(city.dir("weather")).token(Purpose::Query).unwrap().expose().to_owned();
    let asked = |url: &str, domain: Option<&str>| {
        let domain = domain.map(|domain| domain.parse().unwrap());
        let city = Some(city.dir("weather").join("tls"));
        Client::connect(url, Purpose::Query, Credentials { token: Some(token.clone()), city, domain })
    };
    assert!(asked(&url, Some("weather")).unwrap().status().await.is_ok());
    assert!(matches!(asked(&url, None).err(), Some(ClientError::NoDomain { .. })));
    let other = asked(&url, Some("traffic")).unwrap().status().await.unwrap_err();
    assert!(matches!(other, ClientError::Unreachable { .. }), "{other:?}");
    let plain = asked("http://192.0.2.1:7500", Some("weather")).err();
    assert!(matches!(plain, Some(ClientError::PlainToken { .. })), "{plain:?}");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_nothing_is_given_up() {
    let mut silent = crate::Environment::real().network.listen("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_address());
    let accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = silent.accept().await {
            held.push(connection);
        }
    });
    let asked = Client::connect(&url, Purpose::Query, Credentials::default()).unwrap().status().await.unwrap_err();
    let given_up =
        matches!(asked, ClientError::Silent { .. } | ClientError::Unreachable { .. } | ClientError::BrokenOff { .. });
    assert!(given_up, "{asked:?}");
    accepted.abort();
}
