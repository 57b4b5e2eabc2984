//! The department's words on the wire and inside, both ways. Whole messages are taken apart, so that a new field
//! cannot be forgotten.

use civicmesh_model::release::{MethodTag, ShareBand};
use civicmesh_model::time::UtcMicros;
use civicmesh_proto::department::v1 as wire;
use civicmesh_query::ProductCompleteness;

use crate::preview::{ProductPreview, WindowPreview};
use crate::status::{CityStatus, DomainStatus, LinkState, ProductStatus, SourceStatus};

/// A message from a node that this client cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node answered with `{field}` that cannot be read; are both of one version?")]
pub struct Unreadable {
    /// The field.
    pub field: &'static str,
}

fn read<T: std::str::FromStr>(text: &str, field: &'static str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable { field })
}

fn micros(time: Option<UtcMicros>) -> Option<i64> {
    time.map(|UtcMicros(micros)| micros)
}

fn time(micros: Option<i64>) -> Option<UtcMicros> {
    micros.map(UtcMicros)
}

/// A band on the wire.
fn band(band: ShareBand) -> wire::ShareBand {
    match band {
        ShareBand::None => wire::ShareBand::None,
        ShareBand::Under1 => wire::ShareBand::Under1Percent,
        ShareBand::Under5 => wire::ShareBand::Under5Percent,
        ShareBand::Under20 => wire::ShareBand::Under20Percent,
        ShareBand::More => wire::ShareBand::ShareBand20PercentOrMore,
    }
}

/// A band from the wire.
fn band_read(band: i32) -> Result<ShareBand, Unreadable> {
    match wire::ShareBand::try_from(band) {
        Ok(wire::ShareBand::None) => Ok(ShareBand::None),
        Ok(wire::ShareBand::Under1Percent) => Ok(ShareBand::Under1),
        Ok(wire::ShareBand::Under5Percent) => Ok(ShareBand::Under5),
        Ok(wire::ShareBand::Under20Percent) => Ok(ShareBand::Under20),
        Ok(wire::ShareBand::ShareBand20PercentOrMore) => Ok(ShareBand::More),
        Ok(wire::ShareBand::Unspecified) | Err(_) => Err(Unreadable { field: "suppressed_share" }),
    }
}

