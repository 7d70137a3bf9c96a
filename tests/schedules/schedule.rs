//! A random schedule: what can be in it, and its text as a scenario file.
//!
//! Values are kept as numbers and words so that the shrinker can make them smaller; what belongs to no sender or
//! comes out too long cannot be written down in the first place.

use std::fmt;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

const SENDERS: [&str; 3] = ["ann", "bob", "cyd"];

/// Events that a disturbance may follow: moments in the life of a message, of a process and of a connection.
const ANCHORS: [&str; 26] = [
    "message.sent",
    "inbox.recorded",
    "message.accepted",
    "run.started",
    "provider.requested",
    "provider.answered",
    "run.finished",
    "reply.received",
    "notice.received",
    "message.unacknowledged",
    "sender.connected",
    "sender.disconnected",
    "signal.delivered",
    "drain.started",
    "drain.finished",
    "shutdown.started",
    "port.released",
    "process.exited",
    "service.restart-scheduled",
    "recovery.finished",
    "process.thawed",
    "link.healed",
    "disk.failed",
    "disk.rename",
    "lock.taken-over",
    "tool.finished",
];

/// What a disturbance of the disk or of the locks may aim at.
const FILES: [&str; 6] =
    ["*", "inbox.jsonl*", "sessions.json*", "sessions.json.lock", "sessions/*.jsonl", "gateway.lock*"];
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EAGAIN", "EBUSY"];
/// What may fail. A disk that cannot be read makes starts fail, which is another matter.
const FAILING: [&str; 6] = ["append", "write", "create-new", "rename", "sync-file", "sync-dir"];
const OWNERS: [&str; 5] = ["dead", "reused", "gateway", "nobody", "garbage"];

/// One case, and the seed it is run with.
#[derive(Clone)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    world: World,
    kinds: Vec<&'static str>,
    sends: Vec<Send>,
    disturbances: Vec<(Moment, Disturbance)>,
}

#[derive(Clone, Debug)]
struct World {
    stop_timeout_s: u32,
    drain_budget_s: u32,
    restart_delay_ms: u32,
    first_token_ms: (u32, u32),
    tokens: u32,
    fail_first: u32,
    latency_ms: (u32, u32),
    queue_mode: &'static str,
    debounce_ms: u32,
}

#[derive(Clone, Debug)]
struct Send {
    at_ms: u32,
    from: usize,
    count: u32,
}

