//! Honesty: what an answer claims to hold is what the node holds, and when it says that an owner confirmed something,
//! that owner was heard.

use civicmesh_query::ProductCompleteness;

use super::Held;

/// What is wrong with an answer about the whole of a product; nothing, if all is well. `rows` and `weight` are its
/// figures; `heard_us` is the last moment at which the node can have heard of the owner, by the node's own clock.
pub fn check(
    claimed: &ProductCompleteness,
    (rows, weight): (u64, i128),
    held: &Held,
    heard_us: Option<i64>,
) -> Option<String> {
    let product = &claimed.product;
    let figures = [
        ("rows", i128::from(rows), i128::from(held.rows)),
        ("weight", weight, held.weight),
        ("windows that are present", claimed.windows_present.into(), held.released.into()),
        ("windows that are empty", claimed.windows_empty.into(), held.empty.into()),
        ("windows that were refused", claimed.windows_refused.into(), held.refused.into()),
        ("cells", claimed.cells.into(), held.cells.into()),
        ("suppressed cells", claimed.cells_suppressed.into(), held.suppressed.into()),
    ];
    if let Some((what, told, held)) = figures.into_iter().find(|(_, told, held)| told != held) {
        return Some(format!("{product}: the answer tells {told} {what}, and the node holds {held}"));
    }
    let ProductCompleteness { windows_expected, windows_present, windows_empty, windows_refused, .. } = *claimed;
    let accounted = windows_present + windows_empty + windows_refused + claimed.windows_open + claimed.windows_expired;
    if windows_expected != accounted {
        return Some(format!("{product}: {windows_expected} windows are expected, and {accounted} accounted for"));
    }
    if claimed.exact && (claimed.cells_suppressed > 0 || claimed.windows_missing > 0 || claimed.windows_refused > 0) {
        return Some(format!("{product}: the answer is called exact, and lacks something"));
    }
    let confirmed = claimed.head_confirmed_at.map(|at| at.0);
    if let Some(confirmed) =
        confirmed.filter(|confirmed| !claimed.own && heard_us.is_none_or(|heard| *confirmed > heard))
    {
        return Some(format!("{product}: confirmed at {confirmed}, after its owner was last heard ({heard_us:?})"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use civicmesh_model::release::{MethodTag, ShareBand};
    use civicmesh_model::time::UtcMicros;

    fn claimed() -> ProductCompleteness {
        ProductCompleteness {
            product: "a.p".parse().unwrap(),
            owner: "a".parse().unwrap(),
            own: false,
            granted: true,
            windows_expected: 5,
            windows_present: 3,
            windows_empty: 1,
            windows_missing: 0,
            windows_refused: 0,
            windows_open: 1,
            windows_expired: 0,
            closed_through: None,
            newest_window: None,
            head_confirmed_at: Some(UtcMicros(50)),
            head_age_us: None,
            unreachable_since: None,
            cells: 6,
            cells_suppressed: 0,
            suppressed_share: ShareBand::None,
            method: MethodTag::Open,
            contract_version: "1.0.0".to_owned(),
            revision_max: None,
            found_out: false,
            exact: true,
            note: String::new(),
        }
    }

    #[test]
    fn every_claim_that_is_not_so_is_caught() {
        let held = Held { released: 3, empty: 1, cells: 6, rows: 40, weight: 4_000, ..Held::default() };
        let check = |claimed: &ProductCompleteness, figures| super::check(claimed, figures, &held, Some(60));
        assert_eq!(check(&claimed(), (40, 4_000)), None);
        assert!(check(&claimed(), (39, 4_000)).is_some());
        assert!(check(&claimed(), (40, 3_999)).is_some());
        let lies: [fn(&mut ProductCompleteness); 6] = [
            |claimed| claimed.windows_present = 4,
            |claimed| claimed.windows_empty = 0,
            |claimed| claimed.windows_expected = 4,
            |claimed| claimed.cells_suppressed = 1,
            |claimed| claimed.windows_missing = 1,
            |claimed| claimed.head_confirmed_at = Some(UtcMicros(61)),
        ];
        for lie in lies {
            let mut claimed = claimed();
            lie(&mut claimed);
            assert!(check(&claimed, (40, 4_000)).is_some(), "{claimed:?}");
        }
    }
}
