//! What tells one vault from another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A vault's random name, drawn when it is made: a ledger counts from one vault and no other. Hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultId(pub [u8; 16]);

/// A text that is not a vault's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a vault's id is 32 hexadecimal digits")]
pub struct VaultIdError;

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VaultId {
    type Err = VaultIdError;

    fn from_str(text: &str) -> Result<Self, VaultIdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| VaultIdError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for VaultId {
    type Error = VaultIdError;

    fn try_from(text: String) -> Result<Self, VaultIdError> {
        text.parse()
    }
}

impl From<VaultId> for String {
    fn from(id: VaultId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_text() {
        let id = VaultId([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("a5".parse::<VaultId>(), Err(VaultIdError));
    }
}
