//! The scenarios of the repository, read once for each test that asks.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use gatesim::scenario::Scenario;

/// The folder that holds all of them.
const ROOT: &str = "scenarios";
/// The folder of reproductions of reported bugs.
pub(crate) const BUGS: &str = "scenarios/bugs";
/// A prime, so that a sample has something of every axis.
const CELL_STEP: usize = 11;

/// Every scenario of the repository, sorted by path; a matrix is as many as it has cells.
pub(crate) fn scenarios() -> Vec<Scenario> {
    under(Path::new(ROOT)).iter().flat_map(|path| read(path)).collect()
}

/// The reproductions of reported bugs.
pub(crate) fn bugs() -> Vec<Scenario> {
    under(Path::new(BUGS)).iter().flat_map(|path| read(path)).collect()
}

/// Every scenario, and of each matrix one cell in [`CELL_STEP`]: for tests that make each run several times, or slowly.
pub(crate) fn sample() -> Vec<Scenario> {
    let of_file = |path: PathBuf| {
        let all = read(&path);
        let step = if all.len() == 1 { 1 } else { CELL_STEP };
        all.into_iter().step_by(step)
    };
    under(Path::new(ROOT)).into_iter().flat_map(of_file).collect()
}

/// Every scenario with every profile that it names.
pub(crate) fn with_profiles() -> Vec<(Scenario, String)> {
    each_with_its_profiles(scenarios())
}

/// Every scenario of the [`sample`] with every profile that it names.
pub(crate) fn sample_with_profiles() -> Vec<(Scenario, String)> {
    each_with_its_profiles(sample())
}

fn each_with_its_profiles(scenarios: Vec<Scenario>) -> Vec<(Scenario, String)> {
    let profiles = |scenario: Scenario| {
        let names: Vec<String> = scenario.expect.outcomes.keys().cloned().collect();
        names.into_iter().map(move |profile| (scenario.clone(), profile))
    };
    scenarios.into_iter().flat_map(profiles).collect()
}

/// The seeds that a scenario is run with. The cells of a matrix are many runs already.
pub(crate) fn seeds(scenario: &Scenario) -> RangeInclusive<u64> {
    if scenario.cell.is_some() { 1..=1 } else { 1..=5 }
}

/// The name of the tests of a scenario's file: `bugs/38836-sigterm-mid-reply`.
pub(crate) fn name(scenario: &Scenario) -> String {
    let path = scenario.path.strip_prefix(ROOT).unwrap_or(&scenario.path);
    path.with_extension("").display().to_string().replace('\\', "/")
}

fn read(path: &Path) -> Vec<Scenario> {
    Scenario::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder of the repository can be listed").path();
        if path.is_dir() {
            found.extend(under(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}
