//! The Open Inference Protocol, over REST and gRPC, from one tensor codec.
