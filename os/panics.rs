//! A panic ends the process.
//!
//! The runtime catches a panic at the edge of its task, so a daemon could go on with a part of it dead and nobody
//! the wiser. A supervisor can only repair what ends.

use std::panic;
use std::process;
use std::thread;
use std::time::Duration;

/// The exit status of a process that panicked, as Rust's own main thread gives it.
const PANICKED: i32 = 101;

/// How long the report may take. Whoever reads standard error may have stopped.
const REPORT_LIMIT: Duration = Duration::from_secs(1);

/// From now on a panic anywhere in this process is reported as usual and then ends it with exit status 101. No
/// destructor runs: to everybody outside it is a crash.
pub fn exit_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // Without a second thread it ends all the same, if its report is read.
        let _ = thread::Builder::new().spawn(|| {
            thread::sleep(REPORT_LIMIT);
            process::exit(PANICKED);
        });
        report(panic);
        process::exit(PANICKED);
    }));
}
