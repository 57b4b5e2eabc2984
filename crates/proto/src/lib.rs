//! What goes over the wires: prost and tonic code generated from `proto/`, no logic.
//!
//! The generated files are checked in, so that a build needs no compiler for protocol buffers. `tests/drift.rs`
//! generates them anew (with protox, in pure Rust) and fails when they differ; `UPDATE=1 cargo test -p
//! civicmesh-proto` rewrites them.

mod redacted;

/// What nodes say to each other: `civicmesh.exchange.*`.
pub mod exchange {
    /// `civicmesh.exchange.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/civicmesh.exchange.v1.rs");
    }
}

/// What a department says to its own node: `civicmesh.department.*`.
pub mod department {
    /// `civicmesh.department.v1`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/civicmesh.department.v1.rs");
    }
}

/// The envelope for typed errors that gRPC clients of any language know.
pub mod google {
    /// `google.rpc`.
    #[allow(missing_docs, clippy::all)]
    pub mod rpc {
        include!("generated/google.rpc.rs");
    }
}

/// All of the above as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");
