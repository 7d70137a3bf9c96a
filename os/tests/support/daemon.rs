//! The daemon's process, and the place it lives in: a state directory, a configuration and a port.
//!
//! A daemon never outlives its test, not even as a corpse. Its log goes to a file, which no full pipe can stall, and
//! is shown when the test fails.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::provider::Provider;
use super::soon;

pub const TOKEN: &str = "open-sesame";

const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");

const SERVICE_MARKER: &str = "OPENCLAW_SERVICE_MARKER";
const SIGNS_OF_A_SUPERVISOR: [&str; 6] = [
    SERVICE_MARKER,
    "INVOCATION_ID",
    "OPENCLAW_NO_RESPAWN",
    "OPENCLAW_WINDOWS_TASK_NAME",
    "SYSTEMD_EXEC_PID",
    "XPC_SERVICE_NAME",
];

/// Where one gateway after another may live.
pub struct Home {
    room: TempDir,
    provider_port: u16,
    port: u16,
    minded: Minded,
    profile: &'static str,
    program: PathBuf,
    channels: Value,
    settings: Value,
}

/// Whether a gateway finds itself minded by a supervisor. One that is restarts by its exit status, any other begins
/// again in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minded {
    BySupervisor,
    ByNobody,
}

impl Home {
    pub fn new(provider: &Provider) -> Self {
        let room = tempfile::tempdir().expect("a temporary directory");
        Self {
            room,
            provider_port: provider.port(),
            port: free_port(),
            minded: Minded::ByNobody,
            profile: "hardened",
            program: PathBuf::from(PROGRAM),
            channels: json!({}),
            settings: json!({}),
        }
    }

    /// The gateways that are launched from now on find themselves minded so.
    pub fn minded(mut self, minded: Minded) -> Self {
        self.minded = minded;
        self
    }

    /// The gateways that are launched from now on are of this profile.
    pub fn profile(mut self, profile: &'static str) -> Self {
        self.profile = profile;
        self
    }

    /// The gateways that are launched from now on have these accounts on platforms.
    pub fn channels(mut self, channels: Value) -> Self {
        self.channels = channels;
        self
    }

    /// Puts a copy of the program here, to be launched from now on; gives its place.
    pub fn install(&mut self) -> PathBuf {
        self.program = self.room.path().join("gateway");
        put_program(&self.program);
        self.program.clone()
    }

    /// The gateways that are launched from now on have these settings of `gateway` beside the usual ones, or instead.
    #[allow(dead_code, reason = "not every test binary that shares this needs others")]
    pub fn with_settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// A directory that goes with it.
    #[allow(dead_code, reason = "not every test binary that shares this puts something there")]
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// The gateways that are launched from now on take this port.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its state is, or will be.
    pub fn state(&self) -> PathBuf {
        self.room.path().join("state")
    }

    /// Starts a gateway here without waiting.
    pub fn launch(&self) -> Daemon {
        self.launch_on(self.port)
    }

    /// Starts a gateway here and waits until it is ready.
    pub async fn start(&self) -> Daemon {
        let mut daemon = self.launch();
        daemon.ready().await;
        daemon
    }

    /// Waits until whoever serves here is ready.
    pub async fn is_served(&self) {
        let answers = async {
            while readyz(self.port).await != Some(200) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon("somebody to be ready", answers).await;
    }

    /// Starts a gateway on the same state and another port, without waiting.
    pub fn launch_second(&self) -> Daemon {
        self.launch_on(free_port())
    }

    /// Starts a gateway whose configuration file holds `text`, without waiting.
    pub fn launch_configured(&self, text: &str) -> Daemon {
        self.launch_with(self.port, text)
    }

    /// Starts a gateway here that is minded by whoever says so in these environment variables, without waiting.
    #[allow(dead_code, reason = "not every test binary that shares this plays a supervisor")]
    pub fn launch_minded(&self, environment: &[(&str, &str)]) -> Daemon {
        self.launch_in(self.port, &self.config(self.port), environment)
    }

    /// Runs the command-line tool `gateway sessions` on this state to its end.
    #[allow(dead_code, reason = "not every test binary that shares this runs the tool")]
    pub async fn sessions(&self, arguments: &[&str]) -> Output {
        self.command("sessions", arguments).await
    }

    /// Runs a command of the command line, such as `gateway restart`, on this state to its end.
    #[allow(dead_code, reason = "not every test binary that shares this runs one")]
    pub async fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let config_path = self.room.path().join("config-of-the-tool.json");
        fs::write(&config_path, self.config(self.port)).expect("the configuration is written");
        let ended = Command::new(PROGRAM)
            .arg(name)
            .args(arguments)
            .arg("--config")
            .arg(&config_path)
            .kill_on_drop(true)
            .output();
        soon("the tool to end", ended).await.expect("the tool starts")
    }

    fn launch_on(&self, port: u16) -> Daemon {
        self.launch_with(port, &self.config(port))
    }

