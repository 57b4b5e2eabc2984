//! An owner that lost its databases and began anew tells another story than the one that its peers hold.

use std::fs;

use civicmesh_exchange::office::Purpose;
use civicmesh_query::QueryOptions;

use super::fixture::{City, DAILY, TRIPS, eventually};
use crate::client::ClientError;
use crate::config::Config;
use crate::status::ProductStatus;

const FIRST: &str = "day,temp\n2020-03-01,1\n2020-03-02,2\n";
const SECOND: &str = "day,temp\n2020-03-01,11\n2020-03-02,12\n";

async fn daily(city: &City) -> Option<ProductStatus> {
    let status = city.client("traffic", Purpose::Query).status().await.unwrap();
    status.products.into_iter().find(|product| product.product.to_string() == "weather.daily")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stories_are_told_of_everywhere_until_an_operator_drops_the_replica() {
    let city = City::found();
    city.enroll("traffic", TRIPS).await;
    city.enroll("weather", DAILY).await;
    let traffic = city.start("traffic").await;
    let weather = city.start("weather").await;
    city.ingest("weather", "daily", "first.csv", FIRST).await;
    let held = eventually("the first story", || async { daily(&city).await.filter(|daily| daily.entries > 0) }).await;
    assert_eq!((held.found_out, held.warnings), (0, vec![]));

    weather.stop().await;
    let config = Config::read(&city.dir("weather")).unwrap();
    for database in [config.node.vault, config.node.ledger] {
        fs::remove_dir_all(city.dir("weather").join(database)).unwrap();
    }
    let weather = city.start("weather").await;
    city.ingest("weather", "daily", "second.csv", SECOND).await;
    let found =
        eventually("the second story", || async { daily(&city).await.filter(|daily| daily.found_out > 0) }).await;
    assert!(found.warnings.iter().any(|warning| warning.contains("weather was found out on")), "{found:?}");

    let ask = async |require_complete| {
        let options = QueryOptions { require_complete, ..QueryOptions::default() };
        let sql = "SELECT avg(temp) FROM weather.daily WHERE time < '2020-03-03'";
        city.client("traffic", Purpose::Query).query(sql, &options).await
    };
    let answer = ask(false).await.unwrap();
    assert!(answer.completeness[0].found_out && !answer.completeness[0].exact);
    let refused = ask(true).await.unwrap_err();
    assert!(refused.to_string().contains("weather was found out"), "{refused}");

    let product = "weather.daily".parse().unwrap();
    let unfit = city.client("traffic", Purpose::Query).drop_replica(&product).await.unwrap_err();
    assert!(matches!(&unfit, ClientError::Refused { code, .. } if code == "ERROR_CODE_TOKEN"), "{unfit:?}");
    let own = city.client("weather", Purpose::Admin).drop_replica(&product).await.unwrap_err();
    assert!(matches!(&own, ClientError::Refused { code, .. } if code == "ERROR_CODE_UNKNOWN_PRODUCT"), "{own:?}");
    let entries = city.client("traffic", Purpose::Admin).drop_replica(&product).await.unwrap();
    assert_eq!(entries, held.entries);
    let answer = eventually("the second story is believed", || async { ask(true).await.ok() }).await;
    assert!(answer.completeness[0].exact && !answer.completeness[0].found_out);
    assert_eq!(daily(&city).await.unwrap().found_out, 0);
    traffic.stop().await;
    weather.stop().await;
}
