//! Who may call what: the bearer token of a request against the role that the call needs.

use civicmesh_exchange::office::{NodeFolder, OfficeError, Purpose, Token};
use civicmesh_proto::department::v1::ErrorCode;
use tonic::metadata::MetadataMap;

use super::failure::Failure;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// The three tokens of a node, read once at start: to revoke one, replace its file and restart the node.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<(Purpose, Token)>);

impl Tokens {
    /// Reads the tokens of a node's folder.
    pub(crate) fn read(folder: &NodeFolder) -> Result<Tokens, OfficeError> {
        let tokens = Purpose::ALL.into_iter().map(|purpose| Ok((purpose, folder.token(purpose)?)));
        tokens.collect::<Result<_, OfficeError>>().map(Tokens)
    }

    /// What the token that was shown is for, if it is one of the node's. Takes the same time for each.
    fn purpose_of(&self, shown: &str) -> Option<Purpose> {
        if shown.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let matching = self.0.iter().filter(|(_, token)| token.matches(shown));
        matching.fold(None, |_, (purpose, _)| Some(*purpose))
    }
}

/// What the token in `metadata` is for, if it is for one of `needed`; admin's is for all.
pub(crate) fn authorize(tokens: &Tokens, metadata: &MetadataMap, needed: &[Purpose]) -> Result<Purpose, Failure> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    authorize_header(tokens, header, needed)
}

/// The same for the text of an `authorization` header.
pub(crate) fn authorize_header(tokens: &Tokens, header: Option<&str>, needed: &[Purpose]) -> Result<Purpose, Failure> {
    let names: Vec<&str> = needed.iter().map(|purpose| purpose.as_str()).collect();
    let instead = format!(
        "the token in NODE_DIR/tokens/{}: the command takes it from --node NODE_DIR or CIVICMESH_TOKEN, a call as `authorization: Bearer TOKEN`",
        names.join(" or ")
    );
    let presented = header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(presented) = presented else {
        return Err(Failure::new(ErrorCode::Token, "this call needs a token").instead(instead));
    };
    match tokens.purpose_of(presented) {
        None => Err(Failure::new(ErrorCode::Token, "the token is not one of this node's").instead(instead)),
        Some(purpose) if purpose == Purpose::Admin || needed.contains(&purpose) => Ok(purpose),
        Some(purpose) => {
            let message = format!("the {} token may not do this", purpose.as_str());
            Err(Failure::new(ErrorCode::Token, message).instead(instead))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_right_token_opens_a_call() {
        let dir = tempfile::tempdir().unwrap();
        let folder = NodeFolder::new(dir.path());
        fs::create_dir(dir.path().join("tokens")).unwrap();
        for purpose in Purpose::ALL {
            let token = purpose.as_str().repeat(10);
            fs::write(dir.path().join("tokens").join(purpose.as_str()), token + "\n").unwrap();
        }
        let tokens = Tokens::read(&folder).unwrap();
        let query = format!("Bearer {}", folder.token(Purpose::Query).unwrap().expose());
        let admin = format!("bearer {}", folder.token(Purpose::Admin).unwrap().expose());

        let asked = |header: Option<&str>, needed| authorize_header(&tokens, header, needed);
        assert_eq!(asked(Some(&query), &[Purpose::Query]), Ok(Purpose::Query));
        assert_eq!(asked(Some(&query), &[Purpose::Ingest, Purpose::Query]), Ok(Purpose::Query));
        assert_eq!(asked(Some(&admin), &[Purpose::Ingest]), Ok(Purpose::Admin));
        for header in [None, Some(""), Some("Bearer"), Some("Bearer x"), Some("Basic x"), Some(query.as_str())] {
            assert_eq!(asked(header, &[Purpose::Ingest]).unwrap_err().code(), ErrorCode::Token, "{header:?}");
        }
    }
}
