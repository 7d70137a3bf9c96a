//! The daemon's log: one line per event on standard error.
//!
//! The gateway gives its events names (`run.started`) and few of them a message, so both formats lead with the
//! name. `RUST_LOG` filters as usual; without it everything from `info` up is shown.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};

use gateway::env::Clock;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::OsClock;
use crate::stderr;

const DEFAULT_FILTER: &str = "info";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: time, level, event name, fields; coloured on a terminal.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Sends the log of this process to standard error, for good. Does nothing when a log is already installed. A filter
/// that makes no sense is named there and replaced by the default.
pub fn init(format: Format) {
    let wanted = env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.trim().is_empty());
    let filter = wanted.map(EnvFilter::try_new).transpose().unwrap_or_else(|error| {
        stderr::say(&format!("gateway: {}: {error}; {DEFAULT_FILTER:?} it is", EnvFilter::DEFAULT_ENV));
        None
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER)))
        .with_writer(move || Line(format))
        // Would report a closed standard error on standard error, by a panic.
        .log_internal_errors(false);
    let _ = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).event_format(Text).try_init(),
        Format::Json => builder.with_ansi(false).event_format(Json).try_init(),
    };
}

/// Where one line goes. The subscriber writes each at once.
struct Line(Format);

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::write(line, |lost| lines_lost(self.0, lost))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line in place of those that nobody took.
fn lines_lost(format: Format, lost: u64) -> String {
    let time = OsClock.wall();
    match format {
        Format::Text => format!("{time}  WARN log.lines-lost lines={lost}\n"),
        Format::Json => {
            let fields = json!({"lines": lost});
            let line = json!({"time": time.to_string(), "level": "WARN", "event": "log.lines-lost", "fields": fields});
            format!("{line}\n")
        }
    }
}

/// The name the source gave the event, or where it stands when it gave none.
fn event_name(metadata: &'static Metadata<'static>) -> &'static str {
    let name = metadata.name();
    if name.starts_with("event ") { metadata.target() } else { name }
}

struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let (colour, dim, plain) =
            if writer.has_ansi_escapes() { (colour(level), "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        write!(writer, "{dim}{}{plain} {colour}{level:>5}{plain} ", OsClock.wall())?;
        for span in spans(context) {
            write!(writer, "{dim}{span}:{plain} ")?;
        }
        write!(writer, "{}", event_name(event.metadata()))?;
        if event.fields().next().is_some() {
            write!(writer, " ")?;
            context.format_fields(writer.by_ref(), event)?;
        }
        writeln!(writer)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = JsonFields::default();
        event.record(&mut fields);
        let mut line = json!({
            "time": OsClock.wall().to_string(),
            "level": event.metadata().level().as_str(),
            "event": event_name(event.metadata()),
            "fields": fields.0,
        });
        let spans = spans(context);
        if !spans.is_empty() {
            line["spans"] = spans.into();
        }
        writeln!(writer, "{line}")
    }
}

/// The spans around the event, outermost first, as `name{fields}`.
fn spans<S, N>(context: &FmtContext<'_, S, N>) -> Vec<String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let around = context.event_scope().into_iter().flat_map(|scope| scope.from_root());
    around
        .map(|span| match span.extensions().get::<FormattedFields<N>>() {
            Some(fields) if !fields.is_empty() => format!("{}{{{fields}}}", span.name()),
            _ => span.name().to_string(),
        })
        .collect()
}

/// Collects an event's fields with their types.
#[derive(Default)]
struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_string(), value.into());
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("logs are UTF-8")
        }
    }

    fn log_something() {
        tracing::info_span!("life", pid = 7).in_scope(|| {
            tracing::info!(name: "run.started", run = %"r1", attempt = 2_u64);
            tracing::warn!("unnamed");
        });
    }

    #[test]
    fn text_leads_with_the_event_name_and_shows_its_fields() {
        let written = Written::default();
        let sink = written.clone();
        let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone());
        tracing::subscriber::with_default(builder.event_format(Text).finish(), log_something);
        let text = written.text();
        let lines: Vec<_> =
            text.lines().map(|line| line.split_once("Z ").expect("begins with the time").1).collect();
        assert_eq!(
            lines,
            [
                " INFO life{pid=7}: run.started run=r1 attempt=2",
                " WARN life{pid=7}: gateway_os::logs::tests unnamed"
            ]
        );
    }

    #[test]
    fn json_keeps_the_types_of_fields() {
        let written = Written::default();
        let sink = written.clone();
        let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone());
        tracing::subscriber::with_default(builder.event_format(Json).finish(), log_something);
        let text = written.text();
        let first: Value = serde_json::from_str(text.lines().next().expect("two lines")).expect("is JSON");
        assert_eq!(first["event"], "run.started");
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["fields"], json!({"run": "r1", "attempt": 2}));
        assert_eq!(first["spans"], json!(["life{pid=7}"]));
    }
}
