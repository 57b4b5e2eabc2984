//! `Debug` of the messages that carry an observation: what they are, never what they hold.

use std::fmt::{Debug, Formatter, Result};

use crate::department::v1::{IngestReject, IngestRequest, ingest_request::Part};

impl Debug for IngestRequest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter.debug_tuple("IngestRequest").field(&self.part).finish()
    }
}

impl Debug for Part {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match self {
            Self::Header(header) => formatter.debug_tuple("Header").field(header).finish(),
            Self::Chunk(bytes) => write!(formatter, "Chunk({} bytes)", bytes.len()),
            Self::End(_) => formatter.write_str("End"),
        }
    }
}

impl Debug for IngestReject {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter
            .debug_struct("IngestReject")
            .field("line", &self.line)
            .field("column", &self.column)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let request = IngestRequest { part: Some(Part::Chunk("secret".into())) };
        let reject = IngestReject { value: "secret".into(), reason: "not a number".into(), ..Default::default() };
        let shown = format!("{request:?} {reject:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("6 bytes") && shown.contains("not a number"));
    }
}
