//! The arguments of `gatesim defects`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::args::Format;

#[derive(Args, Debug)]
pub(super) struct DefectsArgs {
    /// The planted defects, as `gatesim profiles` lists them, with or without `planted:`; by default all
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// The most seeds for each, counting up from the first
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) seeds: u64,
    /// How many defects are looked for at a time; by default, as many as this machine has cores
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// A folder for what is found: a bundle for each defect, shrunk
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
    /// The most runs that shrinking a failure may take
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub(super) most_runs: u64,
    /// How the table is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}
