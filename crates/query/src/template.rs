//! A question's text with some of its constants left open, so that a question that differs from an earlier one in them
//! alone need not be planned again.
//!
//! Open is what stands in a WHERE behind `=`, `>=` or `<`: a text, a TIMESTAMP or DATE of one, or a parameter. Whatever
//! else differs makes another template, and a parameter elsewhere makes none. Which of them may stay open, planning tells: see [`crate::plans`].

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use arrow::datatypes::{DataType, TimeUnit};

/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Most constants that are left open.
const OPEN_MAX: usize = 32;
/// What the catalogue's own rewritings look for.
const OF_CATALOGUE: &[&str] = &["pg_", "information_schema", "_description", "::reg", "as reg"];

/// A text with constants left open.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    /// The text, `$1`, `$2` and so on where a constant was.
    pub text: String,
    /// The constants, in order.
    pub constants: Vec<Constant>,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    /// As the text has it.
    Written(Kind, String),
    /// A parameter's value.
    Given(ScalarValue),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Timestamp,
    Date,
}

impl Constant {
    /// The value that SQL's planner makes of it; none if it is none.
    pub(crate) fn value(&self) -> Option<ScalarValue> {
        let cast = |text: &String, kind| ScalarValue::Utf8(Some(text.clone())).cast_to(&kind).ok();
        match self {
            Self::Written(Kind::Text, text) => Some(ScalarValue::Utf8(Some(text.clone()))),
            Self::Written(Kind::Timestamp, text) => cast(text, DataType::Timestamp(TimeUnit::Nanosecond, None)),
            Self::Written(Kind::Date, text) => cast(text, DataType::Date32),
            Self::Given(value) => Some(value.clone()),
        }
    }
}

impl Template {
    /// The template of a text with its parameters; none where it is no query of products, or cannot be written anew as
    /// it was.
    pub(crate) fn of(sql: &str, parameters: &[ScalarValue]) -> Option<Self> {
        if sql.len() > TEXT_BYTES_MAX {
            return None;
        }
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().ok()?;
        let mut words = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_)));
        if !matches!(words.next(), Some(Token::Word(Word { keyword: Keyword::SELECT | Keyword::WITH, .. }))) {
            return None;
        }
        let (mut text, mut constants) = (String::with_capacity(sql.len()), Vec::new());
        let mut open = Opening::default();
        for token in &tokens {
            match token {
                Token::Whitespace(_) => text.push(' '),
                Token::SingleQuotedString(constant) if open.takes() && constants.len() < OPEN_MAX => {
                    // the word before it goes with it
                    text.truncate(open.kept(text.len()));
                    constants.push(Constant::Written(open.kind(), constant.clone()));
                    text.push_str(&format!("${}", constants.len()));
                }
                Token::Placeholder(name) if open.is_behind_comparison() && constants.len() < OPEN_MAX => {
                    let number = name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?;
                    constants.push(Constant::Given(parameters.get(number)?.clone()));
                    text.push_str(&format!("${}", constants.len()));
                }
                Token::SingleQuotedString(constant) if constant.contains('\'') => return None,
                Token::Word(Word { quote_style: None, .. })
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Comma
                | Token::Eq
                | Token::Neq
                | Token::Lt
                | Token::Gt
                | Token::LtEq
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Div
                | Token::Mod
                | Token::LParen
                | Token::RParen
                | Token::Period
                | Token::SemiColon => text.push_str(&token.to_string()),
                Token::Word(Word { quote_style: Some('"'), value, .. }) if !value.contains('"') => {
                    text.push_str(&token.to_string());
                }
                // what else there is may mean something else where it is written anew
                _ => return None,
            }
            open.after(token, text.len());
        }
        let lower = text.to_ascii_lowercase();
        let is_of_products = lower.contains("from") && !OF_CATALOGUE.iter().any(|sign| lower.contains(sign));
        is_of_products.then_some(Self { text, constants })
    }
}

/// Where in a text a constant may be left open.
#[derive(Default)]
struct Opening {
    /// For each bracket that is open, whether a WHERE is.
    within: Vec<bool>,
    is_where: bool,
    /// Whether the last word was `=`, `>=` or `<`.
    compares: bool,
    /// TIMESTAMP or DATE behind it, and where in the template it begins.
    typed: Option<(Kind, usize)>,
}

impl Opening {
    fn takes(&self) -> bool {
        self.is_where && (self.compares || self.typed.is_some())
    }

    fn is_behind_comparison(&self) -> bool {
        self.is_where && self.compares
    }

    fn kind(&self) -> Kind {
        self.typed.map_or(Kind::Text, |(kind, _)| kind)
    }

    fn kept(&self, length: usize) -> usize {
        self.typed.map_or(length, |(_, before)| before)
    }

