//! Both ways answer alike, and every figure of the comparison is there.

use super::*;
use crate::report;

fn small() -> Comparison {
    let text = "title = \"Small\"\n[city]\ndays = 1\nevents_per_day = 3000\nsensors_rich = 60\n[central]\ndepartments = []\nrates = [0.5]\n\
        questions = [1, 8]\nmixes = [0, 1]\nfaults = [0.3]\nfault_hours = 4\nquestions_per_day = 2\nwatch_s = 2\n";
    Comparison::parse(text, "small.toml").unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_city_is_compared_on_real_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut news, mut kept) = (Vec::new(), Vec::new());
    let compared = run(
        &small(),
        3,
        folder.path(),
        std::future::pending(),
        &mut |line| news.push(line.to_owned()),
        &mut |so_far| {
            kept.push((so_far.by_faults.len(), so_far.by_rate.len(), so_far.left_out.len()));
            Ok(())
        },
    )
    .await
    .unwrap();
    assert_eq!(kept, [(0, 0, 4), (1, 0, 3), (2, 0, 2), (3, 0, 1), (3, 1, 0)], "each part is kept once it is there");
    assert!(news[0].starts_with("1 of 5: ") && news.iter().any(|line| line.starts_with("5 of 5: ")), "{news:?}");
    let Point { central, cluster, .. } = &compared.whole;
    assert_eq!(central.rows, cluster.rows);
    assert!(central.feeding.bytes > central.raw_bytes as f64, "all raw rows cross the network to a central brain");
    assert!(cluster.feeding.bytes > 0.0 && cluster.still.turn.bytes > 0.0 && cluster.still.link.bytes > 0.0);
    assert!(cluster.still.link.bytes > cluster.still.turn.bytes, "a link that is made is more than a question on it");
    assert!(cluster.ledger_bytes > central.ledger_bytes, "replicas are stored at each node");
    assert!(central.personal_rows_outside > 0 && cluster.personal_rows_outside == 0);
    assert_eq!((central.machines, cluster.machines, central.still.turn.bytes), (1, 5, 0.0));
    for costs in [central, cluster] {
        assert_eq!((costs.by_questions.len(), costs.by_mix.len()), (2, 2));
        let all = std::iter::once(&costs.asked).chain(&costs.by_questions).chain(&costs.by_mix);
        for asked in all {
            assert_eq!((asked.own_us.len() + asked.whole_us.len()) as u64, asked.questions);
        }
        assert_eq!(costs.by_questions[1].questions, 40);
        assert_eq!((costs.by_mix[0].whole_us.len(), costs.by_mix[1].own_us.len()), (0, 0));
    }
    assert_eq!((cluster.by_mix[0].held_used, cluster.held), (5, 25), "who asks about itself alone uses no replica");
    assert_eq!(
        (central.asked.used.bytes > 0.0, cluster.asked.used.bytes),
        (true, 0.0),
        "no question crosses the network"
    );
    let [one, best, other] = compared.by_faults.as_slice() else { panic!("three ways") };
    assert!([one, best, other].iter().all(|seen| seen.part(|of| of.asked) == 1.0));
    assert!(one.part(|of| of.blind) > 0.0, "a third of all hours is down");
    assert!(best.links_only && best.part(|of| of.own) >= one.part(|of| of.own));
    assert!(other.part(|of| of.own) >= one.part(|of| of.own), "one's own node is asked without a network");
    let told = figures(&compared).unwrap();
    assert!(report::write(&told, &folder.path().join("report")).is_ok());
    for heading in ["When links and machines fail", "How many rows", "How many questions", "Which questions"] {
        assert!(told.sections.iter().any(|section| section.heading == heading), "{heading}");
    }
}

#[tokio::test]
async fn a_comparison_that_is_stopped_at_once_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(&small(), 3, folder.path(), async {}, &mut |_| {}, &mut |_| panic!("there is nothing to keep")).await;
    assert!(ran.unwrap_err().to_string().contains("before there was anything to compare"));
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
        measure::feed(&mut arm, &city, &files).await.unwrap();
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
