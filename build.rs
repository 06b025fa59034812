//! Compiles the Open Inference Protocol's messages and service without protoc.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/oip/grpc_predict_v2.proto");
    let mut compiler = protox::Compiler::new(["src/oip"])?;
    compiler.include_imports(true).open_file("src/oip/grpc_predict_v2.proto")?;
    // gRPC reflection answers from the descriptors.
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(folder.join("grpc_predict_v2.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // Raw tensors are slices of the received message, not copies.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
