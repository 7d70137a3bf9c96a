//! Commands: child processes that this one feeds, listens to and waits for.
//!
//! Each is the leader of a process group of its own. Whoever lets go of one before its end kills that group; the corpse
//! is tokio's to bury. Once the program itself has ended, what it has started may live on, and is not waited for even
//! where it keeps the pipes open.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use gateway::env::{Command, CommandEnd, CommandOutput, KEPT_OUTPUT};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

/// How long what the program has written before its end may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs a command to its end.
pub(crate) async fn run(command: Command) -> io::Result<CommandOutput> {
    let mut started = tokio::process::Command::new(&command.program);
    started.args(&command.arguments).envs(command.environment);
    started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group(started.process_group(0).spawn()?);
    let child = &mut group.0;
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Kept::default(), Kept::default());
    let status = {
        let talk = async { tokio::join!(feed(input, &command.input), out.read(stdout), err.read(stderr)) };
        tokio::pin!(talk);
        let mut is_over = false;
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status?,
                _ = &mut talk, if !is_over => is_over = true,
            }
        };
        if !is_over {
            // Out of time: somebody else has the pipes by now.
            let _ = timeout(LAST_WORDS, talk).await;
        }
        status
    };
    Ok(CommandOutput {
        end: end(status),
        is_cut: out.is_cut || err.is_cut,
        stdout: out.bytes,
        stderr: err.bytes,
    })
}

/// The group of a child that has not been waited for yet: its id is nobody else's as long as it has not.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Writes all that the child can read, and closes its input. A child that does not care for it is no error.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// The beginning of an output.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Kept {
    /// Reads to the end, be it only to make room.
    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut piece = [0; 4096];
        while let Ok(read) = stream.read(&mut piece).await {
            if read == 0 {
                return;
            }
            let kept = read.min(KEPT_OUTPUT - self.bytes.len());
            self.bytes.extend_from_slice(&piece[..kept]);
            self.is_cut |= kept < read;
        }
    }
}

fn end(status: ExitStatus) -> CommandEnd {
    let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited(small(code)),
        (None, number) => CommandEnd::Signalled(number.map_or(u8::MAX, small)),
    }
}
