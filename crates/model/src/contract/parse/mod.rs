//! From the text of a contract to a [`Contract`], or to everything that is wrong with it.

mod check;
mod dataset;
mod document;
mod reader;
mod schema;
mod standard;
mod terms;
#[cfg(test)]
pub(super) mod tests;
mod time;
mod tree;

use self::document::{DATASET, SHA256, TERMS};
use self::reader::{Fields, Value, did_you_mean, report_todos};
use self::tree::Node;
use super::finding::Findings;
use super::{Audience, Contract, Dataset, Statistic, Status};
use crate::hash::Hash32;
use crate::names::ProductId;

pub(super) use self::reader::TODO;
pub(super) use self::schema::{PRODUCT_COLUMNS_MAX, is_reserved};
pub use self::standard::ODCS_VERSION;
pub use self::tree::CONTRACT_BYTES_MAX;

/// Whose document is read: the owner's file, with the dataset, or what a peer published, with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Owner,
    Peer,
}

/// Reads a contract; `None` when there are errors among the findings.
pub(super) fn parse(text: &str, side: Side, findings: &mut Findings) -> Option<Contract> {
    let root = tree::read(text, findings)?;
    report_todos(&root, "", findings);
    standard::check_keys(&root, findings);
    let mut fields = Value::new(&root, "").fields(findings)?;
    let header = read_header(&mut fields, findings);
    let product = header.as_ref().map(|header| &header.product);
    let mut schema = schema::read(&mut fields, product, findings);
    let (terms_entry, dataset_entry) = read_entries(&mut fields, findings);
    let mut terms = terms_entry.as_ref().and_then(|value| terms::read(value, &mut schema, findings));
    let dataset = dataset_entry.as_ref().and_then(|value| match side {
        Side::Owner => dataset::read(value, product, findings).map(Some),
        Side::Peer => read_hash(value, findings).map(|_| None),
    });
    if let (Some(terms), Some(value)) = (&terms, &terms_entry) {
        check::check_terms(terms, value.node, findings);
    }
    if let (Side::Owner, Some(value)) = (side, &dataset_entry) {
        check::check_columns(&schema, value.node, findings);
        if let Some(Some(dataset)) = &dataset {
            check::check_dataset(dataset, value.node, &schema, findings);
            terms.iter().for_each(|terms| check::check_disclosure(terms, dataset, value.node, findings));
            if let (Some(terms), Some(entry)) = (&mut terms, &terms_entry) {
                leave_squares_out(terms, dataset, entry.node, findings);
            }
        }
    }
    warn(&root, header.as_ref(), terms.as_ref(), findings);
    if findings.has_errors() {
        return None;
    }
    let document = match side {
        Side::Owner => {
            document::public(&root, terms.as_ref().map(|terms| terms.measures.as_slice()).unwrap_or_default())
        }
        Side::Peer => document::canonical(&root),
    };
    Some(assemble(header?, schema, terms?, dataset?, document))
}

/// What stands at the top of the document.
struct Header {
    product: ProductId,
    version: String,
    status: Status,
    title: String,
    purpose: String,
}

