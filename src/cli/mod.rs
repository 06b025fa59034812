//! The command line. Client commands use the HTTP interface; without a server,
//! `train`, `predict` and `evaluate` work on files alone.

/// Prints a line to the standard output; a reader that is gone ends the program quietly.
macro_rules! print_line {
    ($($text:tt)*) => { $crate::cli::show::line(format_args!($($text)*)) };
}

mod bench;
mod client;
mod comparisons;
mod demo;
mod doctor;
mod encoders;
mod files;
mod health;
mod remote;
mod show;
mod streams;
mod train;

use crate::app::App;
use crate::config::{Config, Flags};
use crate::telemetry;
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A self-hosted learning server: upload rows, train a model, get predictions, and keep learning from new labels.
#[derive(Debug, Parser)]
#[command(name = "kenyon", version, propagate_version = true)]
struct Cli {
    /// Print machine-readable JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// The server's address, and the key.
#[derive(Clone, Debug, Args)]
struct Connection {
    /// Address of the server for client commands. [default: http://127.0.0.1:8080]
    #[arg(long, global = true, env = "KENYON_SERVER", value_name = "URL")]
    server: Option<String>,
    /// API key for the server.
    #[arg(long, global = true, env = "KENYON_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificate of an authority, in PEM, that the server's certificate may be signed by.
    #[arg(long, global = true, env = "KENYON_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP and gRPC, and run training jobs.
    Serve {
        /// Start from this snapshot; the data folder must be empty.
        #[arg(long, value_name = "FILE")]
        restore: Option<std::path::PathBuf>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Only run training jobs, from a database shared with servers.
    Worker(Box<Flags>),
    /// Train and serve a model on bundled data; keeps serving.
    Demo {
        /// Exit instead of serving.
        #[arg(long)]
        exit: bool,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Train a model on a file.
    Train(train::Train),
    /// Predict the rows of a file.
    Predict(remote::Predict),
    /// Learn from the labelled rows of a file, or of the standard input.
    Observe(remote::Observe),
    /// Evaluate a model on the labelled rows of a file.
    Evaluate(remote::Evaluate),
    /// List models; promote, roll back, delete.
    #[command(subcommand)]
    Models(remote::Models),
    /// List jobs; watch, cancel, retry.
    #[command(subcommand)]
    Jobs(remote::Jobs),
    /// Upload, list and delete datasets.
    #[command(subcommand)]
    Datasets(remote::Datasets),
    /// Add, list, distil and remove pretrained encoders.
    #[command(subcommand)]
    Encoders(encoders::Encoders),
    /// Compare models with neural recordings; list and remove comparisons.
    #[command(subcommand)]
    Comparisons(comparisons::Comparisons),
    /// Export a model as a file.
    Export(remote::Export),
    /// Import a model's file.
    Import(remote::Import),
    /// Make a consistent copy of everything on the server.
    Snapshot,
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Keys(remote::Keys),
    /// Show what a model learned from a stream: accuracy, coverage, drift, memory.
    Stream(streams::OfModel),
    /// Queue a consolidation of what a model learned from a stream.
    Consolidate(streams::OfModel),
    /// Forget the rows of a stream that have some values.
    Forget(streams::Forget),
    /// Choose the version that answers, and those that answer a share or unseen.
    Traffic(streams::Traffic),
    /// Compare two versions of a model on the same rows.
    Compare(streams::Compare),
    /// Show how much each column matters to a model.
    Importance(streams::OfModel),
    /// Measure the latency and throughput of a served model.
    Bench(bench::Bench),
    /// Check folder, database, objects, clock and limits.
    Doctor(Box<Flags>),
    /// Check whether the server or worker on this machine is ready; for a container's health check.
    Health(Box<Flags>),
    /// Compute one job for the server that started this process.
    #[command(hide = true)]
    Job,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder, which must exist.
        folder: PathBuf,
    },
}

/// Runs the program; the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    if matches!(cli.command, Command::Job) {
        return crate::jobs::compute_for_supervisor();
    }
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if json => {
            eprintln!("{}", show::error(&error));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kenyon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the arguments, or the help that they request; the exit code.
fn misused(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let detail = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
        eprintln!("{}", show::error(&anyhow::Error::msg(detail)));
    } else {
        // Nothing is left to do where that cannot be printed.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let at = remote::Context { connection: cli.connection, json: cli.json };
    match cli.command {
        Command::Serve { restore, flags } => serve(Config::load(*flags)?, restore.as_deref()),
        Command::Worker(flags) => {
            let config = Config::load(*flags)?;
            telemetry::init_logs(&config);
            Ok(workers()?.block_on(App::work(config))?)
        }
        Command::Demo { exit, flags } => {
            let config = Config::load(*flags)?;
            telemetry::init_logs(&Config { log: "warn".into(), ..config.clone() });
            workers()?.block_on(demo::run(config, exit, at.json))
        }
        Command::Doctor(flags) => workers()?.block_on(doctor::run(Config::load(*flags)?, at.json)),
        Command::Health(flags) => client(health::run(&Config::load(*flags)?, at.json)),
        Command::Train(args) => {
            // Without a server it is this process that trains.
            crate::jobs::restart_with(crate::config::cores());
            client(args.run(at))
        }
        Command::Predict(args) => client(args.run(at)),
        Command::Observe(args) => client(args.run(at)),
        Command::Evaluate(args) => client(args.run(at)),
        Command::Models(args) => client(args.run(at)),
        Command::Jobs(args) => client(args.run(at)),
        Command::Datasets(args) => client(args.run(at)),
        Command::Encoders(args) => client(args.run(at)),
        Command::Comparisons(args) => client(args.run(at)),
        Command::Export(args) => client(args.run(at)),
        Command::Import(args) => client(args.run(at)),
        Command::Snapshot => client(remote::snapshot(at)),
        Command::Keys(args) => client(args.run(at)),
        Command::Stream(args) => client(args.stream(at)),
        Command::Consolidate(args) => client(args.consolidate(at)),
        Command::Importance(args) => client(args.importance(at)),
        Command::Forget(args) => client(args.run(at)),
        Command::Traffic(args) => client(args.run(at)),
        Command::Compare(args) => client(args.run(at)),
        // Done before anything else.
        Command::Job => Ok(()),
        Command::Completions { shell } => {
            // Written at once: the generator panics where its writer fails.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kenyon", &mut script);
            show::bytes(&script);
            Ok(())
        }
        Command::Man { folder } => clap_mangen::generate_to(Cli::command(), &folder)
            .with_context(|| format!("cannot write to {}", folder.display())),
        Command::Bench(args) => workers()?.block_on(args.run(at)),
    }
}

fn serve(config: Config, restore: Option<&std::path::Path>) -> anyhow::Result<()> {
    telemetry::init_logs(&config);
    workers()?.block_on(async {
        if let Some(file) = restore {
            App::restore(&config, file).await?;
        }
        Ok(App::run(config).await?)
    })
}

fn workers() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("kenyon").build()?)
}

/// A client command needs one thread only.
fn client(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A read of the standard input that was begun would be waited for.
    runtime.shutdown_background();
    result
}

/// The model name derived from a file's name.
fn name_of(path: &std::path::Path) -> String {
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or("model");
    let stem = file.split('.').next().unwrap_or(file);
    let fits = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' };
    let name: String = stem.to_lowercase().chars().map(fits).take(63).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "model".into() } else { name.into() }
}

/// Where a model trained without a server is kept.
fn local_bundle(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.kenyon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_are_made_of_file_names() {
        assert_eq!(name_of("data/Iris Data.csv.gz".as_ref()), "iris-data");
        assert_eq!(name_of("__.csv".as_ref()), "model");
    }
}
