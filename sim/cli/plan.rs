//! The plan: which scenario is run under which profile with which seed, and what is expected of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway::policy;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::args::{Format, RunArgs};
use super::input::Problem;
use crate::scenario::{Scenario, nearest};
use crate::verdict::Expected;

/// One run to be made.
#[derive(Clone, Debug)]
pub(super) struct PlannedRun {
    pub(super) scenario: Arc<Scenario>,
    pub(super) profile: String,
    pub(super) seed: u64,
    pub(super) expected: Expected,
}

impl Serialize for PlannedRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut run = serializer.serialize_struct("PlannedRun", 5)?;
        run.serialize_field("scenario", &self.scenario.path.display().to_string())?;
        match &self.scenario.cell {
            Some(cell) => run.serialize_field("cell", cell)?,
            None => run.skip_field("cell")?,
        }
        run.serialize_field("profile", &self.profile)?;
        run.serialize_field("seed", &self.seed)?;
        run.serialize_field("expected", &self.expected)?;
        run.end()
    }
}

/// The most runs of one command: their results are kept until the report.
const MOST_RUNS: u64 = 1_000_000;

/// Plans the runs of `scenarios`: by file, then profile, then cell, then seed.
pub(super) fn plan(scenarios: &[Arc<Scenario>], args: &RunArgs) -> Result<Vec<PlannedRun>, Vec<Problem>> {
    let mut problems: Vec<_> = args.profiles.iter().filter_map(|name| unknown_profile(name)).collect();
    if args.format == Format::Json && (args.timeline || args.explain) {
        let option = if args.timeline { "--timeline" } else { "--explain" };
        let help =
            format!("leave `{option}` out, or `--format json`: violations carry their explanations there.");
        problems.push(Problem::new(format!("there is no `{option}` in JSON"), help));
    }
    let last_seed = args.seed.checked_add(args.seeds - 1);
    if last_seed.is_none() {
        let message = format!("there are no {} seeds from {} on", args.seeds, args.seed);
        problems.push(Problem::new(message, format!("the last seed is {}.", u64::MAX)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let seeds = args.seed..=last_seed.unwrap_or(u64::MAX);
    let pairs: usize = scenarios.iter().map(|scenario| profiles(scenario, &args.profiles).len()).sum();
    let runs = args.seeds.saturating_mul(pairs as u64);
    if runs > MOST_RUNS {
        let message = format!("{runs} runs are too many for one command");
        let help = format!("at most {MOST_RUNS}: lower `--seeds`, and go on with a later `--seed`.");
        return Err(vec![Problem::new(message, help)]);
    }
    let mut plan = Vec::new();
    for file in scenarios.chunk_by(|one, other| one.path == other.path) {
        let mut in_file: Vec<_> = file.iter().flat_map(|cell| profiles(cell, &args.profiles)).collect();
        keep_firsts(&mut in_file);
        for profile in in_file {
            // Some cells may name profiles that others do not.
            for scenario in file.iter().filter(|cell| profiles(cell, &args.profiles).contains(&profile)) {
                plan.extend(seeds.clone().map(|seed| PlannedRun {
                    expected: scenario.expect.under(&profile),
                    scenario: scenario.clone(),
                    profile: profile.clone(),
                    seed,
                }));
            }
        }
    }
    Ok(plan)
}

/// The profiles asked for, each once, or else those that the scenario names.
fn profiles(scenario: &Scenario, asked_for: &[String]) -> Vec<String> {
    if asked_for.is_empty() {
        return scenario.expect.outcomes.keys().cloned().collect();
    }
    let mut profiles = asked_for.to_vec();
    keep_firsts(&mut profiles);
    profiles
}

/// Every word once, where it stands first.
fn keep_firsts(words: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
}

pub(super) fn unknown_profile(name: &str) -> Option<Problem> {
    if policy::profile(name).is_some() {
        return None;
    }
    let help = match nearest(name, policy::profile_names().chain(policy::planted_names())) {
        Some(close) => format!("did you mean `{close}`?"),
        None => "`gatesim profiles` lists them.".into(),
    };
    Some(Problem::new(format!("unknown profile `{name}`"), help))
}
