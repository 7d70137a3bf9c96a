//! The lines of the inbox's journal and what they come to: the fold that a start reads it with, and the fewest lines that
//! say the same. Plain functions; the disk is the inbox's business.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Accepted, Settlement, Stage};
use crate::channels::{Chat, Route};
use crate::env::WallTime;
use crate::sessions::json_line;

/// How long a settled message is remembered for its idempotency key, and how many of them at most.
const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_TOMBSTONES: usize = 20_000;
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) session_key: String,
    /// Kept until the message is settled.
    pub(super) text: Option<String>,
    pub(super) route: Route,
    pub(super) fingerprint: u64,
    /// By what it is known when its platform gives it again under another name.
    pub(super) likeness: Option<u64>,
    pub(super) stage: Stage,
    pub(super) at: WallTime,
    pub(super) order: u64,
    /// The generation that began to work on it last.
    pub(super) generation: u64,
    /// How many lives that died had taken it up anew.
    pub(super) resumed: u32,
    /// The journal does not know it yet, as in history ([`FollowUps::InMemory`](crate::policy::FollowUps::InMemory)).
    pub(super) in_memory: bool,
}

impl Entry {
    /// The message, as long as its text is kept.
    pub(super) fn message(&self, run_id: &str) -> Option<Accepted> {
        let text = self.text.clone()?;
        let (run_id, session_key) = (run_id.to_string(), self.session_key.clone());
        Some(Accepted { run_id, session_key, text, route: self.route.clone() })
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Settled(_))
    }

    /// The record of its acceptance.
    pub(super) fn accepted(&self, run_id: &str) -> Record {
        let (run_id, session_key) = (run_id.to_string(), self.session_key.clone());
        let text = self.text.clone().unwrap_or_default();
        Record::Accepted { run_id, session_key, text, at: self.at.epoch_ms(), route: self.route.clone() }
    }
}

pub(super) type Entries = BTreeMap<String, Entry>;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum Record {
    Accepted {
        run_id: String,
        session_key: String,
        text: String,
        at: u64,
        /// Older journals know webchat only.
        #[serde(default, skip_serializing_if = "Route::is_webchat")]
        route: Route,
    },
    /// A generation begins to work on it.
    Started {
        run_id: String,
        #[serde(default)]
        generation: u64,
    },
    /// A generation takes up what an earlier one left; before it does.
    Resumed {
        run_id: String,
        generation: u64,
    },
    /// It gives that back, as it was: it ends in good order.
    Returned {
        run_id: String,
    },
    /// The end of a generation interrupted it; its sender is still to be told.
    Interrupted {
        run_id: String,
        generation: u64,
    },
    Settled {
        run_id: String,
        how: Settlement,
    },
    /// What a rewritten journal keeps of a settled message.
    Tombstone {
        run_id: String,
        session_key: String,
        fingerprint: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        likeness: Option<u64>,
        at: u64,
        how: Settlement,
    },
}

/// The fewest lines that say the same about a message.
pub(super) fn digest((run_id, entry): (&String, &Entry)) -> Vec<Vec<u8>> {
    let (run_id, session_key, at) = (run_id.clone(), entry.session_key.clone(), entry.at.epoch_ms());
    if let Stage::Settled(how) = entry.stage {
        let (fingerprint, likeness) = (entry.fingerprint, entry.likeness);
        return vec![json_line(&Record::Tombstone { run_id, session_key, fingerprint, likeness, at, how })];
    }
    let mut lines = vec![json_line(&entry.accepted(&run_id))];
    let generation = entry.generation;
    let resumed = || json_line(&Record::Resumed { run_id: run_id.clone(), generation });
    lines.extend((0..entry.resumed).map(|_| resumed()));
    if entry.stage == Stage::Started {
        lines.push(json_line(&Record::Started { run_id, generation }));
    }
    lines
}

pub(super) fn in_order(entries: &Entries) -> Vec<(&String, &Entry)> {
    let mut in_order: Vec<_> = entries.iter().collect();
    in_order.sort_by_key(|(_, entry)| entry.order);
    in_order
}

