//! A question on the wire and inside, both ways.

use civicmesh_proto::department::v1 as wire;
use civicmesh_query::{QueryOptions, WindowCut};

use super::failure::Failure;

/// A question for the wire.
pub(crate) fn asking(sql: &str, options: &QueryOptions) -> wire::QueryRequest {
    let QueryOptions { require_complete, staleness_us_max, coverage_min, window_cut } = *options;
    let window_cut = match window_cut {
        WindowCut::Error => wire::WindowCut::Error,
        WindowCut::Inside => wire::WindowCut::Inside,
        WindowCut::Covering => wire::WindowCut::Covering,
    };
    let window_cut = window_cut.into();
    wire::QueryRequest { sql: sql.to_owned(), require_complete, staleness_us_max, coverage_min, window_cut }
}

/// A question from the wire.
pub(super) fn asked(request: wire::QueryRequest) -> Result<(String, QueryOptions), Failure> {
    let wire::QueryRequest { sql, require_complete, staleness_us_max, coverage_min, window_cut } = request;
    let invalid = |text| Failure::new(wire::ErrorCode::Invalid, text);
    if staleness_us_max.is_some_and(|age| age < 0) {
        return Err(invalid("the oldest head allowed must not be negative"));
    }
    if coverage_min.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err(invalid("the least coverage must lie from 0 to 1"));
    }
    let window_cut = match wire::WindowCut::try_from(window_cut) {
        Ok(wire::WindowCut::Unspecified | wire::WindowCut::Error) => WindowCut::Error,
        Ok(wire::WindowCut::Inside) => WindowCut::Inside,
        Ok(wire::WindowCut::Covering) => WindowCut::Covering,
        Err(_) => return Err(invalid("what becomes of a cut window is not known to this node")),
    };
    Ok((sql, QueryOptions { require_complete, staleness_us_max, coverage_min, window_cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_the_wire_and_what_makes_no_sense_is_refused() {
        for window_cut in [WindowCut::Error, WindowCut::Inside, WindowCut::Covering] {
            let options =
                QueryOptions { require_complete: true, staleness_us_max: Some(5), coverage_min: Some(0.5), window_cut };
            let (sql, read) = asked(asking("SELECT 1", &options)).unwrap();
            assert_eq!((sql.as_str(), read), ("SELECT 1", options));
        }
        for share in [-0.1, 1.1, f64::NAN] {
            let options = QueryOptions { coverage_min: Some(share), ..QueryOptions::default() };
            assert!(asked(asking("SELECT 1", &options)).is_err(), "{share}");
        }
        let options = QueryOptions { staleness_us_max: Some(-1), ..QueryOptions::default() };
        assert!(asked(asking("SELECT 1", &options)).is_err());
    }
}
