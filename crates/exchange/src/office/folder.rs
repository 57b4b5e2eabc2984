//! A node's folder: where everything lies, and the secrets in it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use civicmesh_ledger::SigningKey;
use civicmesh_model::{hash::Hash32, names::DomainName, time::UtcMicros};
use rcgen::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::{
    OfficeError,
    answer::check_issued,
    files::{self, Privacy},
    request,
};
use crate::{
    roster::{CityKey, Offer, RosterBook},
    tls::{CERTIFICATE_FILE, CITY_FILE, KEY_FILE, Tls},
};

/// Bytes of randomness in a secret and in a token.
const SECRET_BYTES: usize = 32;

/// What a department's token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Take observations in.
    Ingest,
    /// Ask questions.
    Query,
    /// All of it.
    Admin,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Query, Self::Admin];

    /// The name of the token's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Admin => "admin",
        }
    }
}

/// A secret of the domain; nothing prints it.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// The bytes themselves.
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A token that a department's people and programs show to their node; nothing prints it by accident.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The text to show.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the token that was shown. Takes the same time wherever they differ.
    pub fn matches(&self, shown: &str) -> bool {
        Hash32::of(&[self.0.as_bytes()]) == Hash32::of(&[shown.as_bytes()])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

/// A node's folder.
#[derive(Debug, Clone)]
pub struct NodeFolder(PathBuf);

impl NodeFolder {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The node's configuration.
    pub fn config_file(&self) -> PathBuf {
        self.0.join("node.toml")
    }

    /// The domain's contracts.
    pub fn contracts(&self) -> PathBuf {
        self.0.join("contracts")
    }

    /// The domain's maps.
    pub fn geography(&self) -> PathBuf {
        self.0.join("geography")
    }

    /// Certificates, and the key that is shown on links.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// The roster, as last received.
    pub fn roster_file(&self) -> PathBuf {
        self.0.join("roster.json")
    }

    /// The request to the city's office, as last made.
    pub fn request_file(&self) -> PathBuf {
        self.0.join("request.json")
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    fn release_key_file(&self) -> PathBuf {
        self.keys().join("release.key")
    }

    fn domain_secret_file(&self) -> PathBuf {
        self.keys().join("domain.secret")
    }

    fn token_file(&self, purpose: Purpose) -> PathBuf {
        self.0.join("tokens").join(purpose.as_str())
    }

    pub(super) fn certificate_file(&self) -> PathBuf {
        self.tls().join(CERTIFICATE_FILE)
    }

    pub(super) fn city_file(&self) -> PathBuf {
        self.tls().join(CITY_FILE)
    }

    fn tls_key_file(&self) -> PathBuf {
        self.tls().join(KEY_FILE)
    }

    /// The domain whose node this is, as its own request says.
    pub fn domain(&self) -> Result<DomainName, OfficeError> {
        Ok(request::read(self)?.domain)
    }

    /// The city's public key.
    pub fn city_key(&self) -> Result<CityKey, OfficeError> {
        Ok(CityKey::of(&certificate_in(&self.city_file())?)?)
    }

    /// Whether the node's certificate was issued by the city's office and is in force, for `node check`.
    pub fn check_certificate(&self, now: UtcMicros) -> Result<(), OfficeError> {
        check_issued(&certificate_in(&self.certificate_file())?, certificate_in(&self.city_file())?, now)
    }

    /// The key that signs the domain's log heads.
    pub fn release_key(&self) -> Result<SigningKey, OfficeError> {
        let path = self.release_key_file();
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(&files::read(&path)?).map_err(|_| OfficeError::Key(path.clone()))?;
        SigningKey::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| OfficeError::Key(path))
    }

    /// The secret that salts of releases and hashes of contributors are made with.
    pub fn domain_secret(&self) -> Result<Secret, OfficeError> {
        let path = self.domain_secret_file();
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(files::read_text(&path)?.trim_end(), &mut bytes).map_err(|_| OfficeError::Key(path))?;
        Ok(Secret(bytes))
    }

    /// The token for one purpose.
    pub fn token(&self, purpose: Purpose) -> Result<Token, OfficeError> {
        let path = self.token_file(purpose);
        let text = files::read_text(&path)?;
        let token = text.trim_end();
        if token.len() < SECRET_BYTES {
            return Err(OfficeError::Key(path));
        }
        Ok(Token(token.to_owned()))
    }

    /// The roster in force at this node; newer ones are kept in the folder.
    pub fn open_roster(&self) -> Result<RosterBook, OfficeError> {
        let path = self.roster_file();
        let bytes = files::read(&path)?;
        let keep =
            Box::new(move |bytes: &[u8]| files::write(&path, bytes, Privacy::Open).map_err(std::io::Error::other));
        Ok(RosterBook::open(&bytes, self.city_key()?, keep)?)
    }

    /// Picks up what `node accept` installed while the node runs. Says whether the certificate changed.
    pub fn reload(&self, tls: &Tls, roster: &RosterBook) -> Result<bool, OfficeError> {
        let changed = tls.reload()?;
        let kept = files::read(&self.roster_file())?;
        if kept != roster.current().as_bytes() && roster.offer(&kept)? == Offer::Adopted {
            tracing::info!(serial = roster.current().roster().serial, "roster renewed");
        }
        Ok(changed)
    }

    /// The files with secrets that others than their owner could read, for `node check`.
    pub fn exposed_files(&self) -> Result<Vec<PathBuf>, OfficeError> {
        let mut exposed = Vec::new();
        for path in self.secret_files() {
            if files::is_exposed(&path)? {
                exposed.push(path);
            }
        }
        Ok(exposed)
    }

    fn secret_files(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.tls_key_file(), self.release_key_file(), self.domain_secret_file()];
        paths.extend(Purpose::ALL.map(|purpose| self.token_file(purpose)));
        paths
    }

    /// Whether the node has made its keys.
    pub(super) fn has_keys(&self) -> bool {
        self.secret_files().iter().any(|path| path.exists())
    }

    /// Makes the folder with its keys, secrets and tokens. Nothing that exists is overwritten.
    pub(super) fn make(&self) -> Result<(), OfficeError> {
        for path in [self.0.clone(), self.contracts(), self.geography()] {
            files::make_folder(&path, Privacy::Open)?;
        }
        for path in [self.tls(), self.keys(), self.0.join("tokens")] {
            files::make_folder(&path, Privacy::Private)?;
        }
        let tls_key = KeyPair::generate()?.serialize_pem();
        let release_key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?.serialize_pem();
        make_secret(&self.tls_key_file(), &tls_key)?;
        make_secret(&self.release_key_file(), &release_key)?;
        make_secret(&self.domain_secret_file(), &random_line()?)?;
        for purpose in Purpose::ALL {
            make_secret(&self.token_file(purpose), &random_line()?)?;
        }
        Ok(())
    }

    /// The key that is shown on links.
    pub(super) fn tls_key_pair(&self) -> Result<KeyPair, OfficeError> {
        key_pair_in(&self.tls_key_file())
    }

    /// The key that signs releases, to prove that the node holds it.
    pub(super) fn release_key_pair(&self) -> Result<KeyPair, OfficeError> {
        key_pair_in(&self.release_key_file())
    }
}

/// The certificate in a file.
pub(super) fn certificate_in(path: &Path) -> Result<CertificateDer<'static>, OfficeError> {
    CertificateDer::from_pem_slice(&files::read(path)?).map_err(|_| OfficeError::Key(path.to_owned()))
}

/// The key pair in a file.
pub(super) fn key_pair_in(path: &Path) -> Result<KeyPair, OfficeError> {
    KeyPair::from_pem(&files::read_text(path)?).map_err(|_| OfficeError::Key(path.to_owned()))
}

fn make_secret(path: &Path, content: &str) -> Result<(), OfficeError> {
    if fs::exists(path).map_err(|error| files::failed(path, error))? {
        return Ok(());
    }
    files::write(path, content.as_bytes(), Privacy::Private)
}

fn random_line() -> Result<String, OfficeError> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    Ok(hex::encode(bytes) + "\n")
}