/// Drops tombstones that are too old, and the oldest of too many.
pub(super) fn forget_old(entries: &mut Entries, now: WallTime) {
    let settled: Vec<u64> = {
        let mut orders: Vec<u64> =
            entries.values().filter(|entry| entry.is_settled()).map(|entry| entry.order).collect();
        orders.sort_unstable();
        orders
    };
    let first_kept = settled.len().checked_sub(MAX_TOMBSTONES).map_or(0, |excess| settled[excess]);
    entries.retain(|_, entry| {
        !entry.is_settled() || (entry.order >= first_kept && now.since(entry.at) < TOMBSTONE_AGE)
    });
}

/// Folds the journal. A step of an unknown message is ignored: its acceptance was forgotten with its age.
pub(super) fn replay(records: Vec<Record>) -> Entries {
    let mut entries = Entries::new();
    for (order, record) in records.into_iter().enumerate() {
        let order = order as u64;
        match record {
            Record::Accepted { run_id, session_key, text, at, route } => {
                let entry = Entry {
                    session_key,
                    likeness: likeness(&route, &text),
                    route,
                    fingerprint: fingerprint(&text),
                    text: Some(text),
                    stage: Stage::Accepted,
                    at: WallTime::from_epoch_ms(at),
                    order,
                    generation: 0,
                    resumed: 0,
                    in_memory: false,
                };
                // A key that was forgotten after its time may be used again; an open message is accepted once.
                if entries.get(&run_id).is_none_or(Entry::is_settled) {
                    entries.insert(run_id, entry);
                }
            }
            Record::Started { run_id, generation } => step(&mut entries, &run_id, |entry| {
                (entry.stage, entry.generation) = (Stage::Started, generation);
            }),
            Record::Resumed { run_id, .. } => step(&mut entries, &run_id, |entry| entry.resumed += 1),
            Record::Returned { run_id } => {
                step(&mut entries, &run_id, |entry| entry.resumed = entry.resumed.saturating_sub(1));
            }
            Record::Interrupted { run_id, generation } => step(&mut entries, &run_id, |entry| {
                (entry.stage, entry.generation) = (Stage::Started, generation);
            }),
            Record::Settled { run_id, how } => {
                step(&mut entries, &run_id, |entry| entry.stage = Stage::Settled(how));
            }
            Record::Tombstone { run_id, session_key, fingerprint, likeness, at, how } => {
                let (at, stage) = (WallTime::from_epoch_ms(at), Stage::Settled(how));
                let (text, route) = (None, Route::default());
                let (generation, resumed, in_memory) = (0, 0, false);
                let entry = Entry {
                    session_key,
                    text,
                    route,
                    fingerprint,
                    likeness,
                    stage,
                    at,
                    order,
                    generation,
                    resumed,
                    in_memory,
                };
                entries.insert(run_id, entry);
            }
        }
    }
    entries
}

/// What is over stays over, whatever is recorded of it after that.
fn step(entries: &mut Entries, run_id: &str, step: impl FnOnce(&mut Entry)) {
    if let Some(entry) = entries.get_mut(run_id).filter(|entry| !entry.is_settled()) {
        step(entry);
    }
}

impl Accepted {
    /// What a message of a platform has in common with itself under another name (openclaw/openclaw#41195): the chat,
    /// the time at which it was written, and the text. `None` where a platform gives every message one name for ever.
    pub(crate) fn likeness(&self) -> Option<u64> {
        likeness(&self.route, &self.text)
    }
}

pub(super) fn likeness(route: &Route, text: &str) -> Option<u64> {
    let Route::Platform(chat) = route else { return None };
    let Chat { account, chat, written_at, .. } = chat;
    Some(fingerprint(&format!("{account} {chat} {} {text}", (*written_at)?)))
}

