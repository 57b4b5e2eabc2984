//! Statements about the connection instead of the city: transactions, settings, prepared statements.
//!
//! Nothing is written here, so that a transaction only says when portals end; clients open one around every question.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, SelectItem, SetExpr, Statement, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::pieces::bare;

/// Longest statement about the connection, in bytes: nothing longer is looked at.
const STATEMENT_BYTES_MAX: usize = 4 << 10;

/// A statement about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A transaction begins.
    Begin,
    /// A transaction ends: by COMMIT, or else by ROLLBACK.
    End { commits: bool },
    /// Nothing is done, and the client is told this.
    Nothing(&'static str),
    /// `SET name = value`.
    Set { name: String, value: String },
    /// `RESET name`.
    Reset(String),
    /// `RESET ALL`.
    ResetAll,
    /// `SHOW name`.
    Show(String),
    /// `SHOW ALL`.
    ShowAll,
    /// `DISCARD`, all of it or a part.
    Discard { all: bool },
    /// `DEALLOCATE name`, or of all.
    Deallocate(Option<String>),
    /// `SELECT set_config(name, value, is_local)`.
    SetConfig { name: Given, value: Given },
    /// `SELECT current_setting(name)`.
    CurrentSetting(Given),
    /// `DECLARE name CURSOR FOR question`.
    Declare { name: String, question: String },
    /// `FETCH count FROM name`, or `MOVE` without giving the rows.
    Fetch { name: String, count: usize, moves: bool },
    /// `CLOSE name`, or of all.
    Close(Option<String>),
    /// A statement that there is none of here, with its first words.
    Unknown(String),
}

/// An argument: written out, or the parameter of this number, from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Text(String),
    Parameter(usize),
}

/// The statement about the connection that this text is; none if it is a question.
pub(super) fn read(sql: &str) -> Option<Command> {
    let sql = bare(sql);
    if sql.len() > STATEMENT_BYTES_MAX {
        return None;
    }
    let (verb, rest) = word(sql);
    let (next, after) = word(rest);
    let (next, _) = (next.to_ascii_uppercase(), after);
    Some(match verb.to_ascii_uppercase().as_str() {
        "BEGIN" => Command::Begin,
        "START" if next == "TRANSACTION" => Command::Begin,
        "COMMIT" | "END" => Command::End { commits: true },
        "ROLLBACK" | "ABORT" if next == "TO" => Command::Nothing("ROLLBACK"),
        "ROLLBACK" | "ABORT" => Command::End { commits: false },
        "SAVEPOINT" => Command::Nothing("SAVEPOINT"),
        "RELEASE" => Command::Nothing("RELEASE"),
        "LISTEN" => Command::Nothing("LISTEN"),
        "UNLISTEN" => Command::Nothing("UNLISTEN"),
        "CLOSE" => Command::Close((next != "ALL").then(|| unquoted(rest))),
        "DECLARE" => declare(rest),
        "FETCH" | "MOVE" => fetch(rest, verb.eq_ignore_ascii_case("move")),
        "DISCARD" => Command::Discard { all: next == "ALL" },
        "DEALLOCATE" => {
            let name = if next == "PREPARE" { word(after).0 } else { word(rest).0 };
            Command::Deallocate((!name.eq_ignore_ascii_case("all")).then(|| unquoted(name)))
        }
        "SET" => set(rest),
        "RESET" if next == "ALL" => Command::ResetAll,
        "RESET" => Command::Reset(unquoted(rest)),
        "SHOW" if next == "ALL" => Command::ShowAll,
        "SHOW" if ["TABLES", "COLUMNS", "FUNCTIONS"].contains(&next.as_str()) => return None,
        "SHOW" => Command::Show(unquoted(rest)),
        "SELECT" => return function(sql),
        "PREPARE" | "EXECUTE" | "LOCK" | "NOTIFY" | "CALL" | "DO" | "VACUUM" | "ANALYZE" | "CHECKPOINT" | "GRANT"
        | "REVOKE" => Command::Unknown(verb.to_ascii_uppercase()),
        _ => return None,
    })
}

