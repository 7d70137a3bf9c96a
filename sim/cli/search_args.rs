//! The arguments of the commands that search.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::Format;
use crate::search::sweep::Injection;

/// One scenario of one file.
#[derive(Args, Debug)]
pub(super) struct OneScenario {
    /// The scenario file
    #[arg(value_name = "FILE")]
    pub(super) path: PathBuf,
    /// The cell of its matrix, if it has one, as in `signal=SIGTERM,supervisor=systemd`
    #[arg(long, value_name = "AXIS=VALUE,...")]
    pub(super) cell: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ShrinkArgs {
    #[command(flatten)]
    pub(super) scenario: OneScenario,
    /// The profile under which it fails; by default the first that the scenario expects to fail, or else `hardened`
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// The seed with which it fails; by default the first from 1 to 200 that does
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// The invariant that is to stay broken; by default the first one that is
    #[arg(long, value_name = "NAME")]
    pub(super) invariant: Option<String>,
    /// Where the small scenario goes; by default to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// A folder that becomes a bundle: both scenarios, the timeline and a summary, for `gatesim replay`
    #[arg(long, value_name = "FOLDER")]
    pub(super) bundle: Option<PathBuf>,
    /// The most runs that are made
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(super) most_runs: u64,
}

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// The folder of the bundle
    #[arg(value_name = "BUNDLE")]
    pub(super) bundle: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct BisectArgs {
    #[command(flatten)]
    pub(super) scenario: OneScenario,
    /// The profile under which it is red
    #[arg(long, value_name = "NAME")]
    pub(super) from: String,
    /// The profile under which it is green
    #[arg(long, value_name = "NAME", default_value = gateway::policy::HARDENED)]
    pub(super) to: String,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// How many seeds; green is green with each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) seeds: u64,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    pub(super) scenario: OneScenario,
    /// What is done at each moment of the baseline, each in a run of its own
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', value_parser = injection,
          default_value = "SIGTERM,SIGUSR1,SIGKILL,power-loss,freeze")]
    pub(super) inject: Vec<Injection>,
    /// Also two of them in one run, the second so soon after the first, as in `--pairs 2s`
    #[arg(long, value_name = "WITHIN", value_parser = humantime::parse_duration)]
    pub(super) pairs: Option<Duration>,
    /// The profile
    #[arg(long, value_name = "NAME", default_value = gateway::policy::HARDENED)]
    pub(super) profile: String,
    /// The seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// The most disturbed runs; of more moments, so many are taken evenly
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(super) most_runs: usize,
    /// How many runs are made at a time; by default, as many as this machine has cores
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// A folder for the scenarios that fail, one for each way to fail
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

fn injection(word: &str) -> Result<Injection, String> {
    Injection::named(word).ok_or_else(|| {
        let words: Vec<_> = Injection::ALL.iter().map(|injection| injection.word()).collect();
        format!("there are {}", words.join(", "))
    })
}
