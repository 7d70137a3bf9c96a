//! The names of events that a step can wait for with `on`, with one line of meaning each.
//!
//! The list is complete, which tests see to: every fact and every record in the gateway's source stands here, and
//! nothing else does. So a name that is not here is refused, with what was probably meant.

use super::error::nearest_within;
use super::other_words;

/// Whom events of a name belong to, so that a step can wait for those of one of them with `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// They are a sender's, or about one of its messages.
    Sender,
    /// They are a rude peer's, and can be told apart by its group.
    Peers,
    /// They cannot be told apart.
    Nobody,
}

use About::{Nobody, Peers, Sender};

/// How the meaning of an event begins that is the gateway's own word, a log record, and no observation.
#[cfg(test)]
pub(super) const SAID: &str = "the gateway says ";

/// Every event that the world records, then what the gateway logs about itself.
pub const EVENTS: &[(&str, About, &str)] = &[
    ("sender.connected", Sender, "a sender opened its connection and finished the handshake"),
    ("sender.disconnected", Sender, "a sender's connection ended"),
    ("sender.stopped-listening", Sender, "a sender will not look at what the gateway sends any more"),
    ("sender.joined", Sender, "a sender talks in the conversation of another one"),
    ("sender.connect-failed", Sender, "a sender could not connect"),
    ("message.sent", Sender, "a message was handed over"),
    (
        "message.accepted",
        Sender,
        "the gateway acknowledged a message; on a platform: confirmed it, so that the platform forgets it",
    ),
    (
        "message.over",
        Sender,
        "the gateway answered a message that was handed over once more: it knows it, and it is over",
    ),
    (
        "message.refused",
        Sender,
        "the sender knows at once that its message was not accepted; also logged when storing failed",
    ),
    ("message.unacknowledged", Sender, "the connection broke between sending and acknowledgement"),
    ("message.stop-requested", Sender, "a sender asked the gateway to stop a message"),
    (
        "message.cancelled",
        Sender,
        "the sender stopped its message; once when the gateway logs it, once when the sender knows",
    ),
    (
        "conversation.stop-requested",
        Sender,
        "a sender asked for all to be stopped in a conversation that several share",
    ),
    ("reply.received", Sender, "a reply reached its sender, or its platform"),
    ("notice.received", Sender, "an error or a notice reached a sender, or its platform"),
    ("bot.connected", Nobody, "a bot opened a connection on which its platform hands out messages"),
    ("bot.disconnected", Nobody, "such a connection ended, as the platform sees it"),
    ("bot.conflict", Nobody, "a poll of a bot ended another one's"),
    ("update.handed-out", Sender, "a platform handed a message out to its bot for the first time"),
    ("update.redelivered", Sender, "a platform handed a message out again that its bot had not confirmed"),
    ("send.taken", Nobody, "a platform took what a bot sent"),
    ("send.answered", Nobody, "a bot was answered that its message was taken"),
    ("send.unanswered", Nobody, "a platform took what a bot sent, and the line ended before the answer"),
    ("send.refused", Nobody, "a platform did not take what a bot sent"),
    ("peer.connected", Peers, "a rude peer has come as far as its kind goes"),
    ("peer.turned-away", Peers, "a rude peer did not come that far: refused, or cut off on the way"),
    ("peer.ended", Peers, "a rude peer's connection ended"),
    (
        "conversation.heard",
        Nobody,
        "who listens beside peers that do not read has been sent another 64 KiB of a conversation",
    ),
    ("provider.requested", Sender, "the model provider received a request"),
    ("provider.answered", Sender, "the model provider finished its answer"),
    ("provider.stopped", Sender, "the model provider did not finish its answer"),
    ("program.told", Nobody, "the model provider was told what came of a program that it had wanted run"),
    ("cron.requested", Nobody, "the model provider received the request of a scheduled run"),
    ("cron.answered", Nobody, "the model provider finished its answer to a scheduled run"),
    ("cron.stopped", Nobody, "the model provider did not finish its answer to a scheduled run"),
    (
        "provider.wanted-tools",
        Sender,
        "the model provider's answer to a message is that it wants tools to be used first",
    ),
    ("subagent.wanted", Nobody, "the model provider asks for a subagent"),
    ("subagent.begun", Nobody, "the model provider is told that a subagent is at work"),
    ("subagent.refused", Nobody, "the model provider is told that there will be no subagent"),
    ("subagent.requested", Nobody, "the model provider received the task of a subagent"),
    ("subagent.answered", Nobody, "the model provider finished the task of a subagent"),
    ("subagent.stopped", Nobody, "the model provider did not finish the task of a subagent"),
    ("announcement.requested", Nobody, "the model provider received what came of a subagent"),
    ("announcement.answered", Nobody, "the model provider finished what the sender is told of a subagent"),
    (
        "announcement.stopped",
        Nobody,
        "the model provider did not finish what the sender is told of a subagent",
    ),
    ("subagent.heard", Sender, "a sender heard what came of a subagent"),
    (
        "subagents.stop-requested",
        Sender,
        "a sender that may have subagents asked for everything to be stopped",
    ),
    ("subagents.cancelled", Sender, "a sender learned that the gateway stopped its subagents"),
    ("tool.finished", Nobody, "a command-line tool ended"),
    ("restart.asked", Nobody, "the operator asks the gateway to restart"),
    ("restart.asked-from", Nobody, "that request is made from a conversation"),
    ("restart.answered", Nobody, "the command line that asked for a restart ended"),
    ("restart.reported", Nobody, "the operator learned what came of a request for a restart"),
    ("config.edited", Nobody, "somebody edited the configuration file"),
    ("process.started", Nobody, "a process started"),
    ("process.exited", Nobody, "a process ended, however it died"),
    (
        "command.began",
        Nobody,
        "a program that the gateway runs, as a hook, has been given what it is to read",
    ),
    ("process.frozen", Nobody, "a process is no longer scheduled"),
    ("process.thawed", Nobody, "a frozen process runs again"),
    ("signal.delivered", Nobody, "a signal was sent to a process"),
    ("process.struck", Nobody, "a process sends another one a signal that ends it"),
    ("port.bound", Nobody, "a process listens on a port"),
    ("port.released", Nobody, "a process does not listen on a port any more"),
    ("port.refused", Nobody, "a process could not listen: the address is in use"),
    (
        "service.ordered",
        Nobody,
        "the operator asks for a start, a stop or a restart, or starts another gateway by hand",
    ),
    ("service.starting", Nobody, "the supervisor starts the service"),
    ("service.stopping", Nobody, "the supervisor was asked to stop the service"),
    ("service.stop-timed-out", Nobody, "the stop timeout passed; SIGKILL follows"),
    ("service.inactive", Nobody, "the service is down and stays down"),
    ("service.restart-scheduled", Nobody, "the service ended and will be started again"),
    ("service.start-limit-hit", Nobody, "the supervisor gave up after too many starts"),
    ("service.order-refused", Nobody, "the supervisor was asked for something and does not do it"),
    ("power.lost", Nobody, "the machine lost power"),
    ("power.restored", Nobody, "the machine is up again"),
    ("link.partitioned", Nobody, "packets between two machines stop"),
    ("link.healed", Nobody, "the link between two machines works again"),
    ("clock.jumped", Nobody, "the machine's wall clock was set forward or back"),
    ("disk.read", Nobody, "a file was read"),
    ("disk.write", Nobody, "a file was written"),
    ("disk.append", Nobody, "a file was appended to"),
    ("disk.create-new", Nobody, "a file was created that must not have existed"),
    ("disk.truncate", Nobody, "a file was truncated"),
    ("disk.rename", Nobody, "a file was renamed"),
    ("disk.remove", Nobody, "a file was removed"),
    ("disk.sync-file", Nobody, "a file's contents were made durable"),
    ("disk.sync-dir", Nobody, "a folder's names were made durable"),
    ("disk.stat", Nobody, "a file's size and time were read"),
    ("disk.list", Nobody, "a folder was listed"),
    ("disk.create-dir", Nobody, "a folder was created"),
    ("disk.lock", Nobody, "the kernel's lock on a file was taken"),
    ("disk.failed", Nobody, "a disk operation failed"),
    ("state.seen", Nobody, "an outside observer looked at the state folder"),
    ("ready.seen", Nobody, "the prober asked /readyz"),
    ("intruder.answered", Nobody, "an unauthenticated request was answered"),
    ("run.settling", Nobody, "the storm is over: faults end, links heal; no step can wait for it"),
    ("run.ended", Nobody, "the run is over; no step can wait for it"),
    ("fault.injected", Nobody, "the world injected a fault"),
    ("run.remarked", Nobody, "something worth a remark happened that has no event of its own"),
    ("cron.started", Nobody, "the gateway says a scheduled run begins"),
    ("cron.finished", Nobody, "the gateway says a scheduled run is done"),
    ("cron.not-done", Nobody, "the gateway says a scheduled run is not done, and why"),
    ("cron.skipped", Nobody, "the gateway says scheduled times pass without a run"),
    ("cron.interrupted", Nobody, "the gateway says a scheduled run was interrupted and will be tried again"),
    ("channel.connected", Nobody, "the gateway says a platform answers"),
    (
        "channel.trouble",
        Nobody,
        "the gateway says a platform does not answer as it should, and that it tries again",
    ),
    ("exec.cut-off", Nobody, "the gateway says a program died because its service is being ended"),
    ("feishu.bad-frame", Nobody, "the gateway says it passed over a frame of Feishu's"),
    ("feishu.event-skipped", Nobody, "the gateway says an event of Feishu's is no message"),
    ("feishu.id-not-recorded", Nobody, "the gateway says it remembers an id in memory only, as history did"),
    ("message.stop-not-durable", Nobody, "the gateway says the end of a stop could not be stored"),
    ("message.unfit", Nobody, "the gateway says it cannot use a message, and that its sender is told"),
    ("telegram.offset-ignored", Nobody, "the gateway says it does not use the offset that it finds"),
    ("telegram.update-skipped", Nobody, "the gateway says an update of Telegram's is no message"),
    ("delivery.delayed", Nobody, "the gateway says a platform did not take a text, and that it tries again"),
    ("delivery.failed", Nobody, "the gateway says a text will never be sent, and why"),
    (
        "delivery.failure-not-noted",
        Nobody,
        "the gateway says a conversation does not show that a text was never sent",
    ),
    ("delivery.lost", Nobody, "the gateway says a text that was sent unrecorded is lost, as in history"),
    (
        "delivery.unprotected",
        Nobody,
        "the gateway says it sends a text that it could not record, as in history",
    ),
    ("delivery.no-account", Nobody, "the gateway says it owes a text to an account that it no longer has"),
    ("delivery.not-recorded", Nobody, "the gateway says the disk refused a step of a delivery"),
    ("delivery.sent", Nobody, "the gateway says a platform has a text"),
    ("delivery.unknown", Nobody, "the gateway says it cannot tell whether a platform took a text"),
    ("drain.channels-busy", Nobody, "the gateway says a platform's connection does not come to rest"),
    ("drain.texts-left", Nobody, "the gateway says platforms have not taken everything that is owed"),
    ("hook.started", Nobody, "the gateway says a hook is run"),
    ("hook.finished", Nobody, "the gateway says a hook is done"),
    ("hook.failed", Nobody, "the gateway says a hook failed, or cannot be run"),
    ("hook.timed-out", Nobody, "the gateway says a hook took too long and is killed"),
    ("hook.cut-off", Nobody, "the gateway says a hook is killed since its gateway ends"),
    ("drain.finished", Nobody, "the gateway says the wait is over"),
    ("drain.started", Nobody, "the gateway says it waits for work in flight"),
    ("drain.work-left", Nobody, "the gateway says interrupted work did not stop in time"),
    ("restart.tasks-not-read", Nobody, "the gateway says it cannot read the records of background tasks"),
    ("gateway.exiting", Nobody, "the gateway says it is about to exit"),
    ("gateway.ready", Nobody, "the gateway says it serves"),
    ("gateway.start-delayed", Nobody, "the gateway says it could not begin yet and tries again"),
    ("gateway.start-failed", Nobody, "the gateway says why this life could not begin"),
    ("gateway.starting", Nobody, "the gateway says a life begins"),
    ("generation.over", Nobody, "the gateway says another generation follows in the same process"),
    ("hand-off.failed", Nobody, "a start script says that the gateway may have no successor"),
    ("hand-off.without-manager", Nobody, "a start script says that it starts the gateway itself"),
    ("inbox.recorded", Sender, "the gateway says a message is durable"),
    ("lock.held-too-long", Nobody, "the gateway says its watchdog released a lock that it held itself"),
    ("lock.lost", Nobody, "the gateway says a lock was not its own any more"),
    ("lock.release-failed", Nobody, "the gateway says it had to leave a lock behind"),
    ("lock.taken-over", Nobody, "the gateway says it removed a stale lock"),
    (
        "message.known",
        Nobody,
        "the gateway says a message arrived before, whatever became of it, as in history",
    ),
    ("message.forgotten", Sender, "the gateway says it drops a message without a word, as history did"),
    ("message.left-to-successor", Sender, "the gateway says an unsettled message is left to the next life"),
    ("message.notice-not-durable", Nobody, "the gateway says a notice could not be stored"),
    ("message.told", Sender, "the gateway says a message ends with a notice"),
    ("message.wait-not-durable", Nobody, "the gateway says a sender does not hear that its message waits"),
    ("outbox.not-compacted", Nobody, "the gateway says the journal of texts stays as long as it is"),
    ("outbox.queued", Nobody, "the gateway says a text is owed to somebody on a platform"),
    (
        "recovery.not-resumed",
        Nobody,
        "the gateway says it could not take up a flagged session, as in history",
    ),
    ("recovery.session-flagged", Sender, "the gateway says it marks a session as interrupted, as in history"),
    ("recovery.not-concluded", Nobody, "the gateway says a found end could not be recorded"),
    ("peer.bad-frame", Nobody, "the gateway says it refused a frame"),
    ("peer.refused", Nobody, "the gateway says it refused a client"),
    ("peer.too-slow", Nobody, "the gateway says it closes a slow client"),
    ("peer.one-too-many", Nobody, "the gateway says it has too many connections for one more"),
    ("peer.upgrade-failed", Nobody, "the gateway says a connection broke during the upgrade"),
    ("port.accept-failed", Nobody, "the gateway says it could not accept a connection"),
    ("port.taken", Nobody, "the gateway says the port is taken and it tries again"),
    ("provider.retrying", Nobody, "the gateway says it asks the model again"),
    ("recovery.finished", Nobody, "the gateway says earlier lives are settled"),
    ("recovery.stopped", Nobody, "the gateway says it carries out a stop that an earlier life was asked for"),
    (
        "recovery.session-interrupted",
        Nobody,
        "the gateway says the session store calls a conversation running at which nobody works",
    ),
    ("recovery.status-not-written", Nobody, "the gateway says it could not put a status in the store right"),
    ("run.not-given-back", Nobody, "the gateway says the next life may count a message as tried"),
    ("recovery.resumed", Nobody, "the gateway says it resumes a message of an earlier life"),
    ("respawn.chosen", Nobody, "the gateway says how its successor comes about"),
    ("respawn.failed", Nobody, "the gateway says it could not see to a successor"),
    ("run.finished", Nobody, "the gateway says it finished working on a message"),
    ("run.joined", Sender, "the gateway says a message joins the turn that is at work"),
    ("run.started", Sender, "the gateway says it began to work on a message"),
    ("shutdown.finished", Nobody, "the gateway says everything is closed"),
    ("shutdown.forced", Nobody, "the gateway says it exits at once, and in which step it was"),
    ("shutdown.started", Nobody, "the gateway says it is closing"),
    ("shutdown.step", Nobody, "the gateway says a step of the shutdown is done"),
    ("shutdown.step-timed-out", Nobody, "the gateway says a step of the shutdown took too long"),
    ("shutdown.step-failed", Nobody, "the gateway says a step of the shutdown failed"),
    ("signal.during-close", Nobody, "the gateway says a second signal came when the drain was over"),
    ("signal.during-drain", Nobody, "the gateway says a second signal came during the drain"),
    ("signal.received", Nobody, "the gateway says a signal asked it to end"),
    ("restart.requested", Nobody, "the gateway says somebody asks for a restart"),
    ("restart.deferred", Nobody, "the gateway says a restart waits for work in hand"),
    ("restart.coalesced", Nobody, "the gateway says a request for a restart joins another one"),
    ("restart.refused", Nobody, "the gateway says it will not restart for a request"),
    ("restart.ordered", Nobody, "the gateway says that it restarts now"),
    ("restart.done", Nobody, "the gateway says it is up again for whoever asked for that first"),
    ("restart.timed-out", Nobody, "the gateway says it gave a restart up"),
    ("restart.outcome", Nobody, "the gateway says what came of a request for a restart"),
    (
        "restart.ledger-not-written",
        Nobody,
        "the gateway says it could not write down who asked for a restart",
    ),
    (
        "restart.ledger-not-read",
        Nobody,
        "the gateway says it cannot tell who asked its last life for a restart",
    ),
    ("restart.notice-not-recorded", Nobody, "the gateway says it could not yet tell what came of a request"),
    (
        "restart.notice-lost",
        Nobody,
        "the gateway says it could not tell what came of a request, and forgets it",
    ),
    ("config.changed", Nobody, "the gateway says its configuration file was edited"),
    ("config.invalid", Nobody, "the gateway says nobody could start with its configuration file"),
    ("config.missing", Nobody, "the gateway says its configuration file is gone"),
    ("config.reverted", Nobody, "the gateway says the edit that wanted a restart was taken back"),
    ("signal.recurring", Nobody, "the gateway says a signal comes so often that two may be sending it"),
    (
        "subagent.announcement-lost",
        Nobody,
        "the gateway says nobody hears of a subagent any more, as in history",
    ),
    ("subagent.announced", Sender, "the gateway says the result of a subagent goes to whoever asked for it"),
    ("subagent.cancelled", Nobody, "the gateway says a subagent is stopped by its sender"),
    ("subagent.ended", Nobody, "the gateway says the work of a subagent is over"),
    ("subagent.interrupted", Nobody, "the gateway says a restart cut a subagent short"),
    ("subagent.no-evidence", Nobody, "the gateway says it cannot tell what came of a subagent"),
    ("subagent.not-announced", Nobody, "the gateway says the result of a subagent cannot be announced"),
    ("subagent.not-resumed", Nobody, "the gateway says it could not record that a subagent is resumed"),
    ("subagent.not-swept", Nobody, "the gateway says an old subagent could not be deleted"),
    ("subagent.pruned", Nobody, "the gateway says it deletes the row of a subagent, as history did"),
    ("subagent.record-not-durable", Nobody, "the gateway says its books of subagents could not be stored"),
    ("subagent.resumed", Nobody, "the gateway says another run goes on with a subagent"),
    ("subagent.spawned", Sender, "the gateway says a subagent begins"),
    ("subagent.swept", Nobody, "the gateway says an old subagent is deleted"),
    ("tool.used", Nobody, "the gateway says the model uses a tool"),
    ("state.torn-line-cut", Nobody, "the gateway says it repaired a torn last line"),
    ("cron.clock-went-back", Nobody, "the gateway says its wall clock was set back"),
    ("cron.no-evidence", Nobody, "the gateway says it cannot tell what came of a scheduled run"),
    ("cron.not-compacted", Nobody, "the gateway says its journal of scheduled runs stays as long as it is"),
    ("cron.not-declared", Nobody, "the gateway says a scheduled job could not be recorded"),
    ("cron.record-not-durable", Nobody, "the gateway says the end of a scheduled run could not be stored"),
    ("cron.repair-failed", Nobody, "the gateway says it could not look after its session store"),
    ("cron.start-not-durable", Nobody, "the gateway says the start of a scheduled run could not be stored"),
    ("inbox.not-compacted", Nobody, "the gateway says its journal stays as long as it is"),
    ("inbox.settlements-lost", Nobody, "the gateway says the next life will not know of all ends"),
    ("message.notice-durable", Nobody, "the gateway says a notice could be stored at last"),
    ("message.notice-refused", Nobody, "the gateway says storing a notice failed again"),
    ("message.settlement-not-durable", Nobody, "the gateway says the end of a message could not be stored"),
    ("peer.broken-frame", Nobody, "the gateway says it closed a client for a broken or too large frame"),
    (
        "recovery.no-evidence",
        Nobody,
        "the gateway says it cannot tell how a message of an earlier life ended",
    ),
    ("run.start-not-durable", Nobody, "the gateway says the start of a run could not be stored"),
    ("state.damaged", Nobody, "the gateway says a failed append may have left bytes behind"),
    ("lock.sweep-failed", Nobody, "the gateway says it could not look for locks, or remove one"),
    ("message.waiting", Sender, "the gateway says a message waits for a lock or for the disk, and is kept"),
    ("session.not-touched", Sender, "the gateway says a session is used while its store cannot be changed"),
    ("store.copy-failed", Nobody, "the gateway says the store's last good copy stays as it was"),
    ("store.damaged", Nobody, "the gateway says the session store cannot be read"),
    ("store.kept-aside", Nobody, "the gateway says where it keeps a broken session store"),
    ("store.leftover-removed", Nobody, "the gateway says it removed what an interrupted store change left"),
    ("store.lock-ignored", Nobody, "the gateway says somebody wrote the session store without its lock"),
    ("store.restored", Nobody, "the gateway says the session store is restored"),
    ("predecessor.gone", Nobody, "the gateway says whoever was stuck is gone, and the port is free"),
    ("predecessor.out-of-reach", Nobody, "the gateway says it cannot end whoever is stuck"),
    ("predecessor.remains", Nobody, "the gateway says whoever was stuck is still there, or its port is"),
    ("predecessor.signalled", Nobody, "the gateway says it sends another one a signal that ends it"),
    ("predecessor.spared", Nobody, "the gateway says why it leaves somebody alone who does not answer"),
    ("predecessor.stuck", Nobody, "the gateway says another one neither serves nor leaves"),
    ("start.conflict", Nobody, "the gateway says somebody else is in the way of its start, and what that is"),
    ("start.standing-by", Nobody, "the gateway says it waits for a healthy one to leave"),
    ("start.taking-over", Nobody, "the gateway says the other one does not serve any more"),
    (
        "store.transcript-unlisted",
        Nobody,
        "the gateway says a transcript does not say which session it is of",
    ),
];

