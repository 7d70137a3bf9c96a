//! The command line's arguments.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::defects_args::DefectsArgs;
use super::explore_args::{ExploreArgs, MergeArgs};
use super::search_args::{BisectArgs, ReplayArgs, ShrinkArgs, SweepArgs};

const EXAMPLES: &str = "\
Examples:
  gatesim run scenarios                          every scenario, under the profiles it names
  gatesim run FILE --timeline                    what happens, moment by moment
  gatesim run FILE --seeds 200                   many interleavings
  gatesim run FILE --profile openclaw-2026.3.2   what a gateway of that version makes of it
  gatesim run FILE --cell signal=SIGTERM         some cells of a file with a matrix
  gatesim explore --for 60s                      scenarios that nobody wrote, until one fails
  gatesim defects                                how soon each planted defect is found
  gatesim sweep FILE                             a kill, a signal, a power loss at every moment of it
  gatesim shrink FILE                            the smallest scenario that fails like this one
  gatesim bisect FILE --from openclaw-2026.3.2   the policy that makes it red

docs/scenario-language.md says how scenarios are written.";

/// Simulates the life of a chat gateway: one seed decides everything, and no message may be lost in silence.
#[derive(Debug, Parser)]
#[command(name = "gatesim", version, after_help = EXAMPLES)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run scenarios and judge them
    ///
    /// Exit status: 0 every run came out as expected, 1 some run did not, 2 some run gave no evidence, 3 bad
    /// input or an error of the harness.
    Run(RunArgs),
    /// Make up scenarios at random, and keep what fails
    ///
    /// Each seed draws a world of its own and what befalls it. Exit status: 0 every run was green, or gave no evidence,
    /// 1 some run failed, 3 bad input or an error of the harness.
    Explore(ExploreArgs),
    /// Add up what the parts of an exploration came to
    Merge(MergeArgs),
    /// Explore each planted defect on its own, and say which are found
    ///
    /// A defect is found when a run fails that does not fail on the hardened gateway. Exit status: 0 all are found,
    /// 1 some are not, 3 bad input.
    Defects(DefectsArgs),
    /// Disturb every moment of a run, each in a run of its own
    ///
    /// A moment is an event of the undisturbed run, an instant at which packets leave, or a side of a disk operation; the
    /// table says how many are green, and where the others are.
    Sweep(SweepArgs),
    /// Make a failing scenario smaller, for as long as it fails in the same way
    ///
    /// What is left is a scenario file, anchored to events, which fails under the same profile.
    Shrink(ShrinkArgs),
    /// Make the run of a bundle again, and say how much of it is still the same
    ///
    /// Exit status: 0 it is the same run or fails in the same way, 1 it does not fail any more, 2 it cannot be told.
    Replay(ReplayArgs),
    /// Find the policies that decide whether a scenario is red or green
    Bisect(BisectArgs),
    /// Print the JSON Schema of scenario files
    Schema,
    /// List the events that a step can wait for
    ///
    /// What stands in brackets says by what `of` and `path` can narrow them down.
    Events(EventsArgs),
    /// List the profiles, real ones first, then planted defects
    ///
    /// Below each name stands what it chooses differently from `hardened`, the gateway as it should be.
    Profiles,
}

#[derive(Args, Debug)]
pub(super) struct EventsArgs {
    /// Only those in whose name or meaning all of these words occur
    #[arg(value_name = "WORD")]
    pub(super) words: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Scenario files, or folders with scenario files anywhere below
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Run under this profile instead of those that the scenario names; may be repeated
    #[arg(long = "profile", value_name = "NAME")]
    pub(super) profiles: Vec<String>,
    /// Run only the cells of a matrix that are like this, as in `signal=SIGTERM,supervisor=systemd`
    ///
    /// An axis that is left out does not matter; several values of one axis, and several options, each let in more.
    #[arg(long = "cell", value_name = "AXIS=VALUE,...")]
    pub(super) cells: Vec<String>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// How many seeds, counting up from the first
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) seeds: u64,
    /// How many runs are made at a time; by default, as many as this machine has cores
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Print the timeline of every run (text only)
    #[arg(long)]
    pub(super) timeline: bool,
    /// Explain every failure, also the expected ones (implied by --profile; text only)
    #[arg(long)]
    pub(super) explain: bool,
    /// Make every run twice and compare them event by event
    #[arg(long)]
    pub(super) check_determinism: bool,
    /// Print what would be run, and run nothing
    #[arg(long)]
    pub(super) list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}
