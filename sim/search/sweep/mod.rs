//! The sweep: bounded and exhaustive. Every moment of a baseline run is disturbed once, in a run of its own.
//!
//! What comes right after a moment comes right before the next one, so every gap between two of them is tried; see
//! [`Moment`] for what they are. With pairs, the run that was disturbed once is the baseline of the second disturbance.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

mod moments;

use moments::moments;
pub use moments::{Moment, Place};

use super::{Draft, Run, Signature, Traced};
use crate::scenario::{Scenario, ScenarioError};
use crate::timeline::GATEWAY_PROGRAM;
use crate::verdict::{RunResult, Verdict};
use crate::workers;

/// What is done to the gateway at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injection {
    /// SIGTERM, past the supervisor.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGUSR1, the restart signal.
    Restart,
    /// SIGKILL.
    Kill,
    /// The machine loses power, for 5 s.
    PowerLoss,
    /// The process stands still, for 5 s.
    Freeze,
    /// The supervisor is asked to restart the service.
    ServiceRestart,
}

impl Injection {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::Terminate,
        Self::Interrupt,
        Self::Restart,
        Self::Kill,
        Self::PowerLoss,
        Self::Freeze,
        Self::ServiceRestart,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Restart => "SIGUSR1",
            Self::Kill => "SIGKILL",
            Self::PowerLoss => "power-loss",
            Self::Freeze => "freeze",
            Self::ServiceRestart => "service-restart",
        }
    }

    /// The one of this word, whatever its case.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|injection| injection.word().eq_ignore_ascii_case(word))
    }

    /// The step that does it.
    fn step(self, moment: &Moment) -> Table {
        let mut step = moment.anchor();
        let mut set = |key: &str, value: &str| drop(step.insert(key.into(), Value::from(value)));
        if let Place::Disk { call, is_after, .. } = moment.place {
            set("do", "crash-at");
            set("moment", if is_after { "after" } else { "before" });
            set("death", if self == Self::PowerLoss { "power-loss" } else { "kill" });
            step.insert("from-call".into(), Value::from(i64::from(call)));
            return step;
        }
        match self {
            Self::Terminate | Self::Interrupt | Self::Restart => {
                set("do", "signal");
                set("signal", self.word());
            }
            Self::Kill => set("do", "kill"),
            Self::PowerLoss => set("do", "power-loss"),
            Self::ServiceRestart => set("do", "service-restart"),
            Self::Freeze => {
                set("do", "freeze");
                set("for", "5s");
            }
        }
        step
    }

    /// Whether it can come there: only death reaches into what a program does at one go.
    fn can_come(self, moment: &Moment) -> bool {
        !moment.is_inside() || matches!(self, Self::Kill | Self::PowerLoss)
    }
}

/// One disturbed run.
#[derive(Clone, Debug)]
pub struct Point {
    /// What was done, and when; one, or two with pairs.
    pub injected: Vec<(Injection, Moment)>,
    /// What it came to.
    pub verdict: Verdict,
    /// The signature of its failure, if it failed.
    pub signature: Option<Signature>,
    /// The scenario, if it failed.
    pub failing: Option<Draft>,
}

/// What is swept.
pub struct Plan<'a> {
    /// The baseline.
    pub draft: &'a Draft,
    /// What it is called.
    pub path: &'a Path,
    /// The profile of all runs.
    pub profile: &'a str,
    /// The seed of all runs.
    pub seed: u64,
    /// What is injected.
    pub injections: &'a [Injection],
    /// Two injections a run; the second within so much time after the first.
    pub pairs_within: Option<Duration>,
    /// The most disturbed runs; of more moments every how manyth is taken is even.
    pub most_runs: usize,
    /// How many runs are made at a time.
    pub threads: NonZeroUsize,
}

/// What a sweep came to.
#[derive(Debug)]
pub struct Swept {
    /// How many moments the baseline has.
    pub moments: usize,
    /// Every disturbed run, by injection and then by time.
    pub points: Vec<Point>,
    /// How many points there are in all, of which not all need have been tried.
    pub possible: usize,
}

/// Why a sweep could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The scenario cannot be read.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The baseline itself is no good run.
    #[error("the baseline does not pass by itself: {0}")]
    Baseline(String),
}

