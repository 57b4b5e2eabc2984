//! Request ids on the department's side: taken from `x-request-id` or made, put into every span, and answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use civicmesh_exchange::link::Entropy;
use civicmesh_exchange::request_id::{REQUEST_ID_KEY, RequestId};
use http::HeaderValue;
use tonic::metadata::MetadataMap;
use tracing::Instrument;

/// Gives every request its id and span. The id stands in the request's extensions and in the response.
pub(crate) async fn identify(State(entropy): State<Arc<dyn Entropy>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&MetadataMap::from_headers(request.headers().clone()), entropy.as_ref());
    let span = tracing::info_span!("request", %id, path = request.uri().path());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID_KEY, value);
    }
    response
}
