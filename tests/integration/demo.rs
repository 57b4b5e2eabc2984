//! The demonstration, as `make demo` runs it: its figures, its refusals, a node that dies and comes back; and all of it
//! a second time in the same folder.

use crate::city::{must, root, text};
use std::path::Path;

/// Figures known from the raw rows in another engine, by week: mph released and raw, visits released and raw.
const WEEKS: [(&str, &str, &str, &str, &str); 4] = [
    ("2020-02-24", "11.51", "11.55", "4,439", "="),
    ("2020-03-23", "15.62", "16.29", "20,308", "="),
    ("2020-04-13", "16.94", "17.08", "6,995", "="),
    ("2020-05-04", "17.09", "17.21", "2,320", "2,325"),
];

/// Columns of the printed table.
const MPH: usize = 1;
const RIDERS: usize = 5;
const VISITS: usize = 7;
const CELSIUS: usize = 9;

/// The fields of one week's line.
fn week<'a>(printed: &'a str, monday: &str) -> Vec<&'a str> {
    let line = printed.lines().find(|line| line.starts_with(monday));
    line.unwrap_or_else(|| panic!("no week of {monday} in\n{printed}")).split_whitespace().collect()
}

/// Millions of subway riders a day, to two decimals.
fn riders(fields: &[&str]) -> f64 {
    let riders: f64 = fields[RIDERS].replace(',', "").parse().expect("a number");
    (riders / 1e4).round() / 100.0
}

fn check(printed: &str) {
    let header = "week mph raw spread raw riders raw visits raw celsius raw";
    let heads = printed.lines().filter(|line| line.split_whitespace().eq(header.split(' ')));
    assert_eq!(heads.count(), 1, "one table\n{printed}");
    assert_eq!(printed.lines().filter(|line| line.starts_with("2020-0")).count(), 11, "11 weeks\n{printed}");
    for (monday, mph, mph_raw, visits, visits_raw) in WEEKS {
        let fields = week(printed, monday);
        assert_eq!(fields[MPH..=MPH + 1], [mph, mph_raw], "{monday}");
        assert_eq!(fields[VISITS..=VISITS + 1], [visits, visits_raw], "{monday}");
    }
    assert_eq!(week(printed, "2020-02-24")[CELSIUS..], ["4.71", "="]);
    assert_eq!(riders(&week(printed, "2020-03-23")), 0.58);
    assert_eq!(riders(&week(printed, "2020-04-13")), 0.36);
    for domain in ["traffic", "transit", "health", "weather"] {
        let tick = format!("✓ {domain} gives this table in ");
        assert_eq!(printed.matches(&tick).count(), 1, "{tick}\n{printed}");
    }
    let refused: Vec<&str> = printed.lines().filter(|line| line.starts_with("  ✗ ")).collect();
    assert_eq!(refused.len(), 3, "{printed}");
    for (refusal, said) in
        refused.iter().zip(["max(speed) is not released", "suppressed", "health.admissions is not granted"])
    {
        assert!(refusal.contains(said), "{refusal}");
    }
    let died = printed.split("Transit's node dies").nth(1).expect("transit dies");
    assert!(died.contains("✓ traffic still answers"), "{died}");
    assert!(
        died.contains("closed through 2020-12-01") && died.contains("head confirmed"),
        "the age, and the newest window\n{died}"
    );
    assert!(died.contains("✓ December has arrived at every peer"), "{died}");
    assert!(died.lines().any(|line| line.starts_with("2020-12-01")), "{died}");
    assert!(died.contains("civicmesh demo --keep"), "{died}");
}

#[test]
fn the_demonstration_shows_its_figures_and_does_so_twice() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let city = folder.path().join("city");
    let files = root().join("deploy/demo");
    let run = |city: &Path| must(&["demo", "--files", text(&files), "--dir", text(city)]);
    check(&run(&city));
    check(&run(&city));
}