#[derive(Clone, Debug)]
enum Moment {
    At(u32),
    After(&'static str, u32, u32),
}

#[derive(Clone, Debug)]
enum Disturbance {
    Signal(&'static str),
    Kill,
    Freeze(u32),
    PowerLoss(u32),
    Partition(&'static str, u32),
    ServiceRestart,
    SecondInstance,
    DiskFault { error: &'static str, operation: &'static str, file: &'static str, from_call: u32, ms: u32 },
    CrashAt { file: &'static str, call: u32, death: &'static str },
    ClockJump(u32, &'static str),
    SquatLock(u32),
    LeaveLock(&'static str, u32),
    Tools(u32),
    FreezeTool(u32),
}

/// Any schedule.
pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    let kind = prop_oneof![
        3 => Just("patient"),
        3 => Just("retrying"),
        1 => Just("never-closes"),
        1 => Just("leaves"),
    ];
    (
        any::<u32>().prop_map(u64::from),
        world(),
        vec(kind, 1..=SENDERS.len()),
        vec(send(), 1..=12),
        vec((moment(), disturbance()), 0..=3),
    )
        .prop_map(|(seed, world, kinds, sends, disturbances)| Schedule {
            seed,
            world,
            kinds,
            sends,
            disturbances,
        })
}

/// A restart by signal is judged by the stop timeout as a stop is, so the drain budget stays below it.
fn world() -> impl Strategy<Value = World> {
    (
        prop_oneof![Just(90), 15..90u32],
        0..80u32,
        prop_oneof![Just(1_000), 0..5_000u32],
        range(0..8_000),
        1..60u32,
        prop_oneof![4 => Just(0), 1 => 1..4u32],
        range(0..200),
        (
            prop_oneof![Just("followup"), Just("collect"), Just("steer")],
            prop_oneof![2 => Just(0), 1 => 1..3_000u32],
        ),
    )
        .prop_map(
            |(
                stop_timeout_s,
                drain_s,
                restart_delay_ms,
                first_token_ms,
                tokens,
                fail_first,
                latency_ms,
                queue,
            )| {
                World {
                    queue_mode: queue.0,
                    debounce_ms: queue.1,
                    stop_timeout_s,
                    drain_budget_s: drain_s.min(stop_timeout_s - 10),
                    restart_delay_ms,
                    first_token_ms,
                    tokens,
                    fail_first,
                    latency_ms,
                }
            },
        )
}

fn range(of: Range<u32>) -> impl Strategy<Value = (u32, u32)> {
    (of.clone(), of).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

fn send() -> impl Strategy<Value = Send> {
    (0..30_000u32, 0..SENDERS.len(), prop_oneof![4 => Just(1), 1 => 2..5u32])
        .prop_map(|(at_ms, from, count)| Send { at_ms, from, count })
}

fn moment() -> impl Strategy<Value = Moment> {
    let after_ms = prop_oneof![Just(0), 0..50u32, 0..3_000u32];
    prop_oneof![
        (0..35_000u32).prop_map(Moment::At),
        (0..ANCHORS.len(), 1..5u32, after_ms).prop_map(|(anchor, nth, after_ms)| Moment::After(
            ANCHORS[anchor],
            nth,
            after_ms
        )),
    ]
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    prop_oneof![7 => process_or_link(), 7 => disk_or_lock()]
}

fn process_or_link() -> impl Strategy<Value = Disturbance> {
    let lasting = || 1..40_000u32;
    let far_end = prop_oneof![Just("clients"), Just("provider")];
    prop_oneof![
        prop_oneof![Just("SIGTERM"), Just("SIGUSR1"), Just("SIGINT")].prop_map(Disturbance::Signal),
        Just(Disturbance::Kill),
        lasting().prop_map(Disturbance::Freeze),
        lasting().prop_map(Disturbance::PowerLoss),
        (far_end, 1..90_000u32).prop_map(|(far_end, ms)| Disturbance::Partition(far_end, ms)),
        Just(Disturbance::ServiceRestart),
        Just(Disturbance::SecondInstance),
    ]
}

fn disk_or_lock() -> impl Strategy<Value = Disturbance> {
    let file = || prop::sample::select(&FILES[..]);
    let (error, operation) = (prop::sample::select(&ERRORS[..]), prop::sample::select(&FAILING[..]));
    let death = prop_oneof![Just("kill"), Just("power-loss")];
    let direction = prop_oneof![Just("forward"), Just("back")];
    prop_oneof![
        2 => (error, operation, file(), 1..10u32, 1..40_000u32).prop_map(|(error, operation, file, from_call, ms)| {
            Disturbance::DiskFault { error, operation, file, from_call, ms }
        }),
        3 => (file(), 1..30u32, death).prop_map(|(file, call, death)| Disturbance::CrashAt { file, call, death }),
        1 => (1..100_000u32, direction).prop_map(|(s, direction)| Disturbance::ClockJump(s, direction)),
        1 => (1..200_000u32).prop_map(Disturbance::SquatLock),
        1 => (prop::sample::select(&OWNERS[..]), 0..100u32)
            .prop_map(|(owner, age_s)| Disturbance::LeaveLock(owner, age_s)),
        2 => (1..4u32).prop_map(Disturbance::Tools),
        1 => (1..200_000u32).prop_map(Disturbance::FreezeTool),
    ]
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name = \"A random schedule, for seed {}\"\n", self.seed)?;
        self.world.fmt(f)?;
        for (name, kind) in SENDERS.iter().zip(&self.kinds) {
            writeln!(f, "\n[senders.{name}]\nkind = \"{kind}\"")?;
        }
        for Send { at_ms, from, count } in &self.sends {
            let from = SENDERS[from % self.kinds.len()];
            writeln!(
                f,
                "\n[[steps]]\nat = \"{at_ms}ms\"\ndo = \"send\"\nfrom = \"{from}\"\ntext = \"hello\""
            )?;
            if *count > 1 {
                writeln!(f, "count = {count}")?;
            }
        }
        for (moment, disturbance) in &self.disturbances {
            write!(f, "\n[[steps]]\n{moment}{disturbance}")?;
        }
        Ok(())
    }
}

/// As a failing case is shown.
impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stop_timeout_s, drain_budget_s, restart_delay_ms, tokens, fail_first, .. } = self;
        let ((first, last), (near, far)) = (self.first_token_ms, self.latency_ms);
        let Self { queue_mode, debounce_ms, .. } = self;
        writeln!(f, "[gateway]\ndrain-budget = \"{drain_budget_s}s\"")?;
        writeln!(
            f,
            "settings = {{ \"messages.queue.mode\" = \"{queue_mode}\", \"messages.queue.debounceMs\" = {debounce_ms} }}"
        )?;
        writeln!(
            f,
            "supervisor = {{ stop-timeout = \"{stop_timeout_s}s\", restart-delay = \"{restart_delay_ms}ms\" }}\n"
        )?;
        writeln!(f, "[provider]\nfirst-token = \"{first}ms..{last}ms\"\ntokens = {tokens}")?;
        writeln!(f, "fail-first = {fail_first}\n\n[network]\nlatency = \"{near}ms..{far}ms\"")
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(ms) => writeln!(f, "at = \"{ms}ms\""),
            Self::After(event, nth, ms) => writeln!(f, "on = \"{event}\"\nnth = {nth}\nafter = \"{ms}ms\""),
        }
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => writeln!(f, "do = \"signal\"\nsignal = \"{signal}\""),
            Self::Kill => writeln!(f, "do = \"kill\""),
            Self::Freeze(ms) => writeln!(f, "do = \"freeze\"\nfor = \"{ms}ms\""),
            Self::PowerLoss(ms) => writeln!(f, "do = \"power-loss\"\noff-for = \"{ms}ms\""),
            Self::Partition(far_end, ms) => {
                writeln!(f, "do = \"partition\"\nbetween = [\"gateway\", \"{far_end}\"]\nfor = \"{ms}ms\"")
            }
            Self::ServiceRestart => writeln!(f, "do = \"service-restart\""),
            Self::SecondInstance => writeln!(f, "do = \"start-second-instance\""),
            Self::DiskFault { error, operation, file, from_call, ms } => writeln!(
                f,
                "do = \"disk-fault\"\nerror = \"{error}\"\noperation = \"{operation}\"\nfile = \"{file}\"\n\
                 from-call = {from_call}\nfor = \"{ms}ms\""
            ),
            Self::CrashAt { file, call, death } => {
                writeln!(f, "do = \"crash-at\"\nfile = \"{file}\"\nfrom-call = {call}\ndeath = \"{death}\"")
            }
            Self::ClockJump(s, direction) => {
                writeln!(f, "do = \"clock-jump\"\nby = \"{s}s\"\ndirection = \"{direction}\"")
            }
            Self::SquatLock(ms) => writeln!(f, "do = \"squat-lock\"\nfor = \"{ms}ms\""),
            Self::LeaveLock(owner, age_s) => {
                writeln!(f, "do = \"leave-lock\"\nowner = \"{owner}\"\nage = \"{age_s}s\"")
            }
            Self::Tools(count) => writeln!(
                f,
                "do = \"run-tool\"\nsession-of = \"{}\"\nlabel = \"busy\"\ncount = {count}",
                SENDERS[0]
            ),
            Self::FreezeTool(ms) => writeln!(f, "do = \"freeze\"\nprocess = \"tool\"\nfor = \"{ms}ms\""),
        }
    }
}
