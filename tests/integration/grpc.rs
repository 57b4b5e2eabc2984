//! What gRPC tools find at a node without knowing civicmesh: health and reflection, on both sides, and who may come in.

use crate::city::{City, Node, eventually};
use civicmesh_exchange::link::LinkError;
use civicmesh_exchange::tls::{Guest, Tls, TlsDial};
use civicmesh_exchange::{link::Dial, traffic::Traffic};
use civicmesh_model::names::DomainName;
use civicmesh_node::Environment;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tower::service_fn;

const DEPARTMENT: &str = "civicmesh.department.v1.DepartmentService";
const EXCHANGE: &str = "civicmesh.exchange.v1.ExchangeService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// A channel to the node's department side: no TLS on loopback, no token.
async fn department(node: &Node) -> Channel {
    let url = format!("http://{}", node.address("department_listen"));
    Endpoint::from_shared(url).expect("a URL").connect().await.expect("connected")
}

/// A channel to the node's city side, with the certificate of another node.
async fn city_side(node: &Node, peer: &Node) -> Channel {
    let environment = Environment::real();
    let tls = Tls::load(&peer.dir.join("tls"), environment.clock).expect("the peer's certificate");
    let dial =
        Arc::new(TlsDial::new(environment.network, environment.handshake, Arc::new(tls), Arc::<Traffic>::default()));
    let (address, owner) = (node.address("city_listen"), node.domain.parse().expect("a domain"));
    let connector = service_fn(move |_: Uri| {
        let (dial, address, owner) = (Arc::clone(&dial), address.clone(), Clone::clone(&owner));
        async move { Ok::<_, LinkError>(TokioIo::new(dial.dial(&address, Some(&owner)).await?)) }
    });
    let endpoint = Endpoint::from_static("http://city.invalid");
    endpoint.connect_with_connector(connector).await.expect("a link")
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

async fn reflect(channel: &Channel, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = tokio_stream::iter([request]);
    let answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await;
    let answer: ServerReflectionResponse =
        answers.expect("reflection").into_inner().message().await.expect("an answer").expect("one");
    answer.message_response.expect("said")
}

/// Health of this service and reflection of it and of what serves them: no more and no less is told of.
async fn is_found(channel: &Channel, service: &str, elsewhere: &str) {
    for asked in ["", service] {
        assert_eq!(health(channel, asked).await, Ok(ServingStatus::Serving), "`{asked}`");
    }
    assert_eq!(health(channel, elsewhere).await, Err(Code::NotFound));
    let MessageResponse::ListServicesResponse(listed) =
        reflect(channel, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let mut names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, [service, HEALTH, REFLECTION]);
    for name in names {
        let described = reflect(channel, MessageRequest::FileContainingSymbol(name.clone())).await;
        let MessageResponse::FileDescriptorResponse(files) = described else {
            panic!("{name} is not described");
        };
        let unqualified = name.rsplit('.').next().expect("a name").as_bytes();
        assert!(
            files.file_descriptor_proto.iter().any(|file| file.windows(unqualified.len()).any(|at| at == unqualified))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_served_on_both_sides() {
    let mut city = City::found("Springfield", "UTC");
    let mut node = city.enroll("counts", &[]);
    let peer = city.enroll("reader", &[]);
    node.start();
    is_found(&department(&node).await, DEPARTMENT, EXCHANGE).await;
    is_found(&city_side(&node, &peer).await, EXCHANGE, DEPARTMENT).await;
    who_shows_no_certificate_gets_no_answer(&node, &peer).await;
}

/// Someone who believes the node, and shows no certificate.
async fn who_shows_no_certificate_gets_no_answer(node: &Node, peer: &Node) {
    let environment = Environment::real();
    let owner: DomainName = node.domain.parse().expect("a domain");
    let guest = Guest::load(&peer.dir.join("tls"), owner.into(), environment.clock).expect("the city's certificate");
    let address = node.address("city_listen");
    let connector = service_fn(move |_: Uri| {
        let (network, guest, address) = (Arc::clone(&environment.network), guest.clone(), address.clone());
        async move {
            let io = guest.connect(network.connect(&address).await?).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    let endpoint = Endpoint::from_static("http://city.invalid");
    let channel = endpoint.connect_with_connector_lazy(connector);
    assert!(health(&channel, "").await.is_err(), "answered who showed no certificate");
    eventually("the node says that it refused a link", || node.log().contains("refused a link").then_some(()));
}
