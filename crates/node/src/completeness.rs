//! How complete an answer is, as JSON: the one shape that every way to ask gives it in.

use civicmesh_query::ProductCompleteness;
pub use civicmesh_query::{band, method};
use serde_json::{Value, json};

/// An object a product. Times are microseconds since 1970-01-01T00:00Z; what is not known is null.
pub fn json(products: &[ProductCompleteness]) -> Vec<Value> {
    products.iter().map(object).collect()
}

fn object(product: &ProductCompleteness) -> Value {
    let ProductCompleteness {
        product,
        owner,
        own,
        granted,
        windows_expected,
        windows_present,
        windows_empty,
        windows_missing,
        windows_refused,
        windows_open,
        windows_expired,
        closed_through,
        newest_window,
        head_confirmed_at,
        head_age_us,
        unreachable_since,
        cells,
        cells_suppressed,
        suppressed_share,
        method,
        contract_version,
        revision_max,
        found_out,
        exact,
        note,
    } = product;
    json!({
        "product": product.to_string(),
        "owner": owner.as_str(),
        "own": own,
        "granted": granted,
        "windows_expected": windows_expected,
        "windows_present": windows_present,
        "windows_empty": windows_empty,
        "windows_missing": windows_missing,
        "windows_refused": windows_refused,
        "windows_open": windows_open,
        "windows_expired": windows_expired,
        "closed_through_us": closed_through.map(|at| at.0),
        "newest_window_start_us": newest_window.map(|at| at.0),
        "head_confirmed_at_us": head_confirmed_at.map(|at| at.0),
        "head_age_us": head_age_us,
        "unreachable_since_us": unreachable_since.map(|at| at.0),
        "cells": cells,
        "cells_suppressed": cells_suppressed,
        "suppressed_share": band(*suppressed_share),
        "method": self::method(*method),
        "contract_version": contract_version,
        "revision_max": revision_max,
        "found_out": found_out,
        "exact": exact,
        "note": note,
    })
}
