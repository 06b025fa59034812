//! A server and a browser for each test, and the actions of the tests.

use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thirtyfour::{By, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WebElement};

/// How long anything may take before a test gives up; training on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Kenyon server with empty storage.
pub(crate) struct Server {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    key: Option<String>,
    client: reqwest::Client,
    process: Process,
    /// Removed with the server.
    pub(crate) folder: tempfile::TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts the built binary and waits until it is ready.
    pub(crate) async fn start(key: Option<&str>) -> Self {
        // Another process may take a port between its choice and its use; then the next is tried.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(key).await {
                return server;
            }
        }
        panic!("the server did not start");
    }

    async fn try_start(key: Option<&str>) -> Option<Self> {
        Self::launch(key, tempfile::tempdir().unwrap()).await
    }

    /// Stops the server and starts another on the same data, after `between` has had the database's file.
    pub(crate) async fn again(mut self, between: impl AsyncFnOnce(&Path)) -> Self {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        between(&self.folder.path().join("data/kenyon.db")).await;
        Self::launch(self.key.as_deref(), self.folder).await.unwrap()
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    async fn launch(key: Option<&str>, folder: tempfile::TempDir) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (http, grpc) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_kenyon"));
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{http}"), "--grpc-listen", &format!("127.0.0.1:{grpc}")])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(key) = key {
            command.args(["--master-key", key]);
        }
        let mut process = Process(command.spawn().unwrap());
        let url = format!("http://127.0.0.1:{http}");
        let client = reqwest::Client::new();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if client.get(format!("{url}/readyz")).send().await.is_ok_and(|r| r.status().is_success()) {
                return Some(Self { url, key: key.map(str::to_owned), client, process, folder });
            }
            if process.0.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// Calls the interface; panics unless it succeeds.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}/api/v1{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Stores a dataset.
    pub(crate) async fn upload(&self, name: &str, csv: impl Into<String>) {
        let mut request = self.client.put(format!("{}/api/v1/datasets/{name}", self.url)).body(csv.into());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }

    /// Adds a small pretrained encoder of texts, with the command line.
    pub(crate) async fn add_encoder(&self, name: &str) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/kenyon-learn/tests/encoders/static");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_kenyon"));
        let done = command.args(["encoders", "add", name, folder, "--server", &self.url]).output().await.unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Trains and waits for the end.
    pub(crate) async fn train(&self, model: &str, request: Value) -> Value {
        let job = self.call("POST", &format!("/models/{model}/train"), Some(request)).await;
        let path = format!("/jobs/{}", job["id"].as_str().unwrap());
        let start = Instant::now();
        loop {
            let job = self.call("GET", &path, None).await;
            match job["status"].as_str().unwrap() {
                "succeeded" => return job,
                "queued" | "running" => {}
                other => panic!("the training {other}: {}", job["error"]),
            }
            assert!(start.elapsed() < PATIENCE, "the training takes too long: {job}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

/// A browser with an empty profile.
pub(crate) struct Browser {
    driver: WebDriver,
    base: String,
    _process: Process,
}

/// The programs the tests need, or what is missing.
fn programs() -> Result<(PathBuf, PathBuf), String> {
    let find = |names: &[&str]| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
            .find(|file| file.is_file())
            .ok_or_else(|| format!("no {} found", names[0]))
    };
    Ok((find(&["chromedriver"])?, find(&["chromium", "chromium-browser", "google-chrome"])?))
}

impl Browser {
    /// A browser for the server's page, or `None`, with the reason printed, where none is installed.
    pub(crate) async fn open(server: &Server) -> Option<Self> {
        let (chromedriver, chromium) = match programs() {
            Ok(programs) => programs,
            Err(reason) => {
                crate::skip::skip(&reason);
                return None;
            }
        };
        let port = free_port();
        let child = Command::new(chromedriver)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(child);
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(chromium.to_str().unwrap()).unwrap();
        for arg in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"] {
            wanted.add_arg(arg).unwrap();
        }
        let start = Instant::now();
        loop {
            match WebDriver::new(format!("http://127.0.0.1:{port}"), wanted.clone()).await {
                Ok(driver) => {
                    let browser = Self { driver, base: server.url.clone(), _process: process };
                    browser.size(1200, 900).await;
                    return Some(browser);
                }
                Err(error) => assert!(start.elapsed() < PATIENCE, "chromedriver does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the session; the driver's process ends with the value.
    pub(crate) async fn close(self) {
        self.driver.clone().quit().await.unwrap();
    }

    /// Shows pages as on a screen of this size; a window cannot be as narrow as a phone.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", screen).await.unwrap();
    }

    /// Opens a page by its hash route.
    pub(crate) async fn go(&self, route: &str) {
        self.driver.goto(format!("{}/#{route}", self.base)).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    /// Runs a script and answers its value.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.driver.execute(script.to_owned(), Vec::<Value>::new()).await.unwrap().json().clone()
    }

    /// The answer of a promise.
    pub(crate) async fn promise(&self, expression: &str) -> Value {
        let script = format!("const done = arguments[0]; ({expression}).then(done, (e) => done(String(e)))");
        self.driver.execute_async(script, Vec::<Value>::new()).await.unwrap().json().clone()
    }

    /// Waits until the JavaScript expression holds.
    pub(crate) async fn until(&self, condition: &str) {
        let start = Instant::now();
        loop {
            // Between two documents a script may fail; the next try decides.
            let answer = self.driver.execute(format!("return !!({condition})"), Vec::<Value>::new()).await;
            if answer.is_ok_and(|value| value.json() == &json!(true)) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let shown = self.script("return document.body.innerText").await;
                panic!("timed out waiting for {condition}; the page shows: {shown}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the page shows a text.
    pub(crate) async fn shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits for an element and answers it.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        self.until(&format!("document.querySelector({})", json!(css))).await;
        self.driver.find(By::Css(css.to_owned())).await.unwrap()
    }

    /// Clicks the button, link or summary with this text, once it is there.
    pub(crate) async fn press(&self, text: &str) {
        let one = format!(
            "[...document.querySelectorAll('button, a, summary')].find((e) => e.textContent.trim() === {} && !e.disabled)",
            json!(text)
        );
        // In one step: a page that is being left may have one, too.
        self.until(&format!(
            "((e) => {{ if (e) {{ e.scrollIntoView({{block: 'center'}}); e.click(); }} return e; }})({one})"
        ))
        .await;
    }

    /// Replaces what a field holds, as a person would.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.scroll_into_view().await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text.to_owned()).await.unwrap();
    }

    /// Draws a line on an element, from and to a place beside its middle.
    pub(crate) async fn draw(&self, css: &str, from: (i64, i64), to: (i64, i64)) {
        let element = self.find(css).await;
        element.scroll_into_view().await.unwrap();
        let chain = self.driver.action_chain().move_to_element_center(&element).move_by_offset(from.0, from.1);
        let chain = chain.click_and_hold().move_by_offset((to.0 - from.0) / 2, (to.1 - from.1) / 2);
        chain.move_by_offset((to.0 - from.0) / 2, (to.1 - from.1) / 2).release().perform().await.unwrap();
    }

    /// Chooses an option by its value.
    pub(crate) async fn choose(&self, css: &str, value: &str) {
        self.find(css).await;
        self.script(&format!(
            "const e = document.querySelector({}); e.value = {}; e.dispatchEvent(new Event('change', {{bubbles: true}}));",
            json!(css),
            json!(value)
        ))
        .await;
    }

    /// A picture of the window.
    pub(crate) async fn picture(&self, file: &Path) {
        self.driver.screenshot(file).await.unwrap();
    }
}

/// Two classes that a line separates, with a word that goes with each.
pub(crate) fn points(rows: usize) -> String {
    let mut csv = String::from("x,y,word,side\n");
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    for _ in 0..rows {
        let (x, y) = (next(), next());
        let left = x + 0.2 * next() < y;
        let word = if left { "low" } else { "high" };
        csv.push_str(&format!("{x:.4},{y:.4},{word},{}\n", if left { "left" } else { "right" }));
    }
    csv
}

/// The same as rows of JSON.
pub(crate) fn labelled(rows: usize) -> Vec<Value> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        json!({"x": number(0), "y": number(1), "word": cells[2], "side": cells[3]})
    };
    points(rows).lines().skip(1).map(row).collect()
}

/// Pictures of a stroke that goes up or across, somewhere near the middle.
pub(crate) fn strokes(rows: usize) -> String {
    let mut lines = String::new();
    for i in 0..rows {
        let (up, at) = (i % 2 == 0, 5 + (i / 2 % 3) as u32);
        let mut picture = image::GrayImage::new(12, 12);
        for along in 1..11 {
            let (x, y) = if up { (at, along) } else { (along, at) };
            picture.put_pixel(x, y, image::Luma([255]));
        }
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, png.into_inner());
        lines.push_str(&json!({"stroke": text, "way": if up { "up" } else { "across" }}).to_string());
        lines.push('\n');
    }
    lines
}