/// `DECLARE name [options] CURSOR [WITHOUT HOLD] FOR question`.
fn declare(text: &str) -> Command {
    let (name, mut rest) = word(text);
    loop {
        let (next, after) = word(rest);
        match next.to_ascii_uppercase().as_str() {
            "BINARY" | "INSENSITIVE" | "ASENSITIVE" | "NO" | "SCROLL" | "CURSOR" | "WITHOUT" | "HOLD" => rest = after,
            "FOR" => return Command::Declare { name: unquoted(name), question: after.to_owned() },
            _ => return Command::Unknown(format!("DECLARE with {next}")),
        }
    }
}

/// `FETCH [NEXT | FORWARD] [count | ALL] [FROM | IN] name`.
fn fetch(text: &str, moves: bool) -> Command {
    let (mut count, mut rest) = (1, text);
    loop {
        let (next, after) = word(rest);
        match next.to_ascii_uppercase().as_str() {
            "NEXT" | "FORWARD" | "FROM" | "IN" if !after.is_empty() => rest = after,
            "ALL" if !after.is_empty() => (count, rest) = (usize::MAX, after),
            "PRIOR" | "FIRST" | "LAST" | "ABSOLUTE" | "RELATIVE" | "BACKWARD" if !after.is_empty() => {
                return Command::Unknown(format!("FETCH {next}"));
            }
            number => match number.parse() {
                Ok(number) if !after.is_empty() => (count, rest) = (number, after),
                _ => return Command::Fetch { name: unquoted(rest), count, moves },
            },
        }
    }
}

/// `SET [SESSION | LOCAL] name { = | TO } value`, `SET TIME ZONE value`, `SET TRANSACTION …`.
fn set(text: &str) -> Command {
    let (scope, after) = word(text);
    let text = if ["SESSION", "LOCAL"].contains(&scope.to_ascii_uppercase().as_str()) { after } else { text };
    let (first, rest) = word(text);
    let (second, after) = word(rest);
    match (first.to_ascii_uppercase().as_str(), second.to_ascii_uppercase().as_str()) {
        ("TRANSACTION" | "CHARACTERISTICS", _) | ("CONSTRAINTS", _) => Command::Nothing("SET"),
        ("TIME", "ZONE") => Command::Set { name: "time zone".to_owned(), value: unquoted(after) },
        ("NAMES", _) => Command::Set { name: "names".to_owned(), value: unquoted(rest) },
        ("ROLE" | "AUTHORIZATION", _) => Command::Nothing("SET"),
        _ => {
            let value = match (rest.strip_prefix('='), second.eq_ignore_ascii_case("to")) {
                (Some(value), _) => value,
                (None, true) => after,
                (None, false) => return Command::Unknown(format!("SET {first} without a value")),
            };
            Command::Set { name: unquoted(first), value: unquoted(value) }
        }
    }
}

/// `SELECT set_config(…)` and `SELECT current_setting(…)`, which are about the connection and not of the city.
fn function(sql: &str) -> Option<Command> {
    let text = sql.to_ascii_lowercase();
    if !text.contains("set_config") && !text.contains("current_setting") {
        return None;
    }
    // what nests deeper takes the parser longer than any client waits; the engine refuses it in words
    if !civicmesh_query::is_shallow(sql) {
        return None;
    }
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let [Statement::Query(query)] = statements.as_slice() else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let (SelectItem::UnnamedExpr(Expr::Function(function))
    | SelectItem::ExprWithAlias { expr: Expr::Function(function), .. }) = select.projection.first()?
    else {
        return None;
    };
    let FunctionArguments::List(arguments) = &function.args else { return None };
    if !select.from.is_empty() || select.projection.len() > 1 {
        return None;
    }
    let given = |at: usize| arguments.args.get(at).and_then(given);
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident)?;
    match name.value.to_ascii_lowercase().as_str() {
        "set_config" => Some(Command::SetConfig { name: given(0)?, value: given(1)? }),
        "current_setting" => Some(Command::CurrentSetting(given(0)?)),
        _ => None,
    }
}

