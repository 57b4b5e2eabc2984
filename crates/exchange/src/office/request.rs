//! A department's request to be admitted, or to be certified anew: made where its keys are, signed with both, so that
//! the office never holds a key and nobody can exchange one of them on the way.

use civicmesh_model::{hash::Hash32, names::DomainName};
use rcgen::{PublicKeyData, SigningKey, SubjectPublicKeyInfo};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{
    OfficeError,
    files::{self, Privacy},
    folder::NodeFolder,
};
use crate::{
    document::Document,
    roster::{Address, Member, ReleaseKey},
};

const KIND: &str = "request";
const TLS_SIGNER: &str = "tls_key";
const RELEASE_SIGNER: &str = "release_key";

/// What a new node's folder should say.
#[derive(Debug, Clone, Default)]
pub struct Departure {
    /// The domain; left out for a node that has asked before.
    pub domain: Option<DomainName>,
    /// Where peers reach the node; left out if that has not changed.
    pub listen: Option<Address>,
    /// Where the department reaches it; by default on loopback, at the port after `listen`'s.
    pub department: Option<Address>,
    /// Where peers listen.
    pub seeds: Vec<Address>,
}

/// A request that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The domain.
    pub domain: DomainName,
    /// Where peers will reach it.
    pub address: Address,
    /// The node had keys before: the office will certify them anew.
    pub renewal: bool,
}

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) domain: DomainName,
    pub(super) address: Address,
    /// The public key for links, in PEM form.
    tls_key: String,
    /// The public key that verifies log heads.
    release_key: ReleaseKey,
}

impl Request {
    /// The request in a file's bytes, if both keys have signed it.
    pub(super) fn verify(bytes: &[u8]) -> Result<Self, OfficeError> {
        let document = Document::parse(KIND, bytes)?;
        let request: Self = document.content()?;
        let tls_key = request.tls_key()?;
        let signed = document.signing_bytes();
        let tls = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, tls_key.der_bytes());
        let release = UnparsedPublicKey::new(&ED25519, request.release_key.as_bytes());
        tls.verify(&signed, &document.signature(TLS_SIGNER)?).map_err(|_| OfficeError::NotHolder)?;
        release.verify(&signed, &document.signature(RELEASE_SIGNER)?).map_err(|_| OfficeError::NotHolder)?;
        Ok(request)
    }

    /// The public key for links.
    pub(super) fn tls_key(&self) -> Result<SubjectPublicKeyInfo, OfficeError> {
        Ok(SubjectPublicKeyInfo::from_pem(&self.tls_key)?)
    }

    /// The domain as the roster will list it.
    pub(super) fn member(&self) -> Result<Member, OfficeError> {
        Ok(Member {
            address: self.address.clone(),
            release_key: self.release_key,
            tls_key: Hash32::of(&[&self.tls_key()?.subject_public_key_info()]),
        })
    }
}

/// Makes what a node lacks (keys, secrets, tokens, configuration) and writes its request into the folder.
pub fn request(folder: &NodeFolder, departure: &Departure) -> Result<Requested, OfficeError> {
    let renewal = folder.has_keys();
    let earlier = match folder.request_file().exists() {
        true => Some(read(folder)?),
        false => None,
    };
    if let (Some(earlier), Some(asked)) = (&earlier, &departure.domain)
        && earlier.domain != *asked
    {
        return Err(OfficeError::OtherDomain { is: earlier.domain.clone(), asked: asked.clone() });
    }
    let domain = departure.domain.clone().or_else(|| earlier.as_ref().map(|earlier| earlier.domain.clone()));
    let address = departure.listen.clone().or_else(|| earlier.map(|earlier| earlier.address));
    let (Some(domain), Some(address)) = (domain, address) else {
        return Err(OfficeError::FirstRequest);
    };
    folder.make()?;
    if !folder.config_file().exists() {
        let config = config_text(&domain, &address, departure)?;
        files::write(&folder.config_file(), config.as_bytes(), Privacy::Open)?;
    }
    write(folder, &domain, &address)?;
    Ok(Requested { domain, address, renewal })
}

/// The request that the folder holds.
pub(super) fn read(folder: &NodeFolder) -> Result<Request, OfficeError> {
    Request::verify(&files::read(&folder.request_file())?)
}

fn write(folder: &NodeFolder, domain: &DomainName, address: &Address) -> Result<(), OfficeError> {
    let (tls_key, release_key) = (folder.tls_key_pair()?, folder.release_key_pair()?);
    let public = release_key.public_key_raw().try_into().map_err(|_| OfficeError::NotHolder)?;
    let request = Request {
        domain: domain.clone(),
        address: address.clone(),
        tls_key: tls_key.public_key_pem(),
        release_key: ReleaseKey::new(public),
    };
    let mut document = Document::new(KIND, &request)?;
    let signed = document.signing_bytes();
    document.sign(TLS_SIGNER, &tls_key.sign(&signed)?);
    document.sign(RELEASE_SIGNER, &release_key.sign(&signed)?);
    files::write(&folder.request_file(), &document.to_bytes(), Privacy::Open)
}

fn config_text(domain: &DomainName, listen: &Address, departure: &Departure) -> Result<String, OfficeError> {
    let department = match &departure.department {
        Some(address) => address.clone(),
        None => format!("127.0.0.1:{}", u32::from(listen.port()) + 1).parse()?,
    };
    let seeds: Vec<_> = departure.seeds.iter().map(|seed| format!("{:?}", seed.as_str())).collect();
    Ok(format!(
        r#"# What this node is and where it listens. `civicmesh node check` says whether it is fit to run.
[node]
domain = "{domain}"
# Where peers reach it, over mutual TLS. The roster names the same address; to listen at another one (0.0.0.0, say),
# change it here.
city_listen = "{listen}"
# Where the department's own people and programs reach it. Beyond loopback it needs TLS.
department_listen = "{department}"
# Where its tools that speak PostgreSQL's protocol connect: any name, the query token as password.
# department_postgres_listen = "127.0.0.1:5432"
# Peers to greet besides those of the roster.
seeds = [{}]
"#,
        seeds.join(", ")
    ))
}
