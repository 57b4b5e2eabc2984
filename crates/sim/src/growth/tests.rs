//! The powers that are fitted, and a city that grows a little.

use super::*;

const SCENARIO: &str = r#"
title = "Growing"

[city]
days = 1
hours_max = 6
districts = 2
sensors_rich = 8
sensors_poor = 1
late = 0.0
too_late = 0.0

[run]
warp = 240
publisher_s = 3600
pull_s = 3600
backoff_s_max = 3600
reload_s = 43200
ask_s = 0
look_s = 0
settle_s = 14400

[growth]
departments = [2, 4, 8]
events_per_department = 5_000
"#;

#[test]
fn a_power_is_fitted_and_nothing_is_made_of_one_point() {
    let squares: Vec<(f64, f64)> = (1..9).map(|x| (f64::from(x), 7.0 * f64::from(x * x))).collect();
    assert!((exponent(&squares).unwrap() - 2.0).abs() < 1e-9);
    assert_eq!(exponent(&squares[..1]), None);
    assert_eq!(exponent(&[(3.0, 5.0), (3.0, 6.0)]), None);
}

#[test]
fn a_city_that_grows_keeps_what_was_promised_and_news_takes_no_longer() {
    let growth = Growth::parse(SCENARIO, "growing.toml").unwrap().unwrap();
    let grown = run_all(&growth, 3, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(grown.points.iter().map(|point| point.departments).collect::<Vec<_>>(), [2, 4, 8]);
    for point in &grown.points {
        assert_eq!(point.findings, []);
        let (nodes, products) = (
            u64::from(point.departments),
            u64::from(point.departments) - u64::from(point.departments > 3) - u64::from(point.departments > 8),
        );
        assert_eq!(point.links, nodes * (nodes - 1));
        // calls are released by the day, and no day is over
        assert_eq!(point.arrivals, products * (nodes - 1));
        assert!(point.arrival_max_s > 0.0 && point.arrival_max_s <= 1.5 * growth.run.pull_s as f64, "{point:?}");
        assert!(point.busy.bytes > point.quiet.bytes && point.quiet.messages > 0.0, "{point:?}");
    }
    let power = exponent(
        &grown
            .points
            .iter()
            .map(|point| (f64::from(point.departments) - 1.0, point.quiet.messages))
            .collect::<Vec<_>>(),
    );
    assert!((0.8..1.2).contains(&power.unwrap()), "{power:?}");
    let figures = figures(&growth, &grown).unwrap();
    assert_eq!(figures.sections.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(crate::report::write(&figures, folder.path()).unwrap()).unwrap();
    assert!(page.contains("Against theory") && page.contains("10,000 nodes"), "{page}");
}

#[test]
fn what_cannot_grow_is_said() {
    for (from, to, key) in [
        ("[2, 4, 8]", "[8, 4]", "growth.departments"),
        ("settle_s = 14400", "settle_s = 7200", "settle_s"),
        ("hours_max = 6", "hours_max = 2", "three hours"),
    ] {
        let error = Growth::parse(&SCENARIO.replace(from, to), "growing.toml").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
