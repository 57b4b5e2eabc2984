//! The city's office: founds the city, admits domains, certifies their keys, keeps the roster.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use civicmesh_model::{
    names::DomainName,
    time::{UtcMicros, Zone},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Departure, NodeFolder, OfficeError, accept,
    answer::Answer,
    files::{self, Privacy},
    folder::{certificate_in, key_pair_in},
    request::{Request, request},
};
use crate::{
    identity::domain_uri,
    roster::{Address, CityKey, Member, Roster, SignedRoster, check_city_name},
};

/// How long the city's own certificate is valid, in days.
const CITY_CERTIFICATE_DAYS: u32 = 20 * 365;
/// How long a node's certificate is valid unless city.toml says otherwise, in days.
const NODE_CERTIFICATE_DAYS: u32 = 365;
/// The longest validity of a node's certificate that city.toml may ask for, in days.
const NODE_CERTIFICATE_DAYS_MAX: u32 = 5 * 365;
/// A certificate is valid from this long before it is made, so that a clock that is late still accepts it; in hours.
const CLOCK_SKEW_HOURS: i64 = 1;
/// Bytes of randomness in a certificate's serial number.
const SERIAL_BYTES: usize = 16;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// What city.toml says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CityConfig {
    name: String,
    timezone: Zone,
    #[serde(default = "node_certificate_days")]
    certificate_days: u32,
}

fn node_certificate_days() -> u32 {
    NODE_CERTIFICATE_DAYS
}

/// How a request stands to what the city knew before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The domain is new to the city.
    New,
    /// The domain keeps its keys.
    Renewed,
    /// The domain's keys took the place of earlier ones.
    Replaced,
}

/// A domain that was admitted or certified anew.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The domain.
    pub domain: DomainName,
    /// How it stood before.
    pub standing: Standing,
    /// The answer for the department, as a file's content.
    pub answer: Vec<u8>,
    /// When the certificate expires.
    pub expires: UtcMicros,
}

/// The city's office: a folder with the city's key.
#[derive(Debug)]
pub struct CityOffice {
    folder: PathBuf,
    config: CityConfig,
    /// Holds the folder's lock: two commands at once must not both write the roster.
    _lock: File,
}

