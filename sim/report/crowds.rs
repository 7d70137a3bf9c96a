//! What crowds do, in a timeline: hundreds that do the same at about the same time are one line.

use std::collections::BTreeMap;
use std::time::Duration;

use super::phrases::length_of_time;

/// Who does the same no later than this after the last one who did is one of many.
const TOGETHER: Duration = Duration::from_secs(1);
/// Of those who take longer than this it is said how long they took.
const SOON: Duration = Duration::from_secs(2);

/// The crowds of a timeline.
#[derive(Default)]
pub(super) struct Crowds(BTreeMap<(String, String), Crowd>);

/// Peers of one group that did the same.
struct Crowd {
    entry: usize,
    count: usize,
    first: Duration,
    last: Duration,
}

impl Crowds {
    /// One of the group called `name` did what `words` say. Which entry tells it, and in what words; entries are
    /// counted, and `next` is the number of a new one.
    pub(super) fn take(&mut self, at: Duration, name: &str, words: &str, next: usize) -> (usize, String) {
        let new = || Crowd { entry: next, count: 0, first: at, last: at };
        let crowd = self.0.entry((name.to_string(), words.to_string())).or_insert_with(new);
        if at.saturating_sub(crowd.last) > TOGETHER {
            *crowd = new();
        }
        crowd.count += 1;
        crowd.last = at;
        let took = crowd.last.saturating_sub(crowd.first);
        let told = match crowd.count {
            1 => format!("{name}: {words}"),
            many if took < SOON => format!("{name}: {many} {words}"),
            many => format!("{name}: {many} {words}, within {}", length_of_time(took)),
        };
        (crowd.entry, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_one_line_as_long_as_they_come_together() {
        let mut crowds = Crowds::default();
        let mut take = |ms, words, next| crowds.take(Duration::from_millis(ms), "tabs", words, next);
        assert_eq!(take(0, "connected", 0), (0, "tabs: connected".to_string()));
        assert_eq!(take(5, "connected", 1), (0, "tabs: 2 connected".to_string()));
        assert_eq!(take(5, "ended: reset", 1), (1, "tabs: ended: reset".to_string()));
        assert_eq!(take(1_005, "connected", 2), (0, "tabs: 3 connected".to_string()));
        let (entry, told) = take(2_000, "connected", 2);
        assert_eq!((entry, told.replace('\u{a0}', " ").as_str()), (0, "tabs: 4 connected, within 2 s"));
        assert_eq!(take(3_001, "connected", 2), (2, "tabs: connected".to_string()), "they come later");
    }
}
