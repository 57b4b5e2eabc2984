//! Two departments: one takes in trips, one the weather; each answers a question over both.

use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use civicmesh_exchange::office::Purpose;
use civicmesh_query::QueryOptions;

use super::fixture::{City, DAILY, TRIPS, eventually, holds};
use crate::client::ClientError;
use crate::status::LinkState;
use crate::{CheckState, check};

const JOINED: &str = "SELECT t.day, t.speed, w.temp \
    FROM (SELECT date_trunc('day', time) AS day, avg(speed) AS speed FROM traffic.trips GROUP BY 1) AS t \
    JOIN (SELECT date_trunc('day', time) AS day, avg(temp) AS temp FROM weather.daily GROUP BY 1) AS w USING (day) \
    ORDER BY day";

/// Trips of three days: 12 in the north on each, 3 in the south.
fn trips() -> String {
    let mut rows = String::from("time,district,speed\n");
    for day in 2..5 {
        for trip in 0..12 {
            rows.push_str(&format!("2020-03-0{day} 08:{trip:02},north,{}\n", 20 + day));
        }
        for trip in 0..3 {
            rows.push_str(&format!("2020-03-0{day} 09:{trip:02},south,99.7\n"));
        }
    }
    rows.push_str("2020-03-05 08:00,north,not a number\n");
    rows
}

const WEATHER: &str = "day,temp\n2020-03-01,1\n2020-03-02,2\n2020-03-03,3\n2020-03-04,4\n";

fn floats(batches: &[RecordBatch], column: usize) -> Vec<f64> {
    let values = batches.iter().map(|batch| batch.column(column).as_primitive::<Float64Type>().values().to_vec());
    values.flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_answers_a_question_over_both() {
    let city = City::found();
    city.enroll("traffic", TRIPS).await;
    city.enroll("weather", DAILY).await;
    for domain in ["traffic", "weather"] {
        let report = check(&city.dir(domain));
        // the first node's roster is older than the second's enrolment: it is handed the newer one when they greet
        assert!(report.checks.iter().all(|check| check.state != CheckState::Failed), "{report:?}");
    }
    let traffic = city.start("traffic").await;
    let weather = city.start("weather").await;

    let taken = city.ingest("traffic", "trips", "trips.csv", &trips()).await;
    assert_eq!((taken.accepted, taken.rejected), (45, 1), "{taken:?}");
    assert!(taken.reject_file.is_some());
    // the last trip is on the 4th, whose day is not full: closed through the end of the 3rd
    assert_eq!(taken.closed_through.unwrap().to_string(), "2020-03-04T05:00:00Z");
    let taken = city.ingest("weather", "daily", "weather.csv", WEATHER).await;
    assert_eq!(taken.closed_through.unwrap().to_string(), "2020-03-05T05:00:00Z", "a date stands for its day");
    let again = city.ingest("weather", "daily", "weather.csv", WEATHER).await;
    assert_eq!((again.accepted, again.resumed), (4, 4), "the same file counts once: {again:?}");

    for domain in ["traffic", "weather"] {
        let answer = eventually("both products are here", || async {
            let answer = city.client(domain, Purpose::Query).query(JOINED, &QueryOptions::default()).await.ok()?;
            (floats(&answer.batches, 1).len() == 2).then_some(answer)
        })
        .await;
        assert_eq!(floats(&answer.batches, 1), [22.0, 23.0], "the south is suppressed");
        assert_eq!(floats(&answer.batches, 2), [2.0, 3.0]);
        let trips = answer.completeness.iter().find(|found| found.product.to_string() == "traffic.trips").unwrap();
        assert_eq!((trips.cells, trips.cells_suppressed, trips.exact), (2, 2, false), "{trips:?}");
        assert_eq!(trips.own, domain == "traffic");
    }
    assert!(!holds(&city.dir("weather"), b"99.7"), "no raw value is at the peer");
    refusals(&city).await;
    status_and_metrics(&city).await;

    // a peer that died costs freshness only
    traffic.stop().await;
    let status = eventually("the dead peer is noticed", || async {
        let status = city.client("weather", Purpose::Query).status().await.unwrap();
        let traffic = status.domains.iter().find(|domain| domain.domain.as_str() == "traffic").unwrap();
        (traffic.link == LinkState::Unreachable).then(|| status.clone())
    })
    .await;
    assert!(status.products.iter().any(|product| product.head_age_us.is_some()));
    let answer = city.client("weather", Purpose::Query).query(JOINED, &QueryOptions::default()).await.unwrap();
    assert_eq!(floats(&answer.batches, 1), [22.0, 23.0]);

    // and it comes back with all it had acknowledged, on the same databases
    let traffic = city.start("traffic").await;
    let more = city.ingest("traffic", "trips", "more.csv", "time,district,speed\n2020-03-06 08:00,north,30\n").await;
    assert_eq!(more.closed_through.unwrap().to_string(), "2020-03-06T05:00:00Z");
    eventually("what was released after the restart is here", || async {
        let status = city.client("weather", Purpose::Query).status().await.unwrap();
        let trips = status.products.into_iter().find(|product| product.owner.as_str() == "traffic")?;
        (trips.closed_through == more.closed_through).then_some(())
    })
    .await;
    traffic.stop().await;
    weather.stop().await;
}

async fn refusals(city: &City) {
    let ask = |sql: &'static str, require_complete| async move {
        let options = QueryOptions { require_complete, ..QueryOptions::default() };
        city.client("weather", Purpose::Query).query(sql, &options).await.unwrap_err()
    };
    match ask("SELECT max(speed) FROM traffic.trips", false).await {
        ClientError::Refused { code, instead, .. } => {
            assert_eq!(code, "ERROR_CODE_QUERY_REFUSED");
            assert!(instead.is_some());
        }
        other => panic!("{other:?}"),
    }
    let incomplete = ask("SELECT avg(speed) FROM traffic.trips", true).await;
    assert!(matches!(incomplete, ClientError::Incomplete { .. }), "{incomplete:?}");
    let wrong_token =
        city.client("weather", Purpose::Ingest).query("SELECT 1", &QueryOptions::default()).await.unwrap_err();
    assert!(matches!(&wrong_token, ClientError::Refused { code, .. } if code == "ERROR_CODE_TOKEN"), "{wrong_token:?}");
    let no_dataset = city.try_ingest("weather", "trips", "x.csv", "x\n").await.unwrap_err();
    assert!(no_dataset.to_string().contains("daily"), "{no_dataset}");
    let unfit = city.try_ingest("weather", "daily", "x.csv", "date,degrees\n2020-03-09,1\n").await.unwrap_err();
    assert!(matches!(&unfit, ClientError::Refused { code, .. } if code == "ERROR_CODE_UNFIT_FILE"), "{unfit:?}");
    let released = city.client("weather", Purpose::Ingest).undo("daily", "weather.csv".as_ref()).await.unwrap_err();
    assert!(matches!(&released, ClientError::Refused { code, .. } if code == "ERROR_CODE_RELEASED"), "{released:?}");
}

