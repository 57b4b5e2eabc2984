//! Names: of a domain, a product, a dataset, a source. A name that exists is a valid one, so nothing downstream
//! quotes, escapes or checks it again (it is a SQL identifier, a file name and a certificate's subject as it stands).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 40;
/// Schemas that SQL keeps for itself: a domain is a schema, so none may be called so.
const SCHEMAS_RESERVED: [&str; 4] = ["civicmesh", "information_schema", "pg_catalog", "public"];
/// How much of a refused name an error quotes, in characters.
const QUOTED_CHARACTERS_MAX: usize = 60;

/// A text that is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text breaks the rule for names of this kind.
    #[error(
        "`{name}` is not a {kind} name: a lower-case letter, then lower-case letters, digits or {marks}, \
         at most {NAME_BYTES_MAX} characters"
    )]
    Rule {
        /// What the name should have named, such as `domain`.
        kind: &'static str,
        /// The marks that are allowed between letters.
        marks: &'static str,
        /// The refused text, cut to a length that a terminal bears.
        name: String,
    },
    /// A schema of SQL's own.
    #[error("`{0}` is not a domain name: SQL keeps the schema of that name for itself")]
    Reserved(String),
    /// A product's full name lacks its point.
    #[error("`{0}` is not a product: write domain.product, such as traffic.taxi")]
    Point(String),
}

fn quoted(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(QUOTED_CHARACTERS_MAX).collect()
}

fn follows_rule(name: &str, marks: &[u8]) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || marks.contains(&b))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $marks:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                if !follows_rule(name, $allowed) {
                    Err(NameError::Rule { kind: $kind, marks: $marks, name: quoted(name) })
                } else if $kind == "domain" && SCHEMAS_RESERVED.contains(&name) {
                    Err(NameError::Reserved(name.to_owned()))
                } else {
                    Ok(Self(name.to_owned()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// One department's area, such as `traffic`; also the SQL schema of its products.
    DomainName, "domain", "_", b"_"
);
name!(
    /// A data product within its domain, such as `taxi`; also its SQL table.
    ProductName, "product", "_", b"_"
);
name!(
    /// A private dataset of a domain, such as `taxi_trips`.
    DatasetName, "dataset", "_", b"_"
);
name!(
    /// A named feed into a dataset, such as `depot-3.nightly`.
    SourceName, "source", "_ . -", b"_.-"
);

/// A product's full name, `traffic.taxi` as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProductId {
    /// The domain that owns it.
    pub domain: DomainName,
    /// Its name there.
    pub product: ProductName,
}

impl FromStr for ProductId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (domain, product) = text.split_once('.').ok_or_else(|| NameError::Point(quoted(text)))?;
        Ok(Self { domain: domain.parse()?, product: product.parse()? })
    }
}

impl TryFrom<String> for ProductId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ProductId> for String {
    fn from(id: ProductId) -> String {
        id.to_string()
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.domain, self.product)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rule() {
        for good in ["a", "traffic", "a1_b", &"a".repeat(NAME_BYTES_MAX)] {
            assert_eq!(good.parse::<DomainName>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "1a", "_a", "a-b", "a.b", "a b", "ä", "a\n", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
        for reserved in SCHEMAS_RESERVED {
            assert_eq!(reserved.parse::<DomainName>(), Err(NameError::Reserved(reserved.to_owned())));
            assert!(reserved.parse::<ProductName>().is_ok(), "a table may be called so");
        }
        assert!("depot-3.nightly".parse::<SourceName>().is_ok());
        assert!("-depot".parse::<SourceName>().is_err());
    }

    #[test]
    fn a_refused_name_says_the_rule_and_is_cut() {
        let error = "Traffic".parse::<DomainName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`Traffic` is not a domain name: a lower-case letter, then lower-case letters, digits or _, \
             at most 40 characters"
        );
        let error = "X".repeat(10_000).parse::<DomainName>().unwrap_err().to_string();
        assert!(error.len() < 250);
    }

    #[test]
    fn a_product_id_is_two_names_and_a_point() {
        let id: ProductId = "traffic.taxi".parse().unwrap();
        assert_eq!((id.domain.as_str(), id.product.as_str()), ("traffic", "taxi"));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"traffic.taxi\"");
        assert_eq!(serde_json::from_str::<ProductId>("\"traffic.taxi\"").unwrap(), id);
        for bad in ["traffic", "traffic.", ".taxi", "a.b.c", "A.b"] {
            assert!(bad.parse::<ProductId>().is_err(), "{bad}");
        }
    }
}