/// Disturbs every moment of the baseline.
pub fn sweep(run: Run<'_>, traced: Traced<'_>, plan: &Plan<'_>) -> Result<Swept, SweepError> {
    let draft = undemanding(plan.draft, plan.profile);
    let scenario = draft.scenario(plan.path)?;
    let (baseline, trace) = traced(&scenario, plan.profile, plan.seed);
    if baseline.verdict != Verdict::Pass {
        return Err(SweepError::Baseline(why(&baseline)));
    }
    let moments = moments(&baseline.timeline, &trace, GATEWAY_PROGRAM, scenario.storm_limit);
    let mut tasks: Vec<Vec<(Injection, Moment)>> = Vec::new();
    for injection in plan.injections {
        let reached = moments.iter().filter(|moment| injection.can_come(moment));
        tasks.extend(reached.map(|moment| vec![(*injection, moment.clone())]));
    }
    let singles = tasks.len();
    let mut tasks = evenly(tasks, plan.most_runs);
    let mut points = make(run, plan, (&draft, &scenario), &tasks);
    let mut possible = singles;
    if let Some(within) = plan.pairs_within {
        let seconds =
            workers::in_order(&tasks, plan.threads, &|first| second(traced, plan, &scenario, first, within));
        let pairs: Vec<_> = seconds.into_iter().flatten().collect();
        possible += pairs.len();
        tasks = evenly(pairs, plan.most_runs.saturating_sub(points.len()));
        points.extend(make(run, plan, (&draft, &scenario), &tasks));
    }
    Ok(Swept { moments: moments.len(), points, possible })
}

/// The moments of the run that was disturbed once, after that and soon: each with each injection.
fn second(
    traced: Traced<'_>,
    plan: &Plan<'_>,
    baseline: &Scenario,
    first: &[(Injection, Moment)],
    within: Duration,
) -> Vec<Vec<(Injection, Moment)>> {
    let scenario = disturbed(baseline, first);
    let (result, trace) = traced(&scenario, plan.profile, plan.seed);
    let Some((_, before)) = first.first() else { return Vec::new() };
    let soon = |moment: &Moment| {
        moment.at >= before.at && moment.at <= before.at + within && moment.place != before.place
    };
    let mut soon_after = moments(&result.timeline, &trace, GATEWAY_PROGRAM, scenario.storm_limit);
    soon_after.retain(soon);
    let each = |injection: &Injection| {
        let reached = soon_after.iter().filter(|moment| injection.can_come(moment));
        reached.map(|moment| [first, &[(*injection, moment.clone())]].concat()).collect::<Vec<_>>()
    };
    plan.injections.iter().flat_map(each).collect()
}

fn make(
    run: Run<'_>,
    plan: &Plan<'_>,
    (draft, baseline): (&Draft, &Scenario),
    tasks: &[Vec<(Injection, Moment)>],
) -> Vec<Point> {
    workers::in_order(tasks, plan.threads, &|injected: &Vec<(Injection, Moment)>| {
        let scenario = disturbed(baseline, injected);
        let result = run(&scenario, plan.profile, plan.seed);
        let failed = matches!(result.verdict, Verdict::Fail | Verdict::Error);
        Point {
            injected: injected.clone(),
            verdict: result.verdict,
            signature: Signature::of(&result, &scenario),
            failing: failed.then(|| written_out(draft, injected)),
        }
    })
}

/// The baseline with one more step for each injection.
fn disturbed(baseline: &Scenario, injected: &[(Injection, Moment)]) -> Scenario {
    let further = written_out(&Draft::new(Table::new()), injected).to_text();
    // The anchors are names of events that happened, so every disturbed baseline is a scenario.
    baseline.with_steps(&further).unwrap_or_else(|error| unreachable!("{error}: {further}"))
}

/// The draft with one more step for each injection.
fn written_out(draft: &Draft, injected: &[(Injection, Moment)]) -> Draft {
    let mut disturbed = draft.clone();
    let steps = disturbed.table_mut().entry("steps").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(steps) = steps {
        steps.extend(injected.iter().map(|(injection, moment)| Value::Table(injection.step(moment))));
    }
    disturbed
}

/// The draft without what it expects: a disturbance may change the fate of a message, and all are fine but bad ones.
pub(super) fn undemanding(draft: &Draft, profile: &str) -> Draft {
    let mut draft = draft.clone();
    let mut outcomes = Table::new();
    outcomes.insert(profile.into(), Value::from("pass"));
    let mut expect = Table::new();
    expect.insert("outcomes".into(), Value::Table(outcomes));
    draft.table_mut().insert("expect".into(), Value::Table(expect));
    draft
}

