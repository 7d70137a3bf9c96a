//! The doors on tokio and the operating system, for a Unix machine.
//!
//! [`env()`] bundles them into the handle that the gateway asks for; each door is also usable alone. Everything
//! lives on one thread: a `current_thread` runtime and a `LocalSet`, which the daemon (`main.rs`) and tests
//! provide. Knows nothing of the gateway's insides and nothing of the simulator.

use std::net::IpAddr;
use std::rc::Rc;

use gateway::env::Env;

mod clock;
mod command;
mod fs;
mod limits;
pub mod logs;
mod neighbours;
mod net;
mod panics;
mod process;
mod random;
mod service;
mod stderr;

pub use clock::OsClock;
pub use fs::OsFs;
pub use limits::raise_open_files;
pub use net::OsNet;
pub use panics::exit_on_panic;
pub use process::OsProcess;
pub use random::OsRandom;
pub use stderr::say;

/// The real world, listening on the address `bind`. The doors that wait or spawn (network, signals, tasks) must
/// be used inside a `LocalSet` of a tokio runtime with I/O and time enabled.
pub fn env(bind: IpAddr) -> Env {
    Env::new(
        Rc::new(OsClock),
        Rc::new(OsNet::new(bind)),
        Rc::new(OsFs),
        Rc::new(OsProcess),
        Rc::new(OsRandom),
    )
}
