//! The Model Context Protocol at `/mcp`, with `--mcp`: calls of this interface as tools for language models.
//! A call of a tool is a request to the same router with the same key, so scopes, limits, checks and the audit log are the same.

mod tools;

use super::error::{Answer, Failure, Problem, described};
use super::middleware::{self, REQUEST_ID};
use super::read::Raw;
use super::{Api, context};
use crate::store::access::Caller;
use crate::{Error, Result};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http_body_util::Full;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::sync::Arc;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const INSTRUCTIONS: &str = "Kenyon learns from tables. To answer questions about new rows: list_datasets or put_dataset, train a \
    model on a column of it, get_job until it has succeeded, then predict or explain. get_model names the columns that rows need.";

pub(crate) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(mcp))
}

/// A message of JSON-RPC 2.0 (a request, or a notification, which has no `id`).
#[derive(Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "a description only: rmcp parses it")]
#[schema(examples(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
    "params": { "name": "predict", "arguments": { "model": "iris", "rows": [{ "sepal_length": 5.1 }] } } })))]
struct RpcRequest {
    /// `2.0`.
    jsonrpc: String,
    /// Names the request in the answer.
    #[schema(value_type = Option<RpcId>)]
    id: Option<RpcId>,
    /// `initialize`, `tools/list`, `tools/call`, …
    method: String,
    /// As the protocol defines it for the method.
    #[schema(value_type = Option<HashMap<String, Value>>)]
    params: Option<Map<String, Value>>,
}

/// An id of JSON-RPC.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
enum RpcId {
    Number(i64),
    Text(String),
}

/// The answer to a request of JSON-RPC 2.0.
#[derive(Serialize, utoipa::ToSchema)]
struct RpcAnswer {
    /// `2.0`.
    jsonrpc: String,
    /// That of the request.
    id: Option<RpcId>,
    /// As the protocol defines it for the method.
    #[schema(value_type = Option<HashMap<String, Value>>)]
    result: Option<Map<String, Value>>,
    /// Why there is no result.
    error: Option<RpcError>,
}

/// An error of the protocol; that of a call is a result with `isError`.
#[derive(Serialize, utoipa::ToSchema)]
struct RpcError {
    /// A code of JSON-RPC.
    code: i32,
    /// What is wrong.
    message: String,
    /// More about it.
    #[schema(value_type = Option<Value>)]
    data: Option<Value>,
}

/// The Model Context Protocol (streamable HTTP, without sessions), if the server was started with `--mcp`.
///
/// Its tools are calls of this interface. It takes any valid key and lists the tools that the key may use.
#[utoipa::path(post, path = "/mcp", operation_id = "mcp", tag = "mcp", security(("key" = [])), request_body = RpcRequest,
    responses((status = 200, body = RpcAnswer), (status = 202, description = "a notification was taken"),
    (status = 400, description = "no message of the protocol, or of a version that is not known",
        content((RpcAnswer = "application/json"), (Problem = "application/problem+json"))),
    (status = 404, description = "the server was started without --mcp, or the protocol has no such method",
        content((Problem = "application/problem+json"), (RpcAnswer = "application/json")))))]
async fn mcp(State(api): State<Api>, service: Option<Extension<Service>>, request: Request) -> Answer<Response> {
    let Some(Extension(service)) = service else {
        return Err(Error::not_found("mcp_off", "this server was started without --mcp").into());
    };
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let caller = middleware::caller(&api, request.headers(), address).await?;
    let (mut parts, body) = request.into_parts();
    let Raw(message) = Raw::from_request(Request::from_parts(parts.clone(), body), &()).await?;
    parts.extensions.insert(caller);
    parts.extensions.insert(RequestId(context::request_id()));
    // What the protocol requires of a client; the answer is JSON in any case.
    parts.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = service.0.handle(Request::from_parts(parts, Full::new(message))).await;
    refused(response.map(Body::new)).await
}

/// The id of the request that a tool is called by.
#[derive(Clone, Debug)]
struct RequestId(Box<str>);

