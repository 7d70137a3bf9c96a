//! The gatesim command: the parts put together.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use gatesim::cli::{self, Parts, Streams};
use gatesim::report;

/// A run allocates and frees little things all the time, on a thread of its own; a fifth of its instructions were
/// the system allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parts = Parts {
        run: &gatesim::run,
        run_without_timeline: &gatesim::run_without_timeline,
        traced: &gatesim::traced,
        report: &report::of_runs,
    };
    let streams = Streams {
        out: &mut stdout().lock(),
        err: &mut stderr().lock(),
        out_color: takes_colors(&stdout()),
        err_color: takes_colors(&stderr()),
    };
    ExitCode::from(cli::main(std::env::args_os(), &parts, streams))
}

/// A terminal does, unless its user asks for none (<https://no-color.org>).
fn takes_colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