impl CityOffice {
    /// Founds a city in a folder that holds none.
    pub fn init(folder: &Path, name: &str, timezone: Zone, now: UtcMicros) -> Result<Self, OfficeError> {
        check_city_name(name).map_err(|reason| OfficeError::City(reason.into()))?;
        if config_file(folder).exists() || key_file(folder).exists() {
            return Err(OfficeError::CityExists(folder.to_owned()));
        }
        if folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            return Err(OfficeError::NotEmpty(folder.to_owned()));
        }
        files::make_folder(folder, Privacy::Open)?;
        files::make_folder(&folder.join("keys"), Privacy::Private)?;
        let key = KeyPair::generate()?;
        let certificate = city_certificate(name, now)?.self_signed(&key)?;
        let (members, removed) = (BTreeMap::new(), BTreeMap::new());
        let roster = Roster { city: name.into(), timezone, serial: 1, members, removed };
        let roster = SignedRoster::sign(roster, &key)?;
        files::write(&key_file(folder), key.serialize_pem().as_bytes(), Privacy::Private)?;
        files::write(&certificate_file(folder), certificate.pem().as_bytes(), Privacy::Open)?;
        files::write(&roster_file(folder), roster.as_bytes(), Privacy::Open)?;
        files::write(&config_file(folder), config_text(name, timezone).as_bytes(), Privacy::Open)?;
        Self::open(folder)
    }

    /// Opens the office in a folder; waits while another command has it open.
    pub fn open(folder: &Path) -> Result<Self, OfficeError> {
        let path = config_file(folder);
        let lock = File::open(&path).map_err(|_| OfficeError::NoCity(folder.to_owned()))?;
        lock.lock().map_err(|error| files::failed(&path, error))?;
        let config: CityConfig = toml::from_str(&files::read_text(&path)?)
            .map_err(|error| OfficeError::City(format!("{}: {error}", path.display())))?;
        if !(1..=NODE_CERTIFICATE_DAYS_MAX).contains(&config.certificate_days) {
            return Err(OfficeError::City(format!(
                "{}: certificate_days is from 1 to {NODE_CERTIFICATE_DAYS_MAX}",
                path.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), config, _lock: lock })
    }

    /// The city's public key.
    pub fn city_key(&self) -> Result<CityKey, OfficeError> {
        Ok(CityKey::of(&certificate_in(&certificate_file(&self.folder))?)?)
    }

    /// The roster as the office last signed it.
    pub fn roster(&self) -> Result<SignedRoster, OfficeError> {
        Ok(SignedRoster::verify(&files::read(&roster_file(&self.folder))?, &self.city_key()?)?)
    }

    /// Answers a request: admits the domain, or certifies it anew. A domain that comes with other keys than it was
    /// admitted with is refused unless `replace` is set.
    pub fn enroll(&self, request: &[u8], replace: bool, now: UtcMicros) -> Result<Enrolled, OfficeError> {
        let request = Request::verify(request)?;
        let member = request.member()?;
        let roster = self.roster()?;
        let standing = standing(roster.roster(), &request.domain, &member, replace)?;
        let expires = UtcMicros(now.0 + i64::from(self.config.certificate_days) * MICROS_PER_DAY);
        let key = key_pair_in(&key_file(&self.folder))?;
        let city_pem = files::read_text(&certificate_file(&self.folder))?;
        let issuer = Issuer::from_ca_cert_pem(&city_pem, &key)?;
        let params = node_certificate(&self.config.name, &request.domain, now, expires)?;
        let certificate = params.signed_by(&request.tls_key()?, &issuer)?;
        let roster = self.list(roster, &request.domain, member, &key)?;
        let answer = Answer::new(certificate.pem(), city_pem, &roster)?.to_bytes()?;
        Ok(Enrolled { domain: request.domain, standing, answer, expires })
    }

    /// Makes a whole node folder, keys included. For demonstration and simulation: whoever runs the office has then
    /// held the department's keys.
    pub fn enroll_out(
        &self,
        folder: &NodeFolder,
        departure: &Departure,
        now: UtcMicros,
    ) -> Result<Enrolled, OfficeError> {
        if folder.has_keys() || folder.request_file().exists() {
            return Err(OfficeError::NodeExists(folder.path().to_owned()));
        }
        // Before keys are made, so that nothing is left of an enrolment that is refused.
        let roster = self.roster()?;
        if let (Some(domain), Some(listen)) = (&departure.domain, &departure.listen) {
            if roster.roster().members.contains_key(domain) {
                return Err(OfficeError::OtherKeys(domain.clone()));
            }
            check_address(roster.roster(), domain, listen)?;
        }
        request(folder, departure)?;
        let enrolled = self.enroll(&files::read(&folder.request_file())?, false, now)?;
        accept(folder, &enrolled.answer, now)?;
        Ok(enrolled)
    }

    /// Removes a domain from the city: nodes that learn the new roster refuse its calls and pull from it no more. What
    /// it released stays where it is. The roster has to reach one node: it is passed on from there.
    pub fn remove(&self, domain: &DomainName) -> Result<SignedRoster, OfficeError> {
        let mut roster = self.roster()?.roster().clone();
        let member = roster.members.remove(domain).ok_or_else(|| OfficeError::NotEnrolled(domain.clone()))?;
        roster.removed.insert(domain.clone(), member.tls_key);
        self.issue(roster, &key_pair_in(&key_file(&self.folder))?)
    }

    /// Where the roster stands that the office last signed.
    pub fn roster_file(&self) -> PathBuf {
        roster_file(&self.folder)
    }

    /// Writes the domain into the roster, if it says something new.
    fn list(
        &self,
        signed: SignedRoster,
        domain: &DomainName,
        member: Member,
        key: &KeyPair,
    ) -> Result<SignedRoster, OfficeError> {
        if signed.roster().members.get(domain) == Some(&member) {
            return Ok(signed);
        }
        let mut roster = signed.roster().clone();
        // New keys do not bring the removed ones back.
        roster.removed.retain(|removed, key| removed != domain || *key != member.tls_key);
        roster.members.insert(domain.clone(), member);
        self.issue(roster, key)
    }

    /// Signs what the roster says now, under the next serial.
    fn issue(&self, mut roster: Roster, key: &KeyPair) -> Result<SignedRoster, OfficeError> {
        roster.serial += 1;
        let signed = SignedRoster::sign(roster, key)?;
        files::write(&roster_file(&self.folder), signed.as_bytes(), Privacy::Open)?;
        Ok(signed)
    }
}

