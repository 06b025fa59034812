//! The command line against a server, and on files alone.

use crate::support::process::{Process, binary, kenyon};
use kenyon_learn::data::bundled::BREAST_CANCER;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take for a row before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// `kenyon …` in `folder`, without the settings of the environment.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KENYON_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// What a command that succeeds prints.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn commands_reach_a_server_and_work_on_files() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    std::fs::write(folder.join("cancer.csv"), BREAST_CANCER).unwrap();
    let server = Process::start(kenyon("serve").arg("--data-dir").arg(folder.join("data"))).unwrap();
    let at = |rest: &[&str]| printed(folder, &[&["--server", server.url.as_str()], rest].concat());
    for passes in ["epochs=2", "epochs=3"] {
        at(&["train", "cancer.csv", "--target", "target", "--set", passes, "--objective", "balanced"]);
    }
    at(&["export", "cancer", "--out", "cancer.kenyon"]);

    // The same lines from the server, from the bundle and from the standard input.
    let csv = at(&["predict", "cancer", "cancer.csv", "--csv", "--coverage", "0.9"]);
    assert_eq!(csv.lines().count(), 570, "a line of names and one a row");
    assert!(
        csv.lines().next().is_some_and(|names| names.starts_with("predicted,probability,set,probabilities")),
        "{csv}"
    );
    assert_eq!(csv, printed(folder, &["predict", "cancer.kenyon", "cancer.csv", "--csv", "--coverage", "0.9"]));
    let mut child = command(folder, &["predict", "cancer.kenyon", "-", "--csv", "--coverage", "0.9"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(BREAST_CANCER).unwrap();
    assert_eq!(csv, String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap());

    // An explanation names columns, the same here and there.
    std::fs::write(folder.join("two.csv"), csv_head(3)).unwrap();
    let explained = at(&["predict", "cancer", "two.csv", "--explain"]);
    assert!(explained.lines().all(|line| line.split('\t').count() >= 4), "{explained}");
    assert_eq!(explained, printed(folder, &["predict", "cancer.kenyon", "two.csv", "--explain"]));

    // Versions, traffic and columns.
    let compared = at(&["compare", "cancer", "1", "2", "--dataset", "cancer"]);
    assert!(compared.contains("accuracy") && compared.contains("difference"), "{compared}");
    at(&["traffic", "cancer", "--stable", "1", "--canary", "2=0.5"]);
    at(&["traffic", "cancer", "--shadow", "2"]);
    let split: Value = serde_json::from_str(&at(&["--json", "traffic", "cancer"])).unwrap();
    assert_eq!(split, json!({"stable": 1, "canary": {"version": 2, "weight": 0.5}, "shadow": 2}));
    at(&["traffic", "cancer", "--no-canary"]);
    let split: Value = serde_json::from_str(&at(&["--json", "traffic", "cancer"])).unwrap();
    assert_eq!(split, json!({"stable": 1, "canary": null, "shadow": 2}));
    let important = at(&["importance", "cancer"]);
    assert!(important.lines().count() > 10 && important.contains("worst"), "{important}");

    // Errors: for a person and for a program.
    let refused = run(folder, &["--server", &server.url, "models", "show", "nobody"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("(model_not_found)"), "{text}");
    let refused = run(folder, &["--server", &server.url, "--json", "models", "show", "nobody"]);
    let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(error["error"]["code"], "model_not_found", "{error}");
    let missing = run(folder, &["predict", "cancer.kenyon", "nothing.csv"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nothing.csv"), "{missing:?}");
    let missing = run(folder, &["predict", "absent.kenyon", "cancer.csv"]);
    let text = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success() && text.contains("no file absent.kenyon"), "{text}");
}

#[test]
fn wrong_arguments_are_json_where_that_is_requested() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let wrong = run(folder, &["predict", "--json", "--depth"]);
    let error: Value = serde_json::from_slice(&wrong.stderr).unwrap();
    assert!(error["error"]["detail"].as_str().is_some_and(|text| text.contains("--depth")), "{error}");
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
    let wrong = run(folder, &["predict", "--depth"]);
    assert!(wrong.status.code() == Some(2) && wrong.stderr.starts_with(b"error: "), "{wrong:?}");
    for (arguments, text) in [(["--json", "--help"], "Usage:"), (["--json", "--version"], env!("CARGO_PKG_VERSION"))] {
        assert!(printed(folder, &arguments).contains(text));
    }
}

#[test]
fn rows_of_a_pipe_are_learned_while_it_is_open() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    std::fs::write(folder.join("cancer.csv"), BREAST_CANCER).unwrap();
    let server = Process::start(kenyon("serve").arg("--data-dir").arg(folder.join("data"))).unwrap();
    let url = server.url.as_str();
    printed(folder, &["--server", url, "train", "cancer.csv", "--target", "target", "--set", "epochs=1"]);
    let head = csv_head(2);
    let (names, values) = head.trim_end().split_once('\n').unwrap();
    let cells = names.split(',').zip(values.split(','));
    let row: Map<String, Value> = cells.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let piped = |model: &str| {
        let mut observe = command(folder, &["--server", url, "--json", "observe", model, "-"]);
        observe.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = piped("cancer");
    // As many as are learned together, the last one in two pieces and a line that is empty before.
    let line = Value::from(row).to_string();
    let pipe = child.stdin.as_mut().unwrap();
    pipe.write_all(format!("{line}\n").repeat(999).as_bytes()).unwrap();
    pipe.write_all(format!("\n{}", &line[..9]).as_bytes()).unwrap();
    pipe.write_all(format!("{}\n", &line[9..]).as_bytes()).unwrap();
    let begun = Instant::now();
    loop {
        let stream = run(folder, &["--server", url, "--json", "stream", "cancer"]);
        let figures: Value = serde_json::from_slice(&stream.stdout).unwrap_or_default();
        if figures["observed"] == 1000 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "{stream:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // A refusal is reported although the pipe stays open.
    let mut refused = piped("nobody");
    let pipe = refused.stdin.take();
    let output = refused.wait_with_output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("model_not_found"));
    drop(pipe);
}

fn csv_head(lines: usize) -> String {
    std::str::from_utf8(BREAST_CANCER).unwrap().lines().take(lines).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_reader_that_ends_early_ends_the_command_quietly() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let mut many = csv_head(1);
    let row = csv_head(2).split_off(many.len());
    many.extend(std::iter::repeat_n(row, 20_000));
    std::fs::write(folder.join("many.csv"), many).unwrap();
    std::fs::write(folder.join("cancer.csv"), BREAST_CANCER).unwrap();
    let server = Process::start(kenyon("serve").arg("--data-dir").arg(folder.join("data"))).unwrap();
    let url = server.url.as_str();
    printed(folder, &["--server", url, "train", "cancer.csv", "--target", "target", "--set", "epochs=1"]);
    printed(folder, &["--server", url, "export", "cancer", "--out", "cancer.kenyon"]);
    for more in [&[][..], &["--csv"][..], &["--json"][..]] {
        let arguments = [&["predict", "cancer.kenyon", "many.csv"], more].concat();
        let mut child = command(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().is_some_and(|line| line.is_ok()));
        drop(lines);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_doctor_changes_nothing_and_descriptions_are_written() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let text = printed(folder, &["doctor", "--data-dir", "nowhere"]);
    assert!(text.contains("not there yet") && !folder.join("nowhere").exists(), "{text}");
    let names = || std::fs::read_dir(folder.join("data")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let mut server = Process::start(kenyon("serve").arg("--data-dir").arg(folder.join("data"))).unwrap();
    let text = printed(folder, &["doctor", "--data-dir", "data"]);
    assert!(text.contains("up to date") && !text.contains("PROBLEM"), "beside a server: {text}");
    assert!(server.stop());
    let mut before = names();
    printed(folder, &["doctor", "--data-dir", "data"]);
    let mut after = names();
    before.sort();
    after.sort();
    assert_eq!(before, after);
    assert!(printed(folder, &["completions", "bash"]).contains("kenyon"));
    // Into a pipe whose reader has ended.
    let mut child =
        command(folder, &["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    printed(folder, &["man", "."]);
    assert!(folder.join("kenyon.1").exists() && folder.join("kenyon-predict.1").exists());
}
