//! The footer of an answer: what each product gave, and what it is missing.

use crate::render;
use civicmesh_node::completeness::method;
use civicmesh_node::query::ProductCompleteness;

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
    format!("{} ({}): {exact}; {}", product.product, method(product.method), parts.join(", "))
}
