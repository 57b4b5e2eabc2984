//! Request ids: made where a request begins, carried in `x-request-id`, and named in the log of every node it touches.

use std::fmt;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::link::{Entropy, random};

/// The metadata key that carries the id.
pub const REQUEST_ID_KEY: &str = "x-request-id";
/// The longest id that is taken over from a caller, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Names one request in the logs of all nodes that it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(MetadataValue<Ascii>);

impl RequestId {
    /// A new id.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let text = format!("{:016x}", random(entropy));
        Self(text.parse().expect("hexadecimal digits are fit for metadata"))
    }

    /// The caller's id, if it is fit for a log; else a new one.
    pub fn of(metadata: &MetadataMap, entropy: &dyn Entropy) -> Self {
        let given = metadata.get(REQUEST_ID_KEY).filter(|id| {
            let fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(fit)
        });
        match given {
            Some(id) => Self(id.clone()),
            None => Self::new(entropy),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("made of ASCII letters and digits")
    }

    /// A request that carries the id.
    pub fn attach<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(REQUEST_ID_KEY, self.0.clone());
        request
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xab);
        }
    }

    #[test]
    fn an_id_travels_and_an_unfit_one_is_replaced() {
        let id = RequestId::new(&Fixed);
        assert_eq!(id.as_str(), "abababababababab");
        let request = id.attach(());
        assert_eq!(RequestId::of(request.metadata(), &Fixed), id);
        for (given, kept) in [("a-1_b.2", true), ("", false), ("a b", false), (&"x".repeat(65), false)] {
            let mut metadata = MetadataMap::new();
            metadata.insert(REQUEST_ID_KEY, given.parse().unwrap());
            assert_eq!(RequestId::of(&metadata, &Fixed).as_str() == given, kept, "{given:?}");
        }
    }
}
