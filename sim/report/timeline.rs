//! The timeline of a run as a fixed-width log, one column per actor.
//!
//! Virtual time runs downwards; what happened in the same millisecond shares a line as long as it can be read
//! from left to right. A gateway's column is taken over by its successor; lives
//! that overlap stand side by side. What only repeats itself is told once, and a long silence is one line.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::{FsOp, Pid};

use super::columns::{Column, Columns, GAP, TIME, WIDE, length};
use super::crowds::Crowds;
use super::disk_words::{DiskWords, refused_lock};
use super::log_words::Keys;
use super::phrases::{NO_BREAK, Place, length_of_time, note, phrase};
use crate::timeline::words::seconds;
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

/// The timeline as text: a head line, then the moments in order, each line ended by a newline. No colours.
pub fn render(events: &[Event], options: &TimelineOptions) -> String {
    let mut stage = Stage::new(*options);
    for event in events {
        stage.take(event);
    }
    let Stage { mut entries, titles, overlapping, .. } = stage;
    for entry in &mut entries {
        entry.finish(overlapping);
    }
    let rows = rows(entries);
    let cells = rows.iter().filter_map(|row| match &row.cells {
        Cells::Columns(cells) => Some(cells),
        Cells::Note(_) => None,
    });
    let columns = Columns::fit(cells, &titles, options.width);
    let mut text = columns.lines("time", &columns.titles.clone());
    let mut last = Duration::ZERO;
    for row in &rows {
        let silence = row.at.saturating_sub(last);
        if silence >= SILENCE {
            text.push_str(&format!(
                "{:>TIME$}{GAP}{} pass\n",
                "...",
                length_of_time(silence).replace(NO_BREAK, " ")
            ));
        }
        last = row.at;
        text.push_str(&match &row.cells {
            Cells::Note(words) => format!("{:>TIME$}{GAP}{}\n", seconds(row.at), note(words)),
            Cells::Columns(cells) => columns.lines(&seconds(row.at), cells),
        });
    }
    text
}

/// A silence this long is worth a line of its own.
const SILENCE: Duration = Duration::from_secs(30);
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
    /// By process and lock: the entry that tells that it waits for it.
    waits: BTreeMap<(Pid, String), usize>,
    slots: Vec<Option<Pid>>,
    overlapping: bool,
    slot_of: BTreeMap<Pid, usize>,
    senders: Vec<String>,
    keys: Keys,
    crowds: Crowds,
    /// By column: what it said last, and how often it has said that again since.
    repeating: BTreeMap<Column, (String, u32)>,
    titles: BTreeMap<Column, String>,
    /// The gateway's machine, and other programs that ran on it.
    machine: Option<String>,
    neighbours: BTreeMap<Pid, String>,
}

