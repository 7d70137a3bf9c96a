//! The watcher of the configuration file, without the watching: when to look, when a write is over, and what the new
//! content asks for.
//!
//! Whoever sees the file change says so; the watch says when to look at it and when to read it. It compares what it
//! reads with what is in force, not with what it read last: so an edit that is taken back before the restart cancels
//! it (openclaw/openclaw#119360), and so does one that leaves a file with which no successor could start.

use std::time::Duration;

use serde_json::Value;

use super::Moment;
use super::reload::{Effect, Plan, changed_paths};
use crate::policy::{ConfigCurrent, RestartPolicy};

/// How long after the last change the file is looked at (`gateway.reload.debounceMs`).
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How long it is waited for changes to end at most, before the file is looked at all the same.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(5);
/// How long the file must look the same before a write counts as over, and how often that is looked at.
const SETTLED: Duration = Duration::from_millis(200);
const SETTLING_POLL: Duration = Duration::from_millis(50);
/// How often, and after what time, a file is looked for again that is not there.
const MISSING_RETRIES: u32 = 2;
const MISSING_DELAY: Duration = Duration::from_millis(150);

/// What can be seen of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its size in bytes.
    pub size: u64,
    /// When it was written last, in milliseconds since the Unix epoch.
    pub modified_ms: u64,
}

/// What to do after a look at the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Look again at [`ConfigWatch::next_wake`].
    Again,
    /// Read it now, and say what is in it.
    Read,
    /// It is not there, and that is not waited for any longer. What is in force stays.
    Missing,
}

/// What a changed file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What its changes ask for, compared with what is in force. Nothing, when it could not be used.
    pub plan: Plan,
    /// Whether a restart that the file asked for before is not wanted any more:
    /// [`Coordinator::edit_reverted`](super::Coordinator::edit_reverted).
    pub withdraw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nothing has changed.
    Quiet,
    /// Something has; the file is looked at when no more does.
    Debouncing { look: Moment, latest: Moment },
    /// The file looked like this, since then.
    Settling { look: Moment, latest: Moment, seen: Sighting, since: Moment },
    /// The file was not there, so often.
    Missing { look: Moment, times: u32 },
}

/// The watch over one configuration file.
#[derive(Clone, Debug)]
pub struct ConfigWatch {
    policy: RestartPolicy,
    /// What is in force; in history, what was read last.
    current: Value,
    waiting: Waiting,
    /// Whether a restart was asked for that has not come.
    wants_restart: bool,
}

impl ConfigWatch {
    /// A watch in a generation that runs with `in_force`.
    pub const fn new(policy: RestartPolicy, in_force: Value) -> Self {
        Self { policy, current: in_force, waiting: Waiting::Quiet, wants_restart: false }
    }

    /// The file has changed, or may have.
    pub fn touched(&mut self, now: Moment) {
        let latest = match self.waiting {
            Waiting::Debouncing { latest, .. } | Waiting::Settling { latest, .. } => latest,
            Waiting::Quiet | Waiting::Missing { .. } => now + LONGEST_DEBOUNCE,
        };
        self.waiting = Waiting::Debouncing { look: (now + DEBOUNCE).min(latest), latest };
    }

    /// When to look at the file.
    pub const fn next_wake(&self) -> Option<Moment> {
        match self.waiting {
            Waiting::Quiet => None,
            Waiting::Debouncing { look, .. }
            | Waiting::Settling { look, .. }
            | Waiting::Missing { look, .. } => Some(look),
        }
    }

    /// The file was looked at, because it was time; `None`: it is not there.
    pub fn seen(&mut self, now: Moment, sighting: Option<Sighting>) -> Look {
        let Some(seen) = sighting else { return self.missing(now) };
        let (latest, since) = match self.waiting {
            Waiting::Settling { latest, seen: before, since, .. } if before == seen => (latest, since),
            Waiting::Settling { latest, .. } | Waiting::Debouncing { latest, .. } => (latest, now),
            Waiting::Quiet | Waiting::Missing { .. } => (now + LONGEST_DEBOUNCE, now),
        };
        if now.since(since) >= SETTLED || now >= latest {
            self.waiting = Waiting::Quiet;
            return Look::Read;
        }
        self.waiting = Waiting::Settling { look: now + SETTLING_POLL, latest, seen, since };
        Look::Again
    }

    fn missing(&mut self, now: Moment) -> Look {
        let times = match self.waiting {
            Waiting::Missing { times, .. } => times,
            _ => 0,
        };
        if times == MISSING_RETRIES {
            self.waiting = Waiting::Quiet;
            return Look::Missing;
        }
        self.waiting = Waiting::Missing { look: now + MISSING_DELAY, times: times + 1 };
        Look::Again
    }

