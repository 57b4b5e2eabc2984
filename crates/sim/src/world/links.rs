//! Links without encryption: each side shows its certificate in the clear, and is judged as TLS would judge it.

use async_trait::async_trait;
use civicmesh_exchange::link::{BoxedIo, LinkError, PeerIdentity};
use civicmesh_exchange::tls::{Handshake, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest certificate that is read, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// The handshake of the simulation.
pub struct Plain;

#[async_trait]
impl Handshake for Plain {
    async fn dial(&self, tls: &Tls, mut io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let shown = exchange(tls, &mut io).await.map_err(LinkError::Handshake)?;
        let peer = tls.judge_answering(&shown)?;
        Ok((io, peer))
    }

    async fn accept(&self, tls: &Tls, mut io: BoxedIo) -> Result<(BoxedIo, PeerIdentity), LinkError> {
        let shown = exchange(tls, &mut io).await.map_err(LinkError::Handshake)?;
        let peer = tls.judge_calling(&shown)?;
        Ok((io, peer))
    }
}

/// Shows the own certificate and reads the other's.
async fn exchange(tls: &Tls, io: &mut BoxedIo) -> std::io::Result<Vec<u8>> {
    let own = tls.certificate();
    let mut shown = u32::try_from(own.len()).map_err(std::io::Error::other)?.to_be_bytes().to_vec();
    shown.extend_from_slice(&own);
    io.write_all(&shown).await?;
    io.flush().await?;
    let length = io.read_u32().await? as usize;
    if length > CERTIFICATE_BYTES_MAX {
        return Err(std::io::Error::other("the certificate is too long"));
    }
    let mut certificate = vec![0; length];
    io.read_exact(&mut certificate).await?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    use civicmesh_exchange::link::Clock;
    use civicmesh_exchange::office::{CityOffice, Departure, NodeFolder};
    use civicmesh_model::time::{Span, UtcMicros};

    use super::*;

    const DAY_US: i64 = 86_400_000_000;
    /// 2026-01-01T00:00Z.
    const START: UtcMicros = UtcMicros(1_767_225_600_000_000);

    /// A clock that is set by hand.
    #[derive(Clone)]
    struct Hand(Arc<AtomicI64>);

    impl Clock for Hand {
        fn now(&self) -> UtcMicros {
            UtcMicros(self.0.load(SeqCst))
        }

        fn measured(&self) -> Span {
            self.now().since(START)
        }
    }

    fn clock() -> Hand {
        Hand(Arc::new(AtomicI64::new(START.0)))
    }

    fn city(folder: &Path) -> CityOffice {
        CityOffice::init(folder, "First City", "Europe/Copenhagen".parse().unwrap(), START).unwrap()
    }

    /// What a member that was enrolled at `at` shows, and whom it believes.
    fn member(office: &CityOffice, folder: &Path, domain: &str, at: UtcMicros, clock: &Hand) -> Tls {
        let node = NodeFolder::new(folder.join(domain));
        let listen = Some(format!("{domain}:7400").parse().unwrap());
        let departure = Departure { domain: Some(domain.parse().unwrap()), listen, ..Departure::default() };
        office.enroll_out(&node, &departure, at).unwrap();
        Tls::load(&node.tls(), Arc::new(clock.clone())).unwrap()
    }

    type Met = Result<PeerIdentity, LinkError>;

    /// What the one that calls and the one that answers learn of each other.
    async fn meet(calls: &Tls, answers: &Tls) -> (Met, Met) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (near, far) = tokio::join!(Plain.dial(calls, Box::new(near)), Plain.accept(answers, Box::new(far)));
        (near.map(|(_, peer)| peer), far.map(|(_, peer)| peer))
    }

    #[tokio::test]
    async fn both_ends_learn_whom_they_talk_to() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let office = city(&folder.path().join("office"));
        let [traffic, air] = ["traffic", "air"].map(|domain| member(&office, folder.path(), domain, START, &clock));
        let (near, far) = meet(&traffic, &air).await;
        assert_eq!((near.unwrap(), far.unwrap()), (air.own(), traffic.own()));
    }

    #[tokio::test]
    async fn another_citys_certificate_makes_no_link_either_way() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        [&here, &there].iter().for_each(|city| std::fs::create_dir(city).unwrap());
        let ours = member(&city(&here.join("office")), &here, "traffic", START, &clock);
        let foreign = member(&city(&there.join("office")), &there, "air", START, &clock);
        for (calls, answers) in [(&ours, &foreign), (&foreign, &ours)] {
            let (near, far) = meet(calls, answers).await;
            assert!(matches!(near, Err(LinkError::ForeignCity)), "{near:?}");
            assert!(matches!(far, Err(LinkError::ForeignCity)), "{far:?}");
        }
    }

    #[tokio::test]
    async fn an_expired_certificate_makes_no_link_either_way() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let office = city(&folder.path().join("office"));
        let old = member(&office, folder.path(), "traffic", START, &clock);
        let young = member(&office, folder.path(), "air", UtcMicros(START.0 + 300 * DAY_US), &clock);
        clock.0.fetch_add(366 * DAY_US, SeqCst);
        let (near, far) = meet(&old, &young).await;
        assert!(near.is_ok() && matches!(far, Err(LinkError::PeerExpired)), "{near:?}, {far:?}");
        let (near, far) = meet(&young, &old).await;
        assert!(far.is_ok() && matches!(near, Err(LinkError::PeerExpired)), "{near:?}, {far:?}");
    }
}
