//! Webhooks: HTTP callbacks for jobs that have ended here and for changes in streams. Signed as Standard Webhooks
//! specifies, retried for a while, and never sent to an address of a private network unless that is allowed.

use crate::config::Config;
use crate::serving::Drift;
use crate::store::{Begun, Change, IdempotencyKey, Store};
use crate::{Error, Kind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};

/// Pauses between tries; after the last one the message is dropped.
const PAUSES: [u64; 6] = [1, 5, 30, 120, 600, 3600];
const TIMEOUT: Duration = Duration::from_secs(10);

/// The address, and the signing secret.
#[derive(Debug)]
pub(super) struct Webhook {
    url: Url,
    secret: String,
    allow_private: bool,
}

impl Webhook {
    /// The configured webhook, if there is one.
    pub(super) fn new(config: &Config) -> Result<Option<Arc<Self>>> {
        if config.webhook_url.is_empty() {
            return Ok(None);
        }
        let url = config.webhook_url.parse::<Url>().ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        let wrong = || Error::malformed("bad_configuration", "--webhook-url is to be an http or https address");
        let secret = config.webhook_secret.reveal().to_owned();
        Ok(Some(Arc::new(Self { url: url.ok_or_else(wrong)?, secret, allow_private: config.webhook_allow_private })))
    }

    /// Sends every job that ends here, until the store closes: jobs that `owner` ran, or that no worker ran.
    pub(super) async fn follow(self: Arc<Self>, owner: String, store: Store, mut changes: broadcast::Receiver<Change>) {
        // A job cancelled while it waited is sent only where there is one process.
        let alone = store.backend() == "sqlite";
        let mut reported = std::collections::VecDeque::new();
        loop {
            let id = match changes.recv().await {
                Ok(Change::Job(id)) => id,
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let Ok(job) = store.job(id).await else { continue };
            // Each job is sent by the process that ran it, so that it is sent once.
            let ours = job.worker.as_ref().map_or(alone, |worker| *worker == owner);
            if !job.status.is_final() || !ours || reported.contains(&(id, job.attempt)) {
                continue;
            }
            reported.push_back((id, job.attempt));
            if reported.len() > 1000 {
                reported.pop_front();
            }
            let event = json!({ "event": format!("job.{}", job.status.name()), "job": job });
            tokio::spawn(self.clone().deliver(event));
        }
    }

    /// Sends every change that streams detect. All replicas detect it; one sends.
    pub(super) async fn follow_drifts(self: Arc<Self>, store: Store, mut drifts: broadcast::Receiver<Drift>) {
        loop {
            let drift = match drifts.recv().await {
                Ok(drift) => drift,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let key = format!("{} {} {}", drift.model_id, drift.row, drift.of.name());
            let first = store.begin_idempotent(&IdempotencyKey::new("webhook drift", key, b"")).await;
            if !matches!(first, Ok(Begun::Fresh)) {
                continue;
            }
            let what = json!({ "model": drift.model, "version": drift.version, "in": drift.of.name(),
                "row": drift.row, "window": drift.window });
            tokio::spawn(self.clone().deliver(json!({ "event": "drift", "drift": what })));
        }
    }

    async fn deliver(self: Arc<Self>, event: Value) {
        // One id for all tries, by which a receiver that has taken an event recognises it.
        let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
        let (name, body) = (event["event"].as_str().unwrap_or_default(), event.to_string().into_bytes());
        for pause in PAUSES {
            match self.send(&id, &body).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(event = name, %error, "a webhook was not delivered"),
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        tracing::error!(event = name, "a webhook was given up");
    }

    async fn send(&self, id: &str, body: &[u8]) -> Result<()> {
        let failed = |cause: reqwest::Error| {
            let mut error = Error::new(Kind::Unavailable, "webhook_failed", "the webhook's server did not take it");
            error.cause = Some(cause.without_url().into());
            error
        };
        let timestamp = jiff::Timestamp::now().as_second();
        let request = self.client().await?.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
        let request = request.header("webhook-signature", self.signature(id, timestamp, body));
        let request = request.header("x-kenyon-signature", self.signature_of_body(body)).body(body.to_vec());
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        Ok(())
    }

    /// A client that can reach only the checked addresses. Redirects are not followed:
    /// they could lead to a private network.
    async fn client(&self) -> Result<Client> {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or(443);
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
        let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
        let allowed: Vec<SocketAddr> = found.into_iter().filter(|a| self.allow_private || is_public(a.ip())).collect();
        if allowed.is_empty() {
            let detail = "the webhook's address is unknown or private; --webhook-allow-private allows it";
            return Err(Error::new(Kind::Forbidden, "webhook_refused", detail));
        }
        let builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        builder.resolve_to_addrs(host, &allowed).build().map_err(Error::internal)
    }

    /// The signature of Standard Webhooks: `v1,` and the HMAC of id, time and body, in base64. A secret that begins with
    /// `whsec_` is base64, as that standard writes secrets; any other is used as it stands.
    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let decoded = self.secret.strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
        let head = format!("{id}.{timestamp}.");
        let key = decoded.as_deref().unwrap_or(self.secret.as_bytes());
        format!("v1,{}", BASE64.encode(hmac(key, &[head.as_bytes(), body])))
    }

    /// The signature of version 0.1, which does not cover id and time: `sha256=` and the HMAC of the body.
    fn signature_of_body(&self, body: &[u8]) -> String {
        let bytes = hmac(self.secret.as_bytes(), &[body]);
        format!("sha256={}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Whether an address is on the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0 || a >= 224 || (a == 198 && (b == 18 || b == 19)) || (a == 192 && b == 0);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4 == Ipv4Addr::BROADCAST
                || shared
                || reserved)
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(v4.into());
            }
            let head = v6.segments()[0];
            // Global unicast is 2000::/3; 64:ff9b::/96 and 2002::/16 wrap addresses of the other kind.
            head & 0xe000 == 0x2000 && head != 0x2002
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_sent_to() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    fn signing_with(secret: &str) -> Webhook {
        Webhook { url: "https://example.com/".parse().unwrap(), secret: secret.into(), allow_private: false }
    }

    #[test]
    fn bodies_are_signed() {
        // The known answer of RFC-style test vectors for this key and text.
        assert_eq!(
            signing_with("key").signature_of_body(b"The quick brown fox jumps over the lazy dog"),
            "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
    }

    #[test]
    fn deliveries_are_signed_as_standard_webhooks_says() {
        // The example of the standard's own libraries.
        let webhook = signing_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