fn standing(roster: &Roster, domain: &DomainName, member: &Member, replace: bool) -> Result<Standing, OfficeError> {
    for (other, listed) in roster.members.iter().filter(|(other, _)| *other != domain) {
        if listed.tls_key == member.tls_key || listed.release_key == member.release_key {
            return Err(OfficeError::KeysInUse(other.clone()));
        }
    }
    check_address(roster, domain, &member.address)?;
    match roster.members.get(domain) {
        None => Ok(Standing::New),
        Some(listed) if listed.tls_key == member.tls_key && listed.release_key == member.release_key => {
            Ok(Standing::Renewed)
        }
        Some(_) if replace => Ok(Standing::Replaced),
        Some(_) => Err(OfficeError::OtherKeys(domain.clone())),
    }
}

fn check_address(roster: &Roster, domain: &DomainName, address: &Address) -> Result<(), OfficeError> {
    let mut others = roster.members.iter().filter(|(other, _)| *other != domain);
    match others.find(|(_, listed)| listed.address == *address) {
        None => Ok(()),
        Some((other, _)) => Err(OfficeError::AddressInUse { address: address.to_string(), domain: other.clone() }),
    }
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("city.toml")
}

fn key_file(folder: &Path) -> PathBuf {
    folder.join("keys").join("city.key")
}

fn certificate_file(folder: &Path) -> PathBuf {
    folder.join("city.pem")
}

fn roster_file(folder: &Path) -> PathBuf {
    folder.join("roster.json")
}

fn config_text(name: &str, timezone: Zone) -> String {
    let name = toml::Value::String(name.into());
    format!(
        r#"# The city. Nodes learn its name and time zone from the signed roster: both stay as they are.
name = {name}
timezone = "{timezone}"
# How long a node's certificate is valid.
certificate_days = {NODE_CERTIFICATE_DAYS}
"#
    )
}

fn city_certificate(name: &str, now: UtcMicros) -> Result<CertificateParams, OfficeError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "civicmesh city office");
    params.distinguished_name.push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(random_serial()?);
    params.not_before = certificate_time(now.0 - CLOCK_SKEW_HOURS * MICROS_PER_HOUR)?;
    params.not_after = certificate_time(now.0 + i64::from(CITY_CERTIFICATE_DAYS) * MICROS_PER_DAY)?;
    Ok(params)
}

fn node_certificate(
    city: &str,
    domain: &DomainName,
    now: UtcMicros,
    expires: UtcMicros,
) -> Result<CertificateParams, OfficeError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, domain.as_str());
    params.distinguished_name.push(DnType::OrganizationName, city);
    params.subject_alt_names = vec![SanType::URI(domain_uri(domain).as_str().try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(random_serial()?);
    params.not_before = certificate_time(now.0 - CLOCK_SKEW_HOURS * MICROS_PER_HOUR)?;
    params.not_after = certificate_time(expires.0)?;
    Ok(params)
}

fn certificate_time(micros: i64) -> Result<OffsetDateTime, OfficeError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .map_err(|_| OfficeError::City("the clock is out of range".into()))
}

fn random_serial() -> Result<SerialNumber, OfficeError> {
    let mut bytes = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}