/// At most so many of `tasks`, spread evenly.
fn evenly<T>(tasks: Vec<T>, most: usize) -> Vec<T> {
    let count = tasks.len();
    if count <= most {
        return tasks;
    }
    let is_taken = |index: usize| (index * most) / count != ((index + 1) * most) / count;
    tasks.into_iter().enumerate().filter(|(index, _)| is_taken(*index)).map(|(_, task)| task).collect()
}

fn why(result: &RunResult) -> String {
    let violations = result.violations.iter().map(|violation| violation.message.clone());
    violations.chain(result.notes.iter().cloned()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Event, Fact};

    const BASELINE: &str = r#"
name = "one message"
[senders.ann]
[[steps]]
at = "1s"
do = "send"
from = "ann"
text = "hello"
"#;

    fn sweep_of(profile: &str, injections: &[Injection]) -> Swept {
        let draft = Draft::new(BASELINE.parse().expect("is TOML"));
        let plan = Plan {
            draft: &draft,
            path: Path::new("one.toml"),
            profile,
            seed: 1,
            injections,
            pairs_within: None,
            most_runs: 60,
            threads: NonZeroUsize::MIN,
        };
        sweep(&crate::run, &crate::traced, &plan).expect("the baseline passes")
    }

    #[test]
    fn a_kill_at_any_moment_loses_nothing_and_without_recovery_it_does() {
        let swept = sweep_of("hardened", &[Injection::Kill]);
        assert!(swept.possible > 60 && swept.points.len() == 60, "{} {}", swept.possible, swept.points.len());
        let red: Vec<_> = swept.points.iter().filter(|point| point.verdict == Verdict::Fail).collect();
        assert!(red.is_empty(), "{red:?}");
        let swept = sweep_of("planted:recovery-skipped", &[Injection::Kill]);
        let red = swept.points.iter().filter_map(|point| point.signature.as_ref());
        assert!(red.into_iter().any(|signature| signature.invariant == "no-silent-drop"));
    }

    #[test]
    fn every_disk_operation_has_two_sides_and_a_death_that_hits_each() {
        let draft = Draft::new(BASELINE.parse().expect("is TOML"));
        let path = Path::new("one.toml");
        let scenario = draft.scenario(path).expect("is one");
        let (baseline, trace) = crate::traced(&scenario, "hardened", 1);
        let all = moments(&baseline.timeline, &trace, GATEWAY_PROGRAM, scenario.storm_limit);
        let inside: Vec<_> = all.into_iter().filter(Moment::is_inside).collect();
        assert!(inside.len() > 40, "{}", inside.len());
        // The last ones come when all is done and said; one more there is not.
        let last = inside.last().expect("there are some").clone();
        let Place::Disk { call, op, .. } = last.place else { unreachable!("it is inside") };
        let one_more = Moment { place: Place::Disk { call: call + 1, op, is_after: false }, ..last.clone() };
        let died_at = |moment: &Moment| {
            let injected = [(Injection::Kill, moment.clone())];
            let run = crate::run(&disturbed(&scenario, &injected), "hardened", 1);
            // Whoever reads it as a file sees the same.
            let file = written_out(&draft, &injected).scenario(path).expect("is one");
            assert_eq!(run.hash, crate::run(&file, "hardened", 1).hash, "{}", moment.words());
            let is_death = |event: &&Event| {
                let text = format!("{:?}", event.fact);
                matches!(event.fact, Fact::Injected { .. }) && text.contains("SIGKILL")
            };
            run.timeline.iter().find(is_death).map(|event| event.at)
        };
        for moment in inside.iter().step_by(7).chain([&last]) {
            assert_eq!(died_at(moment), Some(moment.at), "{}", moment.words());
        }
        assert_eq!(died_at(&one_more), None);
    }

    #[test]
    fn what_is_too_much_is_thinned_evenly() {
        assert_eq!(evenly((0..10).collect(), 3).len(), 3);
        assert_eq!(evenly((0..10).collect::<Vec<_>>(), 10).len(), 10);
        assert_eq!(evenly(vec![1], 3), [1]);
    }
}
