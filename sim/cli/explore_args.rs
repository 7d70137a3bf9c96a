//! The arguments of `gatesim explore` and `gatesim merge`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::Format;

#[derive(Args, Debug)]
pub(super) struct ExploreArgs {
    /// Scenario files, or folders of them, to which troubles are added; without any, each seed makes up a world
    #[arg(value_name = "SCENARIO")]
    pub(super) paths: Vec<PathBuf>,
    /// The profile
    #[arg(long, value_name = "NAME", default_value = gateway::policy::HARDENED)]
    pub(super) profile: String,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// How many seeds, counting up from the first; 1000, unless `--for` says how long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) seeds: Option<u64>,
    /// For how long, by the clock on the wall, as in `--for 60s`
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) lasting: Option<Duration>,
    /// How many runs are made at a time; by default, as many as this machine has cores
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// One of several parts of the seeds, as in `--shard 1/4`; `gatesim merge` adds up what they come to
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(super) shard: Option<Shard>,
    /// A folder for what fails: a bundle for each way to fail, shrunk
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
    /// The folder of scenarios whose failures are known
    #[arg(long, value_name = "FOLDER", default_value = "scenarios/regressions")]
    pub(super) known: PathBuf,
    /// The most runs that shrinking a failure may take
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(super) most_runs: u64,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Print what each seed draws before anything was reached, as scenario files, and run nothing
    #[arg(long)]
    pub(super) list: bool,
}

#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// What `gatesim explore --format json` printed, one file for each shard
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// How the sum is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// One of several equal parts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) index: u64,
    pub(super) of: u64,
}

fn shard(words: &str) -> Result<Shard, String> {
    let parts = words.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((index, of)) if (1..=of).contains(&index) && of <= 10_000 => Ok(Shard { index, of }),
        _ => Err("it is the number of a part and how many there are, as in 1/4".into()),
    }
}
