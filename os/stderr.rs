//! Standard error, which never holds up who writes to it.
//!
//! A pipe that nobody empties stops its writer, and the gateway has one thread: it would neither serve nor end. So room
//! is waited for a moment, then lines are lost until there is some again, and how many is told. What was written has
//! left this process, so that a crash loses nothing.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;

/// How long a reader that has fallen behind is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// The one standard error of this process.
static STATE: Mutex<State> = Mutex::new(State { lost: 0, is_cut: false });

struct State {
    /// Lines that were lost since the last one that was written.
    lost: u64,
    /// Whether that one was written in part only.
    is_cut: bool,
}

/// Writes what is complete in itself, such as a line. `told_of` makes the line that says how many were lost before it.
///
/// # Errors
///
/// Those of writing. That there was no room is none.
pub(crate) fn write(line: &[u8], told_of: impl FnOnce(u64) -> String) -> io::Result<()> {
    let mut state = state();
    if !has_room(if state.lost == 0 { PATIENCE } else { Duration::ZERO }) {
        state.lost += 1;
        return Ok(());
    }
    let mut stderr = io::stderr().lock();
    if state.lost > 0 {
        let end_of_the_cut = if state.is_cut { "\n" } else { "" };
        let words = format!("{end_of_the_cut}{}", told_of(state.lost));
        *state = State { lost: 0, is_cut: false };
        stderr.write_all(words.as_bytes())?;
        if !has_room(PATIENCE) {
            state.lost = 1;
            return Ok(());
        }
    }
    // What has room has it for so much, and perhaps no more.
    let mut pieces = line.chunks(PIPE_BUF);
    while let Some(piece) = pieces.next() {
        stderr.write_all(piece)?;
        if pieces.len() > 0 && !has_room(PATIENCE) {
            *state = State { lost: 1, is_cut: true };
            return Ok(());
        }
    }
    Ok(())
}

/// Says something in words to whoever runs this program. A standard error that takes nothing is no reason to fail.
pub fn say(words: &str) {
    let _ = write(format!("{words}\n").as_bytes(), |lost| format!("({lost} lines lost)\n"));
}

fn state() -> MutexGuard<'static, State> {
    // What a panic leaves behind is a count at worst.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether writing will not stop this process, or fail; waits for it if need be.
fn has_room(patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).expect("a moment");
    loop {
        match poll(&mut [PollFd::new(&io::stderr(), PollFlags::OUT)], Some(&patience)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            // Nothing that one can wait for; writing will say what it is.
            Err(_) => return true,
        }
    }
}