async fn status_and_metrics(city: &City) {
    let seen = city.client("traffic", Purpose::Query).status().await.unwrap();
    assert!(seen.sources.is_empty() && seen.products.iter().all(|product| product.rejects.is_none()));
    let status = city.client("traffic", Purpose::Admin).status().await.unwrap();
    assert_eq!(status.city, "New York");
    assert_eq!(status.roster_serial, 3);
    let own = status.products.iter().find(|product| product.product.to_string() == "traffic.trips").unwrap();
    assert_eq!((own.rejects, own.method.as_str(), own.head_age_us), (Some(1), "threshold k=10", None));
    assert_eq!(status.sources.iter().map(|source| source.rows).sum::<u64>(), 45);
    let peer = status.domains.iter().find(|domain| domain.domain.as_str() == "weather").unwrap();
    assert_eq!(peer.link, LinkState::Reached);
    assert!(peer.received_bytes > 0 && peer.certificate_days_left.is_some() && !peer.node_version.is_empty());

    let text = get(city, "traffic", "/metrics").await;
    assert!(text.contains("civicmesh_ingest_rows_total{dataset=\"trips\",fate=\"Rejected\"} 1"), "{text}");
    assert!(text.contains("civicmesh_product_closed_through_timestamp_seconds{product=\"weather.daily\"}"), "{text}");
    assert!(get(city, "traffic", "/healthz").await.ends_with("ok\n"));
}

/// What a plain HTTP client gets.
pub(super) async fn get(city: &City, domain: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let config = crate::config::Config::read(&city.dir(domain)).unwrap();
    let network = crate::Environment::real().network;
    let mut io = network.connect(&config.node.department_listen).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), io.read_to_string(&mut response)).await;
    read.unwrap().unwrap();
    response
}
