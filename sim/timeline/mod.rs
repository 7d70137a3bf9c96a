//! The one event stream of a run.
//!
//! Everything that happens in a world, or that an outside observer can see of it, is one [`Event`]. The message
//! ledger and every oracle are folds over this stream and see nothing else. The stream feeds a running hash:
//! two runs are the same run exactly when their hashes agree.

mod event;
mod injection;
mod ledger;
mod names;
mod platforms;
mod recorder;
mod restarts;
mod sends;
mod shutdowns;
mod sighting;
mod stopping;
#[cfg(test)]
pub(crate) mod story;
mod subagents;
pub(crate) mod words;

pub(crate) use event::STORE_FILE;
pub use event::{
    CronRecord, DeathCause, Event, EventName, Fact, LEFT_FOR_GOOD, Level, LogRecord, MessageId,
    OperatorOrder, Sighting, Source, StateSeen, Via,
};
pub use injection::Injection;
pub use ledger::{Attempt, AttemptOutcome, Entry, Fate, GATEWAY_PROGRAM, Ledger, TOOL_PROGRAM};
pub use platforms::Platform;
pub use recorder::{EventHash, Recorder};
pub(crate) use restarts::is_about_a_restart;
pub use restarts::{RestartEnding, RestartMode};
pub(crate) use sends::is_repeated_by;
pub use sends::{Delays, Sends};
pub use shutdowns::{Shutdown, Wait, shutdowns};
pub(crate) use subagents::{ANNOUNCEMENT_PREFIX, Errand, SUBAGENT_RUN, heard};
pub use subagents::{SubagentId, SubagentRow, SubagentSeen};
