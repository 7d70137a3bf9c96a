//! The timeline of a run as a fixed-width log, one column per actor.
//!
//! Virtual time runs downwards; what happened in the same millisecond shares a line as long as no column says
//! two things. Columns share the width by need. A gateway's column is taken over by its successor; lives that
//! overlap stand side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::Pid;

use super::disk_words::DiskWords;
use super::phrases::{Place, note, phrase};
use crate::timeline::words::{cut, seconds};
use crate::timeline::{Event, Fact, GATEWAY_PROGRAM};

/// What to show, and in how much space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineOptions {
    /// The width of a line in characters. More columns than fit make lines longer.
    pub width: usize,
    /// Whether to show reads, lookups and listings of the disk.
    pub disk_reads: bool,
    /// Whether to show the gateway's own log records.
    pub logs: bool,
}

impl Default for TimelineOptions {
    fn default() -> Self {
        Self { width: 140, disk_reads: false, logs: true }
    }
}

/// The timeline as text: a head line, then one line per moment, each ended by a newline. No colours.
pub fn render(events: &[Event], options: &TimelineOptions) -> String {
    let mut stage = Stage::new(*options);
    for event in events {
        stage.take(event);
    }
    let Stage { mut entries, titles, overlapping, .. } = stage;
    for entry in &mut entries {
        entry.finish(overlapping);
    }
    let columns = Columns::fit(&entries, &titles, options.width);
    let mut text = columns.line("time", &columns.titles.clone());
    for row in rows(entries) {
        text.push_str(&match row.cells {
            Cells::Note(words) => format!("{:>TIME$}{GAP}{}\n", seconds(row.at), note(&words)),
            Cells::Columns(cells) => columns.line(&seconds(row.at), &cells),
        });
    }
    text
}

/// The width of the first column, and what stands between columns.
const TIME: usize = 9;
const GAP: &str = "  ";
/// A column narrower than this says nothing; one wider than this is hard to follow.
const NARROW: usize = 10;
const WIDE: usize = 46;

/// The columns, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Supervisor,
    /// Processes share a slot when one starts after the other has ended.
    Slot(usize),
    Sender(usize),
    Prober,
    Model,
    Disk,
}

/// Something to show.
struct Entry {
    at: Duration,
    /// `None`: a note across all columns.
    column: Option<Column>,
    words: String,
    disk: Option<DiskWords>,
}

impl Entry {
    /// Puts the disk operations into words. Whose they are matters only while several processes live.
    fn finish(&mut self, overlapping: bool) {
        if let Some(disk) = &self.disk {
            self.words = if overlapping { format!("{}: {}", disk.pid(), disk.words()) } else { disk.words() };
        }
    }
}

/// Puts events in their columns.
struct Stage {
    options: TimelineOptions,
    entries: Vec<Entry>,
    /// The index of the last entry of the disk's column, while more operations may join it.
    open_disk: Option<usize>,
    slots: Vec<Option<Pid>>,
    overlapping: bool,
    slot_of: BTreeMap<Pid, usize>,
    senders: Vec<String>,
    last_probe: Option<String>,
    titles: BTreeMap<Column, String>,
}

impl Stage {
    fn new(options: TimelineOptions) -> Self {
        Self {
            options,
            entries: Vec::new(),
            open_disk: None,
            slots: Vec::new(),
            overlapping: false,
            slot_of: BTreeMap::new(),
            senders: Vec::new(),
            last_probe: None,
            titles: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        if let Fact::ProcessStarted { pid, program, .. } = &event.fact
            && program == GATEWAY_PROGRAM
        {
            self.seat(*pid);
        }
        if matches!(event.fact, Fact::Disk { .. }) {
            self.take_disk(event);
        } else if (self.options.logs || !matches!(event.fact, Fact::Log { .. }))
            && let Some((place, words)) = phrase(event)
        {
            self.show(event.at, &place, words);
        }
        if let Fact::ProcessExited { pid, .. } = &event.fact
            && let Some(slot) = self.slot_of.remove(pid)
        {
            self.slots[slot] = None;
        }
    }

    /// Gives a new gateway process the first free slot.
    fn seat(&mut self, pid: Pid) {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
            self.overlapping = slot > 0;
        }
        self.slots[slot] = Some(pid);
        self.slot_of.insert(pid, slot);
        self.titles
            .entry(Column::Slot(slot))
            .and_modify(|title| title.push_str(&format!(", {pid}")))
            .or_insert_with(|| format!("gateway {pid}"));
    }