impl From<CityStatus> for wire::StatusResponse {
    fn from(status: CityStatus) -> Self {
        let CityStatus {
            city,
            domain,
            time_zone,
            node_version,
            now,
            certificate_expires,
            certificate_days_left,
            roster_serial,
            domains,
            products,
            sources,
        } = status;
        wire::StatusResponse {
            city,
            domain: domain.to_string(),
            time_zone,
            node_version,
            now_us: now.0,
            certificate_expires_us: certificate_expires.0,
            certificate_days_left,
            roster_serial,
            domains: domains.into_iter().map(Into::into).collect(),
            products: products.into_iter().map(Into::into).collect(),
            sources: sources.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::StatusResponse> for CityStatus {
    type Error = Unreadable;

    fn try_from(status: wire::StatusResponse) -> Result<Self, Unreadable> {
        let wire::StatusResponse {
            city,
            domain,
            time_zone,
            node_version,
            now_us,
            certificate_expires_us,
            certificate_days_left,
            roster_serial,
            domains,
            products,
            sources,
        } = status;
        Ok(CityStatus {
            city,
            domain: read(&domain, "domain")?,
            time_zone,
            node_version,
            now: UtcMicros(now_us),
            certificate_expires: UtcMicros(certificate_expires_us),
            certificate_days_left,
            roster_serial,
            domains: domains.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            products: products.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            sources: sources.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<LinkState> for wire::LinkState {
    fn from(link: LinkState) -> Self {
        match link {
            LinkState::Own => wire::LinkState::Self_,
            LinkState::New => wire::LinkState::New,
            LinkState::Reached => wire::LinkState::Reached,
            LinkState::Unreachable => wire::LinkState::Unreachable,
        }
    }
}

fn link_read(link: i32) -> Result<LinkState, Unreadable> {
    match wire::LinkState::try_from(link) {
        Ok(wire::LinkState::Self_) => Ok(LinkState::Own),
        Ok(wire::LinkState::New) => Ok(LinkState::New),
        Ok(wire::LinkState::Reached) => Ok(LinkState::Reached),
        Ok(wire::LinkState::Unreachable) => Ok(LinkState::Unreachable),
        Ok(wire::LinkState::Unspecified) | Err(_) => Err(Unreadable { field: "link" }),
    }
}

impl From<DomainStatus> for wire::DomainStatus {
    fn from(status: DomainStatus) -> Self {
        let DomainStatus {
            domain,
            address,
            link,
            last_contact,
            unreachable_since,
            reason,
            certificate_expires,
            certificate_days_left,
            sent_bytes,
            received_bytes,
            node_version,
        } = status;
        wire::DomainStatus {
            domain: domain.to_string(),
            address,
            link: wire::LinkState::from(link).into(),
            last_contact_us: micros(last_contact),
            unreachable_since_us: micros(unreachable_since),
            reason,
            certificate_expires_us: micros(certificate_expires),
            certificate_days_left,
            sent_bytes,
            received_bytes,
            node_version,
        }
    }
}

impl TryFrom<wire::DomainStatus> for DomainStatus {
    type Error = Unreadable;

    fn try_from(status: wire::DomainStatus) -> Result<Self, Unreadable> {
        let wire::DomainStatus {
            domain,
            address,
            link,
            last_contact_us,
            unreachable_since_us,
            reason,
            certificate_expires_us,
            certificate_days_left,
            sent_bytes,
            received_bytes,
            node_version,
        } = status;
        Ok(DomainStatus {
            domain: read(&domain, "domain")?,
            address,
            link: link_read(link)?,
            last_contact: time(last_contact_us),
            unreachable_since: time(unreachable_since_us),
            reason,
            certificate_expires: time(certificate_expires_us),
            certificate_days_left,
            sent_bytes,
            received_bytes,
            node_version,
        })
    }
}

impl From<ProductStatus> for wire::ProductStatus {
    fn from(status: ProductStatus) -> Self {
        let ProductStatus {
            product,
            owner,
            method,
            granted,
            draft,
            contract_version,
            newest_window_start,
            newest_window_end,
            closed_through,
            head_age_us,
            entries,
            late_rows_held,
            rejects,
            found_out,
            warnings,
        } = status;
        wire::ProductStatus {
            product: product.to_string(),
            owner: owner.to_string(),
            method,
            granted,
            draft,
            contract_version,
            newest_window_start_us: micros(newest_window_start),
            newest_window_end_us: micros(newest_window_end),
            closed_through_us: micros(closed_through),
            head_age_us,
            entries,
            late_rows_held,
            rejects,
            found_out,
            warnings,
        }
    }
}

impl TryFrom<wire::ProductStatus> for ProductStatus {
    type Error = Unreadable;

    fn try_from(status: wire::ProductStatus) -> Result<Self, Unreadable> {
        let wire::ProductStatus {
            product,
            owner,
            method,
            granted,
            draft,
            contract_version,
            newest_window_start_us,
            newest_window_end_us,
            closed_through_us,
            head_age_us,
            entries,
            late_rows_held,
            rejects,
            found_out,
            warnings,
        } = status;
        Ok(ProductStatus {
            product: read(&product, "product")?,
            owner: read(&owner, "owner")?,
            method,
            granted,
            draft,
            contract_version,
            newest_window_start: time(newest_window_start_us),
            newest_window_end: time(newest_window_end_us),
            closed_through: time(closed_through_us),
            head_age_us,
            entries,
            late_rows_held,
            rejects,
            found_out,
            warnings,
        })
    }
}

impl From<SourceStatus> for wire::SourceStatus {
    fn from(status: SourceStatus) -> Self {
        let SourceStatus { dataset, source, watermark, last_delivery, idle, files, rows } = status;
        wire::SourceStatus {
            dataset: dataset.to_string(),
            source: source.to_string(),
            watermark_us: micros(watermark),
            last_delivery_us: micros(last_delivery),
            idle,
            files,
            rows,
        }
    }
}

impl TryFrom<wire::SourceStatus> for SourceStatus {
    type Error = Unreadable;

    fn try_from(status: wire::SourceStatus) -> Result<Self, Unreadable> {
        let wire::SourceStatus { dataset, source, watermark_us, last_delivery_us, idle, files, rows } = status;
        Ok(SourceStatus {
            dataset: read(&dataset, "dataset")?,
            source: read(&source, "source")?,
            watermark: time(watermark_us),
            last_delivery: time(last_delivery_us),
            idle,
            files,
            rows,
        })
    }
}

impl From<ProductPreview> for wire::PreviewResponse {
    fn from(preview: ProductPreview) -> Self {
        let ProductPreview { windows, windows_total } = preview;
        let windows = windows.into_iter().map(|window| {
            let WindowPreview { start, end, cells, cells_suppressed, suppressed_share } = window;
            wire::WindowPreview {
                start_us: start.0,
                end_us: end.0,
                cells,
                cells_suppressed,
                suppressed_share: band(suppressed_share).into(),
            }
        });
        wire::PreviewResponse { windows: windows.collect(), windows_total }
    }
}

impl TryFrom<wire::PreviewResponse> for ProductPreview {
    type Error = Unreadable;

    fn try_from(preview: wire::PreviewResponse) -> Result<Self, Unreadable> {
        let wire::PreviewResponse { windows, windows_total } = preview;
        let windows = windows.into_iter().map(|window| {
            let wire::WindowPreview { start_us, end_us, cells, cells_suppressed, suppressed_share } = window;
            let (start, end) = (UtcMicros(start_us), UtcMicros(end_us));
            let suppressed_share = band_read(suppressed_share)?;
            Ok(WindowPreview { start, end, cells, cells_suppressed, suppressed_share })
        });
        Ok(ProductPreview { windows: windows.collect::<Result<_, _>>()?, windows_total })
    }
}

/// A disclosure method in words, as in `threshold k=10`.
pub(crate) fn method_text(method: MethodTag) -> String {
    match method {
        MethodTag::Open => "open".to_owned(),
        MethodTag::Threshold { k } => format!("threshold k={k}"),
    }
}

fn method_read(text: &str) -> Result<MethodTag, Unreadable> {
    match (text, text.strip_prefix("threshold k=")) {
        ("open", _) => Ok(MethodTag::Open),
        (_, Some(k)) => Ok(MethodTag::Threshold { k: read(k, "method")? }),
        _ => Err(Unreadable { field: "method" }),
    }
}

/// Completeness on the wire.
pub(crate) fn completeness(found: ProductCompleteness) -> wire::ProductCompleteness {
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
    } = found;
    wire::ProductCompleteness {
        product: product.to_string(),
        owner: owner.to_string(),
        own,
        granted,
        windows_expected,
        windows_present,
        windows_empty,
        windows_refused,
        closed_through_us: micros(closed_through),
        newest_window_start_us: micros(newest_window),
        head_confirmed_at_us: micros(head_confirmed_at),
        head_age_us,
        unreachable_since_us: micros(unreachable_since),
        cells,
        cells_suppressed,
        suppressed_share: band(suppressed_share).into(),
        method: method_text(method),
        contract_version,
        revision_max,
        exact,
        note,
        windows_missing,
        windows_open,
        windows_expired,
        found_out,
    }
}

/// Completeness from the wire.
pub(crate) fn completeness_read(found: wire::ProductCompleteness) -> Result<ProductCompleteness, Unreadable> {
    let wire::ProductCompleteness {
        product,
        owner,
        own,
        granted,
        windows_expected,
        windows_present,
        windows_empty,
        windows_refused,
        closed_through_us,
        newest_window_start_us,
        head_confirmed_at_us,
        head_age_us,
        unreachable_since_us,
        cells,
        cells_suppressed,
        suppressed_share,
        method,
        contract_version,
        revision_max,
        exact,
        note,
        windows_missing,
        windows_open,
        windows_expired,
        found_out,
    } = found;
    Ok(ProductCompleteness {
        product: read(&product, "product")?,
        owner: read(&owner, "owner")?,
        own,
        granted,
        windows_expected,
        windows_present,
        windows_empty,
        windows_missing,
        windows_refused,
        windows_open,
        windows_expired,
        closed_through: time(closed_through_us),
        newest_window: time(newest_window_start_us),
        head_confirmed_at: time(head_confirmed_at_us),
        head_age_us,
        unreachable_since: time(unreachable_since_us),
        cells,
        cells_suppressed,
        suppressed_share: band_read(suppressed_share)?,
        method: method_read(&method)?,
        contract_version,
        revision_max,
        found_out,
        exact,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::sample;

    #[test]
    fn a_status_survives_the_wire() {
        let sent = wire::StatusResponse::from(sample());
        assert_eq!(CityStatus::try_from(sent), Ok(sample()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut sent = wire::StatusResponse::from(sample());
        sent.domains[0].link = 99;
        assert_eq!(CityStatus::try_from(sent), Err(Unreadable { field: "link" }));
    }

    #[test]
    fn a_completeness_survives_the_wire() {
        let sent = ProductCompleteness {
            product: "traffic.taxi".parse().unwrap(),
            owner: "traffic".parse().unwrap(),
            own: true,
            granted: true,
            windows_expected: 7,
            windows_present: 1,
            windows_empty: 2,
            windows_missing: 3,
            windows_refused: 4,
            windows_open: 5,
            windows_expired: 13,
            closed_through: Some(UtcMicros(6)),
            newest_window: Some(UtcMicros(7)),
            head_confirmed_at: None,
            head_age_us: Some(8),
            unreachable_since: Some(UtcMicros(9)),
            cells: 10,
            cells_suppressed: 11,
            suppressed_share: ShareBand::Under5,
            method: MethodTag::Threshold { k: 10 },
            contract_version: "1.0.0".to_owned(),
            revision_max: Some(12),
            found_out: true,
            exact: false,
            note: "suppressed".to_owned(),
        };
        let read = completeness_read(completeness(sent.clone()));
        assert_eq!(read, Ok(sent));
        assert_eq!(method_read(&method_text(MethodTag::Open)), Ok(MethodTag::Open));
        assert!(method_read("noise").is_err());
    }

    #[test]
    fn every_band_survives_the_wire() {
        for sent in [ShareBand::None, ShareBand::Under1, ShareBand::Under5, ShareBand::Under20, ShareBand::More] {
            assert_eq!(band_read(band(sent).into()), Ok(sent));
        }
        assert!(band_read(0).is_err());
    }
}
