//! `kenyon health`: checks whether the process on this machine is ready, whatever it serves: with TLS or without, with
//! keys or without, a server or a worker with `--metrics-listen`.

use super::show;
use crate::config::Config;
use anyhow::{Context, anyhow};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A container's health check gives up after this time, so that it reports why itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// An error unless the process answers that it is ready.
pub(super) async fn run(config: &Config, json: bool) -> anyhow::Result<()> {
    let url = url(config)?;
    // Fails where one is installed already, which works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The certificate is for the name by which others reach this server, so it cannot be checked against an address of
    // this machine; no key is sent, and nothing but the answer's status is used.
    let client =
        reqwest::Client::builder().timeout(PATIENCE).no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("no answer from {url}"))?;
    let (status, health) = (answer.status(), answer.json().await.unwrap_or_default());
    if status.is_success() {
        show::answer(&health, json);
        return Ok(());
    }
    Err(anyhow!("{url} answered {status}: {}", health["detail"].as_str().unwrap_or("no reason given")))
}

/// The metrics address, which a worker has, too; else the HTTP interface.
fn url(config: &Config) -> anyhow::Result<String> {
    let (scheme, address) = match config.metrics_address()? {
        Some(address) => ("http", address),
        None => (if config.tls().is_some() { "https" } else { "http" }, config.http_address()?),
    };
    Ok(format!("{scheme}://{}/readyz", reachable(address)))
}

/// Where a process that listens on `address` is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_address_is_the_one_that_is_served() {
        let mut config = Config { listen: "0.0.0.0:8080".into(), ..Config::default() };
        assert_eq!(url(&config).unwrap(), "http://127.0.0.1:8080/readyz");
        (config.tls_cert, config.tls_key) = ("cert.pem".into(), "key.pem".into());
        assert_eq!(url(&config).unwrap(), "https://127.0.0.1:8080/readyz");
        config.listen = "[::]:8443".into();
        assert_eq!(url(&config).unwrap(), "https://[::1]:8443/readyz");
        config.metrics_listen = "127.0.0.1:8082".into();
        assert_eq!(url(&config).unwrap(), "http://127.0.0.1:8082/readyz");
    }
}
