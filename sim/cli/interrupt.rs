//! Ctrl-C, for commands that go on until they are told to stop: the first asks them to, the second ends the program.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The exit status of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Whether Ctrl-C was pressed since this was asked for the first time. Where nobody can listen for it, it ends the
/// program, as it would by itself.
pub(super) fn is_asked_for() -> bool {
    static ASKED: AtomicBool = AtomicBool::new(false);
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        thread::spawn(|| {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
                return;
            };
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_err() {
                    return;
                }
                ASKED.store(true, Ordering::Relaxed);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(INTERRUPTED);
                }
            });
        });
    });
    ASKED.load(Ordering::Relaxed)
}