/// Whether a step may wait for `name`: some event has it. The error says what was probably meant.
pub(super) fn check(name: &str) -> Result<(), NotAnEvent> {
    let names = || EVENTS.iter().map(|(known, ..)| *known);
    if names().any(|known| known == name) {
        return Ok(());
    }
    if let Some(means) = other_words::for_event(name) {
        return Err(NotAnEvent { close: Some(means), family: Vec::new() });
    }
    let close = nearest_within(2, name, names());
    let first_word = name.split('.').next().unwrap_or_default();
    let is_kin = |known: &&str| known.split('.').next() == Some(first_word);
    Err(NotAnEvent { close, family: names().filter(is_kin).collect() })
}

/// A name that no event has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotAnEvent {
    /// The known name that was probably meant.
    pub(super) close: Option<&'static str>,
    /// Known names that begin with the same word.
    pub(super) family: Vec<&'static str>,
}

/// What the gateway says at the level of debugging only. Runs keep that when a step waits for it.
const QUIET: &[&str] = &[
    "delivery.lost",
    "delivery.unprotected",
    "feishu.event-skipped",
    "message.forgotten",
    "message.known",
    "message.notice-refused",
    "peer.upgrade-failed",
    "recovery.status-not-written",
    "restart.notice-lost",
    "shutdown.step",
    "subagent.announcement-lost",
    "telegram.update-skipped",
];