fn read_header(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Header> {
    if let Some(value) = fields.need("apiVersion", findings, ODCS_VERSION) {
        value.word(findings, &[(ODCS_VERSION, ())]);
    }
    if let Some(value) = fields.need("kind", findings, "DataContract") {
        value.word(findings, &[("DataContract", ())]);
    }
    let product = read_product(fields, findings);
    let version = fields.need("version", findings, "1.0.0").and_then(|value| value.text(findings));
    let words = [("draft", Status::Draft), ("active", Status::Active)];
    let status = fields.need("status", findings, "draft").and_then(|value| value.word(findings, &words));
    let title = fields.take("name").and_then(|value| value.text(findings));
    let example = "{purpose: what the product may be used for}";
    let purpose = fields.need("description", findings, example).and_then(|value| {
        let mut fields = value.fields(findings)?;
        let purpose = fields.need("purpose", findings, "what the product may be used for");
        purpose.and_then(|value| value.text(findings))
    });
    let product = product?;
    let title = title.map_or_else(|| product.to_string(), str::to_owned);
    Some(Header { product, version: version?.to_owned(), status: status?, title, purpose: purpose?.to_owned() })
}

/// The product by its `id`; the standard's own keys for its two parts may stand beside it and must agree.
fn read_product(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<ProductId> {
    let (domain, name) = (fields.take("domain"), fields.take("dataProduct"));
    let id = fields.need("id", findings, "traffic.taxi")?;
    let product: ProductId = id.parsed(findings, "")?;
    for (part, key) in [(product.domain.as_str(), domain), (product.product.as_str(), name)] {
        schema::check_name(part, id.node.line, &id.key, findings);
        let Some(key) = key else { continue };
        if key.text(findings).is_some_and(|text| text != part) {
            key.error(findings, "is another than in `id`", format!("write {part}, or leave it out"));
        }
    }
    Some(product)
}

/// Our two entries among the custom properties; every other name of ours is unknown.
fn read_entries<'t>(fields: &mut Fields<'t>, findings: &mut Findings) -> (Option<Value<'t>>, Option<Value<'t>>) {
    let example = "[{property: civicmesh.terms, value: {...}}, {property: civicmesh.dataset, value: {...}}]";
    let mut found = [(TERMS, None), (DATASET, None)];
    let Some(custom) = fields.need("customProperties", findings, example) else {
        return (None, None);
    };
    for item in custom.list(findings).unwrap_or_default() {
        let Some(property) = item.node.get("property").filter(|property| standard::is_ours(property)) else {
            continue;
        };
        let name = property.text().unwrap_or_default();
        match (found.iter_mut().find(|(known, _)| *known == name), item.node.get("value")) {
            (None, _) => {
                let mend = did_you_mean(name, [TERMS, DATASET]).unwrap_or_else(|| format!("known: {TERMS}, {DATASET}"));
                findings.error(property.line, name, "unknown entry", mend);
            }
            (Some((_, Some(_))), _) => findings.error(property.line, name, "the entry stands twice", "leave one out"),
            (Some(_), None) => findings.error(property.line, name, "has no value", "write `value:` below it"),
            (Some((known, entry)), Some(value)) => *entry = Some(Value::new(value, *known)),
        }
    }
    for (name, entry) in &found {
        if entry.is_none()
            && !custom.node.items().iter().any(|item| item.get("property").and_then(Node::text) == Some(name))
        {
            custom.error(findings, format!("`{name}` is missing"), format!("add `- property: {name}` with its value"));
        }
    }
    let [(_, terms), (_, dataset)] = found;
    (terms, dataset)
}

/// Reports what is allowed and may not be meant.
fn warn(root: &Node, header: Option<&Header>, terms: Option<&terms::Terms>, findings: &mut Findings) {
    if let Some(servers) = root.get("servers") {
        findings.warning(servers.line, "servers", "peers see this, as all of the document but the dataset", "");
    }
    let (Some(header), Some(terms)) = (header, terms) else {
        return;
    };
    let own = &header.product.domain;
    if matches!(&terms.audience, Audience::Only(domains) if domains.contains(own)) {
        findings.warning(
            terms.audience_line,
            "civicmesh.terms.audience",
            format!("{own} owns the product"),
            "leave it out",
        );
    }
}

/// Keeps sums of squares out of a product whose rows each stand for many contributors: refuses them where they are
/// asked for, and takes them out of what is published by default.
fn leave_squares_out(terms: &mut terms::Terms, dataset: &Dataset, node: &Node, findings: &mut Findings) {
    if !dataset.rows_are_counts(&terms.method) {
        return;
    }
    check::check_squares(terms, node, findings);
    for measure in &mut terms.measures {
        measure.publish.remove(&Statistic::SumSquares);
    }
}

/// What stands in the dataset's place in a public document.
fn read_hash(value: &Value<'_>, findings: &mut Findings) -> Option<Hash32> {
    let mut fields = value.fields(findings)?;
    let hash = fields.need(SHA256, findings, "64 hexadecimal digits").and_then(|value| value.parsed(findings, ""));
    fields.finish(findings);
    hash
}

fn assemble(
    header: Header,
    schema: schema::Schema,
    terms: terms::Terms,
    dataset: Option<Dataset>,
    document: String,
) -> Contract {
    let Header { product, version, status, title, purpose } = header;
    let schema::Schema { time, dimensions, distinct, measures: _, lines: _ } = schema;
    let terms::Terms { windows, measures, method, audience, audience_line: _, retention } = terms;
    let terms::Windows { grain, coverage, lateness, idle_after } = windows;
    let hash = Hash32::of(&[document.as_bytes()]);
    let time_column = time.expect("a schema without a time column has an error");
    Contract {
        product,
        version,
        status,
        title,
        purpose,
        time_column,
        dimensions,
        measures,
        distinct,
        grain,
        coverage,
        lateness,
        idle_after,
        retention,
        audience,
        method,
        dataset,
        document,
        hash,
    }
}
