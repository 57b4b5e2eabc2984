//! Failures and notices as PostgreSQL's messages, with SQLSTATE.

use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::Answer;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};

use crate::department::failure::Failure;

/// Longest text of one message to a client, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// What the message of an error in SQL begins with or holds, and its SQLSTATE.
const SQL_STATES: &[(&str, &str)] = &[
    ("No field named", "42703"),
    ("Invalid function", "42883"),
    ("ParserError", "42601"),
    ("Expected", "42601"),
    ("overflow", "22003"),
    ("division by zero", "22012"),
    ("cannot be cast", "22P02"),
];

impl From<Failure> for ErrorInfo {
    fn from(failure: Failure) -> ErrorInfo {
        let [message, instead, product] = failure.texts();
        let mut info = error(state(failure.code(), message), message);
        info.hint = (!instead.is_empty()).then(|| cut(instead));
        info.table = (!product.is_empty()).then(|| product.to_owned());
        info
    }
}

impl From<Failure> for PgWireError {
    fn from(failure: Failure) -> PgWireError {
        PgWireError::UserError(Box::new(failure.into()))
    }
}

/// An error of the wire's own.
pub(super) fn refuse(state: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(error(state, &message.into())))
}

/// An error after which the connection ends.
pub(super) fn end(state: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(said("FATAL", state, &message.into())))
}

fn error(state: &str, message: &str) -> ErrorInfo {
    said("ERROR", state, message)
}

fn said(severity: &str, state: &str, message: &str) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_owned(), state.to_owned(), cut(message));
    info.severity_nonlocalized = Some(severity.to_owned());
    info
}

/// One notice a product that lacks something, and what else the asker should know.
pub(super) fn notices(answer: &Answer) -> Vec<ErrorInfo> {
    let gaps = answer.completeness.iter().filter(|product| !product.exact).map(|product| {
        let mut notice = said("NOTICE", "01000", &product.note);
        notice.hint = Some("SET civicmesh.require_complete = on makes a gap an error".to_owned());
        notice
    });
    gaps.chain(answer.notices.iter().map(|text| said("NOTICE", "01000", text))).collect()
}

fn state(code: ErrorCode, message: &str) -> &'static str {
    match code {
        ErrorCode::Sql => {
            SQL_STATES.iter().find(|(sign, _)| message.contains(sign)).map_or("42000", |(_, state)| state)
        }
        ErrorCode::QueryRefused if message.contains("does more than read") => "25006",
        ErrorCode::QueryRefused => "0A000",
        ErrorCode::UnknownProduct => "42P01",
        ErrorCode::NotGranted => "42501",
        ErrorCode::Token => "28P01",
        ErrorCode::Invalid => "22023",
        ErrorCode::AllSuppressed | ErrorCode::Incomplete | ErrorCode::Stale | ErrorCode::Uncovered => "55000",
        ErrorCode::TooLarge if message.contains("took longer") => "57014",
        ErrorCode::TooLarge => "54000",
        ErrorCode::Busy => "53300",
        ErrorCode::Stopping => "57P01",
        ErrorCode::Storage => "58030",
        _ => "XX000",
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_becomes_an_error_with_its_state_and_what_to_write_instead() {
        let failure = Failure::new(ErrorCode::QueryRefused, "max(speed) is not published").instead("avg(speed)");
        let info = ErrorInfo::from(failure);
        assert_eq!((info.code.as_str(), info.hint.as_deref()), ("0A000", Some("avg(speed)")));
        let failure = Failure::new(ErrorCode::Sql, "Schema error: No field named color");
        assert_eq!(ErrorInfo::from(failure).code, "42703");
        let long = ErrorInfo::from(Failure::new(ErrorCode::Sql, "ü".repeat(TEXT_BYTES_MAX)));
        assert_eq!(long.message.len(), TEXT_BYTES_MAX);
    }
}