impl Stage {
    fn new(options: TimelineOptions) -> Self {
        Self {
            options,
            entries: Vec::new(),
            open_disk: None,
            waits: BTreeMap::new(),
            slots: Vec::new(),
            overlapping: false,
            slot_of: BTreeMap::new(),
            senders: Vec::new(),
            keys: Keys::default(),
            crowds: Crowds::default(),
            repeating: BTreeMap::new(),
            titles: BTreeMap::new(),
            machine: None,
            neighbours: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        if let Fact::ProcessStarted { pid, machine, program } = &event.fact {
            if program == GATEWAY_PROGRAM {
                self.machine = Some(machine.clone());
                self.seat(*pid);
            } else if self.machine.as_ref() == Some(machine) {
                self.neighbours.insert(*pid, program.clone());
            }
        }
        self.keys.learn(event);
        if matches!(event.fact, Fact::Disk { .. }) {
            self.take_disk(event);
        } else if (self.options.logs || !matches!(event.fact, Fact::Log { .. }))
            && let Some((place, words)) = phrase(event, &self.keys)
        {
            if event.fact == Fact::RunEnded {
                self.tell_what_still_repeats(event.at);
            }
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

    fn show(&mut self, at: Duration, place: &Place, mut words: String) {
        let column = match place {
            Place::Note => None,
            Place::Supervisor => Some(Column::Supervisor),
            Place::Process(pid) => match self.slot_of.get(pid) {
                Some(slot) => Some(Column::Slot(*slot)),
                None => match self.neighbours.get(pid) {
                    Some(program) => {
                        words = format!("{program}: {words}");
                        None
                    }
                    // Actors are processes too; their columns tell more than their births.
                    None => return,
                },
            },
            Place::Sender(name) => Some(self.sender(name)),
            Place::Prober => Some(Column::Prober),
            Place::Model => Some(Column::Model),
            Place::Platforms => Some(Column::Platforms),
            Place::Peers(name) => return self.show_peer(at, name, &words),
            Place::Disk => {
                self.open_disk = None;
                Some(Column::Disk)
            }
        };
        if let Some(column) = column {
            if self.repeats(column, &words) {
                return;
            }
            self.repeating.insert(column, (words.clone(), 0));
        }
        self.push(at, column, words, None);
    }

    /// Peers that do the same together share an entry.
    fn show_peer(&mut self, at: Duration, name: &str, words: &str) {
        let (index, told) = self.crowds.take(at, name, words, self.entries.len());
        match self.entries.get_mut(index) {
            Some(entry) => entry.words = told,
            None => self.push(at, Some(Column::Peers), told, None),
        }
    }

    /// Whether a column would only say once more what it said last. Who hands over the same message again, or is
    /// told the same thing again, does not repeat itself.
    fn repeats(&mut self, column: Column, words: &str) -> bool {
        let Some((last, times)) = self.repeating.get_mut(&column) else { return false };
        let tires = matches!(column, Column::Prober | Column::Sender(_))
            && !words.contains("->")
            && !words.contains("<-");
        if !tires || last != words {
            return false;
        }
        *times += 1;
        true
    }

    /// Senders that go on with something until the end of the run.
    fn tell_what_still_repeats(&mut self, at: Duration) {
        for (column, (words, times)) in std::mem::take(&mut self.repeating) {
            if times > 0 && matches!(column, Column::Sender(_)) {
                self.push(at, Some(column), format!("{times} times more: {words}"), None);
            }
        }
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
                Column::Peers => "peers",
                Column::Platforms => "platforms",
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
        if self.waits_on(event) {
            return;
        }
        if let Some(index) = self.open_disk {
            let is_last = index + 1 == self.entries.len();
            let entry = &mut self.entries[index];
            let same_moment = entry.at.as_millis() == event.at.as_millis();
            if let Some(disk) = &mut entry.disk
                && disk.takes(event, reads)
                && (is_last || same_moment)
            {
                disk.add(event);
                return self.begin_wait(event, index);
            }
        }
        let by = |pid| self.neighbours.get(&pid).cloned();
        if let Some(disk) = DiskWords::begin(event, reads, by) {
            self.open_disk = Some(self.entries.len());
            self.push(event.at, Some(Column::Disk), String::new(), Some(disk));
            self.begin_wait(event, self.entries.len() - 1);
        }
    }

    /// Whether `event` is one more try of a process that waits for a lock: that is told where it began to. A lock
    /// that changes hands meanwhile ends every wait for it.
    fn waits_on(&mut self, event: &Event) -> bool {
        let Fact::Disk { pid, op, path, error, .. } = &event.fact else { return false };
        if error.is_none() && matches!(op, FsOp::CreateNew | FsOp::Remove) {
            self.waits.retain(|(_, lock), _| lock != path);
        }
        let entry = self.waits.get(&(*pid, path.clone())).and_then(|index| self.entries.get_mut(*index));
        entry.and_then(|entry| entry.disk.as_mut()).is_some_and(|disk| disk.waits_on(event))
    }

    fn begin_wait(&mut self, event: &Event, index: usize) {
        if let (Some(lock), Fact::Disk { pid, .. }) = (refused_lock(event), &event.fact) {
            self.waits.insert((*pid, lock.to_string()), index);
        }
    }
}

/// What happened in one moment, as far as it fits side by side.
struct Row {
    at: Duration,
    cells: Cells,
}

enum Cells {
    Note(String),
    Columns(BTreeMap<Column, String>),
}

/// Entries of the same millisecond share a row as long as it reads from left to right in their order; a process
/// may say several short things in one cell. The disk stands last and says what goes with the rest of its row.
fn rows(entries: Vec<Entry>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.words.is_empty()) {
        let Some(column) = entry.column else {
            rows.push(Row { at: entry.at, cells: Cells::Note(entry.words) });
            continue;
        };
        if let Some(Row { at, cells: Cells::Columns(cells) }) = rows.last_mut()
            && at.as_millis() == entry.at.as_millis()
        {
            let rightmost = cells.keys().rev().find(|column| **column != Column::Disk).copied();
            let follows = column == Column::Disk || rightmost.is_none_or(|rightmost| rightmost < column);
            match cells.get_mut(&column) {
                None if follows => {
                    cells.insert(column, entry.words);
                    continue;
                }
                Some(said) if rightmost == Some(column) && joins(column, said, &entry.words) => {
                    *said = format!("{said}, {}", without_subject(said, &entry.words));
                    continue;
                }
                _ => {}
            }
        }
        let cells = BTreeMap::from([(column, entry.words)]);
        rows.push(Row { at: entry.at, cells: Cells::Columns(cells) });
    }
    rows
}

/// Whether a cell may go on with more words. Warnings stand alone.
fn joins(column: Column, said: &str, more: &str) -> bool {
    let plain = !said.starts_with('!') && !more.starts_with('!');
    matches!(column, Column::Slot(_)) && plain && length(said) + length(more) + 2 <= WIDE
}

/// `more` without its first word, if that is a message's name which `said` began with, too.
fn without_subject<'a>(said: &str, more: &'a str) -> &'a str {
    match (said.split_once(' '), more.split_once(' ')) {
        (Some((subject, _)), Some((same, rest))) if subject == same && subject.contains('#') => rest,
        _ => more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Injection;
    use crate::timeline::story::Story;
    use gateway::env::Signal;

    /// A restart under load: ann is answered in the drain, bob hears of it.
    fn restart() -> Story {
        let run = [("run", "key-of-ann-1"), ("session", "agent:main:webchat:direct:ann")];
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
            .log("inbox.recorded", &run)
            .accepted(1)
            .at(1_002)
            .log("run.started", &run)
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
            .injected(Injection::DiskFault, "the disk is slow");
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
        assert!(!quiet.contains("drains ") && quiet.contains("<- SIGTERM"));
        let loud = shown(TimelineOptions { disk_reads: true, width: 240, ..TimelineOptions::default() });
        assert!(loud.contains("sessions read") && !quiet.contains("sessions read"));
    }

    #[test]
    fn lives_that_overlap_stand_side_by_side() {
        let story =
            Story::new().serves(214).at(5).gateway(215).starts().disk(FsOp::Append, "/state/inbox.jsonl");
        let text = render(&story.events(), &TimelineOptions::default());
        let head = text.lines().next().unwrap_or_default();
        assert!(head.contains("gateway 214") && head.contains("gateway 215"), "{head}");
        assert!(text.contains("215: inbox +1"), "{text}");
    }

    #[test]
    fn what_repeats_itself_is_told_once_and_a_silence_is_one_line() {
        let fails = || Fact::SenderConnectFailed { how: "refused".into() };
        let sender = || crate::timeline::Source::Sender("ann".into());
        let mut story = Story::new().serves(214).sender("ann").at(1_000).connected();
        for second in 2..40 {
            story = story.at(second * 1_000).fact(sender(), fails());
        }
        let text = render(&story.at(1_200_000).ended().events(), &TimelineOptions::default());
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(text.matches("refused").count(), 2, "{text}");
        assert!(lines.contains(&"...  19 min 58 s pass"), "{text}");
        assert!(text.contains("37 times more: cannot connect: refused"), "{text}");
    }

    #[test]
    fn who_waits_for_a_lock_says_so_once() {
        let lock = "/state/59f5096c96288e0b.jsonl.lock";
        let mut story = Story::new().serves(214);
        for tenth in 10..60 {
            story = story.at(tenth * 100).disk_fails(FsOp::CreateNew, lock, "File exists");
        }
        let again = story.at(120_000).disk_fails(FsOp::CreateNew, lock, "File exists");
        let text = render(
            &again.at(121_000).ended().events(),
            &TimelineOptions { width: 200, ..TimelineOptions::default() },
        );
        assert!(text.contains("59f5….jsonl.lock is in the way until"), "{text}");
        assert_eq!(text.matches("in the way").count(), 2, "a later wait is another one: {text}");
    }

    #[test]
    fn a_row_reads_from_left_to_right() {
        let story = Story::new().serves(214).at(5).exits(0).starting(2).gateway(215).starts();
        let text = render(&story.events(), &TimelineOptions::default());
        let lines: Vec<_> =
            text.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["0.005 exit 0", "0.005 2nd start pid 215 starts"], "{text}");
    }

    #[test]
    fn an_empty_run_has_only_a_head() {
        assert_eq!(render(&[], &TimelineOptions::default()), "     time\n");
    }
}
