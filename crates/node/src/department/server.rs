//! The department's server: gRPC and Flight SQL with health and reflection, `/metrics` and `/healthz`, on one listener.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use civicmesh_exchange::link::{Listener, run_blocking};
use civicmesh_exchange::office::Purpose;
use civicmesh_proto::department::v1::department_service_server::DepartmentServiceServer;
use http::{HeaderMap, StatusCode, header};
use tonic::service::Routes;
use tonic::transport::Server;

use super::authorize::authorize_header;
use super::{Department, flight};
use crate::compose::Parts;
use crate::listener::{Bounds, accept};
use crate::metrics::METRICS_MEDIA_TYPE;
use crate::reflection;
use crate::requests::identify;
use crate::status::city_status;

/// Longest message that is taken from a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Calls at once on one connection.
const CALLS_MAX: usize = 64;

/// Serves the department on `listener` until the node stops; then ends once calls in flight have ended.
pub(crate) async fn serve(parts: Arc<Parts>, listener: Box<dyn Listener>) -> Result<(), String> {
    let router = routes(&parts).await?;
    let tls = parts.config.department.tls.then(|| Arc::clone(&parts.tls));
    let incoming = accept(listener, tls, bounds(&parts), &parts.tasks.others, &parts.tasks.stop);
    let stop = parts.tasks.stop.clone();
    Server::builder()
        .accept_http1(true)
        .concurrency_limit_per_connection(CALLS_MAX)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await })
        .await
        .map_err(|error| error.to_string())
}

/// What bounds the connections. One over which a question is answered is not idle: it may be silent for as long as the
/// answer may take.
pub(super) fn bounds(parts: &Parts) -> Bounds {
    let limits = &parts.config.limits;
    Bounds {
        connections_max: limits.connections_max,
        per_address_max: limits.connections_per_address_max,
        idle_max: Duration::from_millis(limits.connection_idle_ms_max.saturating_add(limits.query_ms_max)),
    }
}

async fn routes(parts: &Arc<Parts>) -> Result<axum::Router, String> {
    let service = DepartmentServiceServer::new(Department { parts: Arc::clone(parts) })
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<DepartmentServiceServer<Department>>().await;
    reporter.set_serving::<FlightServiceServer<flight::Flight>>().await;
    let reflection = reflection::of::<DepartmentServiceServer<Department>>()?;
    let services = Routes::new(service).add_service(flight::service(parts)).add_service(health).add_service(reflection);
    let grpc = services.prepare().into_axum_router();
    let http = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(Arc::clone(parts));
    Ok(http.merge(grpc).layer(from_fn_with_state(Arc::clone(&parts.environment.entropy), identify)))
}

/// Whether the node can take rows in.
async fn healthz(State(parts): State<Arc<Parts>>) -> Response {
    match parts.broken() {
        None => "ok\n".into_response(),
        Some(broken) => (StatusCode::SERVICE_UNAVAILABLE, format!("{broken}\n")).into_response(),
    }
}

/// Prometheus reads it: openly on loopback, with a token beyond.
async fn metrics(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> Response {
    if !parts.config.department_is_loopback() {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if authorize_header(&parts.tokens, shown, &[Purpose::Query, Purpose::Ingest]).is_err() {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    let working = Arc::clone(&parts);
    let text = run_blocking(&*parts.environment.blocking, move || {
        city_status(&working, true).map(|status| working.metrics.text(&status))
    });
    match text.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, METRICS_MEDIA_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
