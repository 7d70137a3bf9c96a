//! Recovery: what this life owes to the messages that an earlier one accepted and did not settle.
//!
//! [`verdict`] decides from evidence alone, so that a crash at any point of recovery leads to the same end.
//! A message that had not started is run. One that had started may have acted already: its sender is told. What
//! cannot be read of one conversation keeps nobody else waiting.

use std::rc::Rc;

use tokio::task::yield_now;

use crate::agents::notice::{NoticeCause, TurnError, tell};
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::inbox::{Accepted, Stage};
use crate::messages::stop;
use crate::policy::Recovery;
use crate::sessions::{Outcome, StateError};

/// What becomes of a message from an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: it is settled.
    Leave,
    /// The transcript shows its end; only the journal does not.
    Settle,
    /// It runs now.
    Resume,
    /// Its sender is told.
    Tell,
}

/// `recorded` is the end of the message that the transcript shows, if any.
fn verdict(policy: Recovery, stage: Stage, recorded: Option<&Outcome>) -> Verdict {
    match (policy, stage, recorded) {
        (Recovery::Skip | Recovery::MainSessionOnly, ..) => Verdict::Leave,
        (Recovery::RerunEverything, ..) => Verdict::Resume,
        (_, Stage::Settled(_), _) => Verdict::Leave,
        (_, _, Some(_)) => Verdict::Settle,
        (_, Stage::Accepted, None) => Verdict::Resume,
        (_, Stage::Started, None) => Verdict::Tell,
    }
}

impl Recovery {
    /// What it means for the messages of one session.
    fn of_session(self, session_key: &str) -> Self {
        match self {
            Self::MainSessionOnly if session_key == "main" => Self::ResumeOrTell,
            policy => policy,
        }
    }
}

/// Settles or resumes every message of earlier lives, in the order of their acceptance.
pub(crate) async fn recover(gateway: &Rc<Gateway>) {
    let policy = gateway.policies.recovery;
    let (mut resumed, mut told) = (0, 0);
    if policy != Recovery::Skip {
        // What was stopped is not resumed, however far the stop came.
        stop::recover(gateway);
    }
    for (message, stage) in gateway.inbox.in_order() {
        let recorded = match recorded(gateway, &message, stage) {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(name: "recovery.no-evidence", run = message.run_id, %error, "cannot tell its end");
                tell(gateway, &message, NoticeCause::Failed(TurnError::State(error)), 0).await;
                told += 1;
                yield_now().await;
                continue;
            }
        };
        match verdict(policy.of_session(&message.session_key), stage, recorded.as_ref()) {
            Verdict::Leave => {}
            Verdict::Settle => {
                let outcome = recorded.expect("the transcript shows its end");
                if let Err(error) = gateway.conclude(&message, &outcome) {
                    tracing::error!(name: "recovery.not-concluded", run = message.run_id, %error, "trying again");
                    tell(gateway, &message, NoticeCause::Interrupted, 0).await;
                }
            }
            Verdict::Resume => {
                tracing::warn!(name: "recovery.resumed", run = message.run_id, "accepted by an earlier life");
                gateway.hooks.affected.note(&message, Became::Resumed);
                gateway.inbox.reopen(&message.run_id);
                gateway.enqueue(&message);
                resumed += 1;
            }
            Verdict::Tell => {
                gateway.hooks.last_life_crashed();
                tell(gateway, &message, NoticeCause::Interrupted, 0).await;
                told += 1;
            }
        }
        // A disk is waited for without letting go: only between two messages can a signal be heard.
        yield_now().await;
    }
    gateway.inbox.forget_settled_texts();
    tracing::info!(name: "recovery.finished", resumed, told, "earlier lives are settled");
}

/// What the transcript says about a message that the journal does not know the end of.
fn recorded(gateway: &Gateway, message: &Accepted, stage: Stage) -> Result<Option<Outcome>, StateError> {
    if matches!(stage, Stage::Settled(_)) {
        return Ok(None);
    }
    let Some(transcript) = gateway.sessions.find_transcript(&message.session_key)? else { return Ok(None) };
    transcript.outcome(&message.run_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::inbox::Settlement;

    fn check(policy: Recovery, stage: Stage, recorded: Option<&Outcome>, expected: Verdict) {
        assert_eq!(verdict(policy, stage, recorded), expected);
    }

    #[test]
    fn the_evidence_decides_once() {
        use Recovery::ResumeOrTell;
        let (reply, notice) = (Outcome::Reply("r".into()), Outcome::Notice("n".into()));
        check(ResumeOrTell, Stage::Settled(Settlement::Answered), None, Verdict::Leave);
        check(ResumeOrTell, Stage::Accepted, None, Verdict::Resume);
        check(ResumeOrTell, Stage::Accepted, Some(&notice), Verdict::Settle);
        check(ResumeOrTell, Stage::Started, None, Verdict::Tell);
        check(ResumeOrTell, Stage::Started, Some(&reply), Verdict::Settle);
        check(ResumeOrTell, Stage::Started, Some(&notice), Verdict::Settle);
    }

    #[test]
    fn history_looked_at_nothing() {
        check(Recovery::Skip, Stage::Started, None, Verdict::Leave);
        let of_main = |session| Recovery::MainSessionOnly.of_session(session);
        check(of_main("main"), Stage::Started, None, Verdict::Tell);
        check(of_main("a-thread"), Stage::Started, None, Verdict::Leave);
    }
}
