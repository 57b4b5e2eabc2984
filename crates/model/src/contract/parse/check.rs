//! What no single value shows: whether the parts of a contract fit each other.

use super::document::{DATASET, PUBLISH, TERMS};
use super::reader::{did_you_mean, join};
use super::schema::Schema;
use super::terms::Terms;
use super::tree::Node;
use crate::contract::dataset::{ColumnRef, Contributor, Dataset, InputKind};
use crate::contract::finding::Findings;
use crate::contract::terms::{Method, Statistic};
use crate::grain::Grain;
use crate::time::Span;

/// The sections of the private entry in which columns are named.
const COLUMN_SECTIONS: [&str; 3] = ["columns", "lookups", "derived"];

/// One of our two entries, to find the line of a key in it.
struct Section<'t> {
    node: &'t Node,
    name: &'static str,
}

impl Section<'_> {
    /// Reports a key of the section, at its line or the nearest line above it that exists.
    fn error(&self, findings: &mut Findings, keys: &[&str], message: impl Into<String>, mend: impl Into<String>) {
        let (mut node, mut line, mut path) = (Some(self.node), self.node.line, self.name.to_owned());
        for key in keys {
            let entry = node.and_then(|node| node.entries().iter().find(|entry| entry.key == *key));
            line = entry.map_or(line, |entry| entry.line);
            node = entry.map(|entry| &entry.value);
            path = join(&path, key);
        }
        findings.error(line, &path, message, mend);
    }
}

/// Whether terms hold together.
pub(super) fn check_terms(terms: &Terms, node: &Node, findings: &mut Findings) {
    let section = Section { node, name: TERMS };
    let needed = terms.windows.lateness.micros().saturating_add(longest(terms.windows.grain).micros());
    if terms.retention.raw.micros() <= needed {
        let message = format!("{} is too short for a window to close", terms.retention.raw);
        let mend = format!("write more than {}: lateness and a window", Span::from_micros(needed));
        section.error(findings, &["retention", "raw"], message, mend);
    }
}

/// Whether a product whose rows each stand for many contributors asks for sums of squares.
pub(super) fn check_squares(terms: &Terms, node: &Node, findings: &mut Findings) {
    let section = Section { node, name: TERMS };
    let asked = |name: &str| node.get("measures").and_then(|measures| measures.get(name)?.get(PUBLISH)).is_some();
    for measure in terms.measures.iter().filter(|measure| asked(&measure.name)) {
        if measure.publishes(Statistic::SumSquares) {
            let keys = ["measures", &measure.name, PUBLISH];
            let message = "a threshold product whose contributor is a count publishes no sum_squares: a cell often rests \
                           on two rows, and count, sum and sum_squares give both";
            section.error(findings, &keys, message, "leave `sum_squares` out");
        }
    }
}

/// The longest that a window of this grain can be, but for changes of the clock.
fn longest(grain: Grain) -> Span {
    match grain {
        Grain::Minutes(minutes) => Span::seconds(minutes * 60),
        Grain::Hours(hours) => Span::seconds(hours * 3600),
        Grain::Day => Span::DAY,
        Grain::Week => Span::days(7),
        Grain::Month => Span::days(31),
    }
}

/// Whether each column of the product is one of the dataset; needs no more of the dataset than its names.
pub(super) fn check_columns(schema: &Schema, node: &Node, findings: &mut Findings) {
    let named = |section: &'static str| {
        let entries = node.get(section).map(Node::entries).unwrap_or_default();
        entries.iter().map(move |entry| (section, entry.key.as_str()))
    };
    let columns: Vec<(&str, &str)> = COLUMN_SECTIONS.into_iter().flat_map(named).collect();
    let has = |columns: &[(&str, &str)], name: &str| columns.iter().any(|(_, other)| *other == name);
    for (name, line) in schema.lines.iter().filter(|(name, _)| !has(&columns, name)) {
        let mend = did_you_mean(name, columns.iter().map(|(_, name)| *name));
        let mend = mend.unwrap_or_else(|| "name it under columns, lookups or derived".to_owned());
        findings.error(*line, &join("schema", name), "the dataset has no column of this name", mend);
    }
    let entry = Section { node, name: DATASET };
    for (index, (section, name)) in columns.iter().enumerate() {
        if has(&columns[..index], name) {
            entry.error(findings, &[section, name], "the column is made twice", "rename one");
        }
    }
}

/// Whether the dataset holds together with itself, the product's columns and the terms.
pub(super) fn check_dataset(dataset: &Dataset, node: &Node, schema: &Schema, findings: &mut Findings) {
    let section = Section { node, name: DATASET };
    match dataset.column(&dataset.time.column) {
        None => {
            let mend = format!("add `{}: timestamp` to columns", dataset.time.column);
            section.error(findings, &["time", "column"], "no input column of this name", mend);
        }
        Some(column) if column.kind != InputKind::Timestamp => {
            section.error(findings, &["columns", &column.name], "holds the time", "give it the type timestamp");
        }
        Some(column) if column.format != dataset.time.format => {
            section.error(findings, &["columns", &column.name, "format"], "the time's format stands under `time`", "");
        }
        Some(_) => {}
    }
    for lookup in dataset.lookups.iter().filter(|lookup| dataset.column(&lookup.column).is_none()) {
        let keys = ["lookups", &lookup.name, "column"];
        section.error(findings, &keys, format!("no input column `{}`", lookup.column), "add it to columns");
    }
    for name in dataset.key.iter().filter(|name| !dataset.has_column(name)) {
        section.error(findings, &["key"], format!("the dataset has no column `{name}`"), "");
    }
    check_kinds(dataset, node, schema, findings);
    let (Contributor::Column(name) | Contributor::Count(name)) = &dataset.contributor else {
        return;
    };
    if !dataset.has_column(name) {
        section.error(findings, &["contributor"], format!("the dataset has no column `{name}`"), "");
    }
    check_identities(dataset, name, schema, findings);
}