/// Tells texts apart (FNV-1a). Stable for ever, since it stands in the journal.
pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(run_id: &str) -> Record {
        Record::Accepted {
            run_id: run_id.into(),
            session_key: "s".into(),
            text: "hi".into(),
            at: 0,
            route: Route::Webchat,
        }
    }

    #[test]
    fn a_message_is_in_the_stage_of_its_last_record() {
        let records = vec![
            accepted("a"),
            accepted("b"),
            accepted("c"),
            Record::Started { run_id: "a".into(), generation: 1 },
            Record::Started { run_id: "b".into(), generation: 1 },
            Record::Settled { run_id: "b".into(), how: Settlement::Answered },
        ];
        let entries = replay(records);
        assert_eq!(entries["a"].stage, Stage::Started);
        assert_eq!(entries["b"].stage, Stage::Settled(Settlement::Answered));
        assert_eq!(entries["c"].stage, Stage::Accepted);
    }

    #[test]
    fn steps_of_forgotten_messages_are_ignored() {
        let records = vec![Record::Settled { run_id: "gone".into(), how: Settlement::Told }];
        assert!(replay(records).is_empty());
    }

    #[test]
    fn a_key_may_be_used_again_once_its_message_is_over_and_forgotten() {
        let reused = Record::Accepted {
            run_id: "a".into(),
            session_key: "s".into(),
            text: "new".into(),
            at: 1,
            route: Route::Webchat,
        };
        let settled = Record::Settled { run_id: "a".into(), how: Settlement::Answered };
        let entries = replay(vec![accepted("a"), settled, reused]);
        assert_eq!((entries["a"].stage, entries["a"].text.as_deref()), (Stage::Accepted, Some("new")));
        let entries =
            replay(vec![accepted("a"), Record::Started { run_id: "a".into(), generation: 1 }, accepted("a")]);
        assert_eq!(entries["a"].stage, Stage::Started);
    }

    #[test]
    fn a_digest_says_what_the_whole_journal_said() {
        let whole = replay(vec![
            accepted("told"),
            accepted("open"),
            Record::Settled { run_id: "told".into(), how: Settlement::Told },
            accepted("started"),
            Record::Started { run_id: "started".into(), generation: 1 },
        ]);
        let lines = in_order(&whole).into_iter().flat_map(digest);
        let records = lines.map(|line| serde_json::from_slice(&line).expect("is a record")).collect();
        let again = replay(records);
        assert_eq!(again.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        for (run_id, entry) in &whole {
            assert_eq!(again[run_id].stage, entry.stage, "{run_id}");
            assert_eq!(again[run_id].fingerprint, entry.fingerprint, "{run_id}");
        }
        assert_eq!((again["open"].text.as_deref(), &again["told"].text), (Some("hi"), &None));
    }

    #[test]
    fn old_and_too_many_tombstones_are_forgotten_and_open_messages_never() {
        let mut records = vec![accepted("open")];
        for number in 0..=MAX_TOMBSTONES {
            records.push(Record::Tombstone {
                run_id: format!("t{number}"),
                session_key: "s".into(),
                fingerprint: 0,
                likeness: None,
                at: number as u64,
                how: Settlement::Answered,
            });
        }
        let mut entries = replay(records);
        forget_old(&mut entries, WallTime::from_epoch_ms(0));
        assert_eq!(entries.len(), MAX_TOMBSTONES + 1);
        assert!(entries.contains_key("open") && !entries.contains_key("t0"));
        let newest = MAX_TOMBSTONES as u64;
        forget_old(&mut entries, WallTime::from_epoch_ms(newest + TOMBSTONE_AGE.as_millis() as u64));
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["open"]);
    }

    #[test]
    fn the_journal_reads_as_documented() {
        let line = String::from_utf8(json_line(&accepted("a"))).expect("is UTF-8");
        assert_eq!(
            line,
            "{\"type\":\"accepted\",\"runId\":\"a\",\"sessionKey\":\"s\",\"text\":\"hi\",\"at\":0}\n"
        );
    }
}
