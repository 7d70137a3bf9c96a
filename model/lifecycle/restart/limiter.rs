//! How often one requester may begin a restart: so many within a time, then it is told when to come again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Moment;

/// A sliding window for each requester.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    most: usize,
    window: Duration,
    /// When each requester was let through lately. What is older than the window is forgotten, so that many
    /// requesters cannot fill the memory for longer than that.
    lately: BTreeMap<String, Vec<Moment>>,
}

impl Limiter {
    pub(super) const fn new(most: usize, window: Duration) -> Self {
        Self { most, window, lately: BTreeMap::new() }
    }

    /// Lets a requester through, or says how long it must wait.
    pub(super) fn admit(&mut self, who: &str, now: Moment) -> Result<(), Duration> {
        let window = self.window;
        self.lately.retain(|_, times| {
            times.retain(|time| now.since(*time) < window);
            !times.is_empty()
        });
        let times = self.lately.entry(who.to_string()).or_default();
        if times.len() >= self.most {
            let oldest = times.first().copied().unwrap_or(now);
            return Err((oldest + window).since(now));
        }
        times.push(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_pass_and_the_fourth_is_told_when() {
        let at = |s| Moment::after_start(Duration::from_secs(s));
        let mut limiter = Limiter::new(3, Duration::from_secs(60));
        assert_eq!([0, 10, 20].map(|s| limiter.admit("a", at(s))), [Ok(()); 3]);
        assert_eq!(limiter.admit("a", at(30)), Err(Duration::from_secs(30)));
        assert_eq!(limiter.admit("b", at(30)), Ok(()), "another one's requests are counted apart");
        assert_eq!(limiter.admit("a", at(60)), Ok(()));
        assert_eq!(limiter.admit("a", at(61)), Err(Duration::from_secs(9)));
        assert!(
            limiter.admit("c", at(1_000)).is_ok() && limiter.lately.len() == 1,
            "the others are forgotten"
        );
    }
}
