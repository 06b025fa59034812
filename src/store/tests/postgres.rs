//! A private Postgres server for tests: on a free port, in a temporary folder, never as root. It
//! ends with the process that started it, however that ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A running server.
pub(crate) struct Server {
    /// Up to and without the database's name.
    url: String,
    /// Closing its standard input ends the server.
    _watch: Child,
}

/// The server of this process, started on first use; none where no binaries are found.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let started = SERVER.get_or_init(|| match Server::start() {
        Ok(server) => Some(server),
        Err(reason) => {
            println!("skipped on Postgres: {reason}");
            assert!(std::env::var_os("KENYON_REQUIRE_ALL").is_none(), "{reason}");
            None
        }
    });
    started.as_ref()
}

/// The folder with `initdb` and `postgres`.
fn binaries() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("KENYON_POSTGRES_BIN") {
        return Some(folder.into());
    }
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.splice(0..0, std::env::split_paths(&path));
    folders.into_iter().rev().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn shell(script: &str, root: bool) -> Command {
    // Postgres refuses to run as root.
    let mut command = if root { Command::new("runuser") } else { Command::new("sh") };
    if root {
        command.args(["-u", "postgres", "--", "sh"]);
    }
    command.arg("-c").arg(script).current_dir("/").stdout(Stdio::null());
    command
}

impl Server {
    fn start() -> Result<Self, String> {
        let bin = binaries().ok_or("no initdb in /usr/lib/postgresql/*/bin, PATH or KENYON_POSTGRES_BIN")?;
        let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
        let output = shell("mktemp -d", root).stdout(Stdio::piped()).output().map_err(|e| e.to_string())?;
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if folder.is_empty() {
            return Err("no temporary folder for the user postgres".to_owned());
        }
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
        let (bin, port) = (bin.display(), port.port());
        // Durability across a power cut is Postgres's own business; the tests kill our processes.
        let script = format!(
            "{bin}/initdb -D {folder}/data -U kenyon -A trust -E UTF8 --locale=C --no-sync >{folder}/log 2>&1 || exit 1
             {bin}/postgres -D {folder}/data -p {port} -h 127.0.0.1 -k {folder} -F -c max_connections=400 \
                -c shared_buffers=32MB >>{folder}/log 2>&1 &
             server=$!; cat >/dev/null; kill -INT $server; wait $server; rm -rf {folder}"
        );
        let watch = shell(&script, root).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let watch = watch.map_err(|e| e.to_string())?;
        let server = Self { url: format!("postgres://kenyon@127.0.0.1:{port}"), _watch: watch };
        server.wait(&folder)
    }

    fn wait(mut self, folder: &str) -> Result<Self, String> {
        let address = self.url.rsplit('@').next().unwrap_or_default().to_owned();
        for _ in 0..600 {
            if std::net::TcpStream::connect(&address).is_ok() {
                return Ok(self);
            }
            if self._watch.try_wait().is_ok_and(|status| status.is_some()) {
                return Err(std::fs::read_to_string(format!("{folder}/log")).unwrap_or_default());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err("it did not start within 30 seconds".to_owned())
    }

    /// A fresh database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let admin = loop {
            match sqlx::postgres::PgPoolOptions::new().connect(&format!("{}/postgres", self.url)).await {
                Ok(pool) => break pool,
                // It accepts connections a moment before it accepts queries.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        };
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        sqlx::query(create).execute(&admin).await.expect("a database can be made");
        admin.close().await;
        format!("{}/{name}", self.url)
    }
}
