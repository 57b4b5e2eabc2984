//! Who calls, and with which settings: a call of Flight has no session, so both stand in its headers.

use arrow_flight::HandshakeResponse;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use civicmesh_exchange::office::Purpose;
use civicmesh_proto::department::v1::ErrorCode;
use futures::stream;
use tonic::Response;
use tonic::metadata::{Ascii, KeyRef, MetadataMap, MetadataValue};

use crate::department::Responses;
use crate::department::authorize::{Tokens, authorize, authorize_header};
use crate::department::failure::Failure;
use crate::department::session::{Session, Setting};

/// What the headers of settings begin with, as in `civicmesh-require-complete: on`.
const HEADER_PREFIX: &str = "civicmesh-";

/// How a name and a password are written in a header. Some clients leave the padding out.
const CODE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The settings of a call, if it may ask questions.
pub(super) fn admit(tokens: &Tokens, headers: &MetadataMap) -> Result<Session, Failure> {
    authorize(tokens, headers, &[Purpose::Query])?;
    settings(headers)
}

/// What the headers set: each that begins so is a setting.
fn settings(headers: &MetadataMap) -> Result<Session, Failure> {
    let mut session = Session::default();
    for key in headers.keys() {
        let name = match key {
            KeyRef::Ascii(key) => key.as_str(),
            KeyRef::Binary(key) => key.as_str(),
        };
        let Some(setting) = name.strip_prefix(HEADER_PREFIX) else { continue };
        let setting = Setting::named(&setting.replace('-', "_"))?;
        let text = headers.get(name).and_then(|value| value.to_str().ok());
        let text = text.ok_or_else(|| Failure::new(ErrorCode::Invalid, "a header that is no text"))?;
        session.set(setting, text)?;
    }
    Ok(session)
}

/// The header that holds a setting.
pub(super) fn header(setting: Setting) -> String {
    format!("{HEADER_PREFIX}{}", setting.name().replace('_', "-"))
}

/// Takes a name and a password, which is the token, and answers with the header to send from then on. Any name will do.
pub(super) fn handshake(
    tokens: &Tokens,
    headers: &MetadataMap,
) -> Result<Response<Responses<HandshakeResponse>>, Failure> {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
    let bearer = match shown.and_then(password) {
        Some(token) => format!("Bearer {token}"),
        None => shown.unwrap_or_default().to_owned(),
    };
    authorize_header(tokens, Some(&bearer), &[Purpose::Query])?;
    let header: MetadataValue<Ascii> =
        bearer.parse().map_err(|_| Failure::new(ErrorCode::Token, "the token is not one of this node's"))?;
    let greeting = HandshakeResponse { protocol_version: 0, payload: bearer.into_bytes().into() };
    let mut response = Response::new(Box::pin(stream::iter([Ok(greeting)])) as Responses<HandshakeResponse>);
    response.metadata_mut().insert("authorization", header);
    Ok(response)
}

/// The password in the text of an `authorization: Basic` header.
fn password(header: &str) -> Option<String> {
    let (scheme, coded) = header.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| CODE.decode(coded.trim()))?.ok()?;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_login_is_found() {
        let login = |text: &str| format!("Basic {}", CODE.encode(text));
        assert_eq!(password(&login("anyone:the:token")), Some("the:token".to_owned()));
        let padded = login("anyone:the");
        assert!(padded.ends_with('='), "{padded}");
        for header in [padded.as_str(), padded.trim_end_matches('=')] {
            assert_eq!(password(header), Some("the".to_owned()));
        }
        assert_eq!(password(&login("nobody")), None);
        for wrong in ["Basic", "Basic !", "Bearer x", ""] {
            assert_eq!(password(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn settings_stand_in_headers_and_a_misspelt_one_is_refused() {
        let mut headers = MetadataMap::new();
        for setting in Setting::ALL {
            let header = tonic::metadata::AsciiMetadataKey::from_bytes(header(setting).as_bytes()).unwrap();
            headers.insert(header, "default".parse().unwrap());
        }
        headers.insert("civicmesh-require-complete", "on".parse().unwrap());
        headers.insert("another", "header".parse().unwrap());
        assert!(settings(&headers).unwrap().options().require_complete);
        for (misspelt, value) in [("civicmesh-requir-complete", "on"), ("civicmesh-min-coverage", "most")] {
            let mut headers = headers.clone();
            headers.insert(misspelt, value.parse().unwrap());
            assert!(settings(&headers).is_err(), "{misspelt}");
        }
    }
}
