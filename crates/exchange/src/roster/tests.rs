//! Which roster a node follows.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use rcgen::{CertificateParams, KeyPair};

use super::*;

struct City {
    key: KeyPair,
    city: CityKey,
}

impl City {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        Self { city: CityKey::of(certificate.der()).unwrap(), key }
    }

    fn sign(&self, roster: Roster) -> SignedRoster {
        SignedRoster::sign(roster, &self.key).unwrap()
    }

    fn book(&self, roster: Roster) -> (RosterBook, Arc<Mutex<Vec<u8>>>) {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = {
            let kept = Arc::clone(&kept);
            Box::new(move |bytes: &[u8]| {
                *kept.lock().unwrap() = bytes.to_vec();
                Ok(())
            })
        };
        (RosterBook::open(self.sign(roster).as_bytes(), self.city.clone(), keep).unwrap(), kept)
    }
}

fn roster(serial: u64) -> Roster {
    let member = Member {
        address: "traffic.example:7400".parse().unwrap(),
        release_key: ReleaseKey::new([1; 32]),
        tls_key: Hash32([2; 32]),
    };
    Roster {
        city: "New York".into(),
        timezone: "America/New_York".parse().unwrap(),
        serial,
        members: BTreeMap::from([("traffic".parse().unwrap(), member)]),
        removed: BTreeMap::new(),
    }
}

#[test]
fn the_newest_roster_of_the_city_is_followed_and_kept_first() {
    let city = City::new();
    let (book, kept) = city.book(roster(5));
    let mut changes = book.subscribe();
    let newer = city.sign(Roster { members: BTreeMap::new(), ..roster(6) });
    assert_eq!(book.offer(newer.as_bytes()), Ok(Offer::Adopted));
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update().clone(), newer);
    assert_eq!(*kept.lock().unwrap(), newer.as_bytes());

    assert_eq!(book.offer(newer.as_bytes()), Ok(Offer::NotNewer));
    assert_eq!(book.offer(city.sign(roster(5)).as_bytes()), Ok(Offer::NotNewer));
    assert!(!changes.has_changed().unwrap());
    assert_eq!(*book.current(), newer);
}

#[test]
fn what_the_city_did_not_sign_is_refused() {
    let (city, other) = (City::new(), City::new());
    let (book, _) = city.book(roster(5));
    assert_eq!(book.offer(other.sign(roster(6)).as_bytes()), Err(RosterError::BadSignature));
    let signed = String::from_utf8(city.sign(roster(6)).as_bytes().to_vec()).unwrap();
    for (from, to) in [("\"serial\": 6", "\"serial\": 7"), ("traffic.example", "evil.example"), ("0101", "0202")] {
        let changed = signed.replacen(from, to, 1);
        assert_ne!(changed, signed);
        assert_eq!(book.offer(changed.as_bytes()), Err(RosterError::BadSignature), "{from}");
    }
    assert!(matches!(book.offer(b"{}"), Err(RosterError::Document(_))));
    assert_eq!(book.current().roster().serial, 5);
}

#[test]
fn a_field_that_this_version_does_not_know_is_signed_and_handed_on() {
    let city = City::new();
    let mut content = serde_json::to_value(roster(6)).unwrap();
    content["motto"] = "excelsior".into();
    let mut document = Document::new(KIND, &content).unwrap();
    let signature = rcgen::SigningKey::sign(&city.key, &document.signing_bytes()).unwrap();
    document.sign(SIGNER, &signature);
    let (book, kept) = city.book(roster(5));
    assert_eq!(book.offer(&document.to_bytes()), Ok(Offer::Adopted));
    assert!(String::from_utf8(kept.lock().unwrap().clone()).unwrap().contains("excelsior"));
    let changed = String::from_utf8(document.to_bytes()).unwrap().replace("excelsior", "semper");
    assert_eq!(SignedRoster::verify(changed.as_bytes(), &city.city), Err(RosterError::BadSignature));
}

