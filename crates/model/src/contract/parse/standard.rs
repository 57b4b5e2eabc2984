//! The Open Data Contract Standard's own keys: which exist, and where none may be added (its JSON Schema, v3.1.0).

use super::reader::{join, unknown_key};
use super::tree::Node;
use crate::contract::finding::Findings;

/// The version of the standard that contracts are written in.
pub const ODCS_VERSION: &str = "v3.1.0";

const ROOT: &[&str] = &[
    "apiVersion",
    "authoritativeDefinitions",
    "contractCreatedTs",
    "customProperties",
    "dataProduct",
    "description",
    "domain",
    "id",
    "kind",
    "name",
    "price",
    "roles",
    "schema",
    "servers",
    "slaDefaultElement",
    "slaProperties",
    "status",
    "support",
    "tags",
    "team",
    "tenant",
    "version",
];
const SCHEMA: &[&str] = &[
    "authoritativeDefinitions",
    "businessName",
    "customProperties",
    "dataGranularityDescription",
    "description",
    "id",
    "logicalType",
    "name",
    "physicalName",
    "physicalType",
    "properties",
    "quality",
    "relationships",
    "tags",
];
const PROPERTY: &[&str] = &[
    "authoritativeDefinitions",
    "businessName",
    "classification",
    "criticalDataElement",
    "customProperties",
    "description",
    "encryptedName",
    "examples",
    "id",
    "items",
    "logicalType",
    "logicalTypeOptions",
    "name",
    "partitionKeyPosition",
    "partitioned",
    "physicalName",
    "physicalType",
    "primaryKey",
    "primaryKeyPosition",
    "properties",
    "quality",
    "relationships",
    "required",
    "tags",
    "transformDescription",
    "transformLogic",
    "transformSourceObjects",
    "unique",
];
const CUSTOM: &[&str] = &["description", "id", "property", "value"];
const DEFINITION: &[&str] = &["description", "id", "type", "url"];
const SUPPORT: &[&str] = &["channel", "customProperties", "description", "id", "invitationUrl", "scope", "tool", "url"];
const PRICE: &[&str] = &["id", "priceAmount", "priceCurrency", "priceUnit"];
const MEMBER: &[&str] = &[
    "authoritativeDefinitions",
    "customProperties",
    "dateIn",
    "dateOut",
    "description",
    "id",
    "name",
    "replacedByUsername",
    "role",
    "tags",
    "username",
];
const TEAM: &[&str] = &["authoritativeDefinitions", "customProperties", "description", "id", "members", "name", "tags"];
const ROLE: &[&str] =
    &["access", "customProperties", "description", "firstLevelApprovers", "id", "role", "secondLevelApprovers"];
const SLA: &[&str] =
    &["description", "driver", "element", "id", "property", "schedule", "scheduler", "unit", "value", "valueExt"];

/// The keys that the standard allows in a node reached by `path`, where it closes them.
fn allowed(path: &[&str]) -> Option<&'static [&'static str]> {
    Some(match path {
        [] => ROOT,
        ["schema"] => SCHEMA,
        ["schema", "properties"] => PROPERTY,
        ["support"] => SUPPORT,
        ["price"] => PRICE,
        ["team"] => TEAM,
        ["team", "members"] => MEMBER,
        ["roles"] => ROLE,
        ["slaProperties"] => SLA,
        [.., "customProperties"] => CUSTOM,
        [.., "authoritativeDefinitions"] => DEFINITION,
        _ => return None,
    })
}

/// Reports keys that the standard does not have, and entries of ours that stand where nobody reads them.
pub(super) fn check_keys(root: &Node, findings: &mut Findings) {
    check(root, &mut Vec::new(), findings);
}

fn check<'t>(node: &'t Node, path: &mut Vec<&'t str>, findings: &mut Findings) {
    for item in node.items() {
        check(item, path, findings);
    }
    let known = allowed(path);
    let dotted = path.iter().fold(String::new(), |dotted, key| join(&dotted, key));
    for entry in node.entries() {
        if let Some(known) = known.filter(|known| !known.contains(&entry.key.as_str())) {
            unknown_key(findings, &dotted, entry, known);
            continue;
        }
        let custom = path.last() == Some(&"customProperties");
        if custom && entry.key == "value" {
            continue; // The standard says nothing about it, and our own entries have their own reader.
        }
        if custom && path.len() > 1 && entry.key == "property" && is_ours(&entry.value) {
            findings.error(entry.line, &dotted, "an entry of civicmesh is not read here", "move it to the top level");
        }
        path.push(&entry.key);
        check(&entry.value, path, findings);
        path.pop();
    }
}

/// Whether a custom property's name is in our name space.
pub(super) fn is_ours(property: &Node) -> bool {
    property.text().is_some_and(|name| name.starts_with("civicmesh."))
}
