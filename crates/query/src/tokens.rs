//! Looks at a question's words before it is parsed.
//!
//! Of a call that it cannot read, the parser tries a second reading; of calls within calls, each within each: its time
//! doubles with every one. So what nests deeper than planners have room for never reaches it.

use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, PostgreSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::QueryError;
use crate::forms::CALLS_MAX;

/// Deepest nesting of brackets: the parser itself stops a little beyond.
const BRACKETS_MAX: usize = 40;

/// What is open at a place in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Brackets that group: of an expression, a subquery, a list.
    Group,
    /// Brackets of a call, an array or a map.
    Call,
    /// A CASE that waits for its END.
    Case,
}

/// Whether a text nests no deeper than planners have room for: what does must not be parsed.
pub fn is_shallow(sql: &str) -> bool {
    must_be_shallow(sql).is_ok()
}

/// Bounds the nesting of brackets and of calls, as each of the dialects that are parsed reads them.
pub(crate) fn must_be_shallow(sql: &str) -> Result<(), QueryError> {
    let dialects: [&dyn Dialect; 2] = [&GenericDialect {}, &PostgreSqlDialect {}];
    // what is no text of SQL's in a dialect its parser says better, and at once
    let mut texts = dialects.into_iter().filter_map(|dialect| Tokenizer::new(dialect, sql).tokenize().ok());
    texts.try_for_each(|tokens| nesting(&tokens))
}

fn nesting(tokens: &[Token]) -> Result<(), QueryError> {
    let (mut open, mut calls) = (Vec::new(), 0);
    let mut before = None;
    for token in tokens {
        let opens = match token {
            Token::Whitespace(_) => continue,
            Token::LParen if before.is_some_and(calls_with) => Some(Open::Call),
            Token::LParen => Some(Open::Group),
            Token::LBracket | Token::LBrace => Some(Open::Call),
            Token::Word(Word { keyword: Keyword::CASE, .. }) => Some(Open::Case),
            _ => None,
        };
        let closes = match token {
            Token::RParen | Token::RBracket | Token::RBrace => !matches!(open.last(), Some(Open::Case)),
            Token::Word(Word { keyword: Keyword::END, .. }) => matches!(open.last(), Some(Open::Case)),
            _ => false,
        };
        if let Some(opens) = opens {
            open.push(opens);
            calls += usize::from(opens != Open::Group);
            too_deep("the nesting of calls (a subquery in FROM may name what is within)", calls, CALLS_MAX)?;
            too_deep("the nesting of brackets", open.len(), BRACKETS_MAX)?;
        } else if closes && let Some(closed) = open.pop() {
            calls -= usize::from(closed != Open::Group);
        }
        before = Some(token);
    }
    Ok(())
}

fn too_deep(what: &'static str, depth: usize, limit: usize) -> Result<(), QueryError> {
    match depth > limit {
        true => Err(QueryError::TooLarge { what, limit: limit as u64 }),
        false => Ok(()),
    }
}

/// Whether a bracket after this token is one of a call: after any word but those that join parts of a statement.
fn calls_with(before: &Token) -> bool {
    use Keyword::{
        ALL, AND, ANY, AS, BETWEEN, BY, DISTINCT, ELSE, EXCEPT, FILTER, FROM, HAVING, IN, INTERSECT, JOIN, LATERAL,
        LIKE, LIMIT, ON, OR, OVER, SELECT, SETS, SOME, THEN, UNION, USING, VALUES, WHEN, WHERE, WITH,
    };
    match before {
        Token::Word(Word { quote_style: None, keyword, .. }) => !matches!(
            keyword,
            ALL | AND
                | ANY
                | AS
                | BETWEEN
                | BY
                | DISTINCT
                | ELSE
                | EXCEPT
                | FILTER
                | FROM
                | HAVING
                | IN
                | INTERSECT
                | JOIN
                | LATERAL
                | LIKE
                | LIMIT
                | ON
                | OR
                | OVER
                | SELECT
                | SETS
                | SOME
                | THEN
                | UNION
                | USING
                | VALUES
                | WHEN
                | WHERE
                | WITH
        ),
        Token::Word(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(sql: &str) -> Option<u64> {
        match must_be_shallow(sql) {
            Ok(()) => None,
            Err(QueryError::TooLarge { limit, .. }) => Some(limit),
            Err(error) => panic!("{sql}\n{error:?}"),
        }
    }

    fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
        format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn calls_are_counted_where_they_nest() {
        for (open, close) in [
            ("CAST(", " AS INT)"),
            ("upper (", ")"),
            ("\"upper\"(", ")"),
            ("NOT (", ")"),
            ("EXISTS(", ")"),
            ("CASE WHEN true THEN ", " END"),
            ("CASE WHEN (a) THEN f(", ") END"),
            ("ARRAY[", "]"),
            ("{'a': ", "}"),
        ] {
            let calls = CALLS_MAX / if open.ends_with("f(") { 2 } else { 1 };
            assert_eq!(limit(&nested(open, "1", close, calls)), None, "{open}");
            assert_eq!(limit(&nested(open, "1", close, calls + 1)), Some(CALLS_MAX as u64), "{open}");
            // one that is never closed is no way around
            assert_eq!(limit(&nested(open, "1", "", calls + 1)), Some(CALLS_MAX as u64), "{open}");
        }
        assert_eq!(limit(&format!("SELECT {}", "f(g(1)), ".repeat(1_000))), None);
    }

    #[test]
    fn brackets_that_group_have_more_room() {
        for open in ["(", "x IN (", "a AND (", "SELECT * FROM ("] {
            assert_eq!(limit(&nested(open, "1", ")", BRACKETS_MAX)), None, "{open}");
            assert_eq!(limit(&nested(open, "1", ")", BRACKETS_MAX + 1)), Some(BRACKETS_MAX as u64), "{open}");
        }
        // what one dialect cannot read another can
        let calls = nested("CAST(", "1 `", "", CALLS_MAX + 1);
        assert!(Tokenizer::new(&GenericDialect {}, &calls).tokenize().is_err());
        assert_eq!(limit(&calls), Some(CALLS_MAX as u64));
        // what stands in a text or a comment opens nothing
        assert_eq!(limit(&format!("SELECT '{}' -- {}", "f(".repeat(100), "f(".repeat(100))), None);
    }
}
