//! Processing of every request before and after its handler: an id, the key, limits, time, one
//! line in the log, one count in the metrics, and the headers that every answer carries.

use super::Api;
use super::body::{self, Bounded};
use super::context::{self, CONTEXT, Context};
use super::error::Failure;
use super::predict::is_file;
use super::read::{self, BodyLimit};
use super::routes::{Class, Route};
use crate::store::NewAuditEntry;
use crate::store::access::Caller;
use crate::telemetry::traces::{self, Answered, Parent, Protocol};
use crate::{Error, Kind, Result, telemetry};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The middleware.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (started, begun) = (Instant::now(), SystemTime::now());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(Route::UNKNOWN, |path| api.routes.find(request.method(), path.as_str()));
    let method = request.method().clone();
    let uri = request.uri().clone();
    let context = Context {
        request_id: context::id_from(request.headers().get(REQUEST_ID)),
        inference_protocol: uri.path().starts_with("/v2"),
    };
    let id = HeaderValue::from_str(&context.request_id);
    let parent = request.headers().get(TRACE_PARENT).and_then(|v| v.to_str().ok()).and_then(traces::parent);
    let work = CONTEXT.scope(context, async {
        let mut response = match admit(&api, route, request).await {
            Ok((request, _running)) => {
                let caller = route.audited.then(|| request.extensions().get::<Caller>().cloned()).flatten();
                let response = within(route, api.config.request_timeout(), next.run(request)).await;
                if let Some(caller) = caller {
                    audit(&api, &caller, &method, &uri, response.status().as_u16()).await;
                }
                response
            }
            Err(failure) => failure.into_response(),
        };
        finish(&api, route, &method, &mut response);
        log(route, &method, &uri, parent, &response, started);
        response
    });
    let mut response = work.await;
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (method, route) = (method_name(&method), path.as_ref().map_or("none", |p| p.as_str()));
    let status = response.status().as_u16();
    traces::record(Answered { protocol: Protocol::Http(method), route, status, begun, parent });
    count(method, route, status, started);
    response
}

/// The checks that can refuse a request before its handler runs.
async fn admit(api: &Api, route: Route, request: Request) -> Result<(Request, Running), Failure> {
    let (mut parts, body) = request.into_parts();
    match check(api, route, &parts).await {
        Ok((caller, running)) => {
            let limit = body_limit(api, route, &parts.headers);
            parts.extensions.insert(caller);
            parts.extensions.insert(BodyLimit(limit));
            let bounded = Bounded::new(body, limit, api.config.client_timeout());
            Ok((Request::from_parts(parts, axum::body::Body::new(bounded)), running))
        }
        Err(error) => {
            // The client may still be sending; its body is read so that it reads the answer.
            body::drain(body);
            Err(error.into())
        }
    }
}

async fn check(api: &Api, route: Route, request: &Parts) -> Result<(Caller, Running)> {
    let headers = &request.headers;
    same_site(api, &request.method, headers)?;
    host_allowed(api, &request.uri, headers)?;
    let address = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let caller = match route.scope {
        Some(scope) => {
            let caller = caller(api, headers, address).await?;
            caller.require(scope)?;
            caller
        }
        None => Caller::Anyone,
    };
    if route.class == Class::Health {
        return Ok((caller, Running(None)));
    }
    if let Some(name) = model_of(route, request.uri.path()) {
        caller.require_model(name)?;
    }
    api.limits.rate(&caller, address)?;
    if route.no_query {
        read::no_query(&request.uri, "this request has no options there")?;
    }
    if content_length(headers).is_some_and(|length| length > body_limit(api, route, headers)) {
        return Err(read::too_large());
    }
    let running = api.limits.enter()?;
    Ok((caller, running))
}

