//! Which process runs right now.
//!
//! Set while a process's task is polled or dropped, and nowhere else, so that log records and panics can be
//! attributed without the program knowing anything about it.

use std::cell::RefCell;
use std::panic;
use std::rc::Rc;
use std::sync::Once;

use gateway::env::Pid;

use super::process::Process;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Process>>> = const { RefCell::new(None) };
    static PANIC_MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A process, as named by somebody who only needs to say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentProcess {
    /// Its id.
    pub pid: Pid,
    /// The name of its machine.
    pub machine: String,
}

/// The process whose task is running on this thread, if one is.
pub fn current_process() -> Option<CurrentProcess> {
    with_current(|process| {
        process.map(|process| CurrentProcess { pid: process.pid, machine: process.machine.name.clone() })
    })
}

/// Looks at the running process.
pub(super) fn with_current<R>(look: impl FnOnce(Option<&Rc<Process>>) -> R) -> R {
    CURRENT.with(|current| look(current.borrow().as_ref()))
}

/// Runs `body` as part of `process`; afterwards whoever ran before runs again.
pub(super) fn run_as<R>(process: &Rc<Process>, body: impl FnOnce() -> R) -> R {
    struct Restore(Option<Rc<Process>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let ended = CURRENT.with(|current| current.replace(self.0.take()));
            drop(ended);
        }
    }
    let _restore = Restore(CURRENT.with(|current| current.replace(Some(process.clone()))));
    body()
}

/// Keeps panics of simulated processes off the terminal: they are part of the story and go into the timeline.
/// Everybody else's panics are shown as before.
pub(super) fn capture_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let shown_before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if with_current(|process| process.is_some()) {
                PANIC_MESSAGE.with(|message| *message.borrow_mut() = Some(panic.to_string()));
            } else {
                shown_before(panic);
            }
        }));
    });
}

/// The words of the last captured panic.
pub(super) fn take_panic_message() -> String {
    PANIC_MESSAGE.with(|message| message.borrow_mut().take()).unwrap_or_else(|| "panicked".to_string())
}
