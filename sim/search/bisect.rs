//! Bisection: which policies decide whether a scenario is red or green.
//!
//! Between two profiles some policies differ. The smallest set of them is looked for that turns red to green: single
//! ones first, and if no one alone does it, a set from which none can be left out. The scenario is run with all the
//! seeds that were asked for; green means green with each.

use std::path::Path;

use gateway::policy::{self, Policies};
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use super::{Draft, Run};
use crate::scenario::{Scenario, ScenarioError};
use crate::verdict::Verdict;

/// One policy and what the two profiles choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The policy.
    pub policy: String,
    /// What the red profile chooses.
    pub red: String,
    /// What the green one chooses.
    pub green: String,
}

/// What decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deciding {
    /// The first profile is not red.
    NotRed,
    /// The other profile is not green, or not with the first one's other settings.
    NotGreen,
    /// Each of these alone turns red to green.
    EachAlone(Vec<Choice>),
    /// All of these together do, and none of them can be left out.
    Together(Vec<Choice>),
}

/// A scenario and the two profiles that are compared.
pub struct Question<'a> {
    /// The scenario.
    pub draft: &'a Draft,
    /// What it is called.
    pub path: &'a Path,
    /// The profile that is red.
    pub from: &'a str,
    /// The profile that is green.
    pub to: &'a str,
    /// The seeds of all runs.
    pub seeds: std::ops::Range<u64>,
}

/// What decides, and how many runs it took to find out.
///
/// Errors: a draft that is no scenario.
pub fn bisect(run: Run<'_>, question: &Question<'_>) -> Result<(Deciding, u64), ScenarioError> {
    let mut bisection = Bisection { run, question, runs: 0 };
    let deciding = bisection.decide()?;
    Ok((deciding, bisection.runs))
}

struct Bisection<'a> {
    run: Run<'a>,
    question: &'a Question<'a>,
    runs: u64,
}

impl Bisection<'_> {
    fn decide(&mut self) -> Result<Deciding, ScenarioError> {
        if self.is_green(&[])? {
            return Ok(Deciding::NotRed);
        }
        let all = differing(self.question.from, self.question.to);
        if !self.is_green(&all)? {
            return Ok(Deciding::NotGreen);
        }
        let mut alone = Vec::new();
        for choice in &all {
            if self.is_green(std::slice::from_ref(choice))? {
                alone.push(choice.clone());
            }
        }
        if !alone.is_empty() {
            return Ok(Deciding::EachAlone(alone));
        }
        self.smallest(all).map(Deciding::Together)
    }

    /// A set from which nothing can be left out, from one that is green: halves first, then single ones.
    fn smallest(&mut self, mut choices: Vec<Choice>) -> Result<Vec<Choice>, ScenarioError> {
        let mut chunk = choices.len().div_ceil(2);
        loop {
            let mut begin = 0;
            while begin < choices.len() {
                let end = (begin + chunk).min(choices.len());
                let without: Vec<Choice> = [&choices[..begin], &choices[end..]].concat();
                if self.is_green(&without)? {
                    choices = without;
                } else {
                    begin = end;
                }
            }
            if chunk == 1 {
                return Ok(choices);
            }
            chunk = chunk.div_ceil(2);
        }
    }

    /// Whether the red profile is green with these choices of the green one.
    fn is_green(&mut self, choices: &[Choice]) -> Result<bool, ScenarioError> {
        let scenario = self.scenario(choices)?;
        for seed in self.question.seeds.clone() {
            self.runs += 1;
            if (self.run)(&scenario, self.question.from, seed).verdict != Verdict::Pass {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scenario(&self, choices: &[Choice]) -> Result<Scenario, ScenarioError> {
        let mut draft = self.question.draft.clone();
        // What a message should come to is said of good gateways; here the invariants decide.
        if let Some(Value::Table(expect)) = draft.table_mut().get_mut("expect") {
            expect.remove("fates");
        }
        let gateway = draft.table_mut().entry("gateway").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(gateway) = gateway {
            let policies = gateway.entry("policies").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(policies) = policies {
                for choice in choices {
                    // What the scenario itself sets is part of the question.
                    policies.entry(&choice.policy).or_insert_with(|| Value::from(choice.green.as_str()));
                }
            }
        }
        draft.scenario(self.question.path)
    }
}

/// Every policy in which two profiles differ.
pub fn differing(from: &str, to: &str) -> Vec<Choice> {
    let (from, to) = (choices(from), choices(to));
    let differing = from.iter().filter_map(|(policy, red)| {
        let green = to.get(policy)?;
        let (red, green) = (red.as_str()?.to_string(), green.as_str()?.to_string());
        (red != green).then(|| Choice { policy: policy.clone(), red, green })
    });
    differing.collect()
}

fn choices(profile: &str) -> Map<String, Json> {
    let policies: Policies = policy::profile(profile).unwrap_or_default();
    match serde_json::to_value(policies) {
        Ok(Json::Object(choices)) => choices,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(file: &str, from: &str) -> Deciding {
        let path = Path::new(file);
        let draft = Draft::read(path, None).expect("is a scenario");
        let question = Question { draft: &draft, path, from, to: policy::HARDENED, seeds: 1..3 };
        bisect(&crate::run, &question).expect("every draft is a scenario").0
    }

    #[test]
    fn a_planted_defect_is_found_to_be_what_it_is() {
        let deciding = decide("scenarios/faults/answered-twice.toml", "planted:recovery-reruns-everything");
        let Deciding::EachAlone(choices) = deciding else { panic!("{deciding:?}") };
        assert_eq!(choices.len(), 1);
        assert_eq!((choices[0].policy.as_str(), choices[0].red.as_str()), ("recovery", "rerun-everything"));
    }

    #[test]
    fn a_profile_that_is_green_is_no_question() {
        assert_eq!(decide("scenarios/lifecycle/idle-restart.toml", policy::HARDENED), Deciding::NotRed);
    }

    #[test]
    fn a_loss_of_history_has_a_policy_that_decides_or_some_that_do_together() {
        let deciding = decide("scenarios/bugs/38836-sigterm-mid-reply.toml", "openclaw-2026.3.2");
        let (Deciding::EachAlone(choices) | Deciding::Together(choices)) = deciding else {
            panic!("{deciding:?}")
        };
        assert!(choices.iter().any(|choice| choice.policy == "stop-drain"), "{choices:?}");
    }
}
