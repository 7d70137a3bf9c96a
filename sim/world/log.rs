//! The gateway's log records, on their way into the timeline.
//!
//! One subscriber serves every world on every thread: it holds no state and asks which process is running. What
//! no process says, or says after its death, is dropped; so is everything outside the gateway's own modules,
//! and that is decided once per call site.

use std::fmt::{self, Write};
use std::sync::OnceLock;

use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::current::with_current;
use crate::timeline::{Fact, Level, LogRecord};

/// Records start with this target: the gateway's crate.
const GATEWAY: &str = "gateway";

/// Sends this thread's gateway log records to the running processes' timelines until the guard is dropped.
pub(super) fn record_on_this_thread() -> DefaultGuard {
    static DISPATCH: OnceLock<Dispatch> = OnceLock::new();
    dispatcher::set_default(DISPATCH.get_or_init(|| Dispatch::new(TimelineSubscriber)))
}

struct TimelineSubscriber;

impl TimelineSubscriber {
    fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && level_of(metadata).is_some() && metadata.target().starts_with(GATEWAY)
    }
}

impl Subscriber for TimelineSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(level) = level_of(metadata).filter(|_| Self::wants(metadata)) else { return false };
        with_current(|process| {
            process.is_some_and(|process| !process.is_dead() && level <= process.world.settings().log_level)
        })
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let Some(level) = level_of(metadata) else { return };
        let Some(process) = with_current(|process| process.cloned()) else { return };
        let mut fields = Fields(Vec::with_capacity(metadata.fields().len()));
        event.record(&mut fields);
        let record = LogRecord { name: name_of(metadata).to_string(), level, fields: fields.0 };
        process.record(Fact::Log { pid: process.pid, record });
    }

    /// Spans are not part of the timeline.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The name given in the source, or `log` where `tracing` made one up from file and line.
fn name_of(metadata: &Metadata<'static>) -> &'static str {
    let name = metadata.name();
    if name.starts_with("event ") { "log" } else { name }
}

/// The timeline's word for a level; `None` for the one that it does not keep.
fn level_of(metadata: &Metadata<'_>) -> Option<Level> {
    let level = *metadata.level();
    match level {
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warn),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
        tracing::Level::TRACE => None,
    }
}

/// Field names and values as text, in the order of the source.
struct Fields(Vec<(String, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name().to_string(), value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = write!(text, "{value:?}");
        self.0.push((field.name().to_string(), text));
    }
}