#[test]
fn a_roster_that_contradicts_the_one_in_force_is_refused() {
    let city = City::new();
    let (book, _) = city.book(roster(5));
    let twin = city.sign(Roster { members: BTreeMap::new(), ..roster(5) });
    assert_eq!(book.offer(twin.as_bytes()), Err(RosterError::SerialReused(5)));
    let renamed = city.sign(Roster { city: "Newer York".into(), ..roster(6) });
    assert!(matches!(book.offer(renamed.as_bytes()), Err(RosterError::OtherCity(_))));
    let moved = city.sign(Roster { timezone: "UTC".parse().unwrap(), ..roster(6) });
    assert!(matches!(book.offer(moved.as_bytes()), Err(RosterError::OtherCity(_))));
}

#[test]
fn a_roster_that_cannot_be_kept_does_not_come_into_force() {
    let city = City::new();
    let full = Arc::new(AtomicBool::new(true));
    let keep = {
        let full = Arc::clone(&full);
        Box::new(move |_: &[u8]| match full.load(SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        })
    };
    let book = RosterBook::open(city.sign(roster(5)).as_bytes(), city.city.clone(), keep).unwrap();
    let newer = city.sign(roster(6));
    assert!(matches!(book.offer(newer.as_bytes()), Err(RosterError::NotKept(_))));
    assert_eq!(book.current().roster().serial, 5);
    full.store(false, SeqCst);
    assert_eq!(book.offer(newer.as_bytes()), Ok(Offer::Adopted));
}

#[test]
fn it_admits_members_with_the_key_enrolled() {
    let peer = |domain: &str, key| PeerIdentity {
        domain: domain.parse().unwrap(),
        key: Hash32([key; 32]),
        certificate_expires: civicmesh_model::time::UtcMicros(0),
    };
    assert!(roster(1).admits(&peer("traffic", 2)));
    assert!(!roster(1).admits(&peer("traffic", 3)));
    assert!(!roster(1).admits(&peer("health", 2)));
}

#[test]
fn addresses_are_host_and_port() {
    for good in ["localhost:1", "10.0.0.1:7400", "a-b.c_d:65535", "[::1]:7400"] {
        assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
    }
    assert_eq!("[::1]:7400".parse::<Address>().unwrap().port(), 7400);
    for bad in [
        "",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "host:+1",
        "a b:1",
        "::1:7400",
        "[]:1",
        "[fe80::1%eth0]:1",
        "a\n:1",
    ] {
        assert!(bad.parse::<Address>().is_err(), "{bad:?}");
    }
}

#[test]
fn who_reads_the_roster_waits_for_no_disk() {
    let city = City::new();
    let (reached, kept) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let keep = {
        let (reached, kept) = (Arc::clone(&reached), Arc::clone(&kept));
        Box::new(move |_: &[u8]| {
            reached.wait();
            kept.wait();
            Ok(())
        })
    };
    let book = RosterBook::open(city.sign(roster(5)).as_bytes(), city.city.clone(), keep).unwrap();
    let newer = city.sign(roster(6));
    std::thread::scope(|scope| {
        let offering = scope.spawn(|| book.offer(newer.as_bytes()));
        reached.wait();
        assert_eq!(book.current().roster().serial, 5, "it is not in force before it is kept");
        kept.wait();
        assert_eq!(offering.join().unwrap(), Ok(Offer::Adopted));
    });
    assert_eq!(book.current().roster().serial, 6);
}

#[test]
fn a_roster_that_remembers_nobody_is_laid_out_as_before() {
    let city = City::new();
    let text = |roster| String::from_utf8(city.sign(roster).as_bytes().to_vec()).unwrap();
    assert!(!text(roster(5)).contains("removed"));
    let removed = BTreeMap::from([("health".parse().unwrap(), Hash32([3; 32]))]);
    let signed = text(Roster { removed: removed.clone(), ..roster(5) });
    assert_eq!(SignedRoster::verify(signed.as_bytes(), &city.city).unwrap().roster().removed, removed);
}
