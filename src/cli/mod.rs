//! The command line. Client commands speak the HTTP interface like anyone else.

use crate::app::App;
use crate::config::{Config, Flags};
use crate::telemetry;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A self-hosted learning server: send rows, get a trained model that answers and keeps learning.
#[derive(Debug, Parser)]
#[command(name = "kenyon", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: HTTP, gRPC, and the workers that train.
    Serve(Box<Flags>),
}

/// Runs the program and tells how it went.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(flags) => serve(*flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kenyon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: Flags) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    telemetry::init_logs(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("kenyon").build()?;
    Ok(runtime.block_on(App::run(config))?)
}
