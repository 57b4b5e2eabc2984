//! Canaries: things planted in the raw rows that no peer and no log may ever see.

use serde::{Deserialize, Serialize};

/// Something unique in the raw rows of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Whose rows hold it; its own node may keep it, all others may not see it.
    pub domain: String,
    /// Where it stands: a column's name, or `rejected row`.
    pub place: String,
    /// What it is.
    pub thing: CanaryThing,
}

/// What was planted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CanaryThing {
    /// A text: a plate, a telephone number, a name, a sentence.
    Text(String),
    /// A number, scaled by ten to the power of `decimals`; large enough that no other number is it by chance.
    Number {
        /// The number times ten to the power of `decimals`.
        scaled: i64,
        /// Its decimals.
        decimals: u8,
    },
}

impl Canary {
    /// Every way in which its bytes could leave: as text and in each numeric encoding in use (fixed width in both
    /// orders, varint, zigzag varint, Float64), scaled as a measure holds it and as it stood in the file. All are of
    /// five bytes or more, so that none is found by chance.
    pub fn encodings(&self) -> Vec<Vec<u8>> {
        let mut found = match &self.thing {
            CanaryThing::Text(text) => vec![text.clone().into_bytes(), text.to_lowercase().into_bytes()],
            CanaryThing::Number { scaled, decimals } => {
                let text = civicmesh_model::number::format_scaled((*scaled).into(), *decimals);
                let float = text.parse::<f64>().unwrap_or(f64::NAN);
                let zigzag = ((scaled << 1) ^ (scaled >> 63)) as u64;
                let mut found = vec![text.into_bytes(), scaled.to_string().into_bytes()];
                found.extend([scaled.to_le_bytes().to_vec(), scaled.to_be_bytes().to_vec()]);
                found.extend([float.to_le_bytes().to_vec(), float.to_be_bytes().to_vec()]);
                found.extend([(*scaled as f64).to_le_bytes().to_vec(), varint(*scaled as u64), varint(zigzag)]);
                found
            }
        };
        found.sort();
        found.dedup();
        found
    }
}

/// A number as Protocol Buffers and our canonical bytes write it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
