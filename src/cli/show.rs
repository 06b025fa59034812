//! Terminal output: bars on a terminal, plain lines elsewhere, JSON with `--json`.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Progress of long work.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    /// When the last plain line was printed; none where lines are off.
    plain: Option<Arc<Mutex<Instant>>>,
}

impl Bar {
    /// A bar over a number of bytes to send.
    pub(super) fn bytes(total: u64, json: bool) -> Self {
        let bar = Self::over(total, json);
        bar.bar.set_style(style("  sending  {bar:32.cyan} {bytes}/{total_bytes} {bytes_per_sec}"));
        Self { plain: None, ..bar }
    }

    /// A bar over a job.
    pub(super) fn job(json: bool) -> Self {
        let bar = Self::over(1000, json);
        bar.bar.set_style(style("  training {bar:32.green} {msg}"));
        bar
    }

    fn over(total: u64, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let hidden = json || !terminal;
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(total) };
        bar.set_length(total);
        let plain = (!json && !terminal).then(|| Arc::new(Mutex::new(Instant::now())));
        Self { bar, plain }
    }

    /// Adds sent bytes.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// The state of a training: the interface's `progress` object, or an event that holds one.
    pub(super) fn progress(&self, progress: &Value) {
        let fraction = progress["fraction"].as_f64().unwrap_or(0.0);
        self.bar.set_position((fraction * 1000.0) as u64);
        let mut text = format!(
            "{:3.0} %  epoch {}/{}  {:.0} rows/s",
            fraction * 100.0,
            progress["epoch"],
            progress["epochs"],
            progress["rows_per_second"].as_f64().unwrap_or(0.0),
        );
        if let Some(accuracy) = progress["metrics"]["validation_accuracy"].as_f64() {
            text.push_str(&format!("  validation accuracy {accuracy:.4}"));
        }
        if let Some(plain) = &self.plain
            && let Ok(mut last) = plain.lock()
            && last.elapsed() >= PLAIN_EVERY
        {
            *last = Instant::now();
            eprintln!("  training {text}");
        }
        self.bar.set_message(text);
    }

    /// A line of the job's log.
    pub(super) fn log(&self, line: &str) {
        if self.plain.is_some() {
            eprintln!("  {line}");
        } else {
            self.bar.println(format!("  {line}"));
        }
    }

    /// Ends it.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━╌")
}

/// An error with what a program reads of it.
#[derive(Debug)]
pub(super) struct Refused {
    /// For a terminal.
    pub(super) text: String,
    /// As the interface has it: `code`, `detail`, `details`.
    pub(super) problem: Value,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

/// An error as JSON.
pub(super) fn error(error: &anyhow::Error) -> Value {
    let problem = error.downcast_ref::<Refused>().map(|refused| &refused.problem).filter(|problem| problem.is_object());
    json!({ "error": problem.cloned().unwrap_or_else(|| json!({ "detail": format!("{error:#}") })) })
}

/// See `print_line!`.
pub(super) fn line(text: std::fmt::Arguments<'_>) {
    end_on_error(writeln!(std::io::stdout(), "{text}"));
}

/// Prints text as it is.
pub(super) fn bytes(text: &[u8]) {
    end_on_error(std::io::stdout().write_all(text));
}

fn end_on_error(written: std::io::Result<()>) {
    if let Err(error) = written {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("kenyon: cannot write: {error}");
        std::process::exit(1);
    }
}

/// Prints an answer: as JSON, or as lines of `key  value`; lists of objects as a table.
pub(super) fn answer(value: &Value, json: bool) {
    if json {
        print_line!("{value}");
        return;
    }
    match value {
        Value::Object(map) if map.get("items").is_some_and(Value::is_array) => table(&map["items"]),
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(_, v)| !v.is_null()) {
                print_line!("{key:24} {}", cell(value));
            }
        }
        Value::Null => {}
        other => print_line!("{other}"),
    }
}

fn table(items: &Value) {
    let rows: Vec<&serde_json::Map<String, Value>> =
        items.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else {
        print_line!("no entries");
        return;
    };
    let simple = |v: &Value| !v.is_object() && !v.is_array();
    let columns: Vec<&String> = first.iter().filter(|(_, v)| simple(v)).map(|(k, _)| k).collect();
    let width = |name: &str| {
        let longest = rows.iter().map(|r| cell(&r[name]).chars().count()).max().unwrap_or(0);
        longest.max(name.len())
    };
    let widths: Vec<usize> = columns.iter().map(|c| width(c)).collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        print_line!("{}", padded.join("  ").trim_end());
    };
    line(columns.iter().map(|c| (*c).clone()).collect());
    for row in &rows {
        line(columns.iter().map(|c| row.get(*c).map_or_else(String::new, cell)).collect());
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A model's figures in one line.
pub(super) fn metrics(metrics: &Value) -> String {
    let order = ["accuracy", "macro_f1", "log_loss", "auc", "rmse", "mae", "r2"];
    let parts: Vec<String> =
        order.iter().filter_map(|name| Some(format!("{name} {:.4}", metrics[name].as_f64()?))).collect();
    parts.join("  ")
}