    fn show(&mut self, at: Duration, place: &Place, words: String) {
        let column = match place {
            Place::Note => None,
            Place::Supervisor => Some(Column::Supervisor),
            Place::Process(pid) => match self.slot_of.get(pid) {
                Some(slot) => Some(Column::Slot(*slot)),
                // Actors are processes too; their columns tell more than their births.
                None => return,
            },
            Place::Sender(name) => Some(self.sender(name)),
            // A probe is news when its answer changes.
            Place::Prober if self.last_probe.as_deref() == Some(&words) => return,
            Place::Prober => {
                self.last_probe = Some(words.clone());
                Some(Column::Prober)
            }
            Place::Model => Some(Column::Model),
            Place::Disk => {
                self.open_disk = None;
                Some(Column::Disk)
            }
        };
        self.push(at, column, words, None);
    }

    fn sender(&mut self, name: &str) -> Column {
        let index = self.senders.iter().position(|known| known == name).unwrap_or_else(|| {
            self.senders.push(name.to_string());
            self.senders.len() - 1
        });
        Column::Sender(index)
    }

    fn push(&mut self, at: Duration, column: Option<Column>, words: String, disk: Option<DiskWords>) {
        if let Some(column) = column {
            let title = match column {
                Column::Sender(index) => self.senders[index].as_str(),
                Column::Supervisor => "supervisor",
                Column::Slot(_) => "gateway",
                Column::Prober => "readyz",
                Column::Model => "model",
                Column::Disk => "disk",
            };
            self.titles.entry(column).or_insert_with(|| title.to_string());
        }
        self.entries.push(Entry { at, column, words, disk });
    }

    /// Operations fold while nothing else is shown between them, or in the same millisecond.
    fn take_disk(&mut self, event: &Event) {
        let reads = self.options.disk_reads;
        if let Some(index) = self.open_disk {
            let is_last = index + 1 == self.entries.len();
            let entry = &mut self.entries[index];
            let same_moment = entry.at.as_millis() == event.at.as_millis();
            if let Some(disk) = &mut entry.disk
                && disk.takes(event, reads)
                && (is_last || same_moment)
            {
                return disk.add(event);
            }
        }
        if let Some(disk) = DiskWords::begin(event, reads) {
            self.open_disk = Some(self.entries.len());
            self.push(event.at, Some(Column::Disk), String::new(), Some(disk));
        }
    }
}

/// One line of the log.
struct Row {
    at: Duration,
    cells: Cells,
}

enum Cells {
    Note(String),
    Columns(BTreeMap<Column, String>),
}

/// Entries of the same millisecond share a row until a column would have to say two things.
fn rows(entries: Vec<Entry>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for entry in entries {
        let Some(column) = entry.column else {
            rows.push(Row { at: entry.at, cells: Cells::Note(entry.words) });
            continue;
        };
        if let Some(Row { at, cells: Cells::Columns(cells) }) = rows.last_mut()
            && at.as_millis() == entry.at.as_millis()
            && !cells.contains_key(&column)
        {
            cells.insert(column, entry.words);
            continue;
        }
        let cells = BTreeMap::from([(column, entry.words)]);
        rows.push(Row { at: entry.at, cells: Cells::Columns(cells) });
    }
    rows
}

/// The columns of a log with their widths.
struct Columns {
    titles: BTreeMap<Column, String>,
    widths: BTreeMap<Column, usize>,
}

impl Columns {
    /// Every column gets what it needs; when that is more than there is, the widest give way first.
    fn fit(entries: &[Entry], titles: &BTreeMap<Column, String>, width: usize) -> Self {
        let mut widths: BTreeMap<Column, usize> =
            titles.iter().map(|(column, title)| (*column, length(title).clamp(NARROW, WIDE))).collect();
        for entry in entries {
            if let Some(width) = entry.column.and_then(|column| widths.get_mut(&column)) {
                *width = (*width).max(length(&entry.words)).min(WIDE);
            }
        }
        let gaps = TIME + widths.len() * GAP.len();
        let available = width.saturating_sub(gaps);
        while widths.values().sum::<usize>() > available {
            let Some(widest) = widths.values_mut().rev().max_by_key(|width| **width) else { break };
            if *widest <= NARROW {
                break;
            }
            *widest -= 1;
        }
        Self { titles: titles.clone(), widths }
    }