/// Who sends a request.
pub(super) async fn caller(api: &Api, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller> {
    let secret = secret(headers)?;
    match api.access.caller(secret).await {
        // Only wrong keys are counted; a request without a key is none.
        Err(error) if secret.is_some() => Err(api.limits.count_wrong_key(address).err().unwrap_or(error)),
        caller => caller,
    }
}

/// The name in `/api/v1/models/{name}…` and `/v2/models/{name}…`.
fn model_of(route: Route, path: &str) -> Option<&str> {
    if !route.of_model {
        return None;
    }
    path.split("/models/").nth(1)?.split('/').next()
}

/// Bytes the body may have.
fn body_limit(api: &Api, route: Route, headers: &HeaderMap) -> u64 {
    let file = route.takes_files && is_file(headers);
    api.limit_of(if file { Class::Upload } else { route.class })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The key, from either header.
fn secret(headers: &HeaderMap) -> Result<Option<&str>> {
    let unreadable = || Error::new(Kind::Unauthorized, "invalid_key", "the key cannot be read");
    if let Some(key) = headers.get(API_KEY) {
        return key.to_str().map(Some).map_err(|_| unreadable());
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| unreadable())?;
    let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, key)| Some(key.trim())).ok_or_else(unreadable)
}

/// Pages of other sites may read (where CORS lets them), but change nothing.
fn same_site(api: &Api, method: &Method, headers: &HeaderMap) -> Result<()> {
    if !api.config.cors_origins.is_empty() || method.is_safe() {
        return Ok(());
    }
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    let foreign = site.is_some_and(|s| s == b"cross-site" || s == b"same-site");
    let origin = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok());
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let elsewhere = origin.is_some_and(|o| o.split_once("://").map(|(_, o)| o) != host);
    if foreign || (site.is_none() && elsewhere) {
        return Err(Error::new(Kind::Forbidden, "cross_site", "requests from pages of other sites are not taken"));
    }
    Ok(())
}

/// An open server on loopback answers to loopback's names only: a page of another site whose name is made
/// to point at this machine would otherwise count as the same site.
fn host_allowed(api: &Api, uri: &Uri, headers: &HeaderMap) -> Result<()> {
    if !api.loopback_only {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).or_else(|| uri.authority().map(|a| a.as_str()));
    let Some(host) = host else { return Ok(()) };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    if local {
        return Ok(());
    }
    let detail = "without a master key this server answers to localhost only";
    Err(Error::new(Kind::Forbidden, "host_not_allowed", detail))
}

/// Runs the handler, for at most the time of its kind.
async fn within(route: Route, time: Duration, work: impl Future<Output = Response>) -> Response {
    if route.class != Class::Plain {
        return work.await;
    }
    match tokio::time::timeout(time, work).await {
        Ok(response) => response,
        Err(_) => Failure(Error::new(Kind::Deadline, "deadline", "the request took longer than this server allows"))
            .into_response(),
    }
}

/// Enters a change that was made; the client has its answer after that.
async fn audit(api: &Api, caller: &Caller, method: &Method, uri: &Uri, status: u16) {
    if !(200..300).contains(&status) {
        return;
    }
    let request_id = context::request_id();
    let entry = NewAuditEntry {
        caller: caller.id(),
        caller_name: caller.name(),
        method: method_name(method),
        path: uri.path(),
        status,
        request_id: &request_id,
    };
    if let Err(error) = api.store.audit(&entry).await {
        // The change is made: the program's own log has it, as it has every call.
        tracing::error!(%error, path = entry.path, "a change could not be entered in the audit log");
    }
}

