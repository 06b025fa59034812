//! Messages of the inference protocol over gRPC, mutated: their fields, and their bytes.
//! Settings as in `fuzz`.

use crate::client::{Client, clouds};
use crate::fuzz::{duration_and_random, spoil};
use crate::support::process::{Process, kenyon};
use crate::support::random::Random;
use kenyon::oip::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use kenyon::oip::proto::{InferTensorContents, ModelInferRequest, ModelMetadataRequest};
use prost::Message;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// Raw bytes, so that the message need not be valid.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut taken = vec![0; bytes::Buf::remaining(from)];
        bytes::Buf::copy_to_slice(from, &mut taken);
        Ok(Some(taken))
    }
}

fn tensor(name: &str, datatype: &str, contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor { name: name.into(), datatype: datatype.into(), shape: vec![2], contents, ..Default::default() }
}

fn request() -> ModelInferRequest {
    let numbers = || InferTensorContents { fp32_contents: vec![1.0, -2.0], ..Default::default() };
    let colours = InferTensorContents { bytes_contents: vec!["red".into(), "blue".into()], ..Default::default() };
    ModelInferRequest {
        model_name: "m".into(),
        id: "1".into(),
        inputs: vec![
            tensor("x", "FP32", Some(numbers())),
            tensor("y", "FP32", Some(numbers())),
            tensor("colour", "BYTES", Some(colours)),
        ],
        outputs: vec![InferRequestedOutputTensor { name: "probabilities".into(), ..Default::default() }],
        ..Default::default()
    }
}

/// The same values beside the tensors instead of within.
fn raw_request() -> ModelInferRequest {
    let mut infer = request();
    infer.inputs.iter_mut().for_each(|input| input.contents = None);
    let numbers: Vec<u8> = [1.0f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let colours = b"\x03\0\0\0red\x04\0\0\0blue".to_vec();
    infer.raw_input_contents = [numbers.clone(), numbers, colours].into_iter().map(Into::into).collect();
    infer
}

/// Changes one field of a message that is otherwise right.
fn mutate(infer: &mut ModelInferRequest, random: &mut Random) {
    let shapes: [&[i64]; 6] = [&[], &[-1], &[0], &[i64::MAX, i64::MAX], &[2, 1], &[1 << 40]];
    let datatypes = ["", "FP64", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "fp32", "\0"];
    if infer.inputs.is_empty() {
        return;
    }
    let at = random.below(infer.inputs.len());
    match random.below(9) {
        0 => infer.inputs[at].shape = shapes[random.below(shapes.len())].to_vec(),
        1 => infer.inputs[at].datatype = datatypes[random.below(datatypes.len())].into(),
        2 => infer.inputs[at].name = "\u{202e}..".repeat(random.below(500)),
        3 => drop(infer.inputs.remove(at)),
        4 => infer.inputs.push(infer.inputs[at].clone()),
        5 => {
            infer.inputs[at].contents = Some(InferTensorContents { bool_contents: vec![true; 7], ..Default::default() })
        }
        6 => infer.raw_input_contents.push(vec![0xff; random.below(64)].into()),
        7 => infer.model_version = ["0", "-1", "99", "one", "18446744073709551616"][random.below(5)].into(),
        _ => {
            let names = ["", "label", "probabilities", "\n", "novelty", "verdict", "embedding"];
            infer.outputs[0].name = names[random.below(names.len())].into();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_breaks_it() {
    let (seconds, mut random) = duration_and_random();
    let folder = tempfile::tempdir().unwrap();
    let mut command = kenyon("serve");
    command.args(["--grpc-listen", "127.0.0.1:0", "--workers", "1", "--log", "warn,kenyon::app=info"]);
    let mut server = Process::start(command.arg("--data-dir").arg(folder.path())).unwrap();
    let client = Client::new(&server.url);
    client.put("/api/v1/datasets/d", clouds(200).as_bytes()).await;
    let training =
        json!({ "dataset": "d", "target": "label", "family": "sparse_mlp", "config": { "epochs": 2, "hidden": [8] } });
    assert_eq!(client.train("m", &training).await["status"], "succeeded");
    let channel = tonic::transport::Endpoint::new(server.grpc.clone().unwrap()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    let mut send = async |method: &'static str, message: Vec<u8>| {
        grpc.ready().await.unwrap();
        let path = axum::http::uri::PathAndQuery::from_static(method);
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_secs(20));
        grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
    };
    const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
    for right in [request(), raw_request()] {
        let answer = send(INFER, right.encode_to_vec()).await.unwrap();
        let answer = kenyon::oip::proto::ModelInferResponse::decode(&answer[..]).unwrap();
        assert_eq!((answer.id.as_str(), answer.outputs.len()), ("1", 1));
    }
    let (begun, mut codes, mut sent) = (Instant::now(), BTreeMap::<String, u64>::new(), 0);
    while if seconds > 0 { begun.elapsed() < Duration::from_secs(seconds) } else { sent < 300 } {
        sent += 1;
        let mut infer = if random.below(2) == 0 { request() } else { raw_request() };
        for _ in 0..random.below(3) {
            mutate(&mut infer, &mut random);
        }
        let mut message = infer.encode_to_vec();
        let mut method = INFER;
        if random.below(8) == 0 {
            method = "/inference.GRPCInferenceService/ModelMetadata";
            message = ModelMetadataRequest { name: "m".into(), version: infer.model_version }.encode_to_vec();
        }
        if random.below(2) == 0 {
            spoil(&mut message, &mut random);
        }
        let code = match send(method, message.clone()).await {
            Ok(_) => Code::Ok,
            // The library's error for bytes that are not a message.
            Err(said) if said.message().contains("decode Protobuf") => Code::InvalidArgument,
            Err(said) => {
                let bad = [Code::Internal, Code::Unknown, Code::Unavailable, Code::DeadlineExceeded];
                assert!(!bad.contains(&said.code()), "{method}: {said:?} for {message:?}\n{}", server.log());
                said.code()
            }
        };
        *codes.entry(format!("{code:?}")).or_default() += 1;
    }
    println!("fuzzing gRPC {seconds} s: {sent} messages, by code {codes:?}");
    assert!(server.alive() && codes.len() > 2, "{codes:?}");
    assert!(!server.log().contains("panick"), "{}", server.log());
}