/// Whether some dimension is the contributor itself: each contributor, or how many a row stands for, would be a cell of
/// its own, which is named even where it is suppressed. A lookup is fine: it maps many codes to one text.
fn check_identities(dataset: &Dataset, contributor: &str, schema: &Schema, findings: &mut Findings) {
    let origin = origin(dataset, contributor);
    for dimension in schema.dimensions.iter().filter(|column| self::origin(dataset, &column.name) == origin) {
        let line = schema.lines.iter().find(|(name, _)| *name == dimension.name).map_or(1, |(_, line)| *line);
        let message = format!("the dimension is the contributor `{contributor}`, and suppressed cells are named by it");
        let mend = "leave it out, or group by a lookup or a coarser column made of it";
        findings.error(line, &join("schema", &dimension.name), message, mend);
    }
}

/// What a column holds as it stands: a column of the file, another one of the dataset, or an expression.
#[derive(PartialEq)]
enum Origin<'a> {
    File(&'a ColumnRef),
    Named(&'a str),
    Sql(&'a str),
}

/// Follows derived columns that are just another column to where that one comes from. Each uses earlier ones only.
fn origin<'a>(dataset: &'a Dataset, name: &'a str) -> Origin<'a> {
    let mut name = name;
    let columns = || {
        let columns = dataset.columns.iter().map(|column| column.name.as_str());
        let lookups = dataset.lookups.iter().map(|lookup| lookup.name.as_str());
        columns.chain(lookups).chain(dataset.derived.iter().map(|derived| derived.name.as_str()))
    };
    for derived in dataset.derived.iter().rev() {
        if derived.name != name {
            continue;
        }
        let sql = derived.sql.trim_matches(|c: char| c.is_whitespace() || "()\"".contains(c));
        match columns().find(|column| column.eq_ignore_ascii_case(sql)) {
            Some(column) => name = column,
            None => return Origin::Sql(sql),
        }
    }
    dataset.column(name).map_or(Origin::Named(name), |column| Origin::File(&column.from))
}

/// Whether what the product and the contributor are made of can be that.
fn check_kinds(dataset: &Dataset, node: &Node, schema: &Schema, findings: &mut Findings) {
    let section = Section { node, name: DATASET };
    for (name, kinds, wanted) in wanted_kinds(dataset, schema) {
        if dataset.kind(name).is_some_and(|kind| !kinds.contains(&kind)) {
            let made_in = |part: &&&str| node.get(part).is_some_and(|part| part.get(name).is_some());
            let part = COLUMN_SECTIONS.iter().find(made_in).unwrap_or(&"columns");
            let mend = format!("give it the type {}", kinds[0].as_str());
            section.error(findings, &[part, name], format!("{wanted} is made of it"), mend);
        }
    }
}

/// Columns that something is made of, with the kinds it can be made of.
fn wanted_kinds<'a>(
    dataset: &'a Dataset,
    schema: &'a Schema,
) -> impl Iterator<Item = (&'a str, &'static [InputKind], &'static str)> {
    const DIMENSION: &[InputKind] = &[InputKind::Text, InputKind::Integer, InputKind::Boolean];
    const MEASURE: &[InputKind] = &[InputKind::Number, InputKind::Integer];
    const COUNT: &[InputKind] = &[InputKind::Integer];
    let dimensions = schema.dimensions.iter().map(|column| (column.name.as_str(), DIMENSION, "a dimension"));
    let measures = schema.measures.iter().map(|column| (column.name.as_str(), MEASURE, "a measure"));
    let count = match &dataset.contributor {
        Contributor::Count(name) => Some((name.as_str(), COUNT, "the count of contributors")),
        _ => None,
    };
    dimensions.chain(measures).chain(count)
}

/// Whether method and grain suit what the dataset holds.
pub(super) fn check_disclosure(terms: &Terms, dataset: &Dataset, node: &Node, findings: &mut Findings) {
    let section = Section { node, name: DATASET };
    match (&terms.method, &dataset.contributor) {
        (Method::Threshold { .. }, Contributor::None) => {
            let message = "a threshold counts contributors, and the dataset has none";
            section.error(
                findings,
                &["contributor"],
                message,
                "write `contributor: row`, {column: NAME} or {count: NAME}",
            );
        }
        (Method::Open { .. }, Contributor::Row | Contributor::Column(_) | Contributor::Count(_)) => {
            let message = "rows with contributors are about people and cannot be open";
            section.error(findings, &["contributor"], message, "write `method: threshold`, or leave contributor out");
        }
        _ => {}
    }
    if dataset.time.resolution > longest(terms.windows.grain) {
        let message =
            format!("a time stands for {}, a window only for {}", dataset.time.resolution, terms.windows.grain);
        section.error(findings, &["time", "format"], message, "choose a grain as long or longer");
    }
}
