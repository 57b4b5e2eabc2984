//! `?` for a parameter, as clients of Flight SQL write it, made `$1`, `$2` and so on, as the engine reads it.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

/// The text with its `?` numbered. What is quoted or a comment stays as it is; so does a text that numbers its
/// parameters itself, and one whose quote or comment has no end.
pub(super) fn numbered(sql: &str) -> Cow<'_, str> {
    let Some(places) = places(sql).filter(|places| !places.is_empty()) else { return Cow::Borrowed(sql) };
    let mut text = String::with_capacity(sql.len() + 3 * places.len());
    let mut from = 0;
    for (number, at) in places.iter().enumerate() {
        text.push_str(&sql[from..*at]);
        text.push_str(&format!("${}", number + 1));
        from = at + 1;
    }
    text.push_str(&sql[from..]);
    Cow::Owned(text)
}

/// Where each `?` stands, in bytes.
fn places(sql: &str) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    let mut letters = sql.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        match (letter, next) {
            ('?', _) => places.push(at),
            ('$', Some(next)) if next.is_ascii_digit() => return None,
            ('\'' | '"', _) => skip(&mut letters, |quote, _| quote == letter)?,
            // a comment may end where the text does
            ('-', Some('-')) => drop(letters.find(|(_, letter)| *letter == '\n')),
            ('/', Some('*')) => {
                letters.next();
                skip(&mut letters, |star, next| star == '*' && next == Some('/'))?;
            }
            _ => {}
        }
    }
    Some(places)
}

/// Goes on until after the letter that ends what was begun.
fn skip(letters: &mut Peekable<CharIndices<'_>>, ends: impl Fn(char, Option<char>) -> bool) -> Option<()> {
    while let Some((_, letter)) = letters.next() {
        if ends(letter, letters.peek().map(|(_, next)| *next)) {
            return Some(());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_and_nothing_else_is() {
        for (sql, read) in [
            (
                "SELECT ? + ?-1, x FROM t WHERE a=? AND b IN (?,?)",
                "SELECT $1 + $2-1, x FROM t WHERE a=$3 AND b IN ($4,$5)",
            ),
            (
                "SELECT 'a?''?', \"b?\", ? -- ?\n, ? /* ? */, 'ü', ?",
                "SELECT 'a?''?', \"b?\", $1 -- ?\n, $2 /* ? */, 'ü', $3",
            ),
            ("SELECT ? -- ?", "SELECT $1 -- ?"),
            ("SELECT $1, '?'", "SELECT $1, '?'"),
            ("SELECT $1, ?", "SELECT $1, ?"),
            ("SELECT '?", "SELECT '?"),
            ("SELECT /* ?", "SELECT /* ?"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(numbered(sql), read);
        }
    }
}