/// Whether events called `name` are kept only by runs that have a step waiting for one.
pub fn is_quiet(name: &str) -> bool {
    QUIET.contains(&name)
}

/// Whether events called `name` come when no step is done any more.
pub(super) fn is_too_late(name: &str) -> bool {
    matches!(name, "run.settling" | "run.ended")
}

/// Whose events called `name` `of` can count. Names that are not known are log records without a sender.
pub(super) fn about(name: &str) -> About {
    EVENTS.iter().find(|(known, ..)| *known == name).map_or(Nobody, |(_, about, _)| *about)
}

/// Whether `path` can narrow down events called `name`: they are operations of the disk.
pub(super) fn has_path(name: &str) -> bool {
    name.starts_with("disk.")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_fact_has_a_line() {
        let source = include_str!("../timeline/names.rs");
        let names = source.split_once("pub fn name(").expect("Fact::name").1;
        let names = names.split_once("pub fn ").expect("its end").0;
        let names: Vec<_> =
            names.split("=> \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
        assert!(names.len() > 40, "Fact::name is read wrongly: {names:?}");
        for name in names {
            assert!(EVENTS.iter().any(|(known, ..)| *known == name), "{name} is not in EVENTS");
        }
    }

    /// A log record in the gateway's source.
    #[derive(Debug)]
    struct Logged {
        name: String,
        names_session: bool,
        is_quiet: bool,
    }

    /// The log records in the gateway's source.
    fn logged() -> Vec<Logged> {
        let mut found = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("model")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = std::fs::read_to_string(path).expect("text");
                    let mut before = "";
                    for record in source.split("!(") {
                        let is_quiet = before.ends_with("debug") || before.ends_with("trace");
                        before = record;
                        let Some(record) = record.trim_start().strip_prefix("name: \"") else { continue };
                        let (name, rest) = record.split_once('"').expect("its end");
                        let names_session = arguments(rest).contains("session = ");
                        found.push(Logged { name: name.to_string(), names_session, is_quiet });
                    }
                }
            }
        }
        found
    }

    /// `rest` up to the parenthesis that closes the one before it.
    fn arguments(rest: &str) -> &str {
        let mut depth = 1;
        let end = rest.char_indices().find(|(_, letter)| {
            depth += i32::from(*letter == '(') - i32::from(*letter == ')');
            depth == 0
        });
        &rest[..end.expect("the macro's end").0]
    }

    #[test]
    fn every_log_record_has_a_line_that_knows_whether_it_names_a_sender() {
        let logged = logged();
        assert!(logged.len() > 30, "the source is read wrongly: {logged:?}");
        for Logged { name, .. } in &logged {
            assert!(EVENTS.iter().any(|(known, ..)| known == name), "{name} is not in EVENTS");
        }
        for (name, about, _) in EVENTS.iter().filter(|(.., meaning)| meaning.starts_with(SAID)) {
            let mut records = logged.iter().filter(|logged| logged.name == *name).peekable();
            assert!(records.peek().is_some(), "nobody logs {name}");
            assert_eq!(*about == Sender, records.any(|logged| logged.names_session), "{name}");
        }
    }

    #[test]
    fn what_is_logged_quietly_is_known_to_be() {
        let names = |quiet: bool| -> BTreeSet<String> {
            logged().into_iter().filter(|logged| logged.is_quiet == quiet).map(|logged| logged.name).collect()
        };
        let quiet: Vec<_> = names(true).difference(&names(false)).cloned().collect();
        assert_eq!(quiet, QUIET);
    }

    #[test]
    fn no_name_stands_twice() {
        let names: BTreeSet<_> = EVENTS.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), EVENTS.len());
    }

    #[test]
    fn what_no_event_is_called_is_refused_and_says_what_was_meant() {
        let close = |name: &str| check(name).expect_err(name).close;
        assert_eq!(check("run.started"), Ok(()));
        assert_eq!(close("run.start"), Some("run.started"));
        assert_eq!(close("reply.recieved"), Some("reply.received"));
        assert_eq!(close("gateway.started"), Some("gateway.ready"));
        let fired = check("cron.fired").expect_err("no such event");
        assert_eq!(fired.close, None);
        assert!(fired.family.contains(&"cron.requested"), "{fired:?}");
        assert_eq!(check("soon"), Err(NotAnEvent { close: None, family: vec![] }));
    }

    #[test]
    fn what_is_seen_from_outside_is_a_fact_or_said_by_a_start_script() {
        let names = include_str!("../timeline/names.rs");
        let subagents = include_str!("../timeline/subagents.rs");
        for (name, ..) in EVENTS.iter().filter(|(.., meaning)| !meaning.starts_with(SAID)) {
            let quoted = format!("\"{name}\"");
            let is_fact = names.contains(&quoted) || subagents.contains(&quoted);
            assert!(
                is_fact || logged().iter().any(|logged| logged.name == *name),
                "nothing is called {name}"
            );
        }
    }
}
