//! The names of events that a step can wait for with `on`, with one line of meaning each.
//!
//! The list serves hints and the published schema. It is not a fence: the gateway may log names that are not
//! here, and an anchor that never fires makes a run inconclusive by itself. Only a name that looks like a slip
//! of the pen for a known one is refused.

use super::error::nearest_within;

/// Every event that the world records, then what the gateway logs about itself.
pub const EVENTS: &[(&str, &str)] = &[
    ("sender.connected", "a sender opened its connection and finished the handshake"),
    ("sender.disconnected", "a sender's connection ended"),
    ("sender.stopped-listening", "a sender will not look at what the gateway sends any more"),
    ("sender.connect-failed", "a sender could not connect"),
    ("message.sent", "a message was handed over"),
    ("message.accepted", "the gateway acknowledged a message"),
    ("message.refused", "the sender knows at once that its message was not accepted"),
    ("message.unacknowledged", "the connection broke between sending and acknowledgement"),
    ("message.cancelled", "the sender stopped its message and the gateway confirmed"),
    ("reply.received", "a reply reached its sender"),
    ("notice.received", "an error or a notice reached a sender"),
    ("provider.requested", "the model provider received a request"),
    ("provider.answered", "the model provider finished its answer"),
    ("provider.stopped", "the model provider did not finish its answer"),
    ("process.started", "a process started"),
    ("process.exited", "a process ended, however it died"),
    ("process.frozen", "a process is no longer scheduled"),
    ("process.thawed", "a frozen process runs again"),
    ("signal.delivered", "a signal was sent to a process"),
    ("port.bound", "a process listens on a port"),
    ("port.released", "a process does not listen on a port any more"),
    ("port.refused", "a process could not listen: the address is in use"),
    ("service.starting", "the supervisor starts the service"),
    ("service.stopping", "the supervisor was asked to stop the service"),
    ("service.stop-timed-out", "the stop timeout passed; SIGKILL follows"),
    ("service.inactive", "the service is down and stays down"),
    ("service.restart-scheduled", "the service ended and will be started again"),
    ("service.start-limit-hit", "the supervisor gave up after too many starts"),
    ("power.lost", "the machine lost power"),
    ("power.restored", "the machine is up again"),
    ("link.partitioned", "packets between two machines stop"),
    ("link.healed", "the link between two machines works again"),
    ("disk.read", "a file was read"),
    ("disk.write", "a file was written"),
    ("disk.append", "a file was appended to"),
    ("disk.create-new", "a file was created that must not have existed"),
    ("disk.truncate", "a file was truncated"),
    ("disk.rename", "a file was renamed"),
    ("disk.remove", "a file was removed"),
    ("disk.sync-file", "a file's contents were made durable"),
    ("disk.sync-dir", "a folder's names were made durable"),
    ("disk.stat", "a file's size and time were read"),
    ("disk.list", "a folder was listed"),
    ("disk.create-dir", "a folder was created"),
    ("disk.failed", "a disk operation failed"),
    ("state.seen", "an outside observer looked at the state folder"),
    ("ready.seen", "the prober asked /readyz"),
    ("intruder.answered", "an unauthenticated request was answered"),
    ("run.settling", "the storm is over: faults end, links heal"),
    ("run.ended", "the run is over"),
    ("fault.injected", "the world injected a fault"),
    ("gateway.ready", "the gateway says it serves"),
    ("inbox.recorded", "the gateway says a message is durable"),
    ("run.started", "the gateway says it began to work on a message"),
    ("run.finished", "the gateway says it finished working on a message"),
    ("drain.started", "the gateway says it waits for work in flight"),
    ("drain.finished", "the gateway says the wait is over"),
    ("drain.work-left", "the gateway says interrupted work did not stop in time"),
    ("gateway.exiting", "the gateway says it is about to exit"),
    ("gateway.start-failed", "the gateway says why this life could not begin"),
    ("gateway.starting", "the gateway says a life begins"),
    ("lock.taken-over", "the gateway says it removed a stale lock"),
    ("message.cancelled", "the gateway says a sender stopped its message"),
    ("message.left-to-successor", "the gateway says a queued message is left to the next life"),
    ("message.refused", "the gateway says a message could not be stored"),
    ("message.told", "the gateway says a message ends with a notice"),
    ("peer.refused", "the gateway says it refused a client"),
    ("peer.too-slow", "the gateway says it cut off a slow client"),
    ("port.taken", "the gateway says the port is taken and it tries again"),
    ("provider.retrying", "the gateway says it asks the model again"),
    ("recovery.finished", "the gateway says earlier lives are settled"),
    ("recovery.resumed", "the gateway says it resumes a message of an earlier life"),
    ("shutdown.finished", "the gateway says everything is closed"),
    ("shutdown.forced", "the gateway says closing took too long and the exit is forced"),
    ("shutdown.started", "the gateway says it is closing"),
    ("shutdown.step-timed-out", "the gateway says a step of the shutdown took too long"),
    ("signal.during-drain", "the gateway says a second signal came during the drain"),
    ("signal.received", "the gateway says a signal asked it to end"),
    ("state.torn-line-cut", "the gateway says it repaired a torn last line"),
];

/// Whether a step may wait for `name`. The error holds the known name it comes close to, if it does.
pub(super) fn check(name: &str) -> Result<(), Option<&'static str>> {
    if EVENTS.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    let is_word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let is_dotted = name.contains('.') && name.split('.').all(is_word);
    match nearest_within(2, name, EVENTS.iter().map(|(known, _)| *known)) {
        None if is_dotted => Ok(()),
        close => Err(close),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_line() {
        let source = include_str!("../timeline/event.rs");
        let names = source.split_once("pub fn name(").expect("Fact::name").1;
        let names = names.split_once("pub fn ").expect("its end").0;
        let names: Vec<_> =
            names.split("=> \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
        assert!(names.len() > 40, "Fact::name is read wrongly: {names:?}");
        for name in names {
            assert!(EVENTS.iter().any(|(known, _)| *known == name), "{name} is not in EVENTS");
        }
    }

    #[test]
    fn slips_are_refused_and_other_dotted_names_are_not() {
        assert_eq!(check("run.started"), Ok(()));
        assert_eq!(check("run.start"), Err(Some("run.started")));
        assert_eq!(check("reply.recieved"), Err(Some("reply.received")));
        assert_eq!(check("cron.fired"), Ok(()));
        assert_eq!(check("soon"), Err(None));
        assert_eq!(check("cron."), Err(None));
        assert_eq!(check("Cron.Fired"), Err(None));
    }
}
