//! A certificate that is replaced on disk is served without a restart.

use crate::support::process::{Process, kenyon};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Writes a self-signed pair; whether a program for it is installed.
fn issue(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output();
    made.is_ok_and(|output| output.status.success())
}

/// A client that trusts this certificate alone.
fn trusting(folder: &Path) -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(folder.join("cert.pem")).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (folder, next) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if !issue(folder.path()) || !issue(next.path()) {
        crate::support::skip::skip("no openssl here");
        return;
    }
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let mut command = kenyon("serve");
    command
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--tls-cert")
        .arg(&certificate)
        .arg("--tls-key")
        .arg(&key);
    let server = Process::start(&mut command).unwrap();
    let url = server.url.replace("127.0.0.1", "localhost") + "/readyz";
    let (first, second) = (trusting(folder.path()), trusting(next.path()));
    assert_eq!(first.get(&url).send().await.unwrap().status(), 200);
    assert!(second.get(&url).send().await.is_err());
    for name in ["key.pem", "cert.pem"] {
        std::fs::copy(next.path().join(name), folder.path().join(name)).unwrap();
    }
    let begun = Instant::now();
    while second.get(&url).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(first.get(&url).send().await.unwrap().status(), 200, "a connection that is open goes on");
}
