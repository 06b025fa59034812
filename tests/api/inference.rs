//! Outputs of the Open Inference Protocol: over JSON, raw tensors and gRPC they have the values of `predict` and `embed`.

use crate::server::{TestServer, clouds, send};
use kenyon::oip::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use kenyon::oip::proto::infer_parameter::ParameterChoice;
use kenyon::oip::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use kenyon::oip::proto::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::transport::Channel;

/// An output tensor, however it came; numbers as text to the precision of 32 bits.
#[derive(Debug, PartialEq)]
struct Output {
    name: String,
    shape: Vec<u64>,
    cells: Vec<String>,
}

fn output(name: &str, shape: Vec<u64>, cells: impl IntoIterator<Item = Value>) -> Output {
    let cell = |cell: Value| cell.as_f64().map_or_else(|| cell.as_str().unwrap().into(), |x| (x as f32).to_string());
    Output { name: name.into(), shape, cells: cells.into_iter().map(cell).collect() }
}

/// A row that is familiar, one of the other class, and one unlike all others.
fn rows(columns: &[&str]) -> Value {
    let rows = [(2.1, 0.1, "red", "right"), (-1.9, -0.2, "blue", "left"), (2.0, 1e4, "red", "right")];
    let row = |(x, y, colour, label)| {
        let all = json!({"x": x, "y": y, "colour": colour, "label": label});
        Value::Object(columns.iter().map(|&name| (name.to_owned(), all[name].clone())).collect())
    };
    rows.map(row).to_vec().into()
}

/// The rows as one tensor for each column.
fn tensors(rows: &Value) -> Vec<Value> {
    let rows = rows.as_array().unwrap();
    let column = |(name, first): (&String, &Value)| {
        let data: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
        let datatype = if first.is_number() { "FP64" } else { "BYTES" };
        json!({"name": name, "datatype": datatype, "shape": [rows.len()], "data": data})
    };
    rows[0].as_object().unwrap().iter().map(column).collect()
}

/// What `predict` and `embed` answer to the rows.
async fn expected(server: &TestServer, model: &str, rows: &Value) -> Vec<Output> {
    let answer = server.post(&format!("/api/v1/models/{model}/predict"), json!({"rows": rows})).await.ok();
    let codes = server.post(&format!("/api/v1/models/{model}/embed"), json!({"rows": rows})).await.ok();
    let predictions = answer["predictions"].as_array().unwrap();
    let count = predictions.len() as u64;
    let each = |name: &str| output(name, vec![count], predictions.iter().map(|p| p[name].clone()));
    let named = if predictions[0]["label"].is_null() { "value" } else { "label" };
    let cells = codes["embeddings"].as_array().unwrap().iter().flat_map(|code| code.as_array().unwrap().clone());
    let embedding = output("embedding", vec![count, codes["width"].as_u64().unwrap()], cells);
    vec![each(named), each("novelty"), each("verdict"), embedding]
}

fn request(rows: &Value, outputs: &[&str]) -> Value {
    let outputs: Vec<Value> = outputs.iter().map(|name| json!({"name": name})).collect();
    json!({"inputs": tensors(rows), "outputs": outputs})
}

async fn over_json(server: &TestServer, model: &str, rows: &Value, outputs: &[&str]) -> Vec<Output> {
    let answer = server.post(&format!("/v2/models/{model}/infer"), request(rows, outputs)).await.ok();
    let one = |tensor: &Value| {
        let shape = serde_json::from_value(tensor["shape"].clone()).unwrap();
        output(tensor["name"].as_str().unwrap(), shape, tensor["data"].as_array().unwrap().clone())
    };
    answer["outputs"].as_array().unwrap().iter().map(one).collect()
}

/// The elements of a raw tensor.
fn cells(datatype: &str, mut raw: &[u8]) -> Vec<Value> {
    match datatype {
        "FP32" => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect(),
        "FP64" => raw.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes).into()).collect(),
        _ => {
            let mut texts = Vec::new();
            while let Some((length, rest)) = raw.split_first_chunk() {
                let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
                texts.push(std::str::from_utf8(text).unwrap().into());
                raw = rest;
            }
            texts
        }
    }
}