/// A refusal in plain text becomes a problem document.
async fn refused(response: Response) -> Answer<Response> {
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || response.status().is_success() {
        return Ok(response);
    }
    let (status, text) = (response.status(), to_bytes(response.into_body(), 1 << 16).await.unwrap_or_default());
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(match status.is_server_error() {
        true => Error::internal(text).into(),
        false => Failure(Error::malformed("invalid_request", text)),
    })
}

/// The protocol over a router.
#[derive(Clone)]
pub(crate) struct Service(Arc<StreamableHttpService<Tools, NeverSessionManager>>);

impl Service {
    /// The tools of `api`, which call `router`; `document` describes them.
    pub(crate) fn new(api: &Api, router: Router, document: &Value) -> Self {
        let tools = Tools(Arc::new(Shared { api: api.clone(), router, tools: tools::from_document(document) }));
        let limit = usize::try_from(api.config.max_body_bytes).unwrap_or(usize::MAX);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(limit)
            .with_cancellation_token(api.stop.clone())
            // The middleware checks host and origin.
            .disable_allowed_hosts();
        Self(Arc::new(StreamableHttpService::new(move || Ok(tools.clone()), Arc::default(), config)))
    }
}

#[derive(Clone)]
struct Tools(Arc<Shared>);

struct Shared {
    api: Api,
    router: Router,
    tools: Vec<tools::Tool>,
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("kenyon", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        let caller = head(&context)?.extensions.get::<Caller>().cloned().unwrap_or(Caller::Anyone);
        let usable = self.0.tools.iter().filter(|tool| {
            let scope = self.0.api.routes.find(&tool.method, &tool.path).scope;
            scope.is_none_or(|scope| caller.require(scope).is_ok())
        });
        Ok(ListToolsResult::with_all_items(usable.map(shown).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let head = head(&context)?;
        let Some(tool) = self.0.tools.iter().find(|tool| tool.name == request.name) else {
            return Err(ErrorData::invalid_params(format!("there is no tool '{}'", request.name), None));
        };
        let answered = match self.0.send(tool, request.arguments.unwrap_or_default(), head).await {
            Ok((true, answer)) => CallToolResult::structured(answer),
            Ok((false, problem)) => CallToolResult::structured_error(problem),
            Err(error) => {
                let id = head.extensions.get::<RequestId>().map_or("", |id| &id.0);
                CallToolResult::structured_error(described(error, id))
            }
        };
        Ok(answered.into())
    }
}

impl Shared {
    /// The answer to a call, and whether it is a success.
    async fn send(&self, tool: &tools::Tool, arguments: Map<String, Value>, head: &Parts) -> Result<(bool, Value)> {
        let call = tool.call(arguments)?;
        let body = call.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = Request::new(body);
        *request.method_mut() = tool.method.clone();
        *request.uri_mut() = call.uri;
        for name in [header::AUTHORIZATION, middleware::API_KEY] {
            request.headers_mut().extend(head.headers.get(&name).map(|value| (name, value.clone())));
        }
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let id = head.extensions.get::<RequestId>().and_then(|id| HeaderValue::from_str(&id.0).ok());
        request.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
        if let Some(at) = head.extensions.get::<ConnectInfo<SocketAddr>>() {
            request.extensions_mut().insert(*at);
        }
        let response = self.router.clone().oneshot(request).await.into_response();
        let success = response.status() < StatusCode::BAD_REQUEST;
        let bytes = to_bytes(response.into_body(), usize::MAX).await.map_err(Error::internal)?;
        Ok((success, serde_json::from_slice(&bytes).map_err(Error::internal)?))
    }
}

/// The head of the HTTP request that a message came with.
fn head(context: &RequestContext<RoleServer>) -> std::result::Result<&Parts, ErrorData> {
    context
        .extensions
        .get::<Parts>()
        .ok_or_else(|| ErrorData::internal_error("the message came without a request", None))
}

fn shown(tool: &tools::Tool) -> Tool {
    let hints = ToolAnnotations::new().read_only(tool.reads).open_world(false);
    Tool::new(tool.name, tool.purpose, tool.arguments.clone()).with_annotations(hints)
}
