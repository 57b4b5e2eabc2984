//! Admission to the city, as functions over folders: the office founds it and signs, a department makes its own keys
//! and asks. What passes between them are two files: the department's request (public keys, signed by both keys) and
//! the office's answer (certificate, the city's certificate, roster).

mod answer;
mod city;
mod files;
mod folder;
mod request;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use civicmesh_model::names::{DomainName, NameError};

pub use self::{
    answer::{Accepted, accept},
    city::{CityOffice, Enrolled, Standing},
    folder::{NodeFolder, Purpose, Secret, Token},
    request::{Departure, Requested, request},
};
use crate::{
    document::DocumentError,
    identity::IdentityError,
    roster::{AddressError, RosterError},
    tls::TlsError,
};

/// Why the office, or a node's folder, could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// A file could not be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is a city in the folder already.
    #[error("{} holds a city already", .0.display())]
    CityExists(PathBuf),
    /// The folder has something else in it.
    #[error("{} is not empty; the office takes a folder of its own, such as {}", .0.display(), .0.join("office").display())]
    NotEmpty(PathBuf),
    /// There is no city in the folder.
    #[error("{} holds no city; make one with `civicmesh city init`", .0.display())]
    NoCity(PathBuf),
    /// The folder holds a node already.
    #[error("{} holds a node already", .0.display())]
    NodeExists(PathBuf),
    /// The city's name or configuration cannot be used.
    #[error("{0}")]
    City(String),
    /// A file does not hold a key that can be used.
    #[error("{}: not a key that can be used", .0.display())]
    Key(PathBuf),
    /// A certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Not a request, or its signatures are missing.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A signature does not match: the request was changed, or its maker does not hold the keys.
    #[error("the request is not signed by the keys that it names: it was changed on its way, or is damaged")]
    NotHolder,
    /// The roster cannot be used.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node's certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The domain was enrolled under other keys.
    #[error(
        "{0} is in the city under other keys; if they are lost, `--replace` lets the new ones take their place \
         (the old ones are refused from then on)"
    )]
    OtherKeys(DomainName),
    /// The domain is not in the city.
    #[error("{0} is not in the city")]
    NotEnrolled(DomainName),
    /// The keys belong to another domain.
    #[error("these keys are those of {0}: each domain has its own")]
    KeysInUse(DomainName),
    /// The address is another domain's.
    #[error("{address} is the address of {domain}")]
    AddressInUse {
        /// The address.
        address: String,
        /// Whose it is.
        domain: DomainName,
    },
    /// The first request has to say for which domain, and where it is reached.
    #[error("say which domain this is and where its peers reach it: --domain NAME --listen HOST:PORT")]
    FirstRequest,
    /// A node's folder is for one domain.
    #[error("this folder is the node of {is}, not of {asked}")]
    OtherDomain {
        /// Whose folder it is.
        is: DomainName,
        /// Who was asked for.
        asked: DomainName,
    },
    /// The answer is for other keys than the folder's.
    #[error("the answer is not for this node: it certifies another key")]
    OtherNode,
    /// The answer comes from another city than the one that the node is in.
    #[error("the answer comes from another city than the one that this node is in")]
    OtherCity,
    /// The certificate was not issued by the city of the answer, or is not in force.
    #[error("the answer's certificate does not hold: {0}")]
    Invalid(String),
}