    fn line(&self, time: &str, cells: &BTreeMap<Column, String>) -> String {
        let mut line = format!("{time:>TIME$}");
        for (column, width) in &self.widths {
            let words = cells.get(column).map_or_else(String::new, |words| cut(words, *width));
            line.push_str(GAP);
            line.push_str(&format!("{words:<width$}"));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::story::Story;
    use gateway::env::{FsOp, Signal};

    /// A restart under load: ann is answered in the drain, bob hears of it.
    fn restart() -> Story {
        let run = |run: &'static str| [("run", run), ("session", "agent:main:webchat:direct:ann")];
        let up = Story::new()
            .at(0)
            .starting(1)
            .gateway(214)
            .starts()
            .disk(FsOp::CreateNew, "/state/gateway.lock")
            .disk(FsOp::Write, "/state/gateway.lock")
            .at(3)
            .binds()
            .log("gateway.ready", &[("port", "18789")])
            .at(20)
            .sender("ann")
            .connected();
        let asked = up
            .at(1_000)
            .sent(1)
            .ready(998, Some(true))
            .at(1_001)
            .disk(FsOp::Append, "/state/inbox.jsonl")
            .disk(FsOp::SyncFile, "/state/inbox.jsonl")
            .log("inbox.recorded", &run("4f0a1b2c3d4e5f60"))
            .accepted(1)
            .at(1_002)
            .log("run.started", &run("4f0a1b2c3d4e5f60"))
            .asked(1, 1);
        let draining = asked
            .at(1_650)
            .stopping(90_000)
            .signal(Signal::Terminate)
            .log("drain.started", &[("ending", "stop"), ("budget_ms", "85000")])
            .at(2_000)
            .ready(1_998, Some(false))
            .at(2_100)
            .sender("bob")
            .sent(1)
            .at(2_101)
            .refused(1, "UNAVAILABLE: gateway is draining");
        let replied = draining
            .sender("ann")
            .at(2_950)
            .answered(1, 1)
            .at(2_951)
            .disk(FsOp::Append, "/state/sessions/abc.jsonl")
            .disk(FsOp::SyncFile, "/state/sessions/abc.jsonl")
            .disk(FsOp::Read, "/state/sessions.json")
            .replied(1, "Hello [ann#1], what can I do for you on this fine and very long day?")
            .at(2_952)
            .releases()
            .disconnected("1012 service restart")
            .at(2_958)
            .disk(FsOp::Remove, "/state/gateway.lock")
            .exits(0);
        let next = replied
            .state(Some(Ok(())), &["ann#1"], &["ann#1"])
            .starting(2)
            .gateway(215)
            .starts()
            .at(2_961)
            .binds()
            .at(3_000)
            .fact(crate::timeline::Source::World, Fact::Injected { what: "the disk is slow".into() });
        next.at(60_000).ended()
    }

    fn shown(options: TimelineOptions) -> String {
        render(&restart().events(), &options)
    }

    #[test]
    fn a_restart_under_load() {
        insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("timeline_restart_under_load", shown(TimelineOptions { width: 150, ..TimelineOptions::default() }));
        });
    }

    #[test]
    fn no_line_is_wider_than_asked_as_long_as_the_columns_fit() {
        for width in [100, 120, 200] {
            let text = shown(TimelineOptions { width, ..TimelineOptions::default() });
            let widest = text.lines().map(length).max().unwrap_or(0);
            assert!(widest <= width, "{widest} > {width}");
        }
    }

    #[test]
    fn what_is_switched_off_is_not_shown() {
        let quiet = shown(TimelineOptions { logs: false, width: 200, ..TimelineOptions::default() });
        assert!(!quiet.contains("drain, budget") && quiet.contains("<- SIGTERM"));
        let loud = shown(TimelineOptions { disk_reads: true, width: 240, ..TimelineOptions::default() });
        assert!(loud.contains("sessions.json read") && !quiet.contains("sessions.json read"));
    }

    #[test]
    fn lives_that_overlap_stand_side_by_side() {
        let story =
            Story::new().serves(214).at(5).gateway(215).starts().disk(FsOp::Append, "/state/inbox.jsonl");
        let text = render(&story.events(), &TimelineOptions::default());
        let head = text.lines().next().unwrap_or_default();
        assert!(head.contains("gateway 214") && head.contains("gateway 215"), "{head}");
        assert!(text.contains("215: inbox.jsonl +1"), "{text}");
    }

    #[test]
    fn an_empty_run_has_only_a_head() {
        assert_eq!(render(&[], &TimelineOptions::default()), "     time\n");
    }
}
