//! Who is affected by an end or a beginning: which runs it touched and what became of each, conversation by
//! conversation.
//!
//! Notes are taken where a run is resumed or its sender told; what is still open when the list is made speaks for
//! itself. Who reads the list is not known here.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::agents::subagents;
use crate::cron;
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Stage};

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Became {
    /// It was interrupted and its sender was told, durably.
    Told,
    /// It was accepted by an earlier life and runs now.
    Resumed,
    /// It was interrupted, and that is not settled yet: the next life will tell.
    Interrupted,
    /// It had not begun. It is kept, and the next life runs it.
    Kept,
}

/// The notes of one generation.
#[derive(Default)]
pub(crate) struct Affected(RefCell<Vec<Noted>>);

struct Noted {
    run_id: String,
    session_key: String,
    channel: Option<&'static str>,
    became: Became,
}

impl Noted {
    fn new(message: &Accepted, became: Became) -> Self {
        let (run_id, session_key) = (message.run_id.clone(), message.session_key.clone());
        Self { run_id, session_key, channel: channel_of(message), became }
    }
}

/// A conversation that is affected.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    session_key: String,
    /// Where its sender is; `null`: nowhere, it is a scheduled run's or a subagent's.
    channel: Option<&'static str>,
    runs: Vec<Run>,
}

/// A run that is affected.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    run_id: String,
    became: Became,
}

impl Affected {
    /// Notes what became of a message's run.
    pub(crate) fn note(&self, message: &Accepted, became: Became) {
        self.0.borrow_mut().push(Noted::new(message, became));
    }

    /// Forgets what was noted.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// The list as of now, and an empty sheet for the time that comes.
    pub(super) fn take(&self, gateway: &Gateway) -> Vec<Session> {
        let open = gateway.inbox.open_messages().into_iter().map(|(message, stage)| {
            let became = match stage {
                Stage::Started => Became::Interrupted,
                Stage::Accepted | Stage::Settled(_) => Became::Kept,
            };
            Noted::new(&message, became)
        });
        by_session(settled(self.0.take(), open))
    }
}

/// Each run once, in the order of the notes: what was noted of it last, unless it is still `open`. Who was resumed is open,
/// and may have begun meanwhile.
fn settled(notes: Vec<Noted>, open: impl Iterator<Item = Noted>) -> Vec<Noted> {
    let mut runs: Vec<Noted> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for noted in notes.into_iter().chain(open) {
        match places.get(&noted.run_id) {
            Some(&place) if runs[place].became == Became::Resumed => {}
            Some(&place) => runs[place].became = noted.became,
            None => {
                places.insert(noted.run_id.clone(), runs.len());
                runs.push(noted);
            }
        }
    }
    runs
}

/// In the order in which the conversations were first noted.
fn by_session(runs: Vec<Noted>) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for Noted { run_id, session_key, channel, became } in runs {
        let place = *places.entry(session_key.clone()).or_insert(sessions.len());
        if place == sessions.len() {
            sessions.push(Session { session_key, channel, runs: Vec::new() });
        }
        sessions[place].runs.push(Run { run_id, became });
    }
    sessions
}

/// Where the sender of a message is, as that was captured with the message.
fn channel_of(message: &Accepted) -> Option<&'static str> {
    let has_none = cron::is_run(&message.run_id) || subagents::is_work(&message.run_id);
    (!has_none).then(|| message.route.channel())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Route;

    fn noted(run_id: &str, session_key: &str, became: Became) -> Noted {
        Noted { run_id: run_id.into(), session_key: session_key.into(), channel: None, became }
    }

    #[test]
    fn the_channel_is_the_one_that_the_message_came_by() {
        let check = |run_id: &str, route: Route, expected| {
            let (run_id, session_key) = (run_id.to_string(), "s".to_string());
            let message = Accepted { run_id, session_key, text: "hi".into(), route };
            assert_eq!(channel_of(&message), expected, "{message:?}");
        };
        check("a", Route::Webchat, Some("webchat"));
        check("a", Route::of_session("feishu:ops:oc_1"), Some("feishu"));
        check("subagent:a:announce", Route::of_session("telegram:main:5"), Some("telegram"));
        check("subagent:a:1", Route::Webchat, None);
        check("cron:daily:7:1", Route::Webchat, None);
    }

    #[test]
    fn each_run_stands_there_once_as_what_it_is_now() {
        use Became::{Interrupted, Kept, Resumed, Told};
        let notes = vec![noted("a", "s", Told), noted("b", "t", Resumed), noted("c", "s", Told)];
        let open = [noted("b", "t", Interrupted), noted("c", "s", Interrupted), noted("d", "u", Kept)];
        let sessions = by_session(settled(notes, open.into_iter()));
        let listed = sessions.iter().map(|session| {
            let runs: Vec<_> = session.runs.iter().map(|run| (run.run_id.as_str(), run.became)).collect();
            (session.session_key.as_str(), runs)
        });
        assert_eq!(
            listed.collect::<Vec<_>>(),
            [
                ("s", vec![("a", Told), ("c", Interrupted)]),
                ("t", vec![("b", Resumed)]),
                ("u", vec![("d", Kept)]),
            ]
        );
    }
}
