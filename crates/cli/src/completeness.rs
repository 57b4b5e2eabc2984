//! The footer of an answer: what each product gave, and what it is missing.

use crate::render;
use civicmesh_node::model::release::MethodTag;
use civicmesh_node::query::ProductCompleteness;
use serde_json::{Value, json};

/// One line a product that the question touched.
pub fn footer(products: &[ProductCompleteness], zone: &str) -> String {
    products.iter().map(|product| line(product, zone)).collect::<Vec<_>>().join("\n")
}

fn line(product: &ProductCompleteness, zone: &str) -> String {
    let held = product.windows_present + product.windows_empty;
    let mut parts = vec![format!("{held} of {} windows told", product.windows_expected)];
    if let Some(through) = product.closed_through {
        parts.push(format!("closed through {}", render::moment(zone, through.0)));
    }
    if let Some(age) = product.head_age_us {
        parts.push(format!("head confirmed {} ago", render::stretch(age)));
    }
    if let Some(since) = product.unreachable_since {
        parts.push(format!("{} unreachable since {} UTC", product.owner, render::moment("UTC", since.0)));
    }
    let exact = if product.exact {
        "exact".to_owned()
    } else {
        format!("not exact: {}", product.note.replace(&format!("{}: ", product.product), ""))
    };
    format!("{} ({}): {exact}; {}", product.product, method(&product.method), parts.join(", "))
}

fn method(method: &MethodTag) -> String {
    match method {
        MethodTag::Open => "open".to_owned(),
        MethodTag::Threshold { k } => format!("threshold, k = {k}"),
    }
}

/// The same for scripts. Times are microseconds since 1970-01-01T00:00Z.
pub fn json(products: &[ProductCompleteness]) -> Vec<Value> {
    products.iter().map(object).collect()
}

fn object(product: &ProductCompleteness) -> Value {
    json!({
        "product": product.product.to_string(),
        "owner": product.owner.as_str(),
        "own": product.own,
        "granted": product.granted,
        "windows_expected": product.windows_expected,
        "windows_present": product.windows_present,
        "windows_empty": product.windows_empty,
        "windows_missing": product.windows_missing,
        "windows_refused": product.windows_refused,
        "windows_open": product.windows_open,
        "windows_expired": product.windows_expired,
        "closed_through_us": product.closed_through.map(|at| at.0),
        "newest_window_start_us": product.newest_window.map(|at| at.0),
        "head_confirmed_at_us": product.head_confirmed_at.map(|at| at.0),
        "head_age_us": product.head_age_us,
        "unreachable_since_us": product.unreachable_since.map(|at| at.0),
        "cells": product.cells,
        "cells_suppressed": product.cells_suppressed,
        "suppressed_share": render::band(product.suppressed_share),
        "method": method(&product.method),
        "contract_version": product.contract_version,
        "revision_max": product.revision_max,
        "exact": product.exact,
        "note": product.note,
    })
}