async fn over_raw_tensors(server: &TestServer, model: &str, rows: &Value, outputs: &[&str]) -> Vec<Output> {
    let mut body = request(rows, outputs);
    body["parameters"] = json!({"binary_data_output": true});
    let path = format!("/v2/models/{model}/infer");
    let response = server.request(Method::POST, &path).json(&body).send().await.unwrap();
    let length = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let bytes = response.bytes().await.unwrap();
    let (head, mut raw) = bytes.split_at(length);
    let head: Value = serde_json::from_slice(head).unwrap();
    let mut found = Vec::new();
    for tensor in head["outputs"].as_array().unwrap() {
        let (own, rest) = raw.split_at(tensor["parameters"]["binary_data_size"].as_u64().unwrap() as usize);
        let shape = serde_json::from_value(tensor["shape"].clone()).unwrap();
        found.push(output(tensor["name"].as_str().unwrap(), shape, cells(tensor["datatype"].as_str().unwrap(), own)));
        raw = rest;
    }
    assert!(raw.is_empty());
    found
}

type Client = GrpcInferenceServiceClient<Channel>;

/// A request over gRPC; `raw` puts the values beside the tensors, which requests the same for the answer.
fn message(model: &str, rows: &Value, outputs: &[&str], raw: bool) -> ModelInferRequest {
    let mut message = ModelInferRequest { model_name: model.into(), ..Default::default() };
    for tensor in tensors(rows) {
        let data = tensor["data"].as_array().unwrap();
        let numbers: Vec<f64> = data.iter().filter_map(Value::as_f64).collect();
        let texts: Vec<Vec<u8>> = data.iter().filter_map(Value::as_str).map(|text| text.into()).collect();
        if raw {
            let sized = |text: &Vec<u8>| [&(text.len() as u32).to_le_bytes(), &text[..]].concat();
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).chain(texts.iter().flat_map(sized));
            message.raw_input_contents.push(bytes.collect::<Vec<u8>>().into());
        }
        let contents = InferTensorContents { fp64_contents: numbers, bytes_contents: texts, ..Default::default() };
        message.inputs.push(InferInputTensor {
            name: tensor["name"].as_str().unwrap().into(),
            datatype: tensor["datatype"].as_str().unwrap().into(),
            shape: vec![data.len() as i64],
            contents: (!raw).then_some(contents),
            ..Default::default()
        });
    }
    let wanted = |name: &&str| InferRequestedOutputTensor { name: (*name).into(), ..Default::default() };
    message.outputs = outputs.iter().map(wanted).collect();
    message
}

fn found(answer: ModelInferResponse) -> Vec<Output> {
    let raw = answer.raw_output_contents;
    let one = |(at, tensor): (usize, kenyon::oip::proto::model_infer_response::InferOutputTensor)| {
        let values = match (raw.get(at), tensor.contents) {
            (Some(raw), _) => cells(&tensor.datatype, raw),
            (None, Some(contents)) if tensor.datatype == "BYTES" => {
                contents.bytes_contents.into_iter().map(|text| String::from_utf8(text).unwrap().into()).collect()
            }
            (None, Some(contents)) => {
                let singles = contents.fp32_contents.into_iter().map(Value::from);
                singles.chain(contents.fp64_contents.into_iter().map(Value::from)).collect()
            }
            (None, None) => Vec::new(),
        };
        output(&tensor.name, tensor.shape.iter().map(|&size| size as u64).collect(), values)
    };
    answer.outputs.into_iter().enumerate().map(one).collect()
}

async fn with_grpc() -> (TestServer, Client) {
    let server = TestServer::with(|config| config.grpc_listen = "127.0.0.1:0".into()).await;
    let client = Client::connect(server.grpc()).await.unwrap();
    (server, client.max_decoding_message_size(usize::MAX))
}

