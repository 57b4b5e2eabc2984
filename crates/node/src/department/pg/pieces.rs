//! A text of several statements, cut where they end.

/// The statements of a text, without what is blank. Quotes, comments and dollar quotes keep their semicolons.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let (mut statements, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(';') {
            statements.push(&text[start..at]);
            start = at + 1;
        }
        at += skip(rest, text[..at].chars().next_back());
    }
    statements.push(&text[start..]);
    statements.retain(|statement| !bare(statement).is_empty());
    statements
}

/// How much of the text belongs together: a quote, a comment, or one letter.
fn skip(text: &str, before: Option<char>) -> usize {
    let until = |open: usize, close: &str| text[open..].find(close).map_or(text.len(), |at| open + at + close.len());
    let first = text.chars().next().map_or(0, char::len_utf8);
    if text.starts_with("--") {
        return until(2, "\n");
    }
    if text.starts_with("/*") {
        return comment(text);
    }
    match text.as_bytes()[0] {
        b'\'' if matches!(before, Some('e' | 'E')) => escaped(text),
        b'\'' => until(1, "'"),
        b'"' => until(1, "\""),
        b'$' if !before.is_some_and(|before| before.is_alphanumeric() || before == '_') => match tag(text) {
            Some(tag) => until(tag.len(), tag),
            None => first,
        },
        _ => first,
    }
}

/// The length of a comment, which may hold others.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a quote in which a backslash takes the next letter in.
fn escaped(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The tag that a dollar quote begins with, `$$` or `$name$`.
fn tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let name = &text[1..end - 1];
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        && !name.starts_with(|letter: char| letter.is_ascii_digit());
    is_name.then(|| &text[..end])
}

/// The text from its first word on, without blanks and comments before it and blanks after it.
pub(super) fn bare(text: &str) -> &str {
    let mut text = text.trim_start();
    while text.starts_with("--") || text.starts_with("/*") {
        text = text[skip(text, None)..].trim_start();
    }
    text.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_statements_end() {
        for (text, cut) in [
            ("", vec![]),
            (" ; ;-- only;\n /* a /* b; */ c; */;", vec![]),
            ("SELECT 1", vec!["SELECT 1"]),
            ("BEGIN;SELECT ';' ; COMMIT;", vec!["BEGIN", "SELECT ';' ", " COMMIT"]),
            ("SELECT 'it''s;';SELECT \"a;b\"", vec!["SELECT 'it''s;'", "SELECT \"a;b\""]),
            (r"SELECT E'\';';SELECT 2", vec![r"SELECT E'\';'", "SELECT 2"]),
            ("SELECT $$a;b$$;SELECT $t$;$$;$t$", vec!["SELECT $$a;b$$", "SELECT $t$;$$;$t$"]),
            ("SELECT $1;SELECT a$b$;c", vec!["SELECT $1", "SELECT a$b$", "c"]),
            ("SELECT 1 -- a;b\n;SELECT 2", vec!["SELECT 1 -- a;b\n", "SELECT 2"]),
            ("SELECT 'never closed;", vec!["SELECT 'never closed;"]),
            ("SELECT 'é;';ü", vec!["SELECT 'é;'", "ü"]),
        ] {
            assert_eq!(statements(text), cut, "{text}");
        }
    }

    #[test]
    fn comments_before_a_statement_are_passed_over() {
        assert_eq!(bare(" /* by a tool */ -- again\n SELECT 1 \n"), "SELECT 1");
        assert_eq!(bare("/* never closed"), "");
    }
}
