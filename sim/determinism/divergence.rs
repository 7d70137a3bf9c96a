//! Where two traces part, and what usually parts them.
//!
//! Up to the first step that differs both worlds did the same, so whoever takes that step had the same to go by. That it
//! does otherwise is its own doing, or that of whoever ran before and woke it; what such code looks like depends on
//! the kind of step.

use std::fmt::Write;

use super::trace::{Step, TaskName, Trace, TracedStep};
use crate::timeline::words::moment;

/// How many steps before the difference are shown.
const SHOWN_BEFORE: usize = 3;
/// Within how many steps a task that one run polls must come in the other, for the two to be woken in another order.
const SOON: usize = 200;

/// The first step in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// How many steps they have in common.
    pub in_common: usize,
    /// The last of these.
    pub before: Vec<TracedStep>,
    /// What each does next.
    pub next: [Option<TracedStep>; 2],
    /// What usually does such a thing, and whose doing it is.
    pub culprit: String,
}

impl Divergence {
    /// Where two traces part, if they do.
    pub fn between(one: &Trace, other: &Trace) -> Option<Self> {
        let in_common = super::first_difference(&one.steps, &other.steps)?;
        let common = &one.steps[..in_common];
        Some(Self {
            in_common,
            before: common[common.len().saturating_sub(SHOWN_BEFORE)..].to_vec(),
            next: [one, other].map(|trace| trace.steps.get(in_common).cloned()),
            culprit: culprit(common, &one.steps[in_common..], &other.steps[in_common..]),
        })
    }

    /// It in sentences; `event` is where the timelines part, if they do.
    pub fn sentences(&self, event: Option<usize>) -> Vec<String> {
        let event = match event {
            Some(event) => format!(", of which event {event} is the first that shows it"),
            None => String::new(),
        };
        let words = |step: &Option<TracedStep>| match step {
            Some(step) => words(step),
            None => "nothing more happens".to_string(),
        };
        let [one, other] = &self.next;
        let mut first = format!(
            "the worlds part after {} equal steps{event}: in one, {}; in the other, {}",
            self.in_common,
            words(one),
            words(other)
        );
        if !self.before.is_empty() {
            let before: Vec<_> = self.before.iter().map(self::words).collect();
            // Writing to a string cannot fail.
            let _ = write!(first, ". Just before, in both: {}", before.join("; "));
        }
        vec![first, format!("the likely culprit: {}", self.culprit)]
    }
}

fn words(TracedStep { at, by, step }: &TracedStep) -> String {
    format!("{} {step} at {}", whose(*by), moment(*at))
}

fn whose(task: Option<TaskName>) -> String {
    task.map_or_else(|| "the world".to_string(), |task| task.to_string())
}

/// The places that decide something by what no seed decides, as far as one looks for them in a task's own code.
const OWN_DOING: &str = "look there for the iteration of a HashMap or HashSet, `select!` without `biased`, the real clock, \
                         an address in memory, a generator of its own, a static or thread-local that an earlier run filled";
const WAKING: &str = "look there for a channel that wakes in random order (tokio's `watch`), for wakers kept in a HashMap, and \
                      for `select!` without `biased`";

/// What parts two worlds that did the same until now, `common`, and go on with `one` and `other`.
fn culprit(common: &[TracedStep], one: &[TracedStep], other: &[TracedStep]) -> String {
    let earlier = common.iter().rev().find_map(|step| step.by);
    let (Some(first), Some(second)) = (one.first(), other.first()) else {
        return format!("one of them ends early; {} ran last, {OWN_DOING}", whose(earlier));
    };
    if first.by == second.by && first.step == second.step {
        return format!(
            "{} comes to it at another time: it slept, or was given a deadline, by a clock or a generator that is not the \
             world's",
            whose(first.by)
        );
    }
    match (&first.step, &second.step) {
        (Step::Poll, Step::Poll) => woken(earlier, (first, one), (second, other)),
        (Step::Draw { stream, .. }, Step::Draw { stream: others, .. }) if stream == others => format!(
            "the stream `{stream}` gives another number at the same place, so it is not seeded by the seed and its name alone, \
             or its generator was lent to somebody who drew another number of times"
        ),
        (Step::Packet { .. }, _) | (_, Step::Packet { .. }) if first.by.is_none() || second.by.is_none() => {
            format!(
                "what the tasks wrote since the world was last idle; {} ran last, {OWN_DOING}",
                whose(earlier)
            )
        }
        _ if first.by == second.by => format!("{}, {OWN_DOING}", whose(first.by)),
        _ => format!("{}, which goes on in one run only, {OWN_DOING}", whose(first.by.or(second.by))),
    }
}

