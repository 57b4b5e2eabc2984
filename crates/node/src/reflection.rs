//! gRPC reflection: what a listener serves, and nothing that it does not.

use civicmesh_proto::FILE_DESCRIPTOR_SET;
use tonic::server::NamedService;
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

/// Reflection for a listener that serves `S`, health and reflection.
pub(crate) fn of<S: NamedService>() -> Result<ServerReflectionServer<impl ServerReflection>, String> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(S::NAME)
        .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
        .with_service_name(tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME)
        .build_v1()
        .map_err(|error| error.to_string())
}