    /// The file was read; `None`: what is in it is no valid configuration.
    pub fn read(&mut self, content: Option<Value>) -> News {
        let wanted = self.wants_restart;
        let Some(content) = content else {
            let withdraw = wanted && self.policy.config_current == ConfigCurrent::WhenInForce;
            self.wants_restart = wanted && !withdraw;
            return News { plan: Plan::default(), withdraw };
        };
        let plan = Plan::of(changed_paths(&self.current, &content));
        let needs_restart = plan.effect() != Effect::None;
        match self.policy.config_current {
            ConfigCurrent::WhenInForce => {
                if !needs_restart {
                    self.current = content;
                }
                self.wants_restart = needs_restart;
                News { plan, withdraw: wanted && !needs_restart }
            }
            ConfigCurrent::WhenSeen => {
                self.current = content;
                self.wants_restart |= needs_restart;
                News { plan, withdraw: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment::after_start(Duration::from_millis(ms))
    }

    fn watch(policy: RestartPolicy) -> ConfigWatch {
        ConfigWatch::new(policy, json!({"gateway": {"port": 1}, "cron": {"jobs": []}}))
    }

    fn sized(size: u64) -> Option<Sighting> {
        Some(Sighting { size, modified_ms: 0 })
    }

    /// Looks whenever it is time, at a file of a size that depends on the time, and says when it is read.
    fn read_at(watch: &mut ConfigWatch, size: impl Fn(Moment) -> Option<Sighting>) -> Option<Moment> {
        while let Some(look) = watch.next_wake() {
            match watch.seen(look, size(look)) {
                Look::Again => {}
                Look::Read => return Some(look),
                Look::Missing => return None,
            }
        }
        panic!("it stopped looking");
    }

    #[test]
    fn a_file_is_read_when_it_has_not_changed_for_a_while() {
        let mut watch = watch(RestartPolicy::default());
        assert_eq!(watch.next_wake(), None);
        watch.touched(ms(0));
        watch.touched(ms(100));
        assert_eq!(watch.next_wake(), Some(ms(400)));
        assert_eq!(read_at(&mut watch, |_| sized(9)), Some(ms(600)));
        assert_eq!(watch.next_wake(), None);
    }

    #[test]
    fn a_write_in_progress_is_waited_for_but_not_for_ever() {
        let mut watch = watch(RestartPolicy::default());
        watch.touched(ms(0));
        let grows_until =
            |end: u64| move |now: Moment| sized(now.min(ms(end)).since(ms(0)).as_millis() as u64);
        assert_eq!(read_at(&mut watch, grows_until(1_000)), Some(ms(1_200)));
        watch.touched(ms(10_000));
        assert_eq!(read_at(&mut watch, grows_until(u64::MAX)), Some(ms(15_000)));
        (0..100).for_each(|n| watch.touched(ms(20_000 + n * 200)));
        assert_eq!(watch.next_wake(), Some(ms(25_000)));
    }

    #[test]
    fn a_file_that_is_replaced_is_missed_for_a_moment() {
        let mut watch = watch(RestartPolicy::default());
        watch.touched(ms(0));
        let back_at = |back: u64| move |now: Moment| sized(9).filter(|_| now >= ms(back));
        assert_eq!(read_at(&mut watch, back_at(400)), Some(ms(650)));
        watch.touched(ms(1_000));
        assert_eq!(read_at(&mut watch, back_at(u64::MAX)), None);
        assert_eq!(watch.next_wake(), None);
    }

    #[test]
    fn an_edit_that_is_taken_back_wants_no_restart() {
        let mut watch = watch(RestartPolicy::default());
        let before = watch.current.clone();
        let edited = json!({"gateway": {"port": 2}, "cron": {"jobs": []}});
        let news = watch.read(Some(edited.clone()));
        assert_eq!((news.plan.restart, news.withdraw), (vec!["gateway.port".to_string()], false));
        let news = watch.read(Some(before.clone()));
        assert!(news.plan.is_empty() && news.withdraw);
        assert!(!watch.read(Some(before)).withdraw, "once");

        watch.read(Some(edited));
        let other = watch.read(Some(json!({"gateway": {"port": 1}, "cron": {"jobs": [1]}})));
        assert_eq!(
            (other.plan.effect(), other.withdraw),
            (Effect::Hot, false),
            "it is wanted for another edit"
        );
        let at_once = watch.read(Some(
            json!({"gateway": {"port": 1, "reload": {"deferralTimeoutMs": 9}}, "cron": {"jobs": []}}),
        ));
        assert_eq!((at_once.plan.effect(), at_once.withdraw), (Effect::None, true));
    }

    #[test]
    fn in_history_an_edit_that_was_taken_back_restarted_all_the_same() {
        let mut watch =
            watch(RestartPolicy { config_current: ConfigCurrent::WhenSeen, ..Default::default() });
        let before = watch.current.clone();
        watch.read(Some(json!({"gateway": {"port": 2}, "cron": {"jobs": []}})));
        let news = watch.read(Some(before));
        assert_eq!((news.plan.effect(), news.withdraw), (Effect::Restart, false));
    }

    #[test]
    fn a_file_with_which_no_successor_could_start_holds_the_restart_until_it_is_mended() {
        let mut watch = watch(RestartPolicy::default());
        let edited = json!({"gateway": {"port": 2}, "cron": {"jobs": []}});
        assert!(!watch.read(None).withdraw, "nothing was asked for");
        watch.read(Some(edited.clone()));
        assert!(watch.read(None).withdraw);
        assert_eq!(watch.read(Some(edited)).plan.effect(), Effect::Restart);
    }

    #[test]
    fn what_needs_no_restart_is_in_force_and_what_does_is_not() {
        let mut watch = watch(RestartPolicy::default());
        let at_once = json!({"gateway": {"port": 1, "reload": {"mode": "restart"}}, "cron": {"jobs": []}});
        assert_eq!(watch.read(Some(at_once.clone())).plan.none, ["gateway.reload"]);
        assert!(watch.read(Some(at_once)).plan.is_empty());
        let hot = json!({"gateway": {"port": 1, "reload": {"mode": "restart"}}, "cron": {"jobs": [1]}});
        assert_eq!(watch.read(Some(hot.clone())).plan.with_a_restart(), ["cron.jobs"]);
        assert_eq!(watch.read(Some(hot)).plan.hot, ["cron.jobs"]);
    }
}