/// Rows that were marked as abstained, of all models.
async fn abstained(server: &TestServer) -> f64 {
    let metrics = server.get("/metrics").await.ok();
    let lines = metrics.as_str().unwrap().lines().filter(|line| line.contains("_abstained_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

async fn train(server: &TestServer, model: &str, more: Value) {
    let mut request = json!({"dataset": "d", "target": "label", "config": {"epochs": 4}});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let done = server.train(model, request).await;
    assert_eq!(done["status"], "succeeded", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_has_the_outputs_of_predict_and_embed() {
    let (server, mut client) = with_grpc().await;
    server.put("/api/v1/datasets/d", clouds(400)).await.ok();
    train(&server, "sparse", json!({"family": "sparse_mlp"})).await;
    train(&server, "mixed", json!({"family": "hybrid", "config": {}})).await;
    train(&server, "number", json!({"family": "sparse_mlp", "target": "x", "task": "regression"})).await;
    let empty = json!({"target": "label", "task": "classification", "features": {"x": "number", "y": "number", "colour": "category"}});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/stream").json(&empty)).await.status, 201);
    let observed: Vec<Value> =
        (0..30).flat_map(|_| rows(&["x", "y", "colour", "label"]).as_array().unwrap()[..2].to_vec()).collect();
    server.post("/api/v1/models/stream/observe", json!({"rows": observed})).await.ok();
    let features = ["x", "y", "colour"];
    for (model, columns, named) in [
        ("sparse", features, "label"),
        ("mixed", features, "label"),
        ("number", ["y", "colour", "label"], "value"),
        ("stream", features, "label"),
    ] {
        let rows = rows(&columns);
        // What is not requested is not computed, and not answered.
        let before = abstained(&server).await;
        let usual = over_json(&server, model, &rows, &[]).await;
        let usual: Vec<&str> = usual.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(usual, if named == "label" { vec!["label", "probabilities"] } else { vec!["value"] });
        assert_eq!(abstained(&server).await, before, "{model}");

        let outputs = [named, "novelty", "verdict", "embedding"];
        let expected = expected(&server, model, &rows).await;
        assert_eq!(over_json(&server, model, &rows, &outputs).await, expected, "{model}");
        assert!(abstained(&server).await > before || expected[2].cells[2] != "unfamiliar", "{model}");
        assert_eq!(over_raw_tensors(&server, model, &rows, &outputs).await, expected, "{model}");
        for raw in [false, true] {
            let answer = client.model_infer(message(model, &rows, &outputs, raw)).await.unwrap().into_inner();
            assert_eq!(found(answer), expected, "{model}, raw: {raw}");
        }
        // Each alone, and in another order.
        assert_eq!(over_json(&server, model, &rows, &["verdict"]).await, expected[2..3], "{model}");
        let turned = over_json(&server, model, &rows, &["embedding", "novelty"]).await;
        assert!(turned[0] == expected[3] && turned[1] == expected[1], "{model}: {turned:?}");
    }
    let verdicts = &over_json(&server, "sparse", &rows(&features), &["verdict"]).await[0].cells;
    assert_eq!(verdicts[2], "unfamiliar", "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_list_the_outputs_and_a_layer_can_be_named() {
    let (server, mut client) = with_grpc().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    train(&server, "m", json!({"family": "sparse_mlp", "config": {"epochs": 2, "hidden": [32, 16]}})).await;
    let rows = rows(&["x", "y", "colour"]);
    let metadata = server.get("/v2/models/m").await.ok();
    let one = |name: &str, datatype: &str, shape: Value| json!({"name": name, "datatype": datatype, "shape": shape});
    let embed = async |layer: Value| -> Value {
        server.post("/api/v1/models/m/embed", json!({"rows": rows, "layer": layer})).await.ok()
    };
    let width = embed(Value::Null).await["width"].clone();
    let listed = json!([
        one("label", "BYTES", json!([-1])),
        one("probabilities", "FP32", json!([-1, 2])),
        one("novelty", "FP32", json!([-1])),
        one("verdict", "BYTES", json!([-1])),
        one("embedding", "FP32", json!([-1, width])),
    ]);
    assert_eq!(metadata["outputs"], listed);
    let request = ModelMetadataRequest { name: "m".into(), version: String::new() };
    let metadata = client.model_metadata(request).await.unwrap().into_inner();
    let outputs = metadata.outputs.iter().map(|o| one(&o.name, &o.datatype, json!(o.shape)));
    assert_eq!(Value::from_iter(outputs), listed);

    let layers = server.get("/api/v1/models/m/activity").await.ok();
    let first = layers["layers"][0]["name"].as_str().unwrap();
    let parameter = |text: &str| InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text.into())) };
    for layer in [first, "features"] {
        let codes = embed(json!(layer)).await;
        let cells = codes["embeddings"].as_array().unwrap().iter().flat_map(|code| code.as_array().unwrap().clone());
        let expected = output("embedding", vec![3, codes["width"].as_u64().unwrap()], cells);
        let wanted =
            json!({"inputs": tensors(&rows), "outputs": [{"name": "embedding", "parameters": {"layer": layer}}]});
        let answer = server.post("/v2/models/m/infer", wanted).await.ok();
        let tensor = &answer["outputs"][0];
        let shape = serde_json::from_value(tensor["shape"].clone()).unwrap();
        assert_eq!(output("embedding", shape, tensor["data"].as_array().unwrap().clone()), expected, "{layer}");
        let mut message = message("m", &rows, &["embedding"], true);
        message.outputs[0].parameters.insert("layer".into(), parameter(layer));
        assert_eq!(found(client.model_infer(message).await.unwrap().into_inner()), [expected], "{layer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_cannot_answer_has_the_error_of_the_other_interface() {
    let (server, mut client) = with_grpc().await;
    server.put("/api/v1/datasets/d", clouds(200)).await.ok();
    train(&server, "m", json!({"family": "sparse_mlp", "config": {"epochs": 1}})).await;
    let empty = json!({"target": "label", "task": "classification", "features": {"x": "number", "y": "number", "colour": "category"}});
    assert_eq!(send(server.request(Method::PUT, "/api/v1/models/stream").json(&empty)).await.status, 201);
    let rows = rows(&["x", "y", "colour"]);
    for (outputs, status, word) in [
        (json!([{"name": "value"}]), 400, "label, probabilities, novelty, verdict, embedding"),
        (json!([{"name": "abstained"}]), 400, "there is no output 'abstained'"),
        (json!([{"name": "verdict"}, {"name": "verdict"}]), 400, "requested twice"),
        (json!([{"name": "embedding", "parameters": {"layer": "hidden.9"}}]), 422, "there is no such layer"),
        (json!([{"name": "label"}, {"name": "label", "parameters": {"classification": 1}}]), 200, ""),
    ] {
        let answer = server.post("/v2/models/m/infer", json!({"inputs": tensors(&rows), "outputs": outputs})).await;
        let text = answer.body["error"].as_str().unwrap_or_default();
        assert!(answer.status == status && text.contains(word), "{outputs}: {} {}", answer.status, answer.body);
    }
    let unknown = client.model_infer(message("m", &rows, &["value"], false)).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::InvalidArgument, "{unknown:?}");

    // Nothing was learned: the same answer by every way.
    for call in ["predict", "embed"] {
        let refused = server.post(&format!("/api/v1/models/stream/{call}"), json!({"rows": rows})).await;
        assert_eq!(refused.problem(), (409, "nothing_learned"), "{call}");
    }
    for name in ["label", "novelty", "verdict", "embedding"] {
        let refused = server.post("/v2/models/stream/infer", request(&rows, &[name])).await;
        assert!(refused.status == 409 && refused.body.to_string().contains("not learned"), "{name}: {}", refused.body);
        let refused = client.model_infer(message("stream", &rows, &[name], true)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{name}: {refused:?}");
    }
    let metadata = server.get("/v2/models/stream").await.ok();
    assert_eq!(metadata["outputs"][0], json!({"name": "label", "datatype": "BYTES", "shape": [-1]}));

    // An embedding has the limit of `embed`; other outputs do not.
    let many = Value::from(vec![rows[0].clone(); 4097]);
    let refused = server.post("/api/v1/models/m/embed", json!({"rows": many})).await;
    let limit = refused.status;
    assert_eq!(refused.problem().1, "too_many_rows");
    let refused = server.post("/v2/models/m/infer", request(&many, &["label", "embedding"])).await;
    assert!(refused.status == limit && refused.body.to_string().contains("4096"), "{}", refused.body);
    let answered = over_json(&server, "m", &many, &["label", "verdict"]).await;
    assert_eq!((answered[1].shape[0], answered[1].cells.len()), (4097, 4097));
}