    /// Follows a token, after which the template is so long.
    fn after(&mut self, token: &Token, length: usize) {
        use Keyword::{
            CROSS, DATE, EXCEPT, FROM, FULL, GROUP, HAVING, INNER, INTERSECT, JOIN, LEFT, LIMIT, OFFSET, ORDER,
        };
        use Keyword::{RIGHT, SELECT, TIMESTAMP, UNION, WHERE, WINDOW, WITH};
        let compares = std::mem::take(&mut self.compares);
        let typed = self.typed.take();
        match token {
            Token::Whitespace(_) => (self.compares, self.typed) = (compares, typed),
            Token::Eq | Token::GtEq | Token::Lt => self.compares = true,
            Token::LParen => {
                self.within.push(self.is_where);
            }
            Token::RParen => self.is_where = self.within.pop().unwrap_or(false),
            Token::Word(Word { quote_style: None, keyword, value }) => match keyword {
                TIMESTAMP if compares => self.typed = Some((Kind::Timestamp, length - value.len())),
                DATE if compares => self.typed = Some((Kind::Date, length - value.len())),
                WHERE => self.is_where = true,
                SELECT | FROM | GROUP | HAVING | ORDER | LIMIT | OFFSET | WINDOW | UNION | EXCEPT | INTERSECT
                | WITH | JOIN | LEFT | RIGHT | FULL | INNER | CROSS => self.is_where = false,
                _ => {}
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Option<(String, Vec<(Kind, String)>)> {
        let template = Template::of(sql, &[])?;
        let written = |constant| match constant {
            Constant::Written(kind, text) => (kind, text),
            Constant::Given(value) => panic!("{value} was not given"),
        };
        Some((template.text, template.constants.into_iter().map(written).collect()))
    }

    #[test]
    fn constants_behind_comparisons_in_where_are_open() {
        let text = |text: &str| (Kind::Text, text.to_owned());
        assert_eq!(
            of(
                "SELECT 'a', count(*) FROM t WHERE d = 'it''s' AND time >=  TIMESTAMP '2020-01-01' AND time<'2021' GROUP BY 1"
            ),
            Some((
                "SELECT 'a', count(*) FROM t WHERE d = $1 AND time >=  $2 AND time<$3 GROUP BY 1".to_owned(),
                vec![text("it's"), (Kind::Timestamp, "2020-01-01".to_owned()), text("2021")]
            ))
        );
        // what stands elsewhere is part of the template
        for sql in [
            "SELECT d = 'a' FROM t",
            "SELECT count(*) FROM t GROUP BY d HAVING d = 'a'",
            "SELECT count(*) FROM t WHERE d IN ('a', 'b') AND d <> 'c' AND time > '2020' AND upper('a') = d",
            "SELECT count(*) FROM t JOIN u ON t.d = 'a'",
        ] {
            assert_eq!(of(sql), Some((sql.to_owned(), Vec::new())), "{sql}");
        }
        // within a function's brackets, too, and after a subquery's
        let (text, constants) = of("SELECT (SELECT 1 FROM t WHERE f(d = 'a')) = 'b' FROM t WHERE (d = 'c')").unwrap();
        assert_eq!(text, "SELECT (SELECT 1 FROM t WHERE f(d = $1)) = 'b' FROM t WHERE (d = $2)");
        assert_eq!(constants.len(), 2);
    }

    #[test]
    fn parameters_behind_comparisons_in_where_are_open() {
        let (one, two) = (ScalarValue::from("one"), ScalarValue::Date32(Some(2)));
        let of = |sql: &str| Template::of(sql, &[one.clone(), two.clone()]);
        let given = |value: &ScalarValue| Constant::Given(value.clone());
        let template = of("SELECT count(*) FROM t WHERE time >= $2 AND d = 'a' AND e = $1 AND time < $2").unwrap();
        assert_eq!(template.text, "SELECT count(*) FROM t WHERE time >= $1 AND d = $2 AND e = $3 AND time < $4");
        let written = Constant::Written(Kind::Text, "a".to_owned());
        assert_eq!(template.constants, [given(&two), written, given(&one), given(&two)]);
        for sql in [
            "SELECT $1, count(*) FROM t",
            "SELECT count(*) FROM t WHERE d <> $1",
            "SELECT count(*) FROM t WHERE d = $3",
            "SELECT count(*) FROM t WHERE d = $0",
            "SELECT count(*) FROM t WHERE d = ?",
            "SELECT count(*) FROM t WHERE time >= TIMESTAMP $1",
            "SELECT count(*) FROM t WHERE d = 'a' LIMIT $1",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }

    #[test]
    fn what_could_not_be_written_anew_has_no_template() {
        for sql in [
            "SELECT 'it''s' FROM t",
            "SELECT count(*) FROM t WHERE d = $1",
            "SELECT count(*) FROM t WHERE d = E'a'",
            "SELECT x::text FROM t",
            "EXPLAIN SELECT count(*) FROM t",
            "SELECT 1",
            "SELECT * FROM pg_class",
            "SELECT 'never closed",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
        assert_eq!(of("SELECT 1 -- a comment\nFROM t").unwrap().0, "SELECT 1  FROM t");
    }
}