/// Headers that every answer carries.
fn finish(api: &Api, route: Route, method: &Method, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if route.class == Class::Hot {
        return;
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(API_POLICY));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    if api.config.tls().is_some() && method != Method::OPTIONS {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// One line a request; frequent routes are logged at a lower level.
fn log(route: Route, method: &Method, uri: &Uri, parent: Option<Parent>, response: &Response, started: Instant) {
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    let request_id = context::request_id();
    // Paths are percent-encoded as received, so the log cannot be injected with line breaks.
    let path = uri.path();
    let trace_id = parent.map(|parent| format!("{:032x}", parent.trace));
    if matches!(route.class, Class::Hot | Class::Health) {
        tracing::debug!(%method, path, status, seconds, request_id = &*request_id, trace_id, "answered");
    } else {
        tracing::info!(%method, path, status, seconds, request_id = &*request_id, trace_id, "answered");
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

type Counted = HashMap<String, Vec<((&'static str, u16), metrics::Counter, metrics::Histogram)>>;

thread_local! {
    /// Looking a metric up by its labels allocates; each thread caches those it used.
    static COUNTED: RefCell<Counted> = RefCell::default();
}

/// Counts a request. Routes are the router's patterns, so there are few of them.
fn count(method: &'static str, route: &str, status: u16, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    COUNTED.with_borrow_mut(|counted| {
        if !counted.contains_key(route) {
            counted.insert(route.to_owned(), Vec::new());
        }
        let Some(known) = counted.get_mut(route) else { return };
        if let Some((_, counter, histogram)) = known.iter().find(|(key, ..)| *key == (method, status)) {
            counter.increment(1);
            histogram.record(seconds);
            return;
        }
        let (owned, code) = (route.to_owned(), status.to_string());
        let counter =
            metrics::counter!(telemetry::HTTP_REQUESTS, "method" => method, "route" => owned.clone(), "status" => code);
        let histogram = metrics::histogram!(telemetry::HTTP_DURATION, "method" => method, "route" => owned);
        counter.increment(1);
        histogram.record(seconds);
        known.push(((method, status), counter, histogram));
    });
}

type Limiter<K> = governor::DefaultKeyedRateLimiter<K>;

/// Limits on concurrent requests and on requests a second.
#[derive(Debug)]
pub(crate) struct Limits {
    keys: Option<Limiter<String>>,
    addresses: Option<Limiter<IpAddr>>,
    wrong_keys: Option<Limiter<IpAddr>>,
    running: std::sync::Arc<AtomicUsize>,
    most: usize,
}

/// A request that counts as running until this is dropped.
pub(crate) struct Running(Option<std::sync::Arc<AtomicUsize>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(running) = &self.0 {
            running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Limits {
    pub(crate) fn new(config: &crate::config::Config) -> Self {
        let quota = |rate: u32| std::num::NonZeroU32::new(rate).map(governor::Quota::per_second);
        Self {
            keys: quota(config.rate_limit).map(Limiter::keyed),
            addresses: quota(config.rate_limit_address).map(Limiter::keyed),
            wrong_keys: quota(config.wrong_key_limit).map(Limiter::keyed),
            running: std::sync::Arc::default(),
            most: config.max_requests,
        }
    }

    /// 429 `rate_limited` when the key, or without one the address, sends too many requests.
    fn rate(&self, caller: &Caller, address: Option<IpAddr>) -> Result<()> {
        let allowed = match (caller.id(), &self.keys, &self.addresses, address) {
            ("", _, Some(limiter), Some(address)) => wait(limiter, &address),
            ("", ..) => None,
            (id, Some(limiter), ..) => wait(limiter, &id.to_owned()),
            _ => None,
        };
        allowed.map_or(Ok(()), |seconds| {
            let error =
                Error::new(Kind::Overloaded, "rate_limited", "more requests a second than this server takes from you");
            Err(error.with_retry_after(seconds))
        })
    }

    /// 429 `rate_limited` when an address tries many wrong keys.
    fn count_wrong_key(&self, address: Option<IpAddr>) -> Result<()> {
        let waiting = address.zip(self.wrong_keys.as_ref()).and_then(|(address, limiter)| wait(limiter, &address));
        waiting.map_or(Ok(()), |seconds| {
            let error = Error::new(Kind::Overloaded, "rate_limited", "too many requests with a wrong key");
            Err(error.with_retry_after(seconds))
        })
    }

    fn enter(&self) -> Result<Running> {
        if self.running.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.running.fetch_sub(1, Ordering::Relaxed);
            let error = Error::new(Kind::Overloaded, "too_many_requests", "the server is busy; try again shortly");
            return Err(error.with_retry_after(1));
        }
        Ok(Running(Some(self.running.clone())))
    }

    /// Removes clients without recent requests, so that memory does not grow.
    pub(crate) fn forget(&self) {
        self.wrong_keys.iter().for_each(|l| l.retain_recent());
        self.keys.iter().for_each(|l| l.retain_recent());
        self.addresses.iter().for_each(|l| l.retain_recent());
    }
}

/// Seconds to wait, if the limiter refuses.
fn wait<K: std::hash::Hash + Eq + Clone>(limiter: &Limiter<K>, key: &K) -> Option<u64> {
    use governor::clock::Clock;
    let refused = limiter.check_key(key).err()?;
    Some(refused.wait_time_from(governor::clock::DefaultClock::default().now()).as_secs() + 1)
}
