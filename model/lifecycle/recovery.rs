//! Recovery: what this life owes to the messages that an earlier one accepted and did not settle.
//!
//! [`verdict`] decides from evidence alone, so that a crash at any point of recovery leads to the same end.
//! A message that had not started is run. One that had started may have acted already: its sender is told.

use std::rc::Rc;

use crate::agents::run::{NoticeCause, tell};
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::policy::Recovery;
use crate::sessions::{Role, StateError, Transcript};

/// What becomes of a message from an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: it is settled.
    Leave,
    /// The transcript shows its end; only the journal does not.
    Settle(Settlement),
    /// It runs now.
    Resume,
    /// Its sender is told.
    Tell,
}

/// What the transcript says about a message.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    has_reply: bool,
    has_notice: bool,
}

fn verdict(policy: Recovery, stage: Stage, evidence: Evidence) -> Verdict {
    match (policy, stage) {
        (Recovery::Skip, _) => Verdict::Leave,
        (Recovery::RerunEverything, _) => Verdict::Resume,
        (_, Stage::Settled(_)) => Verdict::Leave,
        _ if evidence.has_reply => Verdict::Settle(Settlement::Answered),
        _ if evidence.has_notice => Verdict::Settle(Settlement::Told),
        (_, Stage::Accepted) => Verdict::Resume,
        (_, Stage::Started) => Verdict::Tell,
    }
}

/// Settles or resumes every message of earlier lives, in the order of their acceptance.
pub(crate) async fn recover(gateway: &Rc<Gateway>) -> Result<(), StateError> {
    let (mut resumed, mut told) = (0, 0);
    for (message, stage) in gateway.inbox.in_order() {
        let evidence = evidence(gateway, &message, stage)?;
        match verdict(gateway.policies.recovery, stage, evidence) {
            Verdict::Leave => {}
            Verdict::Settle(how) => gateway.inbox.settle(&message.run_id, how)?,
            Verdict::Resume => {
                tracing::warn!(name: "recovery.resumed", run = message.run_id, "accepted by an earlier life");
                gateway.inbox.reopen(&message.run_id);
                gateway.enqueue(&message);
                resumed += 1;
            }
            Verdict::Tell => {
                tell(gateway, &message, NoticeCause::Interrupted).await;
                told += 1;
            }
        }
    }
    tracing::info!(name: "recovery.finished", resumed, told, "earlier lives are settled");
    Ok(())
}

fn evidence(gateway: &Gateway, message: &Accepted, stage: Stage) -> Result<Evidence, StateError> {
    if stage != Stage::Started {
        return Ok(Evidence::default());
    }
    let Some(path) = gateway.sessions.transcript_path(&message.session_key)? else {
        return Ok(Evidence::default());
    };
    let transcript = Transcript::new(gateway.files.clone(), path);
    Ok(Evidence {
        has_reply: transcript.find(Role::Assistant, &message.run_id)?.is_some(),
        has_notice: transcript.find(Role::Notice, &message.run_id)?.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: Recovery, stage: Stage, has_reply: bool, has_notice: bool, expected: Verdict) {
        assert_eq!(verdict(policy, stage, Evidence { has_reply, has_notice }), expected);
    }

    #[test]
    fn the_evidence_decides_once() {
        use Recovery::ResumeOrTell;
        let settled = Stage::Settled(Settlement::Answered);
        check(ResumeOrTell, settled, true, false, Verdict::Leave);
        check(ResumeOrTell, Stage::Accepted, false, false, Verdict::Resume);
        check(ResumeOrTell, Stage::Started, false, false, Verdict::Tell);
        check(ResumeOrTell, Stage::Started, true, false, Verdict::Settle(Settlement::Answered));
        check(ResumeOrTell, Stage::Started, false, true, Verdict::Settle(Settlement::Told));
    }

    #[test]
    fn history_looked_at_nothing() {
        check(Recovery::Skip, Stage::Started, false, false, Verdict::Leave);
    }
}
