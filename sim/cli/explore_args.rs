//! The arguments of `gatesim explore`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::Format;

#[derive(Args, Debug)]
pub(super) struct ExploreArgs {
    /// The profile
    #[arg(long, value_name = "NAME", default_value = gateway::policy::HARDENED)]
    pub(super) profile: String,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// How many seeds; 1000, unless `--for` says how long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) seeds: Option<u64>,
    /// For how long, by the clock on the wall; the round that is under way is finished
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) lasting: Option<Duration>,
    /// How many runs are made at a time; by default, as many as this machine has cores
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// A folder for what fails: a bundle for each way to fail, shrunk
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
    /// The most runs that shrinking a failure may take
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(super) most_runs: u64,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Print what each seed draws, and run nothing
    #[arg(long)]
    pub(super) list: bool,
}
