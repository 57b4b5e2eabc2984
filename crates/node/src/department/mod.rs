//! The department's service: ingest, undo, query, status, preview, each behind its token.

mod authorize;
mod failure;
mod flight;
mod ingest;
mod outgoing;
mod pg;
mod query;
mod question;
mod server;
mod session;
mod turns;
mod upload;
mod wire;

use std::pin::Pin;
use std::sync::Arc;

use civicmesh_exchange::link::run_blocking;
use civicmesh_exchange::office::Purpose;
use civicmesh_ledger::LedgerError;
use civicmesh_model::names::ProductId;
use civicmesh_proto::department::v1 as proto;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_proto::department::v1::department_service_server::DepartmentService;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use self::authorize::authorize;
use crate::compose::Parts;
use crate::publisher::Product;
use crate::status::city_status;
use civicmesh_exchange::request_id::RequestId;

pub(crate) use self::authorize::Tokens;
pub(crate) use self::failure::{Failure, detail};
pub(crate) use self::ingest::take_whole;
pub(crate) use self::outgoing::Outgoing;
pub(crate) use self::pg::serve as serve_postgres;
pub(crate) use self::query::ask;
pub(crate) use self::question::asking;
pub(crate) use self::server::serve;
pub(crate) use self::turns::Turns;
pub(crate) use self::upload::{must_be_own, prepare};
pub use self::wire::Unreadable;
pub(crate) use self::wire::completeness_read;

/// A stream of responses.
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The department's service of one node.
pub(crate) struct Department {
    parts: Arc<Parts>,
}

impl Department {
    fn authorize<T>(&self, request: &Request<T>, needed: &[Purpose]) -> Result<Purpose, Failure> {
        authorize(&self.parts.tokens, request.metadata(), needed)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Parts) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let parts = Arc::clone(&self.parts);
        run_blocking(&*self.parts.environment.blocking, move || work(&parts)).await?
    }
}

/// The id that the request came with, or was given.
fn request_id<T>(request: &Request<T>) -> Option<RequestId> {
    request.extensions().get::<RequestId>().cloned()
}

/// The result of a call as gRPC has it.
fn answer<T>(result: Result<T, Failure>, id: Option<&RequestId>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|failure| failure.status(id))
}

#[tonic::async_trait]
impl DepartmentService for Department {
    type IngestStream = Responses<proto::IngestResponse>;
    type QueryStream = Responses<proto::QueryResponse>;

    async fn ingest(
        &self,
        request: Request<Streaming<proto::IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let id = request_id(&request);
        let begun = async {
            self.authorize(&request, &[Purpose::Ingest])?;
            ingest::begin(&self.parts, id.clone(), request.into_inner())
        };
        answer(begun.await, id.as_ref())
    }

    async fn undo_ingest(
        &self,
        request: Request<proto::UndoIngestRequest>,
    ) -> Result<Response<proto::UndoIngestResponse>, Status> {
        let id = request_id(&request);
        let undone = async {
            self.authorize(&request, &[Purpose::Ingest])?;
            let undo = request.into_inner();
            self.blocking(move |parts| ingest::undo(parts, &undo)).await
        };
        answer(undone.await, id.as_ref())
    }

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let id = request_id(&request);
        let answered = async {
            self.authorize(&request, &[Purpose::Query])?;
            query::answer(&self.parts, request.into_inner()).await
        };
        answer(answered.await, id.as_ref())
    }

    async fn status(&self, request: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let id = request_id(&request);
        let status = async {
            let purpose = self.authorize(&request, &[Purpose::Query, Purpose::Ingest])?;
            let shows_raw = purpose != Purpose::Query;
            self.blocking(move |parts| Ok(city_status(parts, shows_raw)?.into())).await
        };
        answer(status.await, id.as_ref())
    }

    async fn preview(
        &self,
        request: Request<proto::PreviewRequest>,
    ) -> Result<Response<proto::PreviewResponse>, Status> {
        let id = request_id(&request);
        let previewed = async {
            self.authorize(&request, &[Purpose::Admin])?;
            let product = request.into_inner().product;
            self.blocking(move |parts| Ok(own_product(parts, &product)?.preview()?.into())).await
        };
        answer(previewed.await, id.as_ref())
    }

    async fn drop_replica(
        &self,
        request: Request<proto::DropReplicaRequest>,
    ) -> Result<Response<proto::DropReplicaResponse>, Status> {
        let id = request_id(&request);
        let dropped = async {
            self.authorize(&request, &[Purpose::Admin])?;
            let product = request.into_inner().product;
            self.blocking(move |parts| drop_replica(parts, &product)).await
        };
        answer(dropped.await, id.as_ref())
    }
}

/// Forgets what is held of a peer's product.
fn drop_replica(parts: &Parts, name: &str) -> Result<proto::DropReplicaResponse, Failure> {
    let product: ProductId = name.parse().map_err(|_| {
        Failure::new(ErrorCode::UnknownProduct, "that is no product's name").instead("name it as domain.product")
    })?;
    match parts.ledger.drop_replica(&product) {
        Ok(entries) => Ok(proto::DropReplicaResponse { entries }),
        Err(error @ (LedgerError::UnknownProduct(_) | LedgerError::Owner { .. })) => {
            Err(Failure::new(ErrorCode::UnknownProduct, error.to_string()).product(product))
        }
        Err(error) => Err(error.into()),
    }
}

/// The own product of this name, with or without the domain.
fn own_product<'p>(parts: &'p Parts, name: &str) -> Result<&'p Product, Failure> {
    let found = parts.products.iter().find(|product| {
        let id = product.id();
        name == id.product.as_str() || name == id.to_string()
    });
    found.map(Arc::as_ref).ok_or_else(|| {
        let names: Vec<String> = parts.products.iter().map(|product| product.id().to_string()).collect();
        Failure::new(
            ErrorCode::UnknownProduct,
            format!("this node has no product of that name; it has {}", listed(&names)),
        )
    })
}

/// Names in a row, or that there are none.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
