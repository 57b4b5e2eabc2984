//! The office and its departments, by what they write and refuse.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use civicmesh_model::{names::DomainName, time::UtcMicros};

use super::*;
use crate::testing::{DAY, START, TestCity, departure};

const ADDRESS: &str = "traffic.example:7400";

fn ask(city: &TestCity, domain: &str, address: &str) -> (NodeFolder, Vec<u8>) {
    let node = city.node(domain);
    request(&node, &departure(domain, address)).unwrap();
    let bytes = fs::read(node.request_file()).unwrap();
    (node, bytes)
}

#[test]
fn a_department_makes_its_own_keys_and_the_office_signs() {
    let city = TestCity::new();
    let (node, bytes) = ask(&city, "traffic", ADDRESS);
    let enrolled = city.office.enroll(&bytes, false, START).unwrap();
    assert_eq!((enrolled.domain.as_str(), enrolled.standing), ("traffic", Standing::New));
    let accepted = accept(&node, &enrolled.answer, START).unwrap();
    assert_eq!(accepted.city, "New York");
    assert_eq!(accepted.timezone.name(), "America/New_York");
    assert_eq!(accepted.fingerprint, city.office.city_key().unwrap().fingerprint());
    assert_eq!(accepted.expires, UtcMicros(START.0 + 365 * DAY));

    let book = node.open_roster().unwrap();
    let roster = book.current().roster().clone();
    assert_eq!(roster.serial, 2);
    let member = &roster.members[&accepted.domain];
    assert_eq!(member.address.as_str(), ADDRESS);
    assert_eq!(member.release_key.verifying_key().id(), node.release_key().unwrap().verifying_key().id());
}

