//! The city is one and the same wherever and however often it is drawn, and its files hold what its truth says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use civicmesh_model::contract::Contract;
use sha2::{Digest, Sha256};

use super::*;

fn small() -> CityPlan {
    CityPlan { days: 2, events_per_day: 6_000, sensors_rich: 200, late: 0.1, too_late: 0.02, ..CityPlan::default() }
}

fn city() -> City {
    City::draw(7, &small()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_every_machine() {
    let (one, other) = (city(), city());
    let mut hash = Sha256::new();
    for (left, right) in one.departments.iter().zip(&other.departments) {
        for hour in 0..one.plan.hours() {
            let feed = one.feed(left, hour);
            assert_eq!(feed, other.feed(right, hour));
            hash.update(&feed.csv);
        }
    }
    // written down once: another machine, or a change of the dice, must not give another city unnoticed
    assert_eq!(hex::encode(hash.finalize()), GOLDEN);
    let third = City::draw(8, &small()).unwrap();
    assert_ne!(one.feed(&one.departments[0], 9), third.feed(&third.departments[0], 9));
}

const GOLDEN: &str = "e22714f29a526ce9323265d63154f4dc8bdd0c635e0a26683450572e0b374d77";

#[test]
fn every_contract_is_one_that_a_node_takes() {
    let plan = CityPlan { departments: 12, ..small() };
    for department in City::draw(1, &plan).unwrap().departments {
        let folder = tempfile::tempdir().unwrap();
        department.write_contract(folder.path()).unwrap();
        let file = folder.path().join(format!("{}.yaml", department.product));
        let checked = civicmesh_node::contracts::check(&[file]);
        assert!(checked[0].ok(), "{}: {:?}", department.domain, checked[0].findings);
        let (contract, _) = Contract::parse(&department.contract, "contract").unwrap();
        assert_eq!(contract.product.to_string(), department.table());
    }
}

#[test]
fn departments_are_uneven_and_their_names_differ() {
    let plan = CityPlan { departments: 300, ..CityPlan::default() };
    let city = City::draw(3, &plan).unwrap();
    let names: BTreeSet<&str> = city.departments.iter().map(|department| department.domain.as_str()).collect();
    assert_eq!(names.len(), 300);
    assert_eq!((city.departments[0].sensors(), city.departments[4].sensors()), (5_000, 20));
    assert!(city.departments[4].bad_link && !city.departments[0].bad_link);
}

#[test]
fn a_week_has_as_many_rows_as_the_plan_says() {
    let plan = CityPlan { events_per_day: 50_000, ..CityPlan::default() };
    let city = City::draw(5, &plan).unwrap();
    let counted: u64 = city.departments.iter().filter(|of| of.kind != Kind::Air).map(|of| rows_of(&city, of)).sum();
    let expected = 50_000 * 7;
    assert!(counted.abs_diff(expected) < expected / 8, "{counted} rows in a week, {expected} planned");
}

fn rows_of(city: &City, of: &Department) -> u64 {
    (0..city.plan.hours()).map(|hour| of.counts(city.seed, &city.sky, hour).iter().sum::<u64>()).sum()
}

#[test]
fn the_departments_go_together() {
    let city = City::draw(11, &CityPlan { days: 30, events_per_day: 50_000, ..CityPlan::default() }).unwrap();
    let wet = |hour: &u32| city.sky.at(*hour).rain > 8;
    let traffic = &city.departments[0];
    let transit = &city.departments[1];
    let speed = |hours: Vec<u32>| {
        let truth = hours.iter().map(|hour| city.truth(traffic, *hour, *hour + 1, u32::MAX - 100, true));
        let (mut sum, mut count) = (0, 0);
        truth.flat_map(|window| window.cells.into_values()).for_each(|cell| {
            sum += cell.value.sum;
            count += i128::from(cell.value.count);
        });
        sum / count.max(1)
    };
    let noon = |wanted: bool| {
        (0..30 * 24).filter(|hour| hour % 24 == 12 && hour / 24 % 7 < 5 && wet(hour) == wanted).collect::<Vec<u32>>()
    };
    let boarded = |hours: &[u32]| {
        let rows = hours.iter().map(|hour| transit.counts(city.seed, &city.sky, *hour).iter().sum::<u64>());
        rows.sum::<u64>() / hours.len().max(1) as u64
    };
    let (wet_noons, dry_noons) = (noon(true), noon(false));
    assert!(wet_noons.len() > 2 && dry_noons.len() > 2, "a month has both: {wet_noons:?}");
    assert!(boarded(&wet_noons) > boarded(&dry_noons), "rain fills buses");
    assert!(speed(wet_noons) < speed(dry_noons), "rain slows cars");
}

#[test]
fn a_file_holds_what_the_truth_says() {
    let city = city();
    for of in &city.departments {
        let feeds: Vec<Feed> = (0..city.plan.hours()).map(|hour| city.feed(of, hour)).collect();
        let written: u64 = feeds.iter().map(|feed| feed.rows).sum();
        let last = city.plan.hours() - 1;
        let truth = city.truth(of, 0, city.plan.hours(), last, true);
        assert_eq!(truth.rows(), written, "{}", of.domain);
        let without = city.truth(of, 0, city.plan.hours(), last, false);
        assert_eq!(written - without.rows(), feeds.iter().map(|feed| feed.too_late).sum::<u64>());
        for feed in feeds {
            let lines = feed.csv.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(lines, 1 + feed.rows + feed.duplicates + feed.rotten, "{}", feed.name);
        }
    }
}

#[test]
fn weights_differ_within_a_window() {
    let city = city();
    for of in &city.departments {
        let (mut seen, mut rows) = (BTreeSet::new(), 0);
        for hour in 24..25 {
            for stream in 0..STREAMS.len() {
                rows::events(city.seed, &city.sky, of, hour, stream, |event| {
                    rows += 1;
                    seen.insert(event.weight);
                });
            }
        }
        assert_eq!(seen.len(), rows, "{}", of.domain);
    }
}

#[test]
fn canaries_stand_in_the_files_of_their_own_domain_alone() {
    let city = city();
    let files = |of: &Department| (0..24).flat_map(|hour| city.feed(of, hour).csv).collect::<Vec<u8>>();
    let files: Vec<(String, String)> =
        city.departments.iter().map(|of| (of.domain.clone(), String::from_utf8(files(of)).unwrap())).collect();
    for canary in city.departments.iter().flat_map(|of| &of.canaries) {
        let needles: Vec<String> =
            canary.encodings().into_iter().filter_map(|bytes| String::from_utf8(bytes).ok()).collect();
        for (domain, file) in &files {
            let found = needles.iter().any(|needle| file.contains(needle.as_str()));
            assert!(!found || *domain == canary.domain, "{canary:?} stands in the files of {domain}");
        }
        assert!(canary.encodings().iter().all(|bytes| bytes.len() >= 5), "{canary:?} could be found by chance");
    }
    let planted = |place: &str| {
        let mut of_place = city.departments.iter().flat_map(|of| &of.canaries).filter(|canary| canary.place == place);
        of_place.all(|canary| {
            let file = &files.iter().find(|(domain, _)| *domain == canary.domain).unwrap().1;
            canary.encodings().iter().any(|bytes| file.contains(&*String::from_utf8_lossy(bytes)))
        })
    };
    assert!(planted("name") && planted(WEIGHT));
}

#[test]
fn a_plan_out_of_range_says_what_to_write() {
    let error = City::draw(1, &CityPlan { departments: 1, ..CityPlan::default() }).unwrap_err();
    assert_eq!(error.to_string(), "city.departments: 1 is out of range; write 2 to 300");
    let error = City::draw(1, &CityPlan { zone: "Mars/Olympus".to_owned(), ..CityPlan::default() }).unwrap_err();
    assert!(error.to_string().contains("IANA"), "{error}");
}

#[test]
fn real_files_are_sent_on_in_order_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = city();
    let air = drawn.department("air").unwrap();
    air.write_contract(folder.path()).unwrap();
    let (one, two) = (folder.path().join("one.csv"), folder.path().join("two.csv"));
    fs::write(&one, "row,at\n1,a\n2,b\n3,c\n").unwrap();
    fs::write(&two, "row,at\n4,d").unwrap();
    let real = RealDepartment {
        contract: folder.path().join("readings.yaml"),
        lookups: vec![folder.path().join("sites.csv")],
        files: vec![one, two],
        rows_per_feed: 2,
    };
    let city = City::draw(1, &CityPlan { real: vec![real], ..CityPlan::default() }).unwrap();
    assert_eq!(city.departments[0].domain, "air");
    let feeds: Vec<String> =
        city.departments[0].feeds(&city).map(|feed| String::from_utf8(feed.unwrap().csv).unwrap()).collect();
    assert_eq!(feeds, ["row,at\n1,a\n2,b\n", "row,at\n3,c\n", "row,at\n4,d"]);
}

#[test]
fn the_contracts_for_real_files_are_ones_that_a_node_takes() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sim");
    let folder = tempfile::tempdir().unwrap();
    for (name, lines) in [
        ("road_segments.csv", "REPORT_ID,POINT_1_POSTAL_CODE\n158895,8200\n"),
        ("zones_taxi_lookup.csv", "LocationID,borough,zone\n1,EWR,Newark Airport\n"),
        ("population.csv", "borough,population\nBronx,1432132\n"),
    ] {
        fs::write(folder.path().join(name), lines).unwrap();
    }
    for city in ["aarhus", "new-york"] {
        let text = fs::read_to_string(deploy.join(format!("{city}.toml"))).unwrap();
        let scenario = crate::central::Comparison::parse(&text, city).unwrap().unwrap();
        let named: BTreeSet<PathBuf> = scenario.city.real.into_iter().map(|real| deploy.join(real.contract)).collect();
        let there: BTreeSet<PathBuf> =
            fs::read_dir(deploy.join(city)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(named, there, "every contract is used");
        for contract in named {
            let file = folder.path().join(contract.file_name().unwrap());
            fs::copy(&contract, &file).unwrap();
            let checked = civicmesh_node::contracts::check(std::slice::from_ref(&file));
            assert!(checked[0].ok(), "{}: {:?}", contract.display(), checked[0].findings);
        }
    }
}
