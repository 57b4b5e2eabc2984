//! The `schema` section: the product's columns as clients see them.

use super::reader::{Fields, Value, join};
use super::tree::Node;
use crate::contract::finding::Findings;
use crate::contract::terms::{Dimension, DistinctColumn};
use crate::names::ProductId;

/// Most dimensions and measures of a product.
pub(in crate::contract) const PRODUCT_COLUMNS_MAX: usize = 64;

/// Words that SQL keeps for itself: a column of this name would have to be quoted in every query.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "create",
    "cross",
    "delete",
    "desc",
    "distinct",
    "drop",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "fetch",
    "filter",
    "for",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lateral",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "qualify",
    "right",
    "select",
    "set",
    "some",
    "table",
    "then",
    "true",
    "union",
    "unique",
    "unnest",
    "update",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
];

/// The product's columns.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub time: Option<String>,
    pub dimensions: Vec<Dimension>,
    pub measures: Vec<NumericColumn>,
    /// Texts whose distinct values are counted, once the terms have said so; they are no dimensions then.
    pub distinct: Vec<DistinctColumn>,
    /// Every column but the time with the line of its property.
    pub lines: Vec<(String, u32)>,
}

impl Schema {
    /// Takes the texts of these names out of the dimensions.
    pub fn count_distinct(&mut self, names: &[&str]) {
        let (distinct, dimensions) = std::mem::take(&mut self.dimensions)
            .into_iter()
            .partition(|dimension| names.contains(&dimension.name.as_str()));
        self.dimensions = dimensions;
        let column = |Dimension { name, description }| DistinctColumn { name, description };
        self.distinct = Vec::<Dimension>::into_iter(distinct).map(column).collect();
    }
}

/// A column of which terms must say the rest.
#[derive(Debug)]
pub(super) struct NumericColumn {
    pub name: String,
    pub description: String,
    pub integer: bool,
}

/// Reads the one schema object, which must bear the product's name.
pub(super) fn read(root: &mut Fields<'_>, product: Option<&ProductId>, findings: &mut Findings) -> Schema {
    let mut schema = Schema::default();
    let Some(value) = root.need("schema", findings, "[{name: ..., properties: [...]}]") else {
        return schema;
    };
    let Some(objects) = value.list(findings) else {
        return schema;
    };
    let [object] = objects.as_slice() else {
        value.error(findings, format!("{} tables", objects.len()), "a contract describes one product, one table");
        return schema;
    };
    let Some(mut fields) = object.fields(findings) else {
        return schema;
    };
    let product = product.map(|product| product.product.as_str());
    let name = fields.need("name", findings, product.unwrap_or("taxi")).and_then(|value| {
        let name = value.text(findings)?;
        if let Some(product) = product.filter(|product| *product != name) {
            value.error(findings, format!("`{name}` is not the product"), format!("write {product}, as in `id`"));
        }
        Some(name)
    });
    let path = join("schema", name.unwrap_or_default());
    let Some(value) = fields.need("properties", findings, "[{name: time, logicalType: timestamp}, ...]") else {
        return schema;
    };
    let properties = value.list(findings).unwrap_or_default();
    for property in &properties {
        read_property(property, &path, &mut schema, findings);
    }
    let is_time = |property: &Value<'_>| property.node.get("logicalType").and_then(Node::text) == Some("timestamp");
    if !properties.iter().any(is_time) {
        value.error(findings, "no time column", "write `- {name: time, logicalType: timestamp}`");
    }
    let count = schema.lines.len();
    if count > PRODUCT_COLUMNS_MAX {
        value.error(findings, format!("{count} columns"), format!("a product has at most {PRODUCT_COLUMNS_MAX}"));
    }
    schema
}

#[derive(Clone, Copy)]
enum Column {
    Time,
    Dimension,
    Integer,
    Number,
}

fn read_property(property: &Value<'_>, path: &str, schema: &mut Schema, findings: &mut Findings) {
    let Some(mut fields) = property.fields(findings) else {
        return;
    };
    let Some(name) = fields.need("name", findings, "...").and_then(|value| value.text(findings)) else {
        return;
    };
    fields.key = join(path, name);
    let line = property.node.line;
    check_name(name, line, &fields.key, findings);
    if schema.lines.iter().any(|(other, _)| other == name) || schema.time.as_deref() == Some(name) {
        findings.error(line, &fields.key, "the column stands twice", "leave one out");
        return;
    }
    let description = fields.take("description").and_then(|value| value.text(findings)).unwrap_or_default().to_owned();
    let kinds = [
        ("timestamp", Column::Time),
        ("string", Column::Dimension),
        ("integer", Column::Integer),
        ("number", Column::Number),
    ];
    let kind = fields.need("logicalType", findings, "string").and_then(|value| value.word(findings, &kinds));
    let name = name.to_owned();
    match kind {
        None => {}
        Some(Column::Time) if schema.time.is_some() => {
            findings.error(line, &fields.key, "a second time column", "a product has one: the start of the window");
        }
        Some(Column::Time) => schema.time = Some(name),
        Some(Column::Dimension) => {
            schema.lines.push((name.clone(), line));
            schema.dimensions.push(Dimension { name, description });
        }
        Some(kind) => {
            schema.lines.push((name.clone(), line));
            let integer = matches!(kind, Column::Integer);
            schema.measures.push(NumericColumn { name, description, integer });
        }
    }
}

/// Reports a column name that SQL would want in quotes.
pub(super) fn check_name(name: &str, line: u32, key: &str, findings: &mut Findings) {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || !name.chars().all(letters) || name.len() > crate::names::NAME_BYTES_MAX {
        let mend = "lower-case letters, digits and _, a letter first, at most 40 characters";
        findings.error(line, key, format!("`{name}` is not a column name"), mend);
    } else if is_reserved(name) {
        let mend = format!("choose another, such as `{name}_`");
        findings.error(line, key, format!("`{name}` is a word of SQL and would need quotes in every query"), mend);
    }
}

/// Whether a name is a word of SQL.
pub(in crate::contract) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}
