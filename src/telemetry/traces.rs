//! The trace a request belongs to (W3C Trace Context), and with the feature `otel` its span, sent to an
//! OpenTelemetry collector.

use std::time::SystemTime;

/// The caller's span, from a `traceparent` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace; never 0.
    pub trace: u128,
    /// The caller's span; never 0.
    pub span: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

/// Reads `00-` trace `-` span `-` flags; anything else is no parent.
pub fn parent(header: &str) -> Option<Parent> {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = header.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    // Later versions may have more parts, this one may not.
    if !whole || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|&span| span != 0)?;
    Some(Parent { trace, span, sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1 })
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol<'a> {
    /// Over HTTP, with this method.
    Http(&'a str),
    /// As a call of gRPC.
    Grpc,
}

/// An answered request.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// How it came.
    pub protocol: Protocol<'a>,
    /// The route it took, with the names of its parameters; `service/method` of gRPC.
    pub route: &'a str,
    /// The status of HTTP or the code of gRPC that it was answered with.
    pub status: u16,
    /// When it came.
    pub begun: SystemTime,
    /// The caller's span.
    pub parent: Option<Parent>,
}

#[cfg(feature = "otel")]
pub use export::{end, record, start};

#[cfg(feature = "otel")]
mod export {
    use super::{Answered, Protocol};
    use crate::{Error, Result};
    use opentelemetry::trace::{
        Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
        TracerProvider,
    };
    use opentelemetry::{Context, KeyValue};
    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
    use std::sync::OnceLock;

    static TRACER: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

    /// Starts sending spans where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. Runs inside the runtime.
    pub fn start() -> Result<()> {
        if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
            return Ok(());
        }
        let exporter = SpanExporter::builder().with_tonic().build().map_err(Error::internal)?;
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name("kenyon").build())
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("kenyon");
        let _ = TRACER.set((provider, tracer));
        Ok(())
    }

    /// Sends what is left; waits for it.
    pub fn end() {
        if let Some((provider, _)) = TRACER.get()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }

    /// One span a request, a child of the caller's.
    pub fn record(request: Answered<'_>) {
        let Some((_, tracer)) = TRACER.get() else { return };
        let within = request.parent.map_or_else(Context::new, |parent| {
            let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
            let (trace, span) = (TraceId::from(parent.trace), SpanId::from(parent.span));
            Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
        });
        let status = i64::from(request.status);
        let route = request.route.to_owned();
        // Names and errors as OpenTelemetry's conventions have them.
        let (name, attributes, failed) = match request.protocol {
            Protocol::Http(method) => {
                let attributes = vec![
                    KeyValue::new("http.request.method", method.to_owned()),
                    KeyValue::new("http.route", route),
                    KeyValue::new("http.response.status_code", status),
                ];
                (format!("{method} {}", request.route), attributes, status >= 500)
            }
            Protocol::Grpc => {
                let (service, method) = request.route.split_once('/').unwrap_or(("", request.route));
                let attributes = vec![
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", service.to_owned()),
                    KeyValue::new("rpc.method", method.to_owned()),
                    KeyValue::new("rpc.grpc.status_code", status),
                ];
                // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
                (route, attributes, matches!(status, 2 | 4 | 12..=15))
            }
        };
        let builder = tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_start_time(request.begun)
            .with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &within);
        if failed {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

#[cfg(not(feature = "otel"))]
pub use without::{end, record, start};

#[cfg(not(feature = "otel"))]
mod without {
    /// Without the feature no spans are sent.
    pub fn start() -> crate::Result<()> {
        Ok(())
    }

    /// See [`start`].
    pub fn end() {}

    /// See [`start`].
    pub fn record(_: super::Answered<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_the_standard_says() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = parent(header);
        let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(found, Some(Parent { trace, span: 0xb7ad_6b71_6920_3331, sampled: true }));
        assert_eq!(parent(&header.replace("-01", "-00")).map(|p| p.sampled), Some(false));
        assert!(parent(&format!("cc{}-more", &header[2..])).is_some(), "a later version");
        for wrong in [
            "",
            "00",
            &format!("{header}-more"),
            &header.replace("00-", "ff-"),
            &header.to_uppercase(),
            &header.replace("b7ad6b7169203331", "0000000000000000"),
            &header.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &header.replace("b7ad", "+7ad"),
            &header[1..],
        ] {
            assert_eq!(parent(wrong), None, "{wrong}");
        }
    }
}
