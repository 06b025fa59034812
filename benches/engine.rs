//! How long one row takes through the engine, in this process: `cargo bench --bench engine -- BUNDLE ROW`.
//!
//! BUNDLE is an exported model (`GET …/export`), ROW a file with one row as a JSON object.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use kenyon::serving::{Caller, Engine, Files, Library, Settings, Traffic, exchange};
use kenyon::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct One(Files);

impl Library for One {
    fn traffic<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Traffic>> {
        async { Ok(Traffic { stable: Some(1), ..Traffic::default() }) }.boxed()
    }

    fn files<'a>(&'a self, _: &'a str, _: uuid::Uuid, _: u64) -> BoxFuture<'a, Result<Files>> {
        async { Ok(self.0.clone()) }.boxed()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let (Some(bundle), Some(row)) = (arguments.next(), arguments.next()) else {
        println!("usage: cargo bench --bench engine -- BUNDLE ROW");
        return Ok(());
    };
    let encoders = tempfile::tempdir()?;
    let files = exchange::unpack(&std::fs::read(bundle)?, 1 << 30, encoders.path())?;
    let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), Bytes::from(bytes))).collect();
    let engine = Engine::new(Arc::new(One(files)), Settings::default());
    let body = Bytes::from([b"{\"rows\":[", std::fs::read(row)?.trim_ascii(), b"]}"].concat());
    let spawned = tokio::spawn(async move {
        let caller = Caller { request_id: "bench", deadline: None };
        let mut times: Vec<(Duration, Duration)> = Vec::new();
        for _ in 0..20_000 {
            let started = Instant::now();
            let reply = engine.predict_json("m", &body, caller).await?;
            times.push((started.elapsed(), reply.timing.compute));
        }
        for (name, index) in [("whole", 0), ("network", 1)] {
            let mut each: Vec<Duration> = times.iter().map(|t| if index == 0 { t.0 } else { t.1 }).collect();
            each.sort();
            let at = |share: usize| each[(each.len() - 1) * share / 1000];
            println!("{name:8} min {:?}  median {:?}  p99 {:?}", at(0), at(500), at(990));
        }
        Ok::<_, Error>(())
    });
    spawned.await.map_err(Error::internal)?
}
