//! The Open Inference Protocol, over REST and gRPC, from one tensor codec.

mod codec;
pub(crate) mod grpc;
mod infer;
mod outputs;
mod reader;
pub(crate) mod rest;
mod schemas;
mod tensor;

/// Messages and service, generated from `grpc_predict_v2.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("inference");

    /// The descriptors, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpc_predict_v2.bin"));
}
