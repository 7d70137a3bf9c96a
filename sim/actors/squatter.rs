//! A squatter: a foreign program that takes a lock file of the gateway's, or its port, keeps it, and gives it back.
//!
//! With lock files it follows the lock protocol of OpenClaw 2026.3.2 (exclusive creation, then a payload with pid, creation time and
//! start time; no lease and no owner id), and is tidier in one thing: it removes only what is still its own.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use gateway::env::{Env, Listener};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// The program's name in the process table.
pub const PROGRAM: &str = "squatter";

/// From one attempt to the next.
const RETRY: Duration = Duration::from_millis(50);

/// What a squatter wants.
#[derive(Clone, Debug)]
pub struct SquatterSettings {
    /// The lock file.
    pub path: PathBuf,
    /// How long it tries to get it.
    pub patience: Duration,
    /// How long it keeps it.
    pub lasting: Duration,
}

/// Takes the lock, says so through `took`, and gives it back after its time or when `let_go` resolves. Returns
/// without a word when it cannot have the lock.
pub async fn run(
    env: Env,
    settings: SquatterSettings,
    took: oneshot::Sender<()>,
    let_go: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        () = let_go => {}
        () = async {
            if take(&env, &settings).await {
                // Nobody may be listening: fine.
                let _ = took.send(());
                sleep(settings.lasting).await;
            }
        } => {}
    }
    give_back(&env, &settings);
}

/// Listens on a port, says so through `took`, and gives it back after its time or when `let_go` resolves. It accepts
/// every connection, takes what comes and never says a word. Returns without one when it cannot have the port.
pub async fn listen(
    env: Env,
    port: u16,
    patience: Duration,
    lasting: Duration,
    took: oneshot::Sender<()>,
    let_go: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        () = let_go => {}
        () = async {
            if let Some(mut listener) = port_within(&env, port, patience).await {
                // Nobody may be listening: fine.
                let _ = took.send(());
                let mut callers = Vec::new();
                let ends = Instant::now() + lasting;
                while let Ok(accepted) = timeout_at(ends, listener.accept()).await {
                    callers.extend(accepted);
                }
            }
        } => {}
    }
}

/// Tries until it has the port; `None` when it has lost patience.
async fn port_within(env: &Env, port: u16, patience: Duration) -> Option<Box<dyn Listener>> {
    let began = Instant::now();
    loop {
        match env.net().listen(port).await {
            Ok(listener) => return Some(listener),
            Err(_) if began.elapsed() + RETRY > patience => return None,
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Tries until it has the lock; `false` when it has lost patience. Whatever the disk refuses may work next time:
/// the folder may not be there yet.
async fn take(env: &Env, settings: &SquatterSettings) -> bool {
    let began = Instant::now();
    loop {
        if env.fs().create_new(&settings.path).is_ok() {
            if env.fs().write(&settings.path, payload_at_creation(env).as_bytes()).is_ok() {
                return true;
            }
            // It is there without a word of whose it is: take it away again. What fails now stays.
            let _ = env.fs().remove(&settings.path);
        }
        if began.elapsed() + RETRY > settings.patience {
            return false;
        }
        sleep(RETRY).await;
    }
}

fn payload_at_creation(env: &Env) -> String {
    payload(
        env.process().pid().0,
        env.process().start_time().map(|start| start.0),
        &env.wall_clock().to_string(),
    )
}

/// A lock's payload as OpenClaw 2026.3.2 writes it.
pub fn payload(pid: u32, start_time: Option<u64>, created_at: &str) -> String {
    let mut payload = json!({ "pid": pid, "createdAt": created_at });
    if let Some(start_time) = start_time {
        payload["startTime"] = json!(start_time);
    }
    format!("{payload}\n")
}

/// Removes the lock if it still names this process.
fn give_back(env: &Env, settings: &SquatterSettings) {
    let named = env.fs().read(&settings.path).ok().and_then(|bytes| {
        let payload: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some((payload.get("pid")?.as_u64()?, payload.get("startTime").and_then(serde_json::Value::as_u64)))
    });
    let own = (u64::from(env.process().pid().0), env.process().start_time().map(|start| start.0));
    if named == Some(own) {
        // It is about to end; what it cannot remove stays behind, as with any program.
        let _ = env.fs().remove(&settings.path);
    }
}
