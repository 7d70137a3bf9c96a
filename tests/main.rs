//! The integration tests: one binary, one named test for each scenario under each of its profiles.
//!
//! Tests are made from the files of the repository, so that a failure names its file and a new scenario is tested
//! as soon as it is there. `cargo test --test gatesim bugs/` runs those whose names contain `bugs/`.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod command;
mod conversations;
mod corpus;
mod corpus_table;
mod defects;
mod determinism;
mod events;
mod log_promise;
mod oracles;
mod scenarios;
mod schedules;
mod schema;
mod tidy;
mod timelines;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Paths are shown as a person at the root of the repository would type them.
    std::env::set_current_dir(env!("CARGO_MANIFEST_DIR")).expect("the repository is there");
    let parts = [
        scenarios::tests(),
        timelines::tests(),
        log_promise::tests(),
        determinism::tests(),
        oracles::tests(),
        corpus_table::tests(),
        schedules::tests(),
        conversations::tests(),
        schema::tests(),
        command::tests(),
        defects::tests(),
        tidy::tests(),
    ];
    let whole = libtest_mimic::run(&arguments, parts.into_iter().flatten().collect());
    // Where only some tests ran, only some events were seen.
    let all_ran = !arguments.list && whole.num_filtered_out == 0 && !whole.has_failed();
    if all_ran && let Err(why) = events::the_list_is_what_happens() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    whole.exit_code()
}

/// A test that fails by panicking.
fn test(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}
