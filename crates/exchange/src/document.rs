//! Signed documents: JSON for people to read, with signatures over its one canonical form, so that laying it out
//! anew breaks nothing, and a field that this version does not know is signed and kept all the same.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The largest document read, in bytes; a roster of a thousand domains takes a third of it.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The key that the signatures stand under.
const SIGNATURES: &str = "signatures";

/// A document that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Too large to be one of ours.
    #[error("a document of more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON, or not of the expected shape.
    #[error("not a {kind} of civicmesh: {reason}")]
    Shape {
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A signature is missing.
    #[error("the {kind} lacks the signature of {signer}")]
    Unsigned {
        /// What it is.
        kind: &'static str,
        /// Whose signature is missing.
        signer: &'static str,
    },
}

/// A JSON object and the signatures over it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    kind: &'static str,
    body: Map<String, Value>,
    signatures: Map<String, Value>,
}

impl Document {
    /// A document with `content`, unsigned.
    pub(crate) fn new(kind: &'static str, content: &impl Serialize) -> Result<Self, DocumentError> {
        match serde_json::to_value(content) {
            Ok(Value::Object(body)) => Ok(Self { kind, body, signatures: Map::new() }),
            Ok(_) => Err(DocumentError::Shape { kind, reason: "not an object".into() }),
            Err(error) => Err(DocumentError::Shape { kind, reason: error.to_string() }),
        }
    }

    /// Reads a document. No signature is verified yet.
    pub(crate) fn parse(kind: &'static str, bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLarge);
        }
        let shape = |reason: String| DocumentError::Shape { kind, reason };
        let mut body: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| shape(error.to_string()))?;
        match body.remove(SIGNATURES) {
            Some(Value::Object(signatures)) => Ok(Self { kind, body, signatures }),
            _ => Err(shape(format!("no `{SIGNATURES}`"))),
        }
    }

    /// The content, typed.
    pub(crate) fn content<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        serde_json::from_value(Value::Object(self.body.clone()))
            .map_err(|error| DocumentError::Shape { kind: self.kind, reason: error.to_string() })
    }

    /// The bytes that signatures cover: what it is, and its canonical form.
    pub(crate) fn signing_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("civicmesh {} v1\0", self.kind).into_bytes();
        write_canonical(&Value::Object(self.body.clone()), &mut bytes);
        bytes
    }

    /// Adds the signature of `signer`.
    pub(crate) fn sign(&mut self, signer: &'static str, signature: &[u8]) {
        self.signatures.insert(signer.into(), Value::String(hex::encode(signature)));
    }

    /// The signature of `signer`.
    pub(crate) fn signature(&self, signer: &'static str) -> Result<Vec<u8>, DocumentError> {
        self.signatures
            .get(signer)
            .and_then(Value::as_str)
            .and_then(|text| hex::decode(text).ok())
            .ok_or(DocumentError::Unsigned { kind: self.kind, signer })
    }

    /// The document, signatures included, laid out for people.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut whole = self.body.clone();
        whole.insert(SIGNATURES.into(), Value::Object(self.signatures.clone()));
        let mut bytes = serde_json::to_vec_pretty(&Value::Object(whole)).expect("JSON of JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Writes `value` without spaces and with every object's keys sorted.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            write_list(out, b"{}", sorted, |(name, field), out| {
                write_canonical(&Value::String(name.clone()), out);
                out.push(b':');
                write_canonical(field, out);
            });
        }
        Value::Array(items) => write_list(out, b"[]", items, write_canonical),
        scalar => out.extend(scalar.to_string().into_bytes()),
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(brackets[0]);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(brackets[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_bytes_are_these() {
        let text = br#"{ "b": [1, {"d": null, "c": "x\"y"}],
            "a": true, "signatures": {"city": "00ff"} }"#;
        let document = Document::parse("roster", text).unwrap();
        assert_eq!(
            document.signing_bytes(),
            b"civicmesh roster v1\0{\"a\":true,\"b\":[1,{\"c\":\"x\\\"y\",\"d\":null}]}"
        );
        assert_eq!(document.signature("city").unwrap(), [0, 255]);
        let again = Document::parse("roster", &document.to_bytes()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn what_is_not_a_document_is_refused() {
        for bad in ["", "[]", "{}", r#"{"signatures": 1}"#, r#"{"signatures": {}} x"#] {
            assert!(Document::parse("roster", bad.as_bytes()).is_err(), "{bad}");
        }
        let large = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        assert_eq!(Document::parse("roster", &large), Err(DocumentError::TooLarge));
        let document = Document::parse("roster", br#"{"signatures": {"city": "xy"}}"#).unwrap();
        assert!(document.signature("city").is_err());
    }
}