fn given(argument: &FunctionArg) -> Option<Given> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return None };
    let expr = match expr {
        Expr::Cast { expr, .. } => expr,
        expr => expr,
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(Given::Text(text.clone())),
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok().map(Given::Parameter),
            _ => None,
        },
        _ => None,
    }
}

/// The first word, which ends before a space, a quote or an equals sign, and what comes after it. A name in quotes is one.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if let Some(end) = text.strip_prefix('"').and_then(|inner| inner.find('"')) {
        return (&text[..end + 2], text[end + 2..].trim_start());
    }
    let end = text.find(|letter: char| letter.is_whitespace() || letter == '=' || letter == '\'').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

/// A name or value without its quotes.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Option<Command> {
        Some(Command::Set { name: name.to_owned(), value: value.to_owned() })
    }

    #[test]
    fn statements_about_the_connection_are_told_from_questions() {
        let text = |text: &str| Given::Text(text.to_owned());
        for (sql, command) in [
            ("BEGIN", Some(Command::Begin)),
            ("start transaction isolation level serializable", Some(Command::Begin)),
            ("/* tool */ COMMIT", Some(Command::End { commits: true })),
            ("ROLLBACK TO SAVEPOINT a", Some(Command::Nothing("ROLLBACK"))),
            ("rollback", Some(Command::End { commits: false })),
            ("SET TIMEZONE = UTC", set("TIMEZONE", "UTC")),
            ("SET TIME ZONE 'Europe/Paris'", set("time zone", "Europe/Paris")),
            ("set session search_path to \"health\", public", set("search_path", "\"health\", public")),
            ("SET civicmesh.max_staleness='15m'", set("civicmesh.max_staleness", "15m")),
            ("SET NAMES 'utf8'", set("names", "utf8")),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Some(Command::Nothing("SET"))),
            ("SHOW transaction isolation level", Some(Command::Show("transaction isolation level".to_owned()))),
            ("SHOW ALL", Some(Command::ShowAll)),
            ("SHOW TABLES", None),
            ("RESET ALL", Some(Command::ResetAll)),
            ("DISCARD ALL", Some(Command::Discard { all: true })),
            ("DEALLOCATE \"_pg3_0\"", Some(Command::Deallocate(Some("_pg3_0".to_owned())))),
            ("DEALLOCATE ALL", Some(Command::Deallocate(None))),
            (
                "SELECT pg_catalog.set_config('search_path', $1, false)",
                Some(Command::SetConfig { name: text("search_path"), value: Given::Parameter(1) }),
            ),
            ("SELECT current_setting('server_version_num')", Some(Command::CurrentSetting(text("server_version_num")))),
            ("SELECT set_config, 1 FROM taxi", None),
            ("SELECT 1", None),
            (
                "DECLARE \"a b\" BINARY NO SCROLL CURSOR FOR SELECT 1",
                Some(Command::Declare { name: "a b".to_owned(), question: "SELECT 1".to_owned() }),
            ),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Some(Command::Unknown("DECLARE with WITH".to_owned()))),
            ("FETCH FORWARD 100 FROM \"c\"", Some(Command::Fetch { name: "c".to_owned(), count: 100, moves: false })),
            ("FETCH c", Some(Command::Fetch { name: "c".to_owned(), count: 1, moves: false })),
            ("MOVE ALL IN c", Some(Command::Fetch { name: "c".to_owned(), count: usize::MAX, moves: true })),
            ("FETCH PRIOR FROM c", Some(Command::Unknown("FETCH PRIOR".to_owned()))),
            ("CLOSE ALL", Some(Command::Close(None))),
            ("", None),
        ] {
            assert_eq!(read(sql), command, "{sql}");
        }
    }
}