/// Other tasks come to their turn: somebody woke them in another order, or woke others.
fn woken(
    earlier: Option<TaskName>,
    (first, one): (&TracedStep, &[TracedStep]),
    (second, other): (&TracedStep, &[TracedStep]),
) -> String {
    let comes_soon = |task: Option<TaskName>, steps: &[TracedStep]| {
        steps.iter().take(SOON).any(|step| step.step == Step::Poll && step.by == task)
    };
    let who = whose(earlier);
    if comes_soon(first.by, other) && comes_soon(second.by, one) {
        return format!("{who} woke several tasks, in another order in each run; {WAKING}");
    }
    format!("{who} woke a task in one run that it did not wake in the other; {OWN_DOING}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, UNIX_EPOCH};

    use gateway::env::{Env, ExitCode, LocalBoxFuture};
    use tokio::sync::watch;
    use tokio::time::sleep;

    use super::*;
    use crate::determinism::recording;
    use crate::world::{World, WorldSettings};

    const SECOND: Duration = Duration::from_secs(1);

    /// Where two worlds part in which a process does `body`; several are made, since chance decides.
    fn parted(body: impl AsyncFn(Env) + Copy + Send + Sync + 'static) -> Divergence {
        let traced = move || {
            let play = async move |world: World| {
                world.add_machine("box").expect("new name");
                let main = move |env: Env| -> LocalBoxFuture<'static, ExitCode> {
                    Box::pin(async move {
                        body(env).await;
                        ExitCode::CLEAN
                    })
                };
                world.start_process("box", "program", main).expect("machine is up");
                sleep(10 * SECOND).await;
            };
            thread::spawn(move || recording(|| World::run(WorldSettings::seeded(1), play)).1)
        };
        let traced = || traced().join().expect("no panic");
        let first = traced();
        (0..50).find_map(|_| Divergence::between(&first, &traced())).expect("chance decides sooner or later")
    }

    #[test]
    fn a_channel_that_wakes_at_random_is_seen_in_who_comes_first() {
        let divergence = parted(async |env: Env| {
            let (sender, receiver) = watch::channel(());
            for _ in 0..64 {
                let mut receiver = receiver.clone();
                drop(env.spawn("waiting", async move {
                    let _ = receiver.changed().await;
                }));
            }
            sleep(SECOND).await;
            sender.send_replace(());
            sleep(SECOND).await;
        });
        assert!(divergence.culprit.contains("woke several tasks, in another order"), "{divergence:?}");
        let sentences = divergence.sentences(Some(12)).join("\n");
        for part in ["event 12", "task `waiting`", "task `main`", "tokio's `watch`", "at 1.0"] {
            assert!(sentences.contains(part), "{part} is missing in:\n{sentences}");
        }
    }

    #[test]
    #[expect(clippy::iter_over_hash_type, reason = "what is forbidden is what is to be found")]
    fn a_hash_map_is_seen_in_the_first_thing_that_depends_on_its_order() {
        let divergence = parted(async |env: Env| {
            let files: HashMap<u64, ()> = (1..100).map(|number| (number, ())).collect();
            for number in files.keys() {
                let path = format!("/{number}");
                env.fs().append(Path::new(&path), b"x").expect("there is room");
            }
        });
        let sentences = divergence.sentences(None).join("\n");
        for part in ["task `main`", "does append on /", "HashMap"] {
            assert!(sentences.contains(part), "{part} is missing in:\n{sentences}");
        }
    }

    #[test]
    fn what_an_earlier_run_left_behind_is_seen_where_it_is_looked_at() {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let divergence = parted(async |env: Env| {
            if RUNS.fetch_add(1, Ordering::Relaxed) == 0 {
                env.random("first");
            }
        });
        let sentences = divergence.sentences(None).join("\n");
        for part in ["draws 0x", "first", "static or thread-local"] {
            assert!(sentences.contains(part), "{part} is missing in:\n{sentences}");
        }
    }

    #[test]
    fn a_clock_that_is_not_the_worlds_is_seen_in_the_time() {
        let divergence = parted(async |_: Env| {
            let real_ms = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() % 1_000;
            sleep(Duration::from_millis(1 + real_ms as u64)).await;
        });
        assert!(divergence.culprit.contains("by a clock or a generator that is not"), "{divergence:?}");
    }

    #[test]
    fn equal_traces_do_not_part() {
        assert_eq!(Divergence::between(&Trace::default(), &Trace::default()), None);
    }
}