    fn config(&self, port: u16) -> String {
        let mut config = json!({
            "gateway": {
                "port": port,
                "auth": {"token": TOKEN},
                "stateDir": self.state(),
                "drainBudgetMs": 20_000,
                "stopTimeoutMs": 30_000,
            },
            "model": {"baseUrl": format!("http://127.0.0.1:{}/v1", self.provider_port), "name": "stub"},
            "channels": self.channels,
        });
        let gateway = config["gateway"].as_object_mut().expect("an object");
        gateway.extend(self.settings.as_object().expect("settings").clone());
        config.to_string()
    }

    /// Starts a gateway here whose log goes elsewhere, without waiting. What it logs cannot be seen here then.
    pub fn launch_logging_to(&self, log: Stdio) -> Daemon {
        self.launch_in_full(self.port, &self.config(self.port), &[], Some(log))
    }

    fn launch_with(&self, port: u16, config: &str) -> Daemon {
        self.launch_in_full(port, config, &[], None)
    }

    fn launch_in(&self, port: u16, config: &str, environment: &[(&str, &str)]) -> Daemon {
        self.launch_in_full(port, config, environment, None)
    }

    fn launch_in_full(
        &self,
        port: u16,
        config: &str,
        environment: &[(&str, &str)],
        log_to: Option<Stdio>,
    ) -> Daemon {
        let config_path = self.room.path().join(format!("config-{port}.json"));
        fs::write(&config_path, config).expect("the configuration is written");
        let life = NEXT_LIFE.fetch_add(1, Ordering::Relaxed);
        let log = self.room.path().join(format!("life-{life}.log"));
        let mut command = Command::new(&self.program);
        // Whoever minds the test does not mind the daemon.
        for sign in SIGNS_OF_A_SUPERVISOR {
            command.env_remove(sign);
        }
        if self.minded == Minded::BySupervisor {
            command.env(SERVICE_MARKER, "test");
        }
        let child = command
            .arg("--config")
            .arg(&config_path)
            .args(["--profile", self.profile])
            .env("RUST_LOG", "debug")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_to.unwrap_or_else(|| File::create(&log).expect("a log file").into()))
            .kill_on_drop(true)
            .spawn()
            .expect("the daemon starts");
        Daemon { child, port, config: config_path, log }
    }
}

/// Puts the program at `place`, where there is nothing.
pub fn put_program(place: &Path) {
    // It is large, and a link costs nothing, unless the temporary directory is on another disk.
    fs::hard_link(PROGRAM, place)
        .or_else(|_| fs::copy(PROGRAM, place).map(drop))
        .expect("the program is there");
}

static NEXT_LIFE: AtomicU16 = AtomicU16::new(0);

/// One life of the gateway. Dropping it kills it.
pub struct Daemon {
    child: Child,
    port: u16,
    config: PathBuf,
    log: PathBuf,
}

impl Daemon {
    pub fn config(&self) -> &PathBuf {
        &self.config
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Its process id, while nobody has seen it end.
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        pid.expect("it lives")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("we may signal our child");
    }

    /// Waits for its end; gives its exit status, `None` when a signal killed it.
    pub async fn ended(&mut self) -> Option<i32> {
        self.end().await.code()
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        soon("the daemon to end", self.child.wait()).await.expect("it is our child")
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until it has logged `words` so many times.
    pub async fn logged(&mut self, words: &str, times: usize) {
        let said = async {
            while self.log().matches(words).count() < times {
                assert!(self.lives(), "the daemon ended before it said {words:?}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon(&format!("the daemon to say {words:?}"), said).await;
    }

    /// Waits until it answers that it is ready.
    pub async fn ready(&mut self) {
        let answers = async {
            while readyz(self.port).await != Some(200) {
                assert!(self.lives(), "the daemon ended before it was ready");
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the daemon to become ready", answers).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the daemon on port {}\n{}---", self.port, self.log());
        }
        let _ = self.child.start_kill();
        // The kernel needs a moment, and no runtime may be left to reap it.
        let reaped = (0..1000).any(|_| {
            let gone = !matches!(self.child.try_wait(), Ok(None));
            if !gone {
                std::thread::sleep(Duration::from_millis(1));
            }
            gone
        });
        if !reaped {
            eprintln!("the daemon on port {} outlives SIGKILL", self.port);
        }
    }
}

/// The status of `GET /readyz`, `None` while nobody answers.
async fn readyz(port: u16) -> Option<u16> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    timeout(Duration::from_secs(1), socket.read_to_end(&mut answer)).await.ok()?.ok()?;
    String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
}

/// Whether nobody listens on `port`.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port for a listener to be. Taken below the range from which systems number outgoing connections, so that it
/// stays free until it is used, and from a different place in every test process.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(process::id() % 100).expect("below 100") * 100;
    let mut candidates = (0..100).map(|_| 20_000 + (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % 10_000);
    candidates.find(|&port| is_free(port)).expect("one of a hundred ports is free")
}
