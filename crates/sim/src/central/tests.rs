//! Both ways answer alike, and every figure of the comparison is there.

use super::*;
use crate::report;

fn small() -> Comparison {
    let text = "title = \"Small\"\n[city]\ndays = 1\nevents_per_day = 3000\nsensors_rich = 60\n[central]\ndepartments = []\nrates = []\n\
        faults = [0.3]\nfault_hours = 6\nquestions_per_day = 2\n";
    Comparison::parse(text, "small.toml").unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_city_is_compared_on_real_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let compared = run(&small(), 3, folder.path(), &mut |_| {}).await.unwrap();
    let Point { central, cluster, .. } = &compared.whole;
    assert_eq!(central.rows, cluster.rows);
    assert!(central.feeding.bytes > central.raw_bytes as f64, "all raw rows cross the network to a central brain");
    assert!(cluster.ledger_bytes > central.ledger_bytes, "replicas are stored at each node");
    assert!(central.personal_rows_outside > 0 && cluster.personal_rows_outside == 0);
    assert_eq!((central.machines, cluster.machines, central.round.bytes), (1, 5, 0.0));
    assert!(central.own.questions > 0 && central.own.latencies_us.len() as u64 == central.own.questions);
    let [one, other] = compared.by_faults.as_slice() else { panic!("both ways") };
    assert_eq!((one.asked, other.asked), (30, 30));
    assert!(one.blind > 0, "a third of all hours is down");
    assert!(other.own >= one.own, "one's own node is asked without a network");
    let told = figures(&compared).unwrap();
    assert!(report::write(&told, &folder.path().join("report")).is_ok());
    assert!(told.sections.iter().any(|section| section.heading.starts_with("When links")));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_tell_the_truth() {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal128Type, Int64Type};

    let folder = tempfile::tempdir().unwrap();
    let plan = CityPlan { days: 1, districts: 3, events_per_day: 20_000, sensors_rich: 60, ..CityPlan::default() };
    let city = City::draw(5, &plan).unwrap();
    let files = Files::write(&city, 24, &folder.path().join("feeds")).unwrap();
    for way in [Way::Central, Way::Cluster] {
        let mut arm = arm::Arm::start(way, &city, &folder.path().join("city")).await.unwrap();
        costs::feed(&mut arm, &city, &files).await.unwrap();
        for of in &city.departments {
            let k = of.kind.threshold();
            let windows = (0..24).step_by(of.grain_hours() as usize);
            let truths = windows.map(|from| city.truth(of, from, from + of.grain_hours(), 23, k.is_none()));
            let (mut rows, mut weight) = (0, 0);
            for truth in truths {
                truth.published(k).for_each(|(_, cell)| {
                    rows += cell.rows as i64;
                    weight += cell.weight;
                });
            }
            let sql = format!("SELECT count(*) AS n, sum(weight) AS w FROM {}", arm.table(of));
            let answer = arm.ask("air", &sql).await.unwrap();
            let batch = &answer.batches[0];
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), rows, "{way:?} {}", of.domain);
            let told = batch.column(1).as_primitive_opt::<Decimal128Type>().map_or(0, |sums| match sums.len() {
                0 => 0,
                _ => sums.value(0),
            });
            assert_eq!(told, weight, "{way:?} {}", of.domain);
        }
        arm.end().await.unwrap();
    }
}

#[test]
fn a_scenario_without_the_table_is_another_one_and_wrong_terms_say_what_to_write() {
    assert_eq!(Comparison::parse("title = \"x\"\n", "x.toml").unwrap(), None);
    let error = Comparison::parse("title = \"x\"\n[central]\nwhole_city = 2.0\n", "x.toml").unwrap_err();
    assert_eq!(error.to_string(), "central.whole_city: is a share: write 0 to 1");
    assert!(Comparison::parse("title = \"x\"\n[central]\nwhole = 2\n", "x.toml").is_err(), "no unknown key");
}
