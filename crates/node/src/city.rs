//! The city's side: serves peers over mutual TLS, with health and reflection, and pulls from them.

use std::sync::Arc;

use civicmesh_exchange::link::Listener;
use civicmesh_exchange::pull::{Pace, Puller, Quota};
use civicmesh_exchange::serve::{Serve, incoming, server, service};
use civicmesh_exchange::tls::{TlsAccept, TlsDial};
use civicmesh_proto::exchange::v1::exchange_service_server::ExchangeServiceServer;

use crate::compose::Parts;
use crate::reflection;

/// Serves peers on `listener` until the node stops; then ends once calls in flight have ended.
pub(crate) async fn serve(parts: Arc<Parts>, listener: Box<dyn Listener>) -> Result<(), String> {
    let accept = TlsAccept::new(
        listener,
        Arc::clone(&parts.environment.handshake),
        Arc::clone(&parts.tls),
        Arc::clone(&parts.traffic),
    );
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ExchangeServiceServer<Serve>>().await;
    let reflection = reflection::of::<ExchangeServiceServer<Serve>>()?;
    server()
        .add_service(service(parts.exchange.clone(), Arc::clone(&parts.keys.signing)))
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming(Box::new(accept)), parts.tasks.stop.clone().cancelled_owned())
        .await
        .map_err(|error| error.to_string())
}

/// What pulls from peers.
pub(crate) fn puller(parts: &Parts) -> Puller {
    let (network, tls) = (Arc::clone(&parts.environment.network), Arc::clone(&parts.tls));
    let pull = &parts.config.pull;
    Puller {
        exchange: parts.exchange.clone(),
        dial: Arc::new(TlsDial::new(
            network,
            Arc::clone(&parts.environment.handshake),
            tls,
            Arc::clone(&parts.traffic),
        )),
        pace: Pace { turn_ms: pull.interval_ms, backoff_ms_max: pull.backoff_ms_max, ..Pace::default() },
        quota: Quota { entries_max: pull.product_entries_max, bytes_max: pull.product_bytes_max },
        seeds: parts.config.node.seeds.clone(),
        links: Arc::clone(&parts.links),
    }
}