#[test]
fn secrets_are_private_and_differ() {
    let city = TestCity::new();
    let node = city.enroll("traffic", ADDRESS);
    assert_eq!(node.exposed_files().unwrap(), Vec::<PathBuf>::new());
    for folder in ["tls", "keys", "tokens"] {
        let mode = fs::metadata(node.path().join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
    let mode = fs::metadata(city.path().join("city/keys/city.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut texts: Vec<_> = Purpose::ALL.map(|purpose| node.token(purpose).unwrap().expose().to_owned()).into();
    texts.push(hex::encode(node.domain_secret().unwrap().expose()));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4);
    assert!(node.token(Purpose::Query).unwrap().matches(node.token(Purpose::Query).unwrap().expose()));
    assert!(!node.token(Purpose::Query).unwrap().matches(node.token(Purpose::Admin).unwrap().expose()));

    let token = node.path().join("tokens/query");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(node.exposed_files().unwrap(), [token]);
}

#[test]
fn the_configuration_says_where_the_node_listens() {
    let city = TestCity::new();
    let node = city.node("traffic");
    let seeds = vec!["health.example:7500".parse().unwrap()];
    request(&node, &Departure { seeds, ..departure("traffic", ADDRESS) }).unwrap();
    let config: toml::Table = fs::read_to_string(node.config_file()).unwrap().parse().unwrap();
    let section = config["node"].as_table().unwrap();
    assert_eq!(section["domain"].as_str(), Some("traffic"));
    assert_eq!(section["city_listen"].as_str(), Some(ADDRESS));
    assert_eq!(section["department_listen"].as_str(), Some("127.0.0.1:7401"));
    assert_eq!(section["seeds"].as_array().unwrap()[0].as_str(), Some("health.example:7500"));
    assert!(node.contracts().is_dir() && node.geography().is_dir());
}

#[test]
fn asking_again_keeps_keys_and_configuration() {
    let city = TestCity::new();
    let node = city.enroll("traffic", ADDRESS);
    let before = node.release_key().unwrap().verifying_key();
    fs::write(node.config_file(), "# changed by hand").unwrap();
    let asked = request(&node, &Departure::default()).unwrap();
    assert!(asked.renewal);
    assert_eq!((asked.domain.as_str(), asked.address.as_str()), ("traffic", ADDRESS));
    assert_eq!(node.release_key().unwrap().verifying_key(), before);
    assert_eq!(fs::read_to_string(node.config_file()).unwrap(), "# changed by hand");

    let later = UtcMicros(START.0 + 300 * DAY);
    let enrolled = city.office.enroll(&fs::read(node.request_file()).unwrap(), false, later).unwrap();
    assert_eq!(enrolled.standing, Standing::Renewed);
    assert_eq!(accept(&node, &enrolled.answer, later).unwrap().expires, UtcMicros(later.0 + 365 * DAY));
    assert_eq!(city.office.roster().unwrap().roster().serial, 2, "nothing new to tell");
}

#[test]
fn a_domain_that_moves_is_listed_at_its_new_address() {
    let city = TestCity::new();
    let node = city.enroll("traffic", ADDRESS);
    let listen = Some("elsewhere.example:7400".parse().unwrap());
    request(&node, &Departure { listen, ..Departure::default() }).unwrap();
    city.office.enroll(&fs::read(node.request_file()).unwrap(), false, START).unwrap();
    let roster = city.office.roster().unwrap().roster().clone();
    assert_eq!(roster.serial, 3);
    assert_eq!(roster.members[&"traffic".parse::<DomainName>().unwrap()].address.as_str(), "elsewhere.example:7400");
}

#[test]
fn a_second_enrolment_under_other_keys_needs_replace() {
    let city = TestCity::new();
    let first = city.enroll("traffic", ADDRESS);
    let old = first.open_roster().unwrap().current();
    let node = NodeFolder::new(city.path().join("impostor"));
    request(&node, &departure("traffic", ADDRESS)).unwrap();
    let bytes = fs::read(node.request_file()).unwrap();
    assert!(matches!(city.office.enroll(&bytes, false, START), Err(OfficeError::OtherKeys(_))));
    assert_eq!(city.office.roster().unwrap(), *old);
    let again =
        city.office.enroll_out(&NodeFolder::new(city.path().join("again")), &departure("traffic", "a:1"), START);
    assert!(matches!(again, Err(OfficeError::OtherKeys(_))));

    let enrolled = city.office.enroll(&bytes, true, START).unwrap();
    assert_eq!(enrolled.standing, Standing::Replaced);
    let new = city.office.roster().unwrap();
    assert_eq!(new.roster().serial, old.roster().serial + 1);
    let domain: DomainName = "traffic".parse().unwrap();
    assert_ne!(new.roster().members[&domain].tls_key, old.roster().members[&domain].tls_key);
}

#[test]
fn a_domain_that_is_removed_is_listed_no_more_and_its_keys_are_remembered() {
    let city = TestCity::new();
    let node = city.enroll("traffic", ADDRESS);
    let domain: DomainName = "traffic".parse().unwrap();
    let before = city.office.roster().unwrap().roster().clone();
    let removed = city.office.remove(&domain).unwrap();
    assert_eq!(removed, city.office.roster().unwrap());
    let roster = removed.roster();
    assert_eq!((roster.serial, roster.members.len()), (before.serial + 1, 0));
    assert_eq!(roster.removed[&domain], before.members[&domain].tls_key);
    assert!(matches!(city.office.remove(&domain), Err(OfficeError::NotEnrolled(_))));

    // Another node of that name does not bring the removed keys back; the same keys, certified anew, do.
    let other = NodeFolder::new(city.path().join("other"));
    city.office.enroll_out(&other, &departure("traffic", ADDRESS), START).unwrap();
    assert_eq!(city.office.roster().unwrap().roster().removed[&domain], before.members[&domain].tls_key);
    city.office.enroll(&fs::read(node.request_file()).unwrap(), true, START).unwrap();
    let roster = city.office.roster().unwrap().roster().clone();
    assert!(roster.removed.is_empty() && roster.members[&domain] == before.members[&domain]);
}

#[test]
fn keys_and_addresses_belong_to_one_domain() {
    let city = TestCity::new();
    city.enroll("traffic", ADDRESS);
    let node = city.node("hospital");
    let refused = city.office.enroll_out(&node, &departure("hospital", ADDRESS), START).unwrap_err();
    assert!(matches!(refused, OfficeError::AddressInUse { .. }));
    assert!(!node.path().exists(), "it can be tried again");
    let (_, bytes) = ask(&city, "health", ADDRESS);
    let refused = city.office.enroll(&bytes, false, START).unwrap_err();
    assert_eq!(refused.to_string(), format!("{ADDRESS} is the address of traffic"));

    // The traffic node's keys, under another name.
    let copy = NodeFolder::new(city.path().join("copy"));
    copy_folder(city.node("traffic").path(), copy.path());
    fs::remove_file(copy.request_file()).unwrap();
    request(&copy, &departure("transit", "b:1")).unwrap();
    let bytes = fs::read(copy.request_file()).unwrap();
    assert!(matches!(city.office.enroll(&bytes, true, START), Err(OfficeError::KeysInUse(_))));
}

#[test]
fn a_request_that_was_changed_is_refused() {
    let city = TestCity::new();
    let (_, bytes) = ask(&city, "traffic", ADDRESS);
    let (_, other) = ask(&city, "health", "health.example:7400");
    let text = String::from_utf8(bytes.clone()).unwrap();
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let exchanged = |field: &str| {
        let mut changed = value(&bytes);
        changed[field] = value(&other)[field].clone();
        serde_json::to_vec(&changed).unwrap()
    };
    for changed in [
        text.replace("traffic.example", "elsewhere.example").into_bytes(),
        exchanged("domain"),
        exchanged("tls_key"),
        exchanged("release_key"),
        exchanged("signatures"),
    ] {
        let refused = city.office.enroll(&changed, false, START).unwrap_err();
        assert!(matches!(refused, OfficeError::NotHolder), "{refused}");
    }
    let laid_out_anew = serde_json::to_vec(&value(&bytes)).unwrap();
    city.office.enroll(&laid_out_anew, false, START).unwrap();
}

#[test]
fn an_answer_fits_one_node_and_one_city() {
    let (city, elsewhere) = (TestCity::new(), TestCity::new());
    let (node, bytes) = ask(&city, "traffic", ADDRESS);
    let (other, _) = ask(&city, "health", "health.example:7400");
    let answer = city.office.enroll(&bytes, false, START).unwrap().answer;
    assert!(matches!(accept(&other, &answer, START), Err(OfficeError::OtherNode)));
    let expired = UtcMicros(START.0 + 366 * DAY);
    assert!(matches!(accept(&node, &answer, expired), Err(OfficeError::Invalid(_))));
    accept(&node, &answer, START).unwrap();

    let foreign = elsewhere.office.enroll(&bytes, false, START).unwrap().answer;
    assert!(matches!(accept(&node, &foreign, START), Err(OfficeError::OtherCity)));

    // The certificate of one city with the roster and certificate of another.
    let mut mixed: serde_json::Value = serde_json::from_slice(&foreign).unwrap();
    let own: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    mixed["city_certificate"] = own["city_certificate"].clone();
    let mixed = serde_json::to_vec(&mixed).unwrap();
    assert!(matches!(accept(&node, &mixed, START), Err(OfficeError::Invalid(_))));
}

#[test]
fn an_older_answer_does_not_bring_back_an_older_roster() {
    let city = TestCity::new();
    let (node, bytes) = ask(&city, "traffic", ADDRESS);
    let answer = city.office.enroll(&bytes, false, START).unwrap().answer;
    accept(&node, &answer, START).unwrap();
    city.enroll("health", "health.example:7400");
    let newer = city.office.roster().unwrap();
    node.open_roster().unwrap().offer(newer.as_bytes()).unwrap();
    accept(&node, &answer, START).unwrap();
    assert_eq!(node.open_roster().unwrap().current().roster().serial, newer.roster().serial);
}

#[test]
fn a_folder_holds_one_city_or_one_node() {
    let city = TestCity::new();
    let folder = city.path().join("city");
    let zone = "UTC".parse().unwrap();
    assert!(matches!(CityOffice::init(&folder, "Other", zone, START), Err(OfficeError::CityExists(_))));
    assert!(matches!(CityOffice::open(city.path()), Err(OfficeError::NoCity(_))));
    assert!(matches!(CityOffice::init(city.path(), "Other", zone, START), Err(OfficeError::NotEmpty(_))));
    let node = city.enroll("traffic", ADDRESS);
    let again = city.office.enroll_out(&node, &departure("health", "b:1"), START);
    assert!(matches!(again, Err(OfficeError::NodeExists(_))));
    let other = request(&node, &departure("health", "b:1"));
    assert!(matches!(other, Err(OfficeError::OtherDomain { .. })));
    let nameless = request(&city.node("new"), &Departure::default());
    assert!(matches!(nameless, Err(OfficeError::FirstRequest)));
    assert!(!city.node("new").path().exists());
    for name in ["", "  ", "a\nb", &"x".repeat(61)] {
        let refused = CityOffice::init(&city.path().join("bad"), name, zone, START);
        assert!(matches!(refused, Err(OfficeError::City(_))), "{name:?}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
